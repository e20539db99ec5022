//! What a script says of itself in its first line (`#!lua name=… flags=…`), or a function where it is registered.

use crate::config::parse::split_words;
use crate::resp::Error;
use bitflags::bitflags;

bitflags! {
    /// What a script may do.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct ScriptFlags: u8 {
        /// It does not write.
        const NO_WRITES = 1 << 0;
        /// It runs, and writes, also when memory is full.
        const ALLOW_OOM = 1 << 1;
        /// It runs on a replica with stale data.
        const ALLOW_STALE = 1 << 2;
        /// It does not run in a cluster.
        const NO_CLUSTER = 1 << 3;
        /// It may touch keys of several slots in a cluster.
        const ALLOW_CROSS_SLOT_KEYS = 1 << 4;
        /// It has no first line of this kind: the rules of former times hold.
        const COMPATIBLE = 1 << 5;
    }
}

/// The flags by their names, in the order in which they are listed.
const NAMES: [(&str, ScriptFlags); 5] = [
    ("no-writes", ScriptFlags::NO_WRITES),
    ("allow-oom", ScriptFlags::ALLOW_OOM),
    ("allow-stale", ScriptFlags::ALLOW_STALE),
    ("no-cluster", ScriptFlags::NO_CLUSTER),
    ("allow-cross-slot-keys", ScriptFlags::ALLOW_CROSS_SLOT_KEYS),
];

impl ScriptFlags {
    /// The flag of a name.
    pub fn named(name: &[u8]) -> Option<ScriptFlags> {
        NAMES.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, flag)| *flag)
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().filter(move |(_, flag)| self.contains(*flag)).map(|(name, _)| name)
    }
}

/// The first line of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shebang {
    /// Its engine, as it is written.
    pub engine: String,
    /// `name=…`
    pub name: Option<String>,
    /// `flags=…`
    pub flags: ScriptFlags,
    /// Where the code begins: at the end of the line, so that lines count as they stand.
    pub len: usize,
}

/// Reads the first line of a script; none: it has no such line.
///
/// # Errors
/// The line is not what it should be, in the words of Redis.
pub fn script_shebang(text: &[u8]) -> Result<Option<Shebang>, Error> {
    if !text.starts_with(b"#!") {
        return Ok(None);
    }
    let Some(len) = text.iter().position(|&byte| byte == b'\n') else {
        return Err(Error::fixed("ERR Invalid script shebang"));
    };
    let words = words(&text[..len]).ok_or(Error::fixed("ERR Invalid engine in script shebang"))?;
    let (engine, options) = words.split_first().expect("it begins with one");
    if engine != "#!lua" {
        return Err(Error::new(format!("ERR Unexpected engine in script shebang: {engine}")));
    }
    let mut flags = ScriptFlags::empty();
    for word in options {
        let Some(list) = word.strip_prefix("flags=") else {
            return Err(Error::new(format!("ERR Unknown lua shebang option: {word}")));
        };
        for name in list.split(',').filter(|_| !list.is_empty()) {
            match ScriptFlags::named(name.as_bytes()) {
                Some(flag) => flags |= flag,
                None => return Err(Error::new(format!("ERR Unexpected flag in script shebang: {name}"))),
            }
        }
    }
    Ok(Some(Shebang { engine: "lua".into(), name: None, flags, len }))
}

/// The words of a first line, which may be in quotes; none: the quotes do not match.
fn words(line: &[u8]) -> Option<Vec<String>> {
    let words = split_words(line).ok()?;
    Some(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

/// Reads the first line of a library.
///
/// # Errors
/// As above.
pub fn library_shebang(text: &[u8]) -> Result<Shebang, Error> {
    if !text.starts_with(b"#!") {
        return Err(Error::fixed("ERR Missing library metadata"));
    }
    let Some(len) = text.iter().position(|&byte| byte == b'\n') else {
        return Err(Error::fixed("ERR Invalid library metadata"));
    };
    let words = words(&text[..len]).ok_or(Error::fixed("ERR Invalid library metadata"))?;
    let (engine, options) = words.split_first().expect("it begins with one");
    let engine = engine.strip_prefix("#!").ok_or(Error::fixed("ERR Invalid library metadata"))?;
    let mut name = None;
    for word in options {
        match word.strip_prefix("name=") {
            Some(_) if name.is_some() => {
                return Err(Error::fixed("ERR Invalid metadata value, name argument was given multiple times"));
            }
            Some(value) => name = Some(value.to_string()),
            None => return Err(Error::new(format!("ERR Invalid metadata value given: {word}"))),
        }
    }
    Ok(Shebang { engine: engine.to_string(), name, flags: ScriptFlags::empty(), len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_of_scripts_are_read() {
        let read = |text: &str| script_shebang(text.as_bytes()).map_err(|error| error.text().into_owned());
        assert_eq!(read("return 1"), Ok(None));
        let found = read("#!lua flags=no-writes,allow-oom\nreturn 1").expect("is well-formed").expect("is there");
        assert_eq!((found.flags, found.len), (ScriptFlags::NO_WRITES | ScriptFlags::ALLOW_OOM, 31));
        assert_eq!(read("#!lua\n").expect("no flags").expect("is there").flags, ScriptFlags::empty());
        assert_eq!(read("#!lua"), Err("ERR Invalid script shebang".into()));
        assert_eq!(read("#!python\n"), Err("ERR Unexpected engine in script shebang: #!python".into()));
        assert_eq!(read("#!lua x=y\n"), Err("ERR Unknown lua shebang option: x=y".into()));
        assert_eq!(read("#!lua flags=fast\n"), Err("ERR Unexpected flag in script shebang: fast".into()));
    }

    #[test]
    fn first_lines_of_libraries_name_them() {
        let read = |text: &str| library_shebang(text.as_bytes()).map_err(|error| error.text().into_owned());
        assert_eq!(read("#!lua name=a\n").expect("is well-formed").name.as_deref(), Some("a"));
        for (text, expected) in [
            ("redis.x()", "ERR Missing library metadata"),
            ("#!lua name=a", "ERR Invalid library metadata"),
            ("#!lua name=a name=b\n", "ERR Invalid metadata value, name argument was given multiple times"),
            ("#!lua name=a foo=b\n", "ERR Invalid metadata value given: foo=b"),
        ] {
            assert_eq!(read(text), Err(expected.into()), "{text}");
        }
    }
}
