//! Commands one after the other, without groups, as other servers write them: the whole of a file, item by item, and
//! where it ends being one. Not here: what becomes of the commands, and of a file that ends badly.

use super::record::{self, Item, Stop};
use super::recovery::Source;
use std::io;

/// Bytes that are read at a time.
const WINDOW_BYTES: usize = 1 << 20;

/// Where an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In no transaction.
    Alone,
    /// A `MULTI`: a transaction begins.
    Begins,
    /// In a transaction.
    Inside,
    /// An `EXEC`: the transaction counts.
    Ends,
}

/// An item of a file.
#[derive(Debug)]
pub struct Read<'a> {
    /// Where it begins.
    pub offset: u64,
    /// Bytes that it takes.
    pub bytes: u64,
    /// What it is.
    pub item: Item<'a>,
    /// Where it stands.
    pub standing: Standing,
}

/// Where reading has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Behind the last item.
    pub offset: u64,
    /// Where the transaction begins that has no end.
    pub transaction: Option<u64>,
    /// Why nothing is read behind; `None`: there is nothing.
    pub stop: Option<Stop>,
}

impl End {
    /// So much of the file counts: all its items, but not those of a transaction without an end.
    pub fn valid(&self) -> u64 {
        self.transaction.unwrap_or(self.offset)
    }
}

/// Reads a file from an offset on, item by item.
///
/// # Errors
/// Those of the medium; within, those of `each`, which end the reading.
pub fn read_all<E>(
    source: &mut impl Source,
    start: u64,
    each: impl FnMut(Read<'_>) -> Result<(), E>,
) -> io::Result<Result<End, E>> {
    read_by(source, start, record::read, each)
}

/// The same, as loosely as Redis reads it ([`record::read_loosely`]).
///
/// # Errors
/// As for [`read_all`].
pub fn read_all_loosely<E>(
    source: &mut impl Source,
    start: u64,
    each: impl FnMut(Read<'_>) -> Result<(), E>,
) -> io::Result<Result<End, E>> {
    read_by(source, start, record::read_loosely, each)
}

/// Reads one item: it, and how many bytes it takes.
type ReadItem = fn(&[u8]) -> Result<(Item<'_>, usize), Stop>;

fn read_by<E>(
    source: &mut impl Source,
    start: u64,
    read: ReadItem,
    mut each: impl FnMut(Read<'_>) -> Result<(), E>,
) -> io::Result<Result<End, E>> {
    let (mut offset, mut bytes, mut at) = (start, Vec::new(), 0);
    let mut transaction = None;
    loop {
        let here = offset + at as u64;
        match read(&bytes[at..]) {
            Ok((item, taken)) => {
                let standing = match (&item, transaction) {
                    (Item::Command(args), None) if args[0].eq_ignore_ascii_case(b"multi") => {
                        transaction = Some(here);
                        Standing::Begins
                    }
                    (Item::Command(args), Some(_)) if args[0].eq_ignore_ascii_case(b"exec") => {
                        transaction = None;
                        Standing::Ends
                    }
                    (_, Some(_)) => Standing::Inside,
                    (_, None) => Standing::Alone,
                };
                if let Err(error) = each(Read { offset: here, bytes: taken as u64, item, standing }) {
                    return Ok(Err(error));
                }
                at += taken;
            }
            Err(Stop::Cut(needed)) if at < bytes.len() && source.len() - here < needed as u64 => {
                // What is announced is not there: no need to look.
                return Ok(Ok(End { offset: here, transaction, stop: Some(Stop::Cut(needed)) }));
            }
            Err(Stop::Cut(_)) if offset + (bytes.len() as u64) < source.len() => {
                // More of it is read; what is done is forgotten.
                bytes.drain(..at);
                (offset, at) = (here, 0);
                let from = bytes.len();
                let more = (source.len() - offset - from as u64).min(from.max(WINDOW_BYTES) as u64);
                bytes.resize(from + more as usize, 0);
                source.read_at(offset + from as u64, &mut bytes[from..])?;
            }
            Err(Stop::Cut(_)) if at == bytes.len() => return Ok(Ok(End { offset: here, transaction, stop: None })),
            Err(stop) => return Ok(Ok(End { offset: here, transaction, stop: Some(stop) })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &[u8]) -> (Vec<(u64, Standing)>, End) {
        let mut items = Vec::new();
        let end = read_all(&mut file.to_vec(), 0, |read| {
            items.push((read.offset, read.standing));
            Ok::<(), ()>(())
        });
        (items, end.expect("memory").expect("no error"))
    }

    #[test]
    fn items_are_told_with_their_standings_and_a_half_transaction_does_not_count() {
        let mut file = Vec::new();
        let mut starts = Vec::new();
        let long = vec![b'v'; 3 * WINDOW_BYTES];
        let commands: [&[&[u8]]; 5] =
            [&[b"SET", b"a", &long], &[b"multi"], &[b"SET", b"b", b"2"], &[b"EXEC"], &[b"MULTI"]];
        for command in commands {
            starts.push(file.len() as u64);
            record::write(&mut file, command);
        }
        let (items, end) = read(&file);
        let standings = [Standing::Alone, Standing::Begins, Standing::Inside, Standing::Ends, Standing::Begins];
        assert_eq!(items, starts.iter().copied().zip(standings).collect::<Vec<_>>());
        assert_eq!(end, End { offset: file.len() as u64, transaction: Some(starts[4]), stop: None });
        for cut in [0, 1, 20, WINDOW_BYTES, file.len() - 1] {
            let (items, end) = read(&file[..cut]);
            let whole = starts[1..].iter().filter(|start| **start <= cut as u64).count();
            assert_eq!((items.len(), end.stop.is_some()), (whole, cut != 0), "{cut}");
        }
        file.truncate(starts[4] as usize);
        file.extend_from_slice(b"\0\0\0");
        assert_eq!(read(&file).1, End { offset: starts[4], transaction: None, stop: Some(Stop::Damaged) });
    }
}
