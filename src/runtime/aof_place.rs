//! Where the log is: its directory is opened, locked and tried, given up when the log is off, and found again when
//! somebody has deleted it. Not here: what is in it ([`super::aof_load`]), and its manifest ([`super::aof_clerk`]).
//!
//! ```text
//!  start with appendonly ─▶ begin ─┐
//!  CONFIG SET appendonly yes ──────┼─▶ a directory, locked, with a clerk ──▶ release: the log is off, and all written
//!  BGREWRITEAOF with appendonly no ┘             │ deleted ▲            ▲
//!                                                └─────────┘ move_to    └ aim, switch: CONFIG SET dir
//! ```

use super::aof_clerk::{Clerk, write_manifest};
use crate::aof::log::Log;
use crate::aof::manifest::{self, Entry, Kind, Manifest};
use crate::config::{Config, reason};
use crate::shared::Shared;
use crate::sys::disk::{self, File, How};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

/// Bytes that are written to see whether a directory can be written at all.
const TRIED_BYTES: usize = 4096;

/// Removes a file that a server has left which has not ended in order.
pub(super) fn remove_left(path: &Path) {
    let bytes = disk::len(path).unwrap_or(0);
    match disk::remove(path) {
        Ok(()) => tracing::info!("{} is removed: {bytes} bytes that nothing names were left there", path.display()),
        Err(error) => tracing::warn!("cannot remove {}, which nothing names: {}", path.display(), reason(&error)),
    }
}

/// A lane's file that is gone on with.
pub(super) struct LaneFile {
    pub(super) path: PathBuf,
    pub(super) number: u64,
    /// Where the next group begins.
    pub(super) bytes: u64,
    pub(super) groups: u64,
}

/// The directory of the log.
pub struct Directory {
    pub(super) path: PathBuf,
    /// What the names of its files begin with.
    pub(super) prefix: String,
    /// The files that the lanes go on in; none: they have new ones.
    pub(super) lanes: Vec<LaneFile>,
    /// Held as long as the log is here.
    lock: disk::Directory,
}

impl Directory {
    /// Opens and locks a directory, which is made if there is none; not those that it is in.
    ///
    /// # Errors
    /// Why it cannot be, for the operator.
    pub(super) fn open(path: PathBuf, prefix: &str) -> Result<Directory, String> {
        let told =
            |error: io::Error| format!("Can't open or create append-only dir {}: {}", path.display(), reason(&error));
        match disk::make_directory(&path) {
            // What is in it is worth nothing after a crash that its name does not outlive.
            Ok(()) => disk::sync_directory(parent(&path)).map_err(told)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(told(error)),
        }
        let lock = disk::Directory::open(&path).map_err(told)?;
        if !lock.lock() {
            return Err(format!("another server uses the append-only directory {}", path.display()));
        }
        Ok(Directory { path, prefix: prefix.to_string(), lanes: Vec::new(), lock })
    }

    /// The path of an incr file.
    pub(super) fn incr_path(&self, number: u64) -> PathBuf {
        self.path.join(manifest::incr_name(&self.prefix, number))
    }

    /// The number for the next incr file, in no use by any file that is here: a server that a crash has ended may have
    /// written into some that it had no time to name, and what is in them must not be found under a new name.
    ///
    /// # Errors
    /// Why it cannot be said, for the operator.
    pub(super) fn next_incr(&self, manifest: &Manifest) -> Result<u64, String> {
        let told = |error| format!("Can't read the append-only dir {}: {}", self.path.display(), reason(&error));
        let names = disk::names(&self.path).map_err(told)?;
        let numbers = names.iter().filter_map(|name| manifest::incr_number(&self.prefix, name));
        Ok(numbers.map(|number| number.saturating_add(1)).fold(manifest.next_incr(), u64::max))
    }

    /// Removes what a server has left that a crash has ended: files under names that nobody gives a whole file. Others
    /// of the log that no manifest here names are told, and left: as well as what a crash has left they may be what
    /// somebody wants back whose manifest is lost. To be called when all that the manifest names is loaded.
    pub(super) fn remove_orphans(&self, manifest: &Manifest) {
        if manifest.files().next().is_none() {
            return;
        }
        let Ok(names) = disk::names(&self.path) else { return };
        let (own, mut manifests) = (manifest::manifest_name(&self.prefix), vec![manifest.clone()]);
        // Also copies that somebody keeps. Who cannot be read may name anything.
        let others = names.iter().filter(|name| name.contains(".manifest") && !name.starts_with("temp-"));
        for name in others.filter(|name| **name != own) {
            let text = disk::read(&self.path.join(name)).unwrap_or_default();
            let Ok(other) = Manifest::parse(&text) else { return };
            manifests.push(other);
        }
        let named = manifests.iter().flat_map(|manifest| manifest.files().chain(&manifest.history));
        let named: BTreeSet<&str> = named.map(|entry| entry.name.as_str()).collect();
        let is_named = |name: &str| named.contains(name);
        let orphans = names.iter().filter(|name| manifest::is_of_log(&self.prefix, name) && !is_named(name));
        let mut is_any = false;
        for name in orphans {
            let path = self.path.join(name);
            if !name.starts_with("temp-") {
                let bytes = disk::len(&path).unwrap_or(0);
                tracing::warn!("{} is left where it is: {bytes} bytes of a log that no manifest names", path.display());
                continue;
            }
            is_any = true;
            remove_left(&path);
        }
        if is_any {
            let _ = disk::sync_directory(&self.path); // Else they may be there again after a crash, and go then.
        }
    }

    /// Whether what is found under its name is still the same directory.
    pub(super) fn is_there(&self) -> bool {
        self.lock.is_at(&self.path)
    }

    /// Whether files can be written into it.
    ///
    /// # Errors
    /// Why not, for the operator.
    fn check_writable(&self) -> Result<(), String> {
        let told = |error| format!("Can't write into the append-only dir {}: {}", self.path.display(), reason(&error));
        self.try_writing().map_err(told)
    }

    /// Writes a file, and removes it.
    ///
    /// # Errors
    /// The directory cannot be written, or its disk is full.
    fn try_writing(&self) -> io::Result<()> {
        let path = self.path.join(format!("temp-{}.tried", self.prefix));
        let written = File::open(&path, How::Anew).and_then(|file| {
            file.write_all_at(&[0; TRIED_BYTES], 0)?;
            file.sync()
        });
        let removed = disk::remove(&path);
        written.and(removed)
    }
}

/// The directory that a path is in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The manifest of a directory; an empty one where there is none.
///
/// # Errors
/// Why it cannot be read, for the operator; as far as Redis has the case, in its words.
pub(super) fn read_manifest(directory: &Directory) -> Result<Manifest, String> {
    let file = directory.path.join(manifest::manifest_name(&directory.prefix));
    match disk::read(&file) {
        Ok(text) => Manifest::parse(&text).map_err(|wrong| format!("{wrong} ({})", file.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Manifest::default()),
        Err(error) => {
            Err(format!("Fatal error: can't open the AOF manifest file {}: {}", file.display(), reason(&error)))
        }
    }
}

/// The same, and whether its base is a single file of Redis before 7.0 that is yet to be taken over: where there is
/// one, and no manifest, or one that says so.
///
/// # Errors
/// As for [`read_manifest`].
pub(super) fn find_manifest(directory: &Directory, single: &Path) -> Result<(Manifest, bool), String> {
    let prefix = &directory.prefix;
    let mut manifest = read_manifest(directory)?;
    if !disk::is_file(single) {
        return Ok((manifest, false));
    }
    if !disk::is_there(&directory.path.join(manifest::manifest_name(prefix))).unwrap_or(true) {
        let base = Entry { name: prefix.clone(), seq: 1, kind: Kind::Base };
        manifest = Manifest { base: Some(base), ..Manifest::default() };
    }
    // Also where it was begun to take it over, and the server ended before it was done.
    let is_wanted = manifest.base.as_ref().is_some_and(|base| base.name == *prefix) && manifest.incrs.is_empty();
    let is_there = disk::is_there(&directory.path.join(prefix)).unwrap_or(true);
    Ok((manifest, is_wanted && !is_there))
}

/// Takes a single file over, as Redis 7.0 does: it becomes the base, in the directory.
///
/// # Errors
/// Why it cannot be, for the operator.
pub(super) fn take_over(directory: &Directory, single: &Path, manifest: &Manifest) -> Result<(), String> {
    let Directory { path, prefix, .. } = directory;
    let failed = |error: io::Error| format!("cannot take over {}: {}", single.display(), reason(&error));
    write_manifest(path, prefix, manifest).map_err(failed)?;
    disk::rename(single, &path.join(prefix)).map_err(failed)?;
    disk::sync_directory(path).and_then(|()| disk::sync_directory(parent(single))).map_err(failed)?;
    tracing::info!("Successfully migrated an old-style AOF configuration ({prefix}) into the AOF directory");
    Ok(())
}

/// Where the files of the log are.
#[derive(Default)]
pub struct Place {
    state: Mutex<State>,
    /// Held while files are named or deleted, and while nobody may do that.
    still: Mutex<()>,
    shared: OnceLock<Weak<Shared>>,
}

#[derive(Default)]
struct State {
    /// Files from a number on are in a directory.
    directories: Vec<(u64, Arc<Directory>)>,
    /// The log is on, or about to be.
    is_wanted: bool,
    /// Where it is to go, with its next base.
    target: Option<Arc<Directory>>,
}

/// The same, for all who use it.
pub type LogFiles = Arc<Place>;

impl Place {
    /// Whose log it is; said once, before anything else.
    pub(super) fn attach(&self, shared: &Arc<Shared>) {
        assert!(self.shared.set(Arc::downgrade(shared)).is_ok(), "a place is one server's");
    }

    /// No file is named or deleted as long as this is held.
    pub(super) fn keep_still(&self) -> MutexGuard<'_, ()> {
        self.still.lock()
    }

    /// Whether the log has a directory.
    pub(super) fn is_open(&self) -> bool {
        !self.state.lock().directories.is_empty()
    }

    /// The directory of new files.
    pub(super) fn current(&self) -> Option<Arc<Directory>> {
        self.state.lock().directories.last().map(|(_, directory)| directory.clone())
    }

    /// The directory of the next base.
    pub(super) fn of_base(&self) -> Option<Arc<Directory>> {
        self.target().or_else(|| self.current())
    }

    /// Where the log is to go.
    pub(super) fn target(&self) -> Option<Arc<Directory>> {
        self.state.lock().target.clone()
    }

    /// The log is on, and is to go into another directory, which has no log.
    ///
    /// # Errors
    /// Why it cannot, for the operator.
    pub(super) fn aim(&self, config: &Config) -> Result<(), String> {
        let mut state = self.state.lock();
        let path = config.dir.join(&config.appenddirname);
        state.target = None;
        if state.directories.last().is_none_or(|(_, directory)| directory.path == path) {
            return Ok(());
        }
        let directory = Directory::open(path, &config.appendfilename)?;
        if read_manifest(&directory)? != Manifest::default() {
            return Err(format!("there is another log in {}: move it away", directory.path.display()));
        }
        directory.check_writable()?;
        let shared = self.shared.get().and_then(Weak::upgrade).expect("attached, and the server runs");
        shared.log.reserve_files(directory.next_incr(&Manifest::default())?);
        state.target = Some(Arc::new(directory));
        Ok(())
    }

    /// It stays where it is.
    pub(super) fn stay(&self) {
        self.state.lock().target = None;
    }

    /// Files from a number on are where the log is to go, if it is to go anywhere.
    pub(super) fn switch(&self, first: u64) {
        let mut state = self.state.lock();
        if let Some(target) = state.target.take() {
            state.directories.push((first, target));
        }
    }

    /// Nothing is written any more into files before this one.
    pub(super) fn forget_before(&self, first: u64) {
        self.state.lock().directories.retain(|(of, _)| first <= *of);
    }

    /// The directory of a file.
    pub(super) fn of_file(&self, file: u64) -> Option<Arc<Directory>> {
        let state = self.state.lock();
        let found = state.directories.iter().rev().find(|(first, _)| *first <= file);
        found.map(|(_, directory)| directory.clone())
    }

    /// The log is in a directory from now on, whose manifest is kept.
    ///
    /// # Errors
    /// There is no room for another thread.
    pub(super) fn begin(self: &Arc<Self>, directory: Directory, manifest: Manifest) -> Result<(), String> {
        let mut state = self.state.lock();
        state.is_wanted = true;
        self.begin_in(&mut state, directory, manifest)
    }

    fn begin_in(self: &Arc<Self>, state: &mut State, directory: Directory, manifest: Manifest) -> Result<(), String> {
        let clerk = self.engage(state, directory, manifest);
        clerk.start().map_err(|error| format!("cannot start a thread for the log: {error}"))
    }

    /// The log is in a directory from now on, whose manifest this clerk keeps.
    fn engage(self: &Arc<Self>, state: &mut State, directory: Directory, manifest: Manifest) -> Clerk {
        let shared = self.shared.get().and_then(Weak::upgrade).expect("attached, and the server runs");
        let directory = Arc::new(directory);
        let (errands, received) = std::sync::mpsc::channel();
        shared.log.set_clerk(Some(errands));
        state.directories = vec![(0, directory.clone())];
        Clerk::new(self.clone(), directory, manifest, shared, received)
    }

    /// As [`Place::begin`], but the clerk does nothing by himself.
    #[cfg(test)]
    pub(super) fn begin_by_hand(self: &Arc<Self>, directory: Directory, manifest: Manifest) -> Clerk {
        let mut state = self.state.lock();
        state.is_wanted = true;
        self.engage(&mut state, directory, manifest)
    }

    /// Has the directory open while the server runs; what is in it is of another time. `is_for_good`: until
    /// [`Place::let_go`], not only until a base is written.
    ///
    /// # Errors
    /// Why it cannot be written, for the operator.
    pub(super) fn make_ready(self: &Arc<Self>, config: &Config, is_for_good: bool) -> Result<(), String> {
        let mut state = self.state.lock();
        let path = config.dir.join(&config.appenddirname);
        let is_elsewhere = state.directories.last().is_some_and(|(_, directory)| directory.path != path);
        let shared = self.shared.get().and_then(Weak::upgrade).expect("attached, and the server runs");
        if is_elsewhere && !shared.log.is_on() {
            return Err("the directory in which the log was before is still in use: try again".to_string());
        }
        if state.directories.is_empty() {
            let directory = Directory::open(path, &config.appendfilename)?;
            let manifest = read_manifest(&directory)?;
            directory.check_writable()?;
            shared.log.reserve_files(directory.next_incr(&manifest)?);
            self.begin_in(&mut state, directory, manifest)?;
        }
        state.is_wanted |= is_for_good;
        Ok(())
    }

    /// The log is not wanted any more: its directory may be given up.
    pub(super) fn let_go(&self) {
        let mut state = self.state.lock();
        state.is_wanted = false;
        state.target = None;
    }

    /// Files from a number on are in another directory.
    pub(super) fn move_to(&self, first: u64, directory: Arc<Directory>) {
        self.state.lock().directories.push((first, directory));
    }

    /// Gives the directory up, and its lock, unless it is wanted. Its only other holder brings what he holds.
    ///
    /// # Errors
    /// It is wanted: here it is again.
    pub(super) fn release(&self, directory: Arc<Directory>, log: &Log) -> Result<(), Arc<Directory>> {
        let mut state = self.state.lock();
        if state.is_wanted || !log.is_closed() {
            return Err(directory);
        }
        // Under the lock: whoever opens it next must not find it locked.
        state.directories.clear();
        drop(directory);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("corering-place-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).expect("a directory for temporary files");
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_directory_is_one_servers_and_what_stands_in_its_way_is_told() {
        let scratch = Scratch::new("open");
        let path = scratch.0.join("log");
        let first = Directory::open(path.clone(), "a").expect("it can be made");
        let why = Directory::open(path.clone(), "a").err().expect("it is locked");
        assert!(why.starts_with("another server uses the append-only directory"), "{why}");
        drop(first);
        Directory::open(path.clone(), "a").expect("nobody has it any more");
        let why = Directory::open(scratch.0.join("no/log"), "a").err().expect("its parent is not there");
        assert!(why.ends_with("No such file or directory"), "{why}");
        fs::write(scratch.0.join("file"), "").expect("it is writable");
        let why = Directory::open(scratch.0.join("file"), "a").err().expect("it is a file");
        assert!(why.starts_with("Can't open or create append-only dir"), "{why}");
    }

    #[test]
    fn another_directory_of_its_name_is_not_the_same_one() {
        let scratch = Scratch::new("there");
        let path = scratch.0.join("log");
        let directory = Directory::open(path.clone(), "a").expect("it can be made");
        assert!(directory.is_there());
        fs::remove_dir(&path).expect("it is empty");
        assert!(!directory.is_there());
        fs::create_dir(&path).expect("it can be made");
        assert!(!directory.is_there());
        let again = Directory::open(path, "a").expect("the lock was on the other one");
        assert!(again.is_there());
    }

    #[test]
    fn a_full_disk_is_noticed_before_the_log_begins() {
        let scratch = Scratch::new("full");
        let directory = Directory::open(scratch.0.join("log"), "a").expect("it can be made");
        directory.try_writing().expect("there is room");
        assert_eq!(fs::read_dir(&directory.path).expect("readable").count(), 0, "nothing is left behind");
        std::os::unix::fs::symlink("/dev/full", directory.path.join("temp-a.tried")).expect("a link");
        assert_eq!(directory.try_writing().map_err(|error| error.raw_os_error()), Err(Some(libc::ENOSPC)));
    }

    #[test]
    fn an_old_file_is_taken_over_only_where_it_is_loaded() {
        let scratch = Scratch::new("old");
        let directory = Directory::open(scratch.0.join("log"), "a").expect("it can be made");
        let old = scratch.0.join("a");
        assert_eq!(find_manifest(&directory, &old), Ok((Manifest::default(), false)));
        fs::write(&old, "*1\r\n").expect("it is writable");
        assert_eq!(read_manifest(&directory), Ok(Manifest::default()));
        let (manifest, is_old) = find_manifest(&directory, &old).expect("it can be");
        assert_eq!(manifest.base.as_ref().expect("a base").name, "a");
        assert!(is_old && old.exists(), "it stays until it is loaded");
        take_over(&directory, &old, &manifest).expect("it is taken over");
        assert!(!old.exists() && directory.path.join("a").exists());
        // The server ended between the two.
        fs::rename(directory.path.join("a"), &old).expect("renamed");
        assert_eq!(find_manifest(&directory, &old), Ok((manifest.clone(), true)));
        take_over(&directory, &old, &manifest).expect("it is taken over");
        assert!(!old.exists() && directory.path.join("a").exists());
        fs::write(&old, "*1\r\n").expect("it is writable");
        assert_eq!(find_manifest(&directory, &old), Ok((manifest, false)), "that one is another");
        fs::write(directory.path.join("a.manifest"), "file\n").expect("it is writable");
        assert!(read_manifest(&directory).is_err_and(|why| why.starts_with("Invalid AOF manifest file format")));
    }
}
