//! The lanes of a running server: what was appended and not written yet, and how far everything is synced. Any core
//! appends to any lane; its owner takes what is there and writes it. Not here: files.
//!
//! A lane's lock is held for as long as it takes to copy a record. Who locks several locks them in rising order, and
//! nobody takes another lock meanwhile, so nobody waits in a circle.

use super::group::{self, Lane as LaneNote};
use super::record;
use super::unsynced::Unsynced;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Sender;

/// One record, as text.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// The database it is for.
    pub db: usize,
    /// The command.
    pub bytes: &'a [u8],
    /// The hashes of the keys that it changes; none: all there are.
    pub hashes: SmallVec<[u64; 2]>,
}

/// What is left to be appended to one lane, in its order.
pub type Records<'a> = Vec<Record<'a>>;

/// What happened on several shards, in turn: records by shard, then perhaps one that concerns all keys.
#[derive(Debug, Default)]
pub struct Phase<'a> {
    /// By shard, those that have any.
    pub parts: Vec<(usize, Records<'a>)>,
    /// A command on all keys, which comes after the records.
    pub global: Option<Global<'a>>,
}

/// A command on all keys.
#[derive(Debug, Clone)]
pub struct Global<'a> {
    /// As text.
    pub record: Record<'a>,
    /// Nothing is left of what was there before.
    pub is_flush_all: bool,
}

/// What a reply waits for: lanes, each with a position. Behind the last lane counts the manifest, and behind that how
/// often what is on the disk was emptied ([`Log::note_emptied`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gate(SmallVec<[(u32, u64); 2]>);

impl Gate {
    /// Whether there is nothing to wait for.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for this too.
    pub fn raise(&mut self, lane: usize, position: u64) {
        if position == 0 {
            return;
        }
        match self.0.iter_mut().find(|(of, _)| *of as usize == lane) {
            Some((_, known)) => *known = position.max(*known),
            None => self.0.push((lane as u32, position)),
        }
    }

    /// Waits for all that another one waits for.
    pub fn join(&mut self, other: &Gate) {
        other.0.iter().for_each(|(lane, position)| self.raise(*lane as usize, *position));
    }

    /// The lanes it waits for.
    pub fn lanes(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().map(|(lane, _)| *lane as usize)
    }
}

/// A generation that was opened, for whoever keeps the manifest.
#[derive(Debug)]
pub struct Opened {
    /// Which generation since the server started, from 1.
    pub ordinal: u64,
    /// The number of its first file; as many follow as there are lanes.
    pub first: u64,
    /// It begins with an empty data set: what was before it may go once the lanes are safe up to these positions.
    pub replaces: Option<Vec<u64>>,
}

/// What whoever keeps the manifest has to do.
#[derive(Debug)]
pub enum Errand {
    /// Name the files of a generation.
    Opened(Opened),
    /// The log begins while the server runs: the manifest on disk is of another time, and stays as it is until there is
    /// a base to begin with.
    Begun(Opened),
    /// A base is written: it and the files from `first` on are all that is needed.
    Rewritten {
        /// Its name.
        name: String,
        /// Its number.
        seq: u64,
        /// The number of the first file behind it; `None`: the log is off, there are none.
        first: Option<u64>,
        /// Its length.
        bytes: u64,
    },
}

/// When a rewrite that is wanted is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// After what else is under way.
    Later,
    /// At once.
    Now,
}

/// How rewriting goes, and went so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrites {
    /// One is wanted that has not begun.
    pub wanted: Option<When>,
    /// Since when one is under way, unix milliseconds.
    pub since_ms: Option<u64>,
    /// How long the last one took, in seconds; -1: there was none.
    pub last_seconds: i64,
    /// Whether it succeeded.
    pub is_ok: bool,
    /// Those that succeeded.
    pub count: u64,
    /// Those that failed since then.
    pub failures: u64,
}

impl Rewrites {
    /// Whether one is under way, or about to be.
    pub fn is_under_way(&self) -> bool {
        self.since_ms.is_some() || self.wanted == Some(When::Now)
    }

    /// Whether one is wanted that waits for something else.
    pub fn is_scheduled(&self) -> bool {
        self.wanted == Some(When::Later)
    }
}

/// Records of one file that nobody has taken yet.
#[derive(Debug)]
struct Segment {
    file: u64,
    records: Vec<u8>,
    shares: u64,
    /// Nothing comes behind it in its file.
    is_last: bool,
}

/// What a lane has not written yet.
#[derive(Debug)]
struct Pending {
    segments: VecDeque<Segment>,
    /// The database that whoever replays the file is in; `None`: not said yet.
    selected: Option<usize>,
    /// When the time was written last, unix seconds.
    time: u64,
    /// Up to where each lane, and behind them the manifest, has to be synced before this lane's records are safe.
    needs: Box<[u64]>,
    unsynced: Unsynced,
    end: u64,
}

/// One shard's log.
#[derive(Debug)]
struct Lane {
    pending: Mutex<Pending>,
    /// Bytes of records appended since the server started …
    end: AtomicU64,
    /// … written …
    written: AtomicU64,
    /// … and synced.
    synced: AtomicU64,
    /// The error number of the last write or sync; 0: it succeeded.
    error: AtomicU32,
    /// What it takes in memory, in bytes: what nobody has taken yet, …
    buffered: AtomicU64,
    /// … and its owner's buffers.
    writing: AtomicU64,
    /// Its owner was asked to flush it at once.
    is_asked: AtomicBool,
    /// Bytes of its files on disk.
    bytes: AtomicU64,
    /// Clients of its core wait for other lanes.
    is_waiting: AtomicBool,
    /// Its owner has a file of it open.
    is_open: AtomicBool,
}

impl Lane {
    /// Tells how far it goes, and what that takes in memory.
    fn publish(&self, pending: &Pending) {
        self.note_buffers(pending);
        self.end.store(pending.end, Ordering::Release);
    }

    fn note_buffers(&self, pending: &Pending) {
        let bytes: usize = pending.segments.iter().map(|segment| segment.records.capacity()).sum();
        self.buffered.store(bytes as u64, Ordering::Relaxed);
    }
}

/// What a flush writes.
#[derive(Debug)]
pub struct Batch {
    /// The file it belongs to.
    pub file: u64,
    /// Records and annotations.
    pub records: Vec<u8>,
    /// How many shares are among them.
    pub shares: u64,
    /// The lane's position behind it.
    pub end: u64,
    /// The file ends with it.
    pub is_last: bool,
}

/// See the module's page.
#[derive(Debug)]
pub struct Log {
    lanes: Box<[Lane]>,
    is_on: AtomicBool,
    /// What was there before it began is not in it yet.
    is_partial: AtomicBool,
    /// Somebody's replies wait until what they tell is synced.
    holds_replies: AtomicBool,
    is_always: AtomicBool,
    is_unsynced: AtomicBool,
    /// Clients that want it though it is not the rule.
    wanting: AtomicU64,
    /// Clients that were promised that there is a log.
    promised: AtomicU64,
    /// Writes the time in front of records, at most once a second: the unix time in seconds; 0: does not.
    time: AtomicU64,
    /// There is something in it that no `FLUSHALL` empties.
    keeps_all: AtomicBool,
    next_share: AtomicU64,
    /// Generations opened since the server started.
    generation: AtomicU64,
    /// The newest of them that the manifest names, on disk.
    known: AtomicU64,
    /// The number of the next file. Changed under the locks of all lanes.
    next_file: AtomicU64,
    clerk: Mutex<Option<Sender<Errand>>>,
    rewrites: Mutex<Rewrites>,
    next_base: AtomicU64,
    /// Bytes of the base that is there, …
    own_base_bytes: AtomicU64,
    /// … and of files of the lanes that are gone.
    dropped_bytes: AtomicU64,
    /// Some lane's last write or sync failed.
    has_failed: AtomicBool,
    /// Syncs that are under way, and how often a write waited for one.
    syncing: AtomicU64,
    delayed: AtomicU64,
    /// The newest file of which a sync has failed; 0: none.
    lost_file: AtomicU64,
    /// Files or their directory are not there any more: the error number; 0: they are.
    gone: AtomicU32,
    /// The manifest could not be written last time.
    is_unnamed: AtomicBool,
    /// They are gone, and there is a directory in which the log can begin anew.
    has_place: AtomicBool,
    /// What belongs into files before this one need not be written: a base has it, or will.
    obsolete_before: AtomicU64,
    /// Bytes of the log when it was loaded or rewritten last.
    base_bytes: AtomicU64,
    /// Up to which `FLUSHALL` the snapshot on the disk is as empty.
    emptied: AtomicU64,
}

impl Log {
    /// Of so many lanes, off. `seed`: random, so that the numbers of shares are new in every run.
    pub fn new(lanes: usize, seed: u32) -> Log {
        let lane = |_| Lane {
            pending: Mutex::new(Pending {
                segments: VecDeque::new(),
                selected: None,
                time: 0,
                needs: vec![0; lanes + 1].into_boxed_slice(),
                unsynced: Unsynced::default(),
                end: 0,
            }),
            end: AtomicU64::new(0),
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            error: AtomicU32::new(0),
            buffered: AtomicU64::new(0),
            writing: AtomicU64::new(0),
            is_asked: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            is_waiting: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
        };
        Log {
            lanes: (0..lanes).map(lane).collect(),
            is_on: AtomicBool::new(false),
            is_partial: AtomicBool::new(false),
            holds_replies: AtomicBool::new(false),
            is_always: AtomicBool::new(false),
            is_unsynced: AtomicBool::new(false),
            wanting: AtomicU64::new(0),
            promised: AtomicU64::new(0),
            time: AtomicU64::new(0),
            keeps_all: AtomicBool::new(false),
            next_share: AtomicU64::new((seed as u64) << 32),
            generation: AtomicU64::new(0),
            known: AtomicU64::new(0),
            next_file: AtomicU64::new(1),
            clerk: Mutex::new(None),
            rewrites: Mutex::new(Rewrites {
                wanted: None,
                since_ms: None,
                last_seconds: -1,
                is_ok: true,
                count: 0,
                failures: 0,
            }),
            next_base: AtomicU64::new(1),
            own_base_bytes: AtomicU64::new(0),
            dropped_bytes: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            syncing: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            lost_file: AtomicU64::new(0),
            gone: AtomicU32::new(0),
            is_unnamed: AtomicBool::new(false),
            has_place: AtomicBool::new(false),
            obsolete_before: AtomicU64::new(0),
            base_bytes: AtomicU64::new(0),
            emptied: AtomicU64::new(0),
        }
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Whether changes are recorded.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether replies may have to wait.
    #[inline]
    pub fn holds_replies(&self) -> bool {
        self.holds_replies.load(Ordering::Relaxed)
    }

    /// Nobody cares when it is synced.
    pub fn set_unsynced(&self, is_unsynced: bool) {
        self.is_unsynced.store(is_unsynced, Ordering::Relaxed);
    }

    /// How far a lane is as safe as it is meant to be.
    pub fn settled(&self, lane: usize) -> u64 {
        if self.is_unsynced.load(Ordering::Relaxed) { self.written(lane) } else { self.synced(lane) }
    }

    /// All replies have to wait, or only those of clients that want it.
    pub fn set_always(&self, is_always: bool) {
        self.is_always.store(is_always, Ordering::Relaxed);
        self.look_who_waits();
    }

    /// A client wants its replies to wait, or does not any more.
    pub fn count_waiting(&self, wants: bool) {
        if wants {
            self.wanting.fetch_add(1, Ordering::Relaxed);
        } else {
            self.wanting.fetch_sub(1, Ordering::Relaxed);
        }
        self.look_who_waits();
    }

    /// A client is promised that there is a log, or does not ask for it any more.
    pub fn count_promised(&self, is_promised: bool) {
        if is_promised {
            self.promised.fetch_add(1, Ordering::Relaxed);
        } else {
            self.promised.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether there is somebody who was promised a log, and there is none.
    #[inline]
    pub fn breaks_promises(&self) -> bool {
        self.promised.load(Ordering::Relaxed) != 0 && !self.is_whole()
    }

    /// Whether there is a log with all that there is.
    pub fn is_whole(&self) -> bool {
        self.is_on() && !self.is_partial()
    }

    fn look_who_waits(&self) {
        let holds = self.is_always.load(Ordering::Relaxed) || self.wanting.load(Ordering::Relaxed) != 0;
        self.holds_replies.store(holds && self.is_whole(), Ordering::Relaxed);
    }

    /// There is something in it from now on that no `FLUSHALL` empties: libraries of functions. Files go only when it
    /// is rewritten.
    pub fn keep_all(&self) {
        self.keeps_all.store(true, Ordering::Relaxed);
    }

    /// The time to be written in front of records, unix seconds; 0: none. One that is earlier than what is known is
    /// another core's, unless somebody has set the clock back.
    pub fn set_time(&self, unix_seconds: u64) {
        let known = self.time.load(Ordering::Relaxed);
        if known < unix_seconds {
            self.time.fetch_max(unix_seconds, Ordering::Relaxed);
        } else if unix_seconds == 0 && known != 0 || unix_seconds + 1 < known {
            self.time.store(unix_seconds, Ordering::Relaxed);
        }
    }

    /// Who is told of new generations.
    pub fn set_clerk(&self, clerk: Option<Sender<Errand>>) {
        *self.clerk.lock() = clerk;
    }

    /// Begins to record: in files that are there already (`first` is the number of lane 0's), or in new ones. Returns
    /// the number of the first file.
    pub fn begin(&self, first: Option<u64>, next_file: u64) -> u64 {
        self.next_file.store(next_file, Ordering::Relaxed);
        let mut locked = self.lock_all();
        let first = match first {
            Some(first) => {
                for (lane, pending) in locked.iter_mut().enumerate() {
                    pending.begin_file(first + lane as u64, None);
                }
                first
            }
            None => self.open_generation(&mut locked, false, Errand::Opened),
        };
        for (lane, pending) in self.lanes.iter().zip(&locked) {
            lane.publish(pending);
        }
        self.is_on.store(true, Ordering::Release);
        drop(locked);
        self.look_who_waits();
        first
    }

    /// Begins to record while the server runs, at a moment that the caller makes: he holds all engines. What was to be
    /// written before is forgotten. Nobody waits for the log before [`Log::note_whole`]. `place` is told the number of
    /// the first file before anybody writes it, which is returned.
    pub fn begin_at_cut(&self, place: impl FnOnce(u64)) -> u64 {
        let mut locked = self.lock_all();
        locked.iter_mut().for_each(|pending| pending.segments.clear());
        let first = self.open_generation(&mut locked, false, Errand::Begun);
        place(first);
        self.obsolete_before.store(first, Ordering::Release);
        for (lane, pending) in self.lanes.iter().zip(&locked) {
            lane.publish(pending);
        }
        self.is_partial.store(true, Ordering::Relaxed);
        self.is_on.store(true, Ordering::Release);
        drop(locked);
        self.look_who_waits();
        first
    }

    /// Whether what was there before it began is not in it yet.
    pub fn is_partial(&self) -> bool {
        self.is_partial.load(Ordering::Relaxed)
    }

    /// There is a base: what is in the log is all there is. Whether it had been gone before.
    pub fn note_whole(&self) -> bool {
        self.is_partial.store(false, Ordering::Relaxed);
        self.has_place.store(false, Ordering::Relaxed);
        let was_gone = self.gone.swap(0, Ordering::AcqRel) != 0;
        self.has_failed.store(self.error().is_some(), Ordering::Release);
        self.look_who_waits();
        was_gone
    }

    /// Files of the log, or its directory, are not there any more: nothing in it is safe, and writes are refused, until
    /// it has begun anew somewhere ([`Log::begin_at_cut`], [`Log::note_whole`]). `error`: for clients. Whether that is
    /// news.
    pub fn note_gone(&self, error: u32) -> bool {
        let is_news = self.gone.swap(error, Ordering::AcqRel) == 0;
        self.has_place.store(false, Ordering::Release);
        self.has_failed.store(true, Ordering::Release);
        is_news
    }

    /// Whether they are not.
    #[inline]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire) != 0
    }

    /// There is a directory in which a log that is gone can begin anew, and a rewrite that does it is wanted.
    pub fn note_place(&self) {
        self.has_place.store(true, Ordering::Release);
        self.want_rewrite(false);
    }

    /// Whether there is a directory for it.
    pub fn has_place(&self) -> bool {
        !self.is_gone() || self.has_place.load(Ordering::Acquire)
    }

    /// The number of the next file.
    pub fn next_file(&self) -> u64 {
        self.next_file.load(Ordering::Acquire)
    }

    /// The owner of a lane has a file of it open, or has not.
    pub fn note_open(&self, lane: usize, is_open: bool) {
        self.lanes[lane].is_open.store(is_open, Ordering::Release);
    }

    /// Whether the log is off, and nobody has anything to write into its files any more.
    pub fn is_closed(&self) -> bool {
        let is_open = |lane: usize| self.lanes[lane].is_open.load(Ordering::Acquire) || self.has_pending(lane);
        !self.is_on() && !self.is_rewriting() && !(0..self.lanes.len()).any(is_open)
    }

    /// The number of the next file is at least this.
    pub fn reserve_files(&self, next_file: u64) {
        self.next_file.fetch_max(next_file, Ordering::Relaxed);
    }

    /// Records nothing any more. What was recorded is still to be written.
    pub fn end(&self) {
        let mut locked = self.lock_all();
        for pending in locked.iter_mut() {
            if let Some(last) = pending.segments.back_mut() {
                last.is_last = true;
            }
            pending.unsynced.clear();
        }
        self.is_on.store(false, Ordering::Release);
        drop(locked);
        // What was wrong with it is nobody's concern any more.
        self.is_partial.store(false, Ordering::Relaxed);
        self.lost_file.store(0, Ordering::Release);
        self.gone.store(0, Ordering::Release);
        self.lanes.iter().for_each(|lane| lane.error.store(0, Ordering::Release));
        self.has_failed.store(false, Ordering::Release);
        self.look_who_waits();
    }

    fn lock_all(&self) -> Vec<MutexGuard<'_, Pending>> {
        self.lanes.iter().map(|lane| lane.pending.lock()).collect()
    }

    /// All lanes go on in new files. Returns the number of the first.
    fn open_generation(
        &self,
        locked: &mut [MutexGuard<'_, Pending>],
        is_empty: bool,
        errand: impl FnOnce(Opened) -> Errand,
    ) -> u64 {
        let lanes = self.lanes.len();
        let first = self.next_file.fetch_add(lanes as u64, Ordering::Relaxed);
        let ordinal = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        locked.iter_mut().for_each(|pending| pending.end_file());
        let ends: Vec<u64> = locked.iter().map(|pending| pending.end).collect();
        for (lane, pending) in locked.iter_mut().enumerate() {
            pending.begin_file(first + lane as u64, Some(LaneNote { lane, lanes, first }));
            pending.needs[..lanes].copy_from_slice(&ends);
            pending.needs[lanes] = ordinal;
        }
        let opened = Opened { ordinal, first, replaces: is_empty.then_some(ends) };
        self.send(errand(opened));
        first
    }

    /// Tells whoever keeps the manifest.
    pub fn send(&self, errand: Errand) {
        if let Some(clerk) = &*self.clerk.lock() {
            // Without one the server is ending.
            let _ = clerk.send(errand);
        }
    }

    /// All lanes go on in new files, at one moment that the caller makes: he holds all engines. Returns the number of
    /// the first file.
    pub fn rotate(&self) -> u64 {
        self.move_on(|_| {}).0
    }

    /// The same at any moment, and into another place: `place` is told the number of the first file before anybody
    /// writes it. Returns it, and up to where each lane goes with the head of its new file.
    pub fn move_on(&self, place: impl FnOnce(u64)) -> (u64, Vec<u64>) {
        let mut locked = self.lock_all();
        let first = self.open_generation(&mut locked, false, Errand::Opened);
        place(first);
        for (lane, pending) in self.lanes.iter().zip(&locked) {
            lane.publish(pending);
        }
        (first, locked.iter().map(|pending| pending.end).collect())
    }

    /// Appends what one shard did: `is_whole`: none of it without the rest. Returns the lane's position behind it.
    pub fn append(&self, lane: usize, records: &[Record<'_>], is_whole: bool) -> u64 {
        let (time, tracks) = (self.time.load(Ordering::Relaxed), self.holds_replies());
        let mut pending = self.lanes[lane].pending.lock();
        let safe = tracks.then(|| self.safe(lane, &pending));
        pending.push(records, is_whole, time, safe);
        self.lanes[lane].publish(&pending);
        pending.end
    }

    /// Appends what was done on several shards at one moment; it is there as a whole or not at all. The shards by
    /// whose lanes it is safe go into `touched`.
    pub fn append_shared(&self, phases: &[Phase<'_>], touched: &mut Vec<usize>) {
        let is_global = phases.iter().any(|phase| phase.global.is_some());
        let parts = || phases.iter().flat_map(|phase| &phase.parts);
        touched.extend(if is_global {
            (0..self.lanes.len()).collect()
        } else {
            parts().map(|part| part.0).collect::<Vec<_>>()
        });
        touched.sort_unstable();
        touched.dedup();
        if !is_global && let &[lane] = &touched[..] {
            for (_, records) in parts() {
                self.append(lane, records, true);
            }
            return;
        }
        let (time, tracks) = (self.time.load(Ordering::Relaxed), self.holds_replies());
        let mut locked: Vec<MutexGuard<'_, Pending>> =
            touched.iter().map(|lane| self.lanes[*lane].pending.lock()).collect();
        let id = self.next_share.fetch_add(1, Ordering::Relaxed);
        // Numbers of new files are known: nobody else opens any while all lanes are locked.
        let mut files = Vec::new();
        let mut first = None;
        for phase in phases {
            for (lane, _) in &phase.parts {
                let at = touched.binary_search(lane).expect("listed above");
                files.push(first.map_or_else(|| locked[at].file(), |first| first + *lane as u64));
            }
            if phase.global.is_some() {
                let next = first
                    .map_or_else(|| self.next_file.load(Ordering::Relaxed), |first| first + self.lanes.len() as u64);
                first = Some(next);
                files.push(next);
            }
        }
        files.sort_unstable();
        files.dedup();
        for (number, phase) in phases.iter().enumerate() {
            for (lane, records) in &phase.parts {
                let pending = &mut locked[touched.binary_search(lane).expect("listed above")];
                let safe = tracks.then(|| self.safe(*lane, pending));
                pending.push_share(id, &files, records, time, safe);
            }
            if let Some(global) = &phase.global {
                self.open_generation(
                    &mut locked,
                    global.is_flush_all && !self.keeps_all.load(Ordering::Relaxed),
                    Errand::Opened,
                );
                locked[0].push_share(id, &files, std::slice::from_ref(&global.record), time, None);
                // Without it nothing that comes behind it counts. Who has a part behind it has a share in that.
                let behind = phases.get(number + 1).map_or(&[][..], |next| &next.parts);
                for (lane, pending) in locked.iter_mut().enumerate().skip(1) {
                    if behind.iter().all(|(of, _)| *of != lane) {
                        pending.push_share(id, &files, &[], time, None);
                    }
                }
                if tracks {
                    let ends: Vec<u64> = locked.iter().map(|pending| pending.end).collect();
                    locked.iter_mut().zip(ends).for_each(|(pending, end)| pending.unsynced.note_all(end.max(1)));
                }
            }
        }
        let mut needs = vec![0; self.lanes.len() + 1];
        for (lane, pending) in touched.iter().zip(&locked) {
            needs.iter_mut().zip(&pending.needs).for_each(|(need, other)| *need = (*need).max(*other));
            needs[*lane] = pending.end;
        }
        for (lane, mut pending) in touched.iter().zip(locked) {
            pending.needs.copy_from_slice(&needs);
            self.lanes[*lane].publish(&pending);
        }
    }

    /// Whether everything that a lane's records need of others is synced.
    fn is_alone(&self, lane: usize, pending: &Pending) -> bool {
        pending.needs.iter().enumerate().all(|(of, &need)| of == lane || need <= self.synced(of))
    }

    /// Up to where a lane's records need nothing any more; a low guess.
    fn safe(&self, lane: usize, pending: &Pending) -> u64 {
        if self.is_alone(lane, pending) { self.synced(lane) } else { 0 }
    }

    // Gates

    /// What a reply waits for that tells of a lane's records up to a position.
    pub fn gate(&self, lane: usize, position: u64) -> Gate {
        let mut gate = Gate::default();
        self.raise(&mut gate, lane, position);
        gate
    }

    /// The same for one that waits for something already.
    pub fn raise(&self, gate: &mut Gate, lane: usize, position: u64) {
        if position == 0 {
            return;
        }
        if self.synced(lane) < position {
            gate.raise(lane, position);
        }
        let pending = self.lanes[lane].pending.lock();
        for (of, &need) in pending.needs.iter().enumerate() {
            if of != lane && self.synced(of) < need {
                gate.raise(of, need);
            }
        }
    }

    /// Up to where the lane has to be synced before a reply may tell of these keys; 0: nothing is missing.
    pub fn position_of(&self, lane: usize, hashes: impl Iterator<Item = u64>) -> u64 {
        let pending = self.lanes[lane].pending.lock();
        // A key whose record is synced may be waiting for the siblings of a share.
        let safe = self.safe(lane, &pending);
        if safe == pending.end {
            return 0;
        }
        hashes.map(|hash| pending.unsynced.position(hash, safe)).max().unwrap_or(0)
    }

    /// The same for a reply that tells of all keys.
    pub fn position_of_all(&self, lane: usize) -> u64 {
        self.lanes[lane].end.load(Ordering::Acquire)
    }

    /// Whether a reply may leave.
    pub fn is_met(&self, gate: &Gate) -> bool {
        gate.0.iter().all(|(lane, position)| *position <= self.synced(*lane as usize))
    }

    /// Whether all that such a gate waits for would be there after a crash.
    pub fn keeps(&self, gate: &Gate) -> bool {
        self.is_met(gate) && !self.is_gone() && !self.has_lost() && !self.is_partial()
    }

    /// How far a lane is synced; behind the last: the newest generation that is on disk; behind that: see
    /// [`Log::note_emptied`].
    pub fn synced(&self, lane: usize) -> u64 {
        let synced = match self.lanes.get(lane) {
            Some(lane) => &lane.synced,
            None if lane == self.lanes.len() => &self.known,
            None => &self.emptied,
        };
        synced.load(Ordering::Acquire)
    }

    /// A reply waits until the snapshot on the disk is as empty as a `FLUSHALL` of this number left the databases. It
    /// has nothing to do with the log, but replies wait for both in the same way.
    pub fn raise_emptied(&self, gate: &mut Gate, number: u64) {
        gate.raise(self.lanes.len() + 1, number);
    }

    /// The snapshot is.
    pub fn note_emptied(&self, number: u64) {
        self.emptied.fetch_max(number, Ordering::AcqRel);
    }

    /// How far it is written.
    pub fn written(&self, lane: usize) -> u64 {
        self.lanes[lane].written.load(Ordering::Acquire)
    }

    /// How far it goes.
    #[inline]
    pub fn position(&self, lane: usize) -> u64 {
        self.lanes[lane].end.load(Ordering::Acquire)
    }

    // For the owner

    /// A sync of a file has failed: what it should have is not sure to be there, whatever a later one says. A rewrite
    /// is wanted.
    pub fn note_lost(&self, file: u64) {
        self.lost_file.fetch_max(file, Ordering::AcqRel);
        self.want_rewrite(true);
    }

    /// Whether something in the log is not sure to be there.
    pub fn has_lost(&self) -> bool {
        self.lost_file.load(Ordering::Acquire) != 0
    }

    /// There is a base with all that the files before this one have.
    pub fn note_base(&self, first: u64) {
        let is_before = |lost: u64| (lost < first).then_some(0);
        let _ = self.lost_file.fetch_update(Ordering::AcqRel, Ordering::Acquire, is_before);
    }

    /// Somebody wants the lane flushed at once. True: its owner does not know yet.
    pub fn ask(&self, lane: usize) -> bool {
        !self.lanes[lane].is_asked.swap(true, Ordering::AcqRel)
    }

    /// Whether somebody did, since this was asked last.
    pub fn take_asked(&self, lane: usize) -> bool {
        self.lanes[lane].is_asked.load(Ordering::Relaxed) && self.lanes[lane].is_asked.swap(false, Ordering::AcqRel)
    }

    /// Clients of a core wait for other lanes, or no more. Who says so looks at those lanes once more afterwards.
    pub fn wait(&self, core: usize, waits: bool) {
        self.lanes[core].is_waiting.store(waits, Ordering::SeqCst);
    }

    /// Whether they do. To be asked after a lane was synced.
    pub fn is_waiting(&self, core: usize) -> bool {
        std::sync::atomic::fence(Ordering::SeqCst);
        self.lanes[core].is_waiting.load(Ordering::SeqCst)
    }

    /// A rewrite is wanted: now, or (`is_later`) when nothing else is under way. What is to be at once stays so.
    pub fn want_rewrite(&self, is_later: bool) {
        let when = if is_later { When::Later } else { When::Now };
        let mut rewrites = self.rewrites.lock();
        rewrites.wanted = rewrites.wanted.max(Some(when));
    }

    /// Whether one is wanted that has not begun.
    pub fn is_rewrite_wanted(&self) -> bool {
        self.rewrites.lock().wanted.is_some()
    }

    /// A rewrite begins.
    pub fn begin_rewrite(&self, now_ms: u64) {
        let mut rewrites = self.rewrites.lock();
        rewrites.since_ms = Some(now_ms);
        rewrites.wanted = None;
    }

    /// It has ended.
    pub fn end_rewrite(&self, now_ms: u64, is_ok: bool) {
        let mut rewrites = self.rewrites.lock();
        let since_ms = rewrites.since_ms.take().unwrap_or(now_ms);
        rewrites.last_seconds = (now_ms.saturating_sub(since_ms) / 1000) as i64;
        rewrites.is_ok = is_ok;
        rewrites.count += u64::from(is_ok);
        rewrites.failures = if is_ok { 0 } else { rewrites.failures + 1 };
    }

    /// How rewriting went so far.
    pub fn rewrites(&self) -> Rewrites {
        *self.rewrites.lock()
    }

    /// Whether the log is being rewritten, or about to be.
    pub fn is_rewriting(&self) -> bool {
        self.rewrites.lock().is_under_way()
    }

    /// The number for the next base, which nobody else gets.
    pub fn next_base(&self) -> u64 {
        self.next_base.fetch_add(1, Ordering::Relaxed)
    }

    /// The first of them.
    pub fn set_next_base(&self, seq: u64) {
        self.next_base.store(seq, Ordering::Relaxed);
    }

    /// The base that is there has so many bytes, and so many of the lanes' files are gone.
    pub fn note_files(&self, base: u64, dropped: u64) {
        self.own_base_bytes.store(base, Ordering::Relaxed);
        self.dropped_bytes.fetch_add(dropped, Ordering::Relaxed);
    }

    /// The log has begun anew with a base of so many bytes: no lane has files of before.
    pub fn note_new_files(&self, base: u64) {
        self.own_base_bytes.store(base, Ordering::Relaxed);
        self.dropped_bytes.store(0, Ordering::Relaxed);
    }

    /// Whether there is something to write.
    #[inline]
    pub fn has_pending(&self, lane: usize) -> bool {
        let Lane { end, written, .. } = &self.lanes[lane];
        end.load(Ordering::Acquire) != written.load(Ordering::Acquire)
    }

    /// What to write next: all there is for one file. `spare` becomes the buffer of what comes after it. Also a file
    /// without records has something to be written, once: which lane it is, and its end. What is taken counts as being
    /// written until its owner says what it has in memory ([`Log::note_writing`]): at no moment as nobody's, or another
    /// core would let keys go for it.
    pub fn take(&self, lane: usize, spare: Vec<u8>) -> Option<Batch> {
        let mut pending = self.lanes[lane].pending.lock();
        // Files that were given up without a word, or whose records a base has.
        let obsolete_before = self.obsolete_before.load(Ordering::Acquire);
        let is_over = |front: &Segment| front.is_last && front.records.is_empty() || front.file < obsolete_before;
        while pending.segments.front().is_some_and(is_over) {
            pending.segments.pop_front();
        }
        let front = pending.segments.front_mut()?;
        if front.records.is_empty() {
            return None;
        }
        let (file, shares, is_last) = (front.file, front.shares, front.is_last);
        let records = std::mem::replace(&mut front.records, spare);
        front.records.clear();
        front.shares = 0;
        if is_last {
            pending.segments.pop_front();
        }
        self.lanes[lane].writing.fetch_add(records.capacity() as u64, Ordering::Relaxed);
        self.lanes[lane].note_buffers(&pending);
        let later: u64 = pending.segments.iter().map(|segment| segment.records.len() as u64).sum();
        Some(Batch { file, records, shares, end: pending.end - later, is_last })
    }

    /// A batch could not be written: it comes first next time.
    pub fn put_back(&self, lane: usize, batch: Batch) {
        let mut pending = self.lanes[lane].pending.lock();
        let Batch { file, mut records, shares, is_last, .. } = batch;
        match pending.segments.front_mut() {
            Some(front) if front.file == file => {
                records.extend_from_slice(&front.records);
                front.records = records;
                front.shares += shares;
            }
            _ => pending.segments.push_front(Segment { file, records, shares, is_last }),
        }
        self.lanes[lane].note_buffers(&pending);
    }

    /// A lane is written up to here; `is_synced`: and synced.
    pub fn note_written(&self, lane: usize, position: u64, is_synced: bool) {
        self.lanes[lane].written.store(position, Ordering::Release);
        if is_synced {
            self.note_synced(lane, position);
        }
    }

    /// A lane is synced up to here. What lies in files that nobody finds is not safe: it does not count.
    pub fn note_synced(&self, lane: usize, position: u64) {
        if self.is_gone() {
            return;
        }
        let Lane { synced, pending, .. } = &self.lanes[lane];
        synced.store(position, Ordering::Release);
        if self.holds_replies() {
            let mut pending = pending.lock();
            if pending.end == position && self.is_alone(lane, &pending) && !pending.unsynced.is_empty() {
                pending.unsynced.clear();
            }
        }
    }

    /// The manifest on disk names this generation.
    pub fn note_known(&self, ordinal: u64) {
        self.known.store(ordinal, Ordering::Release);
    }

    /// Whether the manifest on disk lacks a generation: nobody is woken when it has it.
    pub fn is_naming(&self) -> bool {
        self.known.load(Ordering::Acquire) < self.generation()
    }

    /// The manifest could be written, or not.
    pub fn note_named(&self, is_named: bool) {
        self.is_unnamed.store(!is_named, Ordering::Relaxed);
    }

    /// Whether it could be, last time.
    pub fn is_named(&self) -> bool {
        !self.is_unnamed.load(Ordering::Relaxed)
    }

    /// The newest generation.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The last write or sync of a lane failed with this error number, or (0) succeeded. Returns the one before.
    pub fn note_error(&self, lane: usize, error: u32) -> u32 {
        let before = self.lanes[lane].error.swap(error, Ordering::AcqRel);
        self.has_failed.store(self.error().is_some(), Ordering::Release);
        before
    }

    /// Whether the last write or sync of a lane failed: then writes are refused.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// A sync begins, or ends.
    pub fn count_sync(&self, begins: bool) {
        if begins {
            self.syncing.fetch_add(1, Ordering::Relaxed);
        } else {
            self.syncing.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Syncs that are under way.
    pub fn syncing(&self) -> u64 {
        self.syncing.load(Ordering::Relaxed)
    }

    /// A write waits for a sync.
    pub fn count_delayed(&self) {
        self.delayed.fetch_add(1, Ordering::Relaxed);
    }

    /// How often one did.
    pub fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::Relaxed)
    }

    /// The log has so many bytes after it was loaded or rewritten.
    pub fn note_base_bytes(&self, bytes: u64) {
        self.base_bytes.store(bytes, Ordering::Relaxed);
    }

    /// How many it had.
    pub fn base_bytes(&self) -> u64 {
        self.base_bytes.load(Ordering::Relaxed)
    }

    /// The error number of a lane whose last write or sync failed, or why nothing can be written.
    pub fn error(&self) -> Option<u32> {
        let lanes = self.lanes.iter().map(|lane| &lane.error);
        std::iter::once(&self.gone).chain(lanes).map(|error| error.load(Ordering::Relaxed)).find(|error| *error != 0)
    }

    /// Bytes of a lane's files on disk.
    pub fn note_bytes(&self, lane: usize, bytes: u64) {
        self.lanes[lane].bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of all files that make up the log.
    pub fn bytes(&self) -> u64 {
        let lanes: u64 = self.lanes.iter().map(|lane| lane.bytes.load(Ordering::Relaxed)).sum();
        let base = self.own_base_bytes.load(Ordering::Relaxed);
        (lanes + base).saturating_sub(self.dropped_bytes.load(Ordering::Relaxed))
    }

    /// Nothing is to be written: buffers with more room than so many bytes are freed.
    pub fn rest(&self, lane: usize, bytes_max: u64) {
        let lane = &self.lanes[lane];
        if lane.buffered.load(Ordering::Relaxed) <= bytes_max {
            return;
        }
        let mut pending = lane.pending.lock();
        for segment in pending.segments.iter_mut().filter(|segment| segment.records.is_empty()) {
            segment.records = Vec::new();
        }
        lane.note_buffers(&pending);
    }

    /// What a lane's owner has in memory for what it writes, in bytes.
    pub fn note_writing(&self, lane: usize, bytes: usize) {
        self.lanes[lane].writing.store(bytes as u64, Ordering::Relaxed);
    }

    /// What the log takes in memory, in bytes: records that are not written yet, and buffers they are written from.
    pub fn buffer_bytes(&self) -> u64 {
        let of_lane = |lane: &Lane| lane.buffered.load(Ordering::Relaxed) + lane.writing.load(Ordering::Relaxed);
        self.lanes.iter().map(of_lane).sum()
    }

    /// Bytes of records that are not written yet.
    pub fn pending_bytes(&self) -> u64 {
        (0..self.lanes.len()).map(|lane| self.pending_bytes_of(lane)).sum()
    }

    /// Those of one lane.
    pub fn pending_bytes_of(&self, lane: usize) -> u64 {
        let Lane { end, written, .. } = &self.lanes[lane];
        end.load(Ordering::Relaxed).saturating_sub(written.load(Ordering::Relaxed))
    }
}

impl Pending {
    fn begin_file(&mut self, file: u64, note: Option<LaneNote>) {
        let mut records = Vec::new();
        if let Some(note) = note {
            group::write_lane(&mut records, note);
            self.end += records.len() as u64;
        }
        self.segments.push_back(Segment { file, records, shares: 0, is_last: false });
        self.selected = None;
        self.time = 0;
    }

    /// Nothing more comes into the file.
    fn end_file(&mut self) {
        if let Some(last) = self.segments.back_mut().filter(|last| !last.is_last) {
            let start = last.records.len();
            last.is_last = true;
            group::write_end(&mut last.records);
            self.end += (last.records.len() - start) as u64;
        }
    }

    fn file(&self) -> u64 {
        self.segments.back().map_or(0, |segment| segment.file)
    }

    /// Appends records; `synced`: how far the lane is synced, if keys are remembered until they are.
    fn push(&mut self, records: &[Record<'_>], is_whole: bool, time: u64, synced: Option<u64>) {
        let Some(segment) = self.segments.back_mut().filter(|segment| !segment.is_last) else { return };
        let out = &mut segment.records;
        let start = out.len();
        if self.time < time {
            self.time = time;
            group::write_time(out, time);
        }
        let is_wrapped = is_whole && 1 < records.len();
        if is_wrapped {
            record::write(out, &[b"MULTI"]);
        }
        for record in records {
            if self.selected != Some(record.db) {
                self.selected = Some(record.db);
                record::write(out, &[b"SELECT", itoa::Buffer::new().format(record.db).as_bytes()]);
            }
            out.extend_from_slice(record.bytes);
        }
        if is_wrapped {
            record::write(out, &[b"EXEC"]);
        }
        self.end += (out.len() - start) as u64;
        if let Some(synced) = synced {
            for record in records {
                if record.hashes.is_empty() {
                    self.unsynced.note_all(self.end);
                }
                record.hashes.iter().for_each(|hash| self.unsynced.note(*hash, self.end, synced));
            }
        }
    }

    fn push_share(&mut self, id: u64, files: &[u64], records: &[Record<'_>], time: u64, synced: Option<u64>) {
        let Some(segment) = self.segments.back_mut().filter(|segment| !segment.is_last) else { return };
        let start = segment.records.len();
        group::write_share(&mut segment.records, id, files);
        segment.shares += 1;
        self.end += (segment.records.len() - start) as u64;
        self.push(records, true, time, synced);
    }
}

#[cfg(test)]
mod tests;
