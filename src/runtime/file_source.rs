//! A file of the log, read through a window: what [`crate::aof::recovery`] reads it from.

use crate::aof::recovery::Source;
use crate::sys::disk::{File, How};
use std::io;
use std::path::Path;

/// Bytes that are read ahead.
const WINDOW_BYTES: usize = 1 << 20;

/// See the module's page.
#[derive(Debug)]
pub(super) struct FileSource {
    file: File,
    len: u64,
    window: Vec<u8>,
    start: u64,
}

impl FileSource {
    /// Opens a file, which has the length that it has now.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn open(path: &Path) -> io::Result<FileSource> {
        let file = File::open(path, How::Read)?;
        let len = file.len()?;
        Ok(FileSource { file, len, window: Vec::new(), start: 0 })
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if WINDOW_BYTES <= bytes.len() {
            return self.file.read_exact_at(bytes, offset);
        }
        let end = offset + bytes.len() as u64;
        if offset < self.start || self.start + (self.window.len() as u64) < end {
            let len = (self.len - offset).min(WINDOW_BYTES as u64) as usize;
            self.window.resize(len, 0);
            self.start = offset;
            self.file.read_exact_at(&mut self.window, offset)?;
        }
        let at = (offset - self.start) as usize;
        bytes.copy_from_slice(&self.window[at..at + bytes.len()]);
        Ok(())
    }
}
