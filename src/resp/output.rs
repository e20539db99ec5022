//! Replies on their way out: bytes, and long strings that are not copied in among them.
//!
//! ```text
//! bytes   [ *2 \r\n $3 \r\n a b c \r\n $1048576 \r\n | \r\n ]
//! long                                 (24, ────────▶ [ the value, held by its count of holders ])
//! ```
//! A long string stands where its offset says, in front of the byte there. It always lies within its reply: the header
//! stands before it, its line end behind it, so an offset never falls between two replies.

use bytes::Bytes;

/// A buffer of so many bytes grows by an eighth instead of doubling: it is not copied when it grows, and what it has
/// room for is in use, so that twice as much of it would make as many bytes of keys go.
const DOUBLING_BYTES_MAX: usize = 4 << 20;
/// Room that such a buffer has for small replies, in bytes.
const SMALL_ROOM_BYTES: usize = 4096;

/// Makes room for so many bytes more.
#[inline]
pub(super) fn make_room(buffer: &mut Vec<u8>, bytes: usize) {
    if buffer.capacity() - buffer.len() < bytes {
        grow(buffer, bytes);
    }
}

#[cold]
#[inline(never)]
fn grow(buffer: &mut Vec<u8>, bytes: usize) {
    if buffer.capacity() < DOUBLING_BYTES_MAX {
        buffer.reserve(bytes);
    } else {
        buffer.reserve_exact(bytes.max(buffer.capacity() / 8));
    }
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// By rising offset.
    long: Vec<(usize, Bytes)>,
}

impl Output {
    /// Bytes of the buffer; long strings do not count.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that the client will get.
    pub fn total_bytes(&self) -> usize {
        self.bytes.len() + self.long.iter().map(|(_, string)| string.len()).sum::<usize>()
    }

    /// Bytes that are kept for this: the buffer, with what it has room for, and the long strings.
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.long.iter().map(|(_, string)| string.len()).sum::<usize>()
    }

    /// The buffer.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The long strings, each with the offset of the byte that it stands before.
    #[inline]
    pub fn long(&self) -> &[(usize, Bytes)] {
        &self.long
    }

    /// Appends bytes.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        make_room(&mut self.bytes, bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// The buffer, to be written over.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Makes room for so many bytes more.
    #[inline]
    pub fn reserve(&mut self, bytes: usize) {
        make_room(&mut self.bytes, bytes);
    }

    /// Of one reply in pieces, none of which is empty.
    pub fn of_pieces(mut pieces: Vec<Bytes>) -> Output {
        let Some(last) = pieces.pop() else { return Output::default() };
        // They stand before the first byte of the last one, in their order.
        Output { bytes: last.into(), long: pieces.into_iter().map(|piece| (0, piece)).collect() }
    }

    /// Takes back everything from an offset between two replies on.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
        while self.long.last().is_some_and(|(at, _)| len < *at) {
            self.long.pop();
        }
    }

    /// Appends everything of another one.
    pub fn append(&mut self, mut other: Output) {
        if self.is_empty() {
            std::mem::swap(self, &mut other);
        } else {
            self.append_parts(&other.bytes, other.long);
        }
    }

    /// Appends bytes, and the long strings among them, whose offsets count from the first of those bytes.
    pub fn append_parts(&mut self, bytes: &[u8], long: Vec<(usize, Bytes)>) {
        let start = self.bytes.len();
        self.extend_from_slice(bytes);
        self.long.extend(long.into_iter().map(|(at, string)| (start + at, string)));
    }

    /// Takes the long strings out that stand in a range of the buffer whose ends lie between replies; their offsets
    /// count from its start.
    #[inline]
    pub fn take_long(&mut self, start: usize, end: usize) -> Vec<(usize, Bytes)> {
        if self.long.is_empty() {
            return Vec::new();
        }
        self.take_long_slowly(start, end)
    }

    #[cold]
    fn take_long_slowly(&mut self, start: usize, end: usize) -> Vec<(usize, Bytes)> {
        let first = self.long.partition_point(|(at, _)| *at < start);
        let last = self.long.partition_point(|(at, _)| *at < end);
        self.long.drain(first..last).map(|(at, string)| (at - start, string)).collect()
    }

    /// What a writer writes to: the bytes, and the place for long strings.
    #[inline]
    pub(super) fn parts(&mut self) -> (&mut Vec<u8>, &mut Vec<(usize, Bytes)>) {
        if DOUBLING_BYTES_MAX <= self.bytes.len() {
            make_room(&mut self.bytes, SMALL_ROOM_BYTES);
        }
        (&mut self.bytes, &mut self.long)
    }

    /// Takes the bytes out, where nothing long stands among them, and begins anew in another buffer.
    ///
    /// # Panics
    /// Something does.
    #[inline]
    pub fn replace_bytes(&mut self, empty: Vec<u8>) -> Vec<u8> {
        assert!(self.long.is_empty() && empty.is_empty());
        std::mem::replace(&mut self.bytes, empty)
    }

    /// The bytes, where nothing long stands among them.
    ///
    /// # Panics
    /// Something does.
    pub fn into_bytes(self) -> Vec<u8> {
        assert!(self.long.is_empty());
        self.bytes
    }

    /// Everything in order, long strings as they are.
    pub fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        let mut rest = Bytes::from(self.bytes);
        let mut start = 0;
        let mut pieces = Vec::with_capacity(2 * self.long.len() + 1);
        for (at, string) in self.long {
            pieces.push(rest.split_to(at - start));
            pieces.push(string);
            start = at;
        }
        pieces.push(rest);
        pieces.into_iter().filter(|piece| !piece.is_empty())
    }

    /// Forgets everything. The buffer stays, unless it has grown beyond so many bytes.
    pub fn clear_keeping(&mut self, bytes_max: usize) {
        self.long.clear();
        if self.bytes.capacity() <= bytes_max {
            self.bytes.clear();
        } else {
            self.bytes = Vec::new();
        }
    }
}

impl From<Vec<u8>> for Output {
    fn from(bytes: Vec<u8>) -> Output {
        Output { bytes, long: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> Output {
        let mut output = Output::default();
        for part in text.split_inclusive(['<', '>']) {
            match part.strip_suffix('>') {
                Some(long) => output.long.push((output.bytes.len(), Bytes::copy_from_slice(long.as_bytes()))),
                None => output.bytes.extend_from_slice(part.trim_end_matches('<').as_bytes()),
            }
        }
        output
    }

    fn shown(output: Output) -> String {
        let total = output.total_bytes();
        let text: Vec<u8> = output.into_pieces().flatten().collect();
        assert_eq!(total, text.len());
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn a_large_buffer_has_an_eighth_of_room_and_no_more() {
        use crate::resp::{Protocol, Reply};
        let bulk = vec![b'v'; 3000];
        let mut all = Output::default();
        for at in 0..10_000 {
            let mut reply = Reply::new(&mut all, Protocol::Resp2);
            match at % 10 {
                0 => reply.bulk(&bulk),
                1 => reply.ok(),
                2 => reply.null(),
                _ => reply.integer(1_000_000 + at),
            }
            all.append(output("of another core"));
            all.append_parts(&bulk, Vec::new());
            all.extend_from_slice(&bulk[..100]);
            let most = (all.len() + all.len() / 8 + 8192).max(2 * DOUBLING_BYTES_MAX);
            assert!(all.held_bytes() <= most, "{} for {}", all.held_bytes(), all.len());
        }
        assert!(30_000_000 < all.len());
    }

    #[test]
    fn a_reply_in_pieces_comes_out_in_order() {
        let pieces = ["ab", "cd", "ef"].map(|text| Bytes::copy_from_slice(text.as_bytes()));
        let mut all = output("x");
        all.append(Output::of_pieces(pieces.to_vec()));
        all.append(output("y"));
        assert_eq!(shown(all), "xabcdefy");
        assert_eq!(shown(Output::of_pieces(pieces.to_vec())), "abcdef");
        assert!(Output::of_pieces(Vec::new()).is_empty());
    }

    #[test]
    fn long_strings_stay_in_their_places_whatever_is_appended_and_cut() {
        let mut all = output("ab<LONG>cd");
        assert_eq!((all.len(), all.total_bytes()), (4, 8));
        all.append(output("ef<ER>g<EST>h"));
        assert_eq!(all.long().len(), 3);
        let end = all.len();
        all.append(output("x<Y>z"));
        all.truncate(end);
        let middle = all.take_long(4, end);
        assert_eq!(middle.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [2, 3]);
        let mut again = Output::from(b"..".to_vec());
        again.append_parts(&all.bytes()[4..], middle);
        assert_eq!(shown(again), "..efERgESTh");
        assert_eq!(shown(all), "abLONGcdefgh");
    }
}
