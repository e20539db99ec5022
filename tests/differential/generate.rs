//! Commands from the rows of `grammar/` and one seed.

use crate::compare::Mode;
use crate::grammar::FAMILIES;

/// SplitMix64: small, good enough, and the same everywhere.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is small, so that the bias of the remainder is nothing.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "there is no number below zero");
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, items: &'a [&'a T]) -> &'a T {
        items[self.below(items.len())]
    }
}

/// A command and how its replies are compared.
#[derive(Clone, Debug)]
pub struct Step {
    /// The words.
    pub arguments: Vec<Vec<u8>>,
    /// The rule for its reply.
    pub mode: Mode,
    /// Whether time has to pass after it.
    pub expiring: bool,
}

/// Commands that wait for somebody where there is nothing to take.
const WAITING: &[&[u8]] =
    &[b"BLMOVE", b"BLMPOP", b"BLPOP", b"BRPOP", b"BRPOPLPUSH", b"BZMPOP", b"BZPOPMAX", b"BZPOPMIN"];

fn exact(words: &[&[u8]]) -> Step {
    Step { arguments: words.iter().map(|word| word.to_vec()).collect(), mode: Mode::Exact, expiring: false }
}

impl Step {
    /// The command, with others around it where it cannot stand alone.
    ///
    /// What waits is sent in a transaction, where nothing waits, whatever its words became. And Redis 7.0's `SORT`
    /// looks at an errno that others left behind: a text that is no stream's id makes it 0 again.
    pub fn accompanied(self) -> Vec<Step> {
        let is = |name: &[u8]| self.arguments[0].eq_ignore_ascii_case(name);
        let reads = is(b"XREAD") || is(b"XREADGROUP");
        let waits = reads && self.arguments.iter().any(|word| word.eq_ignore_ascii_case(b"BLOCK"));
        if waits || WAITING.iter().any(|name| is(name)) {
            vec![exact(&[b"MULTI"]), self, exact(&[b"EXEC"])]
        } else if is(b"SORT") || is(b"SORT_RO") {
            vec![exact(&[b"XRANGE", b"none", b"no-id", b"+"]), self]
        } else {
            vec![self]
        }
    }
}

/// A piece of a row.
#[derive(Debug)]
enum Piece {
    Word(String),
    Random(String),
    Choice(Vec<Vec<Piece>>),
    Optional(Vec<Vec<Piece>>),
    Repeat(Vec<Piece>),
}

/// A parsed row.
#[derive(Debug)]
pub struct Row {
    /// Its place in `FAMILIES`.
    pub family: usize,
    weight: usize,
    /// The rule for its replies.
    pub mode: Mode,
    /// Whether time has to pass after it.
    pub expiring: bool,
    pieces: Vec<Piece>,
}

/// A word of a command, and the thing it was drawn as.
pub type Word<'row> = (Vec<u8>, Option<&'row str>);

/// The parsed grammar.
pub struct Generator {
    /// Of every family.
    pub rows: Vec<Row>,
    weight_sum: usize,
}

fn tokens(row: &str) -> Vec<String> {
    let mut spaced = String::new();
    for character in row.chars() {
        if "()[]{}|".contains(character) {
            spaced.extend([' ', character, ' ']);
        } else {
            spaced.push(character);
        }
    }
    spaced.split_whitespace().map(String::from).collect()
}

/// Pieces up to a closing bracket or bar, which stays.
fn sequence(tokens: &mut std::iter::Peekable<std::vec::IntoIter<String>>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let Some(token) = tokens.next_if(|token| ![")", "]", "}", "|"].contains(&token.as_str())) {
        pieces.push(match token.as_str() {
            "(" => Piece::Choice(alternatives(tokens, ")")),
            "[" => Piece::Optional(alternatives(tokens, "]")),
            "{" => {
                let inner = sequence(tokens);
                assert_eq!(tokens.next().as_deref(), Some("}"), "a brace is not closed");
                Piece::Repeat(inner)
            }
            word => match word.strip_prefix('$') {
                Some(name) => Piece::Random(name.into()),
                None => Piece::Word(word.into()),
            },
        });
    }
    pieces
}

fn alternatives(tokens: &mut std::iter::Peekable<std::vec::IntoIter<String>>, close: &str) -> Vec<Vec<Piece>> {
    let mut all = vec![sequence(tokens)];
    loop {
        match tokens.next().as_deref() {
            Some("|") => all.push(sequence(tokens)),
            Some(token) if token == close => return all,
            other => panic!("a row has {other:?} where {close} should stand"),
        }
    }
}

impl Row {
    fn parse(family: usize, text: &str) -> Row {
        let mut tokens = tokens(text).into_iter().peekable();
        let weight = tokens.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no weight: {text}"));
        let mut row = Row { family, weight, mode: Mode::Exact, expiring: false, pieces: Vec::new() };
        if let Some(mode) = tokens.next_if(|token| token.ends_with(':')) {
            row.mode = match mode.as_str() {
                "any-order:" => Mode::AnyOrder,
                "time:" => Mode::Time,
                "member:" => Mode::Member,
                "kind:" => Mode::Kind,
                "scan:" => Mode::Scan,
                "payload:" => Mode::Payload,
                "idle:" => Mode::Idle,
                "expiring:" => Mode::Exact,
                other => panic!("unknown mode {other}"),
            };
            row.expiring = mode == "expiring:";
        }
        row.pieces = sequence(&mut tokens);
        assert!(tokens.next().is_none(), "brackets don't match: {text}");
        row
    }

    /// One command of the row, word by word.
    pub fn words(&self, random: &mut Random) -> Vec<Word<'_>> {
        let mut words = Vec::new();
        expand(&self.pieces, random, &mut words);
        words
    }
}

impl Generator {
    /// Parses every family, or those that `CORERING_DIFF_FAMILY` names.
    pub fn new() -> Generator {
        let only = std::env::var("CORERING_DIFF_FAMILY").ok();
        let rows: Vec<Row> = FAMILIES
            .iter()
            .enumerate()
            .filter(|(_, family)| only.as_deref().is_none_or(|only| only.split(',').any(|name| name == family.name)))
            .flat_map(|(index, family)| family.rows.iter().map(move |text| Row::parse(index, text)))
            .collect();
        assert!(!rows.is_empty(), "there is no family {only:?}");
        let weight_sum = rows.iter().map(|row| row.weight).sum();
        Generator { rows, weight_sum }
    }

    /// The next command.
    pub fn step(&self, random: &mut Random) -> Step {
        let mut left = random.below(self.weight_sum);
        let row = self
            .rows
            .iter()
            .find(|row| match left.checked_sub(row.weight) {
                Some(less) => {
                    left = less;
                    false
                }
                None => true,
            })
            .expect("the weights add up");
        let arguments = row.words(random).into_iter().map(|(word, _)| word).collect();
        let mut step = Step { arguments, mode: row.mode, expiring: row.expiring };
        if !row.expiring {
            spoil(&mut step, random);
        }
        step
    }
}

fn expand<'row>(pieces: &'row [Piece], random: &mut Random, words: &mut Vec<Word<'row>>) {
    for piece in pieces {
        match piece {
            Piece::Word(word) => words.push((word.clone().into_bytes(), None)),
            Piece::Random(name) => words.push((thing(name, random), Some(name))),
            Piece::Choice(all) => expand(&all[random.below(all.len())], random, words),
            Piece::Optional(all) => {
                if random.one_in(2) {
                    expand(&all[random.below(all.len())], random, words);
                }
            }
            Piece::Repeat(inner) => {
                for _ in 0..=random.below(5) {
                    expand(inner, random, words);
                }
            }
        }
    }
}

/// Once in a while a mistake that people make: a word too few or too many, one twice, two swapped, odd case.
fn spoil(step: &mut Step, random: &mut Random) {
    let arguments = &mut step.arguments;
    // A time that another word lands in could pass within the run.
    let timed = arguments.iter().any(|word| {
        let word = word.to_ascii_uppercase();
        [b"EX".as_slice(), b"PX", b"EXAT", b"PXAT"].contains(&word.as_slice())
            || [b"EXPIRE".as_slice(), b"SETEX", b"GETEX", b"RESTORE"]
                .iter()
                .any(|part| word.windows(part.len()).any(|w| w == *part))
    });
    match random.below(60) {
        1..=4 if timed => return,
        0 => _ = arguments.pop_if(|_| random.below(4) > 0),
        1 => arguments.push(thing("word", random)),
        2 => arguments.push(thing("value", random)),
        3 => {
            let index = random.below(arguments.len());
            arguments.push(arguments[index].clone());
        }
        4 if arguments.len() > 2 => {
            let last = arguments.len() - 1;
            let index = 1 + random.below(last);
            arguments.swap(index, last);
        }
        5 => arguments.truncate(1),
        6..12 => {
            for byte in &mut arguments[0] {
                if random.one_in(2) {
                    *byte ^= if byte.is_ascii_alphabetic() { 0x20 } else { 0 };
                }
            }
        }
        _ => return,
    }
    if step.arguments.is_empty() {
        step.arguments.push(b"PING".to_vec());
    }
    // A spoilt command may be another one than the row's rule was made for; TIME, COMMAND and their kin on their own
    // answer, and not the same to two servers.
    if step.mode == Mode::Scan || step.arguments.len() == 1 {
        step.mode = Mode::Kind;
    }
}

/// Keys: few, so that commands meet; tags, so that some share a slot; empty and binary ones.
const KEYS: &[&[u8]] = &[b"k0", b"k1", b"k2", b"k3", b"k4", b"{t}a", b"{t}b", b"\x00\xff\r\n", b""];

/// Where integer arithmetic breaks (reliability: every count, offset and sum), and texts that are almost numbers.
/// None lies between 5,000 and 2^29, where a value could be made that large.
pub const INTEGERS: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"2",
    b"-2",
    b"10",
    b"100",
    b"127",
    b"128",
    b"255",
    b"256",
    b"-129",
    b"4095",
    b"536870912",
    b"2147483647",
    b"2147483648",
    b"-2147483648",
    b"-2147483649",
    b"4294967295",
    b"4294967296",
    b"9223372036854775806",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775807",
    b"-9223372036854775808",
    b"-9223372036854775809",
    b"18446744073709551615",
    b"18446744073709551616",
    b"99999999999999999999999999",
    b"+1",
    b"01",
    b"-0",
    b"1.0",
    b"1e3",
    b" 1",
    b"1 ",
    b"0x10",
    b"",
    b"-",
    b"abc",
    b"1\x00",
];

/// The same for floating point.
pub const FLOATS: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"0.1",
    b"0.2",
    b"-0.3",
    b"1.5",
    b"3.14159",
    b"1e3",
    b"1e-3",
    b"1e17",
    b"1e18",
    b"1e-17",
    b"123456789.123456789",
    b"9007199254740993",
    b"9223372036854775807",
    b"1e300",
    b"-1e300",
    b"1e400",
    b"inf",
    b"-inf",
    b"nan",
    b"+1",
    b".5",
    b"5.",
    b"1e",
    b"0x1p3",
    b" 1",
    b"1 ",
    b"",
    b"abc",
    b"1,5",
    b"1\x00",
];

/// Words that fit nowhere, or somewhere else.
pub const WORDS: &[&[u8]] = &[
    b"BOGUS", b"GET", b"NX", b"XX", b"EX", b"COUNT", b"HELP!", b"a\r\nb", b"'quoted'", b"", b"0", b"-1", b"\x00", b"ENCODING", b"maxmemory-samples",
    b"no-such-directive", b"012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234",
];

const PATTERNS: &[&[u8]] = &[
    b"*", b"k*", b"k?", b"k[0-2]", b"k[^0]", b"*t*", b"{t}*", b"", b"?", b"[", b"k[", b"\\k0", b"k\\", b"**", b"*0",
    b"k[2-0]", b"[a-z]*", b"\x00*", b"none",
];

fn text(number: impl ToString) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// The words of a family's own thing.
pub fn own_words(name: &str) -> Option<&'static [&'static [u8]]> {
    let mut all = FAMILIES.iter().flat_map(|family| family.things);
    all.find(|(own, _)| *own == name).map(|(_, words)| *words)
}

/// A random thing of a kind.
fn thing(name: &str, random: &mut Random) -> Vec<u8> {
    match name {
        "key" => random.pick(KEYS).to_vec(),
        "value" => value(random),
        "int" if random.one_in(2) => text(random.below(200) as i64 - 100),
        "int" => random.pick(INTEGERS).to_vec(),
        "float" if random.one_in(3) => text((random.below(2_000_000) as f64 - 1_000_000.0) / 1_000.0),
        "float" => random.pick(FLOATS).to_vec(),
        "count" => text(random.below(30) as i64 - 10),
        // Small enough to keep values small, or refused.
        "offset" if random.one_in(4) => random.pick(INTEGERS).to_vec(),
        "offset" if random.one_in(10) => text(random.below(4_000)),
        "offset" => text(random.below(40)),
        "bit" if random.one_in(12) => {
            let refused: [&[u8]; 8] =
                [b"-1", b"4294967296", b"9223372036854775807", b"-9223372036854775808", b"abc", b"", b"01", b"#1"];
            random.pick(&refused).to_vec()
        }
        "bit" if random.one_in(4) => format!("#{}", random.below(12)).into_bytes(),
        "bit" => text(random.below(700)),
        "bitfield" if random.one_in(10) => {
            random.pick(&[b"u64".as_slice(), b"i65", b"u0", b"i-1", b"U8", b"8", b"u", b""]).to_vec()
        }
        "bitfield" if random.one_in(2) => format!("i{}", 1 + random.below(64)).into_bytes(),
        "bitfield" => format!("u{}", 1 + random.below(63)).into_bytes(),
        // Far away, and never the same twice, so that GT and LT have one answer on every server.
        "seconds" | "ms" if random.one_in(8) => {
            let refused: [&[u8]; 9] = [
                b"0",
                b"-1",
                b"-9223372036854775808",
                b"9223372036854775807",
                b"9223372036854775",
                b"9223372036854776",
                b"abc",
                b"1.5",
                b"",
            ];
            // As milliseconds the 16 digits would be a valid time 292,000 years away: they are, on every server.
            random.pick(&refused).to_vec()
        }
        "seconds" => text(10_000 + random.below(1_000_000_000)),
        "ms" => text(10_000_000 + random.below(1_000_000_000_000)),
        // For SET and GETEX, which leave an expired key to be found: in the future, or refused.
        "until" if random.one_in(8) => random.pick(&[b"0".as_slice(), b"-1", b"abc", b"9223372036854775807"]).to_vec(),
        "until" => text(4_000_000_000_u64 + random.below(1_000_000_000) as u64),
        "until_ms" if random.one_in(8) => random.pick(&[b"0".as_slice(), b"-1", b"abc", b""]).to_vec(),
        "until_ms" => text(4_000_000_000_000_u64 + random.below(1_000_000_000_000) as u64),
        "at" if random.one_in(8) => random.pick(INTEGERS).to_vec(),
        "at" => text(4_000_000_000_u64 + random.below(1_000_000_000) as u64),
        "at_ms" if random.one_in(8) => random.pick(INTEGERS).to_vec(),
        "at_ms" => text(4_000_000_000_000_u64 + random.below(1_000_000_000_000) as u64),
        "db" if random.one_in(8) => {
            random.pick(&[b"16".as_slice(), b"-1", b"abc", b"15", b"", b"99999999999"]).to_vec()
        }
        "db" => text(random.below(3)),
        "pattern" => random.pick(PATTERNS).to_vec(),
        "cursor" => random.pick(&[b"abc".as_slice(), b" 0", b"1.5", b"18446744073709551616", b"0x1"]).to_vec(),
        "word" => random.pick(WORDS).to_vec(),
        // A dollar alone is the last id of a stream.
        "" => b"$".to_vec(),
        "text" => (0..random.below(60)).map(|_| b'a' + random.below(4) as u8).collect(),
        name => random
            .pick(own_words(name).unwrap_or_else(|| panic!("the grammar names an unknown thing: ${name}")))
            .to_vec(),
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0..3 => text(random.below(20_000) as i64 - 10_000),
        3 => random.pick(INTEGERS).to_vec(),
        4 => random.pick(FLOATS).to_vec(),
        5 => Vec::new(),
        // Around the edge between embstr and raw, and around powers of two.
        6 => vec![b'x'; random.pick(&[&1_usize, &7, &8, &43, &44, &45, &63, &64, &65, &127, &128]).to_owned()],
        7 => (0..random.below(40)).map(|_| random.below(256) as u8).collect(),
        8 if random.one_in(8) => vec![b'y'; 1_000 + random.below(2_000)],
        _ => (0..random.below(20)).map(|_| b'a' + random.below(26) as u8).collect(),
    }
}
