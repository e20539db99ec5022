//! The last minutes, second by second, for the live page: how many commands every core ran, hits and memory, how long
//! each stage took.
//!
//! Latencies have bins here, eight to a power of two, which is as fine as a heat map can show.

use super::board::{Reading, Second};
use crate::stats::histogram::{LATENCY_MAX, coarse_bounds, coarse_place};
use crate::stats::stages::Lane;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Seconds that are kept.
pub const POINTS_MAX: usize = 300;
/// Buckets of two digits that make a bin.
const BIN_PLACES: u16 = 16;
/// Every core has brought a second so long after it, in seconds.
const SETTLED_S: u64 = 2;
/// Seconds so far ahead are none: the clock was set back.
const AHEAD_S: u64 = 5;

/// Memory of the process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// `used_memory`
    pub used: u64,
    /// `used_memory_rss`
    pub resident: u64,
}

/// What was read once in a second.
#[derive(Debug, Default, PartialEq, Eq)]
struct Gauges {
    /// Commands run, by core.
    commands: Vec<u64>,
    hits: u64,
    misses: u64,
    memory: Memory,
}

/// One second of all cores.
#[derive(Debug, Default, PartialEq, Eq)]
struct Point {
    gauges: Option<Gauges>,
    /// Calls by bin, by lane.
    lanes: BTreeMap<Lane, BTreeMap<u16, u64>>,
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Series {
    points: BTreeMap<u64, Point>,
    /// Of each core, when it was asked last.
    readings: Vec<Reading>,
}

/// How much a counter has grown; since it began anew, if it did.
fn growth(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

impl Series {
    /// Adds a second of a core.
    pub fn add(&mut self, second: &Second) {
        let point = self.points.entry(second.unix_s).or_default();
        for counted in &second.slice.counted {
            let bins = point.lanes.entry(counted.lane).or_default();
            for (place, count) in counted.buckets.iter() {
                *bins.entry(place / BIN_PLACES).or_default() += u64::from(count);
            }
        }
        self.forget();
    }

    /// Adds what was read at the end of a second, of every core.
    pub fn read(&mut self, unix_s: u64, readings: Vec<Reading>, memory: Memory) {
        if self.points.last_key_value().is_some_and(|(last, _)| unix_s + AHEAD_S < *last) {
            self.points.clear();
        }
        let before = std::mem::replace(&mut self.readings, readings);
        if before.is_empty() {
            return;
        }
        let mut gauges = Gauges { memory, ..Gauges::default() };
        for (before, now) in before.iter().zip(&self.readings) {
            // A core that is busy with something long has run nothing meanwhile; the first reading is only the base.
            let elapsed_ms = now.steady_ms.saturating_sub(before.steady_ms);
            let is_known = 0 < before.steady_ms && 0 < elapsed_ms;
            let commands = u128::from(growth(before.commands, now.commands)) * 1000;
            gauges.commands.push(if is_known { (commands / u128::from(elapsed_ms)) as u64 } else { 0 });
            gauges.hits += growth(before.hits, now.hits);
            gauges.misses += growth(before.misses, now.misses);
        }
        self.points.entry(unix_s).or_default().gauges = Some(gauges);
        self.forget();
    }

    fn forget(&mut self) {
        while POINTS_MAX < self.points.len() {
            self.points.pop_first();
        }
    }

    /// The seconds after one, and before those that cores have yet to tell of, as JSON: an array of
    /// `{"t":…,"ops":[…],"hits":…,"misses":…,"used":…,"rss":…,"lanes":{"local.read":[[bin,calls],…]}}`.
    pub fn json(&self, after_s: u64, now_s: u64) -> String {
        let settled = now_s.saturating_sub(SETTLED_S);
        let points = self.points.iter().filter(|(second, _)| after_s < **second && **second <= settled);
        let points: Vec<String> = points.map(|(second, point)| point.json(*second)).collect();
        format!("[{}]", points.join(","))
    }
}

impl Point {
    fn json(&self, second: u64) -> String {
        let mut text = format!("{{\"t\":{second},");
        if let Some(Gauges { commands, hits, misses, memory: Memory { used, resident } }) = &self.gauges {
            let commands: Vec<String> = commands.iter().map(u64::to_string).collect();
            let commands = commands.join(",");
            write!(
                text,
                "\"ops\":[{commands}],\"hits\":{hits},\"misses\":{misses},\"used\":{used},\"rss\":{resident},"
            )
            .expect("a string takes any text");
        }
        text.push_str("\"lanes\":{");
        for (at, (lane, bins)) in self.lanes.iter().enumerate() {
            let bins: Vec<String> = bins.iter().map(|(bin, count)| format!("[{bin},{count}]")).collect();
            let comma = if at == 0 { "" } else { "," };
            let (way, stage) = (lane.way().name(), lane.stage().name());
            write!(text, "{comma}\"{way}.{stage}\":[{}]", bins.join(",")).expect("a string takes any text");
        }
        text.push_str("}}");
        text
    }
}

/// Where each bin begins, in nanoseconds, and where the last one ends, as a JSON array.
pub fn bins_json() -> String {
    let bins = coarse_place(LATENCY_MAX) / BIN_PLACES + 1;
    let mut bounds: Vec<String> = (0..bins).map(|bin| coarse_bounds(bin * BIN_PLACES).0.to_string()).collect();
    bounds.push((LATENCY_MAX + 1).to_string());
    format!("[{}]", bounds.join(","))
}

/// A string as JSON writes it. What is no UTF-8 is replaced.
pub fn json_string(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for letter in String::from_utf8_lossy(bytes).chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            // Not only what JSON demands: nothing of it is to mean anything to a page.
            '\0'..' ' | '<' | '>' | '&' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
                write!(text, "\\u{:04x}", letter as u32).expect("a string takes any text");
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
    text
}

/// Bytes as a person reads them, and types them for `redis-cli`: plain ones as they are, else in quotes, with escapes
/// for what is no letter. Two that differ look different: what is no UTF-8 keeps its bytes, and so does what has no
/// width, turns the direction, or joins the letter before.
pub fn shown(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.:{}@/+*?[]-".contains(byte);
    let mut text = String::with_capacity(bytes.len() + 2);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        text.extend(bytes.iter().map(|byte| char::from(*byte)));
        return text;
    }
    fn escape(text: &mut String, bytes: &[u8]) {
        for byte in bytes {
            write!(text, "\\x{byte:02x}").expect("a string takes any text");
        }
    }
    text.push('"');
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => text.extend(['\\', letter]),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\x07' => text.push_str("\\a"),
                '\x08' => text.push_str("\\b"),
                ' '..='~' => text.push(letter),
                letter if letter.is_alphanumeric() => text.push(letter),
                letter => escape(&mut text, letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::lookup;
    use crate::stats::stages::{Counted, Slice, Stage, Way};
    use std::sync::Arc;

    fn second(unix_s: u64, core: usize, stage: Stage, nanoseconds: u64, count: u32) -> Second {
        let command = lookup(b"get").expect("a row").id;
        let buckets = [(coarse_place(nanoseconds), count)].into_iter().collect();
        let counted = Counted { command, lane: Lane::of(Way::Local, stage), buckets };
        Second { unix_s, core, resets: 0, slice: Arc::new(Slice { second: 0, counted: vec![counted] }) }
    }

    fn reading(steady_ms: u64, commands: u64, hits: u64) -> Reading {
        Reading { steady_ms, commands, hits, misses: 1 }
    }

    #[test]
    fn seconds_of_cores_are_put_together_and_told_when_they_are_whole() {
        let mut series = Series::default();
        series.add(&second(100, 0, Stage::Execute, 5, 3));
        series.add(&second(100, 1, Stage::Execute, 5, 4));
        series.add(&second(100, 1, Stage::Read, 256, 4));
        series.add(&second(101, 1, Stage::Read, 256, 1));
        let first = r#"{"t":100,"lanes":{"local.read":[[16,4]],"local.execute":[[0,7]]}}"#;
        assert_eq!(series.json(0, 102), format!("[{first}]"));
        assert_eq!(series.json(100, 103), r#"[{"t":101,"lanes":{"local.read":[[16,1]]}}]"#);
        assert_eq!(series.json(101, 110), "[]");
        (200..1_000).for_each(|unix_s| series.add(&second(unix_s, 0, Stage::Execute, 5, 1)));
        assert_eq!(series.points.len(), POINTS_MAX);
        let bins = bins_json();
        let bins: Vec<u64> = bins.trim_matches(['[', ']']).split(',').map(|bound| bound.parse().unwrap()).collect();
        assert_eq!((bins.len(), bins[16], bins[17], bins[240]), (241, 256, 288, 1 << 36));
        assert!(bins.is_sorted());
    }

    #[test]
    fn counters_become_what_happened_in_a_second() {
        let memory = Memory { used: 7, resident: 9 };
        let mut series = Series::default();
        series.read(100, vec![reading(5_000, 1_000, 10), reading(0, 0, 0)], memory);
        assert_eq!(series.json(0, 200), "[]", "the first is the base");
        // The second core was not heard of before; the first looked 1.1 s after its last look.
        series.read(101, vec![reading(6_100, 2_100, 15), reading(6_000, 50, 0)], memory);
        let told = r#"[{"t":101,"ops":[1000,0],"hits":5,"misses":0,"used":7,"rss":9,"lanes":{}}]"#;
        assert_eq!(series.json(0, 200), told);
        // The first is busy, the second was reset.
        series.read(102, vec![reading(6_100, 2_100, 15), reading(7_000, 20, 0)], memory);
        let told = r#"[{"t":102,"ops":[0,20],"hits":0,"misses":0,"used":7,"rss":9,"lanes":{}}]"#;
        assert_eq!(series.json(101, 200), told);
        // The clock was set back by an hour.
        series.read(50, vec![reading(7_100, 2_200, 15), reading(8_000, 20, 0)], memory);
        assert_eq!(series.json(0, 1_000).matches("\"t\":").count(), 1);
    }

    #[test]
    fn strings_mean_nothing_to_json_or_a_page() {
        assert_eq!(json_string(b"a\"b\\c\n<\xff"), "\"a\\\"b\\\\c\\u000a\\u003c\u{fffd}\"");
    }

    #[test]
    fn whatever_bytes_are_they_look_different_and_can_be_typed() {
        let all: [(&[u8], &str); 8] = [
            (b"key:{7}", "key:{7}"),
            (b"", r#""""#),
            (b"two words", r#""two words""#),
            (b"\xff\xfe\x00bin", r#""\xff\xfe\x00bin""#),
            (b"\xfe\xff\x00bin", r#""\xfe\xff\x00bin""#),
            ("gr\u{f6}\u{df}e\u{202e}\u{fffd}".as_bytes(), "\"gr\u{f6}\u{df}e\\xe2\\x80\\xae\\xef\\xbf\\xbd\""),
            ("e\u{301}".as_bytes(), r#""e\xcc\x81""#),
            (b"a\"b\\\r\n\t\x07\x08\x7f", r#""a\"b\\\r\n\t\a\b\x7f""#),
        ];
        for (bytes, wanted) in all {
            assert_eq!(shown(bytes), wanted);
        }
    }
}
