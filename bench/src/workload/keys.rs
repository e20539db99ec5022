//! Which keys are asked for: uniform, by Zipf's law, in sequence, or as a recorded trace has them.

//!
//! A cluster takes a command with several keys only if they are in one slot. So keys may get hash tags, as many as
//! [`Tags::of`] says: `{7}key:000000000107`. The tag follows from the key's number, so that a key is the same whichever
//! command names it, and there are as many keys as were asked for. The first key of a command is drawn as always; those
//! behind it are moved to the keys of its tag. Tags are chosen so that their slots lie evenly among all: every node has
//! the share of keys that it has of slots.

use super::zipf::Zipf;
use crate::wire::cluster::{SLOTS, slot};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The longest trace file that is read: it is held in memory.
pub const TRACE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// A choice of keys, as the command line says it.
#[derive(Debug, Clone, PartialEq)]
pub enum Distribution {
    Uniform,
    /// The exponent.
    Zipf(f64),
    Sequential,
    Trace(PathBuf),
}

impl std::str::FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Distribution, String> {
        match text.split_once(':') {
            None if text == "uniform" => Ok(Distribution::Uniform),
            None if text == "sequential" => Ok(Distribution::Sequential),
            None if text == "zipf" => Ok(Distribution::Zipf(0.99)),
            Some(("zipf", theta)) => match theta.parse::<f64>() {
                Ok(theta) if (0.0..=20.0).contains(&theta) => Ok(Distribution::Zipf(theta)),
                _ => Err(format!("`{theta}` is no exponent: want 0 to 20")),
            },
            Some(("trace", path)) if !path.is_empty() => Ok(Distribution::Trace(PathBuf::from(path))),
            _ => Err(format!("`{text}`: want uniform, zipf:THETA, sequential or trace:FILE")),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Distribution::Uniform => write!(f, "uniform"),
            Distribution::Zipf(theta) => write!(f, "Zipf, theta {theta}"),
            Distribution::Sequential => write!(f, "sequential"),
            Distribution::Trace(path) => write!(f, "trace {}", path.display()),
        }
    }
}

/// The keys of a recorded trace, in order. A line has a key, and may have the value's size in bytes behind a comma, a
/// tab or blanks. Empty lines and those that begin with `#` count for nothing.
#[derive(Debug)]
pub struct Trace {
    bytes: Vec<u8>,
    /// Begin, length and size of the value of each request.
    requests: Vec<(u32, u32, Option<u32>)>,
}

impl Trace {
    /// Reads a trace; what is wrong with it comes back as a sentence.
    pub fn read(path: &Path) -> Result<Trace, String> {
        let says = |what: String| format!("trace {}: {what}", path.display());
        let bytes_len = std::fs::metadata(path).map_err(|error| says(error.to_string()))?.len();
        if TRACE_BYTES_MAX < bytes_len {
            return Err(says(format!("{bytes_len} bytes are more than {TRACE_BYTES_MAX}")));
        }
        Trace::parse(std::fs::read(path).map_err(|error| says(error.to_string()))?).map_err(says)
    }

    fn parse(bytes: Vec<u8>) -> Result<Trace, String> {
        let is_blank = |byte: &u8| [b',', b'\t', b' '].contains(byte);
        let mut requests = Vec::new();
        let mut begin = 0;
        for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let at = u32::try_from(begin).map_err(|_| "it is too long".to_string())?;
            begin += line.len() + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            let key_len = line.iter().position(is_blank).unwrap_or(line.len());
            let size = String::from_utf8_lossy(&line[key_len..]);
            let size = size.trim_matches(|c: char| c == ',' || c.is_whitespace());
            let size = match size {
                "" => None,
                text => match text.parse::<u32>() {
                    Ok(size) if u64::from(size) <= super::size::SIZE_BYTES_MAX => Some(size),
                    _ => return Err(format!("line {}: `{text}` is no size in bytes", number + 1)),
                },
            };
            if key_len == 0 {
                return Err(format!("line {}: no key", number + 1));
            }
            requests.push((at, key_len as u32, size));
        }
        if requests.is_empty() { Err("it has no key".into()) } else { Ok(Trace { bytes, requests }) }
    }

    /// Requests in the trace.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Never: an empty trace is refused.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

/// Draws keys for one thread. Threads take turns in a sequence or trace: thread i of n begins at the i-th key and takes
/// every n-th.
#[derive(Debug, Clone)]
pub struct Keys {
    choice: Choice,
    prefix: Vec<u8>,
    digits: usize,
    tags: Option<Tags>,
}

/// Hash tags of keys, and what they have come to within a command.
#[derive(Debug, Clone)]
pub struct Tags {
    keys: u64,
    /// The number that stands in each.
    names: Arc<[u64]>,
    /// The number of the command's first key, and how many there are by now.
    first: Option<(u64, u64)>,
}

impl Tags {
    /// Keys that share a tag, at least, so that a command finds different ones.
    const KEYS_MIN: u64 = 100;
    /// Fewer will do for so many tags, so that all nodes of a small cluster have some of a few keys.
    const TAGS_WANTED: u64 = 16;
    const FEW_KEYS_MIN: u64 = 10;
    /// So many tags are spread over the nodes of any cluster well enough.
    const TAGS_MAX: u64 = 4096;

    /// Tags of so many keys.
    pub fn of(keys: u64) -> Tags {
        let few = (keys / Tags::FEW_KEYS_MIN).min(Tags::TAGS_WANTED);
        let count = (keys / Tags::KEYS_MIN).max(few).clamp(1, Tags::TAGS_MAX);
        Tags { keys, names: Tags::spread(count), first: None }
    }

    /// Of as many equal parts of all slots, the least number whose slot is in each.
    fn spread(count: u64) -> Arc<[u64]> {
        let mut names = vec![None; count as usize];
        let mut left = names.len();
        for number in 0.. {
            if left == 0 {
                break;
            }
            let part = u64::from(slot(number.to_string().as_bytes())) * count / SLOTS as u64;
            let name = &mut names[part as usize];
            if name.is_none() {
                *name = Some(number);
                left -= 1;
            }
        }
        names.into_iter().map(|name| name.expect("none is left")).collect()
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.names.len() as u64
    }

    /// The key that stands in a command for the one that was drawn. Where keys come in sequence, those behind the first
    /// are its successors within their tag.
    fn moved(&mut self, drawn: u64, is_sequential: bool) -> u64 {
        let tags = self.count();
        let Some((first, seen)) = &mut self.first else {
            self.first = Some((drawn, 1));
            return drawn;
        };
        let tag = *first % tags;
        let of_tag = (self.keys - tag).div_ceil(tags);
        let place = if is_sequential { *first / tags + *seen } else { drawn / tags };
        *seen += 1;
        tag + tags * (place % of_tag)
    }
}

#[derive(Debug, Clone)]
enum Choice {
    Uniform(u64),
    Zipf(Zipf),
    /// Next, step, keys.
    Sequential(u64, u64, u64),
    /// Next, step.
    Trace(Arc<Trace>, usize, usize),
}

impl Keys {
    /// Keys of thread `index` of `threads`; `trace` is there if the distribution is one.
    pub fn new(
        distribution: &Distribution,
        keys: u64,
        trace: Option<Arc<Trace>>,
        prefix: &str,
        index: usize,
        threads: usize,
    ) -> Keys {
        assert!(0 < keys);
        assert!(index < threads);
        let choice = match distribution {
            Distribution::Uniform => Choice::Uniform(keys),
            Distribution::Zipf(theta) => Choice::Zipf(Zipf::new(keys, *theta)),
            Distribution::Sequential => Choice::Sequential(index as u64, threads as u64, keys),
            Distribution::Trace(_) => Choice::Trace(trace.expect("it was read"), index, threads),
        };
        Keys { choice, prefix: prefix.as_bytes().to_vec(), digits: 12, tags: None }
    }

    /// The same with hash tags; those of a trace are as they are.
    pub fn tagged(self, tags: Option<Tags>) -> Keys {
        Keys { tags, ..self }
    }

    /// A command begins: its first key has any tag.
    pub fn begin_command(&mut self) {
        if let Some(tags) = &mut self.tags {
            tags.first = None;
        }
    }

    /// Appends a key; tells the size of its value if a trace says it.
    pub fn append(&mut self, random: &mut fastrand::Rng, out: &mut Vec<u8>) -> Option<usize> {
        let number = match &mut self.choice {
            Choice::Uniform(keys) => random.u64(0..*keys),
            Choice::Zipf(zipf) => zipf.sample(random) - 1,
            // Those behind a command's first are no turns of the sequence.
            Choice::Sequential(..) if self.tags.as_ref().is_some_and(|tags| tags.first.is_some()) => 0,
            Choice::Sequential(next, step, keys) => {
                let number = *next % *keys;
                *next += *step;
                number
            }
            Choice::Trace(trace, next, step) => {
                let (begin, len, size) = trace.requests[*next % trace.requests.len()];
                *next = (*next + *step) % (trace.requests.len() * *step);
                out.extend_from_slice(&trace.bytes[begin as usize..][..len as usize]);
                return size.map(|size| size as usize);
            }
        };
        let mut number = number;
        if let Some(tags) = &mut self.tags {
            number = tags.moved(number, matches!(self.choice, Choice::Sequential(..)));
            out.push(b'{');
            append_number(tags.names[(number % tags.count()) as usize], 1, out);
            out.push(b'}');
        }
        out.extend_from_slice(&self.prefix);
        append_number(number, self.digits, out);
        None
    }
}

/// Appends a number in at least `digits` digits.
pub fn append_number(mut number: u64, digits: usize, out: &mut Vec<u8>) {
    let mut text = [b'0'; 20];
    let mut begin = text.len();
    while 0 < number || text.len() - begin < digits.max(1) {
        begin -= 1;
        text[begin] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&text[begin..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(keys: &mut Keys, count: usize) -> Vec<String> {
        let mut random = fastrand::Rng::with_seed(1);
        let mut one = || {
            let mut out = Vec::new();
            keys.append(&mut random, &mut out);
            String::from_utf8(out).unwrap()
        };
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn a_sequence_is_whole_over_all_threads() {
        let mut all: Vec<String> = Vec::new();
        for index in 0..3 {
            all.extend(drawn(&mut Keys::new(&Distribution::Sequential, 10, None, "k:", index, 3), [4, 3, 3][index]));
        }
        all.sort();
        let expected: Vec<String> = (0..10).map(|number| format!("k:{number:012}")).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn uniform_keys_are_within_the_space() {
        let all = drawn(&mut Keys::new(&Distribution::Uniform, 4, None, "", 0, 1), 4_000);
        for number in 0..4 {
            let seen = all.iter().filter(|key| **key == format!("{number:012}")).count();
            assert!((seen as i64 - 1_000).abs() < 150, "{number}: {seen}");
        }
    }

    #[test]
    fn a_trace_is_played_in_order_and_again() {
        let trace = Arc::new(Trace::parse(b"# a comment\na,10\r\n\nb 20\nc\n".to_vec()).unwrap());
        assert_eq!(trace.len(), 3);
        let distribution = Distribution::Trace("x".into());
        let mut keys = Keys::new(&distribution, 1, Some(trace.clone()), "k:", 0, 1);
        assert_eq!(drawn(&mut keys, 5), ["a", "b", "c", "a", "b"]);
        let mut second = Keys::new(&distribution, 1, Some(trace), "k:", 1, 2);
        assert_eq!(drawn(&mut second, 4), ["b", "a", "c", "b"]);
        let mut out = Vec::new();
        assert_eq!(second.append(&mut fastrand::Rng::with_seed(0), &mut out), Some(10));
        for bad in ["", "#x\n", "a,b\n", "a,-1\n", ",5\n"] {
            assert!(Trace::parse(bad.as_bytes().to_vec()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_are_padded() {
        let text = |number, digits| {
            let mut out = Vec::new();
            append_number(number, digits, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(0, 1), "0");
        assert_eq!(text(42, 12), "000000000042");
        assert_eq!(text(u64::MAX, 1), u64::MAX.to_string());
        for good in ["uniform", "zipf", "zipf:1.2", "sequential", "trace:a:b"] {
            assert!(good.parse::<Distribution>().is_ok(), "{good}");
        }
        for bad in ["", "zipf:", "zipf:-1", "trace:", "gauss"] {
            assert!(bad.parse::<Distribution>().is_err(), "{bad}");
        }
    }
}
