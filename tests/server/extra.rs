//! What only the transcripts and the behaviour tests ask of clients and servers: odd cuts, signals, waiting.

use crate::client::{Client, Value, encode};
use crate::process::Server;
use std::io::{self, Write};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a condition is waited for: machines that test are shared, and what comes true sooner costs nothing.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks again and again until it is so.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The same, with what was seen last.
pub fn wait_until_told(mut is_so: impl FnMut() -> (bool, String)) {
    let deadline = Instant::now() + PATIENCE;
    while let (false, seen) = is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {seen}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Tells threads of a scope to end, also where what runs beside them has failed: else the test would hang.
pub struct SetWhenDropped<'a>(pub &'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Has one client send something slow, and another one something quick again and again, until the quick one was
/// answered more than so many times before the reply to the slow one began to come. What counts is what came first, not
/// when: a round in which the machine held this thread up proves nothing, and another one is begun. The reply to the
/// slow command.
#[track_caller]
pub fn between(client: &mut Client, slow: &[&str], other: &mut Client, quick: &[&str], answers_min: usize) -> Value {
    let started = Instant::now();
    let mut most = 0;
    loop {
        assert!(started.elapsed() < PATIENCE, "only {most} of {quick:?} were answered during {slow:?}");
        client.send_raw(&encode(slow)).expect("it listens");
        client.stream.set_nonblocking(true).expect("set");
        let mut answers = 0;
        while client.stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let reply = other.call(quick).expect("a reply");
            assert!(!matches!(reply, Value::Error(_)), "{reply}");
            answers += 1;
        }
        client.stream.set_nonblocking(false).expect("set");
        let reply = client.read().expect("a reply");
        most = most.max(answers);
        if answers_min < answers {
            return reply;
        }
    }
}

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
