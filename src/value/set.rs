//! Sets of strings.
//!
//! # Forms
//!
//! | Form | Holds | `OBJECT ENCODING` |
//! |---|---|---|
//! | [`Intset`] | integers only, at most `set-max-intset-entries` | `intset` |
//! | [`Listpack`] | few short members | `listpack` within `set-max-listpack-entries` and `-value`, else `hashtable` |
//! | [`Packed`] | everything else | `hashtable` |
//!
//! The name follows from the directives alone, as clients and Redis' own tests expect it: Redis 7.0 knows no sets that
//! are listpacks, so `set-max-listpack-entries` is 0 unless somebody sets it (128 is what 7.2 has). The form is the one
//! that is best: up to [`SMALL_LEN_MAX`] short members lie in a listpack whatever their set is called. As in Redis, a
//! set that has become a larger form stays one until it is built anew.
//!
//! # Bytes
//!
//! Of sets of ten-byte members, per member, with the key and its entry; by `MEMORY USAGE … SAMPLES 0`, which counts the
//! allocator's rounding here and does not in Redis, and by the growth of `used_memory`, which does in both:
//!
//! | members | here, usage | here, used | Redis 7.0, usage | Redis 7.0, used |
//! |---:|---:|---:|---:|---:|
//! | 10 | 18.4 | 20.2 | 70.4 | 83.3 |
//! | 100 | 19.1 | 19.9 | 56.5 | 64.7 |
//! | 1,000 | 15.1 | 19.6 | 48.3 | 56.3 |
//! | 1,000,000 | 14.3 | 14.3 | 48.4 | 56.4 |

use super::Container;
use super::HEAVY_ALLOCATIONS_MIN;
use super::number::parse_integer;
use crate::structure::allocation::allocated_bytes;
use crate::structure::intset::Intset;
use crate::structure::listpack::{Element, Listpack};
use crate::structure::packed::{Entry, Packed};

/// A listpack holds so many members, whatever its set is called, before a table is faster.
const SMALL_LEN_MAX: usize = 32;
/// Longest member of such a listpack, in bytes.
const SMALL_MEMBER_BYTES_MAX: usize = 64;
/// A table with more members than this has more allocations than are dropped at once: some twenty to one.
const HEAVY_LEN_MIN: usize = HEAVY_ALLOCATIONS_MIN * 16;

/// What the directives say about the forms of sets, and what a new table needs.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `set-max-intset-entries`
    pub integers_max: usize,
    /// `set-max-listpack-entries`
    pub listpack_len_max: usize,
    /// `set-max-listpack-value`, in bytes
    pub listpack_member_bytes_max: usize,
    /// Random: keys the hashes of a table that is made now.
    pub seed: u64,
}

/// A set.
#[derive(Debug)]
pub struct Set {
    form: Form,
}

#[derive(Debug)]
enum Form {
    Integers(Intset),
    Small {
        members: Listpack,
        /// Within the directives' limits so far.
        is_listpack: bool,
    },
    Table(Box<Packed<false>>),
}

/// Members one after the other, whatever the form.
enum Members<A, B, C> {
    Integers(A),
    Small(B),
    Table(C),
}

impl<'a, A, B, C> Iterator for Members<A, B, C>
where
    A: Iterator<Item = i64>,
    B: Iterator<Item = Element<'a>>,
    C: Iterator<Item = Entry<'a>>,
{
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        match self {
            Members::Integers(integers) => integers.next().map(Element::Integer),
            Members::Small(elements) => elements.next(),
            Members::Table(entries) => entries.next().map(|entry| Element::Bytes(entry.key)),
        }
    }
}

impl Set {
    /// An empty set that becomes what its members need: an intset as long as they are integers.
    pub fn new() -> Set {
        Set { form: Form::Integers(Intset::new()) }
    }

    /// An empty set for a first member: an intset if it is an integer.
    pub fn for_member(member: &[u8], limits: &Limits) -> Set {
        if parse_integer(member).is_some() {
            return Set::new();
        }
        let mut set = Set { form: Form::Small { members: Listpack::new(), is_listpack: true } };
        set.prepare(1, member.len(), limits);
        set
    }

    /// A set of integers: an intset unless it has too many.
    pub fn of_integers(integers: Intset, limits: &Limits) -> Set {
        let is_intset = integers.len() <= limits.integers_max;
        let mut set = Set { form: Form::Integers(integers) };
        if !is_intset {
            set.become_table(limits);
        }
        set
    }

    /// The integers, if it is an intset.
    pub fn intset(&self) -> Option<&Intset> {
        match &self.form {
            Form::Integers(integers) => Some(integers),
            _ => None,
        }
    }

    /// The members as a listpack, if that is what the set is called.
    pub fn listpack(&self) -> Option<&Listpack> {
        match &self.form {
            Form::Small { members, is_listpack: true } => Some(members),
            _ => None,
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Integers(integers) => integers.len(),
            Form::Small { members, .. } => members.len(),
            Form::Table(table) => table.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is a member.
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.form {
            Form::Integers(integers) => parse_integer(member).is_some_and(|integer| integers.contains(integer)),
            Form::Small { members, .. } => members.find(members.first(), member, 0).is_some(),
            Form::Table(table) => table.contains(member),
        }
    }

    /// The same for a member of another set.
    pub fn contains_element(&self, member: Element<'_>) -> bool {
        match (&self.form, member) {
            (Form::Integers(integers), Element::Integer(integer)) => integers.contains(integer),
            _ => self.contains(member.bytes(&mut itoa::Buffer::new())),
        }
    }

    /// All members: integers of an intset in rising order, members of a listpack in theirs.
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> + '_ {
        match &self.form {
            Form::Integers(integers) => Members::Integers(integers.iter()),
            Form::Small { members, .. } => Members::Small(members.iter()),
            Form::Table(table) => Members::Table(table.iter()),
        }
    }

    /// About `budget` members in the order of [`Set::iter`], from a place that an earlier call has given; 0 is the
    /// first. The place of what follows, as long as nothing is changed.
    pub fn walk(&self, place: usize, budget: usize, mut visit: impl FnMut(Element<'_>)) -> usize {
        match &self.form {
            Form::Table(table) => table.walk(place, budget, |entry| visit(Element::Bytes(entry.key))),
            Form::Integers(integers) => {
                let end = integers.len().min(place.saturating_add(budget));
                let all = (place..end).filter_map(|index| integers.get(index));
                all.for_each(|integer| visit(Element::Integer(integer)));
                end
            }
            Form::Small { members, .. } => place + members.iter().skip(place).take(budget).map(visit).count(),
        }
    }

    /// Adds a member. Whether it was not there.
    pub fn add(&mut self, member: &[u8], limits: &Limits) -> bool {
        if let Form::Integers(integers) = &mut self.form {
            if let Some(integer) = parse_integer(member) {
                let is_new = integers.insert(integer);
                if is_new && limits.integers_max < integers.len() {
                    self.become_table(limits);
                }
                return is_new;
            }
            self.become_small(limits);
        }
        if let Form::Small { members, .. } = &self.form {
            if members.find(members.first(), member, 0).is_some() {
                return false;
            }
            let len = members.len() + 1;
            self.prepare(len, member.len(), limits);
        }
        match &mut self.form {
            Form::Integers(_) => unreachable!("it has become a listpack"),
            Form::Small { members, .. } => members.push_back(member),
            Form::Table(table) => {
                return table.insert_or_find(Entry { key: member, value: b"", deadline_ms: None }).is_ok();
            }
        }
        true
    }

    /// The same for a member of another set.
    pub fn add_element(&mut self, member: Element<'_>, limits: &Limits) -> bool {
        self.add(member.bytes(&mut itoa::Buffer::new()), limits)
    }

    /// Removes a member. Whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.form {
            Form::Integers(integers) => parse_integer(member).is_some_and(|integer| integers.remove(integer)),
            Form::Small { members, .. } => {
                let found = members.find(members.first(), member, 0);
                if let Some(position) = found {
                    members.remove(position);
                }
                found.is_some()
            }
            Form::Table(table) => {
                let found = table.find(member);
                if let Some(place) = found {
                    table.remove(place);
                }
                found.is_some()
            }
        }
    }

    /// Shows a random member; `draw` gives random numbers. `None` if there are none.
    pub fn random<R>(&self, mut draw: impl FnMut() -> u64, show: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        match &self.form {
            Form::Integers(integers) => integers.get(below(draw(), integers.len())).map(|i| show(Element::Integer(i))),
            Form::Small { members, .. } => members.get(below(draw(), members.len()) as i64).map(show),
            Form::Table(table) => table.random(draw).map(|place| show(Element::Bytes(table.at(place).key))),
        }
    }

    /// Removes a random member after showing it.
    pub fn pop<R>(&mut self, mut draw: impl FnMut() -> u64, show: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        match &mut self.form {
            Form::Integers(integers) => {
                let index = below(draw(), integers.len());
                let result = show(Element::Integer(integers.get(index)?));
                integers.remove_range(index, 1);
                Some(result)
            }
            Form::Small { members, .. } => {
                let position = members.position(below(draw(), members.len()) as i64)?;
                let result = show(members.at(position));
                members.remove(position);
                Some(result)
            }
            Form::Table(table) => {
                let place = table.random(draw)?;
                let result = show(Element::Bytes(table.at(place).key));
                table.remove(place);
                Some(result)
            }
        }
    }

    /// One step of an iteration over about `budget` members, from cursor 0 until 0 comes back. Small sets are visited
    /// in one step.
    pub fn scan(&self, cursor: u64, budget: usize, mut visit: impl FnMut(Element<'_>)) -> u64 {
        match &self.form {
            Form::Table(table) => table.scan(cursor, budget, |entry| visit(Element::Bytes(entry.key))),
            _ => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    /// An intset becomes a listpack.
    fn become_small(&mut self, limits: &Limits) {
        let Form::Integers(integers) = &self.form else { return };
        let mut members = Listpack::with_capacity(integers.as_bytes().len());
        integers.iter().for_each(|integer| members.push_back(integer));
        let is_listpack = members.iter().all(|member| member.len() <= limits.listpack_member_bytes_max);
        self.form = Form::Small { members, is_listpack };
    }

    /// A listpack becomes what it must be to take a further member of so many bytes, its `len`th.
    fn prepare(&mut self, len: usize, member_bytes: usize, limits: &Limits) {
        let Form::Small { members, is_listpack } = &mut self.form else { return };
        *is_listpack &= len <= limits.listpack_len_max
            && member_bytes <= limits.listpack_member_bytes_max
            && members.can_add(member_bytes);
        if !*is_listpack && (SMALL_LEN_MAX < len || SMALL_MEMBER_BYTES_MAX < member_bytes) {
            self.become_table(limits);
        }
    }

    fn become_table(&mut self, limits: &Limits) {
        let mut table = Box::new(Packed::new(limits.seed));
        let mut digits = itoa::Buffer::new();
        for member in self.iter() {
            table.insert(Entry { key: member.bytes(&mut digits), value: b"", deadline_ms: None });
        }
        self.form = Form::Table(table);
    }
}

impl Default for Set {
    fn default() -> Set {
        Set::new()
    }
}

/// A random number below `len`; 0 if `len` is.
fn below(random: u64, len: usize) -> usize {
    ((u128::from(random) * len as u128) >> 64) as usize
}

impl Container for Set {
    fn encoding_name(&self) -> &'static str {
        match &self.form {
            Form::Integers(_) => "intset",
            Form::Small { is_listpack: true, .. } => "listpack",
            _ => "hashtable",
        }
    }

    fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Integers(integers) => integers.heap_bytes(),
            Form::Small { members, .. } => members.heap_bytes(),
            Form::Table(table) => allocated_bytes(size_of_val(&**table)) + table.heap_bytes(),
        }
    }

    fn duplicate(&self) -> Self {
        let form = match &self.form {
            Form::Integers(integers) => Form::Integers(integers.clone()),
            Form::Small { members, is_listpack } => Form::Small { members: members.clone(), is_listpack: *is_listpack },
            Form::Table(table) => Form::Table(table.clone()),
        };
        Set { form }
    }

    fn is_heavy(&self) -> bool {
        matches!(&self.form, Form::Table(table) if HEAVY_LEN_MIN < table.len())
    }

    fn free_some(&mut self, budget: usize) -> bool {
        match &mut self.form {
            Form::Table(table) => table.free_some(budget),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn limits(integers_max: usize, listpack_len_max: usize) -> Limits {
        Limits { integers_max, listpack_len_max, listpack_member_bytes_max: 20, seed: 5 }
    }

    fn check(set: &Set, model: &BTreeSet<Vec<u8>>) {
        let found: BTreeSet<Vec<u8>> = set.iter().map(Element::to_vec).collect();
        assert_eq!((&found, set.len(), set.is_empty()), (model, model.len(), model.is_empty()));
        let mut scanned = BTreeSet::new();
        let mut cursor = 0;
        loop {
            cursor = set.scan(cursor, 3, |member| assert!(scanned.insert(member.to_vec())));
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(&scanned, model);
    }

    proptest! {
        #[test]
        fn it_is_a_set_in_every_form(
            integers_max in 0usize..20,
            listpack_len_max in 0usize..40,
            changes in proptest::collection::vec((0u8..4, prop_oneof!["[0-9]{1,2}", "[a-d]{0,3}", "x{19,22}|x{63,66}"]), 0..150),
        ) {
            let limits = limits(integers_max, listpack_len_max);
            let (mut set, mut model) = (Set::new(), BTreeSet::new());
            let mut state = 1u64;
            let mut draw = move || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                state ^ state >> 29
            };
            for (change, member) in changes {
                let member = member.into_bytes();
                if set.is_empty() {
                    set = Set::for_member(&member, &limits);
                }
                prop_assert_eq!(set.contains(&member), model.contains(&member));
                match change {
                    0 => prop_assert_eq!(set.remove(&member), model.remove(&member)),
                    1 if member.len() < 3 => {
                        let popped = set.pop(&mut draw, |member| member.to_vec());
                        prop_assert_eq!(popped.is_some(), !model.is_empty());
                        prop_assert!(popped.is_none_or(|popped| model.remove(&popped)));
                    }
                    _ => prop_assert_eq!(set.add(&member, &limits), model.insert(member)),
                }
                let random = set.random(&mut draw, |member| member.to_vec());
                prop_assert_eq!(random.is_some(), !model.is_empty());
                prop_assert!(random.is_none_or(|random| model.contains(&random)));
                check(&set, &model);
                if set.encoding_name() == "listpack" {
                    prop_assert!(set.len() <= listpack_len_max && model.iter().all(|member| member.len() <= 20));
                }
            }
            let copy = set.duplicate();
            check(&copy, &model);
            prop_assert_eq!(copy.encoding_name(), set.encoding_name());
        }
    }

    #[test]
    fn encodings_are_those_of_redis() {
        let with = |integers_max, listpack_len_max, members: &[&str]| {
            let limits = limits(integers_max, listpack_len_max);
            let mut set = Set::for_member(members[0].as_bytes(), &limits);
            members.iter().for_each(|member| assert!(set.add(member.as_bytes(), &limits)));
            set.encoding_name()
        };
        // Redis 7.0.
        assert_eq!(with(3, 0, &["1", "2", "3"]), "intset");
        assert_eq!(with(3, 0, &["1", "2", "3", "4"]), "hashtable");
        assert_eq!(with(3, 0, &["1", "a"]), "hashtable");
        assert_eq!(with(3, 0, &["a"]), "hashtable");
        assert_eq!(with(0, 0, &["1"]), "hashtable");
        // Redis 7.2.
        assert_eq!(with(3, 2, &["a", "b"]), "listpack");
        assert_eq!(with(3, 2, &["1", "b"]), "listpack");
        assert_eq!(with(3, 2, &["a", "b", "c"]), "hashtable");
        assert_eq!(with(3, 2, &["1", "2", "a"]), "hashtable");
        assert_eq!(with(3, 2, &["aaaaaaaaaaaaaaaaaaaaa"]), "hashtable");
        assert_eq!(with(3, 9, &["1", "2", "3", "4"]), "hashtable");
    }

    #[test]
    fn a_member_takes_few_bytes() {
        let limits = limits(512, 0);
        for (len, bytes_max) in [(10, 14.0), (100, 19.0), (1000, 15.5), (100_000, 15.0)] {
            let mut set = Set::for_member(b"m", &limits);
            (0..len).for_each(|number| assert!(set.add(format!("m{number:09}").as_bytes(), &limits)));
            let bytes = set.heap_bytes() as f64 / f64::from(len);
            assert!(bytes < bytes_max, "{bytes} bytes for each of {len}");
        }
    }

    #[test]
    fn a_large_set_is_heavy_and_freed_in_slices() {
        let limits = limits(0, 0);
        let mut set = Set::for_member(b"m", &limits);
        (0..10_000).for_each(|number| assert!(set.add(format!("m{number}").as_bytes(), &limits)));
        assert!(set.is_heavy());
        let mut slices = 1;
        while set.free_some(HEAVY_ALLOCATIONS_MIN) {
            slices += 1;
        }
        assert!((3..20).contains(&slices), "{slices}");
    }
}
