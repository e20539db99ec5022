//! The manifest: which files make up the log, in Redis' format. Not here: the files.
//!
//! ```text
//! file appendonly.aof.1.base.rdb seq 1 type b
//! file appendonly.aof.1.incr.aof seq 1 type i
//! ```
//! Types: `b` base, `i` incr, `h` history (replaced, to be deleted). Names with spaces or the like stand in quotes, as
//! in a configuration file.

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// All there was when it was made.
    Base,
    /// What happened since.
    Incr,
    /// Replaced.
    History,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file's name, without a directory.
    pub name: String,
    /// Its number among those of its kind.
    pub seq: u64,
    /// What it is.
    pub kind: Kind,
}

/// The files of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// What to load first.
    pub base: Option<Entry>,
    /// What to load then, in this order.
    pub incrs: Vec<Entry>,
    /// What may be deleted.
    pub history: Vec<Entry>,
}

/// Bytes of a line; Redis reads no longer ones.
const LINE_BYTES_MAX: usize = 1024;

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// What is wrong with it, in Redis' words.
    pub fn parse(text: &[u8]) -> Result<Manifest, &'static str> {
        const INVALID: &str = "Invalid AOF manifest file format";
        let mut manifest = Manifest::default();
        if text.is_empty() {
            return Err("Found an empty AOF manifest");
        }
        let mut seq_max = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if line.len() > LINE_BYTES_MAX {
                return Err("The AOF manifest file contains too long line");
            }
            if line.starts_with(b"#") {
                continue;
            }
            let Some(line) = line.strip_suffix(b"\n") else {
                return Err("The AOF manifest file contains too long line");
            };
            let words = words(line.trim_ascii()).ok_or(INVALID)?;
            if words.len() < 6 || !words.len().is_multiple_of(2) {
                return Err(INVALID);
            }
            let (mut name, mut seq, mut kind) = (None, 0, None);
            for pair in words.chunks(2) {
                let (key, value) = (pair[0].to_ascii_lowercase(), &pair[1]);
                match &key[..] {
                    b"file" => {
                        let text = String::from_utf8(value.clone()).map_err(|_| INVALID)?;
                        if text.contains('/') || text == "." || text == ".." {
                            return Err("File can't be a path, just a filename");
                        }
                        name = Some(text);
                    }
                    b"seq" => seq = std::str::from_utf8(value).ok().and_then(|seq| seq.parse().ok()).unwrap_or(0),
                    b"type" => kind = value.first().copied(),
                    _ => {} // Of a later version.
                }
            }
            let (Some(name), Some(kind), 1..) = (name.filter(|name| !name.is_empty()), kind, seq) else {
                return Err(INVALID);
            };
            match kind {
                b'b' if manifest.base.is_some() => return Err("Found duplicate base file information"),
                b'b' => manifest.base = Some(Entry { name, seq, kind: Kind::Base }),
                b'h' => manifest.history.push(Entry { name, seq, kind: Kind::History }),
                b'i' if seq <= seq_max => return Err("Found a non-monotonic sequence number"),
                b'i' => {
                    seq_max = seq;
                    manifest.incrs.push(Entry { name, seq, kind: Kind::Incr });
                }
                _ => return Err("Unknown AOF file type"),
            }
        }
        Ok(manifest)
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for entry in self.base.iter().chain(&self.history).chain(&self.incrs) {
            let letter = match entry.kind {
                Kind::Base => 'b',
                Kind::Incr => 'i',
                Kind::History => 'h',
            };
            text.push_str(&format!("file {} seq {} type {letter}\n", quoted(&entry.name), entry.seq));
        }
        text
    }

    /// The number for the next base.
    pub fn next_base(&self) -> u64 {
        let history = self.history.iter().filter(|entry| entry.name.contains(".base.")).map(|entry| entry.seq);
        self.base.iter().map(|entry| entry.seq).chain(history).max().unwrap_or(0) + 1
    }

    /// The number for the next incr file.
    pub fn next_incr(&self) -> u64 {
        let history = self.history.iter().filter(|entry| entry.name.contains(".incr.")).map(|entry| entry.seq);
        self.incrs.iter().map(|entry| entry.seq).chain(history).max().unwrap_or(0) + 1
    }

    /// Base and increments, in the order of loading.
    pub fn files(&self) -> impl Iterator<Item = &Entry> {
        self.base.iter().chain(&self.incrs)
    }
}

/// The name of an incr file.
pub fn incr_name(prefix: &str, seq: u64) -> String {
    format!("{prefix}.{seq}.incr.aof")
}

/// The number of a file with the name of an incr file.
pub fn incr_number(prefix: &str, name: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.strip_prefix('.')?.strip_suffix(".incr.aof")?.parse().ok()
}

/// The name of a base, which is a snapshot or commands.
pub fn base_name(prefix: &str, seq: u64, is_snapshot: bool) -> String {
    format!("{prefix}.{seq}.base.{}", if is_snapshot { "rdb" } else { "aof" })
}

/// Whether a name is that of a file of the log with this prefix: a base, an increment, or one on its way to be such.
pub fn is_of_log(prefix: &str, name: &str) -> bool {
    fn number_of(rest: &str) -> Option<(u64, &str)> {
        let (number, end) = rest.split_once('.')?;
        Some((number.parse().ok()?, end))
    }
    let own = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
    if let Some(rest) = own {
        return number_of(rest).is_some_and(|(_, end)| matches!(end, "incr.aof" | "base.rdb" | "base.aof"));
    }
    let Some(rest) = name.strip_prefix("temp-") else { return false };
    // A manifest, what tries whether the disk is full, and the first increment of Redis; a base; a file that is cut.
    let of_prefix = rest.strip_prefix(prefix).is_some_and(|end| matches!(end, ".manifest" | ".tried" | ".incr"));
    let is_cut = rest.strip_prefix("cut-").and_then(number_of).is_some_and(|(_, end)| end == "aof");
    of_prefix || is_cut || number_of(rest).is_some_and(|(_, end)| end == "rdb")
}

/// The name of the manifest.
pub fn manifest_name(prefix: &str) -> String {
    format!("{prefix}.manifest")
}

/// A name as it stands in a manifest.
fn quoted(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte);
    if name.bytes().all(is_plain) {
        return name.to_string();
    }
    let mut quoted = String::from("\"");
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', byte as char]),
            b'\n' => quoted.push_str("\\n"),
            b'\r' => quoted.push_str("\\r"),
            b'\t' => quoted.push_str("\\t"),
            0x07 => quoted.push_str("\\a"),
            0x08 => quoted.push_str("\\b"),
            b' '..=b'~' => quoted.push(byte as char),
            _ => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted.push('"');
    quoted
}

/// The words of a line, with quotes and escapes as in a configuration file.
fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut words, mut at) = (Vec::new(), 0);
    loop {
        while line.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        let Some(&first) = line.get(at) else { return Some(words) };
        let mut word = Vec::new();
        if first == b'"' || first == b'\'' {
            at += 1;
            loop {
                let byte = *line.get(at)?;
                at += 1;
                match byte {
                    _ if byte == first => break,
                    b'\\' if first == b'"' => {
                        let escaped = *line.get(at)?;
                        at += 1;
                        if escaped == b'x' {
                            let digits = std::str::from_utf8(line.get(at..at + 2)?).ok()?;
                            word.push(u8::from_str_radix(digits, 16).ok()?);
                            at += 2;
                        } else {
                            word.push(match escaped {
                                b'n' => b'\n',
                                b'r' => b'\r',
                                b't' => b'\t',
                                b'a' => 0x07,
                                b'b' => 0x08,
                                other => other,
                            });
                        }
                    }
                    _ => word.push(byte),
                }
            }
            if line.get(at).is_some_and(|byte| !byte.is_ascii_whitespace()) {
                return None;
            }
        } else {
            while let Some(&byte) = line.get(at).filter(|byte| !byte.is_ascii_whitespace()) {
                word.push(byte);
                at += 1;
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let entry = |name: &str, seq, kind| Entry { name: name.into(), seq, kind };
        let manifest = Manifest {
            base: Some(entry("a b\"c.2.base.rdb", 2, Kind::Base)),
            incrs: vec![entry("x.3.incr.aof", 3, Kind::Incr), entry("é.4.incr.aof", 4, Kind::Incr)],
            history: vec![entry("x.9.incr.aof", 9, Kind::History), entry("x.1.base.aof", 1, Kind::History)],
        };
        assert_eq!(Manifest::parse(manifest.text().as_bytes()), Ok(manifest.clone()));
        assert_eq!((manifest.next_base(), manifest.next_incr()), (3, 10));
        // As Redis writes it.
        let odd = Manifest { base: Some(entry("\n\r\t\x07\x08\x01.1.base.rdb", 1, Kind::Base)), ..Manifest::default() };
        assert_eq!(odd.text(), "file \"\\n\\r\\t\\a\\b\\x01.1.base.rdb\" seq 1 type b\n");
        assert_eq!(Manifest::parse(odd.text().as_bytes()), Ok(odd));
        assert_eq!(incr_number("x", &incr_name("x", 9)), Some(9));
        for other in ["y.9.incr.aof", "x.9.base.aof", "x.incr.aof", "x.9.incr.aof.old", "x9.incr.aof"] {
            assert_eq!(incr_number("x", other), None, "{other}");
        }
    }

    #[test]
    fn files_of_a_log_are_known_by_their_names() {
        for name in
            ["a.1.base.rdb", "a.22.base.aof", "a.3.incr.aof", "temp-a.manifest", "temp-12.rdb", "temp-cut-3.aof"]
        {
            assert!(is_of_log("a", name), "{name}");
        }
        for name in
            ["a", "a.manifest", "a.1.base.rdb.bak-1", "a.x.incr.aof", "ab.1.incr.aof", "b.1.incr.aof", "temp-x.rdb"]
        {
            assert!(!is_of_log("a", name), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_redis() {
        let cases = [
            ("", "Found an empty AOF manifest"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information"),
            ("file a seq 1 type i\nfile b seq 1 type i\n", "Found a non-monotonic sequence number"),
            ("file a seq 1 type x\n", "Unknown AOF file type"),
            ("file a seq 1\n", "Invalid AOF manifest file format"),
            ("file a seq 0 type b\n", "Invalid AOF manifest file format"),
            ("\nfile a seq 1 type b\n", "Invalid AOF manifest file format"),
            ("file ../a seq 1 type b\n", "File can't be a path, just a filename"),
            ("file a seq 1 type b", "The AOF manifest file contains too long line"),
            ("file \"a seq 1 type b\n", "Invalid AOF manifest file format"),
        ];
        for (text, wrong) in cases {
            assert_eq!(Manifest::parse(text.as_bytes()), Err(wrong), "{text:?}");
        }
        let later = Manifest::parse(b"# a remark\nfile a seq 1 type b later thing\n").unwrap();
        assert_eq!(later.base.unwrap().name, "a");
    }
}
