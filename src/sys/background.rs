//! Going to the background, and what the starter of the process is told of it.
//!
//! ```text
//!  parent ──fork──▶ child: a session of its own, standard streams at /dev/null
//!    │                │
//!    │◀──── pipe ─────┤  one byte: it serves; a text: why it does not; nothing: it ended without a word
//!    ▼                ▼
//!  exit 0 or 1      serves
//! ```
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};

/// What the child writes when it serves. No text for people begins with it.
const SERVES: u8 = 0;

/// The child's way to tell its parent, which waits for it.
#[derive(Debug)]
pub struct Starter(File);

impl Starter {
    /// The server serves: the parent ends well.
    pub fn succeeded(mut self) {
        let _ = self.0.write_all(&[SERVES]); // A parent that was killed needs no word.
    }

    /// The server cannot start: the parent prints why and ends badly.
    pub fn failed(mut self, why: &str) {
        let _ = self.0.write_all(why.as_bytes());
    }
}

/// How the child of a parent that has waited for it began.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It serves.
    Serves,
    /// Why it does not.
    Failed(String),
}

/// Who returned from [`fork`].
#[derive(Debug)]
pub enum Forked {
    /// The process that was started, when its child serves or has ended.
    Parent(Outcome),
    /// The process that goes on.
    Child(Starter),
}

/// Forks; the child leaves the terminal, its session and its standard streams. The parent comes back when the child
/// serves or has ended. To be called before there is a second thread: the child would have only the calling one.
///
/// # Errors
/// What the system refuses; then there is no child.
pub fn fork() -> io::Result<Forked> {
    if let Ok(threads) = std::fs::read_dir("/proc/self/task") {
        assert_eq!(threads.count(), 1, "a process with several threads must not fork");
    }
    let (mut from_child, to_parent) = pipe()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // SAFETY: there is one thread, so the child finds no lock held by a thread that it lacks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(from_child);
            // SAFETY: the calls take no pointers; 0, 1 and 2 are replaced as a whole. setsid fails for no child.
            unsafe {
                libc::setsid();
                for stream in 0..=2 {
                    libc::dup2(null.as_raw_fd(), stream);
                }
            }
            Ok(Forked::Child(Starter(to_parent)))
        }
        _ => {
            drop(to_parent);
            let mut words = Vec::new();
            from_child.read_to_end(&mut words)?;
            Ok(Forked::Parent(outcome(&words)))
        }
    }
}

/// What the words of a child mean.
fn outcome(words: &[u8]) -> Outcome {
    match words {
        [SERVES, ..] => Outcome::Serves,
        [] => Outcome::Failed("the server ended while it started: see its log".into()),
        text => Outcome::Failed(String::from_utf8_lossy(text).into()),
    }
}

/// A pipe that no program started later inherits: the end to read and the end to write.
fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both were just opened and belong to nobody else.
    unsafe { Ok((File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))) }
}

/// Stops this process until somebody (upstart) lets it go on.
pub fn stop_until_continued() {
    // SAFETY: the call takes no pointers.
    unsafe {
        libc::raise(libc::SIGSTOP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_learns_how_it_went() {
        for (tell, expected) in [
            (Some(Ok(())), Outcome::Serves),
            (Some(Err("no port")), Outcome::Failed("no port".into())),
            (None, Outcome::Failed("the server ended while it started: see its log".into())),
        ] {
            let (mut from_child, to_parent) = pipe().expect("a pipe");
            let starter = Starter(to_parent);
            match tell {
                Some(Ok(())) => starter.succeeded(),
                Some(Err(why)) => starter.failed(why),
                None => drop(starter),
            }
            let mut words = Vec::new();
            from_child.read_to_end(&mut words).expect("the other end is closed");
            assert_eq!(outcome(&words), expected);
        }
    }
}
