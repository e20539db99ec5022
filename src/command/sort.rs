//! `SORT` and `SORT_RO`: the elements of a list or a set in order, by themselves or by what other keys hold.
//!
//! Replies, error texts and the order of checks are those of Redis 7.0.15.
//!
//! # Keys that the call does not name
//!
//! With `BY` or `GET` and a pattern, the keys that are read follow from the elements. They may be on any shard, and are
//! known only when the list is at hand. So such a call needs everything ([`Derived`]): with several shards the core
//! takes hold of all keyspaces, looks at the elements, moves the entries of the keys that follow from them to where the
//! command runs, and back. It is as atomic as any command, and costs other shards a pause as long as it runs. Without
//! such a pattern (`SORT key`, `BY nosort`, `GET #`) it needs no more than the keys it names.

use super::{Args, Categories, Command, CommandResult, Context, Derived, Flags, Group, KeyAccess, KeySpec, Keys, Run};
use crate::keyspace::{Class, EntryRef, Event, Expiry, Keyspace};
use crate::resp::{Error, Reply};
use crate::value::hash::Hash;
use crate::value::list::{Element, List};
use crate::value::number::{parse_double_in_range, parse_integer};
use crate::value::{Value, ValueRef};
use std::cmp::Ordering;

const CATEGORIES: Categories =
    Categories::SET.union(Categories::SORTEDSET).union(Categories::LIST).union(Categories::DANGEROUS);
const COMPLEXITY: &str = "O(N+M*log(M)) where N is the number of elements and M how many are returned";

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("SORT", Run::Keyspace(sort))
        .arity(-2)
        .keys(Keys::Custom(sort_keys))
        .key_specs(&[
            KeySpec::at(1, KeyAccess::READ),
            KeySpec::unknown(KeyAccess::READ).notes(
                "For the optional BY/GET keyword. It is marked 'unknown' because \
                 the key names derive from the content of the key we sort",
            ),
            KeySpec::unknown(KeyAccess::OVERWRITE).notes(
                "For the optional STORE keyword. It is marked 'unknown' \
                 because the keyword can appear anywhere in the argument array",
            ),
        ])
        .derived(Derived { is_used, keys: derived_keys })
        .flags(Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS))
        .categories(CATEGORIES)
        .docs(Group::Generic, "1.0.0", "Returns the elements of a list or a set in order, or puts them under a key.")
        .complexity(COMPLEXITY)
        .syntax(
            "key [BY pattern] [LIMIT offset:integer count:integer] [GET pattern [GET pattern ...]] [ASC|DESC] [ALPHA] \
             [STORE destination:key]",
        ),
    Command::new("SORT_RO", Run::Keyspace(sort_ro))
        .arity(-2)
        .keys(Keys::Custom(first_key))
        .key_specs(&[
            KeySpec::at(1, KeyAccess::READ),
            KeySpec::unknown(KeyAccess::READ).notes(
                "For the optional BY/GET keyword. It is marked 'unknown' because \
                 the key names derive from the content of the key we sort",
            ),
        ])
        .derived(Derived { is_used, keys: derived_keys })
        .flags(Flags::READONLY.union(Flags::MOVABLEKEYS))
        .categories(CATEGORIES)
        .docs(Group::Generic, "7.0.0", "Returns the elements of a list or a set in order.")
        .complexity(COMPLEXITY)
        .syntax(
            "key [BY pattern] [LIMIT offset:integer count:integer] [GET pattern [GET pattern ...]] [ASC|DESC] [ALPHA]",
        ),
];

const SORTSTORE: Event = Event::new("sortstore", Class::LIST);

/// The key, and the one behind the last `STORE` that is no other option's word.
fn sort_keys(args: &Args<'_>, positions: &mut Vec<usize>) {
    const OPERANDS: [(&[u8], usize); 3] = [(b"LIMIT", 2), (b"GET", 1), (b"BY", 1)];
    if args.len() < 2 {
        return;
    }
    positions.push(1);
    let mut destination = None;
    let mut at = 2;
    while at < args.len() {
        if let Some((_, operands)) = OPERANDS.iter().find(|(word, _)| args[at].eq_ignore_ascii_case(word)) {
            at += operands;
        } else if args[at].eq_ignore_ascii_case(b"STORE") && at + 1 < args.len() {
            destination = Some(at + 1);
            at += 1;
        }
        at += 1;
    }
    positions.extend(destination);
}

fn first_key(args: &Args<'_>, positions: &mut Vec<usize>) {
    if 1 < args.len() {
        positions.push(1);
    }
}

/// A call, understood.
#[derive(Default)]
struct Options<'a> {
    /// What elements are compared by, if not by themselves.
    by: Option<Pattern<'a>>,
    /// `BY` without an asterisk: nothing is compared.
    is_unsorted: bool,
    gets: Vec<Get<'a>>,
    limit: Option<(i64, i64)>,
    is_descending: bool,
    is_alphabetic: bool,
    destination: Option<&'a [u8]>,
}

/// What is returned of an element.
enum Get<'a> {
    /// `#`: itself.
    Element,
    /// What a key holds.
    Pattern(Pattern<'a>),
    /// A pattern without an asterisk: nothing.
    Nothing,
}

/// `weight_*` or `object_*->field`.
#[derive(Clone, Copy)]
struct Pattern<'a> {
    before: &'a [u8],
    behind: &'a [u8],
    field: Option<&'a [u8]>,
}

impl<'a> Pattern<'a> {
    /// `None`: there is no asterisk (before a NUL: Redis looks for it as C does).
    fn parse(text: &'a [u8]) -> Option<Pattern<'a>> {
        let visible = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
        let asterisk = memchr::memchr(b'*', visible)?;
        let (before, rest) = (&text[..asterisk], &text[asterisk + 1..]);
        let arrow =
            memchr::memmem::find(&visible[asterisk + 1..], b"->").filter(|at| at + 2 < visible.len() - asterisk - 1);
        Some(match arrow {
            Some(at) => Pattern { before, behind: &rest[..at], field: Some(&rest[at + 2..]) },
            None => Pattern { before, behind: rest, field: None },
        })
    }

    fn key(&self, element: &[u8]) -> Vec<u8> {
        [self.before, element, self.behind].concat()
    }

    /// What the key of an element holds, or a field of it.
    fn look_up(&self, cx: &mut Context<'_>, element: &[u8]) -> Option<Vec<u8>> {
        let now_ms = cx.now_ms;
        let entry = cx.keyspace.read(cx.db, &self.key(element))?;
        match self.field {
            Some(field) => entry.container::<Hash>()?.get(field, now_ms).map(Element::to_vec),
            None => entry.string().ok().map(|string| string.to_vec()),
        }
    }
}

impl<'a> Options<'a> {
    fn parse(args: &Args<'a>, may_store: bool) -> Result<Options<'a>, Error> {
        let mut options = Options::default();
        let mut rest = args.get(2..).unwrap_or_default();
        while let [word, tail @ ..] = rest {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            rest = match tail {
                _ if is("ASC") => {
                    options.is_descending = false;
                    tail
                }
                _ if is("DESC") => {
                    options.is_descending = true;
                    tail
                }
                _ if is("ALPHA") => {
                    options.is_alphabetic = true;
                    tail
                }
                [start, count, tail @ ..] if is("LIMIT") => {
                    let number = |word: &[u8]| parse_integer(word).ok_or(Error::NOT_INTEGER);
                    options.limit = Some((number(start)?, number(count)?));
                    tail
                }
                [destination, tail @ ..] if is("STORE") && may_store => {
                    options.destination = Some(destination);
                    tail
                }
                [pattern, tail @ ..] if is("BY") => {
                    options.by = Pattern::parse(pattern);
                    options.is_unsorted |= options.by.is_none();
                    tail
                }
                [pattern, tail @ ..] if is("GET") => {
                    options.gets.push(match Pattern::parse(pattern) {
                        _ if *pattern == b"#" => Get::Element,
                        Some(pattern) => Get::Pattern(pattern),
                        None => Get::Nothing,
                    });
                    tail
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        Ok(options)
    }

    fn patterns(&self) -> impl Iterator<Item = Pattern<'a>> {
        let of_get = |get: &Get<'a>| match get {
            Get::Pattern(pattern) => Some(*pattern),
            Get::Element | Get::Nothing => None,
        };
        self.by.filter(|_| !self.is_unsorted).into_iter().chain(self.gets.iter().filter_map(of_get))
    }
}

/// What is sorted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    List,
    Set,
    SortedSet,
}

/// The elements under a key, in the order in which they lie there.
fn elements(entry: EntryRef<'_>) -> Result<(Source, Vec<Vec<u8>>), Error> {
    match entry.value() {
        ValueRef::List(list) => {
            let mut elements = Vec::with_capacity(list.len());
            list.for_each(|element| elements.push(element.to_vec()));
            Ok((Source::List, elements))
        }
        ValueRef::Set(set) => Ok((Source::Set, set.iter().map(Element::to_vec).collect())),
        ValueRef::SortedSet(set) => {
            let mut members = Vec::with_capacity(set.len());
            set.visit_all(|member, _| members.push(member.to_vec()));
            Ok((Source::SortedSet, members))
        }
        _ => Err(Error::WRONG_TYPE),
    }
}

/// Whether a call reads keys that it does not name.
fn is_used(args: &Args<'_>) -> bool {
    Options::parse(args, true).is_ok_and(|options| options.patterns().next().is_some())
}

/// The keys that follow from the elements.
fn derived_keys(keyspace: &Keyspace, db: usize, args: &Args<'_>) -> Vec<Vec<u8>> {
    let (Ok(options), Some(entry)) = (Options::parse(args, true), keyspace.peek(db, args[1])) else {
        return Vec::new();
    };
    let Ok((_, elements)) = elements(entry) else { return Vec::new() };
    let patterns: Vec<Pattern<'_>> = options.patterns().collect();
    elements.iter().flat_map(|element| patterns.iter().map(|pattern| pattern.key(element))).collect()
}

fn sort(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    run(cx, args, true, reply)
}

fn sort_ro(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    run(cx, args, false, reply)
}

fn run(cx: &mut Context<'_>, args: &Args<'_>, may_store: bool, reply: &mut Reply<'_>) -> CommandResult {
    let mut options = Options::parse(args, may_store)?;
    let found = cx.keyspace.read(cx.db, args[1]).map(elements).transpose()?;
    let (source, mut elements) = found.unwrap_or((Source::List, Vec::new()));
    if options.is_unsorted && source == Source::Set && options.destination.is_some() {
        // A set has no order of its own: what is stored shall not depend on it.
        (options.is_unsorted, options.is_alphabetic, options.by) = (false, true, None);
    }
    if !options.is_unsorted {
        elements = sorted(cx, &options, elements)?;
    } else if source != Source::Set && options.is_descending {
        // Lists and sorted sets have an order that can be turned.
        elements.reverse();
    }
    let shown = limited(options.limit, elements.len());
    let elements = &elements[shown];
    let Some(destination) = options.destination else {
        reply.array(elements.len() * options.gets.len().max(1));
        for element in elements {
            if options.gets.is_empty() {
                reply.bulk(element);
            }
            for get in &options.gets {
                match value_of(cx, get, element) {
                    Some(value) => reply.bulk(value),
                    None => reply.null(),
                }
            }
        }
        return Ok(());
    };
    let fill = super::list::fill(cx);
    let mut list = List::new();
    for element in elements {
        if options.gets.is_empty() {
            list.push_back(&element[..], fill);
        }
        for get in &options.gets {
            list.push_back(&value_of(cx, get, element).unwrap_or_default()[..], fill);
        }
    }
    let len = list.len();
    if len == 0 {
        cx.keyspace.delete(cx.db, destination);
    } else {
        cx.keyspace.put(cx.db, destination, Value::List(list), Expiry::Clear, SORTSTORE);
        cx.keyspace.dirty += len as u64 - 1;
    }
    reply.integer(len as i64);
    Ok(())
}

fn value_of(cx: &mut Context<'_>, get: &Get<'_>, element: &[u8]) -> Option<Vec<u8>> {
    match get {
        Get::Element => Some(element.to_vec()),
        Get::Pattern(pattern) => pattern.look_up(cx, element),
        Get::Nothing => None,
    }
}

/// The part of so many elements that `LIMIT` leaves: a negative count is no limit.
fn limited(limit: Option<(i64, i64)>, len: usize) -> std::ops::Range<usize> {
    let Some((start, count)) = limit else { return 0..len };
    let start = usize::try_from(start.max(0)).unwrap_or(usize::MAX).min(len);
    let count = usize::try_from(count).unwrap_or(len);
    start..start.saturating_add(count).min(len)
}

/// What an element is compared by.
enum Rank {
    Number(f64),
    Text(Option<Vec<u8>>),
    Itself,
}

fn sorted(cx: &mut Context<'_>, options: &Options<'_>, elements: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
    let mut all_numbers = true;
    let mut ranked: Vec<(Rank, Vec<u8>)> = Vec::with_capacity(elements.len());
    for element in elements {
        let found = options.by.as_ref().map(|pattern| pattern.look_up(cx, &element));
        let rank = match (options.is_alphabetic, found) {
            (true, Some(found)) => Rank::Text(found),
            (true, None) => Rank::Itself,
            (false, found) => {
                let number = match &found {
                    Some(None) => Some(0.0),
                    Some(Some(text)) => score(text),
                    None => score(&element),
                };
                all_numbers &= number.is_some();
                Rank::Number(number.unwrap_or(0.0))
            }
        };
        ranked.push((rank, element));
    }
    if !all_numbers {
        return Err(Error::fixed("ERR One or more scores can't be converted into double"));
    }
    // What is stored is the same everywhere; what is returned Redis compares as C does, up to a NUL.
    let visible = |text: &[u8]| -> usize {
        if options.destination.is_some() { text.len() } else { memchr::memchr(0, text).unwrap_or(text.len()) }
    };
    let compare_texts = |left: &[u8], right: &[u8]| left[..visible(left)].cmp(&right[..visible(right)]);
    let compare = |(left, left_element): &(Rank, Vec<u8>), (right, right_element): &(Rank, Vec<u8>)| {
        let order = match (left, right) {
            (Rank::Number(left), Rank::Number(right)) => {
                left.partial_cmp(right).unwrap_or(Ordering::Equal).then_with(|| left_element.cmp(right_element))
            }
            // No value comes before any.
            (Rank::Text(Some(left)), Rank::Text(Some(right))) => compare_texts(left, right),
            (Rank::Text(left), Rank::Text(right)) => left.is_some().cmp(&right.is_some()),
            _ => compare_texts(left_element, right_element),
        };
        if options.is_descending { order.reverse() } else { order }
    };
    ranked.sort_by(compare);
    Ok(ranked.into_iter().map(|(_, element)| element).collect())
}

/// A text as a number, as `strtod` of C reads it without complaint: leading blanks are passed over, and it ends at a
/// NUL.
fn score(text: &[u8]) -> Option<f64> {
    let visible = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
    if visible.is_empty() {
        return Some(0.0);
    }
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let first = visible.iter().position(|byte| !is_blank(byte))?;
    parse_double_in_range(&visible[first..])
}
