//! Keeps the manifest of the append-only file: one thread, since a manifest takes several syncs, and no core waits for
//! them. It makes the files of new generations, names them, deletes what nobody needs any more, and looks whether what
//! is needed is still there: somebody may have deleted the directory, and a file that is open does not tell.

use super::aof_load::add_generation;
use super::aof_place::{Directory, Place, parent, read_manifest};
use super::core::unix_ms;
use super::slow;
use crate::aof::log::{Errand, Log, Opened};
use crate::aof::manifest::{self, Entry, Kind, Manifest};
use crate::config::reason;
use crate::shared::Shared;
use crate::sys::disk::{self, File, How};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// So many generations, each of which is a file of each lane, and the log is rewritten, however small it is.
const GENERATIONS_MAX: usize = 128;

/// How often it looks whether old files may go, or tries again what failed.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it looks whether the files are still there.
const LOOK: Duration = Duration::from_secs(1);

/// Makes the files of a generation.
///
/// # Errors
/// Those of the file system.
pub(super) fn create_files(directory: &Directory, first: u64, lanes: usize) -> io::Result<()> {
    for number in first..first + lanes as u64 {
        File::open(&directory.incr_path(number), How::Make)?;
    }
    disk::sync_directory(&directory.path)
}

/// Puts a manifest in the place of the old one: after a crash either of them is there, and whole.
///
/// # Errors
/// Those of the file system.
pub(super) fn write_manifest(path: &Path, prefix: &str, manifest: &Manifest) -> io::Result<()> {
    let name = manifest::manifest_name(prefix);
    let temporary = path.join(format!("temp-{name}"));
    let file = File::open(&temporary, How::Anew)?;
    file.write_all_at(manifest.text().as_bytes(), 0)?;
    file.sync()?;
    disk::rename(&temporary, &path.join(&name))?;
    disk::sync_directory(path)
}

/// The log on its way into another directory: what is behind the base is copied there, when all of it is written.
struct Moving {
    directory: Arc<Directory>,
    /// The first file that is written there.
    first: u64,
    /// Lanes are in it when they are written up to here.
    positions: Vec<u64>,
}

/// See the module's page.
pub(super) struct Clerk {
    place: Arc<Place>,
    directory: Arc<Directory>,
    manifest: Manifest,
    log: Arc<Log>,
    shared: Arc<Shared>,
    errands: Receiver<Errand>,
    /// Generations that are not in the manifest on disk yet.
    waiting: Vec<Opened>,
    /// A generation that replaces all before it, once the lanes are safe up to these positions.
    replacing: Option<(u64, Vec<u64>)>,
    /// A base that is written, the number of the first file behind it, if any comes, and its length.
    rewritten: Option<(Entry, Option<u64>, u64)>,
    /// The log has begun, and has no base yet: the manifest on disk is of another time.
    is_partial: bool,
    /// Lanes go on in another directory, which has a base and no manifest yet.
    moving: Option<Moving>,
    has_failed: bool,
    /// It was told why there is no new directory.
    has_told: bool,
    look_due: Instant,
}

/// Files of the log are not there any more, as whoever finds it out first tells.
pub(super) fn note_gone(log: &Log, what: &str) {
    if log.note_gone(libc::ENOENT as u32) {
        tracing::warn!(
            "{what}: nothing that is written into the append-only file is safe. Writes are refused until all keys are \
             written anew."
        );
    }
}

impl Clerk {
    /// One that does nothing yet.
    pub(super) fn new(
        place: Arc<Place>,
        directory: Arc<Directory>,
        manifest: Manifest,
        shared: Arc<Shared>,
        errands: Receiver<Errand>,
    ) -> Clerk {
        shared.log.set_next_base(manifest.next_base());
        Clerk {
            place,
            directory,
            manifest,
            log: shared.log.clone(),
            shared,
            errands,
            waiting: Vec::new(),
            replacing: None,
            rewritten: None,
            is_partial: false,
            moving: None,
            has_failed: false,
            has_told: false,
            look_due: Instant::now() + LOOK,
        }
    }

    /// Starts its thread.
    ///
    /// # Errors
    /// There is no room for another thread.
    pub(super) fn start(mut self) -> io::Result<()> {
        let serve = move || {
            while self.tend() {
                match self.place.release(self.directory, &self.log) {
                    Ok(()) => return,
                    Err(directory) => self.directory = directory,
                }
            }
        };
        std::thread::Builder::new().name("aof-clerk".into()).spawn(serve).map(drop)
    }

    /// Does what there is to do until the log is closed: then true. False: nobody wants it any more.
    fn tend(&mut self) -> bool {
        loop {
            let is_naming = !self.waiting.is_empty() && !self.is_partial;
            let is_waiting = is_naming
                || self.moving.is_some()
                || self.replacing.is_some()
                || self.rewritten.is_some()
                || self.deletes_history();
            match self.errands.recv_timeout(if is_waiting { PAUSE } else { LOOK }) {
                Ok(errand) => {
                    self.take(errand);
                    while let Ok(errand) = self.errands.try_recv() {
                        self.take(errand);
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.rewritten.is_none() && self.log.is_closed() => {
                    // What was sent before that was so, is there.
                    let Ok(errand) = self.errands.try_recv() else { return true };
                    self.take(errand);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
            self.turn();
        }
    }

    /// Does what can be done now.
    fn turn(&mut self) {
        let place = self.place.clone();
        let _still = place.keep_still();
        let result = self.work();
        self.log.note_named(result.is_ok());
        match result {
            Ok(()) => self.has_failed = false,
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    self.look_due = Instant::now();
                }
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::error!("cannot write the AOF manifest: {}", reason(&error));
                }
            }
        }
        if self.look_due <= Instant::now() {
            self.look_due = Instant::now() + LOOK;
            self.look();
        }
    }

    /// Takes what there is to do, and does what can be done now. Whether something is left.
    #[cfg(test)]
    pub(super) fn turn_by_hand(&mut self) -> bool {
        while let Ok(errand) = self.errands.try_recv() {
            self.take(errand);
        }
        self.turn();
        let is_naming = !self.waiting.is_empty() || self.replacing.is_some() || self.rewritten.is_some();
        is_naming || self.deletes_history()
    }

    /// Whether there are files that nobody needs any more, nor wants to keep (`aof-disable-auto-gc`).
    fn deletes_history(&self) -> bool {
        !self.manifest.history.is_empty() && !self.shared.config().aof_disable_auto_gc
    }

    fn take(&mut self, errand: Errand) {
        match errand {
            Errand::Opened(opened) => self.waiting.push(opened),
            Errand::Begun(opened) => {
                self.is_partial = true;
                self.replacing = None;
                self.waiting = vec![opened];
            }
            Errand::Rewritten { name, seq, first, bytes } => {
                self.rewritten = Some((Entry { name, seq, kind: Kind::Base }, first, bytes));
            }
        }
    }

    fn write(&self, manifest: &Manifest) -> io::Result<()> {
        let started = Instant::now();
        write_manifest(&self.directory.path, &self.directory.prefix, manifest)?;
        slow::note_event(&self.shared, &self.shared.config(), "aof-rename", started.elapsed());
        Ok(())
    }

    fn work(&mut self) -> io::Result<()> {
        if self.is_partial
            && let Some(current) = self.place.current().filter(|current| !Arc::ptr_eq(current, &self.directory))
        {
            // It has begun in another directory, which had no log.
            self.directory = current;
            self.manifest = Manifest::default();
        }
        let target = self.place.target();
        let of_base = self.moving.as_ref().map(|moving| &moving.directory).or(target.as_ref());
        let is_base_in = |directory: &Arc<Directory>, base: &Entry| {
            disk::is_there(&directory.path.join(&base.name)).unwrap_or(false)
        };
        let moves = matches!(&self.rewritten, Some((base, Some(_), _)) if !self.is_partial
            && of_base.is_some_and(|directory| is_base_in(directory, base)));
        if let Some((base, ..)) = &self.rewritten
            && !moves
            && !is_base_in(&self.directory, base)
        {
            tracing::warn!("the new base {} of the append-only file is gone", base.name);
            self.end_rewrite(false);
            self.log.want_rewrite(false);
        }
        if let Some((base, None, bytes)) = &self.rewritten {
            let (base, bytes) = (base.clone(), *bytes);
            return self.name_alone(base, bytes);
        }
        if self.is_partial {
            return self.begin();
        }
        let later_from = self.moving.as_ref().map_or(u64::MAX, |moving| moving.first);
        let later = self.waiting.extract_if(.., |opened| later_from <= opened.first).collect::<Vec<_>>();
        let named = self.name_waiting();
        self.waiting.extend(later);
        named?;
        if moves {
            return self.move_on();
        }
        let is_safe = |positions: &[u64]| {
            // What shares a moment with the command at the head of the generation is on disk too.
            positions.iter().enumerate().all(|(lane, position)| *position < self.log.settled(lane))
        };
        if let Some((first, _)) = self.replacing.take_if(|(_, positions)| is_safe(positions))
            && let Err(error) = self.name_from(first, None, 0)
        {
            self.replacing = Some((first, Vec::new()));
            return Err(error);
        }
        let rewritten = self.rewritten.take();
        let is_done = rewritten.is_some();
        if let Some((base, Some(first), bytes)) = rewritten {
            if let Err(error) = self.name_from(first, Some(base.clone()), bytes) {
                self.rewritten = Some((base, Some(first), bytes));
                return Err(error);
            }
            // A command that emptied everything before the base was made has nothing left to replace.
            self.replacing.take_if(|(replacing, _)| *replacing <= first);
            self.log.note_base_bytes(self.log.bytes());
        }
        // Also what could not be deleted before, or was to be kept. Who sees a rewrite end finds nothing of before.
        let deleted = self.delete_history();
        if is_done {
            self.end_rewrite(true);
        }
        deleted
    }

    /// Makes and names the files of generations that wait for it.
    fn name_waiting(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            let lanes = self.log.lanes();
            let mut manifest = self.manifest.clone();
            for opened in &self.waiting {
                create_files(&self.directory, opened.first, lanes)?;
                add_generation(&mut manifest, &self.directory.prefix, opened.first, lanes);
            }
            self.write(&manifest)?;
            self.manifest = manifest;
            if GENERATIONS_MAX * lanes < self.manifest.incrs.len() {
                self.log.want_rewrite(true);
            }
            for opened in self.waiting.drain(..) {
                self.log.note_known(opened.ordinal);
                if let Some(positions) = opened.replaces {
                    self.replacing = Some((opened.first, positions));
                }
            }
        }
        Ok(())
    }

    /// The base is in another directory: the log goes there, with what came behind the base. Until the manifest there
    /// says so, the one here names all that counts, and replies that wait for the disk wait.
    fn move_on(&mut self) -> io::Result<()> {
        let Some((base, Some(first), bytes)) = self.rewritten.clone() else { return Ok(()) };
        let moving = match self.moving.take() {
            Some(moving) => moving,
            None => {
                let directory = self.place.target().expect("it has the base");
                let (first, positions) = self.log.move_on(|first| self.place.switch(first));
                self.moving = Some(Moving { directory, first, positions });
                return Ok(());
            }
        };
        let is_there = |(lane, position): (usize, &u64)| *position <= self.log.settled(lane);
        let knows_next = self.waiting.iter().any(|opened| opened.first == moving.first);
        if !knows_next || !moving.positions.iter().enumerate().all(is_there) {
            self.moving = Some(moving);
            return Ok(());
        }
        let (target, old) = (moving.directory, self.directory.path.clone());
        match self.copy_behind(base, first, &target) {
            Ok((manifest, copied_bytes)) => {
                self.manifest = manifest;
                self.directory = target;
                self.replacing = None;
                for opened in self.waiting.drain(..) {
                    self.log.note_known(opened.ordinal);
                    if let Some(positions) = opened.replaces {
                        self.replacing = Some((opened.first, positions));
                    }
                }
                self.place.forget_before(moving.first);
                self.log.note_new_files(bytes + copied_bytes);
                self.log.note_base_bytes(self.log.bytes());
                let new = self.directory.path.display();
                tracing::warn!("the append-only file is in {new} now; what is in {} is of before", old.display());
                self.end_rewrite(true);
            }
            Err(error) => {
                // Lanes are there already: so a new base is made there.
                tracing::warn!("cannot move the append-only file to {}: {}", target.path.display(), reason(&error));
                self.directory = target;
                self.manifest = Manifest::default();
                self.log.note_gone(error.raw_os_error().unwrap_or(libc::EIO) as u32);
                self.look_due = Instant::now();
                self.end_rewrite(false);
            }
        }
        Ok(())
    }

    /// Copies what came behind a base into its directory, and names everything there. Gives the manifest, and how many
    /// bytes were copied.
    fn copy_behind(&self, base: Entry, first: u64, target: &Directory) -> io::Result<(Manifest, u64)> {
        let mut manifest = Manifest { base: Some(base), ..Manifest::default() };
        let mut copied_bytes = 0;
        for entry in self.manifest.incrs.iter().filter(|entry| first <= entry.seq) {
            let copy = target.path.join(&entry.name);
            copied_bytes += disk::copy(&self.directory.path.join(&entry.name), &copy)?;
            File::open(&copy, How::Write)?.sync()?;
            manifest.incrs.push(entry.clone());
        }
        for opened in &self.waiting {
            create_files(target, opened.first, self.log.lanes())?;
            add_generation(&mut manifest, &target.prefix, opened.first, self.log.lanes());
        }
        write_manifest(&target.path, &target.prefix, &manifest)?;
        Ok((manifest, copied_bytes))
    }

    fn end_rewrite(&mut self, is_ok: bool) {
        self.rewritten = None;
        if is_ok {
            tracing::info!("Background AOF rewrite finished successfully");
        }
        self.log.end_rewrite(unix_ms(), is_ok);
    }

    /// The first base is there: what the manifest named before is history.
    fn begin(&mut self) -> io::Result<()> {
        let Some((base, Some(first), bytes)) = &self.rewritten else { return Ok(()) };
        if !self.waiting.iter().any(|opened| opened.first == *first) {
            // It was begun before the log was gone: what came behind it is not there any more.
            self.end_rewrite(false);
            return Ok(());
        }
        let lanes = self.log.lanes();
        let mut manifest = self.with_history(base.clone());
        for opened in self.waiting.iter().filter(|opened| *first <= opened.first) {
            create_files(&self.directory, opened.first, lanes)?;
            add_generation(&mut manifest, &self.directory.prefix, opened.first, lanes);
        }
        self.write(&manifest)?;
        self.manifest = manifest;
        self.log.note_new_files(*bytes);
        self.is_partial = false;
        for opened in self.waiting.drain(..) {
            self.log.note_known(opened.ordinal);
        }
        if self.log.note_whole() {
            tracing::warn!("AOF write error looks solved, Redis can write again.");
        }
        self.log.note_base_bytes(self.log.bytes());
        let deleted = self.delete_history();
        self.end_rewrite(true);
        deleted
    }

    /// The log is off: a base is all there is of it.
    fn name_alone(&mut self, base: Entry, bytes: u64) -> io::Result<()> {
        let manifest = self.with_history(base);
        self.write(&manifest)?;
        self.manifest = manifest;
        if !self.is_partial {
            self.waiting.clear(); // Else they belong to a log that has begun meanwhile.
        }
        self.replacing = None;
        self.log.note_new_files(bytes);
        self.log.note_base_bytes(bytes);
        let deleted = self.delete_history();
        self.end_rewrite(true);
        deleted
    }

    /// A base, and all that was named before as history.
    fn with_history(&self, base: Entry) -> Manifest {
        let old = self.manifest.base.iter().chain(&self.manifest.incrs).chain(&self.manifest.history).cloned();
        let history = old.map(|entry| Entry { kind: Kind::History, ..entry }).collect();
        Manifest { base: Some(base), history, ..Manifest::default() }
    }

    /// Base and increments before a file are history; `base` takes their place. Once that is written it is done: what
    /// becomes of the history is another matter, for who names a second time takes the new base for an old one.
    fn name_from(&mut self, first: u64, base: Option<Entry>, base_bytes: u64) -> io::Result<()> {
        if self.manifest.incrs.iter().all(|entry| entry.seq < first) {
            return Err(io::Error::other("the files behind a base are not named yet"));
        }
        let mut manifest = self.manifest.clone();
        let old: Vec<_> = manifest.incrs.extract_if(.., |entry| entry.seq < first).collect();
        let bytes_of = |entry: &Entry| disk::len(&self.directory.path.join(&entry.name)).unwrap_or(0);
        let old_bytes = old.iter().map(bytes_of).sum();
        manifest.history.extend(manifest.base.take().into_iter().chain(old).map(|mut entry| {
            entry.kind = Kind::History;
            entry
        }));
        manifest.base = base;
        self.write(&manifest)?;
        self.manifest = manifest;
        self.log.note_files(base_bytes, old_bytes);
        Ok(())
    }

    /// Deletes what is history, unless that is to be kept; only then the manifest forgets it.
    fn delete_history(&mut self) -> io::Result<()> {
        if !self.deletes_history() {
            return Ok(());
        }
        for entry in &self.manifest.history {
            match disk::remove(&self.directory.path.join(&entry.name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.manifest.history.clear();
        self.write(&self.manifest)
    }

    // What somebody else has deleted

    /// Looks whether the files are there. Where they are not, the log begins anew, in the same directory or another
    /// one of the same name.
    fn look(&mut self) {
        if !self.log.is_on() {
            return;
        }
        if !self.log.is_gone() {
            let Some(what) = self.missing() else { return };
            note_gone(&self.log, &what);
        } else if self.log.has_place() && self.directory.is_there() {
            return;
        } else {
            self.log.note_gone(libc::ENOENT as u32);
        }
        match self.find_place() {
            Ok(()) => {
                self.has_told = false;
                self.log.note_place();
            }
            Err(why) => {
                if !std::mem::replace(&mut self.has_told, true) {
                    tracing::error!("the append-only file cannot begin anew: {why}");
                }
            }
        }
    }

    /// What is not there though it is needed. A manifest is made anew.
    fn missing(&mut self) -> Option<String> {
        let Directory { path, prefix, .. } = &*self.directory;
        if !self.directory.is_there() {
            return Some(format!("the directory {} was deleted, or another one took its place", path.display()));
        }
        if self.is_partial || self.moving.is_some() {
            return None;
        }
        let is_missing = |path: &Path| !disk::is_there(path).unwrap_or(true);
        let started = Instant::now();
        let found = self.manifest.files().find(|entry| is_missing(&path.join(&entry.name)));
        slow::note_event(&self.shared, &self.shared.config(), "aof-fstat", started.elapsed());
        if let Some(entry) = found {
            return Some(format!("{} was deleted", path.join(&entry.name).display()));
        }
        let file = path.join(manifest::manifest_name(prefix));
        if is_missing(&file) {
            tracing::warn!("{} was deleted: it is written anew", file.display());
            if let Err(error) = write_manifest(path, prefix, &self.manifest) {
                tracing::error!("cannot write the AOF manifest: {}", reason(&error));
            }
        }
        None
    }

    /// Makes the server's own directory, if somebody has deleted that too. Not those above it: where they are gone, a
    /// disk may be.
    fn make_parent(&self) {
        let parent = parent(&self.directory.path);
        if disk::make_directory(parent).is_err() {
            return; // As a rule it is there. Whatever else is wrong, who opens what is in it says.
        }
        tracing::warn!("{} was deleted: it is made anew", parent.display());
        let synced = disk::sync_directory(super::aof_place::parent(parent));
        // What the server runs in is what was deleted.
        if let Err(error) = synced.and_then(|()| std::env::set_current_dir(parent)) {
            tracing::warn!("{}: {}", parent.display(), reason(&error));
        }
    }

    /// Has a directory in which the log can begin anew.
    fn find_place(&mut self) -> Result<(), String> {
        if !self.directory.is_there() && self.place.target().is_none() {
            self.make_parent();
            let directory = Directory::open(self.directory.path.clone(), &self.directory.prefix)?;
            if read_manifest(&directory)? != Manifest::default() {
                return Err(format!("there is another log in {}: move it away", directory.path.display()));
            }
            self.log.reserve_files(directory.next_incr(&Manifest::default())?);
            self.directory = Arc::new(directory);
            self.manifest = Manifest::default();
            self.place.move_to(self.log.next_file(), self.directory.clone());
        }
        self.waiting.clear();
        self.replacing = None;
        if self.rewritten.is_some() {
            self.end_rewrite(false);
        }
        self.is_partial = true;
        Ok(())
    }
}
