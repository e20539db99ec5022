//! The checksum of Redis' snapshots, and how those of parts make that of the whole.
//!
//! ```text
//! crc(a b) = crc(a) · x^(8 len b)  +  crc(b)          polynomials over GF(2), modulo Jones' polynomial
//! ```
//! So cores that write parts of one file sum up their own, and nobody reads the file again.

use crc_fast::CrcAlgorithm::Crc64Redis;

/// The polynomial, lowest power in the highest bit, as sums are kept.
const POLYNOMIAL: u64 = 0xad93_d235_94c9_35a9_u64.reverse_bits();

/// x^8, x^16, x^32, … modulo the polynomial.
const POWERS: [u64; 64] = {
    let mut powers = [0; 64];
    let mut power = 1 << (63 - 8);
    let mut at = 0;
    while at < 64 {
        powers[at] = power;
        power = multiply(power, power);
        at += 1;
    }
    powers
};

/// The product of two polynomials, modulo the polynomial.
const fn multiply(a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    let mut bit = 1 << 63;
    while bit != 0 && a & (bit | (bit - 1)) != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { b >> 1 ^ POLYNOMIAL };
        bit >>= 1;
    }
    product
}

/// The checksum of some bytes.
pub fn checksum(bytes: &[u8]) -> u64 {
    crc_fast::checksum(Crc64Redis, bytes)
}

/// A checksum of bytes that come one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Digest(crc_fast::Digest);

impl Digest {
    /// That of nothing.
    pub fn new() -> Digest {
        Digest(crc_fast::Digest::new(Crc64Redis))
    }

    /// Bytes come.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// That of all of them.
    pub fn checksum(&self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Digest {
    fn default() -> Digest {
        Digest::new()
    }
}

/// The checksum of some bytes, and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// The checksum.
    pub crc: u64,
    /// Of so many bytes.
    pub len: u64,
}

impl Sum {
    /// That of these.
    pub fn of(bytes: &[u8]) -> Sum {
        Sum { crc: checksum(bytes), len: bytes.len() as u64 }
    }

    /// That of its bytes and those of another behind them.
    #[must_use]
    pub fn then(self, next: Sum) -> Sum {
        let mut crc = self.crc;
        for (at, power) in POWERS.iter().enumerate() {
            if next.len >> at & 1 != 0 {
                crc = multiply(*power, crc);
            }
        }
        Sum { crc: crc ^ next.crc, len: self.len + next.len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_checksum_of_redis() {
        assert_eq!(Sum::of(b"123456789").crc, 0xe9c6_d914_c4b8_d9ca);
    }

    /// Bit by bit, as the polynomial says it.
    fn slow_checksum(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(crc ^ u64::from(*byte), |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ POLYNOMIAL })
        })
    }

    #[test]
    fn any_length_in_any_pieces_has_the_checksum_of_its_bits() {
        let mut random = fastrand::Rng::with_seed(1);
        for len in (0..700).chain([4095, 4096, 4097, 70_000]) {
            let bytes: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
            let mut digest = Digest::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(random.usize(1..=rest.len()));
                digest.update(piece);
                rest = behind;
            }
            let slow = slow_checksum(&bytes);
            assert_eq!((checksum(&bytes), digest.checksum()), (slow, slow), "{len} bytes");
        }
    }

    #[test]
    fn sums_of_parts_make_that_of_the_whole() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..random.usize(..5000)).map(|_| random.u8(..)).collect();
            let (first, second) = (random.usize(..=bytes.len()), random.usize(..=bytes.len()));
            let (first, second) = (first.min(second), first.max(second));
            let parts = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            let joined = parts.iter().fold(Sum::default(), |sum, part| sum.then(Sum::of(part)));
            assert_eq!(joined, Sum::of(&bytes));
        }
    }
}
