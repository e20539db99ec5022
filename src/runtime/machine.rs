//! What changing the configuration at run time asks of the machine: limits, directories, files, the log.

use super::aof_place::LogFiles;
use super::host;
use super::listen::Doors;
use super::oom::OomScore;
use super::server::files_reserved;
use crate::config::{Config, Machine};
use crate::sys::process;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The machine that the server runs on.
pub struct ThisMachine {
    /// Where clients come in.
    pub doors: Arc<Doors>,
    /// Cores of the server.
    pub cores: usize,
    /// How willing the kernel is to kill it.
    pub oom: OomScore,
    /// Where the log is.
    pub log_files: LogFiles,
}

impl Machine for ThisMachine {
    fn resolve_directory(&self, path: &Path) -> io::Result<PathBuf> {
        resolve_directory(path)
    }

    fn memory_bytes(&self) -> u64 {
        process::memory_bytes()
    }

    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            result => result,
        }
    }

    /// Through a new file beside the old one, which takes its place when it is on disk.
    fn replace_file(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.tmp", std::process::id()));
        let new = directory.join(name);
        let written = (|| {
            let mut file = File::create(&new)?;
            file.write_all(text)?;
            if let Ok(old) = fs::metadata(path) {
                file.set_permissions(old.permissions())?; // It may hold passwords.
            }
            file.sync_all()?;
            fs::rename(&new, path)?;
            File::open(directory)?.sync_all()
        })();
        if written.is_err() {
            let _ = fs::remove_file(&new); // It may have taken the old one's place already.
        }
        written
    }

    fn apply(&self, old: &Config, new: &Config) -> Result<(), (&'static str, String)> {
        if old.maxclients < new.maxclients {
            let reserved = files_reserved(new, self.cores);
            let have = process::raise_open_files(u64::from(new.maxclients) + reserved);
            let clients_max = have.saturating_sub(reserved);
            if clients_max < u64::from(new.maxclients) {
                let text = "The operating system is not able to handle the specified number of clients, try with";
                return Err(("maxclients", format!("{text} {clients_max}")));
            }
        }
        if let Err((name, text)) = self.apply_steps(old, new) {
            tracing::warn!(
                "Failed applying new configuration. Possibly related to new {name} setting. Restoring previous settings."
            );
            // Steps that were not gone have nothing to restore.
            if old.dir != new.dir
                && let Err(error) = std::env::set_current_dir(&old.dir)
            {
                tracing::warn!("cannot go back to {}: {error}", old.dir.display());
            }
            if let Err(why) = self.oom.apply(old) {
                tracing::warn!("{why}");
            }
            if !old.appendonly {
                self.log_files.let_go();
            } else if old.dir != new.dir {
                self.log_files.stay();
            }
            return Err((name, text));
        }
        crate::log::set_level(new.loglevel);
        host::warn_of_pending(new, old);
        Ok(())
    }

    fn make_log_ready(&self, config: &Config) -> Result<(), String> {
        self.log_files.make_ready(config, false)
    }
}

impl ThisMachine {
    /// What may fail half-way: the last step is the one that undoes itself.
    fn apply_steps(&self, old: &Config, new: &Config) -> Result<(), (&'static str, String)> {
        if (old.oom_score_adj, old.oom_score_adj_values) != (new.oom_score_adj, new.oom_score_adj_values)
            && let Err(why) = self.oom.apply(new)
        {
            tracing::warn!("{why}");
            return Err((
                "oom-score-adj",
                "Failed to apply new oom_score_adj configuration, check server logs.".into(),
            ));
        }
        if old.dir != new.dir {
            std::env::set_current_dir(&new.dir).map_err(|error| ("dir", crate::config::reason(&error)))?;
        }
        if old.appendonly
            && new.appendonly
            && old.dir != new.dir
            && let Err(why) = self.log_files.aim(new)
        {
            tracing::warn!("{why}");
            return Err(("dir", "Unable to move the append-only file. Check server logs.".into()));
        }
        if !old.appendonly
            && new.appendonly
            && let Err(why) = self.log_files.make_ready(new, true)
        {
            tracing::warn!("{why}");
            return Err(("appendonly", "Unable to turn on AOF. Check server logs.".into()));
        }
        if (old.port, &old.bind) != (new.port, &new.bind)
            && let Err(why) = self.doors.change(new)
        {
            tracing::warn!("Could not create server TCP listening socket {why}");
            return Err(match old.port == new.port {
                true => ("bind", "Failed to bind to specified addresses.".into()),
                false => ("port", "Unable to listen on this port. Check server logs.".into()),
            });
        }
        Ok(())
    }
}

/// Makes a directory's name absolute; an error where it cannot be entered.
pub fn resolve_directory(path: &Path) -> io::Result<PathBuf> {
    let path = fs::canonicalize(path)?;
    // Looking up a name in it asks for the same right as entering it does; a file is no directory (ENOTDIR).
    fs::metadata(path.join("."))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn this_machine() -> ThisMachine {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let directory = scratch(&format!("socket-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let unixsocket = directory.join("s").to_str().expect("a plain name").to_string();
        let config = Config { port: 0, unixsocket, ..Config::default() };
        let doors = Arc::new(Doors::open(&config, 1).expect("a unix socket"));
        fs::remove_dir_all(&directory).expect("removed");
        ThisMachine { doors, cores: 1, oom: OomScore::default(), log_files: LogFiles::default() }
    }

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("corering-machine-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory for the test");
        directory
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_its_permissions() {
        let directory = scratch("replace");
        let file = directory.join("a.conf");
        assert_eq!(this_machine().read_file(&file).expect("missing is empty"), b"");
        this_machine().replace_file(&file, b"one\n").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("changed");
        this_machine().replace_file(&file, b"two\n").expect("written");
        assert_eq!(this_machine().read_file(&file).expect("read"), b"two\n");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory).expect("listed").count(), 1, "nothing is left behind");
        let nowhere = directory.join("missing").join("a.conf");
        assert_eq!(this_machine().replace_file(&nowhere, b"").unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_directory_is_made_absolute_or_refused() {
        let directory = scratch("resolve");
        let file = directory.join("a");
        fs::write(&file, "").expect("written");
        fs::create_dir_all(directory.join("b")).expect("made");
        assert_eq!(resolve_directory(&directory.join("b/..")).expect("there"), fs::canonicalize(&directory).unwrap());
        assert_eq!(resolve_directory(&file).unwrap_err().raw_os_error(), Some(libc::ENOTDIR));
        assert_eq!(resolve_directory(&directory.join("c")).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn what_the_system_refuses_is_said_in_redis_words() {
        let old = Config::default();
        let too_many = Config { maxclients: u32::MAX, ..old.clone() };
        let (name, why) = this_machine().apply(&old, &too_many).unwrap_err();
        assert_eq!(name, "maxclients");
        let (text, count) = why.rsplit_once(' ').expect("a number at the end");
        assert_eq!(text, "The operating system is not able to handle the specified number of clients, try with");
        assert!(count.parse::<u64>().expect("a number") < u64::from(u32::MAX));
        let fewer = Config { maxclients: 1, ..old.clone() };
        assert_eq!(this_machine().apply(&old, &fewer), Ok(()));
        let missing = Config { dir: "/nonexistent/x".into(), ..old.clone() };
        let expected = ("dir", "No such file or directory".to_string());
        assert_eq!(this_machine().apply(&old, &missing), Err(expected));
    }
}
