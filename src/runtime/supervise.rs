//! What those who started the process are told: systemd and upstart, and readers of the pidfile.

use crate::config::{Config, Supervised};
use crate::shared::Shared;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The pidfile of a process in the background that was given no other.
const PIDFILE: &str = "/var/run/redis.pid";

/// Who watches over the process, and how to tell it what happens.
pub struct Supervisor {
    kind: Supervised,
    /// Where systemd listens.
    socket: Option<UnixDatagram>,
    /// Why the configuration's supervisor was not found; to be logged once there is a log.
    complaint: Option<String>,
}

impl Supervisor {
    /// Looks for the one that the configuration names; `variable` reads the environment.
    pub fn find(wanted: Supervised, variable: &dyn Fn(&str) -> Option<OsString>) -> Supervisor {
        let (upstart, systemd) = (variable("UPSTART_JOB"), variable("NOTIFY_SOCKET"));
        let kind = match wanted {
            Supervised::Auto if upstart.is_some() => Supervised::Upstart,
            Supervised::Auto if systemd.is_some() => Supervised::Systemd,
            Supervised::Auto => Supervised::No,
            other => other,
        };
        let nobody = |complaint: Option<String>| Supervisor { kind: Supervised::No, socket: None, complaint };
        match (kind, systemd) {
            (Supervised::Upstart, _) if upstart.is_some() => {
                Supervisor { kind: Supervised::Upstart, socket: None, complaint: None }
            }
            (Supervised::Upstart, _) => {
                nobody(Some("upstart supervision requested, but UPSTART_JOB not found!".into()))
            }
            (Supervised::Systemd, Some(name)) => match connect(&name) {
                Ok(socket) => Supervisor { kind: Supervised::Systemd, socket: Some(socket), complaint: None },
                Err(error) => {
                    nobody(Some(format!("systemd supervision error: NOTIFY_SOCKET={}: {error}", name.display())))
                }
            },
            (Supervised::Systemd, None) => nobody(Some("systemd supervision error: NOTIFY_SOCKET not found!".into())),
            (Supervised::No | Supervised::Auto, _) => nobody(None),
        }
    }

    /// Who it is, as `INFO` names it.
    pub fn kind(&self) -> Supervised {
        self.kind
    }

    /// Logs what was noticed when looking for it.
    pub fn log(&self) {
        if let Some(complaint) = &self.complaint {
            tracing::warn!("{complaint}");
        }
        if self.kind == Supervised::Systemd {
            tracing::info!(
                "supervised by systemd: TimeoutStartSec and TimeoutStopSec of the unit must suit the size of the data"
            );
        }
    }

    /// Tells systemd what the process is doing, in a line for people.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    /// Tells systemd that clients are served.
    pub fn ready(&self) {
        self.send("READY=1\nSTATUS=Ready to accept connections");
    }

    /// Where systemd wants to hear of the process all the time (`WatchdogSec=`), tells it that all cores are well, as
    /// long as they are. In a thread that ends with the process.
    pub fn watch(self: &Arc<Supervisor>, shared: &Arc<Shared>, variable: &dyn Fn(&str) -> Option<OsString>) {
        let number = |name: &str| variable(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let Some(microseconds) = number("WATCHDOG_USEC").filter(|_| is_for_us && self.socket.is_some()) else { return };
        let interval = Duration::from_micros(microseconds / 2);
        let (supervisor, shared) = (self.clone(), shared.clone());
        let beat = move || {
            let beats = || shared.beats_of_core.iter().map(|beats| beats.load(Ordering::Relaxed)).collect::<Vec<_>>();
            let mut before = beats();
            loop {
                std::thread::sleep(interval);
                let now = beats();
                let silent = std::iter::zip(&before, &now).position(|(before, now)| before == now);
                before = now;
                match silent {
                    None => supervisor.send("WATCHDOG=1"),
                    Some(core) => tracing::warn!("core {core} has been busy with one thing for {interval:?}"),
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("watchdog".into()).spawn(beat) {
            tracing::warn!("cannot tell systemd's watchdog of the cores: {error}");
        }
    }

    /// Tells systemd that the process is about to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=Shutting down");
    }

    fn send(&self, words: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(words.as_bytes()) {
            tracing::warn!("systemd supervision error: sd_notify: {error}");
        }
    }
}

/// Connects to systemd's socket: a path, or an abstract name behind an `@`.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// The file that holds this process' id.
pub struct PidFile(PathBuf);

impl PidFile {
    /// Where the configuration wants it; none: nowhere. A process in the background has one in any case.
    pub fn path(config: &Config, is_background: bool) -> Option<PathBuf> {
        match config.pidfile.as_str() {
            "" if is_background => Some(PIDFILE.into()),
            "" => None,
            path => Some(config.dir.join(path)),
        }
    }

    /// Writes it; the server goes on where that fails, as Redis does.
    pub fn create(path: &Path) -> Option<PidFile> {
        match fs::write(path, format!("{}\n", std::process::id())) {
            Ok(()) => Some(PidFile(path.into())),
            Err(error) => {
                tracing::warn!("Failed to write PID file: {}: {error}", path.display());
                None
            }
        }
    }

    /// Removes it, unless another process has put its own there.
    pub fn remove(&self) {
        let own = std::process::id().to_string();
        if fs::read_to_string(&self.0).is_ok_and(|text| text.trim_end() == own) {
            tracing::info!("Removing the pid file.");
            if let Err(error) = fs::remove_file(&self.0) {
                tracing::warn!("cannot remove the pid file {}: {error}", self.0.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(wanted: Supervised, variables: &[(&str, &OsStr)]) -> Supervisor {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
        Supervisor::find(wanted, &variable)
    }

    #[test]
    fn supervisors_are_found_by_their_variables() {
        let path = std::env::temp_dir().join(format!("corering-notify-{}", std::process::id()));
        let systemd = UnixDatagram::bind(&path).expect("a socket for the test");
        let here: &[(&str, &OsStr)] = &[("NOTIFY_SOCKET", path.as_os_str())];
        let upstart: &[(&str, &OsStr)] = &[("UPSTART_JOB", OsStr::new("x"))];
        let both = [here, upstart].concat();
        for (wanted, variables, expected, complains) in [
            (Supervised::No, &both[..], Supervised::No, false),
            (Supervised::Auto, &both, Supervised::Upstart, false),
            (Supervised::Auto, here, Supervised::Systemd, false),
            (Supervised::Auto, &[], Supervised::No, false),
            (Supervised::Systemd, here, Supervised::Systemd, false),
            (Supervised::Systemd, &[("NOTIFY_SOCKET", OsStr::new("/nonexistent/x"))], Supervised::No, true),
            (Supervised::Systemd, &[("NOTIFY_SOCKET", OsStr::new("x"))], Supervised::No, true),
            (Supervised::Systemd, &[], Supervised::No, true),
            (Supervised::Upstart, here, Supervised::No, true),
        ] {
            let supervisor = find(wanted, variables);
            assert_eq!((supervisor.kind(), supervisor.complaint.is_some()), (expected, complains), "{wanted}");
        }
        let supervisor = find(Supervised::Systemd, here);
        supervisor.ready();
        supervisor.status("thinking");
        supervisor.stopping();
        let mut words = [0; 100];
        for expected in
            ["READY=1\nSTATUS=Ready to accept connections", "STATUS=thinking", "STOPPING=1\nSTATUS=Shutting down"]
        {
            let len = systemd.recv(&mut words).expect("a packet");
            assert_eq!(std::str::from_utf8(&words[..len]), Ok(expected));
        }
        fs::remove_file(&path).expect("removed");
        let name = format!("corering-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let systemd = UnixDatagram::bind_addr(&address).expect("a socket for the test");
        find(Supervised::Auto, &[("NOTIFY_SOCKET", format!("@{name}").as_ref())]).stopping();
        assert!(systemd.recv(&mut words).is_ok());
    }

    #[test]
    fn the_pidfile_of_another_process_stays() {
        let mut config = Config { dir: std::env::temp_dir(), ..Config::default() };
        assert_eq!(PidFile::path(&config, false), None);
        assert_eq!(PidFile::path(&config, true), Some(PIDFILE.into()));
        config.pidfile = format!("corering-pid-{}", std::process::id());
        let path = PidFile::path(&config, false).expect("one is configured");
        assert_eq!(path, std::env::temp_dir().join(&config.pidfile));
        let pidfile = PidFile::create(&path).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), format!("{}\n", std::process::id()));
        fs::write(&path, "1\n").expect("written");
        pidfile.remove();
        assert!(path.exists());
        let pidfile = PidFile::create(&path).expect("written");
        pidfile.remove();
        assert!(!path.exists());
        pidfile.remove();
        assert!(PidFile::create(Path::new("/nonexistent/x.pid")).is_none());
    }
}
