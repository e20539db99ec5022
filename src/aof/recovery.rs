//! What is left of the lanes after a crash: which groups of a file are whole, what stands behind them, and how much of
//! each file belongs to the largest prefix that is whole on every shard. Not here: files, and the commands in them.

use super::group::{self, BLOCK_BYTES, HEADER_BYTES, Header, Lane, Note, Place, Share};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Where bytes come from.
pub trait Source {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `bytes` with those from an offset on; they are there.
    ///
    /// # Errors
    /// Those of the medium.
    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// What stands behind the last whole group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tail {
    /// Nothing.
    #[default]
    Nothing,
    /// Zeros: room that was not used yet.
    Room,
    /// The beginning of a group, or blocks that did not all arrive: so many bytes that are not zeros at the end.
    Torn,
    /// A whole group again, at this offset, that says of what is not whole that it was on disk: the file is damaged in
    /// the middle.
    Damaged(u64),
    /// Commands of another server that went on with the file.
    Foreign,
}

/// A share, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// What it says.
    pub share: Share,
    /// Where its group begins …
    pub group: u64,
    /// … and it, among the records of that.
    pub at: usize,
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// Which lane it is; `None`: it was not written here.
    pub lane: Option<Lane>,
    /// Bytes of whole groups.
    pub bytes: u64,
    /// How many there are.
    pub groups: u64,
    /// Its shares, in order.
    pub shares: Vec<Shared>,
    /// It is complete.
    pub has_end: bool,
    /// What stands behind.
    pub tail: Tail,
    /// Nothing of it has arrived: it is empty, or zeros, or the beginning of its first group is torn.
    pub is_blank: bool,
}

/// Reads the header at an offset.
fn header_at(source: &mut impl Source, offset: u64) -> io::Result<Option<Header>> {
    let mut line = [0; HEADER_BYTES];
    if source.len() < offset + HEADER_BYTES as u64 {
        return Ok(None);
    }
    source.read_at(offset, &mut line)?;
    Ok(group::header(&line).filter(|header| header.bytes <= source.len() - offset))
}

/// Reads a group into `buffer`, if it is whole and has this number in this file.
///
/// # Errors
/// Those of the medium.
pub fn group_at<'a>(
    source: &mut impl Source,
    offset: u64,
    file: u64,
    number: Option<u64>,
    buffer: &'a mut Vec<u8>,
) -> io::Result<Option<(Header, &'a [u8])>> {
    let Some(header) = header_at(source, offset)? else { return Ok(None) };
    if header.file != file || number.is_some_and(|number| header.number != number) {
        return Ok(None);
    }
    buffer.resize(header.bytes as usize, 0);
    source.read_at(offset, buffer)?;
    Ok(group::open(&header, buffer).map(|records| (header, records)))
}

/// Looks through the file with this number.
///
/// # Errors
/// Those of the medium.
pub fn scan(source: &mut impl Source, file: u64) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut buffer = Vec::new();
    while let Some((header, records)) = group_at(source, scan.bytes, file, Some(scan.groups), &mut buffer)? {
        // The first says which lane it is, the last that it is the last; others are asked if they have shares.
        let is_asked = scan.groups == 0 || 0 < header.shares || header.bytes == BLOCK_BYTES as u64;
        if is_asked {
            for (at, note) in group::notes(records).unwrap_or_default() {
                match note {
                    Note::Lane(lane) if scan.groups == 0 => scan.lane = Some(lane),
                    Note::Share(share) => scan.shares.push(Shared { share, group: scan.bytes, at }),
                    Note::End => scan.has_end = true,
                    Note::Lane(_) | Note::Time(_) | Note::Other => {}
                }
            }
        } else if has_end(records) {
            scan.has_end = true;
        }
        scan.bytes += header.bytes;
        scan.groups += 1;
    }
    scan.tail = tail(source, &scan, file)?;
    scan.is_blank = scan.groups == 0 && matches!(scan.tail, Tail::Nothing | Tail::Room | Tail::Torn);
    Ok(scan)
}

/// Looks through an incr file that may be another server's from its beginning: then it has no groups, and no tail.
///
/// # Errors
/// Those of the medium.
pub fn scan_incr(source: &mut impl Source, file: u64) -> io::Result<Scan> {
    let mut scan = scan(source, file)?;
    let mut head = vec![0; source.len().min(group::HEAD.len() as u64) as usize];
    source.read_at(0, &mut head)?;
    // Of a group that is torn the beginning may be what did not arrive, or a part of the first line all that did:
    // zeros, with which nobody's file begins, are where the rest should be.
    let written = head.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let is_ours = group::HEAD.starts_with(&head[..written]) || head.first() == Some(&0);
    if scan.tail == Tail::Foreign && scan.groups == 0 || scan.tail == Tail::Torn && !is_ours {
        scan.tail = Tail::Nothing;
        scan.is_blank = false;
    }
    Ok(scan)
}

/// Whether a group that is longer than a block has the end mark: it is the last of its lines but padding.
fn has_end(records: &[u8]) -> bool {
    let mut end = records.len();
    while 0 < end {
        let start = records[..end - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        match &records[start..end] {
            b"#cr end\r\n" => return true,
            line if line.starts_with(b"#cr pad") || line.starts_with(b"#") && line.len() < 10 => end = start,
            _ => return false,
        }
    }
    false
}

fn tail(source: &mut impl Source, scan: &Scan, file: u64) -> io::Result<Tail> {
    let (start, len) = (scan.bytes, source.len());
    if start == len {
        return Ok(Tail::Nothing);
    }
    let mut block = [0; BLOCK_BYTES];
    let mut is_zero = true;
    let mut first = 0;
    let mut offset = start;
    let mut buffer = Vec::new();
    while offset < len {
        let bytes = (len - offset).min(BLOCK_BYTES as u64) as usize;
        source.read_at(offset, &mut block[..bytes])?;
        if offset == start {
            first = block[0];
        }
        let is_zero_block = block[..bytes].iter().all(|byte| *byte == 0);
        // Groups that were not synced when the power went arrive in any order.
        if !is_zero_block
            && start < offset
            && group_at(source, offset, file, None, &mut buffer)?.is_some_and(|(later, _)| scan.groups < later.synced)
        {
            return Ok(Tail::Damaged(offset));
        }
        is_zero &= is_zero_block;
        offset += BLOCK_BYTES as u64;
    }
    if is_zero {
        return Ok(Tail::Room);
    }
    // Another server goes on with a command, or with a time.
    let mut line = [0; 4];
    let bytes = (len - start).min(4) as usize;
    source.read_at(start, &mut line[..bytes])?;
    let is_command = first == b'*' || line.starts_with(b"#TS:");
    Ok(if is_command { Tail::Foreign } else { Tail::Torn })
}

/// Where a file is cut: what comes before it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    /// All groups before this offset …
    pub group: u64,
    /// … and so many bytes of records of the one that begins there.
    pub at: usize,
}

/// A file of the manifest, for [`cuts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its number.
    pub file: u64,
    /// What is in it.
    pub scan: Scan,
}

/// The generation that a file belongs to, by the number of its first file, if it was written here. One into which
/// nothing has come is its siblings', or, where there are none of which something has, one of its own.
pub fn generation(files: &[File], file: &File) -> Option<Lane> {
    let own = file.scan.lane;
    let covers = |lane: &Lane| (lane.first..lane.first + lane.lanes as u64).contains(&file.file);
    let blank = || {
        let alone = Lane { lane: 0, lanes: 1, first: file.file };
        let sibling = files.iter().filter_map(|other| other.scan.lane).find(covers);
        sibling.map_or(alone, |of| Lane { lane: (file.file - of.first) as usize, ..of })
    };
    own.or_else(|| file.scan.is_blank.then(blank))
}

/// Where files have to be cut so that what is left happened as a whole or not at all: those that need it, by number.
/// `files`: the incr files in the order of the manifest.
pub fn cuts(files: &[File]) -> BTreeMap<u64, Cut> {
    cuts_within(files, BTreeMap::new())
}

/// The same where some files are cut in any case: of what these cuts leave.
pub fn cuts_within(files: &[File], limits: BTreeMap<u64, Cut>) -> BTreeMap<u64, Cut> {
    let mut cuts = limits;
    let whole = |file: &File| Cut { group: file.scan.bytes, at: 0 };
    let oldest = files.iter().map(|file| file.file).min().unwrap_or(0);
    let lanes: Vec<Option<Lane>> = files.iter().map(|file| generation(files, file)).collect();
    loop {
        let before = cuts.clone();
        // A generation counts if the one before is complete, unless another server took the files for what they were.
        for (at, file) in files.iter().enumerate() {
            let Some(lane) = lanes[at] else { continue };
            let previous = lanes[..at].iter().rposition(|other| other.is_none_or(|of| of.first != lane.first));
            let Some(previous) = previous.filter(|_| file.scan.lane.is_some()) else { continue };
            let Some(of) = lanes[previous] else { continue };
            if files[previous].scan.tail == Tail::Foreign {
                continue;
            }
            let siblings = files.iter().zip(&lanes).filter(|(_, lane)| lane.is_some_and(|lane| lane.first == of.first));
            let is_complete = |other: &File| other.scan.has_end && !cuts.contains_key(&other.file);
            if siblings.clone().count() < of.lanes || !siblings.clone().all(|(other, _)| is_complete(other)) {
                cuts.insert(file.file, Cut { group: 0, at: 0 });
            }
        }
        // What every share's siblings are: there before the cut.
        let mut present: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for file in files {
            let cut = cuts.get(&file.file).copied().unwrap_or_else(|| whole(file));
            for shared in file.scan.shares.iter().filter(|shared| place(shared) < cut) {
                present.entry(shared.share.id).or_default().insert(file.file);
            }
        }
        for file in files {
            let cut = cuts.get(&file.file).copied().unwrap_or_else(|| whole(file));
            let is_half = |shared: &&Shared| {
                let there = &present[&shared.share.id];
                // What the manifest does not name any more is in the base; what it does not name yet is lost.
                shared.share.files.iter().any(|other| oldest <= *other && !there.contains(other))
            };
            if let Some(half) = file.scan.shares.iter().filter(|shared| place(shared) < cut).find(is_half) {
                cuts.insert(file.file, place(half));
            }
        }
        if cuts == before {
            return cuts;
        }
    }
}

/// The group that takes the place of one that is cut between two records; nothing, if the cut is between two groups.
///
/// # Errors
/// Those of the medium.
pub fn cut_group(source: &mut impl Source, file: u64, cut: Cut) -> io::Result<Vec<u8>> {
    if cut.at == 0 {
        return Ok(Vec::new());
    }
    let mut buffer = Vec::new();
    let found = group_at(source, cut.group, file, None, &mut buffer)?;
    let (header, records) = found.expect("seen when the file was looked through");
    let records = &records[..cut.at];
    let shares = group::notes(records).unwrap_or_default();
    let shares = shares.iter().filter(|(_, note)| matches!(note, Note::Share(_))).count() as u64;
    let mut group = vec![0; group::bytes_for(records.len())];
    let place = Place { file, number: header.number, synced: header.synced };
    group::seal(&mut group, place, shares, records);
    Ok(group)
}

fn place(shared: &Shared) -> Cut {
    Cut { group: shared.group, at: shared.at }
}

#[cfg(test)]
mod tests {
    use super::super::record;
    use super::*;
    use proptest::prelude::*;

    impl Source for Vec<u8> {
        fn len(&self) -> u64 {
            self.len() as u64
        }

        fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
            bytes.copy_from_slice(&self[offset as usize..][..bytes.len()]);
            Ok(())
        }
    }

    fn push(file: &mut Vec<u8>, seq: u64, number: u64, shares: u64, records: &[u8]) {
        let mut group = vec![0; group::bytes_for(records.len())];
        // Each is synced before the next one is made.
        group::seal(&mut group, Place { file: seq, number, synced: number }, shares, records);
        file.extend_from_slice(&group);
    }

    fn set(value: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        record::write(&mut records, &[b"SET", b"k", value]);
        records
    }

    fn lane_file(groups: u64) -> Vec<u8> {
        let mut file = Vec::new();
        for number in 0..groups {
            let mut records = Vec::new();
            if number == 0 {
                group::write_lane(&mut records, Lane { lane: 0, lanes: 1, first: 7 });
            }
            records.extend_from_slice(&set(&vec![b'v'; number as usize * 3000]));
            push(&mut file, 7, number, 0, &records);
        }
        file
    }

    #[test]
    fn what_stands_behind_the_last_group_is_told_apart() {
        let whole = lane_file(3);
        let scanned = |file: &[u8]| scan(&mut file.to_vec(), 7).unwrap();
        let clean = scanned(&whole);
        assert_eq!((clean.groups, clean.bytes, clean.tail), (3, whole.len() as u64, Tail::Nothing));
        assert_eq!(clean.lane, Some(Lane { lane: 0, lanes: 1, first: 7 }));
        let with = |tail: &[u8]| scanned(&[&whole[..], tail].concat());
        assert_eq!(with(&[0; 9000]).tail, Tail::Room);
        assert_eq!(with(&set(b"x")).tail, Tail::Foreign);
        assert_eq!(with(b"#TS:12\r\n").tail, Tail::Foreign);
        let mut torn = [0; 8192];
        torn[5000] = 1;
        assert_eq!(with(&torn).tail, Tail::Torn);
        // The last group without its last block, and with a block that did not arrive.
        let torn = scanned(&whole[..whole.len() - 4096]);
        assert_eq!((torn.groups, torn.tail), (2, Tail::Torn));
        let mut holed = whole.clone();
        let last = whole.len() - 4096;
        holed[last..].fill(0);
        assert_eq!(scanned(&holed).tail, Tail::Torn);
        let mut damaged = whole.clone();
        damaged[4096 + 200] ^= 1;
        let damaged = scanned(&damaged);
        assert_eq!((damaged.groups, damaged.tail), (1, Tail::Damaged(2 * 4096)));
        // Nobody has said of the second that it was on disk: it may have arrived last.
        let mut unsynced = whole[..4096].to_vec();
        unsynced.extend([0; 4096]);
        let mut third = vec![0; 4096];
        group::seal(&mut third, Place { file: 7, number: 2, synced: 1 }, 0, &set(b"v"));
        assert_eq!(scanned(&[&unsynced[..], &third].concat()).tail, Tail::Torn);
        group::seal(&mut third, Place { file: 7, number: 2, synced: 2 }, 0, &set(b"v"));
        assert_eq!(scanned(&[&unsynced[..], &third].concat()).tail, Tail::Damaged(2 * 4096));
        assert_eq!(scan(&mut whole.clone(), 8).unwrap().groups, 0, "another file's groups are not its own");
        assert_eq!(scanned(&[]).tail, Tail::Nothing);
    }

    #[test]
    fn the_end_mark_is_found_behind_records_of_any_length() {
        for len in [0, 10, 4000, 4060, 5000, 100_000] {
            let mut records = set(&vec![b'v'; len]);
            let mut open = Vec::new();
            push(&mut open, 7, 0, 0, &records);
            assert!(!scan(&mut open, 7).unwrap().has_end, "{len}");
            group::write_end(&mut records);
            let mut closed = Vec::new();
            push(&mut closed, 7, 0, 0, &records);
            assert!(scan(&mut closed, 7).unwrap().has_end, "{len}");
        }
    }

    /// A history: which lanes take part in each step, and how many steps of each lane survived.
    #[derive(Debug, Clone)]
    struct History {
        steps: Vec<BTreeSet<usize>>,
        kept: Vec<usize>,
    }

    const LANES: usize = 3;

    fn history() -> impl Strategy<Value = History> {
        let step = proptest::collection::btree_set(0..LANES, 1..=LANES);
        (proptest::collection::vec(step, 0..12), proptest::collection::vec(0usize..13, LANES))
            .prop_map(|(steps, kept)| History { steps, kept })
    }

    /// The files that a crash leaves: of each lane its first groups, one step each.
    fn files(history: &History) -> Vec<File> {
        (0..LANES)
            .map(|lane| {
                let mut file = Vec::new();
                let mine = history.steps.iter().enumerate().filter(|(_, step)| step.contains(&lane));
                for (number, (id, step)) in mine.take(history.kept[lane]).enumerate() {
                    let mut records = Vec::new();
                    if 1 < step.len() {
                        let files: Vec<u64> = step.iter().map(|lane| *lane as u64 + 1).collect();
                        group::write_share(&mut records, id as u64, &files);
                    }
                    records.extend_from_slice(&set(b"v"));
                    push(&mut file, lane as u64 + 1, number as u64, u64::from(1 < step.len()), &records);
                }
                File { file: lane as u64 + 1, scan: scan(&mut file, lane as u64 + 1).unwrap() }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_left_is_the_largest_prefix_that_is_whole_everywhere(history in history()) {
            let files = files(&history);
            let cuts = cuts(&files);
            // A model: steps kept by lane; while one is kept here and not there, it and what follows it goes.
            let mut kept: Vec<Vec<usize>> = (0..LANES)
                .map(|lane| {
                    let mine = (0..history.steps.len()).filter(|step| history.steps[*step].contains(&lane));
                    mine.take(history.kept[lane]).collect()
                })
                .collect();
            loop {
                let mut all = (0..LANES).flat_map(|lane| kept[lane].iter().map(move |step| (lane, *step)));
                let half = all.find(|(_, step)| history.steps[*step].iter().any(|lane| !kept[*lane].contains(step)));
                let Some((lane, step)) = half else { break };
                kept[lane].retain(|other| *other < step);
            }
            for (lane, file) in files.iter().enumerate() {
                let cut = cuts.get(&file.file).copied().unwrap_or(Cut { group: file.scan.bytes, at: 0 });
                prop_assert_eq!(cut.group / BLOCK_BYTES as u64, kept[lane].len() as u64);
                prop_assert_eq!(cut.at, 0);
            }
        }
    }

    #[test]
    fn a_generation_counts_only_behind_a_complete_one() {
        let file = |seq: u64, first: u64, ends: bool| {
            let mut records = Vec::new();
            group::write_lane(&mut records, Lane { lane: (seq - first) as usize, lanes: 2, first });
            records.extend_from_slice(&set(b"v"));
            if ends {
                group::write_end(&mut records);
            }
            let mut bytes = Vec::new();
            push(&mut bytes, seq, 0, 0, &records);
            File { file: seq, scan: scan(&mut bytes, seq).unwrap() }
        };
        let complete = [file(1, 1, true), file(2, 1, true), file(3, 3, false), file(4, 3, false)];
        assert!(cuts(&complete).is_empty());
        let nothing = Cut { group: 0, at: 0 };
        let open = [file(1, 1, true), file(2, 1, false), file(3, 3, true), file(4, 3, true), file(5, 5, false)];
        assert_eq!(cuts(&open).into_iter().collect::<Vec<_>>(), [(3, nothing), (4, nothing), (5, nothing)]);
        // Another server loaded an incomplete one, and went on.
        let mut taken = open.to_vec();
        taken[1].scan.tail = Tail::Foreign;
        assert!(cuts(&taken[..4]).is_empty());
    }

    #[test]
    fn a_file_into_which_nothing_has_come_is_an_incomplete_lane() {
        let file = |seq: u64, first: u64, ends: bool| {
            let mut records = Vec::new();
            group::write_lane(&mut records, Lane { lane: (seq - first) as usize, lanes: 2, first });
            if ends {
                group::write_end(&mut records);
            }
            let mut bytes = Vec::new();
            push(&mut bytes, seq, 0, 0, &records);
            File { file: seq, scan: scan_incr(&mut bytes, seq).unwrap() }
        };
        let blank = |seq: u64| File { file: seq, scan: scan_incr(&mut vec![0; 8192], seq).unwrap() };
        let mut late = vec![0; 4096];
        late[600] = b'x';
        let torn = |seq: u64| File { file: seq, scan: scan_incr(&mut late.clone(), seq).unwrap() };
        let nothing = Cut { group: 0, at: 0 };
        let later = [(5, nothing), (6, nothing)];
        for second in [blank(4), torn(4)] {
            let files =
                [file(1, 1, true), file(2, 1, true), file(3, 3, true), second, file(5, 5, false), file(6, 5, false)];
            assert_eq!(cuts(&files).into_iter().collect::<Vec<_>>(), later);
        }
        // Of a generation that is to be cut the first file is cut already.
        let files = [file(1, 1, true), file(2, 1, false), blank(3), file(4, 3, false)];
        assert_eq!(cuts(&files).into_iter().collect::<Vec<_>>(), [(4, nothing)]);
        let files = [blank(3), blank(4), file(5, 5, false), file(6, 5, false)];
        assert_eq!(cuts(&files).into_iter().collect::<Vec<_>>(), later);
        let redis = File { file: 4, scan: scan_incr(&mut set(b"v"), 4).unwrap() };
        assert!(cuts(&[redis, file(5, 5, false), file(6, 5, false)]).is_empty());
    }

    #[test]
    fn shares_with_files_that_a_rewrite_replaced_are_whole() {
        let mut bytes = Vec::new();
        let mut records = Vec::new();
        group::write_share(&mut records, 1, &[1, 2]);
        records.extend_from_slice(&set(b"v"));
        push(&mut bytes, 2, 0, 1, &records);
        let file = File { file: 2, scan: scan(&mut bytes, 2).unwrap() };
        assert!(cuts(&[file]).is_empty());
    }
}
