//! One core's loop. A pass: take everything the ring completed, read every whole command of every connection, execute
//! (prefetching ahead), take what other cores sent, hand them what is theirs, fill one send per connection, and enter
//! the kernel once for all of it.
//!
//! ```text
//!        ┌────────────────────────────── one pass ──────────────────────────────────┐
//!  ring ─▶ events ─▶ plan (parse, look up, route) ─▶ run here ──▶ replies ─▶ sends ─▶ enter ─┐
//!        │  peers ─▶ requests ─▶ run ─▶ replies to them   └▶ requests to peers ─▶ flush      │
//!        └──────────────────────────────────────────────────────────────────────────┘◀┘
//! ```
//! The steps stand in files of their own, in a command's order: `accept` (the doors), `read` (bytes to commands),
//! `execute` (commands to replies), `visit` (whose engine is held), `hop` (messages of other cores), `gathering`
//! (commands that involve several cores; `lend`, `survey` and `walk` are kinds of them), `send` (replies on their way
//! out), `follow` (clients that move to another core), and `cron` (what nobody asks for).

use super::accept::{AcceptFailures, Listener};
use super::admin::board::Board;
use super::admin::keys::KeySample;
use super::aof_company::Company;
use super::aof_place::LogFiles;
use super::aof_share::LogWait;
use super::aof_writer::Writer;
use super::block::Waiting;
use super::clocks::{Clocks, moved};
use super::gathering::{Gathering, Question};
use super::lend::Loan;
use super::listen::Doors;
use super::long::Writing;
use super::mailbox::Mailbox;
use super::pace::Pace;
use super::pubsub::Changing;
use super::read::Planned;
use super::script::Scripting;
use super::send::{SPARE_OUTPUTS, keep_output};
use super::snapshot::Saving;
use super::spares::Spares;
use super::survey::Step;
use super::tasks;
use super::timing::Timing;
use crate::config::Config;
use crate::connection::Connection;
use crate::keyspace::{KeyHasher, Keyspace};
use crate::memory::{mapped, pages};
use crate::pubsub::{Delivery, Members};
use crate::resp::Span;
use crate::route::SlotMap;
use crate::session::Transaction;
use crate::shard::{Held, Shard, Ticket};
use crate::shared::Shared;
use crate::stats::Stats;
use crate::sys::process::{RunQueue, thread_cpu_nanoseconds};
use crate::sys::ring::{Buffer, Event, Ring};
use ahash::{AHashMap, AHashSet};
use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Of large blocks that were freed, so much is given back to the system each pass: some 0.3 ms.
const GIVE_BACK_BYTES: usize = 4 * 1024 * 1024;

/// Blocks of this core's heap that were freed by others and are taken back in a pass: below 0.5 ms.
const COLLECT_BLOCKS: usize = 8192;

/// Work in a pass on what lies in free blocks: some 0.1 ms.
const THIN_WORK: usize = 512;

/// How long the cores wait for one another when the server ends.
const END_MAX: Duration = Duration::from_secs(2);

/// Everything of one core.
pub struct Core {
    pub(super) core: usize,
    pub(super) map: SlotMap,
    pub(super) ring: Ring,
    pub(super) mailbox: Mailbox,
    pub(super) connections: Slab<Box<Connection>>,
    /// Every door of the server …
    pub(super) doors: Arc<Doors>,
    /// … and those that this core accepts on, by the index in the ring.
    pub(super) listeners: Vec<Option<Listener>>,
    pub(super) accept_failures: AcceptFailures,
    /// Held while commands run on it, let go in between.
    pub(super) shard: Held,
    /// Counters and latencies of this core.
    pub(super) stats: Stats,
    /// Unix time in milliseconds, read at the beginning of the pass and after slow commands.
    pub(super) now_ms: u64,
    /// Hashes keys as every shard does.
    pub(super) hasher: KeyHasher,
    /// Engines of other cores that this one holds for a window of commands.
    pub(super) visited: Vec<Option<MutexGuard<'static, Shard>>>,
    /// Since when, by the clock …
    pub(super) held_since: u64,
    /// … and whether it kept them from one window to the next.
    pub(super) keeps_visits: bool,
    /// Windows of commands so far.
    pub(super) windows: u32,
    pub(super) shared: Arc<Shared>,
    pub(super) config: Arc<Config>,
    pub(super) gatherings: Slab<Gathering>,
    /// Clients of this core that wait in blocking commands, by connection, …
    pub(super) waits: AHashMap<u32, Waiting>,
    /// … and when they have waited long enough: milliseconds by the steady clock, connection.
    pub(super) wait_deadlines: BTreeSet<(u64, u32)>,
    /// Clients of this core that wait and whose call is to be run with keys of several shards, for the key of this
    /// number.
    pub(super) knocks: Vec<(Arc<Ticket>, usize)>,
    /// The keyspace that borrowed entries are put into; empty between uses.
    pub(super) overlay: Option<Box<Keyspace>>,
    /// What scripts run in; none before the first, and while one runs.
    pub(super) scripting: Option<Box<Scripting>>,
    /// A pass is made within a script.
    pub(super) serving_beside: bool,
    /// Room for the arguments of a script's call.
    pub(super) script_args: Transaction,
    /// Borrowers of this core that got what they waited for and have yet to go on.
    pub(super) ready: VecDeque<(u32, Loan)>,
    /// They are going on right now.
    pub(super) going_on: bool,
    /// Replies that are written slice by slice, the next one first.
    pub(super) long_replies: VecDeque<Writing>,
    /// Steps of surveys that this shard has yet to run, the next one first.
    pub(super) steps: VecDeque<Step>,
    pub(super) planned: Vec<Planned>,
    /// Those before this one have run, or run now.
    pub(super) planned_next: usize,
    pub(super) spans: Vec<Span>,
    pub(super) request_spans: Vec<Span>,
    pub(super) used_buffers: Vec<Buffer>,
    /// Which connections are subscribed to what.
    pub(super) members: Members,
    /// Clients that join or leave very many names, the next one first.
    pub(super) changing: VecDeque<Changing>,
    /// Names that clients have joined or left in this pass.
    pub(super) changed_names: usize,
    /// Emptied, for the next time that there is mail.
    pub(super) deliveries: Vec<Delivery>,
    /// Connections with input to plan.
    pub(super) again: Vec<u32>,
    /// Connections with output to send.
    pub(super) dirty: Vec<u32>,
    /// Connections that planned something in this pass.
    pub(super) active: Vec<u32>,
    /// Connections to look at for closing.
    pub(super) closing: Vec<u32>,
    /// Connections whose keys live on another core, as this pass found: connection, core.
    pub(super) followers: Vec<(u32, usize)>,
    /// Connections that move as soon as nothing of them is under way.
    pub(super) leavers: Vec<u32>,
    /// CPU time of this thread, in microseconds, when its load was told last, and that time by the steady clock.
    pub(super) load_sample: (u64, u64),
    /// Questions to all cores that wait until no client is on its way from core to core.
    pub(super) questions: Vec<Question>,
    /// Connections waiting for the end of `CLIENT PAUSE`.
    pub(super) paused: Vec<u32>,
    pub(super) spare_outputs: Spares<Vec<u8>>,
    pub(super) clock: quanta::Clock,
    /// Both clocks, read at the beginning of the pass.
    pub(super) clocks: Clocks,
    /// What the steady one began with.
    started: quanta::Instant,
    /// When rates are sampled next, by the steady clock …
    pub(super) sample_due_ms: u64,
    /// … and timeouts and limits of some clients looked at, from this connection on.
    pub(super) cron_due_ms: u64,
    pub(super) cron_next: usize,
    /// When the shard wants to be looked after at the latest, Unix milliseconds.
    pub(super) shard_due_ms: u64,
    /// How fast requests come in.
    pub(super) pace: Pace,
    /// Receives completed in this pass.
    pub(super) receives: u32,
    /// Sends queued in this pass: completions that are sure to come at once.
    pub(super) sends: usize,
    /// Commands that take this long are recorded as slow, …
    pub(super) slow_nanoseconds: u64,
    /// … and passes that take this long as stalls.
    pub(super) stall_nanoseconds: u64,
    /// When what happened in this pass.
    pub(super) timing: Timing,
    /// Tells for how long this thread was ready and did not run.
    pub(super) run_queue: RunQueue,
    /// Where the admin port asks; none without one.
    pub(super) board: Option<Arc<Board>>,
    /// Which keys are used; none unless somebody looks at the live page.
    pub(super) key_sample: Option<Box<KeySample>>,
    /// `maxmemory-clients` in bytes; 0: no limit.
    pub(super) clients_bytes_max: u64,
    /// What this core's clients take, as far as was counted, …
    pub(super) clients_bytes: usize,
    /// … and those to be counted again.
    pub(super) touched: Vec<u32>,
    /// There is a limit, and a policy by which entries go.
    pub(super) evicts: bool,
    /// Entries have yet to go, in this pass and those that follow.
    pub(super) is_short_of_room: bool,
    /// Since when commands are put off for want of room, by the steady clock.
    pub(super) lacks_room_since_ms: Option<u64>,
    /// Hashes of the keys that the transaction or script that runs now uses, where entries may go.
    pub(super) used_keys: AHashSet<u64>,
    /// It has a lease beyond the limit.
    pub(super) has_raised_lease: bool,
    /// For how long entries went in this pass, in nanoseconds.
    pub(super) evicting_nanoseconds: u64,
    /// What writes this core's lane of the log.
    pub(super) writer: Writer,
    /// Whether it waits for more.
    pub(super) company: Company,
    /// Somebody's replies wait for the log, perhaps.
    pub(super) holds: bool,
    /// Writes are refused: the log cannot be written.
    pub(super) denies_writes: bool,
    /// Clients in `WAITAOF`.
    pub(super) log_waits: Vec<LogWait>,
    /// When a rewrite of the log may be tried, by the steady clock.
    pub(super) rewrite_due_ms: u64,
    /// Connections whose replies wait for the log …
    pub(super) held: Vec<u32>,
    /// … one of them since a moment ago.
    pub(super) rechecks_held: bool,
    /// Why commands may have to be refused: see [`crate::shared::persistence::obstacle`].
    pub(super) obstacles: u8,
    /// Snapshots.
    pub(super) saving: Saving,
    /// When as much was evicted as was asked for, although it did not help at once; Unix milliseconds.
    pub(super) evicted_enough_ms: u64,
    /// How often cores had been asked to look through their heaps when this one looked last …
    pub(super) collections: u32,
    /// … and it is not through.
    pub(super) is_collecting: bool,
    /// It gives back what lies in free blocks, and is not through.
    pub(super) is_thinning: bool,
}

/// What a core is made of.
pub struct Parts {
    /// Its number.
    pub core: usize,
    /// Its ends of the rings between cores.
    pub mailbox: Mailbox,
    /// The doors of the server.
    pub doors: Arc<Doors>,
    /// Hashes keys as every shard does.
    pub hasher: KeyHasher,
    /// The engines of all cores.
    pub shards: &'static [Mutex<Shard>],
    /// What all cores see.
    pub shared: Arc<Shared>,
    /// The ring, made on this core's thread.
    pub ring: Ring,
    /// Where the log is, once it is loaded.
    pub log_files: LogFiles,
    /// Where the admin port asks; none without one.
    pub board: Option<Arc<Board>>,
}

pub(super) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

impl Core {
    /// Assembles a core.
    pub fn new(parts: Parts) -> Core {
        let config = parts.shared.config();
        let clock = quanta::Clock::new();
        Core {
            core: parts.core,
            map: SlotMap::new(parts.shared.cores),
            ring: parts.ring,
            mailbox: parts.mailbox,
            connections: Slab::new(),
            doors: parts.doors,
            listeners: Vec::new(),
            accept_failures: AcceptFailures::default(),
            shard: Held::new(parts.shards, parts.core),
            stats: Stats::new(config.latency_tracking),
            now_ms: 0,
            hasher: parts.hasher,
            visited: (0..parts.shards.len()).map(|_| None).collect(),
            held_since: 0,
            keeps_visits: false,
            windows: 0,
            shared: parts.shared,
            gatherings: Slab::new(),
            waits: AHashMap::new(),
            wait_deadlines: BTreeSet::new(),
            knocks: Vec::new(),
            overlay: None,
            scripting: None,
            serving_beside: false,
            script_args: Transaction::default(),
            ready: VecDeque::new(),
            going_on: false,
            long_replies: VecDeque::new(),
            steps: VecDeque::new(),
            planned: Vec::new(),
            planned_next: 0,
            spans: Vec::new(),
            request_spans: Vec::new(),
            used_buffers: Vec::new(),
            members: Members::default(),
            changing: VecDeque::new(),
            changed_names: 0,
            deliveries: Vec::new(),
            again: Vec::new(),
            dirty: Vec::new(),
            active: Vec::new(),
            closing: Vec::new(),
            followers: Vec::new(),
            leavers: Vec::new(),
            load_sample: (0, 0),
            questions: Vec::new(),
            paused: Vec::new(),
            spare_outputs: Spares::new(SPARE_OUTPUTS),
            timing: Timing::new(&clock),
            run_queue: RunQueue::default(),
            board: parts.board,
            key_sample: None,
            started: clock.now(),
            clock,
            clocks: Clocks::default(),
            sample_due_ms: 0,
            cron_due_ms: 0,
            cron_next: 0,
            shard_due_ms: 0,
            pace: Pace::default(),
            receives: 0,
            sends: 0,
            slow_nanoseconds: super::slow::threshold_nanoseconds(&config),
            stall_nanoseconds: super::slow::stall_nanoseconds(&config),
            clients_bytes_max: 0,
            clients_bytes: 0,
            touched: Vec::new(),
            evicts: false,
            is_short_of_room: false,
            lacks_room_since_ms: None,
            used_keys: AHashSet::new(),
            has_raised_lease: false,
            evicting_nanoseconds: 0,
            obstacles: 0,
            saving: Saving::default(),
            evicted_enough_ms: 0,
            collections: 0,
            is_collecting: false,
            is_thinning: false,
            writer: Writer::new(parts.log_files, parts.core),
            company: Company::default(),
            holds: false,
            denies_writes: false,
            log_waits: Vec::new(),
            rewrite_due_ms: 0,
            held: Vec::new(),
            rechecks_held: false,
            config,
        }
    }

    /// Serves until the server stops. The executor's other tasks run between passes when there are any; see
    /// [`super::tasks`].
    pub async fn run(mut self) {
        self.run_queue = RunQueue::of_this_thread();
        self.look_at_delay();
        self.stats.health = Default::default(); // What came before is no delay of a pass.
        self.take_doors();
        mapped::give_back_slowly();
        self.take_limit(0);
        self.take_clients_limit();
        let mut bell = None;
        while !self.shared.stopping.load(Ordering::Acquire) {
            self.pass();
            if tasks::are_running() {
                self.rest_beside(&mut bell).await;
            } else {
                self.silence(&mut bell);
                self.rest();
            }
        }
        self.shard.let_go();
        self.wait_for_all();
        self.shard.take();
        self.end_lane();
        self.close_all();
    }

    /// Waits until no core serves any more: until then each of them may append to any lane of the log.
    fn wait_for_all(&mut self) {
        const LOOK: Duration = Duration::from_micros(50);
        let since = self.clock.now();
        self.shared.ended.fetch_add(1, Ordering::AcqRel);
        while self.shared.ended.load(Ordering::Acquire) < self.map.shards() && since.elapsed() < END_MAX {
            std::thread::sleep(LOOK);
        }
    }

    /// One pass over everything that is ready.
    fn pass(&mut self) {
        let raw = self.clock.raw();
        let now = self.clock.scaled(raw);
        self.now_ms = unix_ms();
        let steady_ms = now.duration_since(self.started).as_millis() as u64;
        if let Some(step_ms) = self.clocks.note(self.now_ms, steady_ms) {
            self.clock_was_set(step_ms);
        }
        self.begin_timing(raw, steady_ms);
        self.stats.counters.passes += 1;
        self.evicting_nanoseconds = 0;
        self.shard.be_patient();
        let spare = &mut self.spare_outputs;
        self.ring.take_sent(|bytes| keep_output(spare, bytes));
        self.look_at_room();
        self.holds = self.shared.log.holds_replies();
        self.denies_writes = self.shared.log.has_failed() || self.shared.log.breaks_promises();
        self.tend_saving();
        self.take_events();
        self.read_mail();
        if self.config.aof_timestamp_enabled {
            // Read when all is there that this pass runs: nothing that was sent in a second is told of the one before.
            self.shared.log.set_time(unix_ms() / 1000);
        }
        self.put_questions();
        self.deliver_mail();
        self.plan_again();
        self.bound_clients();
        self.keep_room();
        self.run_planned();
        self.answer_knocks();
        if !self.long_replies.is_empty() {
            self.write_long();
        }
        if !self.steps.is_empty() {
            self.run_step();
        }
        self.changed_names = 0;
        if !self.changing.is_empty() {
            self.change_some_subscriptions();
        }
        if self.wait_due_ms() <= self.clocks.steady_ms() {
            self.end_waits();
            self.answer_knocks();
        }
        for buffer in self.used_buffers.drain(..) {
            self.ring.give_back(buffer);
        }
        if self.sample_due_ms <= steady_ms {
            self.sample();
        }
        if self.cron_due_ms <= steady_ms {
            self.cron();
        }
        if self.shard_due_ms <= self.now_ms {
            self.tend();
        }
        self.let_go();
        self.shared.pubsub.broadcast();
        self.deliver_mail();
        self.see_off();
        if self.shared.log.is_on() || self.writer.is_busy() || self.shared.log.has_pending(self.core) {
            self.flush_log();
            self.release_held();
        } else if !self.held.is_empty() {
            self.release_held(); // What waits, waits for something else.
        }
        if !self.log_waits.is_empty() {
            self.end_log_waits();
        }
        self.flush();
        self.settle();
        self.close_closing();
        if mapped::has_freed() {
            mapped::give_back_some(GIVE_BACK_BYTES);
        }
        if self.is_collecting {
            self.is_collecting = pages::collect_some(COLLECT_BLOCKS);
        } else if self.is_thinning {
            self.is_thinning = pages::thin_some(THIN_WORK);
            self.shared.budget.note_marked(pages::take_marked_bytes());
        }
        self.pace.note(std::mem::take(&mut self.receives), now, thread_cpu_nanoseconds);
        self.end_timing();
    }

    /// Takes all that the ring completed.
    pub(super) fn take_events(&mut self) {
        while let Some(event) = self.ring.next_event() {
            match event {
                Event::Accepted { listener, socket, armed } => self.accepted(listener, socket, armed),
                Event::Received { index, data, armed } => self.received(index, data, armed),
                Event::Sent { index, result, payload } => self.sent(index, result, payload),
                Event::Unsent { index, result, bytes } => self.unsent(index, result, bytes),
                Event::Written { result, blocks } => self.log_written(result, blocks),
                Event::Synced(result) => self.log_synced(result),
                Event::Zeroed(result) => self.writer.zeroed(result),
                Event::Woken => {}
            }
        }
    }

    /// Somebody set the wall clock. Times noted of clients move with it, so that nobody is silent for an hour more or
    /// less than they were; keys are looked at by the new time.
    #[cold]
    fn clock_was_set(&mut self, step_ms: i64) {
        self.shard_due_ms = 0;
        for (_, connection) in self.connections.iter_mut() {
            let session = &mut connection.session;
            session.active_ms = moved(session.active_ms, step_ms);
            session.connected_ms = moved(session.connected_ms, step_ms);
            let since_ms = connection.soft_limit_since_ms;
            connection.soft_limit_since_ms = since_ms.and_then(|since| NonZeroU64::new(moved(since.get(), step_ms)));
        }
    }

    /// Whether there is more to do before anything else completes.
    pub(super) fn is_busy(&self, idle_ms: u64) -> bool {
        idle_ms == 0
            || !self.again.is_empty()
            || !self.closing.is_empty()
            || self.rechecks_held
            || !self.dirty.is_empty()
            || !self.knocks.is_empty()
            || !self.long_replies.is_empty()
            || !self.steps.is_empty()
            || !self.changing.is_empty()
            || self.saving.is_busy(self.core)
            || !self.questions.is_empty()
            || self.has_ready_leavers()
            || mapped::has_freed()
            || self.is_collecting
            || self.is_thinning
    }

    /// Announces sleep. False: something came in between.
    pub(super) fn park(&mut self) -> bool {
        let (pubsub, core) = (&self.shared.pubsub, self.core);
        self.mailbox.park(|| pubsub.has_mail(core))
    }

    /// Enters the kernel: asleep if nothing is left to do.
    fn rest(&mut self) {
        let sends = std::mem::take(&mut self.sends);
        let idle_ms = self.idle_ms();
        if self.is_busy(idle_ms) {
            return self.ring.enter(None, 0, 1);
        }
        self.sample_writes();
        if !self.park() {
            return self.ring.enter(None, 0, 1);
        }
        self.timing.has_slept = true;
        self.ring.enter(Some(self.idle(idle_ms)), sends, self.pace.batch());
        self.mailbox.unpark();
    }
}
