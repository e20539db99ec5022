//! The admin port: metrics for scrapers, answers for probes, a live page for people. Off by default (`admin-port`).
//!
//! It has ordinary threads of its own, which no client of the keyspace waits for, and which wait for no core longer
//! than [`PATIENCE`]: of one that is busy they tell what it told last, see [`board`]. There is no password;
//! `admin-bind` is the machine itself by default.
//!
//! | Path | What it is |
//! |---|---|
//! | `/metrics` | OpenMetrics, or Prometheus' older text: [`metrics`] |
//! | `/healthz` | 200: the process is alive |
//! | `/readyz` | 200: commands are answered; 503: keys are being loaded, the server is about to end (from when it was asked to, while it saves), or its log cannot be written |
//! | `/` | the live page, one file that needs nothing else: `admin/page.html` |
//! | `/series.json` | what the page draws: the seconds after `?since=`; `INFO`, slow log and hot keys ([`keys`]) now |

pub(super) mod board;
mod http;
pub(super) mod keys;
mod metrics;
pub mod names;
mod series;
mod totals;

use super::listen::listen_on;
use crate::command::info::copied;
use crate::command::lookup::{self, Row};
use crate::command::{Merge, Part, Run, SessionView};
use crate::config::{Config, reason};
use crate::memory;
use crate::resp::{Output, Protocol, Reply};
use crate::session::Session;
use crate::shared::Shared;
use crate::sys::process;
use board::Board;
use http::{Answer, Request, Taken};
use keys::{HotKeys, KeyCount, WINDOW_S};
use metrics::{Facts, Format};
use parking_lot::{Condvar, Mutex};
use series::{Memory, Series, bins_json, json_string, shown};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use totals::Totals;

/// How long cores may take to answer: they look at the board ten times a second, unless something long is running.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same where some core was too busy last time, and where nobody waits for it: what it told before is told again.
const PATIENCE_AGAIN: Duration = Duration::from_millis(300);
/// Cores are asked so often though nobody wants to know, so that there is something to tell of one that is busy then.
const KEPT: Duration = Duration::from_secs(10);
/// What cores said, or that they said nothing, is used again for so long, however many ask.
const FRESH: Duration = Duration::from_millis(400);
/// Between two connections, so that a flood of them leaves the cores their CPUs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(1);
/// Who connects faster than that waits in the kernel, so many at most.
const BACKLOG: i32 = 128;
/// Clients at a time.
pub(super) const CONNECTIONS_MAX: usize = 16;
/// Those of them for whom there is work to do. The others can make room.
const WORKED_FOR_MAX: usize = CONNECTIONS_MAX / 2;
/// Threads at a time: those of clients that have made room are about to end.
pub(super) const THREADS_MAX: usize = 2 * CONNECTIONS_MAX;
/// Who wants work, and finds that too many are worked for, waits so long for one of them to be done.
const PLACE_MAX: Duration = Duration::from_secs(1);
/// Who waits looks so often whether somebody has stalled.
const PLACE_LOOK: Duration = Duration::from_millis(20);
/// A client that takes nothing more of its answer for so long makes room for who waits.
const STALLED_MIN: Duration = Duration::from_millis(200);
/// After an answer that took work none is worked on for so many times as long: for the same reason.
const REST: u32 = 3;
/// What an admin thread's stack takes at most.
const STACK_BYTES: usize = 512 * 1024;
/// Entries of the slow log that the page shows.
const SLOW_SHOWN: usize = 20;
/// Hot keys that the page shows.
const KEYS_SHOWN: usize = 20;

const PAGE: &str = include_str!("admin/page.html");
/// What is asked of `INFO`: what it tells by itself, and what metrics tell beyond.
const SECTIONS: [&[u8]; 4] = [b"INFO", b"default", b"commandstats", b"latencystats"];
/// Fields of `INFO` that the page shows; beside them those of each core.
const SHOWN: &[&str] = &[
    "corering_version",
    "uptime_in_seconds",
    "connected_clients",
    "used_memory",
    "used_memory_rss",
    "maxmemory",
    "keyspace_hits",
    "keyspace_misses",
    "evicted_keys",
    "expired_keys",
    "instantaneous_ops_per_sec",
    "hop_perc",
];

/// What cores brought, put together.
#[derive(Default)]
struct Counted {
    totals: Totals,
    series: Series,
    keys: HotKeys,
}

/// Who is being served.
///
/// A probe has to get through whoever else is there, or a healthy server is taken for a dead one; and a scraper, or a
/// server that is watched looks as one that is not. So who has not said what it wants yet, wants nothing that takes
/// work, or has its answer, makes room for who comes after it, the oldest first; those who are worked for are never all
/// there may be, others wait a little for their places; and of them who does not read its answer makes room before all,
/// the one first that has taken nothing for longest.
#[derive(Default)]
struct Visitors {
    /// Oldest first.
    visitors: Vec<Visitor>,
    /// Threads of visitors, also of those who have made room and are about to end.
    threads: usize,
    next: u64,
}

struct Visitor {
    id: u64,
    socket: Arc<TcpStream>,
    state: State,
}

/// How far a visitor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is done for it: it has not said what it wants, wants what takes no work, waits for a place, has it all.
    Idle,
    /// Its answer is made.
    WorkedFor,
    /// It is being sent what took work; it has taken something then.
    Taking(Instant),
}

impl Visitors {
    /// Somebody comes: its number. `None`: there is no room.
    fn admit(&mut self, socket: &Arc<TcpStream>, now: Instant) -> Option<u64> {
        if self.threads == THREADS_MAX {
            return None;
        }
        if self.visitors.len() == CONNECTIONS_MAX && !self.send_stalled_away(now) {
            let oldest = self.visitors.iter().position(|visitor| visitor.state == State::Idle)?;
            // Its thread is told that nothing more comes. If it is gone already, so much the better.
            let _ = self.visitors.remove(oldest).socket.shutdown(Shutdown::Read);
        }
        self.next += 1;
        self.threads += 1;
        self.visitors.push(Visitor { id: self.next, socket: socket.clone(), state: State::Idle });
        Some(self.next)
    }

    /// A visitor wants what takes work: whether there is a place for it, as far as is known now. `None`: it has been
    /// sent away.
    fn begin_work(&mut self, id: u64, now: Instant) -> Option<bool> {
        self.visitors.iter().find(|visitor| visitor.id == id)?;
        if self.visitors.iter().filter(|visitor| visitor.state != State::Idle).count() == WORKED_FOR_MAX
            && !self.send_stalled_away(now)
        {
            return Some(false);
        }
        let visitor = self.visitors.iter_mut().find(|visitor| visitor.id == id)?;
        visitor.state = State::WorkedFor;
        Some(true)
    }

    /// Makes room by who has taken nothing of its answer for longest, if that is too long.
    fn send_stalled_away(&mut self, now: Instant) -> bool {
        let since = |visitor: &Visitor| match visitor.state {
            State::Taking(since) if STALLED_MIN <= now.saturating_duration_since(since) => Some(since),
            _ => None,
        };
        let stalled = (0..self.visitors.len()).filter_map(|at| Some((since(&self.visitors[at])?, at))).min();
        let Some((_, at)) = stalled else { return false };
        // Its thread, which waits for it to read, is told that it cannot send.
        let _ = self.visitors.remove(at).socket.shutdown(Shutdown::Both);
        true
    }

    /// A visitor has taken more of its answer, or all.
    fn note(&mut self, id: u64, taken: Taken, now: Instant) {
        let visitor = self.visitors.iter_mut().find(|visitor| visitor.id == id && visitor.state != State::Idle);
        if let Some(visitor) = visitor {
            visitor.state = if taken == Taken::All { State::Idle } else { State::Taking(now) };
        }
    }

    /// A visitor's thread ends.
    fn leave(&mut self, id: u64) {
        self.threads -= 1;
        self.visitors.retain(|visitor| visitor.id != id);
    }
}

/// What `INFO` says, some of it perhaps by what cores told before.
struct Told {
    info: String,
    /// Of each core, whether it has answered now.
    answers: Vec<bool>,
}

/// What cores told last.
#[derive(Default)]
struct Known {
    /// When they were asked.
    at: Option<Instant>,
    /// `None`: some core was too busy to tell anything yet.
    told: Option<Arc<Told>>,
    /// Of each.
    parts: Vec<Option<Part>>,
}

/// What `INFO` said, and what was made of it.
type Rendered = (Arc<Told>, Arc<str>);

/// What the threads of the admin port share.
struct Admin {
    shared: Arc<Shared>,
    board: Arc<Board>,
    counted: Mutex<Counted>,
    /// Held while cores are asked.
    known: Mutex<Known>,
    visitors: Mutex<Visitors>,
    /// A place has become free, or somebody was sent away.
    moved: Condvar,
    /// What was told as metrics last, by what `INFO` had said: as long as that is used again, so is this.
    rendered: Mutex<[Option<Rendered>; Format::ALL.len()]>,
    /// When the next answer may be worked on. Held meanwhile.
    rests_until: Mutex<Instant>,
}

/// Opens the admin port, where there is one, and returns its listeners: nobody is served yet.
///
/// # Errors
/// An address cannot be listened on.
pub(super) fn open(config: &Config) -> Result<Vec<TcpListener>, String> {
    let port = config.admin_port;
    if port == 0 {
        return Ok(Vec::new());
    }
    let mut listeners = Vec::new();
    for word in &config.admin_bind {
        let opened = listen_on(word, port, BACKLOG)
            .map_err(|error| format!("Can't listen on admin-port {word}:{port}: {}", reason(&error)))?;
        listeners.extend(opened.map(TcpListener::from));
    }
    if listeners.is_empty() {
        tracing::warn!("admin-port is {port}, but nobody listens there: admin-bind names no address of this machine");
    }
    Ok(listeners)
}

/// Serves the admin port from now on.
///
/// # Errors
/// No thread can be started.
pub(super) fn start(shared: &Arc<Shared>, board: Arc<Board>, listeners: Vec<TcpListener>) -> std::io::Result<()> {
    let admin = Arc::new(Admin {
        shared: shared.clone(),
        board,
        counted: Mutex::default(),
        known: Mutex::default(),
        visitors: Mutex::default(),
        moved: Condvar::new(),
        rendered: Mutex::default(),
        rests_until: Mutex::new(Instant::now()),
    });
    for listener in listeners {
        let admin = admin.clone();
        spawn("admin", move || admin.accept(&listener))?;
    }
    spawn("admin-clock", move || {
        loop {
            // To the end of the second.
            std::thread::sleep(Duration::from_millis(1000 - super::core::unix_ms() % 1000));
            admin.tick();
        }
    })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(run).map(drop)
}

fn note_failure(served: std::io::Result<()>) {
    if let Err(error) = served {
        tracing::debug!("a client of the admin port was not served: {}", reason(&error));
    }
}

impl Admin {
    fn accept(self: Arc<Admin>, listener: &TcpListener) {
        /// After a failure (no descriptor is left), so that the loop does not spin.
        const PAUSE: Duration = Duration::from_millis(100);
        loop {
            let Ok((stream, _)) = listener.accept() else {
                std::thread::sleep(PAUSE);
                continue;
            };
            let stream = Arc::new(stream);
            let admitted = self.visitors.lock().admit(&stream, Instant::now());
            self.moved.notify_all();
            match admitted {
                // Nobody is let wait.
                None => note_failure(http::refuse(&stream)),
                Some(visitor) => {
                    let admin = self.clone();
                    let serve = move || {
                        admin.serve(&stream, visitor);
                        admin.visitors.lock().leave(visitor);
                        admin.moved.notify_all();
                    };
                    if spawn("admin-client", serve).is_err() {
                        self.visitors.lock().leave(visitor);
                    }
                }
            }
            std::thread::sleep(ACCEPT_PAUSE);
        }
    }

    /// Works on an answer: on one at a time, and for a quarter of the time at most, however many ask.
    fn sparingly<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut rests_until = self.rests_until.lock();
        std::thread::sleep(rests_until.saturating_duration_since(Instant::now()));
        let began = Instant::now();
        let done = work();
        *rests_until = Instant::now() + REST * began.elapsed();
        done
    }

    fn serve(&self, stream: &TcpStream, visitor: u64) {
        let note = |taken| {
            self.visitors.lock().note(visitor, taken, Instant::now());
            if taken == Taken::All {
                self.moved.notify_all();
            }
        };
        note_failure(http::serve(stream, |request| self.answer(request, visitor), note));
    }

    /// A visitor wants what takes work. Waits for its place, not for long. False: too many want that.
    fn begin_work(&self, visitor: u64) -> bool {
        let deadline = Instant::now() + PLACE_MAX;
        let mut visitors = self.visitors.lock();
        loop {
            let now = Instant::now();
            match visitors.begin_work(visitor, now) {
                Some(true) => return true,
                Some(false) if now < deadline => {}
                Some(false) | None => return false,
            }
            self.moved.wait_for(&mut visitors, PLACE_LOOK);
        }
    }

    fn answer(&self, request: &Request, visitor: u64) -> Answer {
        let path = request.path.as_str();
        if matches!(path, "/" | "/metrics" | "/series.json") && !self.begin_work(visitor) {
            return Answer::text(503, "too many clients want this at once");
        }
        match path {
            "/" => Answer { status: 200, content_type: "text/html; charset=utf-8", body: PAGE.into() },
            "/healthz" => Answer::text(200, "ok"),
            "/readyz" => match self.obstacle() {
                None => Answer::text(200, "ready"),
                Some(obstacle) => Answer::text(503, obstacle),
            },
            "/metrics" => self.metrics(Format::accepted(&request.accept)),
            "/series.json" => self.series(&request.query),
            _ => Answer::text(404, "known are /, /metrics, /healthz, /readyz and /series.json"),
        }
    }

    /// Why commands are not answered as they should be.
    fn obstacle(&self) -> Option<&'static str> {
        // From the decision on, not from the moment at which all is saved: until then commands wait.
        if self.shared.stopping.load(Ordering::Acquire) || self.shared.persistence.is_about_to_end() {
            Some("the server is about to end")
        } else if self.shared.persistence.is_loading() {
            Some("keys are being loaded")
        } else if self.shared.log.has_failed() {
            Some("the log cannot be written")
        } else {
            None
        }
    }

    /// A second is over.
    fn tick(&self) {
        let readings = self.board.readings();
        let memory = Memory { used: memory::used_bytes(), resident: process::resident_bytes().unwrap_or(0) };
        self.count();
        // The clock may not have come quite to the next second.
        let over_s = (super::core::unix_ms() + 500) / 1000 - 1;
        self.counted.lock().series.read(over_s, readings, memory);
        // Who asks already need not be waited for.
        if let Some(mut known) = self.known.try_lock()
            && !self.shared.persistence.is_loading()
            && known.at.is_none_or(|at| KEPT <= at.elapsed())
        {
            self.ask_info(&mut known, PATIENCE_AGAIN);
        }
    }

    /// Puts together what cores have brought.
    fn count(&self) {
        let (seconds, sampled) = self.board.take();
        let Counted { totals, series, keys } = &mut *self.counted.lock();
        for second in &seconds {
            totals.add(second);
            series.add(second);
        }
        sampled.into_iter().for_each(|sampled| keys.add(sampled));
    }

    /// What `INFO` says, of a core that is busy what it told before. `None`: it has not told anything yet.
    fn info(&self) -> Option<Arc<Told>> {
        let mut known = self.known.lock();
        if known.at.is_none_or(|at| FRESH <= at.elapsed()) {
            let is_whole = known.told.as_ref().is_none_or(|told| told.answers.iter().all(|answers| *answers));
            self.ask_info(&mut known, if is_whole { PATIENCE } else { PATIENCE_AGAIN });
        }
        known.told.clone()
    }

    fn ask_info(&self, known: &mut Known, patience: Duration) {
        let row = info_row();
        let Run::Everywhere { merge, .. } = row.command.run else { panic!("INFO asks every core") };
        let parts = self.board.ask(row, SECTIONS.map(<[u8]>::to_vec).into(), patience);
        let answers = parts.iter().map(Option::is_some).collect();
        known.parts.resize_with(parts.len(), || None);
        for (kept, part) in known.parts.iter_mut().zip(parts) {
            *kept = part.or(kept.take());
        }
        let parts: Option<Vec<Part>> = known.parts.iter().map(|part| part.as_ref().map(copied)).collect();
        known.told = parts.and_then(|parts| self.merged(merge, parts)).map(|info| Arc::new(Told { info, answers }));
        known.at = Some(Instant::now());
    }

    fn merged(&self, merge: Merge, parts: Vec<Part>) -> Option<String> {
        let config = self.shared.config();
        let now_ms = super::core::unix_ms();
        let mut session = Session::new(0, 0, -1, now_ms);
        let shared = &*self.shared;
        let mut view = SessionView { session: &mut session, config: &config, shared, now_ms, reconfigured: false };
        let mut out = Output::default();
        merge(&mut view, &SECTIONS, parts, &mut Reply::new(&mut out, Protocol::Resp2)).ok()?;
        // A bulk string: its length in a line of its own, itself, the end of a line.
        let reply = String::from_utf8_lossy(out.bytes());
        Some(reply.split_once("\r\n")?.1.to_string())
    }

    fn metrics(&self, format: Format) -> Answer {
        let is_loading = self.shared.persistence.is_loading();
        let info = if is_loading { None } else { self.info() };
        let body: Arc<str> = match info {
            None => metrics::render_busy(format, is_loading).into(),
            Some(told) => self.rendered(format, told),
        };
        Answer { status: 200, content_type: format.content_type(), body: body.as_bytes().into() }
    }

    /// The metrics by what `INFO` said, made once of it, however many ask meanwhile.
    fn rendered(&self, format: Format, told: Arc<Told>) -> Arc<str> {
        let mut rendered = self.rendered.lock();
        let known = &mut rendered[format as usize];
        if let Some((of, body)) = known
            && Arc::ptr_eq(of, &told)
        {
            return body.clone();
        }
        let body: Arc<str> = self.sparingly(|| {
            self.count();
            let slow_log = &self.shared.slow_log;
            let slow_log_last = slow_log.newest(1).first().map(|entry| (entry.id, entry.microseconds));
            let facts = Facts {
                slow_log_len: slow_log.len(),
                slow_log_last,
                databases: self.shared.config().databases as usize,
                spikes: self.shared.latency.last(),
                answers: told.answers.clone(),
            };
            metrics::render(format, &told.info, &self.counted.lock().totals, &facts).into()
        });
        *known = Some((told, body.clone()));
        body
    }

    fn series(&self, query: &str) -> Answer {
        let since = query.split('&').find_map(|part| part.strip_prefix("since="));
        let since = since.map_or(Ok(0), str::parse::<u64>);
        let Ok(since) = since else { return Answer::text(400, "since is no Unix time in seconds") };
        let now_ms = super::core::unix_ms();
        self.board.watch(now_ms);
        let told = self.info();
        let body = self.sparingly(|| self.series_json(since, now_ms / 1000, told.as_deref()));
        Answer { status: 200, content_type: "application/json", body: body.into() }
    }

    fn series_json(&self, since: u64, now_s: u64, told: Option<&Told>) -> String {
        self.count();
        let fields = told.map(|told| metrics::fields(&told.info)).unwrap_or_default();
        let silent = told.iter().flat_map(|told| told.answers.iter().enumerate()).filter(|(_, answers)| !**answers);
        let silent: Vec<String> = silent.map(|(core, _)| core.to_string()).collect();
        let of_core = |name: &str| {
            let number = name.strip_prefix("core").or_else(|| name.strip_prefix("loop"));
            number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
        };
        let shown = fields.iter().filter(|(name, _)| SHOWN.contains(name) || of_core(name));
        let shown: Vec<String> =
            shown.map(|(name, value)| format!("\"{name}\":{}", json_string(value.as_bytes()))).collect();
        let slow: Vec<String> = self.shared.slow_log.newest(SLOW_SHOWN).iter().map(|entry| slow_json(entry)).collect();
        let cores = self.shared.cores;
        let (points, (seconds, calls, keys)) = {
            let counted = self.counted.lock();
            (counted.series.json(since, now_s), counted.keys.top(KEYS_SHOWN))
        };
        let keys: Vec<String> = keys.iter().map(key_json).collect();
        let is_tracking = self.shared.config().latency_tracking;
        format!(
            "{{\"now\":{now_s},\"cores\":{cores},\"silent\":[{}],\"tracking\":{is_tracking},\"bins\":{},\"info\":{{{}}},\"slow\":[{}],\
             \"keys\":{{\"window\":{WINDOW_S},\"seconds\":{seconds},\"calls\":{calls},\"top\":[{}]}},\
             \"points\":{points}}}",
            silent.join(","),
            bins_json(),
            shown.join(","),
            slow.join(","),
            keys.join(","),
        )
    }
}

fn slow_json(entry: &crate::command::slowlog::Entry) -> String {
    let args: Vec<String> = entry.args.iter().map(|arg| json_string(shown(arg).as_bytes())).collect();
    format!(
        "{{\"id\":{},\"t\":{},\"us\":{},\"args\":[{}],\"peer\":{}}}",
        entry.id,
        entry.unix_s,
        entry.microseconds,
        args.join(","),
        json_string(entry.peer.as_bytes())
    )
}

fn key_json(key: &KeyCount) -> String {
    let KeyCount { db, shard, is_cut, calls, .. } = key;
    let name = json_string(shown(&key.name).as_bytes());
    format!("{{\"key\":{name},\"cut\":{is_cut},\"db\":{db},\"shard\":{shard},\"calls\":{calls}}}")
}

fn info_row() -> &'static Row {
    // By what the table calls it: clients may have been told another name.
    lookup::rows().iter().find(|row| row.name == "INFO").expect("INFO is in the table")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many visitors of their own sockets, at this moment.
    fn visitors(count: usize, now: Instant) -> (Visitors, Vec<u64>, Arc<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let socket = Arc::new(TcpStream::connect(listener.local_addr().expect("it has one")).expect("it is open"));
        let mut visitors = Visitors::default();
        let ids = (0..count).map(|_| visitors.admit(&socket, now).expect("there is room")).collect();
        (visitors, ids, socket)
    }

    #[test]
    fn who_does_not_read_makes_room_first() {
        let now = Instant::now();
        let (mut visitors, ids, socket) = visitors(CONNECTIONS_MAX, now);
        for (at, &id) in ids[..WORKED_FOR_MAX].iter().enumerate() {
            assert_eq!(visitors.begin_work(id, now), Some(true));
            visitors.note(id, Taken::More, now + Duration::from_millis(if at == 2 { 0 } else { at as u64 + 1 }));
        }
        let waits = ids[WORKED_FOR_MAX];
        assert_eq!(visitors.begin_work(waits, now + STALLED_MIN / 2), Some(false), "they have had little time");
        // The third has taken nothing for longest.
        assert_eq!(visitors.begin_work(waits, now + STALLED_MIN), Some(true));
        assert_eq!(visitors.begin_work(ids[2], now), None, "it was sent away");
        // Who comes makes the next one go, and not the oldest of those who have done nothing wrong.
        let later = now + STALLED_MIN + Duration::from_millis(1);
        let first = visitors.admit(&socket, later).expect("there is room");
        assert_eq!(visitors.visitors.len(), CONNECTIONS_MAX);
        let second = visitors.admit(&socket, later).expect("there is room");
        assert!([ids[0], ids[2]].iter().all(|gone| visitors.visitors.iter().all(|visitor| visitor.id != *gone)));
        // Nobody is stalled now: the oldest without work goes.
        visitors.admit(&socket, now).expect("there is room");
        let there: Vec<u64> = visitors.visitors.iter().map(|visitor| visitor.id).collect();
        assert!(!there.contains(&ids[WORKED_FOR_MAX + 1]) && there.contains(&first) && there.contains(&second));
    }

    #[test]
    fn who_has_its_answer_holds_no_place() {
        let now = Instant::now();
        let (mut visitors, ids, _socket) = visitors(WORKED_FOR_MAX + 1, now);
        let (last, working) = ids.split_last().expect("there are some");
        for &id in working {
            assert_eq!(visitors.begin_work(id, now), Some(true));
        }
        let much_later = now + ANSWERED;
        assert_eq!(visitors.begin_work(*last, much_later), Some(false), "who is worked for has not stalled");
        visitors.note(working[3], Taken::More, now);
        visitors.note(working[3], Taken::All, now);
        assert_eq!(visitors.begin_work(*last, now), Some(true));
    }

    /// Longer than anything takes.
    const ANSWERED: Duration = Duration::from_secs(3600);
}
