//! Libraries of functions as snapshots and `FUNCTION DUMP` have them: an opcode and the library's text each. In a
//! snapshot they stand before the first database.

use super::payload::{checksum, open};
use super::{Corrupt, read, write};

/// Opcode of a library (`RDB_OPCODE_FUNCTION2`); its text follows as a string.
pub const FUNCTION: u8 = 245;
/// Version of the payload: the first that knows the opcode.
const VERSION: u16 = 10;

/// Appends a library as a snapshot has it.
pub fn write_library(out: &mut Vec<u8>, code: &[u8]) {
    out.push(FUNCTION);
    write::string(out, code, false);
}

/// The payload of some libraries.
pub fn dump<'a>(codes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    codes.for_each(|code| write_library(&mut out, code));
    out.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = checksum(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// The texts of the libraries in a payload.
///
/// # Errors
/// It is none.
pub fn parse(payload: &[u8]) -> Result<Vec<Vec<u8>>, Corrupt> {
    let (_, mut body) = open(payload).ok_or(Corrupt::SHORT)?;
    let mut codes = Vec::new();
    while !body.is_empty() {
        if read::byte(&mut body)? != FUNCTION {
            return Err(Corrupt::SHORT);
        }
        codes.push(read::blob(&mut body)?);
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_come_back_and_other_bytes_do_not() {
        let codes: [&[u8]; 2] = [b"#!lua name=a\nreturn 1", b"#!lua name=b\n"];
        let payload = dump(codes.into_iter());
        assert_eq!(parse(&payload).expect("a payload"), codes);
        assert!(parse(&dump(std::iter::empty())).expect("an empty one").is_empty());
        for at in 0..payload.len() {
            let mut broken = payload.clone();
            broken[at] ^= 1;
            assert!(parse(&broken).is_err() && parse(&payload[..at]).is_err(), "{at}");
        }
    }
}
