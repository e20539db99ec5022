//! From the name a client wrote to the row of the table: every row of every family with a dense number, the index of
//! names, and the questions that a row alone answers (full name, ACL categories, places of keys).
//!
//! Not here: running a command, and choosing a shard for it.
//!
//! All of it is computed by the compiler; a mistake in the rows (a name twice, a subcommand under a command that is no
//! container, flags that exclude each other) does not compile. Commands stand first, subcommands after them, those of
//! one container side by side:
//!
//! ```text
//! id     0     1     2        …   T-1  │  T             T+1      …
//! row    GET   SET   CONFIG   …   …    │  CONFIG GET    CONFIG SET   …
//!                      └─ subcommands: T..T+5 ─┘
//! ```
//!
//! The index is an open-addressed table of 24-byte slots. A name of up to 16 bytes becomes two words (overlapping loads
//! of its first and last 8 bytes) in capitals, so that a comparison is two words and a length, whatever the case. The
//! few longer names (`GEORADIUSBYMEMBER`) are compared once more in full.

use super::elsewhere::is_known;
use super::{Args, Categories, Command, FAMILIES, Flags, Group, Keys, Run};
use crate::resp::Error;
use std::ops::{Deref, Range};
use std::sync::OnceLock;

/// The number of a row: dense, from 0, subcommands included. Lasts as long as the process; it is no wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(u16);

impl CommandId {
    /// As an index into arrays of [`COMMAND_COUNT`] elements.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A row in its place in the table. Reads as the [`Command`] it holds.
#[derive(Clone, Copy)]
pub struct Row {
    /// What the family file says.
    pub command: &'static Command,
    /// Its number.
    pub id: CommandId,
    /// The command it is a subcommand of.
    pub container: Option<CommandId>,
    /// Whether it ends soon whatever its keys hold: a core may run it on another core's shard.
    pub is_quick: bool,
    first_subcommand: u16,
}

impl Deref for Row {
    type Target = Command;

    fn deref(&self) -> &Command {
        self.command
    }
}

impl Row {
    /// As statistics, ACL rules and errors call it: `get`, `config|set`.
    pub fn full_name(&self) -> String {
        match self.container {
            Some(container) => format!("{}|{}", find_by_id(container).name, self.name).to_ascii_lowercase(),
            None => self.name.to_ascii_lowercase(),
        }
    }

    /// Whether a cluster client asks every node, and puts the replies together.
    pub fn asks_all_shards(&self) -> bool {
        self.tips.contains(&"request_policy:all_shards")
    }

    /// The numbers of its subcommands; empty when it has none.
    pub fn subcommand_ids(&self) -> Range<usize> {
        let first = self.first_subcommand as usize;
        first..first + self.command.subcommands.len()
    }

    /// The rows of its subcommands.
    pub fn subcommand_rows(&self) -> &'static [Row] {
        &ROWS[self.subcommand_ids()]
    }

    /// Whether `argc` arguments, the name included, satisfy its arity.
    pub fn accepts(&self, argc: usize) -> bool {
        let arity = self.command.arity;
        if arity < 0 { argc >= arity.unsigned_abs() as usize } else { argc == arity as usize }
    }
}

/// How many commands there are, subcommands not counted.
pub const TOP_LEVEL_COUNT: usize = count(false);
/// How many rows there are, subcommands counted.
pub const COMMAND_COUNT: usize = count(true);

/// Slots of the index of names: a power of two, at most half of them taken.
const SLOTS: usize = 1024;
/// Shift that leaves the highest bits of a 64-bit product as a slot number.
const SLOT_SHIFT: u32 = u64::BITS - SLOTS.trailing_zeros();
/// Marks a command that has no slot in the index.
const NO_ROW: u16 = u16::MAX;

const _: () = assert!(SLOTS.is_power_of_two());
const _: () = assert!(TOP_LEVEL_COUNT * 2 <= SLOTS);
const _: () = assert!(COMMAND_COUNT < NO_ROW as usize);

static ROWS: [Row; COMMAND_COUNT] = place_rows();
static NAMES: Names = Names::of_rows();
static RENAMED: OnceLock<Box<Names>> = OnceLock::new();

const fn count(with_subcommands: bool) -> usize {
    let mut total = 0;
    let mut family = 0;
    while family < FAMILIES.len() {
        let mut row = 0;
        while row < FAMILIES[family].len() {
            total += 1;
            if with_subcommands {
                total += FAMILIES[family][row].subcommands.len();
            }
            row += 1;
        }
        family += 1;
    }
    total
}

const fn place_rows() -> [Row; COMMAND_COUNT] {
    const UNSET: Row = Row {
        command: &Command::new("", Run::Container),
        id: CommandId(NO_ROW),
        container: None,
        is_quick: false,
        first_subcommand: 0,
    };
    let mut rows = [UNSET; COMMAND_COUNT];
    let mut id = 0;
    let mut subcommand_id = TOP_LEVEL_COUNT;
    let mut family = 0;
    while family < FAMILIES.len() {
        let mut index = 0;
        while index < FAMILIES[family].len() {
            let command = &FAMILIES[family][index];
            check_row(command, false);
            rows[id] = Row {
                command,
                id: CommandId(id as u16),
                container: None,
                is_quick: is_quick(command),
                first_subcommand: subcommand_id as u16,
            };
            let mut sub = 0;
            while sub < command.subcommands.len() {
                check_row(&command.subcommands[sub], true);
                let mut other = 0;
                while other < sub {
                    let same = equal_in_capitals(
                        command.subcommands[sub].name.as_bytes(),
                        command.subcommands[other].name.as_bytes(),
                    );
                    assert!(!same, "a container has two subcommands of one name");
                    other += 1;
                }
                rows[subcommand_id] = Row {
                    command: &command.subcommands[sub],
                    id: CommandId(subcommand_id as u16),
                    container: Some(CommandId(id as u16)),
                    is_quick: is_quick(&command.subcommands[sub]),
                    first_subcommand: 0,
                };
                subcommand_id += 1;
                sub += 1;
            }
            id += 1;
            index += 1;
        }
        family += 1;
    }
    assert!(id == TOP_LEVEL_COUNT && subcommand_id == COMMAND_COUNT);
    rows
}

/// What must hold in a row for the rest of the program to rely on it.
const fn check_row(command: &Command, is_subcommand: bool) {
    let name = command.name.as_bytes();
    assert!(!name.is_empty(), "a command has no name");
    let mut at = 0;
    while at < name.len() {
        assert!(name[at].is_ascii_graphic() && !name[at].is_ascii_lowercase(), "a name is not in capitals");
        assert!(name[at] != b'|', "a name holds the separator of full names");
        at += 1;
    }
    assert!(command.arity != 0, "an arity counts the name, so it is never 0");
    assert!(!is_subcommand || command.subcommands.is_empty(), "a subcommand has subcommands");
    assert!(!is_subcommand || !matches!(command.run, Run::Container), "a subcommand runs nothing");
    let is_container = matches!(command.run, Run::Container);
    assert!(!is_container || !command.subcommands.is_empty(), "a container is empty");
    assert!(!is_container || matches!(command.keys, Keys::None), "a container has keys");
    // A subcommand's arity counts two words.
    let words = if is_subcommand { 2 } else { 1 };
    let arguments_min = command.arity.unsigned_abs() as i32;
    assert!(arguments_min >= words, "an arity is smaller than the words of the name");

    let flags = command.flags;
    assert!(!(flags.contains(Flags::WRITE) && flags.contains(Flags::READONLY)), "a write is not read-only");
    assert!(!flags.contains(Flags::DENYOOM) || !flags.contains(Flags::READONLY), "a read needs no memory check");
    // Redis marks a few administrative and stream commands FAST or BLOCKING without a lock on each other; what never
    // goes together is loading and its narrower refusal.
    assert!(
        !(flags.contains(Flags::LOADING) && flags.contains(Flags::NO_ASYNC_LOADING)),
        "LOADING and NO_ASYNC_LOADING"
    );

    match command.keys {
        Keys::None | Keys::Custom(_) => {}
        Keys::Range { first, last, step } => {
            assert!(step > 0 && first >= words as i16, "keys start inside the name, or do not advance");
            assert!(last < 0 || last >= first, "the last key stands before the first");
            let optional = flags.contains(Flags::NO_MANDATORY_KEYS);
            assert!(optional || arguments_min > first as i32, "the arity lets the first key be missing");
            assert!(last < 0 || optional || arguments_min > last as i32, "the arity lets the last key be missing");
        }
        Keys::Counted { at, destination } => {
            assert!(at >= words as i16 && destination < at, "a destination stands before the count");
            assert!(arguments_min > at as i32, "the arity lets the count of keys be missing");
        }
    }
}

/// Marked as fast, or of constant cost by its own account.
const fn is_quick(command: &Command) -> bool {
    command.flags.contains(Flags::FAST) || equal_in_capitals(command.complexity.as_bytes(), b"O(1)")
}

/// Whether two names are the same but for the case of letters.
const fn equal_in_capitals(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if !left[at].eq_ignore_ascii_case(&right[at]) {
            return false;
        }
        at += 1;
    }
    true
}

/// One place of the index; free when `length` is 0.
#[derive(Clone, Copy)]
struct Slot {
    low: u64,
    high: u64,
    length: u32,
    row: u16,
}

/// The index of the top-level names.
struct Names {
    slots: [Slot; SLOTS],
    /// By row: the name it goes by, empty for one that was taken away.
    names: [&'static [u8]; TOP_LEVEL_COUNT],
}

impl Names {
    const EMPTY: Names =
        Names { slots: [Slot { low: 0, high: 0, length: 0, row: NO_ROW }; SLOTS], names: [&[]; TOP_LEVEL_COUNT] };

    const fn of_rows() -> Names {
        let mut names = Names::EMPTY;
        let mut row = 0;
        while row < TOP_LEVEL_COUNT {
            assert!(names.add(ROWS[row].command.name.as_bytes(), row as u16), "two commands have one name");
            row += 1;
        }
        names
    }

    /// Adds a name that is not there yet; `false` when it is.
    const fn add(&mut self, name: &'static [u8], row: u16) -> bool {
        if self.find(name).is_some() {
            return false;
        }
        let (low, high) = words(name);
        let mut at = slot_of(low, high, name.len());
        while self.slots[at].length != 0 {
            at = (at + 1) % SLOTS;
        }
        self.slots[at] = Slot { low, high, length: name.len() as u32, row };
        self.names[row as usize] = name;
        true
    }

    #[inline]
    const fn find(&self, name: &[u8]) -> Option<u16> {
        let (low, high) = words(name);
        let mut at = slot_of(low, high, name.len());
        // Ends: at least half of the slots are free.
        loop {
            let slot = &self.slots[at];
            if slot.low == low && slot.high == high && slot.length as usize == name.len() {
                if name.len() <= 16 {
                    return if name.is_empty() { None } else { Some(slot.row) };
                }
                if equal_in_capitals(self.names[slot.row as usize], name) {
                    return Some(slot.row);
                }
            }
            if slot.length == 0 {
                return None;
            }
            at = (at + 1) % SLOTS;
        }
    }
}

/// A name as two words in capitals. With the length they are the whole name up to 16 bytes; of a longer one they are
/// its first and last 8 bytes.
#[inline]
const fn words(name: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (capitals(u64::from_le_bytes(*first)), capitals(u64::from_le_bytes(*last)))
    } else if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (capitals(u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << 32), 0)
    } else if let [first, .., last] = name {
        let middle = name[name.len() / 2];
        (capitals(*first as u64 | (middle as u64) << 8 | (*last as u64) << 16), 0)
    } else if let [only] = name {
        (capitals(*only as u64), 0)
    } else {
        (0, 0)
    }
}

/// Clears bit 5 of every byte in `a..=z` and leaves the others as they are: eight bytes at once, no carry between them,
/// because the sums stay below 256 once the highest bit is masked.
#[inline]
const fn capitals(word: u64) -> u64 {
    const EVERY: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = EVERY * 0x80;
    let low_bits = word & !HIGHEST;
    let from_a = low_bits + EVERY * (0x80 - b'a' as u64);
    let after_z = low_bits + EVERY * (0x7f - b'z' as u64);
    let is_small = from_a & !after_z & !word & HIGHEST;
    word ^ (is_small >> 2)
}

#[inline]
const fn slot_of(low: u64, high: u64, length: usize) -> usize {
    let mixed = (low ^ high.rotate_left(25)).wrapping_add(length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> SLOT_SHIFT) as usize
}

/// The command of that name, in any case; a container for its own name.
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static Row> {
    let names = match RENAMED.get() {
        None => &NAMES,
        Some(renamed) => renamed,
    };
    names.find(name).map(|row| &ROWS[row as usize])
}

/// The subcommand of that word, in any case.
pub fn lookup_sub(container: &Row, word: &[u8]) -> Option<&'static Row> {
    container.subcommand_rows().iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(word))
}

/// `lookup` for a full name: `get`, `config|set`.
pub fn lookup_full_name(name: &[u8]) -> Option<&'static Row> {
    match name.iter().position(|&byte| byte == b'|') {
        None => lookup(name),
        Some(bar) => lookup_sub(lookup(&name[..bar])?, &name[bar + 1..]),
    }
}

/// The row of a number.
pub fn find_by_id(id: CommandId) -> &'static Row {
    &ROWS[id.index()]
}

/// The row of a number that came from another core of this process.
pub fn find_by_index(index: usize) -> &'static Row {
    &ROWS[index]
}

/// Every row, by number: commands, then subcommands.
pub fn rows() -> &'static [Row] {
    &ROWS
}

/// Every command, without subcommands, in the order of the families. Those that `rename-command` took away are not
/// among them.
pub fn commands() -> impl ExactSizeIterator<Item = &'static Row> + Clone {
    let gone = |row: &Row| RENAMED.get().is_some_and(|renamed| renamed.names[row.id.index()].is_empty());
    let present: Vec<&'static Row> = ROWS[..TOP_LEVEL_COUNT].iter().filter(|row| !gone(row)).collect();
    present.into_iter()
}

/// Why [`rename`] refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenameError {
    /// No command has the old name.
    Unknown(String),
    /// The new name is taken.
    Taken(String),
    /// The names were settled before.
    Late,
}

impl std::fmt::Display for RenameError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RenameError::Unknown(name) => write!(formatter, "No such command in rename-command: '{name}'"),
            RenameError::Taken(name) => write!(formatter, "Target command name already exists: '{name}'"),
            RenameError::Late => formatter.write_str("commands can only be renamed once"),
        }
    }
}

/// Applies `rename-command` directives, in their order: (old name, new name); an empty new name takes the command
/// away. Lines for commands of Redis that are not here have no effect. Once, before anything is looked up; what is
/// applied stays for the life of the process.
pub fn rename(directives: &[(Vec<u8>, Vec<u8>)]) -> Result<(), RenameError> {
    if directives.is_empty() {
        return Ok(());
    }
    let renamed = renamed_names(&ROWS, directives)?;
    RENAMED.set(renamed).map_err(|_| RenameError::Late)
}

/// Whether these directives could be applied, so that the line to blame can be named.
///
/// # Errors
/// What [`rename`] would say.
pub fn check_renames(directives: &[(Vec<u8>, Vec<u8>)]) -> Result<(), RenameError> {
    names_after(&ROWS, directives).map(drop)
}

/// The names of the rows, an empty one where a command is taken away.
fn names_after(rows: &[Row], directives: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<Vec<u8>>, RenameError> {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let mut current: Vec<Vec<u8>> = rows[..TOP_LEVEL_COUNT].iter().map(|row| row.name.into()).collect();
    for (old, new) in directives {
        let find = |name: &[u8]| current.iter().position(|known| !name.is_empty() && known.eq_ignore_ascii_case(name));
        let Some(row) = find(old) else {
            if rows[..TOP_LEVEL_COUNT].iter().all(|row| !row.name.as_bytes().eq_ignore_ascii_case(old)) && is_known(old)
            {
                continue;
            }
            return Err(RenameError::Unknown(text(old)));
        };
        if find(new).is_some_and(|taken| taken != row) {
            return Err(RenameError::Taken(text(new)));
        }
        current[row] = new.clone();
    }
    Ok(current)
}

fn renamed_names(rows: &[Row], directives: &[(Vec<u8>, Vec<u8>)]) -> Result<Box<Names>, RenameError> {
    let mut names = Box::new(Names::EMPTY);
    for (row, name) in names_after(rows, directives)?.into_iter().enumerate() {
        // Leaked on purpose: the index lives as long as the process and is made once.
        if !name.is_empty() {
            let added = names.add(Vec::leak(name), row as u16);
            assert!(added);
        }
    }
    Ok(names)
}

/// Longest piece of a client's words in an error text, in bytes.
const QUOTED_BYTES_MAX: usize = 128;

/// Finds the row that a call names, subcommand included, and checks the number of arguments. The errors are those a
/// client gets.
pub fn resolve(args: &Args<'_>) -> Result<&'static Row, Error> {
    let Some(row) = find_row(args) else {
        return Err(unknown(args));
    };
    if row.accepts(args.len()) { Ok(row) } else { Err(wrong_arity(row)) }
}

/// The row that a call names, subcommand included.
pub fn find_row(args: &Args<'_>) -> Option<&'static Row> {
    let row = lookup(args.first()?)?;
    match args.get(1) {
        Some(word) if !row.subcommands.is_empty() => lookup_sub(row, word),
        _ => Some(row),
    }
}

/// Commands of Redis that are not here, and that no script may call there, with their arity as Redis has it: a script
/// is told of them what it would be told there.
const ABSENT: &[(&str, i32)] = &[
    ("acl", -2),
    ("acl|cat", -2),
    ("acl|deluser", -3),
    ("acl|dryrun", -4),
    ("acl|genpass", -2),
    ("acl|getuser", 3),
    ("acl|list", 2),
    ("acl|load", 2),
    ("acl|log", -2),
    ("acl|save", 2),
    ("acl|setuser", -3),
    ("acl|users", 2),
    ("acl|whoami", 2),
    ("cluster|reset", -2),
    ("failover", -1),
    ("psync", -3),
    ("replconf", -1),
    ("replicaof", 3),
    ("slaveof", 3),
    ("sync", 1),
];

/// Whether a call names one of Redis' commands that are not here and that no script may call; then, whether its number
/// of arguments is right.
#[cold]
pub fn find_absent(args: &Args<'_>) -> Option<bool> {
    let name = String::from_utf8_lossy(args.first()?).to_ascii_lowercase();
    let arity_of = |name: &str| ABSENT.iter().find(|(absent, _)| *absent == name).map(|&(_, arity)| arity);
    let arity = match args.get(1) {
        Some(word)
            if ABSENT.iter().any(|(absent, _)| absent.strip_prefix(&*name).is_some_and(|end| end.starts_with('|'))) =>
        {
            arity_of(&format!("{name}|{}", String::from_utf8_lossy(word).to_ascii_lowercase()))?
        }
        _ => arity_of(&name)?,
    };
    let len = args.len() as i32;
    Some(if arity < 0 { -arity <= len } else { len == arity })
}

/// `ERR wrong number of arguments for 'config|get' command`
#[cold]
pub fn wrong_arity(row: &Row) -> Error {
    Error::new(format!("ERR wrong number of arguments for '{}' command", row.full_name()))
}

#[cold]
fn unknown(args: &Args<'_>) -> Error {
    let name = args.first().copied().unwrap_or_default();
    if let (Some(container), Some(word)) = (lookup(name), args.get(1)) {
        assert!(!container.subcommands.is_empty(), "a command without subcommands has no unknown ones");
        let ending = format!("'. Try {} HELP.", String::from_utf8_lossy(name).to_uppercase());
        return Error::new([b"ERR unknown subcommand '", quoted(word, QUOTED_BYTES_MAX), ending.as_bytes()].concat());
    }
    let name = quoted(name, QUOTED_BYTES_MAX);
    let mut text = [b"ERR unknown command '", name, b"', with args beginning with: "].concat();
    let start = text.len();
    for argument in args.iter().skip(1) {
        let Some(room) = (start + QUOTED_BYTES_MAX).checked_sub(text.len()).filter(|&room| room > 0) else { break };
        text.push(b'\'');
        text.extend_from_slice(quoted(argument, room));
        text.extend_from_slice(b"' ");
    }
    Error::new(text)
}

/// The beginning of a client's word, up to a NUL as C prints it.
fn quoted(word: &[u8], bytes_max: usize) -> &[u8] {
    let end = word.iter().position(|&byte| byte == 0).unwrap_or(word.len());
    &word[..end.min(bytes_max)]
}

/// All ACL categories of a command: those of its flags, and of its group unless the row names other ones itself.
/// (`@dangerous` may be named beside the group's.)
pub fn categories(command: &Command) -> Categories {
    let named = command.categories;
    let mut all = named;
    let is_container = matches!(command.run, Run::Container);
    if !is_container && named.difference(Categories::DANGEROUS).is_empty() {
        all |= match command.group {
            Group::Generic => Categories::KEYSPACE,
            Group::String => Categories::STRING,
            Group::List => Categories::LIST,
            Group::Set => Categories::SET,
            Group::SortedSet => Categories::SORTEDSET,
            Group::Hash => Categories::HASH,
            Group::Transactions => Categories::TRANSACTION,
            Group::Connection => Categories::CONNECTION,
            Group::Scripting => Categories::SCRIPTING,
            Group::HyperLogLog => Categories::HYPERLOGLOG,
            Group::Geo => Categories::GEO,
            Group::Stream => Categories::STREAM,
            Group::Bitmap => Categories::BITMAP,
            // PUBLISH and its like carry the flag; PUBSUB HELP does not.
            Group::PubSub | Group::Server | Group::Cluster | Group::Sentinel => Categories::empty(),
        };
    }
    let flags = command.flags;
    if flags.contains(Flags::WRITE) {
        all |= Categories::WRITE;
    }
    if flags.contains(Flags::READONLY) && !all.contains(Categories::SCRIPTING) {
        all |= Categories::READ;
    }
    if flags.contains(Flags::ADMIN) {
        all |= Categories::ADMIN | Categories::DANGEROUS;
    }
    if flags.contains(Flags::PUBSUB) {
        all |= Categories::PUBSUB;
    }
    if flags.contains(Flags::BLOCKING) {
        all |= Categories::BLOCKING;
    }
    all | if flags.contains(Flags::FAST) { Categories::FAST } else { Categories::SLOW }
}

/// The names of categories, in the order of `COMMAND INFO`, without the `@`.
pub fn category_names(categories: Categories) -> impl Iterator<Item = String> {
    categories.iter_names().map(|(name, _)| name.to_ascii_lowercase())
}

/// The category of a name in any case, without the `@`.
pub fn category(name: &[u8]) -> Option<Categories> {
    let is_name = |(known, _): &(&str, Categories)| known.as_bytes().eq_ignore_ascii_case(name);
    Categories::all().iter_names().find(is_name).map(|(_, category)| category)
}

/// The command has no keys, so nobody can ask where they are.
pub const NO_KEYS: Error = Error::fixed("ERR The command has no key arguments");
/// The arguments do not tell where the keys are: a count that is no number, negative or larger than what follows.
pub const BAD_KEYS: Error = Error::fixed("ERR Invalid arguments specified for command");

/// Appends the index in `args` of every key of a call, in the order of the arguments' specification (a destination
/// first). `positions` may keep what was found before an error.
///
/// The number of arguments has been checked against the arity; everything else is the client's word and checked here:
/// the cost is bounded by the number of arguments, whatever number of keys they announce.
pub fn key_positions(command: &Command, args: &Args<'_>, positions: &mut Vec<usize>) -> Result<(), Error> {
    let argc = args.len();
    let start = positions.len();
    match command.keys {
        Keys::None => return Err(NO_KEYS),
        Keys::Range { first, last, step } => {
            let last = if last < 0 { argc.checked_sub(last.unsigned_abs() as usize) } else { Some(last as usize) };
            match last {
                Some(last) if first as usize <= last && last < argc => {
                    positions.extend((first as usize..=last).step_by(step as usize));
                }
                _ => return Err(BAD_KEYS),
            }
        }
        Keys::Counted { at, destination } => {
            if destination > 0 {
                positions.push(destination as usize);
            }
            let at = at as usize;
            let count = args.get(at).and_then(|word| parse_count(word)).ok_or(BAD_KEYS)?;
            let room = argc - at - 1;
            if count > room {
                return Err(BAD_KEYS);
            }
            positions.extend(at + 1..=at + count);
        }
        Keys::Custom(find) => {
            find(args, positions);
            if positions[start..].iter().any(|&position| position >= argc) {
                return Err(BAD_KEYS);
            }
        }
    }
    let found = positions.len() > start;
    if found || command.flags.contains(Flags::NO_MANDATORY_KEYS) { Ok(()) } else { Err(BAD_KEYS) }
}

/// A count of keys as Redis reads one: "0", or what C's `atoi` makes of the word if it is above 0. (The commands
/// themselves are stricter, but tell that in their own words.)
pub fn parse_count(word: &[u8]) -> Option<usize> {
    if word == b"0" {
        return Some(0);
    }
    let digits = word.trim_ascii_start();
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    // Wraps around as it does there.
    let count = std::str::from_utf8(&digits[..end]).ok()?.parse::<i64>().ok()? as i32;
    usize::try_from(count).ok().filter(|count| 0 < *count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nothing(_: &mut super::super::Context<'_>, _: &Args<'_>, _: &mut crate::resp::Reply<'_>) -> Result<(), Error> {
        Ok(())
    }

    const BAD: &str = "ERR Invalid arguments specified for command";
    const NONE: &str = "ERR The command has no key arguments";

    fn row() -> Command {
        Command::new("X", Run::Keyspace(nothing))
    }

    #[test]
    fn what_is_absent_and_no_script_may_call_is_that_of_redis() {
        let facts = include_str!("../../tests/facts/redis-7.0-commands.tsv");
        let rows: Vec<Vec<&str>> = facts.lines().map(|line| line.split('\t').collect()).collect();
        let is_here = |name: &str| {
            let words: Vec<&[u8]> = name.split('|').map(str::as_bytes).collect();
            find_row(&words).is_some()
        };
        let mut expected = Vec::new();
        for row in rows.iter().filter(|row| !row[0].starts_with('#') && !is_here(row[0])) {
            let begins = format!("{}|", row[0]);
            let is_container = rows.iter().any(|other| other[0].starts_with(&begins) && other[2].contains("noscript"));
            if row[2].split(' ').any(|flag| flag == "noscript") || is_container {
                expected.push((row[0], row[1].parse::<i32>().expect("an arity")));
            }
        }
        expected.sort_unstable();
        assert_eq!(ABSENT, expected);
        let told = |words: &str| find_absent(&words.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        assert_eq!(
            (told("SYNC"), told("sync 1"), told("replicaOF a b"), told("psync a")),
            (Some(true), Some(false), Some(true), Some(false))
        );
        assert_eq!(
            (told("acl"), told("ACL whoami"), told("acl nosuch"), told("nosuch")),
            (Some(false), Some(true), None, None)
        );
    }

    /// `check("a 2 k1 k2", …, "2 3")`: the places of the keys, or the error.
    fn check(line: &str, command: Command, expected: &str) {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut positions = Vec::new();
        let shown = match key_positions(&command, &args, &mut positions) {
            Ok(()) => positions.iter().map(usize::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => error.text().into_owned(),
        };
        assert_eq!(shown, expected, "{line}");
    }

    #[test]
    fn keys_in_a_range() {
        check("get k", row().key(), "1");
        let pairs = row().keys(Keys::Range { first: 1, last: -1, step: 2 });
        check("mset a 1 b 2", Command { ..pairs }, "1 3");
        check("mset a 1 b", Command { ..pairs }, "1 3");
        let blocking = row().keys(Keys::Range { first: 1, last: -2, step: 1 });
        check("blpop a b 0", Command { ..blocking }, "1 2");
        check("blpop 0", Command { ..blocking }, BAD);
        check("blpop", Command { ..blocking }, BAD);
        check("object encoding k", row().keys(Keys::Range { first: 2, last: 2, step: 1 }), "2");
        check("object help", row().keys(Keys::Range { first: 2, last: 2, step: 1 }), BAD);
        check("ping", row(), NONE);
    }

    #[test]
    fn counted_keys() {
        let union = row().keys(Keys::Counted { at: 1, destination: 0 });
        check("zunion 2 a b withscores", Command { ..union }, "2 3");
        let store = row().keys(Keys::Counted { at: 2, destination: 1 });
        check("zunionstore d 2 a b weights 1 2", Command { ..store }, "1 3 4");
        for wrong in ["3", "0", "00", "-1", "x", "", "2147483647", "9223372036854775807"] {
            check(&format!("zunion {wrong} a b"), Command { ..union }, BAD);
        }
        for one in ["1", "+1", "01", "1x", "4294967297"] {
            check(&format!("zunion {one} a b"), Command { ..union }, "2");
        }
        let script = row().keys(Keys::Counted { at: 2, destination: 0 }).flags(Flags::NO_MANDATORY_KEYS);
        check("eval x 0 a", script, "");
    }

    #[test]
    fn keys_found_by_code_lie_inside_the_call() {
        fn beyond(args: &Args<'_>, positions: &mut Vec<usize>) {
            positions.push(args.len());
        }
        fn every(args: &Args<'_>, positions: &mut Vec<usize>) {
            positions.extend(1..args.len());
        }
        check("x a", row().keys(Keys::Custom(beyond)), BAD);
        check("x a b", row().keys(Keys::Custom(every)), "1 2");
        check("x", row().keys(Keys::Custom(every)), BAD);
    }

    #[test]
    fn categories_follow_from_flags_and_group() {
        let of = |group, flags, named| categories(&row().docs(group, "1.0.0", "").flags(flags).categories(named));
        let none = Categories::empty();
        let get = of(Group::String, Flags::READONLY | Flags::FAST, none);
        assert_eq!(get, Categories::READ | Categories::STRING | Categories::FAST);
        let keys = of(Group::Generic, Flags::READONLY, Categories::DANGEROUS);
        assert_eq!(keys, Categories::KEYSPACE | Categories::READ | Categories::DANGEROUS | Categories::SLOW);
        let wait = of(Group::Generic, Flags::empty(), Categories::CONNECTION);
        assert_eq!(wait, Categories::CONNECTION | Categories::SLOW);
        let config = of(Group::Server, Flags::ADMIN, none);
        assert_eq!(config, Categories::ADMIN | Categories::DANGEROUS | Categories::SLOW);
        let eval_ro = of(Group::Scripting, Flags::READONLY, none);
        assert_eq!(eval_ro, Categories::SCRIPTING | Categories::SLOW);
    }

    #[test]
    fn every_row_is_found_by_its_name_in_any_case() {
        for row in commands() {
            assert_eq!(lookup(row.name.as_bytes()).unwrap().id, row.id);
            assert_eq!(lookup(row.name.to_ascii_lowercase().as_bytes()).unwrap().id, row.id);
            for sub in row.subcommand_rows() {
                assert_eq!(sub.container, Some(row.id));
                assert_eq!(lookup_full_name(sub.full_name().as_bytes()).unwrap().id, sub.id);
            }
        }
        for id in 0..COMMAND_COUNT {
            assert_eq!(find_by_id(CommandId(id as u16)).id.index(), id);
        }
        assert!(lookup(b"").is_none());
        assert!(lookup(&[b'A'; 1 << 20]).is_none());
        assert!(lookup_full_name(b"|").is_none());
    }

    /// A crowded index must stay short to walk: the worst name among all commands decides the worst lookup.
    #[test]
    fn walks_of_the_index_are_short() {
        let walk = |row: &Row| {
            let (low, high) = words(row.name.as_bytes());
            let home = slot_of(low, high, row.name.len());
            let place = NAMES.slots.iter().position(|slot| slot.length > 0 && slot.row == row.id.0).unwrap();
            (place + SLOTS - home) % SLOTS
        };
        assert!(commands().map(walk).max().unwrap_or(0) <= 6);
    }

    #[test]
    fn commands_are_renamed_and_taken_away() {
        let renamed = |directives: &[(&str, &str)]| {
            let directives = directives.iter().map(|(old, new)| (old.as_bytes().to_vec(), new.as_bytes().to_vec()));
            renamed_names(&ROWS, &directives.collect::<Vec<_>>())
        };
        let names = renamed(&[("config", "a-rather-long-secret-name"), ("get", ""), ("SET", "get")]).ok().unwrap();
        let find = |name: &str| names.find(name.as_bytes()).map(|row| ROWS[row as usize].name);
        assert_eq!(find("A-rather-long-secret-NAME"), Some("CONFIG"));
        assert_eq!(find("a-rather-long-secret-nome"), None);
        assert_eq!((find("config"), find("Get"), find("set"), find("ping")), (None, Some("SET"), None, Some("PING")));
        let refused = |directives| renamed(directives).err().map(|error| error.to_string());
        let unknown = Some("No such command in rename-command: 'nosuch'".to_string());
        assert_eq!(refused(&[("nosuch", "x")]), unknown);
        assert_eq!(refused(&[("get", "SET")]), Some("Target command name already exists: 'SET'".to_string()));
        assert_eq!(refused(&[("get", ""), ("get", "x")]), Some("No such command in rename-command: 'get'".to_string()));
        assert!(renamed(&[("psync", ""), ("cluster", "c")]).is_ok());
        assert!(rename(&[]).is_ok());
    }

    #[test]
    fn unknown_commands_are_quoted_as_redis_does() {
        let text = |args: &[&[u8]]| resolve(args).err().unwrap().text().into_owned();
        assert_eq!(text(&[b"foo"]), "ERR unknown command 'foo', with args beginning with: ");
        assert_eq!(text(&[b"foo", b"a", b"b\0c\xff"]), "ERR unknown command 'foo', with args beginning with: 'a' 'b' ");
        let long = [b'x'; 200];
        let expected = format!("ERR unknown command '{0}', with args beginning with: '{0}' ", "x".repeat(128));
        assert_eq!(text(&[&long, &long, &long]), expected);
    }

    proptest! {
        #[test]
        fn words_are_equal_when_names_are(left in "[@-{]{1,16}", right in "[@-{]{1,16}", flip: u16) {
            let flipped: Vec<u8> = left.bytes().enumerate().map(|(at, byte)| {
                if flip >> at & 1 == 1 { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
            }).collect();
            prop_assert_eq!(words(left.as_bytes()), words(&flipped));
            let same = left.eq_ignore_ascii_case(&right);
            prop_assert_eq!(left.len() == right.len() && words(left.as_bytes()) == words(right.as_bytes()), same);
        }

        #[test]
        fn capitals_are_those_of_ascii(bytes: [u8; 8]) {
            prop_assert_eq!(capitals(u64::from_le_bytes(bytes)).to_le_bytes().to_vec(), bytes.to_ascii_uppercase());
        }

        #[test]
        fn key_positions_never_leave_the_call(
            words in proptest::collection::vec("[0-9]{1,3}|[a-z]|-?[0-9]{10,20}", 1..8), first in 1..5_i16, last in -4..5_i16,
            step in 1..4_i16, at in 1..6_i16, destination in 0..3_i16,
        ) {
            let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            for keys in [Keys::Range { first, last, step }, Keys::Counted { at, destination: destination % at }] {
                let mut positions = Vec::new();
                if key_positions(&row().keys(keys), &args, &mut positions).is_ok() {
                    prop_assert!(positions.iter().all(|&position| 0 < position && position < args.len()));
                }
            }
        }
    }
}
