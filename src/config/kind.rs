//! Kinds of directives and how their values are read from words and written back.
//!
//! A [`Kind`] says what a row accepts; [`Setting`] is implemented by the type of each field and does the reading and
//! writing. The refusals are Redis' texts: they end `CONFIG SET failed (…) - `.

use super::parse::{self, Word};
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// Why a value is refused.
pub type Refusal = Cow<'static, str>;

/// What a directive accepts.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `yes` or `no`.
    YesNo,
    /// A decimal integer between the bounds, both included.
    Integer(i64, i64),
    /// An octal integer up to the bound.
    Octal(u32),
    /// A memory size between the bounds, both included: `100`, `10k`, `10kb`, `1gb`, …
    Memory(u64, u64),
    /// A memory size or a share (`5%`) of something else; the text refuses what is neither.
    MemoryOrShare(&'static str),
    /// One of the words.
    Choice(&'static [&'static str]),
    /// One or several of the words.
    Choices(&'static [&'static str]),
    /// Any text; empty stands for none.
    Text,
    /// Text that a function looks at; it answers why it refuses.
    Checked(fn(&str) -> Result<(), &'static str>),
    /// Several words; the text is their syntax.
    Words(&'static str),
}

impl Kind {
    /// Whether the value may consist of several words.
    pub fn takes_several(&self) -> bool {
        matches!(self, Kind::Words(_) | Kind::Choices(_))
    }

    /// What it accepts, for the reader of a configuration file.
    pub fn describe(&self) -> Option<String> {
        match *self {
            Kind::YesNo => Some("yes or no".into()),
            Kind::Integer(i64::MIN..=INT_MIN, INT_MAX..) | Kind::Text | Kind::Checked(_) => None,
            Kind::Integer(min, INT_MAX..) => Some(format!("{min} or more")),
            Kind::Integer(min, max) => Some(format!("{min} to {max}")),
            Kind::Octal(max) => Some(format!("octal, 0 to {max:o}")),
            Kind::Memory(0, _) => Some("a memory size, such as 100mb".into()),
            Kind::Memory(min, _) => Some(format!("a memory size of at least {}", parse::format_memory(min))),
            Kind::MemoryOrShare(_) => Some("a memory size, such as 100mb, or a share, such as 80%".into()),
            Kind::Choice(names) => Some(format!("one of {}", names.join(", "))),
            Kind::Choices(names) => Some(format!("one or several of {}", names.join(", "))),
            Kind::Words(syntax) => Some(syntax.into()),
        }
    }
}

/// Largest `int`: the upper bound of most numbers in Redis.
pub const INT_MAX: i64 = i32::MAX as i64;
/// Smallest `int`.
pub const INT_MIN: i64 = i32::MIN as i64;
/// Largest `long`, the bound of most sizes.
pub const LONG_MAX: u64 = i64::MAX as u64;

/// A value as it was given, and all that reading it may need.
pub struct Input<'a> {
    /// The words behind the directive's name. Exactly one unless the kind takes several.
    pub words: &'a [Word],
    /// What the row accepts.
    pub kind: Kind,
    /// A repeated line of a file adds to the earlier ones where the directive is a list (`save`).
    pub adds: bool,
    /// Makes a directory's name absolute; fails where it cannot be entered.
    pub resolve_directory: &'a dyn Fn(&Path) -> io::Result<PathBuf>,
    /// The memory that this process may use, in bytes: what shares are of. 0: not known.
    pub machine_memory_bytes: u64,
}

impl Input<'_> {
    /// The only word.
    fn word(&self) -> &[u8] {
        assert_eq!(self.words.len(), 1, "checked against the kind before");
        &self.words[0]
    }

    /// The only word as text.
    fn text(&self) -> Result<&str, Refusal> {
        std::str::from_utf8(self.word()).map_err(|_| Refusal::Borrowed("argument must be valid UTF-8"))
    }
}

/// What a value is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For a reply to `CONFIG GET`: plain.
    Reply,
    /// For a line of a file: quoted, sizes with units.
    File,
}

/// The values of a directive's lines in a file, each with whether it must stand there even if no line of the old file
/// had the directive.
pub type Lines = Vec<(Vec<u8>, bool)>;

/// The value of a directive.
pub trait Setting {
    /// Takes over what `input` says, or changes nothing.
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal>;

    /// Writes the value.
    fn write(&self, kind: Kind, form: Form) -> Vec<u8>;

    /// The lines in a file. None: no line may stand there.
    fn lines(&self, default: &Self, kind: Kind) -> Lines {
        let value = self.write(kind, Form::File);
        let changed = value != default.write(kind, Form::File);
        vec![(value, changed)]
    }
}

impl Setting for bool {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        *self = match input.word() {
            word if word.eq_ignore_ascii_case(b"yes") => true,
            word if word.eq_ignore_ascii_case(b"no") => false,
            _ => return Err("argument must be 'yes' or 'no'".into()),
        };
        Ok(())
    }

    fn write(&self, _: Kind, _: Form) -> Vec<u8> {
        if *self { b"yes".into() } else { b"no".into() }
    }
}

/// Reads a number of any numeric kind.
fn read_number(input: &Input<'_>) -> Result<i128, Refusal> {
    let word = input.word();
    let (value, min, max) = match input.kind {
        Kind::Integer(min, max) => {
            let value = parse::integer(word).ok_or("argument couldn't be parsed into an integer")?;
            (i128::from(value), i128::from(min), i128::from(max))
        }
        Kind::Memory(min, max) => {
            let value = parse::memory_bytes(word).ok_or("argument must be a memory value")?;
            (i128::from(value), i128::from(min), i128::from(max))
        }
        Kind::Octal(max) => {
            let text = std::str::from_utf8(word).ok();
            let value = text.and_then(|text| i64::from_str_radix(text, 8).ok());
            let value = value.ok_or("argument couldn't be parsed as an octal number")?;
            if !(0..=i64::from(max)).contains(&value) {
                return Err(format!("argument must be between 0 and {max:o} inclusive").into());
            }
            return Ok(value.into());
        }
        _ => panic!("a number under a kind that has none"),
    };
    if !(min..=max).contains(&value) {
        return Err(format!("argument must be between {min} and {max} inclusive").into());
    }
    Ok(value)
}

fn write_number(value: i128, kind: Kind, form: Form) -> Vec<u8> {
    match (kind, form) {
        (Kind::Octal(_), _) => format!("{value:o}").into(),
        (Kind::Memory(..), Form::File) => {
            parse::format_memory(u64::try_from(value).expect("memory is not negative")).into()
        }
        _ => value.to_string().into(),
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Setting for $type {
            fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
                *self = <$type>::try_from(read_number(input)?).expect("the row's bounds fit the field");
                Ok(())
            }

            fn write(&self, kind: Kind, form: Form) -> Vec<u8> {
                write_number(*self as i128, kind, form)
            }
        }
    )*};
}
numbers!(u16 u32 u64 usize i32 i64);

/// Reads text of the kinds `Text` and `Checked`.
fn read_text<'a>(input: &'a Input<'_>) -> Result<&'a str, Refusal> {
    let text = input.text()?;
    if let Kind::Checked(check) = input.kind {
        check(text)?;
    }
    Ok(text)
}

impl Setting for String {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        *self = read_text(input)?.into();
        Ok(())
    }

    fn write(&self, _: Kind, form: Form) -> Vec<u8> {
        write_bytes(self.as_bytes(), form)
    }
}

fn write_bytes(bytes: &[u8], form: Form) -> Vec<u8> {
    match form {
        Form::Reply => bytes.into(),
        Form::File => parse::quote(bytes),
    }
}

/// A secret: any bytes; empty is none. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_empty() { "Secret(none)" } else { "Secret(set)" })
    }
}

impl Setting for Secret {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        self.0 = input.word().to_vec();
        Ok(())
    }

    fn write(&self, _: Kind, form: Form) -> Vec<u8> {
        write_bytes(&self.0, form)
    }
}

/// An existing directory, made absolute. Its line always stands in a rewritten file.
impl Setting for PathBuf {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        let wanted = self.join(input.text()?);
        *self = (input.resolve_directory)(&wanted).map_err(|error| Refusal::Owned(reason(&error)))?;
        Ok(())
    }

    fn write(&self, _: Kind, form: Form) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        write_bytes(self.as_os_str().as_bytes(), form)
    }

    fn lines(&self, _: &Self, kind: Kind) -> Lines {
        vec![(self.write(kind, Form::File), true)]
    }
}

/// The system's own words for an error, as C's `strerror` gives them.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

/// The place of `word` among `names`, in any case.
pub(super) fn choose(names: &[&str], word: &[u8]) -> Option<usize> {
    names.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(word))
}

/// The refusal of what is not among `names`.
pub(super) fn not_among(names: &[&str]) -> Refusal {
    format!("argument(s) must be one of the following: {}", names.join(", ")).into()
}

/// A value that only has to be remembered: it is checked by its kind and kept as the text of `CONFIG GET`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remembered(pub Vec<u8>);

impl Setting for Remembered {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        self.0 = match input.kind {
            Kind::YesNo => {
                let mut value = false;
                value.read(input)?;
                value.write(input.kind, Form::Reply)
            }
            Kind::Integer(..) | Kind::Octal(_) | Kind::Memory(..) => {
                write_number(read_number(input)?, input.kind, Form::Reply)
            }
            Kind::Choice(names) => {
                let index = choose(names, input.word()).ok_or_else(|| not_among(names))?;
                names[index].into()
            }
            Kind::Text | Kind::Checked(_) => read_text(input)?.into(),
            Kind::Words(_) | Kind::Choices(_) => input.words.join(&b' '),
            Kind::MemoryOrShare(_) => panic!("a share of what?"),
        };
        Ok(())
    }

    fn write(&self, kind: Kind, form: Form) -> Vec<u8> {
        match (kind, form) {
            (Kind::Text | Kind::Checked(_), Form::File) => parse::quote(&self.0),
            (Kind::Memory(..), Form::File) => {
                parse::format_memory(parse::memory_bytes(&self.0).expect("written by read")).into()
            }
            _ => self.0.clone(),
        }
    }

    fn lines(&self, default: &Self, kind: Kind) -> Lines {
        vec![(self.write(kind, Form::File), self != default)]
    }
}
