//! `redis` (and `server`): what a script may ask of its server, and what it is told where it asks wrongly.
//!
//! The functions are run by [`Running`], the host of a script while it runs; commands by a [`Caller`].

use super::convert::{push_counted_error, push_error, push_reply};
use super::work::{Work, full};
use super::{args, cjson, cmsgpack, functions};
use crate::resp::{Error, Output, Protocol};
use crate::sys::lua::{BYTES_PER_INSTRUCTION, Host, Kind, Stack, Thrown};
use crate::value::number::format_double;
use smallvec::SmallVec;

/// Numbers of functions.
const CALL: u32 = 0;
const PCALL: u32 = 1;
const LOG: u32 = 2;
const SETRESP: u32 = 3;
const ERROR_REPLY: u32 = 4;
const STATUS_REPLY: u32 = 5;
const SHA1HEX: u32 = 6;
const SET_REPL: u32 = 7;
const REPLICATE_COMMANDS: u32 = 8;
const BREAKPOINT: u32 = 9;
const DEBUG: u32 = 10;
const ACL_CHECK_CMD: u32 = 11;
const REGISTER_FUNCTION: u32 = 12;
const RANDOM: u32 = 13;
const RANDOM_SEED: u32 = 14;
/// `os.clock`
pub const CLOCK: u32 = 15;
/// The first of `cjson`.
pub const CJSON: u32 = 32;
/// The first of `cmsgpack`.
pub const CMSGPACK: u32 = 64;

/// Arguments of a call that need no allocation.
const ARGUMENTS: usize = 16;
/// What an instruction of Lua takes, about.
const NANOSECONDS_PER_INSTRUCTION: usize = 10;
/// So much of a word is put into a line of the log, which shows less.
const LINE_BYTES_MAX: usize = 4096;
/// The buffer of replies keeps so much.
const KEPT_BYTES: usize = 64 * 1024;

/// How a level of the log is called by scripts, and by whom it is understood: 0 to 3.
const LEVELS: [&str; 4] = ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"];
/// Where effects go; they always go everywhere.
const REPLICATIONS: [(&str, u32); 5] =
    [("REPL_NONE", 0), ("REPL_AOF", 1), ("REPL_SLAVE", 2), ("REPL_REPLICA", 2), ("REPL_ALL", 3)];

/// What came of a call.
pub enum Answer {
    /// The reply is written.
    Replied,
    /// It may not be: the script is told the text.
    Refused(Error),
    /// The script has to end here, with this text, whatever it does.
    Ends(&'static str),
}

/// Who runs what a script calls.
pub trait Caller {
    /// Runs a command and writes its reply, in this protocol.
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, out: &mut Output) -> Answer;

    /// Whether the caller's user may run it; none: there is no such command.
    fn may_call(&mut self, args: &[&[u8]]) -> Option<bool>;

    /// What the last call took, in nanoseconds.
    fn took_nanoseconds(&mut self) -> u64 {
        0
    }

    /// Whether lines of this level, from 0, the least, are written.
    fn logs(&mut self, _level: usize) -> bool {
        true
    }

    /// Writes a line of the server's log, at a level from 0, the least. Text: the script ends with it.
    fn log(&mut self, level: usize, line: &[u8]) -> Option<&'static str>;

    /// Some time has passed. Text: the script ends with it.
    fn tick(&mut self) -> Option<&'static str>;

    /// An error stands in what the script returns; counted: it is that of a command, and was counted when that failed.
    fn returns_error(&mut self, _error: &Error, _is_counted: bool) {}

    /// CPU time of the process, for `os.clock`.
    fn cpu_seconds(&mut self) -> f64;
}

/// A script while it runs.
pub struct Running<'a> {
    /// Who runs what it calls.
    pub caller: &'a mut dyn Caller,
    /// The protocol in which it is told replies.
    pub protocol: Protocol,
    out: Output,
    json: cjson::Choice,
    /// As `drand48` of C keeps it.
    random: u64,
    /// The script has chosen where chance begins.
    pub is_seeded: bool,
    /// A library that is being loaded.
    pub loading: Option<functions::Loading>,
}

impl<'a> Running<'a> {
    /// One that begins.
    pub fn new(caller: &'a mut dyn Caller, random: u64) -> Running<'a> {
        Running {
            caller,
            protocol: Protocol::Resp2,
            out: Output::default(),
            json: cjson::Choice::default(),
            random,
            is_seeded: false,
            loading: None,
        }
    }

    fn call(&mut self, stack: &mut Stack<'_>, raises: bool) -> Result<usize, Thrown> {
        if let Err(text) = spell_arguments(stack) {
            push_error(stack, text.as_bytes());
            return if raises { Err(Thrown) } else { Ok(1) };
        }
        let slices: SmallVec<[&[u8]; ARGUMENTS]> =
            (1..=stack.len()).map(|at| stack.bytes(at).unwrap_or_default()).collect();
        self.out.clear_keeping(KEPT_BYTES);
        let answer = self.caller.call(&slices, self.protocol, &mut self.out);
        drop(slices);
        stack.charge(self.caller.took_nanoseconds() as usize / NANOSECONDS_PER_INSTRUCTION);
        match answer {
            Answer::Replied => {
                let len = self.out.total_bytes();
                if stack.lacks(len) {
                    return Err(full(stack));
                }
                let long: Vec<u8>;
                let reply = if self.out.long().is_empty() {
                    self.out.bytes()
                } else {
                    let pieces = std::mem::take(&mut self.out).into_pieces();
                    long = pieces.fold(Vec::with_capacity(len), |mut long, piece| {
                        long.extend_from_slice(&piece);
                        long
                    });
                    &long[..]
                };
                if BYTES_PER_INSTRUCTION <= reply.len() {
                    stack.charge(reply.len() / BYTES_PER_INSTRUCTION);
                }
                push_reply(stack, reply);
                if raises && reply.first() == Some(&b'-') { Err(Thrown) } else { Ok(1) }
            }
            Answer::Refused(error) => {
                let bytes: usize = (1..=stack.len()).map(|at| stack.raw_len(at)).sum();
                stack.charge(bytes / BYTES_PER_INSTRUCTION);
                push_counted_error(stack, error.as_bytes());
                if raises { Err(Thrown) } else { Ok(1) }
            }
            Answer::Ends(text) => Err(push_ending(stack, text)),
        }
    }

    /// What the next script begins with.
    pub fn random_after(&self, before: u64) -> u64 {
        if self.is_seeded { step(before) } else { self.random }
    }

    fn draw(&mut self) -> f64 {
        const LARGEST: f64 = 2_147_483_647.0;
        self.random = step(self.random);
        (self.random >> 17) as f64 % LARGEST / LARGEST
    }

    fn random(&mut self, stack: &mut Stack<'_>) -> Result<usize, Thrown> {
        let draw = self.draw();
        let number = match stack.len() {
            0 => draw,
            1 | 2 => {
                let last = stack.len();
                // As C casts them, to 32 bits.
                let low = if last == 1 { 1 } else { args::integer(stack, 1, "random")? as i32 };
                let high = args::integer(stack, last, "random")? as i32;
                if high < low {
                    return Err(args::wrong(stack, last, "random", "interval is empty"));
                }
                (draw * f64::from(high.wrapping_sub(low).wrapping_add(1))).floor() + f64::from(low)
            }
            _ => return Err(stack.throw("wrong number of arguments")),
        };
        stack.push_number(number);
        Ok(1)
    }

    fn log(&mut self, stack: &mut Stack<'_>) -> Result<usize, Thrown> {
        let len = stack.len();
        if len < 2 {
            return Err(raise(stack, "redis.log() requires two arguments or more."));
        }
        if !stack.is_number(1) {
            return Err(raise(stack, "First argument must be a number (log level)."));
        }
        let level = args::cut(stack.number(1));
        let Some(level) = usize::try_from(level).ok().filter(|&level| level < LEVELS.len()) else {
            return Err(raise(stack, "Invalid debug level."));
        };
        if !self.caller.logs(level) {
            return Ok(0);
        }
        let mut line = Vec::new();
        for at in 2..=len {
            stack.spell(at);
            if let Some(word) = stack.bytes(at).filter(|_| line.len() < LINE_BYTES_MAX) {
                if !line.is_empty() {
                    line.push(b' ');
                }
                line.extend_from_slice(&word[..word.len().min(LINE_BYTES_MAX)]);
            }
        }
        if let Some(text) = self.caller.log(level, &line) {
            stack.end_script(text);
            return Err(raise(stack, text));
        }
        Ok(0)
    }

    fn set_resp(&mut self, stack: &mut Stack<'_>) -> Result<usize, Thrown> {
        if stack.len() != 1 {
            return Err(raise(stack, "redis.setresp() requires one argument."));
        }
        self.protocol = match args::cut(stack.number(1)) {
            2 => Protocol::Resp2,
            3 => Protocol::Resp3,
            _ => return Err(raise(stack, "RESP version must be 2 or 3.")),
        };
        Ok(0)
    }

    fn check_command(&mut self, stack: &mut Stack<'_>) -> Result<usize, Thrown> {
        if let Err(text) = spell_arguments(stack) {
            return Err(raise(stack, text));
        }
        let slices: SmallVec<[&[u8]; ARGUMENTS]> =
            (1..=stack.len()).map(|at| stack.bytes(at).unwrap_or_default()).collect();
        let may = self.caller.may_call(&slices);
        drop(slices);
        match may {
            Some(may) => {
                stack.push_boolean(may);
                Ok(1)
            }
            None => Err(raise(stack, "Invalid command passed to redis.acl_check_cmd()")),
        }
    }
}

impl Host for Running<'_> {
    fn called(&mut self, number: u32, stack: &mut Stack<'_>) -> Result<usize, Thrown> {
        match number {
            CALL => self.call(stack, true),
            PCALL => self.call(stack, false),
            LOG => self.log(stack),
            SETRESP => self.set_resp(stack),
            ERROR_REPLY => Ok(error_reply(stack)),
            STATUS_REPLY => Ok(status_reply(stack)),
            SHA1HEX => sha1hex(stack),
            SET_REPL => set_repl(stack),
            REPLICATE_COMMANDS => {
                stack.push_boolean(true);
                Ok(1)
            }
            BREAKPOINT => {
                stack.push_boolean(false);
                Ok(1)
            }
            DEBUG => Ok(0),
            ACL_CHECK_CMD => self.check_command(stack),
            REGISTER_FUNCTION => functions::register(&mut self.loading, stack),
            RANDOM => self.random(stack),
            RANDOM_SEED => {
                self.random = seeded(args::integer(stack, 1, "randomseed")? as i32);
                self.is_seeded = true;
                Ok(0)
            }
            CLOCK => {
                stack.push_number(self.caller.cpu_seconds());
                Ok(1)
            }
            number if (CJSON..CJSON + cjson::FUNCTION_COUNT).contains(&number) => {
                let mut work = Work::new(self.caller);
                let results = cjson::called(&mut self.json, &mut work, number - CJSON, stack);
                stack.charge(work.since_tick());
                results
            }
            number if (CMSGPACK..CMSGPACK + cmsgpack::FUNCTION_COUNT).contains(&number) => {
                let mut work = Work::new(self.caller);
                let results = cmsgpack::called(&mut work, number - CMSGPACK, stack);
                stack.charge(work.since_tick());
                results
            }
            _ => panic!("a function that nobody made"),
        }
    }

    fn tick(&mut self) -> Option<&'static str> {
        self.caller.tick()
    }
}

/// What random numbers begin with in every Lua of Redis.
pub const RANDOM_START: u64 = 0x1234_abcd_330e;

fn step(random: u64) -> u64 {
    (random.wrapping_mul(0x5_deec_e66d).wrapping_add(0xb)) & ((1 << 48) - 1)
}

fn seeded(seed: i32) -> u64 {
    u64::from(seed as u32) << 16 | 0x330e
}

/// Raises that a script ends, which it does whatever it tries.
#[cold]
pub fn push_ending(stack: &mut Stack<'_>, text: &'static str) -> Thrown {
    stack.end_script(text);
    push_error(stack, text.as_bytes());
    Thrown
}

/// Raises an error of ours.
pub fn raise(stack: &mut Stack<'_>, text: &str) -> Thrown {
    push_error(stack, text.as_bytes());
    Thrown
}

/// Makes strings of all arguments; what is told where that cannot be.
fn spell_arguments(stack: &mut Stack<'_>) -> Result<(), &'static str> {
    if stack.is_empty() {
        return Err("Please specify at least one argument for this redis lib call");
    }
    for at in 1..=stack.len() {
        match stack.kind(at) {
            Kind::String => {}
            Kind::Number => {
                let text = format_double(stack.number(at));
                stack.push_bytes(text.as_bytes());
                stack.replace(at);
            }
            _ => return Err("Lua redis lib command arguments must be strings or integers"),
        }
    }
    Ok(())
}

fn error_reply(stack: &mut Stack<'_>) -> usize {
    if stack.len() != 1 || stack.kind(1) != Kind::String {
        push_error(stack, b"wrong number or type of arguments");
        return 1;
    }
    let text = stack.bytes(1).unwrap_or_default();
    let text = [b"-", text.strip_prefix(b"-").unwrap_or(text)].concat();
    push_error(stack, &text);
    1
}

fn status_reply(stack: &mut Stack<'_>) -> usize {
    if stack.len() != 1 || stack.kind(1) != Kind::String {
        push_error(stack, b"wrong number or type of arguments");
        return 1;
    }
    stack.push_table(0, 1);
    stack.push_copy(1);
    stack.set_field(-2, "ok");
    1
}

fn sha1hex(stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    if stack.len() != 1 {
        return Err(raise(stack, "wrong number of arguments"));
    }
    stack.spell(1);
    stack.charge(stack.raw_len(1));
    let sha = super::sha1_hex(stack.bytes(1).unwrap_or_default());
    stack.push_bytes(sha);
    Ok(1)
}

fn set_repl(stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    if stack.len() != 1 {
        return Err(raise(stack, "redis.set_repl() requires two arguments."));
    }
    if !(0..=3).contains(&args::cut(stack.number(1))) {
        let text = "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
        return Err(raise(stack, text));
    }
    Ok(0)
}

/// Sets the random functions in the table on top.
pub fn set_random(stack: &mut Stack<'_>) {
    for (name, number) in [("random", RANDOM), ("randomseed", RANDOM_SEED)] {
        stack.push_host_function(number);
        stack.set_field(-2, name);
    }
}

/// Who finds `redis`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// A script that runs.
    Script,
    /// A function that runs.
    Function,
    /// A library that is being loaded.
    Library,
}

/// Pushes the table `redis`.
pub fn push_redis(stack: &mut Stack<'_>, api: Api, version: &str) {
    let everybody: &[(&str, u32)] = &[("log", LOG)];
    let running: &[(&str, u32)] = &[
        ("call", CALL),
        ("pcall", PCALL),
        ("setresp", SETRESP),
        ("error_reply", ERROR_REPLY),
        ("status_reply", STATUS_REPLY),
        ("sha1hex", SHA1HEX),
        ("set_repl", SET_REPL),
        ("acl_check_cmd", ACL_CHECK_CMD),
    ];
    // What functions never had.
    let script: &[(&str, u32)] =
        &[("replicate_commands", REPLICATE_COMMANDS), ("breakpoint", BREAKPOINT), ("debug", DEBUG)];
    stack.push_table(0, 32);
    let set = |stack: &mut Stack<'_>, functions: &[(&str, u32)]| {
        for (name, number) in functions {
            stack.push_host_function(*number);
            stack.set_field(-2, name);
        }
    };
    set(stack, everybody);
    match api {
        Api::Script => {
            set(stack, running);
            set(stack, script);
        }
        Api::Function => set(stack, running),
        Api::Library => set(stack, &[("register_function", REGISTER_FUNCTION)]),
    }
    for (level, name) in LEVELS.iter().enumerate() {
        stack.push_number(level as f64);
        stack.set_field(-2, name);
    }
    for (name, value) in REPLICATIONS {
        stack.push_number(f64::from(value));
        stack.set_field(-2, name);
    }
    stack.push_bytes(version);
    stack.set_field(-2, "REDIS_VERSION");
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let number = (0..3).fold(0, |number, _| number << 8 | parts.next().unwrap_or(0));
    stack.push_number(f64::from(number));
    stack.set_field(-2, "REDIS_VERSION_NUM");
}
