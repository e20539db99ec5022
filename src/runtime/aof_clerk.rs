//! Keeps the manifest of the append-only file: one thread, since a manifest takes several syncs, and no core waits for
//! them. It makes the files of new generations, names them, and deletes what nobody needs any more.

use super::aof_load::{Directory, add_generation};
use crate::aof::log::{Errand, Log, Opened};
use crate::aof::manifest::{self, Entry, Kind, Manifest};
use crate::config::reason;
use crate::sys::file;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// So many generations, each of which is a file of each lane, and the log is rewritten, however small it is.
const GENERATIONS_MAX: usize = 128;

/// How often it looks whether old files may go, or tries again what failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes the files of a generation.
///
/// # Errors
/// Those of the file system.
pub(super) fn create_files(directory: &Directory, first: u64, lanes: usize) -> io::Result<()> {
    for number in first..first + lanes as u64 {
        File::options().write(true).create(true).truncate(false).open(directory.incr_path(number))?;
    }
    file::sync_directory(&directory.path)
}

/// Puts a manifest in the place of the old one: after a crash either of them is there, and whole.
///
/// # Errors
/// Those of the file system.
pub(super) fn write_manifest(path: &Path, prefix: &str, manifest: &Manifest) -> io::Result<()> {
    let name = manifest::manifest_name(prefix);
    let temporary = path.join(format!("temp-{name}"));
    let mut file = File::create(&temporary)?;
    file.write_all(manifest.text().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path.join(&name))?;
    file::sync_directory(path)
}

/// See the module's page.
pub(super) struct Clerk {
    directory: Arc<Directory>,
    manifest: Manifest,
    log: Arc<Log>,
    errands: Receiver<Errand>,
    /// Generations that are not in the manifest on disk yet.
    waiting: Vec<Opened>,
    /// A generation that replaces all before it, once the lanes are safe up to these positions.
    replacing: Option<(u64, Vec<u64>)>,
    /// A base that is written, the number of the first file behind it, and its length.
    rewritten: Option<(Entry, u64, u64)>,
    /// The log has begun, and has no base yet: the manifest on disk is of another time.
    is_partial: bool,
    has_failed: bool,
}

impl Clerk {
    /// Starts its thread.
    ///
    /// # Errors
    /// There is no room for another thread.
    pub(super) fn start(
        directory: Arc<Directory>,
        manifest: Manifest,
        log: Arc<Log>,
        errands: Receiver<Errand>,
    ) -> io::Result<()> {
        log.set_next_base(manifest.next_base());
        let mut clerk = Clerk {
            directory,
            manifest,
            log,
            errands,
            waiting: Vec::new(),
            replacing: None,
            rewritten: None,
            is_partial: false,
            has_failed: false,
        };
        std::thread::Builder::new().name("aof-clerk".into()).spawn(move || clerk.run()).map(drop)
    }

    fn run(&mut self) {
        loop {
            let is_naming = !self.waiting.is_empty() && !self.is_partial;
            let is_waiting = is_naming || self.replacing.is_some() || self.rewritten.is_some();
            let errand = if is_waiting {
                self.errands.recv_timeout(PAUSE)
            } else {
                self.errands.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match errand {
                Ok(errand) => {
                    self.take(errand);
                    while let Ok(errand) = self.errands.try_recv() {
                        self.take(errand);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            match self.work() {
                Ok(()) => self.has_failed = false,
                Err(error) => {
                    if !std::mem::replace(&mut self.has_failed, true) {
                        tracing::error!("cannot write the AOF manifest: {}", reason(&error));
                    }
                }
            }
        }
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

    fn work(&mut self) -> io::Result<()> {
        if self.is_partial {
            return self.begin();
        }
        if !self.waiting.is_empty() {
            let lanes = self.log.lanes();
            let mut manifest = self.manifest.clone();
            for opened in &self.waiting {
                create_files(&self.directory, opened.first, lanes)?;
                add_generation(&mut manifest, &self.directory.prefix, opened.first, lanes);
            }
            write_manifest(&self.directory.path, &self.directory.prefix, &manifest)?;
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
        let is_safe = |positions: &[u64]| {
            // What shares a moment with the command at the head of the generation is on disk too.
            positions.iter().enumerate().all(|(lane, position)| *position < self.log.settled(lane))
        };
        if let Some((first, _)) = self.replacing.take_if(|(_, positions)| is_safe(positions))
            && let Err(error) = self.drop_before(first, None, 0)
        {
            self.replacing = Some((first, Vec::new()));
            return Err(error);
        }
        if let Some((base, first, bytes)) = self.rewritten.take() {
            if let Err(error) = self.drop_before(first, Some(base.clone()), bytes) {
                self.rewritten = Some((base, first, bytes));
                return Err(error);
            }
            // A command that emptied everything before the base was made has nothing left to replace.
            self.replacing.take_if(|(replacing, _)| *replacing <= first);
            self.log.note_base_bytes(self.log.bytes());
            tracing::info!("Background AOF rewrite finished successfully");
        }
        Ok(())
    }

    /// The first base is there: what the manifest named before is history.
    fn begin(&mut self) -> io::Result<()> {
        let Some((base, first, bytes)) = &self.rewritten else { return Ok(()) };
        let lanes = self.log.lanes();
        let mut manifest = Manifest { base: Some(base.clone()), ..Manifest::default() };
        for opened in self.waiting.iter().filter(|opened| *first <= opened.first) {
            create_files(&self.directory, opened.first, lanes)?;
            add_generation(&mut manifest, &self.directory.prefix, opened.first, lanes);
        }
        let old = self.manifest.base.iter().chain(&self.manifest.incrs).chain(&self.manifest.history).cloned();
        manifest.history = old.map(|entry| Entry { kind: Kind::History, ..entry }).collect();
        write_manifest(&self.directory.path, &self.directory.prefix, &manifest)?;
        self.manifest = manifest;
        self.log.note_files(*bytes, 0);
        self.rewritten = None;
        self.is_partial = false;
        for opened in self.waiting.drain(..) {
            self.log.note_known(opened.ordinal);
        }
        self.log.note_whole();
        self.log.note_base_bytes(self.log.bytes());
        tracing::info!("Background AOF rewrite finished successfully");
        self.delete_history().map(drop)
    }

    /// Base and increments before a file are history, and go; `base` takes their place, of so many bytes.
    fn drop_before(&mut self, first: u64, base: Option<Entry>, bytes: u64) -> io::Result<()> {
        if self.manifest.incrs.iter().all(|entry| entry.seq < first) {
            return Err(io::Error::other("the files behind a base are not named yet"));
        }
        let mut manifest = self.manifest.clone();
        let old: Vec<_> = manifest.incrs.extract_if(.., |entry| entry.seq < first).collect();
        manifest.history.extend(manifest.base.take().into_iter().chain(old).map(|mut entry| {
            entry.kind = Kind::History;
            entry
        }));
        manifest.base = base;
        write_manifest(&self.directory.path, &self.directory.prefix, &manifest)?;
        self.manifest = manifest;
        let dropped = self.delete_history()?;
        self.log.note_files(bytes, dropped);
        Ok(())
    }

    /// Deletes what is history; only then the manifest forgets it. Bytes of the lanes' files that are gone.
    fn delete_history(&mut self) -> io::Result<u64> {
        let mut dropped = 0;
        for entry in &self.manifest.history {
            let path = self.directory.path.join(&entry.name);
            let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Err(_) => {}
                Ok(()) if entry.name.contains(".incr.") => dropped += bytes,
                Ok(()) => {}
            }
        }
        self.manifest.history.clear();
        write_manifest(&self.directory.path, &self.directory.prefix, &self.manifest)?;
        Ok(dropped)
    }
}
