//! The row type, and finding a row by name.

use super::kind::{Form, Input, Kind, Lines, Refusal, Remembered, Setting};
use super::{Config, accepted, parse, rows};
use bitflags::bitflags;

bitflags! {
    /// Properties of a directive.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// Only at start, not by `CONFIG SET`.
        const IMMUTABLE = 1 << 0;
        /// By `CONFIG SET` only as `enable-protected-configs` allows.
        const PROTECTED = 1 << 1;
        /// Its value is kept out of the slow log, `MONITOR` and reports.
        const SENSITIVE = 1 << 2;
        /// `CONFIG GET` finds it only by its exact name.
        const HIDDEN = 1 << 3;
        /// Not by `CONFIG SET` while a data set is loaded.
        const DENY_LOADING = 1 << 4;
        /// Read and kept, but not acted on yet.
        const PENDING = 1 << 5;
        /// Redis 7.0 does not know it; Redis or Valkey does since.
        const NEWER = 1 << 6;
        /// Only this server knows it.
        const OWN = 1 << 7;
        /// Another value than the default asks for something big that is not there yet: refused, for whoever asks for
        /// it relies on it.
        const ABSENT = 1 << 8;
    }
}

/// Where the value of a directive is kept.
pub(super) enum Access {
    /// In a field of [`Config`].
    Field {
        read: fn(&mut Config, &Input<'_>) -> Result<(), Refusal>,
        write: fn(&Config, Form) -> Vec<u8>,
        lines: fn(&Config, &Config) -> Lines,
    },
    /// Among the values without effect.
    Remembered,
}

/// One directive.
pub struct Directive {
    /// In small letters.
    pub name: &'static str,
    /// Other names, older or newer.
    pub aliases: &'static [&'static str],
    /// Heading in `corering.conf`.
    pub group: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// The value before anybody sets one, as it would stand in a file.
    pub default: &'static str,
    /// Its properties.
    pub flags: Flags,
    /// Lines of meaning; for a directive without effect, why it has none.
    pub doc: &'static [&'static str],
    pub(super) access: Access,
}

impl Directive {
    /// Every row.
    pub fn all() -> impl Iterator<Item = &'static Directive> {
        rows::ROWS.iter().chain(accepted::ROWS)
    }

    /// The row of that name or alias, in any case.
    pub fn find(name: &[u8]) -> Option<&'static Directive> {
        Directive::all().find(|row| row.names().any(|known| known.as_bytes().eq_ignore_ascii_case(name)))
    }

    /// Its name, then its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether the server acts on it.
    pub fn has_effect(&self) -> bool {
        matches!(self.access, Access::Field { .. }) && !self.flags.contains(Flags::PENDING)
    }

    /// Meaning, kind and properties in one paragraph.
    pub fn describe(&self) -> String {
        let mut words = self.meaning();
        if self.has_effect() || self.flags.contains(Flags::PENDING) {
            let mut notes = Vec::new();
            notes.extend(self.kind.describe().filter(|_| !matches!(self.kind, Kind::YesNo)));
            if self.flags.contains(Flags::IMMUTABLE) {
                notes.push("only at start".into());
            }
            if self.flags.contains(Flags::PENDING) {
                notes.push("no effect yet".into());
            }
            if self.flags.contains(Flags::ABSENT) {
                notes.push("not there yet: only the default is accepted".into());
            }
            if !notes.is_empty() {
                words.push_str(&format!(" [{}]", notes.join("; ")));
            }
        }
        words
    }

    /// The first sentence, or the part of it before a colon or semicolon: for where there is room for few words.
    pub fn summary(&self) -> String {
        let words = self.meaning();
        let end = [". ", ": ", "; "].iter().filter_map(|end| words.find(end)).min().unwrap_or(words.len());
        words[..end].trim_end_matches('.').to_string()
    }

    fn meaning(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").replace('`', "")
    }

    /// Its default, as it stands in a file.
    pub fn default_in_file(&self) -> String {
        match self.kind {
            Kind::Text | Kind::Checked(_) => String::from_utf8(parse::quote(self.default.as_bytes())).expect("ASCII"),
            _ => self.default.to_string(),
        }
    }

    /// Takes over a value into `config`, or changes nothing.
    pub(super) fn read(&'static self, config: &mut Config, input: &Input<'_>) -> Result<(), Refusal> {
        match self.access {
            Access::Field { read, .. } => read(config, input),
            Access::Remembered => {
                let mut value = Remembered::default();
                value.read(input)?;
                config.remembered.insert(self.name, value);
                Ok(())
            }
        }
    }

    /// As [`Directive::read`], for values from outside: what asks for something that is not there is refused.
    pub(super) fn read_wish(&'static self, config: &mut Config, input: &Input<'_>) -> Result<(), Refusal> {
        let asks_for_nothing = input.words.join(&b' ').eq_ignore_ascii_case(self.default.as_bytes());
        if !self.flags.contains(Flags::ABSENT) || asks_for_nothing {
            return self.read(config, input);
        }
        self.read(&mut config.clone(), input)?; // Nonsense is refused as such.
        let default = if self.default.is_empty() { "\"\"" } else { self.default };
        Err(format!("this version does not have that yet: {} can only be {default}", self.name).into())
    }

    /// Writes the value in `config`.
    pub(super) fn write(&self, config: &Config, form: Form) -> Vec<u8> {
        match self.access {
            Access::Field { write, .. } => write(config, form),
            Access::Remembered => config.remembered[self.name].write(self.kind, form),
        }
    }

    /// Its lines in a file.
    pub(super) fn lines(&self, config: &Config, default: &Config) -> Lines {
        match self.access {
            Access::Field { lines, .. } => lines(config, default),
            Access::Remembered => config.remembered[self.name].lines(&default.remembered[self.name], self.kind),
        }
    }
}
