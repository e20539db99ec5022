//! The digest of `DEBUG DIGEST` and `DEBUG DIGEST-VALUE`: 160 bits made exactly as Redis makes them, so that a data set
//! can be compared with one in Redis, whatever the encodings and the number of shards on either side.
//!
//! Two ways to take something into a digest, both built on SHA-1:
//!
//! ```text
//! add:  digest = digest ^ sha1(bytes)          order does not matter: members of a set, keys of a database
//! mix:  digest = sha1(digest ^ sha1(bytes))    order matters: elements of a list, a field and its value
//! ```
//! Not here: a digest that resists people who want equal ones; XOR of hashes does not.

use crate::keyspace::EntryRef;
use crate::value::ValueRef;
use crate::value::number::format_double;
use crate::value::stream::Id;
use sha1::{Digest as _, Sha1};

/// What stands in the digest for a key that has a deadline; which one does not matter.
const HAS_DEADLINE: &[u8] = b"!!expire!!";

/// 160 bits that stand for data; all zero for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest([u8; 20]);

impl Digest {
    /// Takes in a key with its value, in any order.
    pub fn add_key(&mut self, entry: EntryRef<'_>) {
        let mut digest = Digest::default();
        digest.mix(entry.key());
        digest.take_value(entry);
        self.add(&digest.0);
    }

    /// Of a value, with whether its key has a deadline, without the key.
    pub fn of_value(entry: EntryRef<'_>) -> Digest {
        let mut digest = Digest::default();
        digest.take_value(entry);
        digest
    }

    /// Of everything: for each database in order, if it is not empty, what its keys came to.
    pub fn of_databases(databases: impl Iterator<Item = Option<Digest>>) -> Digest {
        let mut all = Digest::default();
        for (index, keys) in databases.enumerate() {
            if let Some(keys) = keys {
                all.mix(&u32::try_from(index).expect("databases are counted in 32 bits").to_be_bytes());
                all.join(&keys);
            }
        }
        all
    }

    /// Takes in what was added to another digest, as if it had been added here.
    pub fn join(&mut self, other: &Digest) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine ^= theirs);
    }

    fn add(&mut self, bytes: &[u8]) {
        self.join(&Digest(Sha1::digest(bytes).into()));
    }

    fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Takes in two things that belong together, in any order with others.
    fn add_pair(&mut self, first: &[u8], second: &[u8]) {
        let mut digest = Digest::default();
        digest.mix(first);
        digest.mix(second);
        self.add(&digest.0);
    }

    fn take_value(&mut self, entry: EntryRef<'_>) {
        let mut digits = itoa::Buffer::new();
        self.mix(&type_number(entry.value()).to_be_bytes());
        match entry.value() {
            ValueRef::Integer(integer) => self.mix(digits.format(integer).as_bytes()),
            ValueRef::String(bytes) => self.mix(bytes),
            ValueRef::List(list) => list.for_each(|element| self.mix(element.bytes(&mut digits))),
            ValueRef::Set(set) => set.iter().for_each(|member| self.add(member.bytes(&mut digits))),
            ValueRef::SortedSet(set) => {
                set.visit_all(|member, score| self.add_pair(member, format_double(score).as_bytes()));
            }
            ValueRef::Hash(hash) => {
                for field in hash.iter(0) {
                    let mut name_digits = itoa::Buffer::new();
                    let (name, value) = (field.name.bytes(&mut name_digits), field.value.bytes(&mut digits));
                    self.add_pair(name, value);
                }
            }
            ValueRef::Stream(stream) => {
                for entry in stream.log().range(Id::MIN, Id::MAX) {
                    self.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                    for (field, value) in entry.pairs() {
                        self.mix(&field.to_vec());
                        self.mix(&value.to_vec());
                    }
                }
            }
            #[cfg(test)]
            ValueRef::Probe(_) => {}
        }
        if entry.deadline_ms().is_some() {
            self.add(HAS_DEADLINE);
        }
    }
}

/// Redis' number of the value's type, as in its objects.
fn type_number(value: ValueRef<'_>) -> u32 {
    match value {
        ValueRef::Integer(_) | ValueRef::String(_) => 0,
        ValueRef::List(_) => 1,
        ValueRef::Set(_) => 2,
        ValueRef::SortedSet(_) => 3,
        ValueRef::Hash(_) => 4,
        ValueRef::Stream(_) => 6,
        #[cfg(test)]
        ValueRef::Probe(_) => u32::MAX,
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
