//! Where a server is reached: `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`, resolved once.

use socket2::{Domain, SockAddr, Socket, Type};
use std::fmt;
use std::io;
use std::net::ToSocketAddrs;

/// A server's address. What it shows is what was said.
#[derive(Clone)]
pub struct Endpoint {
    said: String,
    address: SockAddr,
}

impl Endpoint {
    /// Resolves what was said; a host alone means port 6379.
    pub fn resolve(said: &str) -> Result<Endpoint, String> {
        let says = |what: String| format!("`{said}`: {what}");
        let path = said.strip_prefix("unix:").or_else(|| said.starts_with('/').then_some(said));
        if let Some(path) = path {
            let address = SockAddr::unix(path).map_err(|error| says(error.to_string()))?;
            return Ok(Endpoint { said: said.to_string(), address });
        }
        let is_bare = !said.contains(':') || (said.starts_with('[') && said.ends_with(']'));
        let with_port = if is_bare { format!("{said}:6379") } else { said.to_string() };
        let mut found = with_port.to_socket_addrs().map_err(|error| says(error.to_string()))?;
        let address = found.next().ok_or_else(|| says("no address has this name".into()))?;
        Ok(Endpoint { said: with_port, address: address.into() })
    }

    /// A socket whose connecting has begun. It does not block.
    pub fn connect(&self) -> io::Result<Socket> {
        let socket = Socket::new(self.address.domain(), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if self.address.domain() != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        match socket.connect(&self.address) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
            _ => Ok(socket),
        }
    }

    /// The socket's address, for who connects in his own way.
    pub fn address(&self) -> &SockAddr {
        &self.address
    }

    /// The host, as it was said; of a Unix socket none.
    pub fn host(&self) -> Option<&str> {
        if self.address.domain() == Domain::UNIX { None } else { self.said.rsplit_once(':').map(|(host, _)| host) }
    }

    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        self.address.as_socket().is_none_or(|address| address.ip().is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood() {
        let shown = |said: &str| Endpoint::resolve(said).map(|endpoint| endpoint.to_string());
        assert_eq!(shown("127.0.0.1"), Ok("127.0.0.1:6379".into()));
        assert_eq!(shown("127.0.0.1:7000"), Ok("127.0.0.1:7000".into()));
        assert_eq!(shown("[::1]:7000"), Ok("[::1]:7000".into()));
        assert_eq!(shown("[::1]"), Ok("[::1]:6379".into()));
        assert_eq!(shown("unix:/tmp/x"), Ok("unix:/tmp/x".into()));
        assert!(shown("127.0.0.1:port").is_err());
        assert!(shown(&format!("unix:/{}", "x".repeat(200))).is_err());
        let local = Endpoint::resolve("127.0.0.1:1").unwrap();
        assert!(local.is_local() && local.host() == Some("127.0.0.1"));
    }
}
