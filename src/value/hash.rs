//! Hashes: strings by field, each with a deadline of its own if wanted.
//!
//! # Forms
//!
//! ```text
//! Small    listpack   ┌───────┬───────┬───────┬───────┬─ ─ ─     in the order in which fields came; OBJECT ENCODING
//!                     │ field │ value │ field │ value │          says "listpack", as in Redis
//! Timed    listpack   ┌───────┬───────┬──────────┬───────┬─ ─    once a field has had a deadline: unix ms, 0 if none;
//!                     │ field │ value │ deadline │ field │       "listpackex", as in Redis 7.4
//! Table    a packed table of fields, values and deadlines (`structure::packed`); "hashtable"
//! ```
//!
//! A hash becomes a table when it has more fields than `hash-max-listpack-entries`, or a field or value longer than
//! `hash-max-listpack-value`, and stays one.
//!
//! # Deadlines
//!
//! A field whose deadline has come is not there for any question that is asked with the time, and is removed by
//! [`Container::remove_due`], which the keyspace calls when its time has come or when somebody looks at the hash. Until
//! then it counts in [`Hash::len`].
//!
//! # Bytes
//!
//! Of hashes with fields and values of ten bytes each, per field, with the key and its entry; by `MEMORY USAGE …
//! SAMPLES 0`, which counts the allocator's rounding here and does not in Redis, and by the growth of `used_memory`,
//! which does in both:
//!
//! | fields | here, usage | here, used | Redis 7.0, usage | Redis 7.0, used |
//! |---:|---:|---:|---:|---:|
//! | 10 | 30.4 | 31.6 | 31.2 | 34.1 |
//! | 100 | 26.1 | 26.4 | 26.2 | 26.3 |
//! | 1,000 | 28.8 | 33.6 | 64.3 | 72.3 |
//! | 1,000,000 | 27.5 | 27.5 | 64.4 | 72.4 |
//!
//! With a deadline each field of a table takes 8 bytes more.

use super::{Container, HEAVY_ALLOCATIONS_MIN, Removed};
use crate::structure::allocation::allocated_bytes;
use crate::structure::listpack::{Element, Listpack, Position};
use crate::structure::packed::{Entry, Packed};

/// A table with more fields than this has more allocations than are dropped at once: some ten to one.
const HEAVY_LEN_MIN: usize = HEAVY_ALLOCATIONS_MIN * 8;
/// No deadline comes before this.
const NEVER_MS: u64 = u64::MAX;

/// What the directives say about the forms of hashes, and what a new table needs.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `hash-max-listpack-entries`
    pub listpack_len_max: usize,
    /// `hash-max-listpack-value`, in bytes, of fields and of values
    pub listpack_bytes_max: usize,
    /// Random: keys the hashes of a table that is made now.
    pub seed: u64,
}

/// What becomes of a field's deadline when its value is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// The field has none afterwards.
    Clear,
    /// It stays.
    Keep,
    /// It is this, in unix ms, above 0.
    At(u64),
}

/// A hash.
#[derive(Debug)]
pub struct Hash {
    form: Form,
}

#[derive(Debug)]
enum Form {
    Small(Listpack),
    Timed(Box<Timed>),
    Table(Box<Packed<true>>),
}

/// Fields, values and deadlines in turn.
#[derive(Debug, Clone)]
struct Timed {
    triples: Listpack,
    /// Fields with a deadline.
    timed_len: usize,
    /// No deadline comes before this.
    due_ms: u64,
}

/// A field with all that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: Element<'a>,
    /// Its value.
    pub value: Element<'a>,
    /// When it is to be removed, unix ms.
    pub deadline_ms: Option<u64>,
}

impl<'a> Field<'a> {
    fn of_entry(entry: Entry<'a>) -> Field<'a> {
        let (name, value) = (Element::Bytes(entry.key), Element::Bytes(entry.value));
        Field { name, value, deadline_ms: entry.deadline_ms }
    }

    fn is_live(&self, now_ms: u64) -> bool {
        self.deadline_ms.is_none_or(|deadline_ms| now_ms < deadline_ms)
    }
}

/// Fields one after the other, whatever the form.
enum Fields<A, B, C> {
    Small(A),
    Timed(B),
    Table(C),
}

impl<'a, A, B, C> Iterator for Fields<A, B, C>
where
    A: Iterator<Item = Element<'a>>,
    B: Iterator<Item = Element<'a>>,
    C: Iterator<Item = Entry<'a>>,
{
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        match self {
            Fields::Small(pairs) => {
                let (name, value) = (pairs.next()?, pairs.next()?);
                Some(Field { name, value, deadline_ms: None })
            }
            Fields::Timed(triples) => {
                let (name, value, deadline) = (triples.next()?, triples.next()?, triples.next()?);
                Some(Field { name, value, deadline_ms: deadline_of(deadline) })
            }
            Fields::Table(entries) => entries.next().map(Field::of_entry),
        }
    }
}

/// The deadline that an element of a timed listpack stands for.
fn deadline_of(element: Element<'_>) -> Option<u64> {
    element.integer().and_then(|deadline_ms| u64::try_from(deadline_ms).ok()).filter(|&deadline_ms| 0 < deadline_ms)
}

/// The element that a deadline is stored as; none comes near the end of 63 bits.
fn element_of(deadline_ms: Option<u64>) -> Element<'static> {
    Element::Integer(i64::try_from(deadline_ms.unwrap_or(0)).expect("deadlines are checked when they come"))
}

impl Timed {
    fn find(&self, field: &[u8]) -> Option<Position> {
        self.triples.find(self.triples.first(), field, 2)
    }

    fn field_at(&self, position: Position) -> Field<'_> {
        let mut elements = self.triples.iter_from(position);
        let mut next = || elements.next().expect("three elements a field");
        Field { name: next(), value: next(), deadline_ms: deadline_of(next()) }
    }

    /// A deadline takes the place of another.
    fn count(&mut self, before: Option<u64>, after: Option<u64>) {
        self.timed_len = self.timed_len - usize::from(before.is_some()) + usize::from(after.is_some());
        self.due_ms = if self.timed_len == 0 { NEVER_MS } else { self.due_ms.min(after.unwrap_or(NEVER_MS)) };
    }

    fn set_deadline(&mut self, position: Position, deadline_ms: Option<u64>) {
        let before = self.field_at(position).deadline_ms;
        let value = self.triples.next(position).expect("three elements a field");
        let deadline = self.triples.next(value).expect("three elements a field");
        self.triples.replace(deadline, element_of(deadline_ms));
        self.count(before, deadline_ms);
    }

    fn remove(&mut self, position: Position) -> Option<Position> {
        self.count(self.field_at(position).deadline_ms, None);
        self.triples.remove_from(position, 3)
    }

    fn remove_due(&mut self, now_ms: u64, mut tell: impl FnMut(&[u8])) {
        let mut first_ms = NEVER_MS;
        let mut position = self.triples.first();
        while let Some(at) = position {
            let field = self.field_at(at);
            if field.is_live(now_ms) {
                first_ms = first_ms.min(field.deadline_ms.unwrap_or(NEVER_MS));
                let value = self.triples.next(at).expect("three elements a field");
                position = self.triples.next(value).and_then(|deadline| self.triples.next(deadline));
            } else {
                let mut digits = itoa::Buffer::new();
                tell(self.triples.at(at).bytes(&mut digits));
                position = self.remove(at);
            }
        }
        self.due_ms = first_ms;
    }
}

impl Hash {
    /// An empty hash.
    pub fn new() -> Hash {
        Hash { form: Form::Small(Listpack::new()) }
    }

    /// A hash of the fields and values in a listpack, in turn; as Redis does it, the listpack is taken over unless it
    /// has too many, however long they are. `None` if there are none, one of them has no value, or two have one name.
    pub fn from_listpack(pairs: Listpack, limits: &Limits) -> Option<Hash> {
        let count = pairs.len();
        if count == 0 || !count.is_multiple_of(2) {
            return None;
        }
        if count / 2 <= limits.listpack_len_max {
            return pairs.is_distinct(2).then_some(Hash { form: Form::Small(pairs) });
        }
        Hash::of_pairs(&pairs, limits)
    }

    /// The same, but it becomes a table where a name or value is too long for a listpack, too.
    pub fn of_pairs(pairs: &Listpack, limits: &Limits) -> Option<Hash> {
        let mut hash = Hash::new();
        let mut elements = pairs.iter();
        let (mut name_digits, mut value_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        while let Some(name) = elements.next() {
            let value = elements.next()?;
            let (name, value) = (name.bytes(&mut name_digits), value.bytes(&mut value_digits));
            if !hash.set(name, value, Deadline::Clear, 0, limits) {
                return None;
            }
        }
        (!hash.is_empty()).then_some(hash)
    }

    /// The fields and values, if it is a listpack of them.
    pub fn listpack(&self) -> Option<&Listpack> {
        match &self.form {
            Form::Small(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// Whether it is a table.
    pub fn is_table(&self) -> bool {
        matches!(self.form, Form::Table(_))
    }

    /// A time in unix ms before which no field's deadline comes; 0 if none has one.
    pub fn first_deadline_ms(&self) -> u64 {
        self.due_ms().unwrap_or(0)
    }

    /// Whether a field's deadline may have come.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.due_ms().is_some_and(|due_ms| due_ms <= now_ms)
    }

    /// Number of fields, those whose deadline has come but which are not removed yet among them.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Small(pairs) => pairs.len() / 2,
            Form::Timed(timed) => timed.triples.len() / 3,
            Form::Table(table) => table.len(),
        }
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fields with a deadline.
    pub fn timed_len(&self) -> usize {
        match &self.form {
            Form::Small(_) => 0,
            Form::Timed(timed) => timed.timed_len,
            Form::Table(table) => table.timed_len(),
        }
    }

    /// A field.
    #[inline]
    pub fn field(&self, name: &[u8], now_ms: u64) -> Option<Field<'_>> {
        let field = match &self.form {
            Form::Small(pairs) => {
                let position = pairs.find(pairs.first(), name, 1)?;
                let mut elements = pairs.iter_from(position);
                Field { name: elements.next()?, value: elements.next()?, deadline_ms: None }
            }
            Form::Timed(timed) => timed.field_at(timed.find(name)?),
            Form::Table(table) => Field::of_entry(table.get(name)?),
        };
        field.is_live(now_ms).then_some(field)
    }

    /// The value of a field.
    #[inline]
    pub fn get(&self, name: &[u8], now_ms: u64) -> Option<Element<'_>> {
        self.field(name, now_ms).map(|field| field.value)
    }

    /// All fields: those of a listpack in the order in which they came.
    pub fn iter(&self, now_ms: u64) -> impl Iterator<Item = Field<'_>> + '_ {
        let fields = match &self.form {
            Form::Small(pairs) => Fields::Small(pairs.iter()),
            Form::Timed(timed) => Fields::Timed(timed.triples.iter()),
            Form::Table(table) => Fields::Table(table.iter()),
        };
        fields.filter(move |field| field.is_live(now_ms))
    }

    /// About `budget` fields in the order of [`Hash::iter`], whether they are due or not, from a place that an earlier
    /// call has given; 0 is the first. The place of what follows, as long as nothing is changed.
    pub fn walk(&self, place: usize, budget: usize, mut visit: impl FnMut(Field<'_>)) -> usize {
        match &self.form {
            Form::Table(table) => table.walk(place, budget, |entry| visit(Field::of_entry(entry))),
            _ => {
                let fields = self.iter(0).skip(place).take(budget);
                place + fields.map(visit).count()
            }
        }
    }

    /// Gives a field a value, and a deadline or none. Whether the field is new.
    pub fn set(&mut self, name: &[u8], value: &[u8], deadline: Deadline, now_ms: u64, limits: &Limits) -> bool {
        self.prepare(name.len().max(value.len()), name.len() + value.len(), limits);
        if let (Form::Small(_), Deadline::At(_)) = (&self.form, deadline) {
            self.become_timed();
        }
        let deadline_for = |old_ms: Option<u64>| match deadline {
            Deadline::Clear => None,
            Deadline::Keep => old_ms,
            Deadline::At(deadline_ms) => Some(deadline_ms),
        };
        let is_new = match &mut self.form {
            Form::Small(pairs) => {
                let found = pairs.find(pairs.first(), name, 1);
                match found.and_then(|position| pairs.next(position)) {
                    Some(old) => pairs.replace(old, value),
                    None => {
                        pairs.insert_all(None, [Element::Bytes(name), Element::Bytes(value)]);
                    }
                }
                found.is_none()
            }
            Form::Timed(timed) => {
                let position = timed.find(name);
                let live = position.map(|at| timed.field_at(at)).filter(|field| field.is_live(now_ms));
                let deadline_ms = deadline_for(live.and_then(|field| field.deadline_ms));
                let is_new = live.is_none();
                match position {
                    Some(position) => {
                        let old = timed.triples.next(position).expect("three elements a field");
                        timed.triples.replace(old, value);
                        timed.set_deadline(position, deadline_ms);
                    }
                    None => {
                        let (name, value) = (Element::Bytes(name), Element::Bytes(value));
                        timed.triples.insert_all(None, [name, value, element_of(deadline_ms)]);
                        timed.count(None, deadline_ms);
                    }
                }
                is_new
            }
            Form::Table(table) => {
                match table.insert_or_find(Entry { key: name, value, deadline_ms: deadline_for(None) }) {
                    Ok(()) => true,
                    Err(place) => {
                        let old = Field::of_entry(table.at(place));
                        let (old_ms, is_new) = (old.deadline_ms, !old.is_live(now_ms));
                        let deadline_ms = deadline_for(old_ms.filter(|_| !is_new));
                        if deadline_ms != old_ms {
                            table.set_deadline(place, deadline_ms);
                        }
                        // Last, since it may move entries to another bucket.
                        table.set_value(place, value);
                        is_new
                    }
                }
            }
        };
        if !matches!(self.form, Form::Table(_)) && limits.listpack_len_max < self.len() {
            self.become_table(limits);
        }
        is_new
    }

    /// Sets or clears a field's deadline, in unix ms. Whether there is such a field.
    pub fn set_deadline(&mut self, name: &[u8], deadline_ms: Option<u64>, now_ms: u64) -> bool {
        if self.field(name, now_ms).is_none() {
            return false;
        }
        if let (Form::Small(_), Some(_)) = (&self.form, deadline_ms) {
            self.become_timed();
        }
        match &mut self.form {
            Form::Small(_) => {}
            Form::Timed(timed) => {
                let position = timed.find(name).expect("seen above");
                timed.set_deadline(position, deadline_ms);
            }
            Form::Table(table) => {
                let place = table.find(name).expect("seen above");
                table.set_deadline(place, deadline_ms);
            }
        }
        true
    }

    /// Removes a field. Whether it was there.
    pub fn remove(&mut self, name: &[u8], now_ms: u64) -> bool {
        match &mut self.form {
            Form::Small(pairs) => {
                let position = pairs.find(pairs.first(), name, 1);
                if let Some(position) = position {
                    pairs.remove_from(position, 2);
                }
                position.is_some()
            }
            Form::Timed(timed) => {
                let Some(position) = timed.find(name) else { return false };
                let was_live = timed.field_at(position).is_live(now_ms);
                timed.remove(position);
                was_live
            }
            Form::Table(table) => {
                let Some(place) = table.find(name) else { return false };
                let was_live = Field::of_entry(table.at(place)).is_live(now_ms);
                table.remove(place);
                was_live
            }
        }
    }

    /// A random field, its deadline not looked at; `draw` gives random numbers. `None` if there are none.
    pub fn random(&self, mut draw: impl FnMut() -> u64) -> Option<Field<'_>> {
        let mut index = |len: usize| ((u128::from(draw()) * len as u128) >> 64) as i64;
        match &self.form {
            Form::Small(pairs) => {
                let mut elements = pairs.iter_from(pairs.position(2 * index(pairs.len() / 2))?);
                Some(Field { name: elements.next()?, value: elements.next()?, deadline_ms: None })
            }
            Form::Timed(timed) => {
                let position = timed.triples.position(3 * index(timed.triples.len() / 3))?;
                Some(timed.field_at(position))
            }
            Form::Table(table) => table.random(draw).map(|place| Field::of_entry(table.at(place))),
        }
    }

    /// One step of an iteration over about `budget` fields, from cursor 0 until 0 comes back. A hash that is a listpack
    /// is visited in one step.
    pub fn scan(&self, cursor: u64, budget: usize, now_ms: u64, mut visit: impl FnMut(Field<'_>)) -> u64 {
        match &self.form {
            Form::Table(table) => table.scan(cursor, budget, |entry| {
                let field = Field::of_entry(entry);
                if field.is_live(now_ms) {
                    visit(field);
                }
            }),
            _ => {
                self.iter(now_ms).for_each(visit);
                0
            }
        }
    }

    /// Becomes a table unless something so long may stand in a listpack: what `HSET` does for all its arguments before
    /// it sets the first of them.
    pub fn prepare(&mut self, longest_bytes: usize, all_bytes: usize, limits: &Limits) {
        let listpack = match &self.form {
            Form::Small(pairs) => pairs,
            Form::Timed(timed) => &timed.triples,
            Form::Table(_) => return,
        };
        if limits.listpack_bytes_max < longest_bytes || !listpack.can_add(all_bytes.saturating_add(64)) {
            self.become_table(limits);
        }
    }

    fn become_timed(&mut self) {
        let mut triples = Listpack::with_capacity(self.heap_bytes() + 2 * self.len());
        for field in self.iter(0) {
            triples.insert_all(None, [field.name, field.value, element_of(None)]);
        }
        self.form = Form::Timed(Box::new(Timed { triples, timed_len: 0, due_ms: NEVER_MS }));
    }

    fn become_table(&mut self, limits: &Limits) {
        let mut table = Box::new(Packed::new(limits.seed));
        let (mut name_digits, mut value_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        // At time 0 no deadline has come.
        for field in self.iter(0) {
            let (key, value) = (field.name.bytes(&mut name_digits), field.value.bytes(&mut value_digits));
            table.insert(Entry { key, value, deadline_ms: field.deadline_ms });
        }
        self.form = Form::Table(table);
    }
}

impl Default for Hash {
    fn default() -> Hash {
        Hash::new()
    }
}

impl Container for Hash {
    fn encoding_name(&self) -> &'static str {
        match &self.form {
            Form::Small(_) => "listpack",
            Form::Timed(_) => "listpackex",
            Form::Table(_) => "hashtable",
        }
    }

    fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Small(pairs) => pairs.heap_bytes(),
            Form::Timed(timed) => allocated_bytes(size_of_val(&**timed)) + timed.triples.heap_bytes(),
            Form::Table(table) => allocated_bytes(size_of_val(&**table)) + table.heap_bytes(),
        }
    }

    fn duplicate(&self) -> Self {
        let form = match &self.form {
            Form::Small(pairs) => Form::Small(pairs.clone()),
            Form::Timed(timed) => Form::Timed(timed.clone()),
            Form::Table(table) => Form::Table(table.clone()),
        };
        Hash { form }
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

    #[inline]
    fn due_ms(&self) -> Option<u64> {
        match &self.form {
            Form::Small(_) => None,
            Form::Timed(timed) => Some(timed.due_ms).filter(|&due_ms| due_ms != NEVER_MS),
            Form::Table(table) => table.due_ms(),
        }
    }

    fn remove_due(&mut self, now_ms: u64, budget: usize) -> Removed {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        match &mut self.form {
            Form::Small(_) => {}
            Form::Timed(timed) => timed.remove_due(now_ms, |name| names.push(name.into())),
            Form::Table(table) => table.remove_due(now_ms, budget, |name| names.push(name.into())),
        }
        Removed { count: names.len(), is_empty: self.is_empty(), names }
    }
}

#[cfg(test)]
mod tests;
