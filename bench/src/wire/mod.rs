//! What goes over the wire: requests written, replies scanned or parsed, places of keys in a cluster.

pub mod cluster;
pub mod control;
pub mod endpoint;
pub mod reply;
pub mod value;

use crate::workload::keys::append_number;

/// Appends a request of these arguments.
pub fn append_request(arguments: &[&[u8]], out: &mut Vec<u8>) {
    out.push(b'*');
    append_number(arguments.len() as u64, 1, out);
    out.extend_from_slice(b"\r\n");
    for argument in arguments {
        out.push(b'$');
        append_number(argument.len() as u64, 1, out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

/// What every connection says first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Greeting {
    pub user: Option<String>,
    pub password: Option<String>,
    pub database: u32,
    /// Speak RESP3.
    pub is_resp3: bool,
}

impl Greeting {
    /// The requests, and how many replies they get.
    pub fn requests(&self) -> (Vec<u8>, usize) {
        let mut said: Vec<Vec<&[u8]>> = Vec::new();
        let database = self.database.to_string();
        if let Some(password) = &self.password {
            said.push(match &self.user {
                Some(user) => vec![b"AUTH", user.as_bytes(), password.as_bytes()],
                None => vec![b"AUTH", password.as_bytes()],
            });
        }
        if self.is_resp3 {
            said.push(vec![b"HELLO", b"3"]);
        }
        if 0 < self.database {
            said.push(vec![b"SELECT", database.as_bytes()]);
        }
        if said.is_empty() {
            // A listener that answers nothing is found out before the load begins.
            said.push(vec![b"PING"]);
        }
        let mut out = Vec::new();
        for arguments in &said {
            append_request(arguments, &mut out);
        }
        (out, said.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_says_who_and_how() {
        let greeting = Greeting { user: None, password: Some("secret".into()), database: 3, is_resp3: true };
        let (bytes, count) = greeting.requests();
        let expected =
            "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n";
        assert_eq!((String::from_utf8(bytes).unwrap().as_str(), count), (expected, 3));
        assert_eq!(Greeting::default().requests(), (b"*1\r\n$4\r\nPING\r\n".to_vec(), 1));
    }
}
