//! A disk in memory that loses power, and fails: for each file what is durable and what is not yet, sector by sector,
//! and for each directory the changes of its names that are not yet.
//!
//! ```text
//!   write ─▶ current (what everybody reads) ─▶ pending: sectors, lengths ──sync──▶ durable
//!   create, rename, remove ─▶ pending of the directory, in their order ──sync of the directory──▶ durable
//!
//!   crash: of each file any of its pending changes, of each directory the first few ─▶ a disk on which all is durable
//! ```
//! Stricter than any file system: a sync of a file says nothing of its name nor of other files, lengths and sectors
//! arrive independently of each other, a write that is synced by itself brings its own sectors and the length alone.
//! What a failed sync should have made durable never becomes so (the kernel forgets it).
//!
//! Every call counts. One of them can be told to fail ([`Disk::fail`]); after each that changes something there is an
//! [`Image`] of which crashes can be made.

use super::How;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Disks are below this, each under its number.
const ROOT: &str = "/simulated";
/// What arrives as a whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// Room that is made at a time.
const ROOM_BYTES_MAX: u64 = 16 * 1024;

type Sector = Arc<[u8; SECTOR_BYTES]>;

/// Bytes of a file. A sector that is not there is zeros.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Contents {
    bytes: u64,
    sectors: BTreeMap<u64, Sector>,
}

impl Contents {
    fn read(&self, offset: u64, out: &mut [u8]) {
        out.fill(0);
        let end = offset + out.len() as u64;
        for (number, sector) in self.sectors.range(sectors(offset, out.len())) {
            let start = number * SECTOR_BYTES as u64;
            let (from, to) = (offset.max(start), end.min(start + SECTOR_BYTES as u64));
            let bytes = &sector[(from - start) as usize..(to - start) as usize];
            out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(bytes);
        }
    }

    fn all(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes as usize];
        self.read(0, &mut bytes);
        bytes
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Sector(number, sector) => drop(self.sectors.insert(*number, sector.clone())),
            Change::Grown(bytes) => self.bytes = self.bytes.max(*bytes),
            Change::Length(bytes) => {
                self.bytes = *bytes;
                let (whole, part) = (bytes / SECTOR_BYTES as u64, *bytes as usize % SECTOR_BYTES);
                let mut cut = self.sectors.split_off(&whole);
                if let Some(mut last) = cut.remove(&whole).filter(|_| part != 0) {
                    Arc::make_mut(&mut last)[part..].fill(0);
                    self.sectors.insert(whole, last);
                }
            }
        }
    }
}

/// A change of a file that may arrive or not.
#[derive(Debug, Clone)]
enum Change {
    Sector(u64, Sector),
    /// It is at least so long.
    Grown(u64),
    /// It is cut to this length, or made so long.
    Length(u64),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    current: Contents,
    durable: Contents,
    pending: Vec<Change>,
    /// Up to where there is room, though it is not as long.
    room: u64,
    /// A write did not fit.
    is_refused: bool,
}

impl Inode {
    fn change(&mut self, change: Change) {
        self.current.apply(&change);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.durable.apply(&change);
        }
    }

    /// A write of some sectors is synced: they are durable, and what is needed to find them.
    fn sync_sectors(&mut self, sectors: &std::ops::Range<u64>) {
        for change in std::mem::take(&mut self.pending) {
            match &change {
                Change::Sector(number, _) if !sectors.contains(number) => self.pending.push(change),
                Change::Length(bytes) => {
                    let is_within = |number: u64| number * (SECTOR_BYTES as u64) < *bytes;
                    self.pending.retain(|other| !matches!(other, Change::Sector(number, _) if !is_within(*number)));
                    self.durable.apply(&change);
                }
                _ => self.durable.apply(&change),
            }
        }
    }
}

/// What a name stands for: the number of a file, or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Directory,
}

#[derive(Debug, Clone)]
enum Naming {
    Put(String, Node),
    Move(String, String),
    Remove(String),
}

#[derive(Debug, Clone, Default)]
struct Folder {
    current: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<Naming>,
}

fn name(names: &mut BTreeMap<String, Node>, naming: &Naming) {
    match naming {
        Naming::Put(name, node) => drop(names.insert(name.clone(), *node)),
        Naming::Move(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
        Naming::Remove(name) => drop(names.remove(name)),
    }
}

impl Folder {
    fn change(&mut self, naming: Naming) {
        name(&mut self.current, &naming);
        self.pending.push(naming);
    }

    fn sync(&mut self) {
        self.durable = self.current.clone();
        self.pending.clear();
    }
}

/// All that a disk holds at one moment: what is durable, and what may be.
#[derive(Debug, Clone)]
pub struct Image {
    inodes: Vec<Inode>,
    /// By path below the disk's root, which is the empty one.
    folders: BTreeMap<PathBuf, Folder>,
}

impl Image {
    /// In how many things a crash has a choice: pending changes of files, and of names.
    pub fn choices(&self) -> usize {
        self.inodes.iter().map(|inode| inode.pending.len()).sum::<usize>()
            + self.folders.values().map(|folder| folder.pending.len()).sum::<usize>()
    }

    /// What a crash leaves. `arrives` is asked of each pending change of a file whether it arrives, and of each
    /// directory's, from the first on, until it says no.
    pub fn crashed(&self, mut arrives: impl FnMut() -> bool) -> Image {
        let mut image = self.clone();
        for inode in &mut image.inodes {
            for change in std::mem::take(&mut inode.pending) {
                if arrives() {
                    inode.durable.apply(&change);
                }
            }
            inode.current = inode.durable.clone();
        }
        for folder in image.folders.values_mut() {
            let mut goes_on = true;
            for naming in std::mem::take(&mut folder.pending) {
                goes_on = arrives() && goes_on;
                if goes_on {
                    name(&mut folder.durable, &naming);
                }
            }
            folder.current = folder.durable.clone();
        }
        image
    }
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// With this error number, and nothing is done.
    Error(i32),
    /// Half of it is written; calls that write nothing succeed.
    Short,
}

/// One disk. It is gone when nobody holds it.
#[derive(Debug)]
pub struct Disk {
    /// Where it is.
    pub path: PathBuf,
    number: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    image: Image,
    images: Vec<Image>,
    keeps_images: bool,
    /// What was called, in order.
    calls: Vec<&'static str>,
    fault: Option<(usize, Fault)>,
    /// So many bytes are all there is, and this error number says so.
    limit: Option<(u64, i32)>,
    /// It says of what it was told to sync that it is, and that is not so.
    forgets: bool,
}

static DISKS: Mutex<BTreeMap<u64, Weak<Disk>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The disk that a path is on, if it is simulated.
pub fn of(path: &Path) -> Option<Arc<Disk>> {
    let number = path.strip_prefix(ROOT).ok()?.iter().next()?.to_str()?.parse::<u64>().ok()?;
    DISKS.lock().get(&number).and_then(Weak::upgrade)
}

impl Drop for Disk {
    fn drop(&mut self) {
        DISKS.lock().remove(&self.number);
    }
}

impl Disk {
    /// An empty disk, or one with what a crash has left.
    pub fn new(left: Option<Image>) -> Arc<Disk> {
        let empty = || Image { inodes: Vec::new(), folders: [(PathBuf::new(), Folder::default())].into() };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let state = State {
            image: left.unwrap_or_else(empty),
            images: Vec::new(),
            keeps_images: false,
            calls: Vec::new(),
            fault: None,
            limit: None,
            forgets: false,
        };
        let path = Path::new(ROOT).join(number.to_string());
        let disk = Arc::new(Disk { path, number, state: Mutex::new(state) });
        DISKS.lock().insert(number, Arc::downgrade(&disk));
        disk
    }

    /// From now on there is an image after each change.
    pub fn keep_images(&self) {
        self.state.lock().keeps_images = true;
    }

    /// How many there are.
    pub fn images_len(&self) -> usize {
        self.state.lock().images.len()
    }

    /// Those that there are.
    pub fn take_images(&self) -> Vec<Image> {
        std::mem::take(&mut self.state.lock().images)
    }

    /// As it is now.
    pub fn image(&self) -> Image {
        self.state.lock().image.clone()
    }

    /// The call with this number, from 0, fails.
    pub fn fail(&self, call: usize, fault: Fault) {
        self.state.lock().fault = Some((call, fault));
    }

    /// From now on what is there is all there is room for, and this error number says so; none: there is room enough.
    pub fn fill(&self, error: Option<i32>) {
        let mut state = self.state.lock();
        state.limit = error.map(|error| (state.used_bytes(), error));
    }

    /// From now on nothing that is written into files becomes durable, whatever is said.
    pub fn forget_syncs(&self) {
        self.state.lock().forgets = true;
    }

    /// What was called so far.
    pub fn calls(&self) -> Vec<&'static str> {
        self.state.lock().calls.clone()
    }

    /// The directory of a path below the root, and the name in it.
    fn parts(&self, path: &Path) -> (PathBuf, String) {
        let below = path.strip_prefix(&self.path).expect("it is on this disk");
        let name = below.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        (below.parent().unwrap_or(Path::new("")).to_path_buf(), name)
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.path).expect("it is on this disk").to_path_buf()
    }

    fn find(&self, state: &State, path: &Path) -> io::Result<Node> {
        let (folder, name) = self.parts(path);
        if name.is_empty() {
            return Ok(Node::Directory);
        }
        // A directory that no directory names cannot be entered.
        if !folder.as_os_str().is_empty() {
            self.find(state, &self.path.join(&folder))?;
        }
        let folder = state.image.folders.get(&folder).ok_or(io::ErrorKind::NotFound)?;
        folder.current.get(&name).copied().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// Opens a file.
    ///
    /// # Errors
    /// It is not there; the fault that was asked for. So for all calls.
    pub fn open(self: &Arc<Self>, path: &Path, how: How) -> io::Result<File> {
        let mut state = self.state.lock();
        state.call("open")?;
        let inode = match self.find(&state, path) {
            Ok(Node::File(inode)) => {
                if how == How::Anew {
                    state.image.inodes[inode].change(Change::Length(0));
                    state.changed();
                }
                inode
            }
            Ok(Node::Directory) => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
            Err(error) if matches!(how, How::Read | How::Write) => return Err(error),
            Err(_) => {
                let (folder, name) = self.parts(path);
                let inode = state.image.inodes.len();
                state.image.inodes.push(Inode::default());
                let folder = state.image.folders.get_mut(&folder);
                let folder = folder.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
                folder.change(Naming::Put(name, Node::File(inode)));
                state.changed();
                inode
            }
        };
        Ok(File { disk: self.clone(), inode, at: 0 })
    }

    /// Looks whether a directory is there.
    pub fn open_directory(&self, path: &Path) -> io::Result<()> {
        match self.find(&self.state.lock(), path)? {
            Node::Directory => Ok(()),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Makes a directory.
    pub fn make_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call("mkdir")?;
        if self.find(&state, path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (folder, name) = self.parts(path);
        let folder = state.image.folders.get_mut(&folder).ok_or(io::ErrorKind::NotFound)?;
        folder.change(Naming::Put(name, Node::Directory));
        state.image.folders.insert(self.below(path), Folder::default());
        state.changed();
        Ok(())
    }

    /// All bytes of a file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        match self.find(&state, path)? {
            Node::File(inode) => Ok(state.image.inodes[inode].current.all()),
            Node::Directory => Err(io::Error::from_raw_os_error(libc::EISDIR)),
        }
    }

    /// Renames a file within its directory.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call("rename")?;
        self.find(&state, from)?;
        let ((folder, from), (other, to)) = (self.parts(from), self.parts(to));
        assert_eq!(folder, other, "a rename into another directory is not simulated");
        state.image.folders.get_mut(&folder).expect("found").change(Naming::Move(from, to));
        state.changed();
        Ok(())
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call("unlink")?;
        self.find(&state, path)?;
        let (folder, name) = self.parts(path);
        state.image.folders.get_mut(&folder).expect("found").change(Naming::Remove(name));
        state.changed();
        Ok(())
    }

    /// Whether there is something under a name.
    pub fn is_there(&self, path: &Path) -> bool {
        self.find(&self.state.lock(), path).is_ok()
    }

    /// The names in a directory.
    pub fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let folder = state.image.folders.get(&self.below(path)).ok_or(io::ErrorKind::NotFound)?;
        Ok(folder.current.keys().cloned().collect())
    }

    /// Names in a directory become durable.
    pub fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call("sync of a directory")?;
        let folder = self.below(path);
        state.image.folders.get_mut(&folder).ok_or(io::ErrorKind::NotFound)?.sync();
        state.changed();
        Ok(())
    }
}

impl State {
    /// Counts a call; whether it fails.
    fn call(&mut self, what: &'static str) -> io::Result<()> {
        match self.count(what) {
            Some(Fault::Error(number)) => Err(io::Error::from_raw_os_error(number)),
            Some(Fault::Short) | None => Ok(()),
        }
    }

    fn count(&mut self, what: &'static str) -> Option<Fault> {
        let number = self.calls.len();
        self.calls.push(what);
        self.fault.filter(|(call, _)| *call == number).map(|(_, fault)| fault)
    }

    fn used_bytes(&self) -> u64 {
        self.image.inodes.iter().map(|inode| inode.current.bytes.max(inode.room)).sum()
    }

    /// Whether a file may go up to here.
    fn fits(&self, inode: usize, end: u64) -> io::Result<()> {
        let Some((limit, error)) = self.limit else { return Ok(()) };
        let inode = &self.image.inodes[inode];
        let more = end.saturating_sub(inode.current.bytes.max(inode.room));
        if more == 0 || self.used_bytes() + more <= limit {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(error))
    }

    fn changed(&mut self) {
        if self.keeps_images {
            self.images.push(self.image.clone());
        }
    }
}

/// A file that is open.
#[derive(Debug, Clone)]
pub struct File {
    disk: Arc<Disk>,
    inode: usize,
    at: u64,
}

impl File {
    fn change<T>(&self, change: impl FnOnce(&mut Inode) -> T) -> T {
        let mut state = self.disk.state.lock();
        let changed = change(&mut state.image.inodes[self.inode]);
        state.changed();
        changed
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.disk.state.lock().image.inodes[self.inode].current.bytes
    }

    /// Fills `bytes` from an offset on.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state.lock();
        let current = &state.image.inodes[self.inode].current;
        if current.bytes < offset + bytes.len() as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        current.read(offset, bytes);
        Ok(())
    }

    /// Fills some of `bytes` from where it has come.
    pub fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let len = (self.bytes().saturating_sub(self.at) as usize).min(bytes.len());
        self.read_exact_at(&mut bytes[..len], self.at)?;
        self.at += len as u64;
        Ok(len)
    }

    /// Writes some of `bytes`, or fails.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let fault = self.disk.state.lock().count("write");
        let len = match fault {
            Some(Fault::Error(number)) => return Err(io::Error::from_raw_os_error(number)),
            Some(Fault::Short) => bytes.len() / 2,
            None => bytes.len(),
        };
        self.disk.state.lock().fits(self.inode, offset + len as u64)?;
        self.put(&bytes[..len], offset);
        Ok(len)
    }

    /// Writes all, as the standard library does: what is short goes on, what is interrupted is tried again.
    pub fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => (bytes, offset) = (&bytes[len..], offset + len as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Bytes are on their way: they may arrive.
    pub fn put(&self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len() as u64;
        if self.disk.state.lock().fits(self.inode, end).is_err() {
            return self.change(|inode| inode.is_refused = true);
        }
        self.change(|inode| {
            for number in sectors(offset, bytes.len()) {
                let mut sector = inode.current.sectors.get(&number).cloned().unwrap_or_else(|| Arc::new([0; 512]));
                let start = number * SECTOR_BYTES as u64;
                let (from, to) = (offset.max(start), end.min(start + SECTOR_BYTES as u64));
                let bytes = &bytes[(from - offset) as usize..(to - offset) as usize];
                Arc::make_mut(&mut sector)[(from - start) as usize..(to - start) as usize].copy_from_slice(bytes);
                inode.change(Change::Sector(number, sector));
            }
            inode.change(Change::Grown(end));
        });
    }

    /// The write of these bytes has ended: how, and how many. `is_synced`: what was written is durable.
    pub fn finish_write(&self, len: usize, offset: u64, is_synced: bool) -> Result<usize, i32> {
        let mut state = self.disk.state.lock();
        let fault = state.count("write by the ring");
        if std::mem::take(&mut state.image.inodes[self.inode].is_refused) {
            return Err(state.limit.map_or(libc::ENOSPC, |(_, error)| error));
        }
        drop(state);
        let len = match fault {
            Some(Fault::Error(number)) => return Err(number),
            Some(Fault::Short) => len / 2,
            None => len,
        };
        if is_synced && !self.disk.state.lock().forgets {
            self.change(|inode| inode.sync_sectors(&sectors(offset, len)));
        }
        Ok(len)
    }

    /// The write of so many zeros, into room that nobody wrote into, has ended: how, and how many. What had come there
    /// in the meantime is lost.
    pub fn finish_zeros(&self, len: usize, offset: u64) -> Result<usize, i32> {
        let fault = self.disk.state.lock().count("zeros by the ring");
        let len = match fault {
            Some(Fault::Error(number)) => return Err(number),
            Some(Fault::Short) => len / 2,
            None => len,
        };
        let range = sectors(offset, len);
        let lost: Vec<u64> = {
            let state = self.disk.state.lock();
            state.image.inodes[self.inode].current.sectors.range(range).map(|(number, _)| *number).collect()
        };
        if !lost.is_empty() {
            let zeros = Arc::new([0; SECTOR_BYTES]);
            self.change(|inode| lost.iter().for_each(|number| inode.change(Change::Sector(*number, zeros.clone()))));
        }
        Ok(len)
    }

    /// The sync that the ring was asked for has ended: how.
    pub fn finish_sync(&self) -> Result<(), i32> {
        self.sync_as("sync by the ring").map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// It is cut, or becomes longer.
    pub fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.state.lock().call("ftruncate")?;
        self.change(|inode| {
            inode.room = inode.room.min(bytes);
            inode.change(Change::Length(bytes));
        });
        Ok(())
    }

    /// It is at least so long, but not longer by more than some sectors: who loads it looks at every one of them.
    pub fn allocate(&self, end: u64) -> io::Result<()> {
        {
            let mut state = self.disk.state.lock();
            state.call("fallocate")?;
            state.fits(self.inode, end)?;
            let inode = &mut state.image.inodes[self.inode];
            inode.room = inode.room.max(end);
        }
        self.change(|inode| inode.change(Change::Grown(end.min(inode.current.bytes + ROOM_BYTES_MAX))));
        Ok(())
    }

    /// All of it becomes durable.
    pub fn sync(&self) -> io::Result<()> {
        self.sync_as("sync")
    }

    fn sync_as(&self, what: &'static str) -> io::Result<()> {
        let (failed, forgets) = {
            let mut state = self.disk.state.lock();
            (state.call(what), state.forgets)
        };
        self.change(|inode| match failed {
            Ok(()) if forgets => {}
            Ok(()) => inode.sync(),
            Err(_) => inode.pending.clear(),
        });
        failed
    }
}

fn sectors(offset: u64, len: usize) -> std::ops::Range<u64> {
    let sector = SECTOR_BYTES as u64;
    offset / sector..(offset + len as u64).div_ceil(sector)
}

#[cfg(test)]
mod tests {
    use super::super as disk;
    use super::*;

    #[test]
    fn only_what_is_synced_outlives_a_crash_for_sure() {
        let sim = Disk::new(None);
        let (a, b) = (sim.path.join("a"), sim.path.join("b"));
        let file = disk::File::open(&a, How::Anew).expect("made");
        file.write_all_at(&[1; 1024], 0).expect("written");
        let of = |image: Image, path: &Path| {
            let left = Disk::new(Some(image));
            disk::read(&left.path.join(path.file_name().expect("a name")))
        };
        // Its name is not there, nor after a sync of the file alone.
        file.sync().expect("synced");
        assert!(of(sim.image().crashed(|| false), &a).is_err());
        disk::sync_directory(&sim.path).expect("synced");
        assert_eq!(of(sim.image().crashed(|| false), &a).expect("there"), [1; 1024]);
        // Any of two sectors.
        file.write_all_at(&[2; 1024], 0).expect("written");
        for kept in 0..4 {
            let mut asked = 0;
            let image = sim.image().crashed(|| {
                asked += 1;
                asked <= 2 && kept >> (asked - 1) & 1 == 1
            });
            let bytes = of(image, &a).expect("there");
            let expected = |sector: usize| if kept >> sector & 1 == 1 { 2 } else { 1 };
            assert_eq!([bytes[0], bytes[1023]], [expected(0), expected(1)]);
        }
        // A write that is synced by itself leaves those before it as they are.
        file.simulated().put(&[3; 512], 1024);
        assert_eq!(file.simulated().finish_write(512, 1024, true), Ok(512));
        let bytes = of(sim.image().crashed(|| false), &a).expect("there");
        assert_eq!((bytes[0], bytes[1024], bytes.len()), (1, 3, 1536));
        // What a failed sync forgets no later one brings back.
        sim.fail(sim.calls().len(), Fault::Error(libc::EIO));
        assert!(file.sync().is_err());
        file.sync().expect("synced");
        assert_eq!(of(sim.image().crashed(|| true), &a).expect("there")[0], 1);
        assert_eq!(disk::read(&a).expect("there")[0], 2);
        disk::rename(&a, &b).expect("renamed");
        assert!(of(sim.image().crashed(|| false), &a).is_ok() && of(sim.image().crashed(|| true), &b).is_ok());
    }
}
