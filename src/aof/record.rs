//! Commands as text: how they are written into a log, and how they are read out of one. Not here: what a command does.

/// Arguments of one command: more are damage. Redis' own limit is what fits into an int.
const ARGUMENTS_MAX: u64 = i32::MAX as u64;
/// Bytes of one argument: no command of Redis has longer ones.
const ARGUMENT_BYTES_MAX: u64 = i64::MAX as u64 >> 1;
/// An annotation, its end of line included; Redis reads no longer ones.
pub const ANNOTATION_BYTES_MAX: usize = 1023;
/// Digits of a count, with the letter before and the end of line behind.
const COUNT_BYTES_MAX: usize = 32;

/// What stands behind each argument.
pub const ARGUMENT_END: &[u8] = b"\r\n";

/// Appends a command.
pub fn write(out: &mut Vec<u8>, args: &[&[u8]]) {
    out.reserve(args.iter().map(|arg| arg.len() + 16).sum::<usize>() + 16);
    begin(out, args.len());
    args.iter().for_each(|arg| write_argument(out, arg));
}

/// Begins a command of so many arguments, which follow.
pub fn begin(out: &mut Vec<u8>, arguments: usize) {
    write_count(out, b'*', arguments);
}

/// Appends an argument of a command.
pub fn write_argument(out: &mut Vec<u8>, argument: &[u8]) {
    begin_argument(out, argument.len());
    out.extend_from_slice(argument);
    out.extend_from_slice(ARGUMENT_END);
}

/// Begins an argument of so many bytes, which follow, and [`ARGUMENT_END`] behind them.
pub fn begin_argument(out: &mut Vec<u8>, bytes: usize) {
    write_count(out, b'$', bytes);
}

fn write_count(out: &mut Vec<u8>, letter: u8, count: usize) {
    out.push(letter);
    out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What stands in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// A command: where its arguments are.
    Command(Vec<&'a [u8]>),
    /// A line that begins with `#`, without that and without its end.
    Annotation(&'a [u8]),
}

/// Why nothing can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It ends before it is whole; it takes so many bytes at least.
    Cut(usize),
    /// It is no command of a log.
    Damaged,
}

/// A line that begins with a given letter and goes on with a number: the number, and the bytes it takes.
fn count(bytes: &[u8], letter: u8, max: u64) -> Result<(usize, usize), Stop> {
    match bytes.first() {
        None => return Err(Stop::Cut(1)),
        Some(first) if *first != letter => return Err(Stop::Damaged),
        Some(_) => {}
    }
    let line = &bytes[..bytes.len().min(COUNT_BYTES_MAX)];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        return Err(if bytes.len() < COUNT_BYTES_MAX { Stop::Cut(bytes.len() + 1) } else { Stop::Damaged });
    };
    let digits = line[1..end].strip_suffix(b"\r").ok_or(Stop::Damaged)?;
    let number = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    let number = number.and_then(|digits| digits.parse::<u64>().ok()).filter(|number| *number <= max);
    Ok((number.ok_or(Stop::Damaged)? as usize, end + 1))
}

/// Reads what stands at the beginning of `bytes`: the item and the bytes it takes. Nothing is allocated by what a count
/// announces.
///
/// # Errors
/// Why there is none.
pub fn read(bytes: &[u8]) -> Result<(Item<'_>, usize), Stop> {
    read_ended(bytes, |end| end == ARGUMENT_END)
}

/// The same as Redis loads it: it does not look at what stands behind an argument, as long as there are two bytes.
/// (`redis-check-aof` does, and so does ours.)
///
/// # Errors
/// As for [`read`].
pub fn read_loosely(bytes: &[u8]) -> Result<(Item<'_>, usize), Stop> {
    read_ended(bytes, |_| true)
}

fn read_ended(bytes: &[u8], is_end: impl Fn(&[u8]) -> bool) -> Result<(Item<'_>, usize), Stop> {
    if bytes.first() == Some(&b'#') {
        let line = &bytes[..bytes.len().min(ANNOTATION_BYTES_MAX)];
        let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
            return Err(if bytes.len() < ANNOTATION_BYTES_MAX { Stop::Cut(bytes.len() + 1) } else { Stop::Damaged });
        };
        let line = &bytes[1..end];
        return Ok((Item::Annotation(line.strip_suffix(b"\r").unwrap_or(line)), end + 1));
    }
    let (argc, mut at) = count(bytes, b'*', ARGUMENTS_MAX)?;
    if argc == 0 {
        return Err(Stop::Damaged);
    }
    let mut args = Vec::new();
    for _ in 0..argc {
        let (len, taken) = match count(&bytes[at..], b'$', ARGUMENT_BYTES_MAX) {
            Err(Stop::Cut(more)) => return Err(Stop::Cut(at + more)),
            other => other?,
        };
        at += taken;
        let end = at + len;
        if bytes.len() < end + 2 {
            return Err(Stop::Cut(end + 2));
        }
        if !is_end(&bytes[end..end + 2]) {
            return Err(Stop::Damaged);
        }
        args.push(&bytes[at..end]);
        at = end + 2;
    }
    Ok((Item::Command(args), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_says_so() {
        let mut bytes = Vec::new();
        write(&mut bytes, &[b"SET", b"", b"a\r\n#b"]);
        bytes.extend_from_slice(b"#TS:17\r\n");
        let (item, taken) = read(&bytes).unwrap();
        assert_eq!(item, Item::Command(vec![b"SET", b"", b"a\r\n#b"]));
        assert_eq!(read(&bytes[taken..]), Ok((Item::Annotation(b"TS:17"), 8)));
        for len in 0..taken {
            let Err(Stop::Cut(more)) = read(&bytes[..len]) else { panic!("{len}") };
            assert!(len < more && more <= taken, "{len} {more}");
        }
    }

    #[test]
    fn what_is_no_command_is_damage() {
        let long = [b'#'; ANNOTATION_BYTES_MAX + 1];
        let cases: [&[u8]; 10] = [
            b"\0\0\0\0",
            b"*0\r\n",
            b"*-1\r\n",
            b"*1\n$1\r\na\r\n",
            b"*1\r\n$1\r\nabc",
            b"*1\r\n:1\r\n",
            b"*99999999999\r\n",
            b"*1\r\n$99999999999999999999\r\n",
            b"SET a b\r\n",
            &long,
        ];
        for case in cases {
            assert_eq!(read(case), Err(Stop::Damaged), "{}", String::from_utf8_lossy(case));
        }
        assert_eq!(read_loosely(cases[4]), Ok((Item::Command(vec![b"a"]), cases[4].len())));
        assert_eq!(read_loosely(b"*1\r\n$1\r\nab"), Err(Stop::Cut(11)));
        assert_eq!(read(b"*2\r\n$9223372036854775\r\n"), Err(Stop::Cut(9223372036854775 + 23 + 2)));
    }
}
