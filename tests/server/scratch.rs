//! Directories in which servers leave files for one another.

use crate::client::Client;
use crate::process::{Kind, Server};
use std::path::PathBuf;

/// A directory that several servers use one after the other; gone when it is dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// An empty one; `name`: of the test, which no other has.
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("corering-scratch-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("the directory for temporary files can be written");
        Scratch(path)
    }

    /// A server that keeps its files here.
    pub fn start(&self, kind: Kind, arguments: &[&str]) -> (Server, Client) {
        let mut all = vec!["--dir", self.0.to_str().expect("a name of text")];
        all.extend_from_slice(arguments);
        let server = Server::start(kind, &all);
        let client = Client::connect(server.port).expect("it accepts");
        (server, client)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
