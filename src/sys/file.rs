//! Files that are written past the page cache: aligned memory, room ahead, what has to be on disk.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What direct I/O asks of addresses, offsets and lengths, on any device.
pub const BLOCK_BYTES: usize = 4096;

#[derive(Clone)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_BYTES]);

/// The most that [`zeros`] are.
pub const ZEROS_BYTES: usize = 256 << 10;

static ZEROS: [Block; ZEROS_BYTES / BLOCK_BYTES] = [const { Block([0; BLOCK_BYTES]) }; ZEROS_BYTES / BLOCK_BYTES];

/// So many zeros, for direct I/O.
///
/// # Panics
/// They are more than [`ZEROS_BYTES`].
pub fn zeros(bytes: usize) -> &'static [u8] {
    // SAFETY: the blocks are bytes, one behind the other, without padding.
    let all: &[u8] = unsafe { std::slice::from_raw_parts(ZEROS.as_ptr().cast(), ZEROS_BYTES) };
    &all[..bytes]
}

/// Zeroed memory for direct I/O: whole blocks.
pub struct Blocks {
    blocks: Vec<Block>,
    bytes: usize,
}

impl Blocks {
    /// So many bytes, a multiple of [`BLOCK_BYTES`].
    pub fn new(bytes: usize) -> Blocks {
        assert!(bytes.is_multiple_of(BLOCK_BYTES) && 0 < bytes);
        Blocks { blocks: vec![Block([0; BLOCK_BYTES]); bytes / BLOCK_BYTES], bytes }
    }

    /// The same memory for other contents, if it is enough; what was there is still there.
    pub fn resized(mut self, bytes: usize) -> Blocks {
        if self.blocks.len() * BLOCK_BYTES < bytes {
            return Blocks::new(bytes);
        }
        assert!(bytes.is_multiple_of(BLOCK_BYTES) && 0 < bytes);
        self.bytes = bytes;
        self
    }

    /// Bytes that can be had without asking for memory.
    pub fn capacity(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the blocks are `self.bytes` initialized bytes at least, one behind the other, without padding.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast(), self.bytes) }
    }

    /// Its bytes, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes this the only view.
        unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), self.bytes) }
    }
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Blocks").field("bytes", &self.bytes).finish()
    }
}

/// Opens a file for writing past the page cache, and makes it if there is none. Whether it is written past the page
/// cache: not every file system can.
///
/// # Errors
/// Those of the kernel.
pub fn open_direct(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    match options.clone().custom_flags(libc::O_DIRECT).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => options.open(path).map(|file| (file, false)),
        Err(error) => Err(error),
    }
}

/// Makes room for bytes of a file, which grows; they are zeros until they are written.
///
/// # Errors
/// Those of the kernel: no space, or a file system that cannot.
pub fn allocate(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    let (offset, bytes) = (offset as libc::off_t, bytes as libc::off_t);
    // SAFETY: the descriptor is open as long as `file` is borrowed; no pointer is passed.
    match unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, bytes) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes a lock on a file or directory that goes with the process; false: somebody else has it.
pub fn lock(file: &File) -> bool {
    // SAFETY: the descriptor is open as long as `file` is borrowed; no pointer is passed.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

/// Has the names in a directory on disk.
///
/// # Errors
/// Those of the kernel.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_keep_their_memory() {
        let mut blocks = Blocks::new(3 * BLOCK_BYTES);
        assert!(blocks.bytes().as_ptr().addr().is_multiple_of(BLOCK_BYTES));
        blocks.bytes_mut()[BLOCK_BYTES] = 7;
        let address = blocks.bytes().as_ptr();
        let blocks = blocks.resized(2 * BLOCK_BYTES);
        assert_eq!((blocks.bytes().as_ptr(), blocks.bytes().len(), blocks.bytes()[BLOCK_BYTES]), (address, 8192, 7));
        assert_eq!(blocks.resized(4 * BLOCK_BYTES).bytes().len(), 4 * BLOCK_BYTES);
    }

    #[test]
    fn room_is_zeros_that_count_in_the_length() {
        let path = std::env::temp_dir().join(format!("corering-file-{}", std::process::id()));
        let (file, _) = open_direct(&path).unwrap();
        allocate(&file, 4096, 8192).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 12_288);
        assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
        std::fs::remove_file(&path).unwrap();
        sync_directory(path.parent().unwrap()).unwrap();
    }
}
