//! What only the transcripts and the behaviour tests ask of clients and servers: odd cuts, signals, waiting.

use crate::client::Client;
use crate::process::Server;
use std::io::{self, Write};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

impl Client {
    /// Writes bytes in pieces of 1 to 9, with a pause after each so that the server reads them one at a time.
    /// The places follow from `seed`.
    pub fn send_cut(&mut self, bytes: &[u8], seed: u64) -> io::Result<()> {
        let mut state = seed | 1;
        let mut rest = bytes;
        while !rest.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let length = (1 + (state >> 60) as usize % 9).min(rest.len());
            self.stream.write_all(&rest[..length])?;
            rest = &rest[length..];
            std::thread::sleep(Duration::from_micros(30));
        }
        Ok(())
    }

    /// How long `read` waits from now on.
    pub fn set_read_timeout_ms(&mut self, timeout_ms: u64) {
        self.stream
            .set_read_timeout(Some(Duration::from_millis(timeout_ms)))
            .expect("a timeout above zero is accepted");
    }
}

impl Server {
    /// Sends a signal by name (`TERM`, `INT`).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name} failed");
    }

    /// Waits for its end; `None` when it is still there after `timeout_ms`.
    pub fn wait_exit(&mut self, timeout_ms: u64) -> Option<ExitStatus> {
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Some(status);
            }
            if deadline < Instant::now() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A field of `/proc/<pid>/status` in KiB, such as `VmRSS`.
    pub fn status_kib(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path).expect("a running process has a status");
        let line = text.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("no {field} in {path}"));
        line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("the field is a number of kB")
    }
}
