//! The append-only file when the server starts: the directory is opened and locked, what a crash left is cut to what
//! belongs together, the files are loaded, and the lanes go on where they end or in new files. See [`crate::aof`].

use super::aof_clerk::{create_files, write_manifest};
use super::aof_place::{self, Directory, LaneFile, find_manifest, read_manifest, take_over};
use super::aof_scripts::{LoggedScripts, Stage};
use super::core::unix_ms;
use super::file_source::FileSource;
use super::load::{Delay, Duplicates, Manner, load};
use crate::aof::group::{self, Lane};
use crate::aof::manifest::{self, Entry, Kind, Manifest};
use crate::aof::plain::{self, Standing};
use crate::aof::record::{self, Item, Stop};
use crate::aof::recovery::{self, Cut, Source, Tail};
use crate::command::info::REDIS_VERSION;
use crate::command::lookup::{self, Row};
use crate::command::{Group, Joint, Run, ScriptCall, SessionRun, SessionView};
use crate::config::{Config, reason};
use crate::keyspace::{Actor, Keyspace};
use crate::memory;
use crate::rdb::file::About;
use crate::rdb::load::is_snapshot;
use crate::resp::{Output, Protocol, Reply};
use crate::route::{Place, SlotMap, place};
use crate::session::Session;
use crate::shard::union::{Parts, Union};
use crate::shard::{Call, Shard, finish};
use crate::shared::Shared;
use crate::snapshot::Frame;
use crate::stats::Stats;
use crate::sys::disk::{self, File, How};
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The longest beginning that tells that a file is a snapshot.
const HEAD_BYTES: u64 = 16;
/// How far loading is, is told about so often, in bytes.
const NOTE_BYTES: u64 = 64 * 1024;
/// Replies that are errors are told of, up to so many.
const ERRORS_TOLD_MAX: u64 = 10;

/// What was loaded, for the log.
#[derive(Default)]
struct Loaded {
    commands: u64,
    errors: u64,
}

/// Opens the log and loads what is in it into the shards, which nobody else uses yet. Afterwards changes are recorded.
///
/// # Errors
/// Why the server cannot start, in words for the operator; as far as Redis has the case, in its words.
pub(super) fn open(
    config: &Config,
    shared: &Arc<Shared>,
    shards: &[&Mutex<Shard>],
) -> Result<(Directory, Manifest), String> {
    let mut directory = Directory::open(config.dir.join(&config.appenddirname), &config.appendfilename)?;
    let single = config.dir.join(&config.appendfilename);
    let (mut manifest, old) = find_manifest(&directory, &single)?;
    let files = load_files(&directory, &manifest, old.then_some(&single), config, shared, shards, false)?;
    if old {
        // Not before it could be loaded: another server, or a person, may have to look at it where it was.
        take_over(&directory, &single, &manifest)?;
    }
    directory.remove_orphans(&manifest);
    if manifest.files().next().is_none() {
        manifest.base = begin_with_base(&directory, &manifest, config, shared)?;
    }
    let first = go_on(&mut directory, &mut manifest, &files, shared)?;
    for shard in shards {
        let mut shard = shard.lock();
        shard.keyspace.is_replaying = false;
        shard.keyspace.records.is_on = true;
    }
    tracing::info!("the append-only file goes on in {} files from number {first} on", shared.cores);
    Ok((directory, manifest))
}

/// The base of a log that begins with nothing, as Redis makes it: so whoever looks finds what kind of log it is. None:
/// something of its name is there, which nobody knows of and nobody loses.
fn begin_with_base(
    directory: &Directory,
    manifest: &Manifest,
    config: &Config,
    shared: &Shared,
) -> Result<Option<Entry>, String> {
    let (seq, is_snapshot, seconds) = (manifest.next_base(), config.aof_use_rdb_preamble, unix_ms() / 1000);
    let name = manifest::base_name(&directory.prefix, seq, is_snapshot);
    let path = directory.path.join(&name);
    let libraries: Vec<Vec<u8>> = shared.scripts.libraries().values().map(|library| library.code.clone()).collect();
    assert!(libraries.is_empty()); // There was nothing to load them from.
    let frame = if is_snapshot {
        Frame::Snapshot(About {
            redis_version: REDIS_VERSION,
            made_seconds: seconds,
            used_bytes: memory::used_bytes(),
            is_log_base: true,
            libraries,
            databases: Vec::new(),
        })
    } else {
        Frame::of_commands(config.aof_timestamp_enabled.then_some(seconds), &libraries)
    };
    let bytes = frame.alone(config.rdbchecksum);
    let write = || -> io::Result<bool> {
        if disk::is_there(&path)? {
            return Ok(false);
        }
        let file = File::open(&path, How::Anew)?;
        file.write_all_at(&bytes, 0)?;
        file.sync()?;
        Ok(true)
    };
    let is_written =
        write().map_err(|error| format!("cannot write the append-only file {}: {}", path.display(), reason(&error)))?;
    Ok(is_written.then_some(Entry { name, seq, kind: Kind::Base }))
}

/// Whether there is a log that `DEBUG LOADAOF` can load.
///
/// # Errors
/// Why not, for the operator.
pub(super) fn find(config: &Config, place: &aof_place::Place) -> Result<(), String> {
    find_again(config, place).map(drop)
}

/// The directory, and what it holds now.
fn find_again(config: &Config, place: &aof_place::Place) -> Result<(Arc<Directory>, Manifest), String> {
    let directory = match place.current() {
        Some(directory) => directory,
        None => {
            let path = config.dir.join(&config.appenddirname);
            if !disk::is_there(&path).unwrap_or(true) {
                return Err(format!("there is no append-only directory {}", path.display()));
            }
            Arc::new(Directory::open(path, &config.appendfilename)?)
        }
    };
    let manifest = read_manifest(&directory)?;
    if manifest.files().next().is_none() {
        return Err(format!("there is no append-only file in {}", directory.path.display()));
    }
    Ok((directory, manifest))
}

/// Loads the log once more, for `DEBUG LOADAOF`. Nothing is recorded meanwhile, and all that was is written.
///
/// # Errors
/// As for [`open`]; some of it may be loaded.
pub(super) fn load_again(
    config: &Config,
    place: &aof_place::Place,
    shared: &Arc<Shared>,
    shards: &[&Mutex<Shard>],
) -> Result<(), String> {
    let _still = place.keep_still();
    let (directory, manifest) = find_again(config, place)?;
    load_files(&directory, &manifest, None, config, shared, shards, place.is_open()).map(drop)
}

/// Loads what a manifest names. `single`: the base is here, not in the directory yet. `is_in_use`: lanes are open
/// behind what is loaded, nothing of them is to be cut.
fn load_files(
    directory: &Directory,
    manifest: &Manifest,
    single: Option<&PathBuf>,
    config: &Config,
    shared: &Arc<Shared>,
    shards: &[&Mutex<Shard>],
    is_in_use: bool,
) -> Result<Vec<Scanned>, String> {
    let path = &directory.path;
    let path_of = |entry: &Entry| match single {
        Some(single) if entry.kind == Kind::Base => single.clone(),
        _ => path.join(&entry.name),
    };
    let started = std::time::Instant::now();
    let mut files = scan_files(path, manifest, config)?;
    if !is_in_use {
        cut_files(path, &mut files, config)?;
        let loaded: Vec<PathBuf> = manifest.files().map(path_of).collect();
        settle(path, &loaded).map_err(|error| format!("cannot sync the append-only files: {}", reason(&error)))?;
    }
    let loading = &shared.persistence.loading;
    let bytes_of = |entry: &Entry| disk::len(&path_of(entry)).unwrap_or(0);
    loading.begin(unix_ms(), manifest.files().map(bytes_of).sum());
    let mut loader = Loader::new(shared, shards, config);
    let entries: Vec<&Entry> = manifest.files().collect();
    for (at, &entry) in entries.iter().enumerate() {
        let file = path_of(entry);
        loader.later = entries[at + 1..].iter().map(|entry| path_of(entry)).collect();
        match files.iter().find(|scanned| scanned.name == entry.name && entry.kind == Kind::Incr) {
            Some(scanned) if 0 < scanned.file.scan.groups || scanned.file.scan.tail == Tail::Room => {
                loader.load_lane(&file, scanned.file.file, scanned.file.scan.bytes)?;
                if scanned.file.scan.tail == Tail::Foreign {
                    loader.load_plain(&file, scanned.file.scan.bytes, entry)?;
                }
            }
            _ => loader.load_plain(&file, 0, entry)?,
        }
        loading.end_file(bytes_of(entry));
    }
    let Loaded { commands, errors } = loader.finish();
    if manifest.base.is_some() || !manifest.incrs.is_empty() {
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!("DB loaded from append only file: {seconds:.3} seconds, {commands} commands, {errors} errors");
    }
    Ok(files)
}

/// An incr file, and what is in it.
struct Scanned {
    name: String,
    file: recovery::File,
}

fn scan_files(path: &Path, manifest: &Manifest, config: &Config) -> Result<Vec<Scanned>, String> {
    let mut files = Vec::new();
    for entry in &manifest.incrs {
        let file = path.join(&entry.name);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("The append log file {} doesn't exist: {}", entry.name, reason(&error)),
            _ => format!("Fatal error: can't open the append log file {} for reading: {}", entry.name, reason(&error)),
        };
        let mut source = FileSource::open(&file).map_err(failed)?;
        let scan = recovery::scan_incr(&mut source, entry.seq).map_err(failed)?;
        match scan.tail {
            Tail::Damaged(offset) => {
                return Err(format!(
                    "Bad file format reading the append only file {}: it is damaged at offset {}, and whole again from \
                     {offset} on. Restore it from another copy, or see what corering-check --fix would keep and lose.",
                    entry.name, scan.bytes
                ));
            }
            Tail::Torn if !config.aof_load_truncated => return Err(truncated(&entry.name)),
            Tail::Torn => tracing::warn!(
                "!!! Warning: short read while loading the AOF file {} !!! {} bytes behind offset {} are cut off",
                entry.name,
                source.len() - scan.bytes,
                scan.bytes
            ),
            Tail::Nothing | Tail::Room | Tail::Foreign => {}
        }
        files.push(Scanned { name: entry.name.clone(), file: recovery::File { file: entry.seq, scan } });
    }
    Ok(files)
}

fn truncated(name: &str) -> String {
    format!(
        "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your AOF file, then use \
         ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the 'aof-load-truncated' configuration \
         option to yes and restart the server."
    )
}

/// Cuts files to what belongs together.
fn cut_files(path: &Path, files: &mut [Scanned], config: &Config) -> Result<(), String> {
    let scans: Vec<recovery::File> = files.iter().map(|scanned| scanned.file.clone()).collect();
    let cuts = recovery::cuts(&scans);
    for scanned in files.iter_mut() {
        let file = path.join(&scanned.name);
        let failed =
            |error: io::Error| format!("cannot cut the append only file {}: {}", file.display(), reason(&error));
        if let Some(cut) = cuts.get(&scanned.file.file) {
            if !config.aof_load_truncated {
                return Err(truncated(&scanned.name));
            }
            tracing::warn!(
                "{} is cut at offset {}: what follows belongs to changes on several shards that are not whole",
                scanned.name,
                cut.group
            );
            cut_at(&file, scanned.file.file, *cut).map_err(failed)?;
            let mut source = FileSource::open(&file).map_err(failed)?;
            scanned.file.scan = recovery::scan(&mut source, scanned.file.file).map_err(failed)?;
        } else if matches!(scanned.file.scan.tail, Tail::Room | Tail::Torn) {
            let opened = File::open(&file, How::Write).map_err(failed)?;
            opened.set_len(scanned.file.scan.bytes).and_then(|()| opened.sync()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Has everything on disk that is loaded: the last server may have been ended before it had. What is built upon it, and
/// synced, would be lost with it.
fn settle(path: &Path, loaded: &[PathBuf]) -> io::Result<()> {
    for file in loaded {
        match File::open(file, How::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // Who loads it tells.
            opened => opened?.sync()?,
        }
    }
    disk::sync_directory(path)
}

/// Cuts a file between two records. Those of its last group that stay are there at any time, whatever happens
/// meanwhile: the file is made anew beside the old one.
fn cut_at(path: &Path, number: u64, cut: Cut) -> io::Result<()> {
    if cut.at == 0 {
        let file = File::open(path, How::Write)?;
        file.set_len(cut.group)?;
        return file.sync();
    }
    let group = recovery::cut_group(&mut FileSource::open(path)?, number, cut)?;
    let temporary = path.with_file_name(format!("temp-cut-{number}.aof"));
    disk::copy(path, &temporary)?;
    let file = File::open(&temporary, How::Write)?;
    file.set_len(cut.group)?;
    file.write_all_at(&group, cut.group)?;
    file.sync()?;
    disk::rename(&temporary, path)?;
    disk::sync_directory(path.parent().expect("a file is in a directory"))
}

/// The lanes go on in the files of the last generation, if it is theirs, or in new ones. The number of the first.
fn go_on(
    directory: &mut Directory,
    manifest: &mut Manifest,
    files: &[Scanned],
    shared: &Arc<Shared>,
) -> Result<u64, String> {
    let lanes = shared.cores;
    let last = files.len().checked_sub(lanes).map(|start| &files[start..]);
    let is_ours = |last: &&[Scanned]| {
        last.iter().enumerate().all(|(at, scanned)| {
            let scan = &scanned.file.scan;
            let is_lane =
                scan.lane.is_some_and(|lane| lane.lane == at && lane.lanes == lanes && lane.first == last[0].file.file);
            is_lane && !scan.has_end && scan.tail != Tail::Foreign
        })
    };
    let base = manifest.base.as_ref().and_then(|base| disk::len(&directory.path.join(&base.name)).ok());
    let base_bytes = base.unwrap_or(0);
    let log = &shared.log;
    let next_incr = directory.next_incr(manifest)?;
    let bytes: u64 = files.iter().map(|scanned| scanned.file.scan.bytes).sum();
    let own = last.filter(is_ours).map_or(0, |last| last.iter().map(|scanned| scanned.file.scan.bytes).sum::<u64>());
    // Those that are gone on with are counted by who writes them.
    log.note_files(base_bytes + bytes - own, 0);
    log.note_base_bytes(base_bytes + bytes);
    if let Some(last) = last.filter(is_ours) {
        for scanned in last {
            let scan = &scanned.file.scan;
            let path = directory.path.join(&scanned.name);
            directory.lanes.push(LaneFile { path, number: scanned.file.file, bytes: scan.bytes, groups: scan.groups });
        }
        return Ok(log.begin(Some(last[0].file.file), next_incr));
    }
    let failed = |error: io::Error| format!("cannot open new files of the log: {}", reason(&error));
    // Each generation is complete from now on, also lanes into which nothing was ever written.
    let scans: Vec<recovery::File> = files.iter().map(|scanned| scanned.file.clone()).collect();
    for scanned in files {
        let scan = &scanned.file.scan;
        if let Some(own) = recovery::generation(&scans, &scanned.file)
            && !scan.has_end
            && scan.tail != Tail::Foreign
        {
            end_file(&directory.path.join(&scanned.name), scanned, own).map_err(failed)?;
        }
    }
    let first = log.begin(None, next_incr);
    add_generation(manifest, &directory.prefix, first, lanes);
    create_files(directory, first, lanes).map_err(failed)?;
    write_manifest(&directory.path, &directory.prefix, manifest).map_err(failed)?;
    log.note_known(log.generation());
    Ok(first)
}

/// Names the files of a new generation in the manifest.
pub(super) fn add_generation(manifest: &mut Manifest, prefix: &str, first: u64, lanes: usize) {
    for seq in first..first + lanes as u64 {
        manifest.incrs.push(Entry { name: manifest::incr_name(prefix, seq), seq, kind: Kind::Incr });
    }
}

/// Marks a lane as complete.
fn end_file(path: &Path, scanned: &Scanned, lane: Lane) -> io::Result<()> {
    let mut records = Vec::new();
    if scanned.file.scan.groups == 0 {
        group::write_lane(&mut records, lane);
    }
    group::write_end(&mut records);
    let mut group = vec![0; group::bytes_for(records.len())];
    let number = scanned.file.scan.groups;
    group::seal(&mut group, group::Place { file: scanned.file.file, number, synced: number }, 0, &records);
    let file = File::open(path, How::Write)?;
    file.write_all_at(&group, scanned.file.scan.bytes)?;
    file.sync()
}

/// Runs the commands of a log.
struct Loader<'e> {
    shared: Arc<Shared>,
    shards: Vec<&'e Mutex<Shard>>,
    config: Arc<Config>,
    map: SlotMap,
    stats: Stats,
    random: fastrand::Rng,
    overlay: Option<Box<Keyspace>>,
    scripts: Option<LoggedScripts>,
    /// The files behind the one that is loaded.
    later: Vec<PathBuf>,
    delay: Delay,
    out: Output,
    /// Nobody's: what the file selects.
    session: Session,
    loaded: Loaded,
}

impl<'e> Loader<'e> {
    fn new(shared: &Arc<Shared>, shards: &[&'e Mutex<Shard>], config: &Config) -> Loader<'e> {
        shards.iter().for_each(|shard| shard.lock().keyspace.is_replaying = true);
        Loader {
            shared: shared.clone(),
            shards: shards.to_vec(),
            config: Arc::new(config.clone()),
            map: SlotMap::new(shards.len()),
            stats: Stats::new(false),
            random: fastrand::Rng::new(),
            overlay: None,
            scripts: None,
            later: Vec::new(),
            delay: Delay::default(),
            out: Output::default(),
            session: Session::new(0, 0, -1, unix_ms()),
            loaded: Loaded::default(),
        }
    }

    fn finish(self) -> Loaded {
        // What is on the disk has nothing to do with what was emptied long ago.
        self.shards.iter().for_each(|shard| shard.lock().keyspace.emptied_at = None);
        self.loaded
    }

    /// Loads the groups of a lane.
    fn load_lane(&mut self, path: &Path, number: u64, bytes: u64) -> Result<(), String> {
        let failed = |error: io::Error| {
            format!("Unrecoverable error reading the append only file {}: {}", path.display(), reason(&error))
        };
        let mut source = FileSource::open(path).map_err(failed)?;
        let (mut offset, mut group, mut buffer) = (0, 0, Vec::new());
        self.session.db = 0;
        while offset < bytes {
            let found = recovery::group_at(&mut source, offset, number, Some(group), &mut buffer).map_err(failed)?;
            let Some((header, records)) = found else {
                return Err(bad_format(path, offset));
            };
            let mut at = 0;
            while at < records.len() {
                let (item, taken) = record::read(&records[at..]).map_err(|_| bad_format(path, offset))?;
                // A group is there as a whole: transactions need no care.
                if let Item::Command(args) = item
                    && !is_bracket(args[0])
                {
                    self.run(path, &args)?;
                }
                at += taken;
            }
            offset += header.bytes;
            group += 1;
            self.shared.persistence.loading.note(offset);
        }
        Ok(())
    }

    /// Loads commands, from an offset on, as other servers write them.
    fn load_plain(&mut self, path: &Path, start: u64, entry: &Entry) -> Result<(), String> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("The append log file {} doesn't exist: {}", entry.name, reason(&error)),
            _ => format!("Fatal error: can't open the append log file {} for reading: {}", entry.name, reason(&error)),
        };
        let mut source = FileSource::open(path).map_err(failed)?;
        self.session.db = 0;
        let mut start = start;
        if start == 0 {
            let mut head = vec![0; source.len().min(HEAD_BYTES) as usize];
            source.read_at(0, &mut head).map_err(failed)?;
            if is_snapshot(&head) {
                // A base is one; an old single file may go on behind it.
                let manner = Manner { duplicates: Duplicates::Refused, keeps_expired: true, is_part: true };
                start = load(path, &self.shards, &self.shared, manner)?.bytes;
            }
        }
        // A transaction counts when its EXEC is there.
        let mut queued: Vec<Vec<Vec<u8>>> = Vec::new();
        let mut note_due = start;
        let end = plain::read_all_loosely(&mut source, start, |read| {
            if note_due <= read.offset {
                note_due = read.offset + NOTE_BYTES;
                self.shared.persistence.loading.note(read.offset);
            }
            let Item::Command(args) = read.item else { return Ok::<(), String>(()) };
            match read.standing {
                Standing::Begins => {}
                Standing::Inside => queued.push(args.iter().map(|arg| arg.to_vec()).collect()),
                Standing::Ends => {
                    for args in queued.drain(..) {
                        self.run(path, &args.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
                    }
                }
                Standing::Alone => self.run(path, &args)?,
            }
            Ok(())
        });
        let end = end.map_err(failed)??;
        if let Some(stop) = end.stop {
            return self.end_badly(path, entry, end.offset, end.transaction, source.len(), stop);
        }
        if let Some(start) = end.transaction {
            tracing::warn!("Revert incomplete MULTI/EXEC transaction from AOF file {}", entry.name);
            return self.end_badly(path, entry, start, None, source.len(), Stop::Cut(0));
        }
        Ok(())
    }

    /// The end of a file cannot be read: it is cut off where the configuration allows it.
    fn end_badly(
        &mut self,
        path: &Path,
        entry: &Entry,
        offset: u64,
        transaction: Option<u64>,
        len: u64,
        stop: Stop,
    ) -> Result<(), String> {
        let valid = transaction.unwrap_or(offset);
        match stop {
            Stop::Cut(_) if !self.config.aof_load_truncated => return Err(truncated(&entry.name)),
            Stop::Damaged if self.config.aof_load_corrupt_tail_max_size < len - offset => {
                return Err(bad_format(path, offset));
            }
            _ => {}
        }
        // What the next file says may build upon what is missing.
        if self.later.iter().any(|path| says_something(path)) {
            return Err(format!("Fatal error: the truncated file is not the last file ({})", entry.name));
        }
        tracing::warn!("!!! Warning: short read while loading the AOF file {} !!!", entry.name);
        tracing::warn!(
            "AOF {} loaded anyway because aof-load-truncated is enabled, truncated at offset {valid}",
            entry.name
        );
        let cut = || -> io::Result<()> {
            let file = File::open(path, How::Write)?;
            file.set_len(valid)?;
            file.sync()
        };
        cut().map_err(|error| format!("Error truncating the AOF file {}: {}", entry.name, reason(&error)))
    }

    /// Runs one command on the shards of its keys.
    fn run(&mut self, path: &Path, args: &[&[u8]]) -> Result<(), String> {
        let row = lookup::find_row(args).filter(|row| row.accepts(args.len())).ok_or_else(|| {
            let name = String::from_utf8_lossy(args[0]);
            format!("Unknown command '{name}' reading the append only file {}", path.display())
        })?;
        if let Run::Session(run) = row.command.run
            && args[0].eq_ignore_ascii_case(b"select")
        {
            self.run_session(row, run, args);
            return Ok(());
        }
        self.loaded.commands += 1;
        self.delay.wait(&self.shared);
        match row.command.run {
            Run::Keyspace(_) | Run::Blocking(_) => {}
            Run::Joint(Joint::Script(what)) => {
                self.run_script(row, what, args);
                return Ok(());
            }
            Run::Session(run) if row.command.group == Group::Scripting => {
                self.run_session(row, run, args);
                return Ok(());
            }
            _ => return Ok(()), // Nothing of it is in a data set.
        }
        let db = self.session.db;
        let call = Call { db, protocol: Protocol::Resp2, touch: true, actor: Actor::default(), is_replayed: true };
        let now_ms = unix_ms();
        self.out.truncate(0);
        let place = place(self.map, row.command, args);
        let (stats, out) = (&mut self.stats, &mut self.out);
        if let (Place::One(shard), Run::Keyspace(_)) = (place, row.command.run) {
            self.shards[shard].lock().execute(row, call, args, now_ms, stats, out);
        } else {
            let mut locked: Vec<MutexGuard<'_, Shard>> = self.shards.iter().map(|shard| shard.lock()).collect();
            let parts: Parts<'_> = locked.iter_mut().map(|shard| Some(&mut shard.keyspace)).collect();
            let mut union = Union::new(self.map.shards(), parts, &mut self.overlay, &self.config, &mut self.random);
            union.execute(row, call, args, now_ms, stats, out);
        }
        self.tell_error(row);
        Ok(())
    }

    /// A script, or a command about scripts or functions.
    #[cold]
    fn run_script(&mut self, row: &'static Row, what: ScriptCall, args: &[&[u8]]) {
        self.out.truncate(0);
        let stage = Stage {
            shards: self.shards.iter().map(|shard| shard.lock()).collect(),
            shared: &self.shared,
            config: &self.config,
            map: self.map,
            overlay: &mut self.overlay,
            random: &mut self.random,
            stats: &mut self.stats,
            session: &mut self.session,
            now_ms: unix_ms(),
        };
        self.scripts.get_or_insert_with(LoggedScripts::new).run(what, args, stage, &mut self.out);
        self.tell_error(row);
    }

    /// A command that concerns its client alone, which is nobody.
    fn run_session(&mut self, row: &'static Row, run: SessionRun, args: &[&[u8]]) {
        self.out.truncate(0);
        let mut view = SessionView {
            session: &mut self.session,
            config: &self.config,
            shared: &self.shared,
            now_ms: unix_ms(),
            reconfigured: false,
        };
        let result = run(&mut view, args, &mut Reply::new(&mut self.out, Protocol::Resp2));
        finish(result, &mut self.stats, row, 0, &mut self.out);
        self.tell_error(row);
    }

    /// A command that fails is told of, and loading goes on, as in Redis: in its words.
    fn tell_error(&mut self, row: &'static Row) {
        let Some(error) = self.out.bytes().strip_prefix(b"-") else { return };
        self.loaded.errors += 1;
        if self.loaded.errors <= ERRORS_TOLD_MAX {
            // Redis tells the word in front only where it is another one.
            let told = error.strip_prefix(b"ERR ").unwrap_or(self.out.bytes());
            tracing::warn!(
                "== CRITICAL == This server is sending an error to its AOF-loading-client: '{}' after processing the \
                 command '{}'",
                String::from_utf8_lossy(told).trim_end(),
                row.full_name()
            );
        }
    }
}

/// MULTI or EXEC.
fn is_bracket(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"multi") || name.eq_ignore_ascii_case(b"exec")
}

/// Whether there is a command in a file; so too if nobody can tell.
fn says_something(path: &Path) -> bool {
    let is_command = |item: &Item<'_>| matches!(item, Item::Command(_));
    let look = || {
        let mut source = FileSource::open(path)?;
        plain::read_all_loosely(&mut source, 0, |read| if is_command(&read.item) { Err(()) } else { Ok(()) })
    };
    look().map_or(true, |read| read.is_err())
}

fn bad_format(path: &Path, offset: u64) -> String {
    format!(
        "Bad file format reading the append only file {} at offset {offset}: make a backup of your AOF file, then use \
         ./redis-check-aof --fix <filename.manifest>",
        path.file_name().unwrap_or_default().to_string_lossy()
    )
}
