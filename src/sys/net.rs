//! Listening sockets and socket options.

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::fs::{self, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Opens a TCP socket that listens on `address`. A port in use is tried again as long as `patience` says: the multishot
/// accept of a server that was killed holds its port some milliseconds longer.
///
/// # Errors
/// What the kernel says of the address or the port.
pub fn listen_tcp(address: SocketAddr, backlog: i32, patience: Duration) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let started = Instant::now();
    loop {
        match socket.bind(&SockAddr::from(address)) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && started.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error),
        }
    }
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Lets a socket listen again that was [`shutdown`]; it has kept its address.
///
/// # Errors
/// Somebody else listens there now.
pub fn listen_again(socket: &impl AsFd, backlog: i32) -> io::Result<()> {
    SockRef::from(socket).listen(backlog)
}

/// Opens a unix socket that listens at `path`, replacing a stale one; `mode` are its permission bits. A file that is no
/// socket stays, and is an error.
///
/// # Errors
/// What the kernel says of the path.
pub fn listen_unix(path: &Path, mode: Option<u32>, backlog: i32) -> io::Result<OwnedFd> {
    if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        let _ = fs::remove_file(path); // Where it stays, the bind says why.
    }
    let mut socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Some(mode) = mode {
        // The file gets the permissions of the socket: at no time may more people connect.
        let as_file = File::from(OwnedFd::from(socket));
        as_file.set_permissions(Permissions::from_mode(mode))?;
        socket = OwnedFd::from(as_file).into();
    }
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(mode) = mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?; // What the umask took away.
    }
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// What tells a file from another one that has got its name: device and inode.
///
/// # Errors
/// What the kernel says of the path.
pub fn file_identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// The two ends of an accepted socket, as `CLIENT LIST` prints them.
#[derive(Debug, Clone)]
pub struct Ends {
    /// `ip:port` of the client, or the path and `:0` of a unix socket.
    pub peer: String,
    /// `ip:port` of ours.
    pub local: String,
    /// Our port; 0 of a unix socket.
    pub port: u16,
    /// True for the loopback range and unix sockets.
    pub loopback: bool,
    /// True for unix sockets.
    pub unix: bool,
}

/// Sets the options of an accepted socket and tells its ends. `keepalive_s` 0: none.
#[allow(unsafe_code)]
pub fn prepare(socket: RawFd, keepalive_s: u32) -> Ends {
    // SAFETY: the descriptor was just accepted and is given back by `into_raw_fd` below.
    let socket = unsafe { Socket::from_raw_fd(socket) };
    let peer = socket.peer_addr().ok();
    let local = socket.local_addr().ok();
    let inet = |address: &Option<SockAddr>| address.as_ref().and_then(|address| address.as_socket());
    let ends = match (inet(&peer), inet(&local)) {
        (Some(peer), local) => {
            // A failing option costs speed, not correctness: the socket may be gone already.
            let _ = socket.set_tcp_nodelay(true);
            if 0 < keepalive_s {
                let idle = Duration::from_secs(keepalive_s as u64);
                let interval = Duration::from_secs((keepalive_s as u64 / 3).max(1));
                let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
                let _ = socket.set_tcp_keepalive(&keepalive);
            }
            Ends {
                peer: peer.to_string(),
                local: local.map_or_else(String::new, |local| local.to_string()),
                port: local.map_or(0, |local| local.port()),
                loopback: peer.ip().to_canonical().is_loopback(),
                unix: false,
            }
        }
        _ => {
            let path = local.as_ref().and_then(|local| local.as_pathname()).map(|path| path.display().to_string());
            let path = path.unwrap_or_else(|| "?".to_string());
            Ends { peer: format!("{path}:0"), local: format!("{path}:0"), port: 0, loopback: true, unix: true }
        }
    };
    let _ = socket.into_raw_fd();
    ends
}

/// Sends a last word (it fits into an empty socket buffer, or is lost) and closes.
#[allow(unsafe_code)]
pub fn refuse(socket: RawFd, text: &[u8]) {
    // SAFETY: the descriptor is owned by the caller and given up here.
    let socket = unsafe { Socket::from_raw_fd(socket) };
    let _ = socket.set_nonblocking(true);
    let _ = socket.send_with_flags(text, libc::MSG_NOSIGNAL);
}

/// Closes a descriptor that this process owns.
#[allow(unsafe_code)]
pub fn close(fd: RawFd) {
    // SAFETY: the caller owns the descriptor and does not use it again.
    drop(unsafe { Socket::from_raw_fd(fd) });
}

/// Closes a descriptor as [`close`], and tells the other side that something of what it sent was thrown away (RFC 2525,
/// 2.17). The kernel does so of what lies there unread, and cannot know what was read for nothing: without being told,
/// a client that sends more than fits waits for room until the kernel forgets the connection, a minute later.
#[allow(unsafe_code)]
pub fn reset(fd: RawFd) {
    // SAFETY: the caller owns the descriptor and does not use it again.
    let socket = unsafe { Socket::from_raw_fd(fd) };
    let _ = socket.set_linger(Some(std::time::Duration::ZERO));
}

/// Ends both directions, so that operations in flight on the socket finish.
#[allow(unsafe_code)]
pub fn shutdown(fd: RawFd) {
    // SAFETY: the descriptor is open; it is given back below.
    let socket = unsafe { Socket::from_raw_fd(fd) };
    let _ = socket.shutdown(std::net::Shutdown::Both);
    let _ = socket.into_raw_fd();
}

/// Ends both directions and forgets what was sent and not taken: for a client that does not read, which would otherwise
/// keep the kernel sending for minutes, and itself waiting to be read.
#[allow(unsafe_code)]
pub fn abort(fd: RawFd) {
    // SAFETY: the descriptor is open; it is given back below.
    let socket = unsafe { Socket::from_raw_fd(fd) };
    let _ = socket.set_linger(Some(std::time::Duration::ZERO));
    let _ = socket.shutdown(std::net::Shutdown::Both);
    let _ = socket.into_raw_fd();
}
