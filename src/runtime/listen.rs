//! The doors: the sockets that clients come in by. Opened at start, and changed while the server runs: `CONFIG SET
//! port` and `bind` open and close them on the core that reads the command, while another core accepts on them.
//!
//! ```text
//!  open ──close_softly──▶ closing ──close──▶ closed      the core that accepts lets go of a closed one when its
//!    ▲                       │                           accept has ended; one that is closing may come back
//!    └───────reopen──────────┘
//! ```
//! An accept in flight keeps its socket, so closing the descriptor would not free the port. Ending the listening does:
//! the accept fails, others may bind the address, and the socket can listen again should the change fail.

use crate::config::{Config, reason};
use crate::sys::net;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a bind at start is tried again while a server that was killed still holds the port.
const START_PATIENCE: Duration = Duration::from_millis(500);

/// What a door may fail with where the machine lacks the family of addresses: no reason not to start, as in Redis.
const FAMILY_MISSING: &[i32] =
    &[libc::ENOPROTOOPT, libc::EPROTONOSUPPORT, libc::ESOCKTNOSUPPORT, libc::EPFNOSUPPORT, libc::EAFNOSUPPORT];

/// Whether clients come in by a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum DoorState {
    /// They do.
    Open,
    /// They do not just now.
    Closing,
    /// They never will again.
    Closed,
}

/// A socket that a core accepts on.
#[derive(Debug)]
pub struct Door {
    socket: OwnedFd,
    /// Where it listens; none: a unix socket.
    address: Option<SocketAddr>,
    /// The core to which its clients belong; none: they are shared out among all.
    pub home: Option<usize>,
    state: AtomicU8,
}

impl Door {
    fn new(socket: OwnedFd, address: Option<SocketAddr>, home: Option<usize>) -> Arc<Door> {
        Arc::new(Door { socket, address, home, state: AtomicU8::new(DoorState::Open as u8) })
    }

    /// The socket, open as long as this is.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Whether clients come in.
    pub fn state(&self) -> DoorState {
        match self.state.load(Ordering::Acquire) {
            state if state == DoorState::Open as u8 => DoorState::Open,
            state if state == DoorState::Closing as u8 => DoorState::Closing,
            _ => DoorState::Closed,
        }
    }

    fn set(&self, state: DoorState) {
        self.state.store(state as u8, Ordering::Release);
    }

    fn close_softly(&self) {
        self.set(DoorState::Closing);
        net::shutdown(self.fd());
    }

    fn reopen(&self, backlog: i32) {
        if let Err(error) = net::listen_again(&self.socket, backlog) {
            tracing::warn!("cannot listen on {:?} again: {error}", self.address);
        }
        self.set(DoorState::Open);
    }

    fn close(&self) {
        if self.state() == DoorState::Open {
            net::shutdown(self.fd());
        }
        self.set(DoorState::Closed);
    }
}

/// A door as the configuration wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// As it stands in `bind`, without the `-`.
    name: String,
    /// What the name may stand for; the first that can be bound is taken.
    addresses: Vec<SocketAddr>,
    /// No error where the machine lacks the address.
    is_optional: bool,
    home: Option<usize>,
}

/// Every door of the server.
pub struct Doors {
    cores: usize,
    state: Mutex<State>,
}

struct State {
    open: Vec<Arc<Door>>,
    /// Those that their core has yet to see.
    fresh: VecDeque<Arc<Door>>,
    unix: Option<UnixFile>,
}

/// The name of a unix socket in the file system.
struct UnixFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// The core that accepts for all: a second server on the port must fail to bind, which SO_REUSEPORT would hide, and one
/// core accepts far more than any client opens.
const PORTER: usize = 0;

impl Doors {
    /// Opens what the configuration wants, for so many cores.
    ///
    /// # Errors
    /// Why one cannot be opened, in Redis' words.
    pub fn open(config: &Config, cores: usize) -> Result<Doors, String> {
        let mut open = Vec::new();
        for wanted in wanted(config, cores)? {
            open.extend(open_tcp(&wanted, config, START_PATIENCE).map_err(|error| {
                let port = wanted.addresses.first().map_or(config.port, SocketAddr::port);
                format!(
                    "Could not create server TCP listening socket {}:{port}: bind: {}; \
                     Failed listening on port {port} (TCP), aborting.",
                    wanted.name,
                    reason(&error)
                )
            })?);
        }
        let mut unix = None;
        if !config.unixsocket.is_empty() {
            let path = config.dir.join(&config.unixsocket);
            let mode = (config.unixsocketperm != 0).then_some(config.unixsocketperm);
            let failed =
                |error: io::Error| format!("Failed opening Unix socket: bind: {}: {}", path.display(), reason(&error));
            let socket = net::listen_unix(Path::new(&config.unixsocket), mode, config.tcp_backlog as i32);
            open.push(Door::new(socket.map_err(failed)?, None, None));
            let identity = net::file_identity(&path).map_err(failed)?;
            unix = Some(UnixFile { path, identity });
        }
        if open.is_empty() {
            return Err("Configured to not listen anywhere, exiting.".into());
        }
        let fresh = open.iter().cloned().collect();
        Ok(Doors { cores, state: Mutex::new(State { open, fresh, unix }) })
    }

    /// The doors that `core` has yet to accept on.
    pub fn take_fresh(&self, core: usize) -> Vec<Arc<Door>> {
        let mut state = self.lock();
        let all = std::mem::take(&mut state.fresh);
        let (own, others) = all.into_iter().partition(|door| door.home.unwrap_or(PORTER) == core);
        state.fresh = others;
        own.into()
    }

    /// Opens and closes doors as a changed configuration wants; all or nothing.
    ///
    /// # Errors
    /// The address that cannot be listened on, and why; then the doors are those of before.
    pub fn change(&self, config: &Config) -> Result<(), String> {
        let wanted = wanted(config, self.cores)?;
        let mut state = self.lock();
        let stays = |door: &Arc<Door>| {
            let Some(address) = door.address else { return true };
            wanted.iter().any(|wanted| wanted.home == door.home && wanted.addresses.contains(&address))
        };
        let (kept, old): (Vec<_>, Vec<_>) = state.open.iter().cloned().partition(stays);
        let mut new = Vec::new();
        for wanted in &wanted {
            let is_kept = |door: &Arc<Door>| {
                door.home == wanted.home && door.address.is_some_and(|address| wanted.addresses.contains(&address))
            };
            if kept.iter().any(is_kept) {
                continue;
            }
            let mut opened = open_tcp(wanted, config, Duration::ZERO);
            if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
                // It may be one of ours that is in the way: `0.0.0.0` before `127.0.0.1`.
                old.iter().filter(|door| door.state() == DoorState::Open).for_each(|door| door.close_softly());
                opened = open_tcp(wanted, config, Duration::ZERO);
            }
            match opened {
                Ok(door) => new.extend(door),
                Err(error) => {
                    let backlog = config.tcp_backlog as i32;
                    let closing = old.iter().filter(|door| door.state() == DoorState::Closing);
                    drop(new); // They may be in the way of the old ones.
                    closing.for_each(|door| door.reopen(backlog));
                    return Err(format!("{}: {}", wanted.name, reason(&error)));
                }
            }
        }
        old.iter().for_each(|door| door.close());
        state.fresh.retain(|door| door.state() != DoorState::Closed);
        state.fresh.extend(new.iter().cloned());
        state.open = kept.into_iter().chain(new).collect();
        Ok(())
    }

    /// Closes every door, and removes the name of the unix socket unless somebody else has taken it.
    pub fn close(&self) {
        let mut state = self.lock();
        state.open.drain(..).for_each(|door| door.close());
        state.fresh.clear();
        if let Some(unix) = state.unix.take()
            && net::file_identity(&unix.path).is_ok_and(|identity| identity == unix.identity)
        {
            tracing::info!("Removing the unix socket file.");
            if let Err(error) = std::fs::remove_file(&unix.path) {
                tracing::warn!("cannot remove the unix socket {}: {error}", unix.path.display());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// The TCP doors of a configuration, names looked up.
fn wanted(config: &Config, cores: usize) -> Result<Vec<Wanted>, String> {
    let mut all = Vec::new();
    let mut ports = Vec::new();
    if config.port != 0 {
        ports.push((config.port, None));
    }
    if config.core_ports != 0 {
        for core in 0..cores {
            let offset = u16::try_from(core).ok().and_then(|core| config.core_ports.checked_add(core));
            ports.push((offset.ok_or("core-ports ends beyond port 65535")?, Some(core)));
        }
    }
    for (port, home) in ports {
        for name in &config.bind {
            all.push(wanted_of(name, port, home));
        }
    }
    Ok(all)
}

/// What one word of `bind` means.
fn wanted_of(word: &str, port: u16, home: Option<usize>) -> Wanted {
    let (name, is_optional) = word.strip_prefix('-').map_or((word, false), |name| (name, true));
    let addresses = match name {
        "*" => vec![SocketAddr::from(([0, 0, 0, 0], port))],
        "::*" => vec![SocketAddr::from(([0; 8], port))],
        // As in Redis: only what is written with colons is looked for among IPv6 addresses.
        name => match (name, port).to_socket_addrs() {
            Ok(found) => found.filter(|address| address.is_ipv6() == name.contains(':')).collect(),
            Err(_) => vec![],
        },
    };
    Wanted { name: name.into(), addresses, is_optional, home }
}

/// Listens on what one word of a directive like `bind` means; none: the machine lacks the address, and that is no
/// error.
pub(super) fn listen_on(word: &str, port: u16, backlog: i32) -> io::Result<Option<OwnedFd>> {
    Ok(open_first(&wanted_of(word, port, None), backlog, Duration::ZERO)?.map(|(socket, _)| socket))
}

/// Opens a door; none: the machine lacks the address, and that is no error.
fn open_tcp(wanted: &Wanted, config: &Config, patience: Duration) -> io::Result<Option<Arc<Door>>> {
    let opened = open_first(wanted, config.tcp_backlog as i32, patience)?;
    Ok(opened.map(|(socket, address)| Door::new(socket, Some(address), wanted.home)))
}

/// Opens the first address of a door that can be.
fn open_first(wanted: &Wanted, backlog: i32, patience: Duration) -> io::Result<Option<(OwnedFd, SocketAddr)>> {
    let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "Name or service not known");
    for &address in &wanted.addresses {
        match net::listen_tcp(address, backlog, patience) {
            Ok(socket) => return Ok(Some((socket, address))),
            Err(error) => failure = error,
        }
    }
    let code = failure.raw_os_error().unwrap_or(0);
    if FAMILY_MISSING.contains(&code) || wanted.is_optional && code == libc::EADDRNOTAVAIL {
        tracing::info!("not listening on {}: {}", wanted.name, reason(&failure));
        return Ok(None);
    }
    Err(failure)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn config(port: u16, bind: &[&str]) -> Config {
        Config { port, bind: bind.iter().map(|name| name.to_string()).collect(), ..Config::default() }
    }

    /// A port that nobody listens on, below those that the system gives to clients, of which other tests have many.
    pub(in crate::runtime) fn free_port() -> u16 {
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        std::iter::repeat_with(|| fastrand::u16(10_000..32_000)).find(is_free).expect("it goes on until there is one")
    }

    /// Two ports in a row, below those that the system gives to clients.
    fn free_pair() -> u16 {
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let first = 10_000 + (std::process::id() % 10_000) as u16;
        (first..30_000).find(|port| is_free(port) && is_free(&(port + 1))).expect("a pair of free ports")
    }

    fn is_open(port: u16) -> bool {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    }

    #[test]
    fn doors_follow_the_configuration() {
        let (first, second) = (free_port(), free_port());
        let doors = Doors::open(&config(first, &["*"]), 2).expect("opened");
        let fresh = doors.take_fresh(0);
        assert_eq!((fresh.len(), doors.take_fresh(0).len(), doors.take_fresh(1).len()), (1, 0, 0));
        assert!(is_open(first));
        // The same port on a narrower address: the old door is in the way.
        doors.change(&config(first, &["127.0.0.1"])).expect("changed");
        assert_eq!(fresh[0].state(), DoorState::Closed);
        assert!(is_open(first));
        let fresh = doors.take_fresh(0);
        doors.change(&config(second, &["127.0.0.1"])).expect("changed");
        assert_eq!(fresh[0].state(), DoorState::Closed);
        assert!(!is_open(first) && is_open(second));
        // A door per core beside the shared one.
        let third = free_pair();
        doors.change(&Config { core_ports: third, ..config(second, &["127.0.0.1"]) }).expect("changed");
        let homes: Vec<_> =
            [0, 1].map(|core| doors.take_fresh(core).iter().map(|door| door.home).collect::<Vec<_>>()).into();
        assert_eq!(homes, [vec![None, Some(0)], vec![Some(1)]]);
        doors.change(&config(0, &["127.0.0.1"])).expect("port 0 listens nowhere");
        assert!(!is_open(second) && !is_open(third));
        doors.change(&config(first, &["127.0.0.1"])).expect("changed");
        assert!(is_open(first));
        doors.close();
        assert!(!is_open(first));
    }

    #[test]
    fn a_change_that_fails_leaves_the_doors_open() {
        let port = free_port();
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken_port = taken.local_addr().expect("bound").port();
        let doors = Doors::open(&config(port, &["*"]), 1).expect("opened");
        let fresh = doors.take_fresh(0);
        assert!(doors.change(&config(taken_port, &["127.0.0.1"])).is_err_and(|why| why.contains("in use")));
        // 192.0.2.1 is nobody's: the first address opens after the old door was closed, the second does not open.
        assert!(
            doors.change(&config(port, &["127.0.0.1", "192.0.2.1"])).is_err_and(|why| why.starts_with("192.0.2.1"))
        );
        assert_eq!(fresh[0].state(), DoorState::Open);
        assert!(doors.take_fresh(0).is_empty());
        let client = TcpStream::connect(("127.0.0.1", port)).expect("it listens again");
        let listener = TcpListener::from(fresh[0].socket.try_clone().expect("the same socket"));
        assert_eq!(listener.accept().expect("somebody came").1, client.local_addr().expect("connected"));
        assert!(doors.change(&config(port, &["no.such.name.invalid"])).is_err());
        doors.change(&config(port, &["127.0.0.1", "-192.0.2.1"])).expect("an optional address may be missing");
        assert!(is_open(port));
    }
}
