//! What `SSCAN`, `HSCAN` and `ZSCAN` have in common: cursor, options, and the shape of the reply.

use super::generic::parse_cursor;
use crate::resp::{Error, Reply};
use crate::structure::glob::Pattern;
use crate::value::number::parse_integer;

/// Elements looked at in a step, unless `COUNT` says otherwise.
const COUNT_DEFAULT: usize = 10;

/// A step of an iteration over the elements of one value.
pub struct Scan<'a> {
    /// Elements to look at, about.
    pub count: usize,
    /// Which of them are wanted.
    pub pattern: Pattern<'a>,
    /// `NOVALUES`: fields without their values.
    pub no_values: bool,
}

/// A step's cursor: what is wrong with it is said before the key is looked at.
pub fn cursor(arg: &[u8]) -> Result<u64, Error> {
    parse_cursor(arg).ok_or(Error::INVALID_CURSOR)
}

/// The reply for a key that is not there, whatever the options.
pub fn reply_empty(reply: &mut Reply<'_>) {
    reply.array(2);
    reply.bulk(b"0");
    reply.array(0);
}

impl<'a> Scan<'a> {
    /// The options behind the cursor. `has_values`: `NOVALUES` makes sense.
    pub fn parse(options: &[&'a [u8]], has_values: bool) -> Result<Scan<'a>, Error> {
        let mut scan = Scan { count: COUNT_DEFAULT, pattern: Pattern::All, no_values: false };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            if option.eq_ignore_ascii_case(b"novalues") {
                if !has_values {
                    return Err(Error::fixed("ERR NOVALUES option can only be used in HSCAN"));
                }
                scan.no_values = true;
                continue;
            }
            let value = options.next().ok_or(Error::SYNTAX)?;
            if option.eq_ignore_ascii_case(b"count") {
                let number = parse_integer(value).ok_or(Error::NOT_INTEGER)?;
                scan.count = usize::try_from(number).ok().filter(|&count| 0 < count).ok_or(Error::SYNTAX)?;
            } else if option.eq_ignore_ascii_case(b"match") {
                scan.pattern = Pattern::new(value);
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(scan)
    }

    /// Runs the step: `step` gets a writer of elements and says how many it wrote, and the next cursor.
    pub fn reply(&self, reply: &mut Reply<'_>, step: impl FnOnce(&mut Reply<'_>) -> (usize, u64)) {
        let mut elements = Vec::new();
        let (len, next) = step(&mut Reply::new(&mut elements, reply.protocol()));
        reply.array(2);
        reply.bulk_text(format_args!("{next}"));
        reply.array(len);
        reply.raw(&elements);
    }
}
