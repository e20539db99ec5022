//! What all cores know of saving and loading: what is under way, how it went last, what was asked for. Not here: doing
//! it (`runtime`), and the texts of replies (`command/persistence`).

use crate::config::Config;
use crate::session::Ending;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// What a snapshot takes on each core beside what it has recorded, in bytes, about: buffers, files, tasks.
const CORE_BYTES: u64 = 128 << 10;

/// Why commands may have to be refused: bits of [`Persistence::obstacles`].
pub mod obstacle {
    /// Keys are being loaded.
    pub const LOADING: u8 = 1;
    /// The last snapshot failed.
    pub const UNSAVED: u8 = 2;
}

/// Why all commands may have to wait.
pub mod held_for {
    /// The server ends.
    pub const END: u8 = 1;
    /// All keys are about to be loaded from a snapshot that was just begun.
    pub const RELOAD: u8 = 2;
}

/// What a snapshot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `BGSAVE`, or a save point.
    Background,
    /// `SAVE`, whose client waits.
    Save,
    /// The end of the server.
    Shutdown,
    /// `DEBUG RELOAD`; also what `DEBUG LOADAOF` keeps others away for.
    Reload,
    /// What the log of writes begins with.
    LogBase,
    /// `FLUSHALL` with save points: what is on the disk is to be as empty, before the reply. Nobody asked for it, so
    /// nobody is told of it: others wait for it, the few milliseconds that it takes. Claimed only by that of a client
    /// of a core's own port, which empties one shard, and does not wait; see [`Persistence::begin_emptying`].
    Emptied,
}

/// Why a snapshot is begun that nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// `BGSAVE`.
    Asked,
    /// A save point: so many changes in so many seconds.
    Point {
        /// Changes.
        changes: u64,
        /// Seconds.
        seconds: u64,
    },
    /// `BGSAVE SCHEDULE`, when it was not possible.
    Scheduled,
    /// A shard was emptied: see [`Purpose::Emptied`].
    Emptied,
}

/// `FLUSHALL`s whose snapshot, one of nothing, is to take the place of what is on the disk.
#[derive(Debug, Default)]
struct Emptyings {
    /// How many there were, …
    ordered: u64,
    /// … up to which it is done, or has failed …
    ended: u64,
    /// … and the changes in all up to the last one.
    changes: u64,
}

/// As it is claimed.
const EMPTIED: u8 = Purpose::Emptied as u8 + 1;
const LOG_BASE: u8 = Purpose::LogBase as u8 + 1;

/// After a snapshot that failed, save points wait so long, in seconds: Redis' `CONFIG_BGSAVE_RETRY_DELAY`.
const RETRY_SECONDS: u64 = 5;

/// How saving went so far, for `INFO` and `LASTSAVE`.
#[derive(Debug, Clone)]
pub struct History {
    /// When a snapshot was finished last (or the server was started), unix seconds.
    pub last_save_seconds: u64,
    /// When one was begun last that nobody waited for, unix seconds.
    pub last_try_seconds: u64,
    /// Whether the last one succeeded.
    pub is_ok: bool,
    /// How long the last one took that nobody waited for, in seconds; -1: there was none.
    pub last_duration_seconds: i64,
    /// `BGSAVE`s, `SAVE`s and save points that were begun.
    pub saves: u64,
    /// What the last one held in memory at most, bytes.
    pub last_held_bytes: u64,
}

/// A snapshot under way.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// What for.
    pub purpose: Purpose,
    /// Since when, unix ms.
    pub since_ms: u64,
    /// Keys that it has to record.
    pub keys: u64,
    /// Changes up to its moment, of all shards.
    pub changes: u64,
}

/// What is known of loading.
#[derive(Debug, Default)]
pub struct Loading {
    /// When it began, unix seconds.
    pub since_seconds: AtomicU64,
    /// Bytes of all files, …
    pub total_bytes: AtomicU64,
    /// … and those that are read, …
    pub loaded_bytes: AtomicU64,
    /// … of them those of files before the one that is being read.
    before_bytes: AtomicU64,
    /// Memory that was in use when the file was made, as it says.
    pub used_bytes: AtomicU64,
    /// Keys that the last load has brought, …
    pub keys: AtomicU64,
    /// … and those that had expired.
    pub expired: AtomicU64,
}

/// How far loading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of all files, …
    pub total_bytes: u64,
    /// … and those that are read.
    pub loaded_bytes: u64,
    /// How long it has taken so far, in seconds.
    pub elapsed_seconds: u64,
}

impl Progress {
    /// In hundredths of the whole.
    pub fn percent(&self) -> f64 {
        if self.total_bytes == 0 { 0.0 } else { self.loaded_bytes as f64 * 100.0 / self.total_bytes as f64 }
    }

    /// How long it takes yet, in seconds, as Redis reckons: one second where nothing is known yet.
    pub fn left_seconds(&self) -> u64 {
        let left = (self.total_bytes - self.loaded_bytes).saturating_mul(self.elapsed_seconds);
        left.checked_div(self.loaded_bytes).unwrap_or(1)
    }
}

impl Loading {
    /// Loading begins, of files of so many bytes.
    pub fn begin(&self, now_ms: u64, total_bytes: u64) {
        self.since_seconds.store(now_ms / 1000, Ordering::Relaxed);
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
        self.loaded_bytes.store(0, Ordering::Relaxed);
        self.before_bytes.store(0, Ordering::Relaxed);
        self.used_bytes.store(0, Ordering::Relaxed);
        self.keys.store(0, Ordering::Relaxed);
        self.expired.store(0, Ordering::Relaxed);
    }

    /// A file is read up to an offset.
    pub fn note(&self, offset: u64) {
        self.loaded_bytes.store(self.before_bytes.load(Ordering::Relaxed) + offset, Ordering::Relaxed);
    }

    /// A file of so many bytes is done, the next one begins.
    pub fn end_file(&self, bytes: u64) {
        let before = self.before_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.loaded_bytes.store(before, Ordering::Relaxed);
    }

    /// How far it is.
    pub fn progress(&self, now_ms: u64) -> Progress {
        let total_bytes = self.total_bytes.load(Ordering::Relaxed);
        Progress {
            total_bytes,
            // Files may grow, or end behind what counts of them.
            loaded_bytes: self.loaded_bytes.load(Ordering::Relaxed).min(total_bytes),
            elapsed_seconds: (now_ms / 1000).saturating_sub(self.since_seconds.load(Ordering::Relaxed)),
        }
    }
}

/// See the module's page.
pub struct Persistence {
    /// Why commands may have to be refused: looked at once a pass.
    pub obstacles: AtomicU8,
    /// Shards that want writes to wait for the disk.
    pub pressed: AtomicUsize,
    /// Why all commands wait, bits of [`held_for`]: what is answered from now on would be lost.
    holds_all: AtomicU8,
    /// No core is to begin a loan, so that a moment comes at which all entries are at home.
    pub holds_loans: AtomicBool,
    /// How far the snapshot under way is: keys recorded.
    pub keys_recorded: AtomicU64,
    /// What it holds in memory now, bytes.
    pub held_bytes: Arc<AtomicU64>,
    /// Of loading.
    pub loading: Loading,
    /// Changes of each shard so far, as its core told last.
    pub changes_of_core: Box<[AtomicU64]>,
    /// Changes that were there at the last snapshot that succeeded.
    saved_changes: AtomicU64,
    /// What is under way, or about to be: 0, or one more than its [`Purpose`].
    claimed: AtomicU8,
    is_scheduled: AtomicBool,
    /// Of what is claimed.
    is_cancelled: AtomicBool,
    /// A snapshot that nobody waits for was asked for, and has not ended.
    has_background: AtomicBool,
    /// That one is not wanted any more.
    is_background_cancelled: AtomicBool,
    /// A shard was emptied, which no snapshot knows of yet.
    is_emptied: AtomicBool,
    emptyings: Mutex<Emptyings>,
    /// One of them is being written.
    is_emptying: AtomicBool,
    has_wish: AtomicBool,
    wish: Mutex<Option<Wish>>,
    running: Mutex<Option<Running>>,
    history: Mutex<History>,
    ending: Mutex<Option<Ending>>,
    has_ending: AtomicBool,
    /// A signal has asked for the end, and it has not been refused.
    is_ending: AtomicBool,
    /// The end has begun, whoever asked for it, and it has not been refused.
    has_begun_to_end: AtomicBool,
    /// Whatever cannot be written.
    ends_anyway: AtomicBool,
}

/// Whether keys are saved before the server ends like this.
pub fn saves(ending: Ending, config: &Config) -> bool {
    !ending.nosave && (ending.save || !config.save.0.is_empty())
}

impl Persistence {
    /// Of a server that starts now with so many cores.
    pub fn new(cores: usize, now_ms: u64) -> Persistence {
        Persistence {
            obstacles: AtomicU8::new(0),
            pressed: AtomicUsize::new(0),
            holds_all: AtomicU8::new(0),
            holds_loans: AtomicBool::new(false),
            keys_recorded: AtomicU64::new(0),
            held_bytes: Arc::default(),
            loading: Loading::default(),
            changes_of_core: (0..cores).map(|_| AtomicU64::new(0)).collect(),
            saved_changes: AtomicU64::new(0),
            claimed: AtomicU8::new(0),
            is_scheduled: AtomicBool::new(false),
            is_cancelled: AtomicBool::new(false),
            has_background: AtomicBool::new(false),
            is_background_cancelled: AtomicBool::new(false),
            is_emptied: AtomicBool::new(false),
            emptyings: Mutex::default(),
            is_emptying: AtomicBool::new(false),
            has_wish: AtomicBool::new(false),
            wish: Mutex::new(None),
            running: Mutex::new(None),
            history: Mutex::new(History {
                last_save_seconds: now_ms / 1000,
                last_try_seconds: 0,
                is_ok: true,
                last_duration_seconds: -1,
                saves: 0,
                last_held_bytes: 0,
            }),
            ending: Mutex::new(None),
            has_ending: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            has_begun_to_end: AtomicBool::new(false),
            ends_anyway: AtomicBool::new(false),
        }
    }

    // Obstacles

    /// Commands may have to be refused for this from now on, or need not.
    pub fn set_obstacle(&self, obstacle: u8, is_there: bool) {
        if is_there {
            self.obstacles.fetch_or(obstacle, Ordering::Relaxed);
        } else {
            self.obstacles.fetch_and(!obstacle, Ordering::Relaxed);
        }
    }

    /// Whether keys are being loaded.
    pub fn is_loading(&self) -> bool {
        self.obstacles.load(Ordering::Relaxed) & obstacle::LOADING != 0
    }

    /// Whether writes, or all commands, wait: for the disk, or for the end.
    #[inline]
    pub fn holds(&self) -> bool {
        self.pressed.load(Ordering::Relaxed) != 0 || self.holds_all()
    }

    /// Whether all commands wait.
    #[inline]
    pub fn holds_all(&self) -> bool {
        self.holds_all.load(Ordering::Relaxed) != 0
    }

    /// They wait for this reason, or no longer for it.
    pub fn hold_all(&self, reason: u8, holds: bool) {
        if holds {
            self.holds_all.fetch_or(reason, Ordering::AcqRel);
        } else {
            self.holds_all.fetch_and(!reason, Ordering::AcqRel);
        }
    }

    // One at a time

    /// Begins a snapshot or a load, if none is under way. [`Persistence::release`] when it has ended.
    pub fn claim(&self, purpose: Purpose) -> bool {
        // Sequentially consistent, as in `begin_emptying`: of two that begin at once, one sees the other.
        let claim = self.claimed.compare_exchange(0, purpose as u8 + 1, Ordering::SeqCst, Ordering::Relaxed);
        if claim.is_err() {
            return false;
        }
        if purpose != Purpose::LogBase && self.is_emptying.load(Ordering::SeqCst) {
            self.claimed.store(0, Ordering::Release);
            return false;
        }
        self.is_cancelled.store(false, Ordering::Relaxed);
        true
    }

    /// What a snapshot under way has in memory, in bytes, about: it does not count against `maxmemory`.
    pub fn uncounted_bytes(&self, cores: usize) -> u64 {
        if !self.is_claimed() {
            return 0;
        }
        self.held_bytes.load(Ordering::Relaxed) + cores as u64 * CORE_BYTES
    }

    /// Whether one is under way.
    pub fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire) != 0
    }

    /// Whether one is under way for which clients are to ask again later, or be scheduled.
    pub fn is_busy(&self) -> bool {
        !matches!(self.claimed.load(Ordering::Acquire), 0 | EMPTIED)
    }

    /// It has ended.
    pub fn release(&self) {
        let running = self.running.lock().take();
        self.keys_recorded.store(0, Ordering::Relaxed);
        self.held_bytes.store(0, Ordering::Relaxed);
        self.claimed.store(0, Ordering::Release);
        // Last: who sees that there is none may begin one.
        if running.is_some_and(|running| running.purpose == Purpose::Background) {
            self.has_background.store(false, Ordering::Release);
        }
    }

    /// A snapshot has had its moment.
    pub fn set_running(&self, running: Running) {
        *self.running.lock() = Some(running);
    }

    /// The snapshot under way.
    pub fn running(&self) -> Option<Running> {
        *self.running.lock()
    }

    /// Whether a snapshot for this is under way; one that nobody waits for: from when it was asked for.
    pub fn is_saving(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Background => self.has_background.load(Ordering::Acquire),
            _ => self.running().is_some_and(|running| running.purpose == purpose),
        }
    }

    /// The snapshot under way is not wanted any more.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
    }

    /// The snapshot that nobody waits for is not wanted any more, whether it has begun or not.
    pub fn cancel_background(&self) {
        self.is_background_cancelled.store(true, Ordering::Release);
    }

    /// Whether that under way is not.
    pub fn is_cancelled(&self) -> bool {
        let is_background = || self.running().is_some_and(|running| running.purpose == Purpose::Background);
        self.is_cancelled.load(Ordering::Acquire)
            || self.is_background_cancelled.load(Ordering::Acquire) && is_background()
    }

    // Wishes

    /// A snapshot is wanted that nobody waits for.
    pub fn wish(&self, wish: Wish) {
        if wish != Wish::Emptied {
            self.is_background_cancelled.store(false, Ordering::Relaxed);
            self.has_background.store(true, Ordering::Release);
        }
        *self.wish.lock() = Some(wish);
        self.has_wish.store(true, Ordering::Release);
    }

    /// Whether one is.
    #[inline]
    pub fn has_wish(&self) -> bool {
        self.has_wish.load(Ordering::Relaxed)
    }

    /// Takes the wish, to grant it.
    pub fn take_wish(&self) -> Option<Wish> {
        let wish = self.wish.lock().take();
        self.has_wish.store(false, Ordering::Release);
        wish
    }

    /// A snapshot is wanted when it is possible, or not any more. Whether one was.
    pub fn schedule(&self, wanted: bool) -> bool {
        self.is_scheduled.swap(wanted, Ordering::Relaxed)
    }

    /// Whether one is wanted when it is possible.
    pub fn is_scheduled(&self) -> bool {
        self.is_scheduled.load(Ordering::Relaxed)
    }

    /// What is due by itself now: what was scheduled, or a save point. To be granted: some of it is told of once.
    pub fn due(&self, config: &Config, now_ms: u64) -> Option<Wish> {
        if self.is_claimed() || self.has_wish() || self.is_saving(Purpose::Background) || self.is_loading() {
            return None;
        }
        if self.is_emptied.swap(false, Ordering::Relaxed) {
            return Some(Wish::Emptied);
        }
        let (history, now) = (self.history(), now_ms / 1000);
        let may_try = history.is_ok || history.last_try_seconds + RETRY_SECONDS < now;
        if !may_try {
            return None;
        }
        let changes = self.changes();
        let is_due = |point: &&crate::config::SavePoint| {
            u64::from(point.changes) <= changes && point.seconds < now.saturating_sub(history.last_save_seconds)
        };
        match config.save.0.iter().find(is_due) {
            Some(point) => Some(Wish::Point { changes, seconds: point.seconds }),
            None if self.is_scheduled() => Some(Wish::Scheduled),
            None => None,
        }
    }

    // Changes

    /// Changes since the last snapshot that succeeded, as the cores told last.
    pub fn changes(&self) -> u64 {
        let all = self.changes_of_core.iter().map(|changes| changes.load(Ordering::Relaxed)).sum();
        self.changes_since_save(all)
    }

    /// Of so many changes in all, those since the last snapshot that succeeded.
    pub fn changes_since_save(&self, all: u64) -> u64 {
        all.saturating_sub(self.saved_changes.load(Ordering::Relaxed))
    }

    /// So many changes in all are on the disk, or need not be.
    pub fn set_saved_changes(&self, all: u64) {
        self.saved_changes.store(all, Ordering::Relaxed);
    }

    /// Databases were emptied, behind the moment of the snapshot under way: as in Redis, one of what was there is not
    /// wanted any more.
    pub fn give_up_old(&self) {
        if self.running().is_some_and(|running| running.purpose == Purpose::Background) {
            self.cancel_background();
        }
    }

    /// One shard was emptied: where there are save points, a snapshot of what is there now is wanted.
    pub fn emptied_one(&self, config: &Config) {
        if !config.save.0.is_empty() {
            self.is_emptied.store(true, Ordering::Relaxed);
        }
    }

    /// A snapshot for the disk has its moment: it knows what was emptied.
    pub fn note_moment(&self) {
        self.is_emptied.store(false, Ordering::Relaxed);
    }

    /// All databases were emptied, after so many changes in all: a snapshot of nothing is wanted. The number of this
    /// `FLUSHALL`, from 1.
    pub fn order_emptying(&self, changes: u64) -> u64 {
        let mut emptyings = self.emptyings.lock();
        emptyings.ordered += 1;
        emptyings.changes = changes;
        emptyings.ordered
    }

    /// Whether one that was ordered has not ended.
    pub fn owes_emptying(&self) -> bool {
        let emptyings = self.emptyings.lock();
        emptyings.ended < emptyings.ordered
    }

    /// Begins to write a snapshot of nothing, unless one is owed to nobody, is being written, or another snapshot for
    /// the same place is under way: the number of the newest `FLUSHALL`, and the changes up to it.
    /// [`Persistence::end_emptying`] when it is there, or cannot be. Beside a base of the log it may be written.
    pub fn begin_emptying(&self) -> Option<(u64, u64)> {
        if !self.owes_emptying() || self.is_emptying.swap(true, Ordering::SeqCst) {
            return None;
        }
        if !matches!(self.claimed.load(Ordering::SeqCst), 0 | LOG_BASE) {
            self.is_emptying.store(false, Ordering::SeqCst);
            return None;
        }
        let emptyings = self.emptyings.lock();
        Some((emptyings.ordered, emptyings.changes))
    }

    /// It has ended.
    pub fn end_emptying(&self, number: u64) {
        self.emptyings.lock().ended = number;
        self.is_emptying.store(false, Ordering::SeqCst);
    }

    // History

    /// How it went so far.
    pub fn history(&self) -> History {
        self.history.lock().clone()
    }

    /// One begins that nobody waits for.
    pub fn note_try(&self, now_ms: u64) {
        self.history.lock().last_try_seconds = now_ms / 1000;
        self.note_save();
    }

    /// A snapshot is begun that Redis counts, by a command or a save point.
    pub fn note_save(&self) {
        self.history.lock().saves += 1;
    }

    /// A snapshot has ended: `Some`: it holds so many changes, and held so many bytes in memory. Cancelled ones are not
    /// noted.
    pub fn note_end(&self, running: Running, succeeded: Option<u64>, now_ms: u64) {
        let mut history = self.history.lock();
        if running.purpose == Purpose::LogBase {
            return;
        }
        if running.purpose == Purpose::Background {
            history.last_duration_seconds = (now_ms.saturating_sub(running.since_ms) / 1000) as i64;
        }
        match succeeded {
            Some(held_bytes) => {
                history.is_ok = true;
                history.last_save_seconds = now_ms / 1000;
                history.last_held_bytes = held_bytes;
                self.set_saved_changes(running.changes);
            }
            None if running.purpose == Purpose::Background => history.is_ok = false,
            None => {}
        }
        self.set_obstacle(obstacle::UNSAVED, !history.is_ok);
    }

    /// Forgets what `CONFIG RESETSTAT` resets.
    pub fn reset(&self) {
        self.history.lock().saves = 0;
    }

    // The end

    /// A signal has asked for the end, which is under way.
    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// The end begins, asked for by a signal or by a client: whoever sends clients here is to send them elsewhere, for
    /// from now on they may wait for what is saved.
    pub fn begin_to_end(&self) {
        self.has_begun_to_end.store(true, Ordering::Release);
    }

    /// Whether it has begun, or is about to.
    pub fn is_about_to_end(&self) -> bool {
        self.has_begun_to_end.load(Ordering::Acquire) || self.is_ending()
    }

    /// The server does not end after all: commands go on.
    pub fn stay(&self) {
        self.is_ending.store(false, Ordering::Release);
        self.has_begun_to_end.store(false, Ordering::Release);
        self.hold_all(held_for::END, false);
    }

    /// It ends whatever cannot be written, as somebody has said.
    pub fn end_anyway(&self) {
        self.ends_anyway.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    pub fn ends_anyway(&self) -> bool {
        self.ends_anyway.load(Ordering::Relaxed)
    }

    /// A signal says that the server is to end like this.
    pub fn end(&self, ending: Ending) {
        self.is_ending.store(true, Ordering::Release);
        *self.ending.lock() = Some(ending);
        self.has_ending.store(true, Ordering::Release);
    }

    /// Whether it is to end.
    #[inline]
    pub fn has_ending(&self) -> bool {
        self.has_ending.load(Ordering::Relaxed)
    }

    /// Takes the order to end.
    pub fn take_ending(&self) -> Option<Ending> {
        let ending = self.ending.lock().take();
        self.has_ending.store(false, Ordering::Release);
        ending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SavePoint, SavePoints};

    const NOW_MS: u64 = 1_700_000_000_000;

    fn running(purpose: Purpose, changes: u64) -> Running {
        Running { purpose, since_ms: NOW_MS, keys: 1, changes }
    }

    #[test]
    fn save_points_come_when_both_numbers_are_reached() {
        let persistence = Persistence::new(2, NOW_MS);
        let save = SavePoints(vec![SavePoint { seconds: 60, changes: 10 }, SavePoint { seconds: 10, changes: 100 }]);
        let mut config = Config { save, ..Config::default() };
        let due = |after_ms, config: &Config| persistence.due(config, NOW_MS + after_ms);
        persistence.changes_of_core[0].store(60, Ordering::Relaxed);
        assert_eq!((due(11_000, &config), due(60_999, &config)), (None, None));
        assert_eq!(due(61_000, &config), Some(Wish::Point { changes: 60, seconds: 60 }));
        persistence.changes_of_core[1].store(40, Ordering::Relaxed);
        assert_eq!(due(11_000, &config), Some(Wish::Point { changes: 100, seconds: 10 }));
        assert!(persistence.claim(Purpose::Background) && !persistence.claim(Purpose::Save));
        assert_eq!(due(61_000, &config), None, "one is under way");
        persistence.note_end(running(Purpose::Background, 95), Some(7), NOW_MS + 1000);
        persistence.release();
        assert_eq!(persistence.changes(), 5);
        assert_eq!(due(600_000, &config), None);
        persistence.schedule(true);
        config.save.0.clear();
        assert_eq!(due(2000, &config), Some(Wish::Scheduled));
    }

    #[test]
    fn a_snapshot_of_nothing_keeps_others_of_its_place_away_and_waits_for_them() {
        let persistence = Persistence::new(1, NOW_MS);
        assert_eq!((persistence.begin_emptying(), persistence.owes_emptying()), (None, false));
        assert_eq!((persistence.order_emptying(5), persistence.order_emptying(9)), (1, 2));
        assert!(persistence.claim(Purpose::Background));
        assert_eq!(persistence.begin_emptying(), None, "what is under way is of before");
        persistence.release();
        assert!(persistence.claim(Purpose::LogBase));
        assert_eq!(persistence.begin_emptying(), Some((2, 9)), "a base of the log has another place");
        assert_eq!(persistence.begin_emptying(), None, "it is being written");
        persistence.release();
        assert!(!persistence.claim(Purpose::Save) && !persistence.is_claimed());
        assert!(persistence.claim(Purpose::LogBase));
        persistence.release();
        persistence.end_emptying(2);
        assert!(!persistence.owes_emptying() && persistence.claim(Purpose::Save));
    }

    #[test]
    fn a_failure_makes_save_points_wait_and_writes_doubtful() {
        let persistence = Persistence::new(1, NOW_MS);
        let config = Config { save: SavePoints(vec![SavePoint { seconds: 1, changes: 1 }]), ..Config::default() };
        persistence.changes_of_core[0].store(1, Ordering::Relaxed);
        persistence.note_try(NOW_MS + 2000);
        persistence.note_end(running(Purpose::Background, 1), None, NOW_MS + 2000);
        assert_eq!(persistence.obstacles.load(Ordering::Relaxed), obstacle::UNSAVED);
        assert_eq!(persistence.due(&config, NOW_MS + 7000), None);
        assert!(persistence.due(&config, NOW_MS + 8000).is_some());
        persistence.note_end(running(Purpose::Save, 1), Some(0), NOW_MS + 9000);
        assert_eq!(persistence.obstacles.load(Ordering::Relaxed), 0);
        assert_eq!(persistence.history().last_save_seconds, NOW_MS / 1000 + 9);
        persistence.note_end(running(Purpose::Save, 1), None, NOW_MS + 9000);
        assert!(persistence.history().is_ok, "the client of SAVE has been told");
    }

    #[test]
    fn the_end_saves_where_there_are_save_points() {
        let mut config = Config::default();
        assert!(!config.save.0.is_empty());
        assert!(saves(Ending::default(), &config));
        assert!(!saves(Ending { nosave: true, ..Ending::default() }, &config));
        config.save.0.clear();
        assert!(!saves(Ending::default(), &config));
        assert!(saves(Ending { save: true, ..Ending::default() }, &config));
    }

    #[test]
    fn progress_counts_file_after_file() {
        let loading = Loading::default();
        loading.begin(NOW_MS, 1000);
        let at = |after_ms| loading.progress(NOW_MS + after_ms);
        assert_eq!((at(500).percent(), at(500).left_seconds()), (0.0, 1));
        loading.note(200);
        assert_eq!((at(2000).percent(), at(2000).left_seconds()), (20.0, 8));
        loading.end_file(300);
        loading.note(450);
        assert_eq!((at(3000).loaded_bytes, at(3000).left_seconds()), (750, 1));
        loading.end_file(800);
        assert_eq!((at(3000).loaded_bytes, at(3000).left_seconds()), (1000, 0), "a file has grown");
        loading.begin(NOW_MS, 0);
        assert_eq!((at(0).percent(), at(9000).left_seconds()), (0.0, 1));
    }
}
