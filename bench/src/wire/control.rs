//! A connection that asks and waits: what the server is, how its cluster is laid out. Never used under load.

use super::endpoint::Endpoint;
use super::value::{Value, parse};
use super::{Greeting, append_request};
use socket2::{Socket, Type};
use std::io::{self, Read, Write};
use std::time::Duration;

/// A connection that has greeted.
pub struct Control {
    endpoint: Endpoint,
    socket: Socket,
    input: Vec<u8>,
}

impl Control {
    /// Connects and greets. Nothing waits for longer than `timeout`.
    pub fn connect(endpoint: &Endpoint, greeting: &Greeting, timeout: Duration) -> Result<Control, String> {
        let says = |error: io::Error| format!("cannot connect to {endpoint}: {}", plain(&error));
        let socket = Socket::new(endpoint.address().domain(), Type::STREAM, None).map_err(says)?;
        if endpoint.address().is_unix() {
            socket.connect(endpoint.address()).map_err(says)?;
        } else {
            socket.connect_timeout(endpoint.address(), timeout).map_err(says)?;
        }
        socket.set_read_timeout(Some(timeout)).map_err(says)?;
        socket.set_write_timeout(Some(timeout)).map_err(says)?;
        let mut control = Control { endpoint: endpoint.clone(), socket, input: Vec::new() };
        let (bytes, replies) = greeting.requests();
        control.send(&bytes)?;
        for _ in 0..replies {
            if let Value::Error(text) = control.receive()? {
                return Err(format!("{endpoint} refuses the greeting: {text}"));
            }
        }
        Ok(control)
    }

    /// Asks one question. An error reply is a value.
    pub fn call(&mut self, arguments: &[&[u8]]) -> Result<Value, String> {
        let mut out = Vec::new();
        append_request(arguments, &mut out);
        self.send(&out)?;
        self.receive()
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        (&self.socket).write_all(bytes).map_err(|error| format!("cannot write to {}: {}", self.endpoint, plain(&error)))
    }

    fn receive(&mut self) -> Result<Value, String> {
        loop {
            let parsed = parse(&self.input);
            if let Some((value, len)) =
                parsed.map_err(|garbage| format!("{} does not speak RESP: {garbage}", self.endpoint))?
            {
                self.input.drain(..len);
                return Ok(value);
            }
            let mut piece = [0; 16 * 1024];
            match (&self.socket).read(&mut piece) {
                Ok(0) => return Err(format!("{} closed the connection without an answer", self.endpoint)),
                Ok(len) => self.input.extend_from_slice(&piece[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("no answer from {}: {}", self.endpoint, plain(&error))),
            }
        }
    }
}

/// An error in people's words: `os error 11` after a time limit says nothing.
pub fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it took too long".into(),
        _ => error.to_string(),
    }
}
