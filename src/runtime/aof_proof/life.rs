//! A server on a simulated disk, from its start to its end: what is a core's loop elsewhere is a step here, and dice
//! say which comes next.

use super::super::aof_clerk::Clerk;
use super::super::aof_load;
use super::super::aof_place::LogFiles;
use super::super::aof_writer::{Moment, Queue, Writer, Written};
use super::super::snapshot::{Job, Passes, WRITERS, finish, write_part};
use super::history::{Contents, Deed, History};
use crate::aof::log::{Errand, Gate, Record};
use crate::aof::{manifest, record};
use crate::command::info::REDIS_VERSION;
use crate::command::lookup;
use crate::config::{Appendfsync, Config};
use crate::keyspace::{Actor, Keyspace, walk::Slice};
use crate::rdb::{self, file};
use crate::resp::{Output, Protocol};
use crate::shard::union::{Parts, Union};
use crate::shard::{Call, Shard, commit_shared};
use crate::shared::Shared;
use crate::shared::persistence::Purpose;
use crate::snapshot::{Clocks, Form, Frame, Plan, Scribe};
use crate::stats::Stats;
use crate::sys::disk::File;
use crate::sys::disk::simulated::{self, Disk};
use crate::sys::file::Blocks;
use crate::value::ValueRef;
use parking_lot::{Mutex, MutexGuard};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

const NOW_MS: u64 = 1_700_000_000_000;
/// Steps of a history, and deeds at most.
const STEPS: usize = 60;
const DEEDS_MAX: usize = 12;
/// Rounds in which everything has to come right again.
const ROUNDS_MAX: usize = 60;

/// What a lane has given to the disk, and not heard of yet.
#[derive(Default)]
struct Held {
    doing: Option<Doing>,
    /// Zeros: where, and how many.
    zeros: Option<(simulated::File, u64, usize)>,
}

enum Doing {
    Write { file: simulated::File, offset: u64, blocks: Blocks, skipped: usize, is_synced: bool },
    Sync(simulated::File),
}

impl Queue for Held {
    fn write(&mut self, file: &File, offset: u64, blocks: Blocks, skipped: usize, is_synced: bool) {
        let file = file.simulated().clone();
        file.put(&blocks.bytes()[skipped..], offset);
        self.doing = Some(Doing::Write { file, offset, blocks, skipped, is_synced });
    }

    fn sync(&mut self, file: &File) {
        self.doing = Some(Doing::Sync(file.simulated().clone()));
    }

    fn zero(&mut self, file: &File, offset: u64, bytes: usize) {
        assert!(self.zeros.is_none(), "one at a time");
        self.zeros = Some((file.simulated().clone(), offset, bytes));
    }
}

/// See the module's page.
pub(super) struct Life {
    pub(super) disk: Arc<Disk>,
    pub(super) shared: Arc<Shared>,
    shards: Vec<Mutex<Shard>>,
    files: LogFiles,
    clerk: Clerk,
    lanes: Vec<(Writer, Held)>,
    policy: Appendfsync,
    steady_ms: u64,
    /// What was done, in order, …
    pub(super) done: Vec<Deed>,
    /// … what each waits for until it is safe, …
    gates: Vec<Gate>,
    /// … and since which of the disk's images it was.
    safe_since: Vec<Option<usize>>,
    /// It has ended itself.
    pub(super) has_stopped: bool,
    stats: Stats,
    random: fastrand::Rng,
}

fn shard(shared: &Arc<Shared>, index: usize) -> Shard {
    let config = shared.config();
    let keyspace = Keyspace::new(config.databases as usize, 1);
    Shard::new(index, shared.cores, config, keyspace, 1, shared.pubsub.clone(), shared.log.clone())
}

impl Life {
    /// Starts a server on a disk.
    ///
    /// # Errors
    /// Why it does not, for the operator.
    pub(super) fn start(disk: Arc<Disk>, history: &History) -> Result<Life, String> {
        let config = Config {
            dir: disk.path.clone(),
            appendonly: true,
            appendfsync: history.policy,
            aof_use_rdb_preamble: history.is_snapshot,
            databases: 2,
            ..Config::default()
        };
        let shared = Arc::new(Shared::new(config.clone(), (0..history.lanes).collect(), NOW_MS, String::new()));
        let shards: Vec<Mutex<Shard>> = (0..history.lanes).map(|index| Mutex::new(shard(&shared, index))).collect();
        let files = LogFiles::default();
        files.attach(&shared);
        let engines: Vec<&Mutex<Shard>> = shards.iter().collect();
        let (directory, manifest) = aof_load::open(&config, &shared, &engines)?;
        shared.log.set_always(history.policy == Appendfsync::Always);
        shared.log.set_unsynced(history.policy == Appendfsync::No);
        let clerk = files.begin_by_hand(directory, manifest);
        let lanes = (0..history.lanes).map(|lane| (Writer::new(files.clone(), lane), Held::default())).collect();
        Ok(Life {
            disk,
            shared,
            shards,
            files,
            clerk,
            lanes,
            policy: history.policy,
            steady_ms: 1000,
            done: Vec::new(),
            gates: Vec::new(),
            safe_since: Vec::new(),
            has_stopped: false,
            stats: Stats::new(false),
            random: fastrand::Rng::with_seed(1),
        })
    }

    /// All keys and their values.
    pub(super) fn contents(&self) -> Contents {
        let mut contents = Contents::new();
        for shard in &self.shards {
            let shard = shard.lock();
            for db in 0..shard.keyspace.databases() {
                shard.keyspace.for_each(db, |entry| {
                    let ValueRef::Integer(value) = entry.value() else { panic!("nobody has set {:?}", entry.value()) };
                    contents.insert((db, String::from_utf8_lossy(entry.key()).into_owned()), value);
                });
            }
        }
        contents
    }

    /// Goes through a history, or as far as the server does.
    pub(super) fn run(&mut self, history: &History, random: &mut fastrand::Rng) {
        assert_eq!(history.lanes, self.lanes.len());
        for _ in 0..STEPS {
            match random.u8(..20) {
                0..=5 if self.done.len() < DEEDS_MAX => {
                    let deed = Deed::draw(random, self.done.len());
                    self.run_deed(deed);
                }
                6..=13 => self.end_or_begin(random.usize(..self.lanes.len())),
                14..=16 => drop(self.clerk.turn_by_hand()),
                17 => self.rewrite(),
                _ => self.pass_time(random.u64(..700)),
            }
            self.look();
            if self.has_stopped {
                return;
            }
        }
    }

    /// Lets everything come to rest. Whether all that was done is safe.
    pub(super) fn settle(&mut self, random: &mut fastrand::Rng) -> bool {
        for _ in 0..ROUNDS_MAX {
            if self.has_stopped {
                return false;
            }
            self.pass_time(500);
            for lane in 0..self.lanes.len() {
                // Somebody waits for it, as with WAITAOF.
                self.lanes[lane].0.is_asked = true;
                self.end_or_begin(lane);
                self.end_or_begin(lane);
            }
            let is_left = self.clerk.turn_by_hand();
            if self.shared.log.is_rewrite_wanted() {
                self.rewrite();
            }
            self.look();
            let is_quiet = self.lanes.iter().all(|(writer, _)| !writer.is_in_flight());
            let is_safe = self.safe_since.iter().all(Option::is_some);
            if !is_left && is_quiet && is_safe && self.shared.log.error().is_none() && random.bool() {
                return true;
            }
        }
        false
    }

    /// The deeds of which somebody was told that they are safe when the disk had so many images.
    pub(super) fn safe_at(&self, images: usize) -> Vec<usize> {
        let is_safe = |number: &usize| self.safe_since[*number].is_some_and(|since| since <= images);
        (0..self.done.len()).filter(is_safe).collect()
    }

    /// Who waits is told.
    fn look(&mut self) {
        let images = self.disk.images_len();
        for (gate, since) in self.gates.iter().zip(&mut self.safe_since) {
            if since.is_none() && self.shared.log.is_met(gate) {
                // The last image is that of the change which made it so.
                *since = Some(images.saturating_sub(1));
            }
        }
    }

    fn run_deed(&mut self, deed: Deed) {
        let log = self.shared.log.clone();
        if log.has_failed() {
            return; // Writes are refused.
        }
        let config = self.shared.config();
        let mut engines: Vec<MutexGuard<'_, Shard>> = self.shards.iter().map(|shard| shard.lock()).collect();
        let mut overlay = None;
        let parts: Parts<'_> = engines.iter_mut().map(|shard| Some(&mut shard.keyspace)).collect();
        let mut union = Union::new(self.lanes.len(), parts, &mut overlay, &config, &mut self.random);
        let call =
            || Call { db: 0, protocol: Protocol::Resp2, touch: true, actor: Actor::default(), is_replayed: false };
        for words in deed.commands() {
            let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            let row = lookup::find_row(&args).expect("a command");
            let mut out = Output::default();
            assert!(union.execute(row, call(), &args, NOW_MS, &mut self.stats, &mut out), "{words:?}");
        }
        drop(union);
        let hasher = engines[0].keyspace.hasher();
        let mut records: Vec<_> = engines.iter_mut().map(|shard| &mut shard.keyspace.records).collect();
        let mut touched = commit_shared(&log, &mut records, |key| hasher.hash(key));
        if touched.is_empty() {
            touched = (0..self.lanes.len()).collect(); // It found nothing to change: its reply tells of all there is.
        }
        let mut gate = Gate::default();
        touched.into_iter().for_each(|lane| log.raise(&mut gate, lane, log.position(lane)));
        self.done.push(deed);
        self.gates.push(gate);
        self.safe_since.push(None);
    }

    /// Records of so many bytes, on a lane, as far as writes are accepted.
    pub(super) fn record(&mut self, lane: usize, bytes: usize) {
        if !self.shared.log.has_failed() {
            let mut text = Vec::new();
            record::write(&mut text, &[b"SET", b"k", &vec![b'x'; bytes]]);
            let record = Record { db: 0, bytes: &text, hashes: Default::default() };
            self.shared.log.append(lane, &[record], false);
        }
    }

    /// Some time passes, in which the disk does what it is asked for.
    pub(super) fn go_on(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.pass_time(500);
            (0..2 * self.lanes.len()).for_each(|at| self.end_or_begin(at / 2));
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            policy: self.policy,
            steady_ms: self.steady_ms,
            raw: 0,
            is_saving: false,
            skips_sync: false,
            awaits_company: false,
        }
    }

    /// What a lane has under way ends; where there is nothing, it begins what is to be done next.
    fn end_or_begin(&mut self, lane: usize) {
        let (log, moment) = (self.shared.log.clone(), self.moment());
        let (writer, held) = &mut self.lanes[lane];
        assert!(writer.looks_for_place());
        if (held.doing.is_none() || self.random.bool())
            && let Some((file, offset, bytes)) = held.zeros.take()
        {
            writer.zeroed(file.finish_zeros(bytes, offset));
            return;
        }
        let (failed, is_fatal) = match held.doing.take() {
            None => match writer.flush(&log, &moment, held) {
                Ok(()) => (None, false),
                Err(error) => {
                    let is_fatal = writer.fail(&log, &error, &moment);
                    (Some(error), is_fatal)
                }
            },
            Some(Doing::Write { file, offset, blocks, skipped, is_synced }) => {
                let result = file.finish_write(blocks.bytes().len() - skipped, offset, is_synced);
                match writer.written(&log, result, blocks, held) {
                    Written::Partly | Written::Wholly { .. } => (None, false),
                    Written::Failed(error) => {
                        let is_fatal = writer.fail(&log, &error, &moment);
                        (Some(error), is_fatal)
                    }
                }
            }
            Some(Doing::Sync(file)) => match writer.synced(&log, file.finish_sync()).1 {
                Ok(()) => (None, false),
                Err(error) => {
                    let is_fatal = writer.fail_sync(&log, &error, &moment);
                    (Some(error), is_fatal)
                }
            },
        };
        if let Some(error) = failed {
            assert_eq!(is_fatal, self.policy == Appendfsync::Always, "{error}");
            // What clients are told is what the system has said.
            assert!(is_fatal || log.has_failed() && log.error() == error.raw_os_error().map(|number| number as u32));
        }
        self.has_stopped |= is_fatal;
    }

    fn pass_time(&mut self, ms: u64) {
        self.steady_ms += ms;
        self.lanes.iter_mut().for_each(|(writer, _)| writer.is_tick = true);
    }

    /// The log is rewritten, with nothing in between.
    fn rewrite(&mut self) {
        let log = self.shared.log.clone();
        if log.rewrites().since_ms.is_some() {
            return;
        }
        log.begin_rewrite(NOW_MS);
        let directory = self.files.of_base().expect("it is open");
        let (seq, is_snapshot) = (log.next_base(), self.shared.config().aof_use_rdb_preamble);
        let name = manifest::base_name(&directory.prefix, seq, is_snapshot);
        let mut engines: Vec<MutexGuard<'_, Shard>> = self.shards.iter().map(|shard| shard.lock()).collect();
        let first = log.rotate();
        let databases = (0..2).map(|db| (db, engines.iter().map(|engine| engine.keyspace.len(db) as u64).sum(), 0));
        let frame = if is_snapshot {
            Frame::Snapshot(file::About {
                redis_version: REDIS_VERSION,
                made_seconds: 1,
                used_bytes: 1,
                is_log_base: true,
                libraries: Vec::new(),
                databases: databases.filter(|(_, keys, _)| *keys != 0).collect(),
            })
        } else {
            Frame::of_commands(None, &[])
        };
        let form = if is_snapshot {
            Form::Snapshot { clocks: Clocks { policy: None, now_ms: NOW_MS }, compress: false }
        } else {
            Form::Commands
        };
        let plan = Arc::new(Plan::new(frame.head(rdb::VERSION).len() as u64, false));
        let outputs: Vec<_> = engines.iter().map(|_| Arc::new(crate::snapshot::Output::new(plan.clone()))).collect();
        for (engine, output) in engines.iter_mut().zip(&outputs) {
            engine.keyspace.begin_walk(|db| Box::new(Scribe::new(db, output.clone(), form)));
            while engine.keyspace.step_walk(Slice { entries: 3, bytes: 100 }) {}
        }
        drop(engines);
        let path = directory.path.join(&name);
        let job = Arc::new(Job::new(&self.shared, path, outputs, Purpose::LogBase, 0));
        for lane in 0..self.lanes.len() {
            job.note_walked(lane);
            (0..WRITERS).for_each(|_| at_once(write_part(job.clone(), lane, Passes::default())));
        }
        match at_once(finish(&job, &frame, 0, &Passes::default())) {
            Ok(written) => {
                log.note_base(first);
                log.send(Errand::Rewritten { name, seq, first: Some(first), bytes: written.bytes });
            }
            Err(_) => {
                log.end_rewrite(NOW_MS, false);
                log.want_rewrite(true);
            }
        }
    }
}

/// What a task comes to that waits for nobody: on a simulated disk nothing takes time.
fn at_once<T>(task: impl Future<Output = T>) -> T {
    match pin!(task).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it waits"),
    }
}
