//! Random command streams to Corering and to Debian's redis-server: every reply must be the same.
//!
//! `grammar/` says what is sent and which differences are allowed, `generate.rs` makes commands from a seed, this
//! file drives: the same bytes go to every server, one by one or pipelined, over a RESP2 and a RESP3 connection each.
//! Every thousand commands the whole keyspace is compared. A difference is shrunk to the shortest stream that still
//! shows it and printed as a transcript.
//!
//! `sweep.rs` does the same with every boundary number in every place, one after another.
//!
//! `CORERING_DIFF_FAMILY` (strings, keys, …) draws from one family of the grammar alone: quick while one is written.
//! `CORERING_DIFF_SECONDS` sets the length of the main run (default 40), `CORERING_DIFF_SEED` its seed (a number or
//! `random`), `CORERING_TEST_SERVER` and `CORERING_TEST_REDIS` the binaries.
#![allow(clippy::disallowed_methods, reason = "tests wait and measure by the clock")]

#[path = "../server/client.rs"]
mod client;
mod compare;
mod coverage;
mod generate;
mod grammar;
#[path = "../server/process.rs"]
mod process;
mod sweep;

use client::{Client, Value, encode, show_command};
use compare::{Mode, Reply, same};
use generate::{Generator, Random, Step};
use grammar::FAMILIES;
use process::{Kind, Server};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SECONDS_DEFAULT: u64 = 40;

/// The seed of a run that names none: CI repeats itself, campaigns don't.
const SEED_DEFAULT: u64 = 20_261_121;

/// A keyspace starts empty again after this many commands: shrinking a short history is quick.
const HISTORY_LEN_MAX: usize = 4_000;

/// After this many commands all keys are compared.
const COMPARE_EVERY: usize = 1_000;

const PIPELINE_LEN_MAX: usize = 40;

/// Databases that the grammar writes to, and the last one.
const DATABASES: [&str; 4] = ["0", "1", "2", "15"];

/// Different bugs shown per run.
const DIFFERENCES_MAX: usize = 12;

/// What shrinking one difference may take.
const SHRINK_SECONDS_MAX: u64 = 60;

/// What the family `encodings` sets, as it is at the start.
const ENCODINGS: &[&str] = &[
    "CONFIG SET hash-max-listpack-entries 128 hash-max-listpack-value 64 set-max-intset-entries 512",
    "CONFIG SET zset-max-listpack-entries 128 zset-max-listpack-value 64 list-max-listpack-size -2",
    "CONFIG SET stream-node-max-entries 100 stream-node-max-bytes 4096 hll-sparse-max-bytes 3000",
];

/// A key that a command gave milliseconds to live is gone after this: by then every server has answered that command.
const EXPIRED_AFTER_MS: u64 = 25;

/// Compressors differ in what they make of a text; and where Redis does not look at payloads closely, it takes broken
/// ones, and may end when it meets them.
const COMPARABLE: &[&str] = &["--rdbcompression", "no", "--sanitize-dump-payload", "yes"];

/// The oracle has ended in runs that nothing was wrong with; a test in which it does so more often fails.
const LOSSES_MAX: usize = 2;

/// What a server takes to end once its connections are closed.
const ENDING_MS_MAX: u64 = 10_000;

/// A command on one of the two connections.
#[derive(Clone)]
struct Sent {
    connection: usize,
    step: Step,
}

impl Sent {
    fn shown(&self) -> String {
        format!("    {}| {}", self.connection + 2, show_command(&self.step.arguments))
    }
}

/// A server with its two connections: RESP2 and RESP3.
struct Party {
    server: Server,
    arguments: Vec<String>,
    connections: [Client; 2],
}

impl Party {
    fn start(kind: Kind, arguments: &[&str]) -> Party {
        let server = Server::start(kind, arguments);
        let connections = connections(&server).unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
        Party { server, arguments: arguments.iter().map(ToString::to_string).collect(), connections }
    }

    /// New connections, an empty keyspace, the encodings as at the start.
    fn reset(&mut self) -> std::io::Result<()> {
        self.connections = connections(&self.server)?;
        for command in ["FLUSHALL"].iter().chain(ENCODINGS) {
            let reply = self.connections[0].call(&command.split(' ').collect::<Vec<_>>())?;
            assert_eq!(reply, Value::Simple(b"OK".to_vec()), "{command} on {}", self.server.kind.name());
        }
        Ok(())
    }

    fn read(&mut self, connection: usize) -> Result<Reply, String> {
        match self.connections[connection].read_raw() {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) if self.has_ended() => Err(format!("the server has ended; it said:\n{}", self.server.output())),
            Ok(None) => Err(format!("the connection closed; the server has said:\n{}", self.server.output())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether it ends, as one does that has closed a connection because of a fault: it writes a report meanwhile.
    fn has_ended(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_millis(ENDING_MS_MAX);
        while self.server.is_alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        !self.server.is_alive()
    }
}

fn connections(server: &Server) -> std::io::Result<[Client; 2]> {
    let resp2 = Client::connect(server.port)?;
    let mut resp3 = Client::connect(server.port)?;
    resp3.call(&["HELLO", "3"])?;
    Ok([resp2, resp3])
}

/// Where two servers parted.
struct Difference {
    /// The index of the server. 0: the oracle gave no answer, and `theirs` is why.
    party: usize,
    theirs: String,
    ours: String,
}

/// A command from a text in which KEY stands for a key.
fn reading_step(text: &str, key: &[u8], mode: Mode) -> Step {
    let words = text.split(' ').map(|word| if word == "KEY" { key.to_vec() } else { word.as_bytes().to_vec() });
    Step { arguments: words.collect(), mode, expiring: false }
}

struct Duel {
    /// The oracle first.
    parties: Vec<Party>,
    /// Since the last empty keyspace.
    history: Vec<Sent>,
    commands: usize,
    /// How often the oracle has ended.
    losses: usize,
}

impl Duel {
    fn new(parties: Vec<Party>) -> Duel {
        Duel { parties, history: Vec::new(), commands: 0, losses: 0 }
    }

    fn reset(&mut self) {
        for party in &mut self.parties {
            party.reset().unwrap_or_else(|error| panic!("{}: {error}", party.server.kind.name()));
        }
        self.history.clear();
    }

    /// Sends steps in one write to every party and compares the replies. On a difference the history ends with the
    /// command that showed it.
    fn send(&mut self, connection: usize, steps: &[Step]) -> Result<Vec<Value>, Difference> {
        let bytes: Vec<u8> = steps.iter().flat_map(|step| encode(&step.arguments)).collect();
        for party in &mut self.parties {
            // A server that has gone shows when its reply is read.
            let _ = party.connections[connection].send_raw(&bytes);
        }
        let mut values = Vec::new();
        for step in steps {
            self.history.push(Sent { connection, step: step.clone() });
            self.commands += 1;
            let theirs = match self.parties[0].read(connection) {
                Ok(reply) => reply,
                Err(theirs) => return Err(Difference { party: 0, theirs, ours: String::new() }),
            };
            let mut difference = None;
            for (party, other) in self.parties.iter_mut().enumerate().skip(1) {
                let ours = other.read(connection);
                if difference.is_none() && !ours.as_ref().is_ok_and(|ours| same(step.mode, &theirs, ours)) {
                    let ours = ours.map_or_else(|error| format!("({error})"), |(value, _)| value.to_string());
                    difference = Some(Difference { party, theirs: theirs.0.to_string(), ours });
                }
            }
            if let Some(difference) = difference {
                return Err(difference);
            }
            values.push(theirs.0);
        }
        Ok(values)
    }

    fn exact(&mut self, connection: usize, arguments: &[&[u8]], mode: Mode) -> Result<Value, Difference> {
        let arguments = arguments.iter().map(|argument| argument.to_vec()).collect();
        let mut values = self.send(connection, &[Step { arguments, mode, expiring: false }])?;
        Ok(values.pop().expect("one step has one reply"))
    }

    /// Every key of every database that is in use: type, encoding, time to live, value.
    fn compare_keyspaces(&mut self) -> Result<(), Difference> {
        for database in DATABASES {
            self.exact(0, &[b"SELECT", database.as_bytes()], Mode::Exact)?;
            self.exact(0, &[b"DBSIZE"], Mode::Exact)?;
            let Value::Array(keys) = self.exact(0, &[b"KEYS", b"*"], Mode::AnyOrder)? else {
                panic!("KEYS replies with an array");
            };
            for key in keys {
                let Value::Bulk(key) = key else { panic!("a key is a bulk") };
                let Value::Simple(kind) = self.exact(0, &[b"TYPE", &key], Mode::Exact)? else {
                    panic!("TYPE replies with a simple string");
                };
                self.exact(0, &[b"OBJECT", b"ENCODING", &key], Mode::Exact)?;
                self.exact(0, &[b"PTTL", &key], Mode::Time)?;
                let kind = String::from_utf8_lossy(&kind).into_owned();
                let (_, reading, mode) = FAMILIES
                    .iter()
                    .flat_map(|family| family.values)
                    .find(|(name, ..)| *name == kind)
                    .unwrap_or_else(|| panic!("no family says how to read a {kind}"));
                self.send(0, &[reading_step(reading, &key, *mode)])?;
            }
        }
        self.exact(0, &[b"SELECT", b"0"], Mode::Exact).map(|_| ())
    }

    /// One round: a batch on one connection, then what time and the count ask for.
    fn round(&mut self, generator: &Generator, random: &mut Random) -> Result<(), Difference> {
        let connection = random.below(2);
        let length = if random.below(3) == 0 { 1 } else { 1 + random.below(PIPELINE_LEN_MAX) };
        let mut steps: Vec<Step> = Vec::new();
        while steps.len() < length {
            steps.extend(generator.step(random).accompanied());
            if steps.last().is_some_and(|step| step.expiring) {
                break;
            }
        }
        let before = self.commands / COMPARE_EVERY;
        self.send(connection, &steps)?;
        if let Some(step) = steps.last().filter(|step| step.expiring) {
            let key = step.arguments[1].clone();
            self.wait_and_touch(connection, &key)?;
        }
        if before != self.commands / COMPARE_EVERY {
            self.compare_keyspaces()?;
        }
        if self.history.len() > HISTORY_LEN_MAX {
            self.reset();
        }
        Ok(())
    }

    fn wait_and_touch(&mut self, connection: usize, key: &[u8]) -> Result<(), Difference> {
        std::thread::sleep(Duration::from_millis(EXPIRED_AFTER_MS));
        self.exact(connection, &[b"EXISTS", key], Mode::Exact).map(|_| ())
    }

    /// Whether a history, sent one by one to the oracle and one other, ends in a difference; if so, what it shows.
    fn replay(&mut self, party: usize, history: &[Sent]) -> Option<(String, String)> {
        for index in [0, party] {
            if self.parties[index].reset().is_err() {
                self.revive(index);
            }
        }
        for (index, sent) in history.iter().enumerate() {
            let bytes = encode(&sent.step.arguments);
            let mut replies = Vec::new();
            for index in [0, party] {
                let _ = self.parties[index].connections[sent.connection].send_raw(&bytes);
                replies.push(self.parties[index].read(sent.connection));
            }
            if sent.step.expiring {
                std::thread::sleep(Duration::from_millis(EXPIRED_AFTER_MS));
            }
            let ours = replies.pop().expect("two parties were asked");
            let theirs = replies.pop()?.ok()?;
            let agreed = ours.as_ref().is_ok_and(|ours| same(sent.step.mode, &theirs, ours));
            if !agreed {
                let ours = ours.map_or_else(|error| format!("({error})"), |(value, _)| value.to_string());
                // A difference on the way is another one than the one looked for.
                return (index + 1 == history.len()).then(|| (theirs.0.to_string(), ours));
            }
        }
        None
    }

    fn revive(&mut self, index: usize) {
        let kind = self.parties[index].server.kind;
        let arguments = std::mem::take(&mut self.parties[index].arguments);
        self.parties[index] = Party::start(kind, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Whether it is no difference: the oracle has ended, by a fault of its own. Seldom; then another goes on.
    fn is_loss(&mut self, difference: &Difference) -> bool {
        if difference.party != 0 {
            return false;
        }
        self.losses += 1;
        let commands: Vec<String> = self.history.iter().rev().take(PIPELINE_LEN_MAX).map(Sent::shown).collect();
        let said =
            format!("the oracle is lost; last, the latest first:\n{}\n{}", commands.join("\n"), difference.theirs);
        eprintln!("{said}\n");
        assert!(self.losses <= LOSSES_MAX, "{said}");
        self.begin_again();
        true
    }

    /// After a difference: new connections, an empty keyspace, and a server where one has ended.
    fn begin_again(&mut self) {
        for index in 0..self.parties.len() {
            if self.parties[index].reset().is_err() {
                self.revive(index);
            }
        }
        self.history.clear();
    }

    /// The shortest history found that still ends in the difference, and what it shows then.
    fn shrink(&mut self, difference: &Difference) -> Option<(Vec<Sent>, String, String)> {
        let deadline = Instant::now() + Duration::from_secs(SHRINK_SECONDS_MAX);
        let mut best = self.history.clone();
        let mut shown = self.replay(difference.party, &best)?;
        let mut chunk = best.len() / 2;
        while chunk > 0 && Instant::now() < deadline {
            let mut start = 0;
            // The last command is the one that shows it and stays.
            while start + 1 < best.len() && Instant::now() < deadline {
                let end = (start + chunk).min(best.len() - 1);
                let shorter = [&best[..start], &best[end..]].concat();
                match self.replay(difference.party, &shorter) {
                    Some(now) => (best, shown) = (shorter, now),
                    None => start = end,
                }
            }
            chunk /= 2;
        }
        Some((best, shown.0, shown.1))
    }

    /// A difference as people can read and replay it.
    fn report(&mut self, difference: &Difference) -> String {
        const SHOWN_MAX: usize = 30;
        let name = self.parties[difference.party].server.kind.name();
        let last = self.history.last().map(|sent| show_command(&sent.step.arguments)).unwrap_or_default();
        let (history, theirs, ours, how) = match self.shrink(difference) {
            Some((history, theirs, ours)) => (history, theirs, ours, "shrunk"),
            None => {
                let how = "does not show again one by one: the end of the stream";
                (self.history.clone(), difference.theirs.clone(), difference.ours.clone(), how)
            }
        };
        let start = history.len().saturating_sub(SHOWN_MAX);
        let lines: Vec<String> = history[start..].iter().map(Sent::shown).collect();
        let shorten = |text: String| text.chars().take(600).collect::<String>();
        format!(
            "{name} differs in {last}\n  {how}:\n{}\n  redis:    {}\n  corering: {}",
            lines.join("\n"),
            shorten(theirs),
            shorten(ours)
        )
    }

    /// Runs until `seconds` are over, or what was found is enough; the differences found, one per command name and kind
    /// of answer.
    fn run(&mut self, seed: u64, seconds: u64, is_enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let generator = Generator::new();
        let mut random = Random::new(seed);
        let mut reports = Vec::new();
        let mut known = BTreeSet::new();
        self.reset();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(seconds) && !is_enough(&reports) {
            let Err(difference) = self.round(&generator, &mut random) else { continue };
            if self.is_loss(&difference) {
                continue;
            }
            let verb = self.history.last().map(|sent| sent.step.arguments[0].to_ascii_uppercase()).unwrap_or_default();
            let head = |text: &str, length: usize| text.chars().take(length).collect::<String>();
            if known.insert((verb, head(&difference.theirs, 1), head(&difference.ours, 16))) {
                let report = self.report(&difference);
                eprintln!("seed {seed}: {report}\n");
                reports.push(report);
            }
            self.begin_again();
        }
        eprintln!("seed {seed}: {} commands compared, {} differences", self.commands, reports.len());
        reports
    }
}

fn seconds() -> u64 {
    std::env::var("CORERING_DIFF_SECONDS").ok().map_or(SECONDS_DEFAULT, |text| {
        text.parse().unwrap_or_else(|_| panic!("CORERING_DIFF_SECONDS is not a number: {text}"))
    })
}

fn seed() -> u64 {
    match std::env::var("CORERING_DIFF_SEED") {
        Err(_) => SEED_DEFAULT,
        Ok(text) if text == "random" => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
            now.as_nanos() as u64
        }
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("CORERING_DIFF_SEED is not a number: {text}")),
    }
}

#[test]
fn every_reply_is_redis_own() {
    let mut parties = vec![Party::start(Kind::Redis, COMPARABLE)];
    parties.extend([1, 2, 4].map(|shards| Party::start(Kind::Corering { shards }, COMPARABLE)));
    let seed = seed();
    let reports = Duel::new(parties).run(seed, seconds(), |reports| reports.len() == DIFFERENCES_MAX);
    assert!(reports.is_empty(), "seed {seed}: {} differences:\n\n{}\n", reports.len(), reports.join("\n\n"));
}

/// The control: with nothing to find, nothing is found.
#[test]
fn redis_agrees_with_itself() {
    const SECONDS: u64 = 4;
    let parties = vec![Party::start(Kind::Redis, COMPARABLE), Party::start(Kind::Redis, COMPARABLE)];
    let reports = Duel::new(parties).run(7, SECONDS, |reports| !reports.is_empty());
    assert!(reports.is_empty(), "{}", reports.join("\n\n"));
}

/// The comparison can fail: a server without GETDEL, and one that refuses long strings, are told apart.
#[test]
fn planted_differences_are_found_and_shrunk() {
    /// On a busy machine; both come up within some seconds on a quiet one.
    const SECONDS: u64 = 300;
    let oracle = || Party::start(Kind::Redis, COMPARABLE);
    let with = |arguments: &[&'static str]| Party::start(Kind::Redis, &[COMPARABLE, arguments].concat());
    let crippled = with(&["--rename-command", "GETDEL", ""]);
    let is_noticed = |reports: &[String]| reports.iter().any(|report| report.contains("GETDEL"));
    let reports = Duel::new(vec![oracle(), crippled]).run(1, SECONDS, is_noticed);
    assert!(is_noticed(&reports), "a missing command was not noticed: {reports:?}");

    // With fewer databases SELECT, MOVE, COPY and SWAPDB part ways, each after a few commands.
    let small = with(&["--databases", "2"]);
    let reports = Duel::new(vec![oracle(), small]).run(2, SECONDS, |reports| reports.len() > 1);
    assert!(reports.len() > 1, "fewer databases were not noticed: {reports:?}");
    assert!(reports.iter().all(|report| report.lines().count() < 12), "not shrunk: {}", reports.join("\n\n"));
}
