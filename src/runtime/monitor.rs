//! The lines that `MONITOR` shows.

use super::core::Core;
use super::mailbox::Control;
use super::send::list_once;
use crate::command::Args;
use crate::session::{Mode, Session};
use bytes::Bytes;

/// ` "set" "k" "v"`: what a line shows of a call.
pub fn arguments(args: &Args<'_>) -> Vec<u8> {
    let mut shown = Vec::new();
    for arg in args {
        shown.push(b' ');
        quote(arg, &mut shown);
    }
    shown
}

/// `+1339518083.107412 [0 127.0.0.1:60866] "set" "k" "v"`, with the line end; `shown`: the call's [`arguments`].
pub fn line(session: &Session, shown: &[u8]) -> Bytes {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let from = if session.mode.contains(Mode::UNIX_SOCKET) {
        format!("unix:{}", session.local.trim_end_matches(":0"))
    } else {
        session.peer.to_string()
    };
    let head = format!("+{}.{:06} [{} {}]", since.as_secs(), since.subsec_micros(), session.db, from);
    let mut line = head.into_bytes();
    line.extend_from_slice(shown);
    line.extend_from_slice(b"\r\n");
    line.into()
}

/// The same for a call of a script.
pub fn script_line(db: usize, shown: &[u8]) -> Bytes {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut line = format!("+{}.{:06} [{db} lua]", since.as_secs(), since.subsec_micros()).into_bytes();
    line.extend_from_slice(shown);
    line.extend_from_slice(b"\r\n");
    line.into()
}

/// Appends `bytes` in double quotes, with escapes for what is not printable ASCII.
pub fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x20..=0x7e => out.push(byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

impl Core {
    /// Shows a command to every client in `MONITOR`.
    pub(super) fn feed_monitors(&mut self, line: Bytes) {
        for to in (0..self.shared.cores).filter(|&to| to != self.core) {
            self.mailbox.control(to, Control::Monitor(line.clone()));
        }
        self.feed_own_monitors(&line);
    }

    /// The same for those of this core.
    pub(super) fn feed_own_monitors(&mut self, line: &[u8]) {
        for (index, connection) in self.connections.iter_mut() {
            if connection.session.mode.contains(Mode::MONITOR) && !connection.broken {
                connection.replies.write(|out| out.extend_from_slice(line));
                list_once(&mut self.dirty, &mut connection.dirty, index as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_broken_by_its_arguments() {
        let mut session = Session::new(1, 0, 3, 0);
        session.peer = "127.0.0.1:1".into();
        let line = line(&session, &arguments(&[b"SET", b"a\r\nb\"\\\x01", b""]));
        let text = std::str::from_utf8(&line).unwrap();
        assert!(
            text.starts_with('+') && text.ends_with(" [0 127.0.0.1:1] \"SET\" \"a\\r\\nb\\\"\\\\\\x01\" \"\"\r\n"),
            "{text}"
        );
    }
}
