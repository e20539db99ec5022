//! A bell that a ring of ours can ring and glommio can hear: an event descriptor. It lets a core sleep in glommio's
//! rings without missing what completes in its own.
#![allow(unsafe_code)]

use glommio::io::BufferedFile;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

/// The bell of one core, made and heard on its thread.
pub struct Bell(BufferedFile);

impl Bell {
    /// Makes one; see [`super::ring::Ring::ring_bell`].
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Bell> {
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made just above; glommio owns it from here on and closes it.
        Ok(Bell(unsafe { BufferedFile::from_raw_fd(fd) }))
    }

    /// Waits until it was rung since it was last heard.
    pub async fn heard(&self) {
        // Reading gives the number of rings and sets it to 0; there is no position in it.
        self.0.read_at(0, size_of::<u64>()).await.expect("an event descriptor can be read");
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
