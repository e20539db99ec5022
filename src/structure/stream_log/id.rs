//! Ids of stream entries: a time and a number.

/// The id of an entry: milliseconds, then a sequence number among those of one millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id {
    /// Unix time in milliseconds, or whatever a client chose.
    pub ms: u64,
    /// Counts up within it.
    pub seq: u64,
}

/// Longest text of an id, in bytes.
pub const ID_TEXT_BYTES_MAX: usize = 41;

impl Id {
    /// `0-0`: before every entry.
    pub const MIN: Id = Id { ms: 0, seq: 0 };
    /// The last one there is.
    pub const MAX: Id = Id { ms: u64::MAX, seq: u64::MAX };

    /// An id of its two numbers.
    pub const fn new(ms: u64, seq: u64) -> Id {
        Id { ms, seq }
    }

    /// The id behind this one; none behind the last.
    pub fn next(self) -> Option<Id> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| Id { ms, seq: 0 }),
        }
    }

    /// The id before this one; none before the first.
    pub fn previous(self) -> Option<Id> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| Id { ms, seq: u64::MAX }),
        }
    }

    /// The id as sixteen bytes that sort as ids do.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The id of such bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Id {
        let number = u128::from_be_bytes(bytes);
        Id { ms: (number >> 64) as u64, seq: number as u64 }
    }

    /// Writes the text, `ms-seq`.
    pub fn write(self, into: &mut [u8; ID_TEXT_BYTES_MAX]) -> &[u8] {
        let mut digits = itoa::Buffer::new();
        let ms = digits.format(self.ms).as_bytes();
        let ms_len = ms.len();
        into[..ms_len].copy_from_slice(ms);
        into[ms_len] = b'-';
        let seq = digits.format(self.seq).as_bytes();
        let len = ms_len + 1 + seq.len();
        into[ms_len + 1..len].copy_from_slice(seq);
        &into[..len]
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_carry_over() {
        let max = u64::MAX;
        for (id, next) in [((0, 0), (0, 1)), ((5, 7), (5, 8)), ((5, max), (6, 0)), ((max, max - 1), (max, max))] {
            let (id, next) = (Id::new(id.0, id.1), Id::new(next.0, next.1));
            assert_eq!((id.next(), next.previous()), (Some(next), Some(id)));
            assert!(id < next && id.to_bytes() < next.to_bytes());
            assert_eq!(Id::from_bytes(id.to_bytes()), id);
        }
        assert_eq!((Id::MAX.next(), Id::MIN.previous()), (None, None));
    }

    #[test]
    fn texts() {
        let mut text = [0; ID_TEXT_BYTES_MAX];
        for id in [Id::MIN, Id::MAX, Id::new(1526919030474, 55)] {
            assert_eq!(id.write(&mut text), id.to_string().as_bytes());
        }
    }
}
