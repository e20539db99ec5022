//! From files, standard input and the command line to a [`Config`].

use super::directive::Directive;
use super::kind::{Input, Refusal};
use super::parse::{self, Word};
use super::user::DefaultUser;
use super::{Config, reason};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Files included from files: deeper ones include themselves.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Whether commands can be renamed by these pairs of an old and a new name.
pub type CheckRenames = dyn Fn(&[(Word, Word)]) -> Result<(), String>;

/// What loading needs of the machine.
pub struct Host<'a> {
    /// Reads a whole file.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// The files that a pattern of `include` stands for, sorted.
    pub expand: &'a dyn Fn(&Path) -> Vec<PathBuf>,
    /// Makes a directory's name absolute; fails where it cannot be entered.
    pub resolve_directory: &'a dyn Fn(&Path) -> io::Result<PathBuf>,
    /// Whether commands can be renamed so, and if not, why.
    pub check_renames: &'a CheckRenames,
    /// The memory that this process may use, in bytes; 0: not known.
    pub machine_memory_bytes: u64,
}

/// Where a line stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// In what was read from standard input.
    Stdin,
    /// Among the arguments of the process.
    CommandLine,
}

/// Why the configuration is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// Where the line stands.
    pub place: Place,
    /// Number of the line, from 1, and the line; none where no single line is to blame.
    pub line: Option<(usize, String)>,
    /// What is wrong.
    pub reason: String,
}

/// As Redis says it, so that scripts find what they look for; the place comes last.
impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Corering {}) ***", env!("CARGO_PKG_VERSION"))?;
        if let Some((number, text)) = &self.line {
            writeln!(f, "Reading the configuration file, at line {number}")?;
            writeln!(f, ">>> '{text}'")?;
        }
        write!(f, "{}", self.reason)?;
        match &self.place {
            Place::File(path) => write!(f, " (in {})", path.display()),
            Place::Stdin => f.write_str(" (on standard input)"),
            Place::CommandLine => f.write_str(" (on the command line)"),
        }
    }
}

impl std::error::Error for LoadError {}

/// Makes a [`Config`] from texts: first the file, then standard input, then the command line; later lines win.
pub struct Loader<'a> {
    host: &'a Host<'a>,
    config: Config,
    /// Directives that some line has set: the first line of a list replaces the default, later ones add.
    set: BTreeSet<&'static str>,
    /// What a line says of the default user, and how that line is blamed: whether it is true is known at the end, since
    /// `requirepass` may stand behind it.
    user: Option<(DefaultUser, LoadError)>,
    depth: usize,
}

impl<'a> Loader<'a> {
    /// Begins with the defaults, in the current directory.
    pub fn new(host: &'a Host<'a>) -> io::Result<Loader<'a>> {
        let config = Config { dir: (host.resolve_directory)(Path::new("."))?, ..Config::default() };
        Ok(Loader { host, config, set: BTreeSet::new(), user: None, depth: 0 })
    }

    /// Loads the server's own file: the one that `CONFIG REWRITE` writes.
    pub fn main_file(&mut self, path: &Path) -> Result<(), LoadError> {
        let path = self.config.dir.join(path);
        self.file(&path)?;
        self.config.file = Some(path);
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), LoadError> {
        let text = (self.host.read_file)(path).map_err(|error| LoadError {
            place: Place::File(path.into()),
            line: None,
            reason: format!("Fatal error, can't open config file '{}': {}", path.display(), reason(&error)),
        })?;
        self.text(&text, &Place::File(path.into()))
    }

    /// Loads lines.
    pub fn text(&mut self, text: &[u8], place: &Place) -> Result<(), LoadError> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            let blame = |reason: String| LoadError {
                place: place.clone(),
                line: Some((index + 1, String::from_utf8_lossy(line).into())),
                reason,
            };
            self.line(line, &blame).map_err(|failure| match failure {
                Failure::Here(reason) => blame(reason.into()),
                Failure::Included(error) => *error,
            })?;
        }
        Ok(())
    }

    /// The configuration, once nothing more is to be loaded.
    pub fn finish(mut self, place: Place) -> Result<Config, LoadError> {
        if self.config.cluster_enabled && self.config.replicaof.0.is_some() {
            let reason = "replicaof directive not allowed in cluster mode".into();
            return Err(LoadError { place, line: None, reason });
        }
        if let Some((user, blamed)) = self.user
            && let Err(why) = user.check(&self.config.requirepass)
        {
            return Err(LoadError { reason: why.into(), ..blamed });
        }
        self.config.settle();
        Ok(self.config)
    }

    fn line(&mut self, line: &[u8], blame: &dyn Fn(String) -> LoadError) -> Result<(), Failure> {
        let words = parse::split(line, &comment_after)
            .map_err(|_| Refusal::Borrowed("Unbalanced quotes in configuration line"))?
            .words;
        let Some((name, values)) = words.split_first() else { return Ok(()) };
        match Directive::find(name) {
            Some(row) => Ok(self.directive(row, values)?),
            None => self.other(&name.to_ascii_lowercase(), values, blame),
        }
    }

    fn directive(&mut self, row: &'static Directive, values: &[Word]) -> Result<(), Refusal> {
        let split;
        let words = match values {
            // One argument may hold all values: `--save "900 1"`.
            [value] if row.kind.takes_several() && !value.is_empty() => {
                split = parse::split_words(value)
                    .map_err(|_| Refusal::Borrowed("Unbalanced quotes in configuration line"))?;
                &split
            }
            [_] => values,
            _ if row.kind.takes_several() => values,
            _ => return Err("wrong number of arguments".into()),
        };
        let input = Input {
            words,
            kind: row.kind,
            adds: !self.set.insert(row.name),
            resolve_directory: self.host.resolve_directory,
            machine_memory_bytes: self.host.machine_memory_bytes,
        };
        row.read_wish(&mut self.config, &input)
    }

    /// Lines that are no directive with a value.
    fn other(&mut self, name: &[u8], values: &[Word], blame: &dyn Fn(String) -> LoadError) -> Result<(), Failure> {
        match (name, values) {
            (b"include", [pattern]) => self.include(pattern),
            (b"rename-command", [old, new]) => {
                self.config.renamed_commands.push((old.clone(), new.clone()));
                Ok((self.host.check_renames)(&self.config.renamed_commands).map_err(Refusal::Owned)?)
            }
            (b"user", [_, ..]) => {
                let user = DefaultUser::read(values)?;
                if self.user.replace((user, blame(String::new()))).is_some() {
                    return Err(Refusal::Borrowed("this user stands in a line before this one already").into());
                }
                Ok(())
            }
            (b"loadmodule", [_, ..]) => Err(Refusal::Borrowed("Modules are not supported").into()),
            (b"sentinel", _) => Err(Refusal::Borrowed("sentinel directive while not in sentinel mode").into()),
            // Redis itself reads and ignores these.
            (b"list-max-ziplist-entries" | b"list-max-ziplist-value" | b"lua-replicate-commands", [_]) => Ok(()),
            _ => {
                let name = String::from_utf8_lossy(name);
                let known = matches!(&*name, "include" | "rename-command" | "user" | "loadmodule" | "sentinel");
                let what = if known { "wrong number of arguments for" } else { "unknown directive" };
                Err(Refusal::Owned(format!("Bad directive or wrong number of arguments: {what} '{name}'")).into())
            }
        }
    }

    fn include(&mut self, pattern: &Word) -> Result<(), Failure> {
        use std::os::unix::ffi::OsStrExt;
        if self.depth == INCLUDE_DEPTH_MAX {
            return Err(Refusal::Owned(format!("files include each other more than {INCLUDE_DEPTH_MAX} deep")).into());
        }
        // As in Redis, relative to the working directory (see `dir`), not to the including file.
        let path = self.config.dir.join(std::ffi::OsStr::from_bytes(pattern));
        let has_wildcard = pattern.iter().any(|byte| b"*?[".contains(byte));
        let paths = if has_wildcard { (self.host.expand)(&path) } else { vec![path] };
        self.depth += 1;
        for path in paths {
            self.file(&path).map_err(|error| match error.line {
                Some(_) => Failure::Included(Box::new(error)),
                None => Failure::Here(Refusal::Owned(error.reason)), // It cannot be read: this line is to blame.
            })?;
        }
        self.depth -= 1;
        Ok(())
    }
}

/// What goes wrong with a line: something in it, or something in the file it includes.
enum Failure {
    Here(Refusal),
    Included(Box<LoadError>),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Here(refusal)
    }
}

/// How many words must stand before a comment, given the first one; none: `#` is never a comment there. No line that
/// Redis accepts has a word beginning with `#` beyond these places: `requirepass #x` keeps its value, and the password
/// hashes of `user` lines stay what they are.
pub(super) fn comment_after(name: &[u8]) -> Option<usize> {
    match name.to_ascii_lowercase().as_slice() {
        b"user" | b"loadmodule" | b"sentinel" => None,
        b"rename-command" => Some(3),
        _ => Some(2),
    }
}

/// The arguments of the process, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandLine {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Lines are to be read from standard input too.
    pub reads_stdin: bool,
    /// The directives, as lines.
    pub lines: Vec<u8>,
}

impl CommandLine {
    /// Sorts the arguments behind the program's name: `[file] [-] [--name value [value …]] … [-]`. What follows a name
    /// are its values, up to the next argument that begins with `--`; one right behind a name is a value too
    /// (`--requirepass --secret`), but for `save`, which may be left empty.
    pub fn parse(arguments: &[Vec<u8>]) -> CommandLine {
        use std::os::unix::ffi::OsStrExt;
        let mut line = CommandLine::default();
        let mut rest = arguments;
        if let Some((first, others)) = arguments.split_first()
            && !first.starts_with(b"-")
        {
            // An empty one, as a shell makes of a variable that is not set, is none.
            line.file = (!first.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(first)));
            rest = others;
        }
        let is_first = |index: usize| rest.len() == arguments.len() && index == 0;
        let mut wants_value = false;
        for (index, argument) in rest.iter().enumerate() {
            let is_last = index + 1 == rest.len();
            if argument == b"-" && (is_first(index) || is_last) {
                line.reads_stdin = true;
            } else if let Some(name) = argument.strip_prefix(b"--")
                && !wants_value
            {
                if !line.lines.is_empty() {
                    line.lines.push(b'\n');
                }
                line.lines.extend(name);
                line.lines.push(b' ');
                let has_value = parse::split_words(argument).is_ok_and(|words| words.len() != 1);
                let next_is_name = rest.get(index + 1).is_none_or(|next| next.starts_with(b"--"));
                let stays_empty = name.eq_ignore_ascii_case(b"save") && next_is_name;
                if stays_empty {
                    line.lines.extend(b"\"\"");
                }
                wants_value = !has_value && !stays_empty;
            } else {
                line.lines.extend(parse::quote(argument));
                line.lines.push(b' ');
                wants_value = false;
            }
        }
        line
    }
}
