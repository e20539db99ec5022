//! Transcripts: what a client sends and what it must see, one case per line, and the player for them.
//!
//! A file under `transcripts/` reads like this:
//!
//! ```text
//! #! oracle                       also played against Debian's redis-server: the expectation is Redis' own
//! #! args --requirepass secret    more arguments for the server (files with the same arguments share a server)
//! #! protocols 2                  only RESP2; both by default
//!
//! == SET and GET                  a case: an empty keyspace and new connections
//! SET k "a\x00b" -> +OK
//! GET k -> "a\x00b"
//! ```
//!
//! A line is `[guards|] [name:] action -> expectation`.
//!
//! - Guards, joined by commas, limit a line to a protocol or a server: `2| …`, `3| …`, `redis| …`, `corering| …`.
//! - A name selects another connection: `b: GET k -> nil`.
//! - Actions: a command in redis-cli's quoting (`${name}` is replaced by a captured reply, as in an expected
//!   `"bulk"`), `raw "bytes"`, `read` (one more reply), `sleep MS`, `until MS COMMAND` (again and again until the
//!   expectation holds; on a busy machine for longer).
//! - Expectations: `+text`, `-text` (the rest of the line, as it is), `:7`, `:1..9`, `:int`, `"bulk"`, `~"glob*"` (any
//!   string or error), `,1.5` (a double; a bulk in RESP2),
//!   `(123` (a big number; a bulk in RESP2), `#t` (a boolean; `:1` in RESP2), `nil`, `nil[]` (the null
//!   array of RESP2), `nil2` (RESP2's null whatever was chosen, as after RESET), `[a, b]`, `[a, ..]` (and perhaps
//!   more), `set[a, b]` (any order; an array in RESP2), `any-order[a, b]` (an array in any order), `push[a]` (a push;
//!   an array in RESP2), `{k => v}` (a map, a flat array in RESP2; `..` as in arrays), `any`, `<name>` (any value,
//!   captured), `none` (no reply),
//!   `closed` (the server closes).
//!
//! Text after `+` or `-` stands in quotes where it ends in a blank, or holds a comma or bracket
//! inside brackets. A reply in brackets may go on over several lines until the bracket closes.

use crate::client::{Client, Value, encode, escape, show_command};
use crate::process::{Kind, Server};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a condition is waited for at least. Who finds it true waits no longer, so that this costs nothing.
const UNTIL_MS_MIN: u64 = 60_000;

/// What a reply must look like.
#[derive(Debug, Clone)]
enum Expect {
    Any,
    Capture(String),
    Exact(Value),
    IntegerIn(i64, i64),
    Glob(Vec<Wild>),
    Double(Vec<u8>),
    BigNumber(Vec<u8>),
    Boolean(bool),
    Nil,
    List { kind: ListKind, items: Vec<Expect>, open: bool },
    Map { pairs: Vec<(Expect, Expect)>, open: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListKind {
    Array,
    AnyOrder,
    Set,
    Push,
}

/// One element of a glob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wild {
    Byte(u8),
    One,
    Many,
}

#[derive(Debug, Clone)]
enum Outcome {
    Reply(Expect),
    None,
    Closed,
}

#[derive(Debug, Clone)]
enum Action {
    Command(Vec<Vec<u8>>),
    Raw(Vec<u8>),
    Read,
    Sleep { ms: u64 },
    Until { ms: u64, command: Vec<Vec<u8>> },
}

#[derive(Debug, Clone)]
struct Step {
    line: usize,
    guards: Vec<String>,
    connection: String,
    action: Action,
    outcome: Outcome,
}

/// A case: its title and its steps.
#[derive(Debug, Clone)]
pub struct Case {
    /// From the `==` line.
    pub title: String,
    steps: Vec<Step>,
}

/// A file of cases.
#[derive(Debug, Clone)]
pub struct Transcript {
    /// The file's name without its folder.
    pub name: String,
    /// Whether redis-server must pass it too.
    pub oracle: bool,
    /// More arguments for the server.
    pub arguments: Vec<String>,
    /// The protocols it is played in.
    pub protocols: Vec<u8>,
    /// Its cases.
    pub cases: Vec<Case>,
}

/// How the bytes of a case travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Each command waits for the reply before it.
    OneByOne,
    /// As many commands as possible in one write.
    Pipelined,
    /// As `Pipelined`, in pieces of a few bytes.
    Cut,
}

// ---------------------------------------------------------------------------------------------------- reading files

/// A cursor over the text of one step.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.bytes[self.at..].starts_with(text.as_bytes());
        if found {
            self.at += text.len();
        }
        found
    }

    /// A quoted string whose opening quote is next. In a glob `*` and `?` stay apart from their escaped forms.
    fn quoted(&mut self) -> Result<Vec<Wild>, String> {
        assert!(self.eat("\""), "the caller has seen the quote");
        let mut text = Vec::new();
        loop {
            let byte = self.peek().ok_or("a quote is not closed")?;
            self.at += 1;
            match byte {
                b'"' => return Ok(text),
                b'*' => text.push(Wild::Many),
                b'?' => text.push(Wild::One),
                b'\\' => {
                    let escaped = self.peek().ok_or("a quote is not closed")?;
                    self.at += 1;
                    text.push(Wild::Byte(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'a' => 7,
                        b'b' => 8,
                        b'x' => {
                            let digits = self.bytes.get(self.at..self.at + 2).ok_or("\\x needs two digits")?;
                            self.at += 2;
                            let digits = std::str::from_utf8(digits).map_err(|error| error.to_string())?;
                            u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?
                        }
                        other => other,
                    }));
                }
                other => text.push(Wild::Byte(other)),
            }
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, String> {
        Ok(self.quoted()?.into_iter().map(Wild::literal).collect())
    }

    /// A word up to a blank or one of `ends`.
    fn word(&mut self, ends: &[u8]) -> String {
        let start = self.at;
        while self.peek().is_some_and(|byte| !byte.is_ascii_whitespace() && !ends.contains(&byte)) {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned()
    }

    fn rest(&mut self) -> Vec<u8> {
        let rest = self.bytes[self.at..].trim_ascii_end().to_vec();
        self.at = self.bytes.len();
        rest
    }

    /// Text of a simple string or error: the rest of the line outside brackets, up to `,` or a bracket inside;
    /// anything in quotes.
    fn line_text(&mut self, depth: usize) -> Result<Vec<u8>, String> {
        if self.peek() == Some(b'"') {
            return self.string();
        }
        if depth == 0 {
            return Ok(self.rest());
        }
        let start = self.at;
        while self.peek().is_some_and(|byte| !b",]}".contains(&byte)) {
            self.at += 1;
        }
        Ok(self.bytes[start..self.at].trim_ascii_end().to_vec())
    }

    fn expect(&mut self, depth: usize) -> Result<Expect, String> {
        self.blanks();
        let Some(first) = self.peek() else { return Err("an expectation is missing".into()) };
        if self.eat("~") {
            return Ok(Expect::Glob(self.quoted()?));
        }
        for (open, kind) in [
            ("[", ListKind::Array),
            ("set[", ListKind::Set),
            ("any-order[", ListKind::AnyOrder),
            ("push[", ListKind::Push),
        ] {
            if self.eat(open) {
                return self.list(kind, depth);
            }
        }
        Ok(match first {
            b'+' => {
                self.at += 1;
                Expect::Exact(Value::Simple(self.line_text(depth)?))
            }
            b'-' => {
                self.at += 1;
                Expect::Exact(Value::Error(self.line_text(depth)?))
            }
            b'"' => Expect::Exact(Value::Bulk(self.string()?)),
            b':' => {
                self.at += 1;
                let word = self.word(b",]}=");
                let parse = |text: &str| text.parse::<i64>().map_err(|_| format!("not an integer: {text}"));
                match word.split_once("..") {
                    _ if word == "int" => Expect::IntegerIn(i64::MIN, i64::MAX),
                    Some((from, to)) => Expect::IntegerIn(parse(from)?, parse(to)?),
                    None => Expect::Exact(Value::Integer(parse(&word)?)),
                }
            }
            b',' => {
                self.at += 1;
                Expect::Double(self.word(b",]}=").into_bytes())
            }
            b'(' => {
                self.at += 1;
                Expect::BigNumber(self.word(b",]}=").into_bytes())
            }
            b'#' => {
                self.at += 1;
                match self.word(b",]}=").as_str() {
                    "t" => Expect::Boolean(true),
                    "f" => Expect::Boolean(false),
                    other => return Err(format!("not a boolean: #{other}")),
                }
            }
            b'{' => {
                self.at += 1;
                self.map(depth)?
            }
            b'<' => {
                self.at += 1;
                let name = self.word(b">");
                if !self.eat(">") {
                    return Err("a capture needs its closing >".into());
                }
                Expect::Capture(name)
            }
            _ => {
                if self.eat("nil[]") {
                    return Ok(Expect::Exact(Value::NullArray));
                }
                match self.word(b",]}=").as_str() {
                    "nil" => Expect::Nil,
                    "nil2" => Expect::Exact(Value::NullBulk),
                    "any" => Expect::Any,
                    other => return Err(format!("not an expectation: {other}")),
                }
            }
        })
    }

    fn list(&mut self, kind: ListKind, depth: usize) -> Result<Expect, String> {
        let mut items = Vec::new();
        let mut open = false;
        loop {
            self.blanks();
            if self.eat("]") {
                return Ok(Expect::List { kind, items, open });
            }
            if self.eat("..") {
                open = true;
            } else {
                items.push(self.expect(depth + 1)?);
            }
            self.blanks();
            if !self.eat(",") && self.peek() != Some(b']') {
                return Err("a list needs , or ]".into());
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Expect, String> {
        let mut pairs = Vec::new();
        let mut open = false;
        loop {
            self.blanks();
            if self.eat("}") {
                return Ok(Expect::Map { pairs, open });
            }
            if self.eat("..") {
                open = true;
            } else {
                let key = self.expect(depth + 1)?;
                self.blanks();
                if !self.eat("=>") {
                    return Err("a map's key needs => and its value".into());
                }
                pairs.push((key, self.expect(depth + 1)?));
            }
            self.blanks();
            if !self.eat(",") && self.peek() != Some(b'}') {
                return Err("a map needs , or }".into());
            }
        }
    }

    fn outcome(&mut self) -> Result<Outcome, String> {
        self.blanks();
        let outcome = match self.bytes[self.at..].trim_ascii_end() {
            b"none" => Outcome::None,
            b"closed" => Outcome::Closed,
            _ => {
                let expect = self.expect(0)?;
                self.blanks();
                if self.at < self.bytes.len() {
                    return Err(format!("left over: {}", escape(&self.bytes[self.at..])));
                }
                return Ok(Outcome::Reply(expect));
            }
        };
        self.rest();
        Ok(outcome)
    }

    /// The words of a command up to `->` or the end.
    fn command(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let mut words = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                None => return Ok(words),
                Some(b'"') => words.push(self.string()?),
                Some(_) => {
                    let word = self.word(b"");
                    if word == "->" {
                        return Ok(words);
                    }
                    words.push(word.into_bytes());
                }
            }
        }
    }
}

impl Wild {
    fn literal(self) -> u8 {
        match self {
            Wild::Byte(byte) => byte,
            Wild::One => b'?',
            Wild::Many => b'*',
        }
    }
}

/// Whether brackets opened after `->` are still open, quotes aside.
fn is_open(text: &str) -> bool {
    let Some((_, expectation)) = text.split_once("->") else { return false };
    let expectation = expectation.trim_start();
    if !["[", "{", "set[", "any-order[", "push["].iter().any(|open| expectation.starts_with(open)) {
        return false;
    }
    let mut depth = 0_i32;
    let mut quoted = false;
    let mut escaped = false;
    for byte in expectation.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth -= 1,
            _ => {}
        }
    }
    depth > 0
}

fn parse_step(line: usize, text: &str) -> Result<Step, String> {
    let mut text = text.trim();
    let mut guards = Vec::new();
    if let Some((head, tail)) = text.split_once('|') {
        let words: Vec<&str> = head.split(',').map(str::trim).collect();
        if words.iter().all(|word| ["2", "3", "redis", "corering"].contains(word)) {
            guards = words.into_iter().map(String::from).collect();
            text = tail.trim_start();
        }
    }
    let mut connection = String::from("main");
    if let Some((head, tail)) = text.split_once(": ")
        && !head.is_empty()
        && head.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    {
        connection = head.into();
        text = tail.trim_start();
    }
    let mut cursor = Cursor { bytes: text.as_bytes(), at: 0 };
    let mut words = cursor.command()?;
    let verb = words.first().ok_or("a line without an action")?.clone();
    let integer = |words: &[Vec<u8>], index: usize| -> Result<u64, String> {
        let word = words.get(index).ok_or("a number is missing")?;
        String::from_utf8_lossy(word).parse().map_err(|_| format!("not a number: {}", escape(word)))
    };
    let action = match verb.as_slice() {
        b"raw" => Action::Raw(words.get(1..).ok_or("raw needs bytes")?.concat()),
        b"read" => Action::Read,
        b"sleep" => Action::Sleep { ms: integer(&words, 1)? },
        b"until" => Action::Until { ms: integer(&words, 1)?, command: words.split_off(2) },
        _ => Action::Command(words),
    };
    let outcome = if matches!(action, Action::Sleep { .. }) { Outcome::None } else { cursor.outcome()? };
    Ok(Step { line, guards, connection, action, outcome })
}

/// Reads a transcript file.
pub fn parse(name: &str, text: &str) -> Result<Transcript, String> {
    let mut transcript = Transcript {
        name: name.into(),
        oracle: false,
        arguments: Vec::new(),
        protocols: vec![2, 3],
        cases: Vec::new(),
    };
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        let fail = |message: String| format!("{name}:{number}: {message}");
        if let Some(header) = line.strip_prefix("#!") {
            let mut words = header.split_whitespace();
            match words.next() {
                Some("oracle") => transcript.oracle = true,
                Some("args") => transcript.arguments = words.map(String::from).collect(),
                Some("protocols") => {
                    let protocols: Result<Vec<u8>, _> = words.map(str::parse).collect();
                    transcript.protocols = protocols.map_err(|error| fail(error.to_string()))?;
                }
                _ => return Err(fail(format!("unknown header: {header}"))),
            }
        } else if let Some(title) = line.strip_prefix("==") {
            transcript.cases.push(Case { title: title.trim().into(), steps: Vec::new() });
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            let mut step = line.to_owned();
            while is_open(&step) {
                let (_, more) = lines.next().ok_or_else(|| fail("a bracket is not closed".into()))?;
                step.push(' ');
                step.push_str(more.trim());
            }
            let step = parse_step(number, &step).map_err(fail)?;
            let case = transcript.cases.last_mut().ok_or_else(|| fail("a step before the first case".into()))?;
            case.steps.push(step);
        }
    }
    Ok(transcript)
}

/// All transcripts of a folder, by name.
pub fn load_all(folder: &Path) -> Vec<Transcript> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no transcripts in {}", folder.display());
    paths
        .iter()
        .map(|path| {
            let name = path.file_name().expect("a file has a name").to_string_lossy();
            let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            parse(&name, &text).unwrap_or_else(|error| panic!("{error}"))
        })
        .collect()
}

// --------------------------------------------------------------------------------------------------------- matching

fn glob_matches(pattern: &[Wild], text: &[u8]) -> bool {
    // Backtracks to the last star only: linear in practice, quadratic at worst.
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Wild::Many) => {
                star = Some((p, t));
                p += 1;
            }
            Some(Wild::One) => (p, t) = (p + 1, t + 1),
            Some(Wild::Byte(byte)) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|wild| *wild == Wild::Many)
}

type Captures = BTreeMap<String, Vec<u8>>;

fn capture_text(value: &Value) -> Vec<u8> {
    match value {
        Value::Integer(number) => number.to_string().into_bytes(),
        Value::Simple(text)
        | Value::Error(text)
        | Value::Bulk(text)
        | Value::Double(text)
        | Value::BigNumber(text)
        | Value::Verbatim(_, text) => text.clone(),
        other => other.to_string().into_bytes(),
    }
}

fn list_matches(expected: &[Expect], open: bool, actual: &[Value], protocol: u8, captures: &mut Captures) -> bool {
    let long_enough = if open { expected.len() <= actual.len() } else { expected.len() == actual.len() };
    long_enough && expected.iter().zip(actual).all(|(expect, value)| matches(expect, value, protocol, captures))
}

/// Each expected item takes the first reply item that fits and is not taken: enough for items that are distinct.
fn unordered_matches(expected: &[Expect], open: bool, actual: &[Value], protocol: u8, captures: &mut Captures) -> bool {
    let mut left: Vec<&Value> = actual.iter().collect();
    for expect in expected {
        match left.iter().position(|value| matches(expect, value, protocol, captures)) {
            Some(index) => _ = left.swap_remove(index),
            None => return false,
        }
    }
    open || left.is_empty()
}

/// A text with what was captured in the places that name it.
fn filled_in(text: &[u8], captures: &Captures) -> Vec<u8> {
    let mut text = text.to_vec();
    for (name, value) in captures {
        let mark = format!("${{{name}}}").into_bytes();
        while let Some(at) = text.windows(mark.len()).position(|window| window == mark) {
            text.splice(at..at + mark.len(), value.iter().copied());
        }
    }
    text
}

fn matches(expect: &Expect, value: &Value, protocol: u8, captures: &mut Captures) -> bool {
    match (expect, value) {
        (Expect::Any, _) => true,
        (Expect::Capture(name), value) => {
            captures.insert(name.clone(), capture_text(value));
            true
        }
        (Expect::Exact(Value::Bulk(wanted)), Value::Bulk(text)) => filled_in(wanted, captures) == *text,
        (Expect::Exact(wanted), value) => wanted == value,
        (Expect::IntegerIn(from, to), Value::Integer(number)) => (from..=to).contains(&number),
        (
            Expect::Glob(glob),
            Value::Simple(text) | Value::Error(text) | Value::Bulk(text) | Value::Verbatim(_, text),
        ) => glob_matches(glob, text),
        (Expect::Double(wanted), Value::Double(text)) => protocol == 3 && wanted == text,
        (Expect::Double(wanted), Value::Bulk(text)) => protocol == 2 && wanted == text,
        (Expect::BigNumber(wanted), Value::BigNumber(text)) => protocol == 3 && wanted == text,
        (Expect::BigNumber(wanted), Value::Bulk(text)) => protocol == 2 && wanted == text,
        (Expect::Boolean(wanted), Value::Boolean(truth)) => protocol == 3 && wanted == truth,
        (Expect::Boolean(wanted), Value::Integer(number)) => protocol == 2 && i64::from(*wanted) == *number,
        (Expect::Nil, Value::NullBulk) => protocol == 2,
        (Expect::Nil, Value::Null) => protocol == 3,
        (Expect::List { kind: ListKind::Array, items, open }, Value::Array(values)) => {
            list_matches(items, *open, values, protocol, captures)
        }
        (Expect::List { kind: ListKind::Push, items, open }, Value::Push(values)) => {
            protocol == 3 && list_matches(items, *open, values, protocol, captures)
        }
        (Expect::List { kind: ListKind::Push, items, open }, Value::Array(values)) => {
            protocol == 2 && list_matches(items, *open, values, protocol, captures)
        }
        (Expect::List { kind: ListKind::AnyOrder, items, open }, Value::Array(values)) => {
            unordered_matches(items, *open, values, protocol, captures)
        }
        (Expect::List { kind: ListKind::Set, items, open }, Value::Set(values)) => {
            protocol == 3 && unordered_matches(items, *open, values, protocol, captures)
        }
        (Expect::List { kind: ListKind::Set, items, open }, Value::Array(values)) => {
            protocol == 2 && unordered_matches(items, *open, values, protocol, captures)
        }
        (Expect::Map { pairs, open }, Value::Map(values)) => {
            protocol == 3 && pairs_match(pairs, *open, values, protocol, captures)
        }
        (Expect::Map { pairs, open }, Value::Array(values)) if values.len().is_multiple_of(2) => {
            let values: Vec<_> = values.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
            protocol == 2 && pairs_match(pairs, *open, &values, protocol, captures)
        }
        _ => false,
    }
}

/// The order of a map's pairs does not count.
fn pairs_match(
    expected: &[(Expect, Expect)],
    open: bool,
    actual: &[(Value, Value)],
    protocol: u8,
    captures: &mut Captures,
) -> bool {
    let all = expected.iter().all(|(key, value)| {
        actual.iter().any(|(k, v)| matches(key, k, protocol, captures) && matches(value, v, protocol, captures))
    });
    all && (open || expected.len() == actual.len())
}

// ---------------------------------------------------------------------------------------------------------- playing

/// What differed, and in which configurations: the same difference is told once.
pub type Differences = BTreeMap<String, Vec<String>>;

/// Plays every case of a transcript and notes the differences.
pub fn play(
    transcript: &Transcript,
    server: &mut Server,
    protocol: u8,
    delivery: Delivery,
    differences: &mut Differences,
) {
    let place = format!("RESP{protocol} {delivery:?}");
    for case in &transcript.cases {
        if let Err(error) = reset(server, password(&transcript.arguments).as_deref()) {
            // Nothing after this could be trusted.
            differences.entry(format!("emptying the keyspace before a case: {error}")).or_default().push(place);
            return;
        }
        let mut player = Player { server, protocol, delivery, connections: BTreeMap::new(), captures: Captures::new() };
        if let Err((line, message)) = player.play(case) {
            let title = &case.title;
            let mut text = format!("transcripts/{}:{line} in \"{title}\"\n{message}", transcript.name);
            let dead = !server.is_alive();
            if dead {
                text =
                    format!("{text}\n  {} has ended; its last words:\n{}", server.kind.name(), tail(&server.output()));
            }
            differences.entry(text).or_default().push(place.clone());
            if dead {
                return;
            }
        }
    }
}

/// An empty keyspace in every database, from a connection that nothing else uses.
fn reset(server: &Server, password: Option<&str>) -> std::io::Result<()> {
    let mut control = Client::connect(server.port)?;
    if let Some(password) = password {
        control.call(&["AUTH", password])?;
    }
    match control.call(&["FLUSHALL"])? {
        Value::Simple(text) if text == b"OK" => Ok(()),
        reply => Err(std::io::Error::other(format!("FLUSHALL said {reply}"))),
    }
}

fn password(arguments: &[String]) -> Option<String> {
    let at = arguments.iter().position(|argument| argument == "--requirepass")?;
    arguments.get(at + 1).cloned()
}

fn tail(text: &str) -> String {
    const LINES_MAX: usize = 30;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
}

struct Player<'a> {
    server: &'a Server,
    protocol: u8,
    delivery: Delivery,
    connections: BTreeMap<String, Client>,
    captures: Captures,
}

/// The line of the transcript and what went wrong there.
type Failure = (usize, String);

impl Player<'_> {
    fn play(&mut self, case: &Case) -> Result<(), Failure> {
        let steps: Vec<&Step> = case.steps.iter().filter(|step| self.is_meant(step)).collect();
        let mut rest = steps.as_slice();
        while let Some((step, _)) = rest.split_first() {
            let (batch, after) = rest.split_at(self.batch_len(rest));
            if batch.is_empty() {
                self.step(step)?;
                rest = &rest[1..];
            } else {
                self.batch(batch)?;
                rest = after;
            }
        }
        Ok(())
    }

    fn is_meant(&self, step: &Step) -> bool {
        let server = if self.server.kind == Kind::Redis { "redis" } else { "corering" };
        let protocol = self.protocol.to_string();
        let any_of = |all: &[&str], mine: &str| {
            let mut named = step.guards.iter().filter(|guard| all.contains(&guard.as_str())).peekable();
            named.peek().is_none() || named.any(|guard| guard == mine)
        };
        any_of(&["redis", "corering"], server) && any_of(&["2", "3"], &protocol)
    }

    fn connection(&mut self, name: &str) -> std::io::Result<&mut Client> {
        if !self.connections.contains_key(name) {
            let mut client = Client::connect(self.server.port)?;
            if self.protocol == 3 {
                let reply = client.call(&["HELLO", "3"])?;
                if !matches!(reply, Value::Map(_)) {
                    return Err(std::io::Error::other(format!("HELLO 3 said {reply}")));
                }
            }
            self.connections.insert(name.into(), client);
        }
        Ok(self.connections.get_mut(name).expect("it was there or has just been made"))
    }

    fn fill_in(&self, arguments: &[Vec<u8>]) -> Vec<Vec<u8>> {
        arguments.iter().map(|argument| filled_in(argument, &self.captures)).collect()
    }

    /// How many steps from here on can travel in one write: commands and raw bytes of one connection with one reply
    /// each, which name no capture.
    fn batch_len(&self, steps: &[&Step]) -> usize {
        if self.delivery == Delivery::OneByOne {
            return 0;
        }
        let same = |step: &&&Step| {
            let bytes = match &step.action {
                Action::Command(arguments) => arguments.concat(),
                Action::Raw(bytes) => bytes.clone(),
                _ => return false,
            };
            step.connection == steps[0].connection
                && matches!(step.outcome, Outcome::Reply(_))
                && !bytes.windows(2).any(|window| window == b"${")
        };
        steps.iter().take_while(same).count()
    }

    fn batch(&mut self, steps: &[&Step]) -> Result<(), Failure> {
        let bytes: Vec<u8> = steps
            .iter()
            .flat_map(|step| match &step.action {
                Action::Command(arguments) => encode(arguments),
                Action::Raw(bytes) => bytes.clone(),
                _ => unreachable!("batch_len takes only these"),
            })
            .collect();
        let cut = self.delivery == Delivery::Cut;
        let line = steps[0].line;
        let client = self.connection(&steps[0].connection).map_err(|error| (line, error.to_string()))?;
        // A server that refuses the first bytes may close before it has read the last ones.
        let sent = if cut { client.send_cut(&bytes, line as u64) } else { client.send_raw(&bytes) };
        for step in steps {
            self.reply(step).map_err(|(line, message)| match &sent {
                Err(error) => (line, format!("{message}\n  while sending: {error}")),
                Ok(()) => (line, message),
            })?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), Failure> {
        let fail = |error: std::io::Error| (step.line, format!("  {error}"));
        match &step.action {
            Action::Command(arguments) => {
                let bytes = encode(&self.fill_in(arguments));
                self.connection(&step.connection).and_then(|client| client.send_raw(&bytes)).map_err(fail)?;
            }
            Action::Raw(bytes) => {
                self.connection(&step.connection).and_then(|client| client.send_raw(bytes)).map_err(fail)?;
            }
            Action::Read => {
                self.connection(&step.connection).map_err(fail)?;
            }
            Action::Sleep { ms } => {
                std::thread::sleep(Duration::from_millis(*ms));
                return Ok(());
            }
            Action::Until { ms, command } => {
                let deadline = Instant::now() + Duration::from_millis((*ms).max(UNTIL_MS_MIN));
                loop {
                    let bytes = encode(&self.fill_in(command));
                    self.connection(&step.connection).and_then(|client| client.send_raw(&bytes)).map_err(fail)?;
                    match self.reply(step) {
                        Err(failure) if deadline < Instant::now() => return Err(failure),
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                        Ok(()) => return Ok(()),
                    }
                }
            }
        }
        self.reply(step)
    }

    /// Reads what a step has coming and compares.
    fn reply(&mut self, step: &Step) -> Result<(), Failure> {
        let protocol = self.protocol;
        let sent = match &step.action {
            Action::Command(command) | Action::Until { command, .. } => show_command(&self.fill_in(command)),
            Action::Raw(bytes) => format!("raw \"{}\"", escape(bytes)),
            Action::Read => "read".into(),
            Action::Sleep { .. } => unreachable!("sleeping has no reply"),
        };
        let client = self.connections.get_mut(&step.connection).expect("the step has sent on it");
        let expect = match &step.outcome {
            // That no reply comes shows in the next reply on the connection.
            Outcome::None => return Ok(()),
            Outcome::Closed => {
                return match client.read_raw() {
                    Ok(None) => Ok(()),
                    Ok(Some((value, _))) => {
                        Err((step.line, format!("  sent:     {sent}\n  expected: closed\n  got:      {value}")))
                    }
                    Err(error) => {
                        Err((step.line, format!("  sent:     {sent}\n  expected: closed\n  got:      {error}")))
                    }
                };
            }
            Outcome::Reply(expect) => expect,
        };
        let got = match client.read_raw() {
            Ok(Some((value, _))) => {
                if matches(expect, &value, protocol, &mut self.captures) {
                    return Ok(());
                }
                value.to_string()
            }
            Ok(None) => "the connection closed".into(),
            Err(error) => error.to_string(),
        };
        Err((step.line, format!("  sent:     {sent}\n  expected: {}\n  got:      {got}", show(expect))))
    }
}

fn show(expect: &Expect) -> String {
    fn list(items: &[Expect], open: bool) -> String {
        let mut texts: Vec<String> = items.iter().map(show).collect();
        if open {
            texts.push("..".into());
        }
        texts.join(", ")
    }
    match expect {
        Expect::Any => "any".into(),
        Expect::Capture(name) => format!("<{name}>"),
        Expect::Exact(value) => value.to_string(),
        Expect::IntegerIn(i64::MIN, i64::MAX) => ":int".into(),
        Expect::IntegerIn(from, to) => format!(":{from}..{to}"),
        Expect::Glob(glob) => {
            let bytes: Vec<u8> = glob.iter().map(|wild| wild.literal()).collect();
            format!("~\"{}\"", escape(&bytes))
        }
        Expect::Double(text) => format!(",{}", escape(text)),
        Expect::BigNumber(text) => format!("({}", escape(text)),
        Expect::Boolean(truth) => format!("#{}", if *truth { 't' } else { 'f' }),
        Expect::Nil => "nil".into(),
        Expect::List { kind, items, open } => {
            let name = match kind {
                ListKind::Array => "",
                ListKind::AnyOrder => "any-order",
                ListKind::Set => "set",
                ListKind::Push => "push",
            };
            format!("{name}[{}]", list(items, *open))
        }
        Expect::Map { pairs, open } => {
            let mut texts: Vec<String> =
                pairs.iter().map(|(key, value)| format!("{} => {}", show(key), show(value))).collect();
            if *open {
                texts.push("..".into());
            }
            format!("{{{}}}", texts.join(", "))
        }
    }
}
