//! Glob patterns as Redis matches them: `KEYS`, `SCAN … MATCH`, `PSUBSCRIBE`, `CONFIG GET`, ACL rules.
//!
//! ```text
//! *        any bytes, also none          [abc]  one of these        [^a-c]  none of these
//! ?        one byte                      [a-z]  a range             \x      the byte x, special or not
//! ```
//!
//! Bytes, not characters; no special meaning of `/` or a leading point. What Redis does with odd patterns is kept,
//! since clients may lean on it: a class that is not closed ends with the pattern; `[]` matches nothing and `[^]`
//! any byte; a range may be written backwards; bytes in ranges are signed; a lone `\` at the end is a backslash; and
//! an empty text matches the empty pattern only, not `*` (`KEYS *` and `SCAN … MATCH *` do not ask: [`Pattern::All`]).
//!
//! Cost: only the last `*` seen is ever tried again, at the next place where the byte after it occurs. That finds a
//! match if there is one (an earlier `*` taking more could only leave less text for the rest) and needs no recursion,
//! the ground of CVE-2022-36021 and CVE-2024-31228. Plain bytes up to the end of the pattern can only be the end of the
//! text, and a long run of them behind a `*` is searched for in linear time, so `*aaa…ab` against `aaa…a` is no bomb.
//! What remains is pattern times text in the worst case, where classes or `?` follow a `*`; a budget of steps ends
//! that, with "no match".

use memchr::memmem::Finder;
use memchr::{memchr, memchr2};

/// Steps (bytes of text or pattern looked at one by one) that a match may always take: some 60 microseconds.
pub const STEPS_BASE: usize = 1 << 16;

/// A run of plain bytes of this length is searched for as a whole: for shorter ones that costs more than it saves.
const RUN_LEN_MIN: usize = 8;

/// Further steps for each byte of text and pattern. Patterns people write take one or two.
pub const STEPS_PER_BYTE: usize = 16;

/// A pattern sorted by what it takes to match it, so that walking a keyspace with it is cheap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern<'a> {
    /// `*`: every text, the empty one too.
    All,
    /// Nothing special in it: one text.
    Literal(&'a [u8]),
    /// Nothing special in it but one or more `*` at its end: the texts beginning so.
    Prefix(&'a [u8]),
    /// Anything else.
    General(&'a [u8]),
}

impl<'a> Pattern<'a> {
    /// Sorts a pattern.
    pub fn new(pattern: &'a [u8]) -> Pattern<'a> {
        if pattern == b"*" {
            return Pattern::All;
        }
        let special = plain_run(pattern);
        if special == pattern.len() {
            return Pattern::Literal(pattern);
        }
        let (prefix, rest) = pattern.split_at(special);
        if !prefix.is_empty() && rest.iter().all(|&byte| byte == b'*') {
            Pattern::Prefix(prefix)
        } else {
            Pattern::General(pattern)
        }
    }

    /// Whether the text matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Pattern::All => true,
            Pattern::Literal(literal) => *literal == text,
            Pattern::Prefix(prefix) => text.starts_with(prefix),
            Pattern::General(pattern) => matches(pattern, text),
        }
    }
}

/// Whether `text` matches `pattern`, upper and lower case being different.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    search::<false>(pattern, text)
}

/// Whether `text` matches `pattern`, ASCII letters of either case being the same (but not after a `\` in a class, as
/// in Redis).
pub fn matches_nocase(pattern: &[u8], text: &[u8]) -> bool {
    search::<true>(pattern, text)
}

fn search<const NOCASE: bool>(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let mut steps_left = STEPS_BASE.saturating_add(STEPS_PER_BYTE.saturating_mul(pattern.len() + text.len()));
    // What is still to be matched, and the same at the last `*`: where to go on after a mismatch.
    let (mut pattern_rest, mut text_rest) = (pattern, text);
    let mut star: Option<Star<'_>> = None;
    loop {
        let Some((&byte, text_tail)) = text_rest.split_first() else {
            // What is left of the pattern needs a byte for each element that is no `*`, and starting later from the
            // last `*` would leave fewer.
            return pattern_rest.iter().all(|&byte| byte == b'*');
        };
        if let [b'*', ..] = pattern_rest {
            while let [b'*', rest @ ..] = pattern_rest {
                pattern_rest = rest;
            }
            if pattern_rest.is_empty() {
                return true;
            }
            let run = plain_run(pattern_rest);
            if !NOCASE && run == pattern_rest.len() {
                return text_rest.ends_with(pattern_rest);
            }
            let finder = (!NOCASE && RUN_LEN_MIN <= run).then(|| Finder::new(&pattern_rest[..run]));
            text_rest = skip_to_candidate::<NOCASE>(pattern_rest, text_rest, finder.as_ref());
            star = Some(Star { pattern: pattern_rest, text: text_rest, finder });
            continue;
        }
        let (matched, pattern_tail) = match_one::<NOCASE>(pattern_rest, byte);
        // A class takes a step for each of its bytes.
        let steps = 1 + pattern_rest.len() - pattern_tail.len();
        if steps_left < steps {
            return false;
        }
        steps_left -= steps;
        if matched {
            (pattern_rest, text_rest) = (pattern_tail, text_tail);
            continue;
        }
        let Some(Star { pattern: after_star, text: text_at_star, finder }) = &mut star else {
            return false;
        };
        let Some((_, text_behind)) = text_at_star.split_first() else {
            return false;
        };
        let candidate = skip_to_candidate::<NOCASE>(after_star, text_behind, finder.as_ref());
        if candidate.is_empty() {
            return false;
        }
        *text_at_star = candidate;
        (pattern_rest, text_rest) = (after_star, candidate);
    }
}

/// Where to go on after a mismatch: what follows the last `*`, and the place in the text from which that is tried.
struct Star<'a> {
    pattern: &'a [u8],
    text: &'a [u8],
    /// Finds the plain bytes that it begins with, if they are many.
    finder: Option<Finder<'a>>,
}

/// How many bytes at the front stand for themselves.
fn plain_run(pattern: &[u8]) -> usize {
    pattern.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\')).unwrap_or(pattern.len())
}

/// The rest of the text from the next byte that the pattern, beginning with no `*`, can begin with.
fn skip_to_candidate<'a, const NOCASE: bool>(pattern: &[u8], text: &'a [u8], finder: Option<&Finder<'_>>) -> &'a [u8] {
    if let Some(finder) = finder {
        return &text[finder.find(text).unwrap_or(text.len())..];
    }
    let first = pattern[0];
    let at = match first {
        b'?' | b'[' | b'\\' => return text,
        _ if NOCASE => memchr2(first.to_ascii_lowercase(), first.to_ascii_uppercase(), text),
        _ => memchr(first, text),
    };
    &text[at.unwrap_or(text.len())..]
}

/// Whether the first element of the pattern, which is no `*`, matches the byte; and the pattern after it.
fn match_one<const NOCASE: bool>(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    match pattern {
        [] => (false, pattern),
        [b'?', rest @ ..] => (true, rest),
        [b'[', rest @ ..] => match_class::<NOCASE>(rest, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (equal::<NOCASE>(*literal, byte), rest),
    }
}

fn equal<const NOCASE: bool>(a: u8, b: u8) -> bool {
    a == b || NOCASE && a.eq_ignore_ascii_case(&b)
}

/// `class` is what follows the `[`; returns what follows the `]`.
fn match_class<const NOCASE: bool>(mut class: &[u8], byte: u8) -> (bool, &[u8]) {
    let negated = class.first() == Some(&b'^');
    if negated {
        class = &class[1..];
    }
    let mut found = false;
    loop {
        class = match class {
            [b'\\', literal, rest @ ..] => {
                found |= *literal == byte;
                rest
            }
            [] => break,
            [b']', rest @ ..] => {
                class = rest;
                break;
            }
            [start, b'-', end, rest @ ..] => {
                found |= in_range::<NOCASE>(*start, *end, byte);
                rest
            }
            [literal, rest @ ..] => {
                found |= equal::<NOCASE>(*literal, byte);
                rest
            }
        };
    }
    (found != negated, class)
}

/// As C code with signed `char` and the tables of glibc's `tolower` compares: bytes from 0x80 on are negative, but
/// lower case makes them positive again, all except 0xff.
fn in_range<const NOCASE: bool>(start: u8, end: u8, byte: u8) -> bool {
    let signed = |byte: u8| i32::from(byte as i8);
    let fold = |byte: u8| match byte {
        0xff if NOCASE => -1,
        _ if NOCASE => i32::from(byte.to_ascii_lowercase()),
        _ => signed(byte),
    };
    let (low, high) = if signed(start) <= signed(end) { (start, end) } else { (end, start) };
    (fold(low)..=fold(high)).contains(&fold(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One element of a parsed pattern.
    enum Element {
        Any,
        One,
        Byte(u8),
        Class { negated: bool, items: Vec<Item> },
    }

    enum Item {
        Exactly(u8),
        Byte(u8),
        Range(u8, u8),
    }

    fn parse(pattern: &[u8]) -> Vec<Element> {
        let mut elements = Vec::new();
        let mut i = 0;
        while i < pattern.len() {
            match pattern[i] {
                b'*' => elements.push(Element::Any),
                b'?' => elements.push(Element::One),
                b'\\' if i + 1 < pattern.len() => {
                    i += 1;
                    elements.push(Element::Byte(pattern[i]));
                }
                b'[' => {
                    i += 1;
                    let negated = pattern.get(i) == Some(&b'^');
                    i += usize::from(negated);
                    let mut items = Vec::new();
                    while i < pattern.len() && pattern[i] != b']' {
                        if pattern[i] == b'\\' && i + 1 < pattern.len() {
                            items.push(Item::Exactly(pattern[i + 1]));
                            i += 2;
                        } else if i + 2 < pattern.len() && pattern[i + 1] == b'-' {
                            items.push(Item::Range(pattern[i], pattern[i + 2]));
                            i += 3;
                        } else {
                            items.push(Item::Byte(pattern[i]));
                            i += 1;
                        }
                    }
                    elements.push(Element::Class { negated, items });
                }
                byte => elements.push(Element::Byte(byte)),
            }
            i += 1;
        }
        elements
    }

    /// The definition, in exponential time.
    fn naive(elements: &[Element], text: &[u8], nocase: bool) -> bool {
        let same = |a: u8, b: u8| a == b || nocase && a.eq_ignore_ascii_case(&b);
        let Some((element, rest)) = elements.split_first() else {
            return text.is_empty();
        };
        if let Element::Any = element {
            return (0..=text.len()).any(|skipped| naive(rest, &text[skipped..], nocase));
        }
        let Some((&byte, tail)) = text.split_first() else {
            return false;
        };
        let matched = match element {
            Element::Any => unreachable!(),
            Element::One => true,
            Element::Byte(literal) => same(*literal, byte),
            Element::Class { negated, items } => {
                *negated
                    != items.iter().any(|item| match *item {
                        Item::Exactly(literal) => literal == byte,
                        Item::Byte(literal) => same(literal, byte),
                        Item::Range(a, b) => {
                            let [a, b, byte] = [a, b, byte].map(|byte| byte as i8);
                            a.min(b) <= byte && byte <= a.max(b)
                        }
                    })
            }
        };
        matched && naive(rest, tail, nocase)
    }

    fn reference(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
        if text.is_empty() { pattern.is_empty() } else { naive(&parse(pattern), text, nocase) }
    }

    fn bytes_of(alphabet: &'static [u8], len_max: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(proptest::sample::select(alphabet), 0..=len_max)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn agrees_with_the_definition(
            pattern in bytes_of(b"aab*??[]^-\\c\x01\x80\xff", 12),
            text in bytes_of(b"aaabc*[]\\-^\x01\x80\xff", 12),
        ) {
            prop_assert_eq!(matches(&pattern, &text), reference(&pattern, &text, false));
        }

        #[test]
        fn agrees_with_the_definition_where_runs_are_long(
            pattern in "(\\*|\\?|a{1,3}b?){0,6}[*?](a{6,9}b?|ba{8}){1,2}(\\?|\\*|b)?",
            text in "[ab]{0,3}(a{5,10}b?){0,4}[ab]{0,3}",
        ) {
            prop_assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                reference(pattern.as_bytes(), text.as_bytes(), false)
            );
        }

        #[test]
        fn agrees_with_the_definition_without_case(
            pattern in bytes_of(b"aAbB*?[]^\\c", 12),
            text in bytes_of(b"aAbBcC", 12),
        ) {
            prop_assert_eq!(matches_nocase(&pattern, &text), reference(&pattern, &text, true));
        }

        #[test]
        fn a_sorted_pattern_matches_the_same(
            pattern in bytes_of(b"ab*?[\\", 6),
            text in bytes_of(b"ab*", 6),
        ) {
            prop_assume!(!text.is_empty());
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), matches(&pattern, &text));
        }

        #[test]
        fn every_text_matches_itself_escaped(text in proptest::collection::vec(any::<u8>(), 0..20)) {
            let escaped: Vec<u8> = text.iter().flat_map(|&byte| [b'\\', byte]).collect();
            prop_assert!(matches(&escaped, &text));
        }
    }

    /// Odd patterns, each answered so by `PUBSUB CHANNELS` of Redis 7.0.15.
    #[test]
    fn odd_patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", false),
            ("**", "", false),
            ("[^a]", "", false),
            ("[", "a", false),
            ("[^", "a", true),
            ("[a", "a", true),
            ("[^b", "a", true),
            ("[a-", "a", true),
            ("[a-", "-", true),
            ("[a-c", "b", true),
            ("[c-a]", "b", true),
            ("[\\a]", "a", true),
            ("[a\\", "a", true),
            ("a\\", "a", false),
            ("a\\", "a\\", true),
            ("[a-]", "a", true),
            ("[a-]", "_", true),
            ("[^-a]", "a", false),
            ("[]a]", "a", false),
            ("[^]a]", "a", false),
            ("[^]a]", "xa]", true),
            ("a**", "a", true),
            ("a*?*", "a", false),
            ("a*?*", "a*b", true),
            ("h[^e]llo", "hallo", true),
            ("h?llo", "hllo", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(matches(b"[\x80-\x01]", b"\xff"), "bytes are signed in ranges");
        assert!(!matches_nocase(b"[\x80-\x01]", b"\xf0"), "but not once they are folded");
        assert!(matches_nocase(b"MAXmemory*", b"maxMEMORY-policy"));
        assert!(!matches_nocase(b"[\\A]", b"a"));
        assert!(matches_nocase(b"[A-C]", b"b") && matches_nocase(b"[c-a]", b"B"));
        assert!(!matches_nocase(b"[Z-a]", b"z") && !matches_nocase(b"[Z-a]", b"a"), "folded to z-a after the swap");
    }

    #[test]
    fn patterns_are_sorted_by_their_cost() {
        assert_eq!(Pattern::new(b"*"), Pattern::All);
        assert!(Pattern::new(b"*").matches(b""));
        assert_eq!(Pattern::new(b""), Pattern::Literal(b""));
        assert_eq!(Pattern::new(b"user:1"), Pattern::Literal(b"user:1"));
        assert_eq!(Pattern::new(b"user:*"), Pattern::Prefix(b"user:"));
        assert_eq!(Pattern::new(b"user:**"), Pattern::Prefix(b"user:"));
        for general in [&b"**"[..], b"*a", b"a*b", b"a?", b"a[b]", b"a\\*"] {
            assert_eq!(Pattern::new(general), Pattern::General(general));
        }
    }

    #[test]
    fn patterns_made_to_explode_end_soon() {
        let text = vec![b'a'; 1 << 20];
        assert!(!matches(b"a*a*a*a*a*a*a*a*a*b", &text));
        assert!(!matches("a*".repeat(1 << 16).as_bytes(), &text[..1 << 10]));
        assert!(matches("a*".repeat(1 << 16).as_bytes(), &text));
        assert!(matches(&b"*".repeat(1 << 20), &text));
        // Half a million times half a million steps, were there no budget.
        let mut pattern = vec![b'a'; 1 << 19];
        pattern.insert(0, b'*');
        pattern.push(b'b');
        assert!(!matches(&pattern, &text));
        pattern.insert(1, b'?');
        assert!(!matches_nocase(&pattern, &text));
        let class = [&b"*["[..], &vec![b'b'; 1 << 19], b"]"].concat();
        assert!(!matches(&class, &text));
    }

    #[test]
    fn the_budget_is_enough_for_patterns_in_use() {
        let text = "field=value&".repeat(1 << 16) + "end";
        for pattern in ["*end", "*value*field*", "*&end", "*[e-f]nd", "f*=*&*=*d"] {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern}");
        }
    }
}
