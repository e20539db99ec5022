//! Commands with places to fill: `SET {key} {value} EX {ttl}`, compiled once and written as RESP for each request.
//!
//! | Place | Becomes |
//! |---|---|
//! | `{key}` | a key, by `--key-prefix`, `--keys` and `--key-distribution`; each `{key}` of a command is drawn anew |
//! | `{value}` | random text, as long as `--value-size` or the trace says |
//! | `{value:1k}` | random text of this size; every form of `--value-size` is understood |
//! | `{int:LOW:HIGH}` | a whole number, both ends included |
//! | `{seq}` | 0, 1, 2, … over the whole run |
//! | `{ttl}`, `{ttl_ms}` | seconds or milliseconds, by `--ttl` |
//! | `{{`, `}}` | a brace |
//!
//! Arguments are separated by blanks; quotes hold them together: `SET "a key" 'it''s'`.

use super::keys::{Keys, append_number};
use super::position;
use super::size::Sizes;

/// The most arguments of a command, templates being typed by people.
pub const ARGUMENTS_MAX: usize = 10_000;
/// Random text, from which values are cut.
const TEXT_BYTES: usize = 1 << 20;

/// A command with places to fill.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    steps: Vec<Step>,
    /// The first argument, as it was typed.
    pub name: String,
    /// What decides on the node of a cluster.
    first_key: FirstKey,
    /// Whether some argument is a TTL.
    pub has_ttl: bool,
    /// Whether several arguments have a `{key}` in no hash tag that was typed, so that they are in different slots.
    pub has_several_keys: bool,
}

/// The first argument that is a key for the server, whatever it is made of.
#[derive(Debug, Clone, PartialEq)]
enum FirstKey {
    None,
    /// The same in each request.
    Fixed(Vec<u8>),
    /// What this step writes.
    Step(usize),
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// Bytes that are the same in each request: the head, whole arguments, and what stands between.
    Fixed(Vec<u8>),
    /// An argument.
    Argument(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(Vec<u8>),
    Key,
    Value,
    Sized(Sizes),
    Integer(i64, i64),
    Sequence,
    TtlSeconds,
    TtlMilliseconds,
}

impl Template {
    /// Compiles what was typed.
    pub fn parse(text: &str) -> Result<Template, String> {
        let words = split_words(text)?;
        if words.is_empty() {
            return Err("a command has at least one word".into());
        }
        if ARGUMENTS_MAX < words.len() {
            return Err(format!("a command has at most {ARGUMENTS_MAX} arguments"));
        }
        let mut fixed = format!("*{}\r\n", words.len()).into_bytes();
        let mut steps = Vec::new();
        let (mut has_ttl, mut untagged_keys) = (false, 0);
        let key_at = position::first_key(&words);
        let mut first_key = FirstKey::None;
        for (at, word) in words.iter().enumerate() {
            let parts = parse_parts(word)?;
            if key_at == Some(at) {
                first_key = match &parts[..] {
                    [] => FirstKey::Fixed(Vec::new()),
                    [Part::Text(text)] => FirstKey::Fixed(text.clone()),
                    _ => FirstKey::Step(steps.len() + 1), // behind what is fixed before it
                };
            }
            untagged_keys += usize::from(is_untagged_key(&parts));
            has_ttl |= parts.contains(&Part::TtlSeconds) || parts.contains(&Part::TtlMilliseconds);
            match &parts[..] {
                [] => fixed.extend_from_slice(b"$0\r\n\r\n"),
                [Part::Text(text)] => {
                    fixed.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
                    fixed.extend_from_slice(text);
                    fixed.extend_from_slice(b"\r\n");
                }
                _ => {
                    steps.push(Step::Fixed(std::mem::take(&mut fixed)));
                    steps.push(Step::Argument(parts));
                }
            }
        }
        steps.push(Step::Fixed(fixed));
        let has_several_keys = 1 < untagged_keys;
        Ok(Template { steps, name: words[0].to_ascii_uppercase(), first_key, has_ttl, has_several_keys })
    }

    /// Appends a request. Its first key, if it has one, is left in the filler.
    pub fn append(&self, filler: &mut Filler, out: &mut Vec<u8>) {
        filler.first_key.clear();
        filler.keys.begin_command();
        filler.has_first_key = self.first_key != FirstKey::None;
        if let FirstKey::Fixed(key) = &self.first_key {
            filler.first_key.extend_from_slice(key);
        }
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Fixed(bytes) => out.extend_from_slice(bytes),
                Step::Argument(parts) => {
                    filler.append_argument(parts, out);
                    if self.first_key == FirstKey::Step(at) {
                        filler.first_key.extend_from_slice(&filler.argument);
                    }
                }
            }
        }
    }
}

/// What fills places: the random numbers, keys and values of one thread.
pub struct Filler {
    random: fastrand::Rng,
    keys: Keys,
    sizes: Sizes,
    /// TTLs in seconds, both ends included.
    ttl_s: (u64, u64),
    /// Next number of `{seq}`, and its step.
    sequence: (u64, u64),
    text: Vec<u8>,
    argument: Vec<u8>,
    /// How large the value of the last key is, if a trace says it.
    traced_bytes: Option<usize>,
    /// Of the request written last.
    first_key: Vec<u8>,
    has_first_key: bool,
}

impl Filler {
    /// For thread `index` of `threads`.
    pub fn new(keys: Keys, sizes: Sizes, ttl_s: (u64, u64), index: usize, threads: usize, seed: u64) -> Filler {
        let mut random = fastrand::Rng::with_seed(seed);
        let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
        let text = (0..TEXT_BYTES).map(|_| letters[random.usize(0..letters.len())]).collect();
        let sequence = (index as u64, threads as u64);
        Filler {
            random,
            keys,
            sizes,
            ttl_s,
            sequence,
            text,
            argument: Vec::new(),
            traced_bytes: None,
            first_key: Vec::new(),
            has_first_key: false,
        }
    }

    /// The first key of the request written last, if it has one.
    pub fn first_key(&self) -> Option<&[u8]> {
        self.has_first_key.then_some(&self.first_key[..])
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.random.u64(0..end)
    }

    fn append_argument(&mut self, parts: &[Part], out: &mut Vec<u8>) {
        let mut argument = std::mem::take(&mut self.argument);
        argument.clear();
        for part in parts {
            match part {
                Part::Text(text) => argument.extend_from_slice(text),
                Part::Key => {
                    self.traced_bytes = self.keys.append(&mut self.random, &mut argument);
                }
                Part::Value => {
                    let bytes = self.traced_bytes.take().unwrap_or_else(|| self.sizes.sample(&mut self.random));
                    self.append_text(bytes, &mut argument);
                }
                Part::Sized(sizes) => {
                    let bytes = sizes.sample(&mut self.random);
                    self.append_text(bytes, &mut argument);
                }
                Part::Integer(low, high) => {
                    let number = self.random.i64(*low..=*high);
                    if number < 0 {
                        argument.push(b'-');
                    }
                    append_number(number.unsigned_abs(), 1, &mut argument);
                }
                Part::Sequence => {
                    append_number(self.sequence.0, 1, &mut argument);
                    self.sequence.0 += self.sequence.1;
                }
                Part::TtlSeconds => append_number(self.random.u64(self.ttl_s.0..=self.ttl_s.1), 1, &mut argument),
                Part::TtlMilliseconds => {
                    let ms = self.random.u64(self.ttl_s.0 * 1000..=self.ttl_s.1 * 1000);
                    append_number(ms, 1, &mut argument);
                }
            }
        }
        out.push(b'$');
        append_number(argument.len() as u64, 1, out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&argument);
        out.extend_from_slice(b"\r\n");
        self.argument = argument;
    }

    fn append_text(&mut self, mut bytes: usize, out: &mut Vec<u8>) {
        while 0 < bytes {
            let begin = if bytes < TEXT_BYTES { self.random.usize(0..=TEXT_BYTES - bytes) } else { 0 };
            let piece = bytes.min(TEXT_BYTES - begin);
            out.extend_from_slice(&self.text[begin..begin + piece]);
            bytes -= piece;
        }
    }
}

/// Whether an argument has a `{key}`, and nothing before it that was typed to be a hash tag.
fn is_untagged_key(parts: &[Part]) -> bool {
    let before = parts.iter().position(|part| *part == Part::Key).map(|at| &parts[..at]);
    before.is_some_and(|before| !before.iter().any(|part| matches!(part, Part::Text(text) if text.contains(&b'{'))))
}

/// Words with their quotes taken off. A quote within quotes of its kind is written twice.
fn split_words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err(format!("`{text}`: a quote is not closed")),
                        Some(inner) if inner == c => {
                            if chars.peek() != Some(&c) {
                                break;
                            }
                            word.push(c);
                            chars.next();
                        }
                        Some(inner) => word.push(inner),
                    }
                }
            }
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn parse_parts(word: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.find(['{', '}']) {
        text.extend_from_slice(&rest.as_bytes()[..at]);
        let (brace, behind) = (&rest[at..at + 1], &rest[at + 1..]);
        if behind.starts_with(brace) {
            text.extend_from_slice(brace.as_bytes());
            rest = &behind[1..];
            continue;
        }
        let end = match (brace, behind.find('}')) {
            ("{", Some(end)) => end,
            _ => return Err(format!("`{word}`: a brace stands alone; write {{{{ or }}}} for one that is sent")),
        };
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(parse_place(&behind[..end])?);
        rest = &behind[end + 1..];
    }
    text.extend_from_slice(rest.as_bytes());
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn parse_place(place: &str) -> Result<Part, String> {
    match place.split_once(':') {
        None => match place {
            "key" => Ok(Part::Key),
            "value" => Ok(Part::Value),
            "seq" => Ok(Part::Sequence),
            "ttl" => Ok(Part::TtlSeconds),
            "ttl_ms" => Ok(Part::TtlMilliseconds),
            _ => Err(format!("`{{{place}}}` is no place: want key, value, int:LOW:HIGH, seq, ttl or ttl_ms")),
        },
        Some(("value", sizes)) => Ok(Part::Sized(sizes.parse()?)),
        Some(("int", bounds)) => {
            let bounds = bounds.split_once(':').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
            match bounds {
                Some((low, high)) if low <= high => Ok(Part::Integer(low, high)),
                _ => Err(format!("`{{{place}}}`: want {{int:LOW:HIGH}} with LOW at most HIGH")),
            }
        }
        Some(_) => Err(format!("`{{{place}}}` is no place: want key, value, int:LOW:HIGH, seq, ttl or ttl_ms")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Distribution;
    use super::*;

    fn filler() -> Filler {
        let keys = Keys::new(&Distribution::Sequential, 100, None, "k", 0, 1);
        Filler::new(keys, Sizes::Fixed(5), (10, 20), 0, 1, 9)
    }

    fn request(filler: &mut Filler, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        Template::parse(text).expect(text).append(filler, &mut out);
        // Taken apart strictly, by the lengths said.
        let text = String::from_utf8(out).expect("text");
        let mut rest = &text[..];
        let (head, behind) = rest.split_once("\r\n").expect("a line");
        let count: usize = head.strip_prefix('*').expect("an array").parse().expect("a number");
        rest = behind;
        let mut words = Vec::new();
        for _ in 0..count {
            let (head, behind) = rest.split_once("\r\n").expect("a line");
            let len: usize = head.strip_prefix('$').expect("a length").parse().expect("a number");
            words.push(behind[..len].to_string());
            assert_eq!(&behind[len..len + 2], "\r\n");
            rest = &behind[len + 2..];
        }
        assert_eq!(rest, "");
        words
    }

    #[test]
    fn places_are_filled() {
        let filler = &mut filler();
        assert_eq!(request(filler, "PING"), ["PING"]);
        let words = request(filler, "SET {key} {value} EX {ttl}");
        assert_eq!((&words[1][..], words[2].len(), &words[3][..]), ("k000000000000", 5, "EX"));
        assert!((10..=20).contains(&words[4].parse::<u64>().unwrap()));
        let words = request(filler, "MSET user:{key} {value:0} {key}:x {value:3000000}");
        assert_eq!((&words[1][..], &words[2][..], &words[3][..]), ("user:k000000000001", "", "k000000000002:x"));
        assert_eq!(words[4].len(), 3_000_000);
        for _ in 0..100 {
            let number: i64 = request(filler, "INCRBY c {int:-3:3}")[2].parse().unwrap();
            assert!((-3..=3).contains(&number));
        }
        assert_eq!(request(filler, "A {seq}{seq} {{tag}}{seq}"), ["A", "01", "{tag}2"]);
        assert_eq!(request(filler, "A \"two words\" '' 'it''s'"), ["A", "two words", "", "it's"]);
    }

    #[test]
    fn the_first_key_is_the_whole_argument() {
        let filler = &mut filler();
        let mut first = |text: &str| {
            request(filler, text);
            filler.first_key().map(|key| String::from_utf8_lossy(key).into_owned())
        };
        assert_eq!(first("GET {key}").as_deref(), Some("k000000000000"));
        assert_eq!(first("INCR counter:{key}").as_deref(), Some("counter:k000000000001"));
        assert_eq!(first("MSET {{a{key}}}:x {value} {key} {value}").as_deref(), Some("{ak000000000002}:x"));
        assert_eq!(first("SET fixed {key}").as_deref(), Some("fixed"));
        assert_eq!(first("EVAL 'return 1' 1 {key}:e").as_deref(), Some("k000000000005:e"));
        assert_eq!(first("GET ''").as_deref(), Some(""));
        assert_eq!(first("PING"), None);
    }

    #[test]
    fn several_keys_are_seen_where_nobody_tagged_them() {
        for (text, has_several) in [
            ("GET {key}", false),
            ("SET {key} {value}", false),
            ("MGET {key} {key}", true),
            ("RENAME {key} backup:{key}", true),
            ("MGET {key} fixed", false),
            ("MGET {{tag}}{key} {{tag}}{key}", false),
            ("MGET {{{key}}}:a {{{key}}}:b", false),
        ] {
            assert_eq!(Template::parse(text).expect(text).has_several_keys, has_several, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_is_refused() {
        let bad =
            ["", "  ", "GET {", "GET }", "GET {kay}", "GET {int:5:1}", "GET {int:x:1}", "SET k {value:x}", "A 'x"];
        for bad in bad {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_seed_tells_the_requests() {
        let text = |seed| {
            let keys = Keys::new(&Distribution::Uniform, 1_000_000, None, "k", 0, 1);
            let mut filler = Filler::new(keys, Sizes::Range(1, 50), (1, 1), 0, 1, seed);
            let template = Template::parse("SET {key} {value}").unwrap();
            let mut out = Vec::new();
            (0..10).for_each(|_| template.append(&mut filler, &mut out));
            out
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }
}
