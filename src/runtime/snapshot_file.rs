//! A snapshot's file: written by tasks of glommio beside the loop, through the page cache. Where snapshots meet the
//! file system, as [`crate::sys::disk`] is where the log does; in a build for tests it may be on a simulated disk too.

#[cfg(test)]
use crate::sys::disk;
use glommio::io::{BufferedFile, OpenOptions};
use std::io;
use std::path::Path;

/// See the module's page.
pub(super) struct SnapshotFile(Medium);

enum Medium {
    Kernel(BufferedFile),
    #[cfg(test)]
    Simulated(disk::File),
}

/// Whether a path is on a simulated disk.
#[cfg(test)]
fn is_simulated(path: &Path) -> bool {
    disk::simulated::of(path).is_some()
}

impl SnapshotFile {
    /// Opens a file for writing, as it is or made.
    pub(super) async fn open(path: &Path) -> io::Result<SnapshotFile> {
        #[cfg(test)]
        if is_simulated(path) {
            return disk::File::open(path, disk::How::Make).map(|file| SnapshotFile(Medium::Simulated(file)));
        }
        let file = OpenOptions::new().write(true).create(true).buffered_open(path).await?;
        Ok(SnapshotFile(Medium::Kernel(file)))
    }

    /// Writes all of `bytes` at an offset.
    pub(super) async fn write(&self, bytes: Vec<u8>, offset: u64) -> io::Result<()> {
        let len = bytes.len();
        let written = match &self.0 {
            Medium::Kernel(file) => file.write_at(bytes, offset).await?,
            #[cfg(test)]
            Medium::Simulated(file) => file.simulated().write_at(&bytes, offset)?,
        };
        // So it is where the disk is nearly full.
        if written == len { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOSPC)) }
    }

    /// Cuts it to its length.
    pub(super) async fn truncate(&self, bytes: u64) -> io::Result<()> {
        match &self.0 {
            Medium::Kernel(file) => Ok(file.truncate(bytes).await?),
            #[cfg(test)]
            Medium::Simulated(file) => file.set_len(bytes),
        }
    }

    /// Has what was written on disk.
    pub(super) async fn sync(&self) -> io::Result<()> {
        match &self.0 {
            Medium::Kernel(file) => Ok(file.fdatasync().await?),
            #[cfg(test)]
            Medium::Simulated(file) => file.sync(),
        }
    }

    /// Closes it.
    pub(super) async fn close(self) -> io::Result<()> {
        match self.0 {
            Medium::Kernel(file) => Ok(file.close().await?),
            #[cfg(test)]
            Medium::Simulated(_) => Ok(()),
        }
    }
}

/// Puts a file in the place of another one.
pub(super) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    if is_simulated(from) {
        return disk::rename(from, to);
    }
    Ok(glommio::io::rename(from, to).await?)
}

/// Removes a file.
pub(super) async fn remove(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if is_simulated(path) {
        return disk::remove(path);
    }
    Ok(glommio::io::remove(path).await?)
}

/// Has the names in a directory on disk.
pub(super) async fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if is_simulated(path) {
        return disk::sync_directory(path);
    }
    let opened = BufferedFile::open(path).await?;
    opened.fdatasync().await?;
    let _ = opened.close().await;
    Ok(())
}
