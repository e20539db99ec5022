//! What the log of writes is to be told: records since they were last taken, as commands. Made where a command runs,
//! or where a key goes by itself; put into the log by whoever lets go of the keyspace. Not here: the log.

use crate::aof::record;
use std::ops::Range;

/// One command on keys of one shard, or (`keys` are none) on all keys.
#[derive(Debug, Clone)]
pub struct Recorded<'a> {
    /// In which database.
    pub db: usize,
    /// The keys that it changes; none: all there are.
    pub keys: Vec<&'a [u8]>,
    /// It leaves nothing of what was there, in any database.
    pub is_flush_all: bool,
    /// It found nothing to change here.
    pub is_idle: bool,
    /// The command as text.
    pub bytes: &'a [u8],
}

#[derive(Debug)]
struct Item {
    db: usize,
    bytes: Range<usize>,
    /// Among the spans of keys.
    keys: Range<usize>,
    is_flush_all: bool,
    is_idle: bool,
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Records {
    /// Whether anybody wants them.
    pub is_on: bool,
    /// Several commands are one change: whoever runs them puts all of them into the log at once.
    pub is_gathering: bool,
    /// The command that runs has said itself what it did.
    is_said: bool,
    /// It found nothing to change, though it concerns all keys.
    is_idle: bool,
    bytes: Vec<u8>,
    keys: Vec<u8>,
    spans: Vec<Range<usize>>,
    items: Vec<Item>,
}

/// Buffers that grew beyond are freed once they are empty.
const KEPT_BYTES: usize = 256 * 1024;

impl Records {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// A command says what it did to a key. Then nothing else is written of it.
    #[inline]
    pub fn say(&mut self, db: usize, key: &[u8], args: &[&[u8]]) {
        if self.is_on {
            self.is_said = true;
            self.push(db, &[key], args);
        }
    }

    /// What a command did has been recorded.
    pub fn said(&mut self) {
        self.is_said = true;
    }

    /// What the command said of itself is of no concern to the next one.
    pub fn end_command(&mut self) {
        (self.is_said, self.is_idle) = (false, false);
    }

    /// Whether the command has said what it did, since this was asked last.
    pub fn take_said(&mut self) -> bool {
        std::mem::take(&mut self.is_said)
    }

    /// The command that runs, which concerns all keys, has found something to change here, or nothing.
    pub fn note_idle(&mut self, is_idle: bool) {
        self.is_idle = is_idle;
    }

    /// A key went by itself.
    #[cold]
    pub fn removed(&mut self, db: usize, key: &[u8]) {
        if self.is_on {
            self.push(db, &[key], &[b"UNLINK", key]);
        }
    }

    /// Adds a record of a command that changes these keys; none: all there are.
    pub fn push(&mut self, db: usize, keys: &[&[u8]], args: &[&[u8]]) {
        let start = self.bytes.len();
        record::write(&mut self.bytes, args);
        self.add(db, keys, start, false, false);
    }

    /// Adds a record of a command on all keys.
    pub fn push_global(&mut self, db: usize, is_flush_all: bool, args: &[&[u8]]) {
        let start = self.bytes.len();
        record::write(&mut self.bytes, args);
        let is_idle = std::mem::take(&mut self.is_idle);
        self.add(db, &[], start, is_flush_all, is_idle);
    }

    /// Takes over a record of another keyspace.
    pub fn adopt(&mut self, other: &Recorded<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(other.bytes);
        self.add(other.db, &other.keys, start, other.is_flush_all, other.is_idle);
    }

    fn add(&mut self, db: usize, keys: &[&[u8]], start: usize, is_flush_all: bool, is_idle: bool) {
        let first = self.spans.len();
        for key in keys {
            let start = self.keys.len();
            self.keys.extend_from_slice(key);
            self.spans.push(start..self.keys.len());
        }
        let (bytes, keys) = (start..self.bytes.len(), first..self.spans.len());
        self.items.push(Item { db, bytes, keys, is_flush_all, is_idle });
    }

    /// All records, in order.
    pub fn iter(&self) -> impl Iterator<Item = Recorded<'_>> {
        self.items.iter().map(|item| Recorded {
            db: item.db,
            keys: self.spans[item.keys.clone()].iter().map(|span| &self.keys[span.clone()]).collect(),
            is_flush_all: item.is_flush_all,
            is_idle: item.is_idle,
            bytes: &self.bytes[item.bytes.clone()],
        })
    }

    /// Takes over all records of another keyspace.
    pub fn adopt_all(&mut self, other: &mut Records) {
        other.iter().for_each(|record| self.adopt(&record));
        other.clear();
    }

    /// What was recorded so far, for who will bring it back: until then others come before it.
    pub fn set_aside(&mut self) -> Records {
        let Records { is_on, is_gathering, .. } = *self;
        std::mem::replace(self, Records { is_on, is_gathering, ..Records::default() })
    }

    /// They have been taken.
    pub fn clear(&mut self) {
        self.items.clear();
        self.spans.clear();
        self.keys.clear();
        self.bytes.clear();
        if KEPT_BYTES < self.bytes.capacity() {
            self.bytes = Vec::new();
        }
    }

    /// Takes over all records of another keyspace, behind the own ones.
    pub fn append(&mut self, other: &mut Records) {
        other.iter().for_each(|record| self.adopt(&record));
        other.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut records = Records::default();
        records.say(0, b"k", &[b"SET", b"k", b"v"]);
        records.removed(0, b"k");
        assert!(records.is_empty() && !records.take_said(), "nobody wants them");
        records.is_on = true;
        records.say(3, b"", &[b"SET", b"", b"v"]);
        assert!(records.take_said() && !records.take_said());
        records.push(1, &[b"a", b"b"], &[b"DEL", b"a", b"b"]);
        records.push_global(0, true, &[b"FLUSHALL"]);
        let mut other = Records::default();
        other.append(&mut records);
        assert!(records.is_empty());
        let seen: Vec<_> = other.iter().map(|record| (record.db, record.keys.len(), record.is_flush_all)).collect();
        assert_eq!(seen, [(3, 1, false), (1, 2, false), (0, 0, true)]);
        assert_eq!(other.iter().nth(2).unwrap().bytes, b"*1\r\n$8\r\nFLUSHALL\r\n");
        records.note_idle(true);
        records.push_global(0, true, &[b"FLUSHALL"]);
        records.push_global(0, true, &[b"FLUSHALL"]);
        other.append(&mut records);
        assert_eq!(other.iter().skip(2).map(|record| record.is_idle).collect::<Vec<_>>(), [false, true, false]);
        other.clear();
        assert!(other.is_empty());
    }

    #[test]
    fn what_is_set_aside_waits_for_who_brings_it_back() {
        let mut records = Records { is_on: true, is_gathering: true, ..Records::default() };
        records.say(0, b"k", &[b"SET", b"k", b"v"]);
        let aside = records.set_aside();
        assert!(records.is_empty() && records.is_on && records.is_gathering && !records.take_said());
        records.removed(0, b"gone");
        assert_eq!(records.iter().map(|record| record.keys[0].to_vec()).collect::<Vec<_>>(), [b"gone".to_vec()]);
        records = aside;
        assert_eq!(records.iter().map(|record| record.keys[0].to_vec()).collect::<Vec<_>>(), [b"k".to_vec()]);
        assert!(records.take_said());
    }
}
