//! Groups: what one flush writes, whole blocks with their length and checksum in front.
//!
//! ```text
//! #cr group <file> <number> <synced> <bytes> <shares> <xxh3>\r\n     in hexadecimal, 16 digits each
//! records and annotations …
//! #cr pad ....\r\n …                                        up to the end of the block
//! ```
//! `file` is the number of the file in the manifest, `number` counts the groups of the file from 0. So many of them,
//! the first ones, were `synced` when this one was made: if one of those is not whole, that is damage, not a crash.
//! `bytes` is the whole group, `shares` how many records of it are shared with other lanes, `xxh3` is over all but
//! itself.

use super::record::{self, Item};
use xxhash_rust::xxh3::Xxh3;

/// Groups begin and end at multiples of this: what direct I/O asks of any file system.
pub const BLOCK_BYTES: usize = 4096;
/// What every group begins with.
pub const HEAD: &[u8] = b"#cr group ";
const DIGITS: usize = 16;
const FIELDS: usize = 6;
/// The line in front of a group.
pub const HEADER_BYTES: usize = HEAD.len() + FIELDS * (DIGITS + 1) + 1;
/// Beyond this a length is damage.
const GROUP_BYTES_MAX: u64 = 1 << 42;
/// A line of padding at most: below what Redis reads as one annotation.
const PAD_LINE_BYTES: usize = 1000;
const PAD: &[u8] = b"#cr pad ";

/// What stands in front of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The file's number in the manifest.
    pub file: u64,
    /// Which group of the file.
    pub number: u64,
    /// So many groups, the first ones of the file, are on disk: one of them that is not whole is damage.
    pub synced: u64,
    /// Bytes of all of it, header and padding included.
    pub bytes: u64,
    /// Records that are shared with other lanes.
    pub shares: u64,
    checksum: u64,
}

/// Where a group stands; see [`Header`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The file's number in the manifest.
    pub file: u64,
    /// Which group of the file.
    pub number: u64,
    /// So many groups of it are on disk.
    pub synced: u64,
}

/// Bytes of a group with so many bytes of records.
pub fn bytes_for(records: usize) -> usize {
    let bare = HEADER_BYTES + records;
    let padded = bare.next_multiple_of(BLOCK_BYTES);
    // A line of padding takes three bytes at least.
    if (1..3).contains(&(padded - bare)) { padded + BLOCK_BYTES } else { padded }
}

/// Puts records into `group`, which has [`bytes_for`] bytes.
pub fn seal(group: &mut [u8], place: Place, shares: u64, records: &[u8]) {
    assert_eq!(group.len(), bytes_for(records.len()));
    let mut at = HEADER_BYTES + records.len();
    group[HEADER_BYTES..at].copy_from_slice(records);
    while at < group.len() {
        let left = group.len() - at;
        let mut len = left.min(PAD_LINE_BYTES);
        if (1..3).contains(&(left - len)) {
            len -= 3;
        }
        let line = &mut group[at..at + len];
        line.fill(b'.');
        let head = PAD.len().min(len - 2);
        line[..head].copy_from_slice(&PAD[..head]);
        line[len - 2..].copy_from_slice(b"\r\n");
        at += len;
    }
    let bytes = group.len() as u64;
    let Place { file, number, synced } = place;
    write_header(group, &Header { file, number, synced, bytes, shares, checksum: 0 });
    let checksum = checksum(group);
    write_header(group, &Header { file, number, synced, bytes, shares, checksum });
}

fn write_header(group: &mut [u8], header: &Header) {
    group[..HEAD.len()].copy_from_slice(HEAD);
    let fields = [header.file, header.number, header.synced, header.bytes, header.shares, header.checksum];
    for (index, field) in fields.into_iter().enumerate() {
        let at = HEAD.len() + index * (DIGITS + 1);
        for digit in 0..DIGITS {
            let nibble = field >> (4 * (DIGITS - 1 - digit)) & 15;
            group[at + digit] = b"0123456789abcdef"[nibble as usize];
        }
        group[at + DIGITS] = b' ';
    }
    group[HEADER_BYTES - 2..HEADER_BYTES].copy_from_slice(b"\r\n");
}

/// Over everything but the digits of the checksum itself.
fn checksum(group: &[u8]) -> u64 {
    let at = HEADER_BYTES - 2 - DIGITS;
    let mut hash = Xxh3::new();
    hash.update(&group[..at]);
    hash.update(&group[HEADER_BYTES - 2..]);
    hash.digest()
}

/// The header at the beginning of `bytes`, if it is one; whether the group is whole is not looked at.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let line = bytes.get(..HEADER_BYTES)?;
    let fields = line.strip_prefix(HEAD)?.strip_suffix(b"\r\n")?;
    let mut numbers = [0u64; FIELDS];
    for (index, number) in numbers.iter_mut().enumerate() {
        let field = fields.get(index * (DIGITS + 1)..)?.get(..DIGITS)?;
        for digit in field {
            *number = *number << 4 | (*digit as char).to_digit(16)? as u64;
        }
    }
    let [file, number, synced, bytes, shares, checksum] = numbers;
    let is_possible = bytes.is_multiple_of(BLOCK_BYTES as u64) && (1..=GROUP_BYTES_MAX).contains(&bytes);
    is_possible.then_some(Header { file, number, synced, bytes, shares, checksum })
}

/// The records of a whole group; `None`: it is not what was written.
pub fn open<'a>(header: &Header, group: &'a [u8]) -> Option<&'a [u8]> {
    (group.len() as u64 == header.bytes && checksum(group) == header.checksum).then(|| &group[HEADER_BYTES..])
}

// Annotations among the records

/// Which lane a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// The shard.
    pub lane: usize,
    /// Lanes of its generation.
    pub lanes: usize,
    /// The number of the generation's first file.
    pub first: u64,
}

/// A share of what happened on several shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The number that all shares have.
    pub id: u64,
    /// The files that have one, by their numbers.
    pub files: Vec<u64>,
}

/// What an annotation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The file is this lane.
    Lane(Lane),
    /// The next record, or transaction, is a share. One with many files has several lines.
    Share(Share),
    /// Nothing comes behind this in the file: its generation is complete.
    End,
    /// Unix seconds of the next record.
    Time(u64),
    /// Padding, or somebody else's.
    Other,
}

/// Files that one line of a share names.
const FILES_PER_LINE: usize = 40;

/// Appends the annotation in the first group of a file.
pub fn write_lane(out: &mut Vec<u8>, lane: Lane) {
    out.extend_from_slice(format!("#cr lane {} of {} from {}\r\n", lane.lane, lane.lanes, lane.first).as_bytes());
}

/// Appends the annotation in front of a share.
pub fn write_share(out: &mut Vec<u8>, id: u64, files: &[u64]) {
    for files in files.chunks(FILES_PER_LINE) {
        let files: Vec<String> = files.iter().map(u64::to_string).collect();
        out.extend_from_slice(format!("#cr share {id:016x} {}\r\n", files.join(",")).as_bytes());
    }
}

/// Appends the annotation at the end of a complete file.
pub fn write_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"#cr end\r\n");
}

/// Appends the annotation of `aof-timestamp-enabled`, as Redis writes it.
pub fn write_time(out: &mut Vec<u8>, unix_seconds: u64) {
    out.extend_from_slice(format!("#TS:{unix_seconds}\r\n").as_bytes());
}

/// What an annotation says, without its `#` and end of line.
pub fn note(line: &[u8]) -> Note {
    let Ok(line) = std::str::from_utf8(line) else { return Note::Other };
    if let Some(seconds) = line.strip_prefix("TS:") {
        return seconds.parse().map_or(Note::Other, Note::Time);
    }
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["cr", "end"] => Note::End,
        ["cr", "lane", lane, "of", lanes, "from", first] => match (lane.parse(), lanes.parse(), first.parse()) {
            (Ok(lane), Ok(lanes), Ok(first)) => Note::Lane(Lane { lane, lanes, first }),
            _ => Note::Other,
        },
        ["cr", "share", id, files] => {
            let id = u64::from_str_radix(id, 16);
            let files: Result<Vec<u64>, _> = files.split(',').map(str::parse).collect();
            match (id, files) {
                (Ok(id), Ok(files)) => Note::Share(Share { id, files }),
                _ => Note::Other,
            }
        }
        _ => Note::Other,
    }
}

/// The annotations of a group's records, with their offsets among them. `None`: these are no records.
pub fn notes(records: &[u8]) -> Option<Vec<(usize, Note)>> {
    let (mut at, mut notes) = (0, Vec::new());
    while at < records.len() {
        let (item, taken) = record::read(&records[at..]).ok()?;
        if let Item::Annotation(line) = item {
            match note(line) {
                Note::Other => {}
                Note::Share(share) => match notes.last_mut() {
                    Some((_, Note::Share(last))) if last.id == share.id => last.files.extend(share.files),
                    _ => notes.push((at, Note::Share(share))),
                },
                note => notes.push((at, note)),
            }
        }
        at += taken;
    }
    Some(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(number: u64, records: &[u8]) -> Vec<u8> {
        let mut group = vec![0; bytes_for(records.len())];
        seal(&mut group, Place { file: 7, number, synced: 2 }, 1, records);
        group
    }

    #[test]
    fn a_group_of_any_length_is_whole_blocks_of_lines_that_redis_reads() {
        for len in (0..40).chain(3900..4200).chain([10_000, 100_000]) {
            let mut records = Vec::new();
            record::write(&mut records, &[&vec![b'x'; len]]);
            let group = sealed(3, &records);
            assert_eq!(group.len() % BLOCK_BYTES, 0);
            let head = header(&group).unwrap();
            assert_eq!((head.file, head.number, head.synced, head.shares), (7, 3, 2, 1));
            assert_eq!(head.bytes, group.len() as u64);
            let inside = open(&head, &group).unwrap();
            assert!(inside.starts_with(&records));
            let (mut at, mut commands) = (0, 0);
            while at < group.len() {
                let (item, taken) = record::read(&group[at..]).expect("every byte belongs to a record or a line");
                commands += u32::from(matches!(item, Item::Command(_)));
                assert!(matches!(item, Item::Command(_)) || taken <= record::ANNOTATION_BYTES_MAX);
                at += taken;
            }
            assert_eq!((at, commands), (group.len(), 1));
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let group = sealed(0, b"*1\r\n$4\r\nPING\r\n");
        for at in (0..HEADER_BYTES + 20).chain([BLOCK_BYTES - 1]) {
            let mut damaged = group.clone();
            damaged[at] ^= 1;
            let is_whole = header(&damaged).is_some_and(|header| {
                damaged.get(..header.bytes as usize).is_some_and(|group| open(&header, group).is_some())
            });
            assert!(!is_whole, "{at}");
        }
        assert!(header(&[0; BLOCK_BYTES]).is_none() && header(&group[..HEADER_BYTES - 1]).is_none());
    }

    #[test]
    fn annotations_say_what_was_meant() {
        let mut records = Vec::new();
        let lane = Lane { lane: 1, lanes: 2, first: 5 };
        let files: Vec<u64> = (1..=100).collect();
        write_lane(&mut records, lane);
        write_time(&mut records, 17);
        write_share(&mut records, u64::MAX, &files);
        record::write(&mut records, &[b"SET", b"#cr end\r\n", b"#cr share 1 2\r\n"]);
        write_end(&mut records);
        let notes: Vec<Note> = notes(&records).unwrap().into_iter().map(|(_, note)| note).collect();
        let share = Share { id: u64::MAX, files };
        assert_eq!(notes, [Note::Lane(lane), Note::Time(17), Note::Share(share), Note::End]);
        for other in [&b"cr share x 1"[..], b"cr lane 1 of 2", b"", b"TS:", b"cr share 1 1,,2", b"\xff"] {
            assert_eq!(note(other), Note::Other);
        }
    }
}
