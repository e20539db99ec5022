//! What is in a snapshot, whether all of it can be read, and how much can be saved if not.

use super::{Problem, Weight, time, twice};
use crate::aof::recovery::Source;
use crate::rdb::load::{Fault, Item, Reader};
use crate::rdb::{Corrupt, Limits, decode_as, names};
use crate::structure::crc64::Sum;
use crate::value::list::Fill;
use crate::value::stream::IdempotencyLimits;
use crate::value::{hash, set, sorted_set};
use ahash::AHashSet;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_128;

/// So many of the largest keys are told.
const LARGEST_LEN: usize = 10;
/// The first version with a checksum.
const VERSION_CHECKSUM: u16 = 5;
/// The opcode of the end, and the checksum.
const END_BYTES: u64 = 9;
/// Bytes that are summed up at a time.
const SUMMED_BYTES: u64 = 1 << 18;

/// Forms of values do not matter here: those of Redis' defaults.
fn limits() -> Limits {
    Limits {
        hash: hash::Limits { listpack_len_max: 128, listpack_bytes_max: 64, seed: 0 },
        set: set::Limits { integers_max: 512, listpack_len_max: 128, listpack_member_bytes_max: 64, seed: 0 },
        sorted_set: sorted_set::Limits { members_max: 128, member_bytes_max: 64 },
        list: Fill::default(),
        idempotency: IdempotencyLimits::STOCK,
    }
}

/// One database of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Database {
    /// Keys.
    pub keys: u64,
    /// Of them, with a deadline.
    pub expiring: u64,
    /// Of these, with one that has come.
    pub expired: u64,
}

/// Keys of one type and encoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kind {
    /// How many.
    pub keys: u64,
    /// Bytes of them in the file.
    pub bytes: u64,
}

/// One of the largest keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Large {
    /// Bytes of it in the file.
    pub bytes: u64,
    /// Its database.
    pub db: u64,
    /// Its name.
    pub key: Vec<u8>,
    /// Its type.
    pub type_name: &'static str,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The format's version; 0: not even that can be read.
    pub version: u16,
    /// What the file says about itself.
    pub aux: Vec<(String, String)>,
    /// Libraries of functions.
    pub libraries: u64,
    /// Modules that keep something in it.
    pub modules: Vec<String>,
    /// What is in which database.
    pub databases: BTreeMap<u64, Database>,
    /// Type and encoding.
    pub kinds: BTreeMap<(&'static str, &'static str), Kind>,
    /// The largest keys, from the largest on.
    pub largest: Vec<Large>,
    /// Keys that are empty, and passed over by who loads them.
    pub empty: u64,
    /// It has a checksum that is not 0.
    pub has_checksum: bool,
    /// All before it can be read, but something of it is not what was written.
    pub has_wrong_checksum: bool,
    /// Where what can be read ends: behind the checksum, or behind the last whole thing.
    pub bytes: u64,
    /// Its end is where it should be.
    pub has_end: bool,
    /// The file ends within something: it was cut, or a length is wrong.
    pub is_short: bool,
    /// Keys that cannot be kept, though what follows can be read: where they are.
    pub dropped: Vec<Range<u64>>,
    /// Where keys are that are empty. Servers pass over them, but `redis-check-rdb` does not, so a file that is mended
    /// anyway goes without.
    pub empty_at: Vec<Range<u64>>,
}

impl Snapshot {
    /// All keys.
    pub fn keys(&self) -> u64 {
        self.databases.values().map(|database| database.keys).sum()
    }

    /// When it was made, unix seconds, as it says itself.
    pub fn made_seconds(&self) -> Option<u64> {
        self.aux.iter().find(|(name, _)| name == "ctime").and_then(|(_, seconds)| seconds.parse().ok())
    }
}

/// Reads on from an offset.
struct ReadFrom<'a, S> {
    source: &'a mut S,
    offset: u64,
}

impl<S: Source> Read for ReadFrom<'_, S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let len = (self.source.len() - self.offset).min(bytes.len() as u64) as usize;
        self.source.read_at(self.offset, &mut bytes[..len])?;
        self.offset += len as u64;
        Ok(len)
    }
}

/// How it is known which keys come twice.
enum Repeated {
    /// The hashes of all keys so far.
    Seen(AHashSet<u128>),
    /// Where those are that were there before.
    Known(BTreeSet<u64>),
}

impl Repeated {
    /// Whether the key at an offset was there before; `None`: there are too many keys to know.
    fn has(&mut self, hash: impl FnOnce() -> u128, offset: u64, hashes_max: usize) -> Option<bool> {
        match self {
            Repeated::Seen(seen) if seen.len() == hashes_max => None,
            Repeated::Seen(seen) => Some(!seen.insert(hash())),
            Repeated::Known(known) => Some(known.contains(&offset)),
        }
    }
}

fn hash_of(db: u64, key: &[u8]) -> u128 {
    xxh3_128(&[&db.to_le_bytes()[..], key].concat())
}

/// Why a key of a snapshot does not count.
enum Wrong {
    /// It is passed over by who loads it.
    Empty,
    /// It cannot be loaded.
    Broken(String),
}

/// Reads the value of a key, with buffers for it.
struct ValueReader {
    limits: Limits,
    text: Vec<u8>,
}

impl ValueReader {
    fn new() -> ValueReader {
        ValueReader { limits: limits(), text: Vec::new() }
    }

    fn read(&mut self, kind: u8, version: u16, mut value: &[u8]) -> Result<(), Wrong> {
        match decode_as(kind, &mut value, version, &self.limits, &mut self.text) {
            Ok(_) if !value.is_empty() => Err(Wrong::Broken(format!("{} bytes stand behind its value", value.len()))),
            Ok(_) => Ok(()),
            Err(Corrupt::EMPTY) => Err(Wrong::Empty),
            Err(corrupt) => Err(Wrong::Broken(corrupt.0.to_string())),
        }
    }
}

/// Goes through the keys of a snapshot that count, as far as it can be read.
fn walk_keys(source: &mut impl Source, each: &mut dyn FnMut(u128, u64)) -> io::Result<()> {
    let Ok(mut reader) = Reader::open(ReadFrom { source, offset: 0 }, false) else { return Ok(()) };
    let (mut key, mut value, mut db) = (Vec::new(), Vec::new(), 0);
    let (version, mut values) = (reader.version(), ValueReader::new());
    loop {
        let start = reader.offset();
        match reader.next(&mut key, &mut value) {
            Ok(Item::Database(number)) => db = number,
            Ok(Item::Key(head)) if values.read(head.kind, version, &value).is_ok() => each(hash_of(db, &key), start),
            Err(Fault::System(reason)) => return Err(io::Error::other(reason)),
            Ok(Item::End) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
}

/// Looks through a snapshot that stands at the beginning of a file of this name. Memory: some tens of MiB, and the
/// largest value a few times; a file with many keys is read several times.
///
/// # Errors
/// Those of the medium.
pub fn examine(source: &mut impl Source, file: &str, now_ms: u64) -> io::Result<(Snapshot, Vec<Problem>)> {
    examine_within(source, file, now_ms, twice::HASHES_MAX)
}

fn examine_within(
    source: &mut impl Source,
    file: &str,
    now_ms: u64,
    hashes_max: usize,
) -> io::Result<(Snapshot, Vec<Problem>)> {
    let seen = Repeated::Seen(AHashSet::new());
    if let Some(all) = examine_with(source, file, now_ms, seen, hashes_max)? {
        return Ok(all);
    }
    let known = twice::find(&mut |each| walk_keys(source, each))?;
    let all = examine_with(source, file, now_ms, Repeated::Known(known), hashes_max)?;
    Ok(all.expect("what comes twice is known"))
}

/// `None`: there are so many keys that it has to be known before which of them come twice.
fn examine_with(
    source: &mut impl Source,
    file: &str,
    now_ms: u64,
    mut repeated: Repeated,
    hashes_max: usize,
) -> io::Result<Option<(Snapshot, Vec<Problem>)>> {
    let mut found = Snapshot::default();
    let mut problems = Vec::new();
    let len = source.len();
    let mut reader = match Reader::open(ReadFrom { source, offset: 0 }, true) {
        Ok(reader) => reader,
        Err(fault) => {
            problems.push(problem(file, 0, &fault, len)?);
            return Ok(Some((found, problems)));
        }
    };
    found.version = reader.version();
    found.bytes = reader.offset();
    let (mut key, mut value, mut values, mut db) = (Vec::new(), Vec::new(), ValueReader::new(), 0);
    loop {
        let start = reader.offset();
        let item = match reader.next(&mut key, &mut value) {
            Ok(item) => item,
            Err(fault) => {
                // A checksum stands where it should, and all before it could be read.
                if matches!(fault, Fault::Checksum(..)) {
                    (found.has_end, found.has_checksum, found.bytes) = (true, true, reader.offset());
                    found.has_wrong_checksum = true;
                }
                found.is_short = fault == Fault::Corrupt(Corrupt::SHORT);
                problems.push(problem(file, start, &fault, len)?);
                return Ok(Some((found, problems)));
            }
        };
        let bytes = reader.offset() - start;
        found.bytes = reader.offset();
        match item {
            Item::End => {
                found.has_end = true;
                break;
            }
            Item::Aux(name, text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                found.aux.push((String::from_utf8_lossy(&name).into_owned(), text));
            }
            Item::Database(number) => db = number,
            Item::Sizes(..) => {}
            Item::Library(_) => found.libraries += 1,
            Item::ModuleAux(name) => {
                problems.push(problem(file, start, &Fault::ModuleAux(name.clone()), len)?);
                found.modules.push(name);
            }
            Item::Key(head) => {
                let (type_name, encoding) = names(head.kind).unwrap_or(("unknown", "unknown"));
                let wrong = match values.read(head.kind, found.version, &value) {
                    Ok(()) => {
                        let Some(is_again) = repeated.has(|| hash_of(db, &key), start, hashes_max) else {
                            return Ok(None);
                        };
                        is_again.then(|| format!("it is there twice in database {db}"))
                    }
                    Err(Wrong::Empty) => {
                        found.empty += 1;
                        match found.empty_at.last_mut() {
                            Some(last) if last.end == start => last.end += bytes,
                            _ => found.empty_at.push(start..start + bytes),
                        }
                        continue;
                    }
                    Err(Wrong::Broken(why)) => Some(why),
                };
                if let Some(wrong) = wrong {
                    let what = format!("{type_name} '{}' ({encoding}, {bytes} bytes): {wrong}", key.escape_ascii());
                    problems.push(Problem::damage(file, start, what));
                    found.dropped.push(start..start + bytes);
                    continue;
                }
                let database = found.databases.entry(db).or_default();
                database.keys += 1;
                if let Some(deadline_ms) = head.deadline_ms {
                    database.expiring += 1;
                    database.expired += u64::from(deadline_ms < now_ms as i64);
                }
                let kind = found.kinds.entry((type_name, encoding)).or_default();
                kind.keys += 1;
                kind.bytes += bytes;
                let is_large = found.largest.len() < LARGEST_LEN
                    || found.largest.last().is_some_and(|smallest| smallest.bytes < bytes);
                if is_large {
                    let at = found.largest.partition_point(|large| bytes <= large.bytes);
                    found.largest.insert(at, Large { bytes, db, key: key.clone(), type_name });
                    found.largest.truncate(LARGEST_LEN);
                }
            }
        }
    }
    if VERSION_CHECKSUM <= found.version {
        let mut checksum = [0; 8];
        source.read_at(found.bytes - 8, &mut checksum)?;
        found.has_checksum = checksum != [0; 8];
    }
    Ok(Some((found, problems)))
}

/// What a fault means for the file.
///
/// # Errors
/// The fault is one of the medium.
fn problem(file: &str, start: u64, fault: &Fault, len: u64) -> io::Result<Problem> {
    let weight = match fault {
        Fault::System(reason) => return Err(io::Error::other(reason.clone())),
        Fault::Version(_) | Fault::Module(_) | Fault::ModuleAux(_) => Weight::Unknown,
        _ => Weight::Damage,
    };
    let what = match fault {
        Fault::Corrupt(Corrupt::SHORT) => {
            format!("{fault}: what begins here is not whole, {} bytes of it are there", len - start)
        }
        Fault::Opcode(code) => format!("{fault}: a type or opcode should stand here or soon after, not 0x{code:02x}"),
        _ => fault.to_string(),
    };
    Ok(Problem { weight, ..Problem::damage(file, start, what) })
}

/// A part of a file that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes of the old one.
    Old(Range<u64>),
    /// Others.
    New(Vec<u8>),
}

/// The parts of a snapshot that has all that can be read of a broken one, and what stood behind it, if its end was
/// found. `None`: nothing can be read.
///
/// # Errors
/// Those of the medium.
pub fn salvage(source: &mut impl Source, found: &Snapshot) -> io::Result<Option<Vec<Part>>> {
    if found.version == 0 {
        return Ok(None);
    }
    let has_sum = VERSION_CHECKSUM <= found.version;
    let end = match (found.has_end, has_sum) {
        (true, true) => found.bytes - END_BYTES,
        (true, false) => found.bytes - 1,
        (false, _) => found.bytes,
    };
    let (mut parts, mut from) = (Vec::new(), 0);
    let mut left_out: Vec<&Range<u64>> = found.dropped.iter().chain(&found.empty_at).collect();
    left_out.sort_unstable_by_key(|range| range.start);
    for dropped in left_out {
        parts.push(Part::Old(from..dropped.start));
        from = dropped.end;
    }
    parts.push(Part::Old(from..end));
    let mut last = vec![crate::rdb::file::opcode::END];
    if has_sum {
        let mut sum = Sum::default();
        for part in &parts {
            let Part::Old(range) = part else { continue };
            let mut at = range.start;
            while at < range.end {
                let mut bytes = vec![0; (range.end - at).min(SUMMED_BYTES) as usize];
                source.read_at(at, &mut bytes)?;
                sum = sum.then(Sum::of(&bytes));
                at += bytes.len() as u64;
            }
        }
        let sum = sum.then(Sum::of(&last));
        let checksum = if found.has_end && !found.has_checksum { 0 } else { sum.crc };
        last.extend_from_slice(&checksum.to_le_bytes());
    }
    parts.push(Part::New(last));
    if found.has_end && found.bytes < source.len() {
        parts.push(Part::Old(found.bytes..source.len()));
    }
    Ok(Some(parts))
}

/// When it was made, for people.
pub fn made(found: &Snapshot) -> Option<String> {
    found.made_seconds().map(time::text)
}

#[cfg(test)]
mod tests {
    use super::super::memory::parts_of;
    use super::*;
    use crate::rdb::write;
    use crate::structure::intset::Intset;

    /// A snapshot with strings and a set of integers, and where each key begins.
    fn file(version: u16) -> (Vec<u8>, Vec<usize>) {
        let mut file = format!("REDIS{version:04}").into_bytes();
        file.extend_from_slice(b"\xfa\x05ctime\xc2\x10\x20\x30\x40");
        file.extend_from_slice(b"\xfe\x00\xfb\x03\x01");
        let mut starts = Vec::new();
        for (key, value) in [(b"one", &b"1"[..]), (b"two", &[b'v'; 300])] {
            starts.push(file.len());
            file.push(0);
            write::string(&mut file, key, false);
            write::string(&mut file, value, false);
        }
        starts.push(file.len());
        file.extend_from_slice(b"\xfc\x01\0\0\0\0\0\0\0\x0b\x03set");
        let mut set = Intset::default();
        for integer in 1..20 {
            set.insert(integer);
        }
        write::string(&mut file, set.as_bytes(), false);
        starts.push(file.len());
        file.push(0xff);
        if VERSION_CHECKSUM <= version {
            let sum = Sum::of(&file).crc;
            file.extend_from_slice(&sum.to_le_bytes());
        }
        (file, starts)
    }

    fn examined(file: &[u8]) -> (Snapshot, Vec<Problem>) {
        examine(&mut file.to_vec(), "dump.rdb", 1_000).expect("memory")
    }

    #[test]
    fn a_whole_snapshot_is_described() {
        for version in [1, 10, 12] {
            let (bytes, _) = file(version);
            let (found, problems) = examined(&bytes);
            assert_eq!(problems, []);
            assert_eq!((found.version, found.keys(), found.bytes), (version, 3, bytes.len() as u64));
            assert_eq!(found.databases[&0], Database { keys: 3, expiring: 1, expired: 1 });
            assert_eq!(found.kinds[&("set", "intset")].keys, 1);
            assert_eq!((found.largest[0].key.as_slice(), found.largest.len()), (&b"two"[..], 3));
            assert_eq!((found.has_end, found.has_checksum), (true, VERSION_CHECKSUM <= version));
            assert_eq!(found.made_seconds(), Some(0x4030_2010));
        }
    }

    #[test]
    fn wherever_it_is_cut_all_keys_before_the_cut_are_saved() {
        let (bytes, starts) = file(10);
        for len in 0..bytes.len() {
            let cut = bytes[..len].to_vec();
            let (found, problems) = examined(&cut);
            assert_eq!(problems.len(), 1, "{len}");
            let whole = starts[1..].iter().filter(|start| **start <= len).count() as u64;
            assert_eq!(found.keys(), whole, "{len}");
            let parts = salvage(&mut cut.clone(), &found).expect("memory");
            let Some(parts) = parts else {
                assert!(len < 9, "{len}");
                continue;
            };
            let (mended, problems) = examined(&parts_of(&cut, &parts));
            assert_eq!((mended.keys(), problems), (whole, vec![]), "{len}");
            assert!(mended.has_checksum);
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed_and_no_mended_file_is_broken() {
        let (bytes, _) = file(10);
        for at in 0..bytes.len() - 8 {
            for bit in [0, 3, 7] {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let (found, problems) = examined(&flipped);
                assert!(!problems.is_empty(), "{at} {bit}");
                if let Some(parts) = salvage(&mut flipped.clone(), &found).expect("memory") {
                    let (mended, problems) = examined(&parts_of(&flipped, &parts));
                    assert_eq!((mended.keys(), problems), (found.keys(), vec![]), "{at} {bit}");
                }
            }
        }
    }

    /// Only the checksum is wrong: nothing is left out, and nobody has to agree that something is.
    #[test]
    fn a_wrong_checksum_alone_is_told_as_what_it_is() {
        let (mut bytes, _) = file(10);
        *bytes.last_mut().expect("there is one") ^= 1;
        let (found, problems) = examined(&bytes);
        assert!(found.has_wrong_checksum && found.dropped.is_empty() && problems.len() == 1);
        let (found, _) = examined(&file(10).0);
        assert!(!found.has_wrong_checksum);
    }

    /// As what is behind damage may be taken for: `redis-check-rdb` does not pass over it.
    #[test]
    fn empty_keys_are_left_out_of_what_is_mended() {
        let (bytes, starts) = file(10);
        let empty = b"\x01\x00\x00";
        let with = |at: usize| [&bytes[..at], empty, empty, &bytes[at..]].concat();
        let (found, problems) = examined(&with(starts[1])[..starts[2] + 7]);
        assert_eq!((found.empty, found.empty_at.len(), problems.len()), (2, 1, 1), "{problems:?}");
        for at in [starts[1], starts[2]] {
            let cut = with(at)[..starts[2] + 2 * empty.len() + 1].to_vec();
            let (found, _) = examined(&cut);
            let mended = parts_of(&cut, &salvage(&mut cut.clone(), &found).expect("memory").expect("parts"));
            let (mended, problems) = examined(&mended);
            assert_eq!((mended.keys(), mended.empty, problems), (2, 0, vec![]), "{at}");
        }
    }

    #[test]
    fn a_value_that_makes_no_sense_and_a_key_that_is_there_twice_are_left_out_alone() {
        let (bytes, starts) = file(10);
        // The count of the intset, which is behind the header of the key, the length and the intset's width.
        let mut broken = bytes.clone();
        let count = starts[2] + 9 + 1 + 4 + 1 + 4;
        broken[count] ^= 1;
        let (found, problems) = examined(&broken);
        assert_eq!(problems[0].offset, Some(starts[2] as u64));
        assert!(problems[0].what.contains("set 'set' (intset"), "{problems:?}");
        assert_eq!(problems.len(), 2, "and the checksum: {problems:?}");
        let mended = parts_of(&broken, &salvage(&mut broken.clone(), &found).expect("memory").expect("parts"));
        let (mended, problems) = examined(&mended);
        assert_eq!((mended.keys(), problems), (2, vec![]));

        let twice = [&bytes[..starts[1]], &bytes[starts[0]..]].concat();
        let (found, problems) = examined(&twice);
        let within_little = examine_within(&mut twice.clone(), "dump.rdb", 1_000, 1).expect("memory");
        assert_eq!(within_little, (found.clone(), problems.clone()), "however much memory there is");
        assert!(problems[0].what.contains("'one' (string, 7 bytes): it is there twice in database 0"), "{problems:?}");
        let mended = parts_of(&twice, &salvage(&mut twice.clone(), &found).expect("memory").expect("parts"));
        assert_eq!(mended, bytes);
    }
}
