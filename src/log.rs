//! The operator's log: `tracing` events as lines in Redis' format, on standard output or in a file.
//!
//! ```text
//! 4711:M 21 Nov 2026 02:20:59.209 * Ready to accept connections
//! pid  role  local time           level: . debug  - verbose  * notice  # warning
//! ```
//!
//! A core never writes: an event becomes a line in a bounded queue, and one thread writes what is there, in batches.
//! When the queue is full the line is dropped and counted, and the log says so as soon as it can. The file is opened
//! for each batch, so that it may be moved away or deleted while the server runs. Levels of `tracing` map to Redis':
//! `error` and `warn` are warnings, `info` is notice, `debug` is verbose, `trace` is debug.
#![allow(clippy::disallowed_methods, reason = "the log tells the time, and ends its waiting")]

use crate::config::{LogLevel, SyslogFacility};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// Lines that may wait for the writer. At 1 KiB each the queue stays below 8 MiB.
const QUEUE_LINES_MAX: usize = 8192;
/// Longest message, as in Redis; the rest is cut off.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Lines written between opening the file and closing it.
const BATCH_LINES_MAX: usize = 512;
/// How long [`flush`] waits for the writer: a full disk must not keep the server from ending.
const FLUSH_MS_MAX: u64 = 2000;

/// The writer's thread: what fails there must not wait for it.
pub const THREAD_NAME: &str = "log";

/// What the process is, as one letter in every line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Accepts writes.
    Primary = b'M' as isize,
    /// Follows another server.
    Replica = b'S' as isize,
    /// Watches over servers.
    Sentinel = b'X' as isize,
}

/// Where the log goes.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The least important lines that are written.
    pub level: LogLevel,
    /// The file, absolute; none: standard output.
    pub file: Option<PathBuf>,
    /// Also to syslog: name of the server and facility.
    pub syslog: Option<(String, SyslogFacility)>,
}

/// One event, on its way to the writer.
struct Line {
    time: Timestamp,
    role: u8,
    level: LogLevel,
    message: String,
}

/// What the writer gets.
enum Entry {
    Line(Line),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// What cores and the writer share.
struct Shared {
    queue: SyncSender<Entry>,
    level: AtomicU8,
    role: AtomicU8,
    dropped: AtomicU64,
    /// Where the writer writes, for [`write_now`].
    file: Option<PathBuf>,
}

static LOG: OnceLock<Arc<Shared>> = OnceLock::new();

/// Starts the writer and makes this the log of the process. To be called once, before the first event and after the
/// process has gone to the background.
///
/// # Errors
/// The file cannot be opened for appending, or the thread cannot be started.
pub fn start(options: Options) -> io::Result<()> {
    if let Some(file) = &options.file {
        open(file)?; // Later it could only be counted.
    }
    let (queue, entries) = sync_channel(QUEUE_LINES_MAX);
    let shared = Arc::new(Shared {
        queue,
        level: AtomicU8::new(options.level as u8),
        role: AtomicU8::new(Role::Primary as u8),
        dropped: AtomicU64::new(0),
        file: options.file.clone(),
    });
    let writer = Writer { options, entries, shared: shared.clone(), pid: std::process::id(), syslog: None };
    std::thread::Builder::new().name(THREAD_NAME.into()).spawn(move || writer.run())?;
    tracing::subscriber::set_global_default(Events(shared.clone())).map_err(io::Error::other)?;
    assert!(LOG.set(shared).is_ok(), "the log is started once");
    Ok(())
}

/// Changes how much is written, at once and for all cores (`CONFIG SET loglevel`).
pub fn set_level(level: LogLevel) {
    let Some(shared) = LOG.get() else { return };
    if shared.level.swap(level as u8, Ordering::Relaxed) != level as u8 {
        // Each place that logs remembers whether it is heard: it has to ask again.
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Changes the letter of the following lines.
pub fn set_role(role: Role) {
    if let Some(shared) = LOG.get() {
        shared.role.store(role as u8, Ordering::Relaxed);
    }
}

/// Waits until what was logged so far is written, at most `FLUSH_MS_MAX`; for the end of the process.
pub fn flush() {
    let Some(shared) = LOG.get() else { return };
    let (done, written) = sync_channel(1);
    let deadline = std::time::Instant::now() + Duration::from_millis(FLUSH_MS_MAX);
    let mut entry = Entry::Flush(done);
    // The queue may be full: there is no sending with a deadline.
    while let Err(TrySendError::Full(back)) = shared.queue.try_send(entry) {
        if deadline <= std::time::Instant::now() {
            return;
        }
        entry = back;
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = written.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now()));
}

/// Whether who reads standard error reads the log there too: both are the same terminal, file or pipe.
pub fn is_on_stderr() -> bool {
    let Some(shared) = LOG.get() else { return false };
    let log = match &shared.file {
        Some(file) => std::fs::metadata(file),
        None => metadata(io::stdout().as_fd()),
    };
    match (log, metadata(io::stderr().as_fd())) {
        (Ok(log), Ok(stderr)) => (log.dev(), log.ino()) == (stderr.dev(), stderr.ino()),
        _ => false, // Told twice is better than not at all.
    }
}

fn metadata(fd: BorrowedFd<'_>) -> io::Result<std::fs::Metadata> {
    File::from(fd.try_clone_to_owned()?).metadata()
}

/// Writes a warning at once and on this thread, past the queue: the last words of a process whose threads cannot be
/// trusted any more. `more` follows as it is, in lines of its own. Does nothing before [`start`].
pub fn write_now(message: &str, more: &str) {
    let Some(shared) = LOG.get() else { return };
    let mut line = Line {
        time: Timestamp::now(),
        role: shared.role.load(Ordering::Relaxed),
        level: LogLevel::Warning,
        message: String::new(),
    };
    let _ = OneLine(&mut line.message).write_str(message); // What does not fit is cut off.
    let mut text = String::new();
    format(&mut text, std::process::id(), &line, &TimeZone::system());
    text.push_str(more);
    // Where this fails there is nobody left to tell.
    let _ = match &shared.file {
        Some(file) => open(file).and_then(|mut file| file.write_all(text.as_bytes())),
        None => io::stdout().write_all(text.as_bytes()),
    };
}

/// The receiver of events.
struct Events(Arc<Shared>);

impl Events {
    fn level(&self) -> LogLevel {
        LEVELS[usize::from(self.0.level.load(Ordering::Relaxed))]
    }
}

/// The levels by number.
const LEVELS: [LogLevel; 4] = [LogLevel::Debug, LogLevel::Verbose, LogLevel::Notice, LogLevel::Warning];

/// The level in Redis' words.
fn level_of(level: &Level) -> LogLevel {
    match *level {
        Level::ERROR | Level::WARN => LogLevel::Warning,
        Level::INFO => LogLevel::Notice,
        Level::DEBUG => LogLevel::Verbose,
        Level::TRACE => LogLevel::Debug,
    }
}

impl Subscriber for Events {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.level() {
            LogLevel::Debug => LevelFilter::TRACE,
            LogLevel::Verbose => LevelFilter::DEBUG,
            LogLevel::Notice => LevelFilter::INFO,
            LogLevel::Warning => LevelFilter::WARN,
        })
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.level() <= level_of(metadata.level())
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message::default();
        event.record(&mut message);
        let line = Line {
            time: Timestamp::now(),
            role: self.0.role.load(Ordering::Relaxed),
            level: level_of(event.metadata().level()),
            message: message.text,
        };
        if self.0.queue.try_send(Entry::Line(line)).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    // Spans are not logged.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The text of an event; its fields follow as ` name=value`.
#[derive(Default)]
struct Message {
    text: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut out = OneLine(&mut self.text);
        // Writing into a string fails only where OneLine says that it is full.
        let _ = if field.name() == "message" { write!(out, "{value:?}") } else { write!(out, " {field}={value:?}") };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Keeps a message to one line and [`MESSAGE_BYTES_MAX`]: what clients send may stand in it, and must not be taken for
/// lines of the server.
struct OneLine<'a>(&'a mut String);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if MESSAGE_BYTES_MAX < self.0.len() + character.len_utf8() {
                return Err(fmt::Error);
            }
            match character {
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                control if control.is_control() => write!(self.0, "\\x{:02x}", control as u32)?,
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

/// The thread that writes.
struct Writer {
    options: Options,
    entries: Receiver<Entry>,
    shared: Arc<Shared>,
    pid: u32,
    syslog: Option<UnixDatagram>,
}

impl Writer {
    fn run(mut self) {
        let mut lines = Vec::new();
        let mut flushes = Vec::new();
        while let Ok(entry) = self.next() {
            lines.clear();
            flushes.clear();
            let mut next = entry;
            while let Some(entry) = next {
                match entry {
                    Entry::Line(line) => lines.push(line),
                    Entry::Flush(done) => flushes.push(done),
                }
                next = if lines.len() < BATCH_LINES_MAX { self.entries.try_recv().ok() } else { None };
            }
            let dropped = self.shared.dropped.swap(0, Ordering::Relaxed);
            if 0 < dropped {
                let message = format!("{dropped} log lines were dropped: they came faster than they could be written");
                let role = self.shared.role.load(Ordering::Relaxed);
                lines.push(Line { time: Timestamp::now(), role, level: LogLevel::Warning, message });
            }
            if self.write(&lines).is_err() {
                let lost = lines.len() as u64 - u64::from(0 < dropped) + dropped;
                self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
            }
            for done in &flushes {
                let _ = done.send(()); // Nobody waits any more.
            }
        }
    }

    /// The next entry; none where lines were dropped after the last one came, and the log has to say so.
    fn next(&self) -> Result<Option<Entry>, RecvTimeoutError> {
        if self.shared.dropped.load(Ordering::Relaxed) == 0 {
            return self.entries.recv().map(Some).map_err(|_| RecvTimeoutError::Disconnected);
        }
        match self.entries.recv_timeout(Duration::from_secs(1)) {
            Ok(entry) => Ok(Some(entry)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let zone = TimeZone::system();
        let mut text = String::new();
        for line in lines {
            format(&mut text, self.pid, line, &zone);
        }
        if let Some((ident, facility)) = self.options.syslog.clone() {
            lines.iter().for_each(|line| self.write_syslog(&ident, facility, line, &zone));
        }
        match &self.options.file {
            Some(file) => open(file)?.write_all(text.as_bytes()),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()
            }
        }
    }

    /// Sends one line to the system's log daemon. There is nobody to tell where that fails.
    fn write_syslog(&mut self, ident: &str, facility: SyslogFacility, line: &Line, zone: &TimeZone) {
        if self.syslog.is_none() {
            self.syslog = UnixDatagram::unbound().and_then(|socket| socket.connect("/dev/log").map(|()| socket)).ok();
        }
        let Some(socket) = &self.syslog else { return };
        let packet = syslog_packet(ident, facility, self.pid, line, zone);
        if socket.send(packet.as_bytes()).is_err() {
            self.syslog = None; // The daemon may have been restarted: connected anew for the next line.
        }
    }
}

fn open(file: &PathBuf) -> io::Result<File> {
    File::options().append(true).create(true).open(file)
}

/// Writes a line as Redis does.
fn format(text: &mut String, pid: u32, line: &Line, zone: &TimeZone) {
    let time = line.time.to_zoned(zone.clone()).strftime("%d %b %Y %H:%M:%S%.3f").to_string();
    let mark = match line.level {
        LogLevel::Debug => '.',
        LogLevel::Verbose => '-',
        LogLevel::Notice => '*',
        LogLevel::Warning => '#',
    };
    let role = char::from(line.role);
    writeln!(text, "{pid}:{role} {time} {mark} {}", line.message).expect("a string takes everything");
}

/// A packet of the syslog protocol, as the C library sends it: priority, time, name and pid, message.
fn syslog_packet(ident: &str, facility: SyslogFacility, pid: u32, line: &Line, zone: &TimeZone) -> String {
    let facility = match facility {
        SyslogFacility::User => 1,
        SyslogFacility::Local0 => 16,
        SyslogFacility::Local1 => 17,
        SyslogFacility::Local2 => 18,
        SyslogFacility::Local3 => 19,
        SyslogFacility::Local4 => 20,
        SyslogFacility::Local5 => 21,
        SyslogFacility::Local6 => 22,
        SyslogFacility::Local7 => 23,
    };
    let severity = match line.level {
        LogLevel::Debug => 7,
        LogLevel::Verbose => 6,
        LogLevel::Notice => 5,
        LogLevel::Warning => 4,
    };
    let time = line.time.to_zoned(zone.clone()).strftime("%b %e %H:%M:%S").to_string();
    format!("<{}>{time} {ident}[{pid}]: {}", facility * 8 + severity, line.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::subscriber::with_default;

    fn at(time: &str, level: LogLevel, message: &str) -> Line {
        Line { time: time.parse().expect("a time"), role: b'M', level, message: message.into() }
    }

    /// Events as the cores make them, and the queue they go to.
    fn events(level: LogLevel, lines_max: usize) -> (Events, Receiver<Entry>) {
        let (queue, entries) = sync_channel(lines_max);
        let shared = Shared {
            queue,
            level: AtomicU8::new(level as u8),
            role: AtomicU8::new(Role::Replica as u8),
            dropped: AtomicU64::new(0),
            file: None,
        };
        (Events(Arc::new(shared)), entries)
    }

    fn messages(entries: &Receiver<Entry>) -> Vec<(LogLevel, String)> {
        let lines = entries.try_iter().map(|entry| match entry {
            Entry::Line(line) => (line.level, line.message),
            Entry::Flush(_) => panic!("nobody flushes here"),
        });
        lines.collect()
    }

    #[test]
    fn lines_look_as_redis_writes_them() {
        let line = at("2026-11-21T02:20:59.209Z", LogLevel::Notice, "Ready to accept connections");
        let mut text = String::new();
        format(&mut text, 4711, &line, &TimeZone::UTC);
        assert_eq!(text, "4711:M 21 Nov 2026 02:20:59.209 * Ready to accept connections\n");
        text.clear();
        let line = at("2026-02-03T23:00:00.0005Z", LogLevel::Warning, "x");
        format(&mut text, 1, &line, &TimeZone::fixed(jiff::tz::offset(2)));
        assert_eq!(text, "1:M 04 Feb 2026 01:00:00.000 # x\n");
        let packet = syslog_packet("redis", SyslogFacility::Local0, 7, &line, &TimeZone::UTC);
        assert_eq!(packet, "<132>Feb  3 23:00:00 redis[7]: x");
    }

    #[test]
    fn levels_are_filtered_and_mapped() {
        let (events, entries) = events(LogLevel::Verbose, 16);
        with_default(events, || {
            tracing::error!("broken {}", 1);
            tracing::warn!("careful");
            tracing::info!(core = 3, name = "a b", "told");
            tracing::debug!("much");
            tracing::trace!("everything");
        });
        let expected = [
            (LogLevel::Warning, "broken 1"),
            (LogLevel::Warning, "careful"),
            (LogLevel::Notice, "told core=3 name=a b"),
            (LogLevel::Verbose, "much"),
        ];
        assert_eq!(messages(&entries), expected.map(|(level, text)| (level, text.to_string())));
    }

    #[test]
    fn a_message_stays_one_line_and_bounded() {
        let (events, entries) = events(LogLevel::Notice, 16);
        with_default(events, || {
            tracing::info!("user said {}", "x\r\n1:M 21 Nov # forged\u{7}");
            tracing::info!("{}", "ä".repeat(5000));
        });
        let messages = messages(&entries);
        assert_eq!(messages[0].1, "user said x\\r\\n1:M 21 Nov # forged\\x07");
        assert_eq!(messages[1].1, "ä".repeat(MESSAGE_BYTES_MAX / 2));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (events, entries) = events(LogLevel::Notice, 2);
        let shared = events.0.clone();
        with_default(events, || (0..5).for_each(|number| tracing::info!("{number}")));
        assert_eq!(messages(&entries).len(), 2);
        assert_eq!(shared.dropped.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn the_log_of_the_process_changes_its_level_while_it_runs() {
        let file = std::env::temp_dir().join(format!("corering-log-{}.log", std::process::id()));
        start(Options { file: Some(file.clone()), ..Options::default() }).expect("started");
        let log = |word: &str| {
            tracing::warn!("{word} warning");
            tracing::info!("{word} notice");
            tracing::debug!("{word} verbose");
            tracing::trace!("{word} debug");
        };
        log("first");
        set_level(LogLevel::Debug);
        set_role(Role::Replica);
        log("second");
        set_level(LogLevel::Warning);
        log("third");
        flush();
        write_now("fourth\nline", "as it is\n");
        let text = std::fs::read_to_string(&file).expect("written");
        std::fs::remove_file(&file).expect("removed");
        let pid = std::process::id();
        assert!(text.contains("S ") && text.ends_with(" # fourth\\nline\nas it is\n"), "{text}");
        // Other tests may log too: only our lines are looked at.
        let heard: Vec<String> = text
            .lines()
            .filter(|line| ["first", "second", "third"].iter().any(|word| line.contains(word)))
            .map(|line| line.strip_prefix(&format!("{pid}:")).expect("the pid comes first"))
            // The role, and what follows `M 21 Nov 2026 02:20:59.209 `.
            .map(|line| format!("{}{}", &line[..1], &line[27..]))
            .collect();
        let expected = [
            "M# first warning",
            "M* first notice",
            "S# second warning",
            "S* second notice",
            "S- second verbose",
            "S. second debug",
            "S# third warning",
        ];
        assert_eq!(heard, expected, "{text}");
    }

    /// Runs a writer over what `log` logs, until all senders are gone.
    fn written(file: &std::path::Path, dropped: u64, log: impl FnOnce()) -> String {
        let (events, entries) = events(LogLevel::Notice, 4096);
        events.0.dropped.store(dropped, Ordering::Relaxed);
        let (queue, _) = sync_channel(0);
        let shared = Shared {
            queue,
            level: AtomicU8::new(0),
            role: AtomicU8::new(b'M'),
            dropped: AtomicU64::new(dropped),
            file: None,
        };
        let options = Options { file: Some(file.into()), ..Options::default() };
        let writer = Writer { options, entries, shared: Arc::new(shared), pid: 7, syslog: None };
        let thread = std::thread::spawn(move || writer.run());
        with_default(events, log);
        thread.join().expect("the writer ends when nobody can log any more");
        std::fs::read_to_string(file).unwrap_or_default()
    }

    #[test]
    fn the_file_may_be_moved_away_and_drops_are_told() {
        let directory = std::env::temp_dir().join(format!("corering-log-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the test");
        let file = directory.join("a.log");
        let text = written(&file, 3, || (0..1000).for_each(|number| tracing::info!("line {number}")));
        let told = text
            .lines()
            .filter(|line| line.ends_with("# 3 log lines were dropped: they came faster than they could be written"));
        assert_eq!(told.count(), 1, "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(" * line ")).collect();
        assert_eq!(lines.len(), 1000);
        assert!(lines.iter().enumerate().all(|(number, line)| line.ends_with(&format!(" * line {number}"))));
        assert!(lines[0].starts_with("7:S "), "{}", lines[0]);

        std::fs::rename(&file, directory.join("a.log.1")).expect("moved");
        let text = written(&file, 0, || tracing::info!("after"));
        assert!(text.ends_with(" * after\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
        std::fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_file_that_cannot_be_opened_loses_lines_but_not_the_writer() {
        let text = written(std::path::Path::new("/nonexistent/a.log"), 0, || tracing::info!("lost"));
        assert_eq!(text, "");
    }
}
