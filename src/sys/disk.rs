//! What the append-only file and snapshots ask of a file system, by one name: the seam at which a simulated disk takes
//! the kernel's place. Not here: what is written, and the ring, through which lanes are written.
//!
//! In a build for tests what lies below `simulated::ROOT` is on a simulated disk, which knows what is durable and what
//! is not, and fails when it is told to; so the code that runs in a server is the code that is proven. In any other
//! build a [`File`] is the kernel's, and nothing of this is in the program.

#[cfg(test)]
pub mod simulated;

use super::file;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// To be read.
    Read,
    /// To be written; it is there.
    Write,
    /// To be written, as it is or made.
    Make,
    /// To be written, empty.
    Anew,
}

/// A file that is open.
#[derive(Debug)]
pub struct File(Medium);

#[derive(Debug)]
enum Medium {
    Kernel(std::fs::File),
    #[cfg(test)]
    Simulated(simulated::File),
}

/// Runs the kernel's version, or the simulated disk's where a path is on one.
macro_rules! on_disk {
    ($path:expr, $disk:ident => $simulated:expr, $kernel:expr) => {{
        #[cfg(test)]
        if let Some($disk) = simulated::of($path) {
            return $simulated;
        }
        $kernel
    }};
}

impl File {
    /// Opens a file.
    ///
    /// # Errors
    /// Those of the medium, as for everything here.
    pub fn open(path: &Path, how: How) -> io::Result<File> {
        on_disk!(path, disk => disk.open(path, how).map(|file| File(Medium::Simulated(file))), {
            let mut options = std::fs::OpenOptions::new();
            match how {
                How::Read => options.read(true),
                How::Write => options.write(true),
                How::Make => options.write(true).create(true).truncate(false),
                How::Anew => options.write(true).create(true).truncate(true),
            };
            options.open(path).map(|file| File(Medium::Kernel(file)))
        })
    }

    /// Opens a file for writing past the page cache; see [`file::open_direct`].
    ///
    /// # Errors
    /// As for [`File::open`].
    pub fn open_direct(path: &Path) -> io::Result<(File, bool)> {
        on_disk!(path, disk => disk.open(path, How::Make).map(|file| (File(Medium::Simulated(file)), true)), {
            file::open_direct(path).map(|(file, is_direct)| (File(Medium::Kernel(file)), is_direct))
        })
    }

    /// Its length.
    ///
    /// # Errors
    /// As for [`File::open`].
    pub fn len(&self) -> io::Result<u64> {
        match &self.0 {
            Medium::Kernel(file) => file.metadata().map(|metadata| metadata.len()),
            #[cfg(test)]
            Medium::Simulated(file) => Ok(file.bytes()),
        }
    }

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// As for [`File::open`].
    pub fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|bytes| bytes == 0)
    }

    /// Fills `bytes` from an offset on.
    ///
    /// # Errors
    /// As for [`File::open`]; it ends before.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.0 {
            Medium::Kernel(file) => file.read_exact_at(bytes, offset),
            #[cfg(test)]
            Medium::Simulated(file) => file.read_exact_at(bytes, offset),
        }
    }

    /// Writes all of `bytes` from an offset on.
    ///
    /// # Errors
    /// As for [`File::open`]; some of it may be written.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &self.0 {
            Medium::Kernel(file) => file.write_all_at(bytes, offset),
            #[cfg(test)]
            Medium::Simulated(file) => file.write_all_at(bytes, offset),
        }
    }

    /// Cuts it, or makes it longer, by zeros.
    ///
    /// # Errors
    /// As for [`File::open`].
    pub fn set_len(&self, bytes: u64) -> io::Result<()> {
        match &self.0 {
            Medium::Kernel(file) => file.set_len(bytes),
            #[cfg(test)]
            Medium::Simulated(file) => file.set_len(bytes),
        }
    }

    /// Makes room; see [`file::allocate`].
    ///
    /// # Errors
    /// As for [`File::open`].
    pub fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        match &self.0 {
            Medium::Kernel(file) => file::allocate(file, offset, bytes),
            #[cfg(test)]
            Medium::Simulated(file) => file.allocate(offset + bytes),
        }
    }

    /// Has all that was written into it on disk; its name may not be.
    ///
    /// # Errors
    /// As for [`File::open`].
    pub fn sync(&self) -> io::Result<()> {
        match &self.0 {
            Medium::Kernel(file) => file.sync_all(),
            #[cfg(test)]
            Medium::Simulated(file) => file.sync(),
        }
    }

    /// What the ring knows it by.
    ///
    /// # Panics
    /// It is on a simulated disk, which no ring writes.
    pub fn descriptor(&self) -> RawFd {
        match &self.0 {
            Medium::Kernel(file) => file.as_raw_fd(),
            #[cfg(test)]
            Medium::Simulated(_) => panic!("no ring writes a simulated disk"),
        }
    }

    /// The file on a simulated disk.
    #[cfg(test)]
    pub fn simulated(&self) -> &simulated::File {
        match &self.0 {
            Medium::Kernel(_) => panic!("it is the kernel's"),
            Medium::Simulated(file) => file,
        }
    }
}

impl Read for File {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Medium::Kernel(file) => file.read(bytes),
            #[cfg(test)]
            Medium::Simulated(file) => file.read(bytes),
        }
    }
}

/// A directory that is held open.
#[derive(Debug)]
pub struct Directory(Holder);

#[derive(Debug)]
enum Holder {
    Kernel(std::fs::File),
    #[cfg(test)]
    Simulated,
}

impl Directory {
    /// Opens a directory.
    ///
    /// # Errors
    /// Those of the medium; it is none.
    pub fn open(path: &Path) -> io::Result<Directory> {
        on_disk!(path, disk => disk.open_directory(path).map(|()| Directory(Holder::Simulated)), {
            let opened = std::fs::File::open(path)?;
            match opened.metadata()?.is_dir() {
                true => Ok(Directory(Holder::Kernel(opened))),
                false => Err(io::ErrorKind::NotADirectory.into()),
            }
        })
    }

    /// Takes a lock on it that goes with the process; false: somebody else has it.
    pub fn lock(&self) -> bool {
        match &self.0 {
            Holder::Kernel(opened) => file::lock(opened),
            #[cfg(test)]
            Holder::Simulated => true,
        }
    }

    /// Whether it is what is found under a path.
    pub fn is_at(&self, path: &Path) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        match &self.0 {
            Holder::Kernel(opened) => match (std::fs::metadata(path), opened.metadata()) {
                (Ok(found), Ok(held)) => identity(found) == identity(held),
                _ => false,
            },
            #[cfg(test)]
            Holder::Simulated => is_there(path).unwrap_or(false),
        }
    }
}

/// Makes a directory, of which its parent may not know after a crash.
///
/// # Errors
/// As for [`File::open`].
pub fn make_directory(path: &Path) -> io::Result<()> {
    on_disk!(path, disk => disk.make_directory(path), std::fs::create_dir(path))
}

/// All bytes of a file.
///
/// # Errors
/// As for [`File::open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    on_disk!(path, disk => disk.read(path), std::fs::read(path))
}

/// Renames a file, of which its directory may not know after a crash.
///
/// # Errors
/// As for [`File::open`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    on_disk!(from, disk => disk.rename(from, to), std::fs::rename(from, to))
}

/// Removes a file, likewise.
///
/// # Errors
/// As for [`File::open`].
pub fn remove(path: &Path) -> io::Result<()> {
    on_disk!(path, disk => disk.remove(path), std::fs::remove_file(path))
}

/// Copies a file. How many bytes it has.
///
/// # Errors
/// As for [`File::open`].
pub fn copy(from: &Path, to: &Path) -> io::Result<u64> {
    on_disk!(from, disk => {
        let bytes = disk.read(from)?;
        File::open(to, How::Anew)?.write_all_at(&bytes, 0)?;
        Ok(bytes.len() as u64)
    }, std::fs::copy(from, to))
}

/// A file that is somebody's as long as this is kept.
#[derive(Debug)]
pub struct Claimed(#[expect(dead_code, reason = "it is kept for its lock")] Option<std::fs::File>);

/// Makes a file, and takes a lock on it. None: it cannot be, or somebody else has it.
pub fn claim(path: &Path) -> Option<Claimed> {
    on_disk!(path, disk => { let _ = disk; Some(Claimed(None)) }, {
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).ok()?;
        file::lock(&file).then_some(Claimed(Some(file)))
    })
}

/// Whether there is something under a name.
///
/// # Errors
/// It cannot be said.
pub fn is_there(path: &Path) -> io::Result<bool> {
    on_disk!(path, disk => Ok(disk.is_there(path)), match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    })
}

/// The names in a directory that are text.
///
/// # Errors
/// As for [`File::open`].
pub fn names(path: &Path) -> io::Result<Vec<String>> {
    on_disk!(path, disk => disk.names(path), {
        let names = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    })
}

/// Whether a path is a file's.
pub fn is_file(path: &Path) -> bool {
    on_disk!(path, disk => disk.read(path).is_ok(), path.is_file())
}

/// The length of a file.
///
/// # Errors
/// As for [`File::open`].
pub fn len(path: &Path) -> io::Result<u64> {
    on_disk!(path, disk => disk.read(path).map(|bytes| bytes.len() as u64), {
        std::fs::metadata(path).map(|metadata| metadata.len())
    })
}

/// Has the names in a directory on disk.
///
/// # Errors
/// As for [`File::open`].
pub fn sync_directory(path: &Path) -> io::Result<()> {
    on_disk!(path, disk => disk.sync_directory(path), file::sync_directory(path))
}
