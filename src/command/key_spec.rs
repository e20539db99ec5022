//! Key specifications: where a command's keys are and what it does to them, in the terms of `COMMAND INFO`. ACL
//! permissions (`%R~`, `%W~`), `COMMAND GETKEYSANDFLAGS` and the first-last-step triple of `COMMAND INFO` come from
//! here.
//!
//! Most rows need to say nothing: the specification follows from [`Keys`] and from WRITE or READONLY. A row says more
//! where clients are told more: `.access(…)` for what happens to the keys, `.key_specs(…)` where the places are not
//! those that `Keys` implies, `.access_of(…)` where it depends on the arguments.
//!
//! Not here: finding the keys of a call to route it. That is [`super::key_positions`].

use super::lookup::parse_count;
use super::{Args, Command, Flags, Keys};
use bitflags::bitflags;

bitflags! {
    /// What a command does to a key, named as `COMMAND INFO` names it. The first four exclude each other and speak of
    /// the value as a whole (expiry included), the next four of what the user put into it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct KeyAccess: u16 {
        /// Reads the value.
        const RO = 1 << 0;
        /// Reads the value and changes it.
        const RW = 1 << 1;
        /// Replaces the value, whatever it was.
        const OW = 1 << 2;
        /// Removes the key.
        const RM = 1 << 3;
        /// User data is read, copied or returned.
        const ACCESS = 1 << 4;
        /// User data is changed.
        const UPDATE = 1 << 5;
        /// User data is added; what there was stays.
        const INSERT = 1 << 6;
        /// User data is removed.
        const DELETE = 1 << 7;
        /// No key, but routed as one (a shard channel).
        const NOT_KEY = 1 << 8;
        /// There may be more keys than the specification finds.
        const INCOMPLETE = 1 << 9;
        /// Depends on the arguments.
        const VARIABLE_FLAGS = 1 << 10;
    }
}

impl KeyAccess {
    /// Returns user data: GET.
    pub const READ: KeyAccess = KeyAccess::RO.union(KeyAccess::ACCESS);
    /// Replaces user data by other: MSET, a STORE destination.
    pub const OVERWRITE: KeyAccess = KeyAccess::OW.union(KeyAccess::UPDATE);
    /// Changes user data: EXPIRE, LSET.
    pub const CHANGE: KeyAccess = KeyAccess::RW.union(KeyAccess::UPDATE);
    /// Changes user data and tells of it: INCR, GETSET.
    pub const READ_CHANGE: KeyAccess = KeyAccess::CHANGE.union(KeyAccess::ACCESS);
    /// Adds user data: LPUSH, SADD.
    pub const ADD: KeyAccess = KeyAccess::RW.union(KeyAccess::INSERT);
    /// Removes user data: SREM.
    pub const DROP: KeyAccess = KeyAccess::RW.union(KeyAccess::DELETE);
    /// Removes user data and returns it: LPOP.
    pub const TAKE: KeyAccess = KeyAccess::DROP.union(KeyAccess::ACCESS);
    /// Removes the key: DEL.
    pub const REMOVE: KeyAccess = KeyAccess::RM.union(KeyAccess::DELETE);

    /// The names, in the order of `COMMAND INFO`.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        const NAMES: [&str; 11] =
            ["RO", "RW", "OW", "RM", "access", "update", "insert", "delete", "not_key", "incomplete", "variable_flags"];
        NAMES.into_iter().enumerate().filter(move |(bit, _)| self.bits() >> bit & 1 == 1).map(|(_, name)| name)
    }
}

/// Where a specification begins to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At this argument (0 is the command's name).
    Index(i16),
    /// Behind this word, searched from an argument on; a negative start counts from the end and searches backwards.
    Keyword(&'static str, i16),
    /// Nobody can say.
    Unknown,
}

/// How keys stand from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find {
    /// Up to `last`, counted from the first (0: only that one) or, negative, from the end; every `step`th. With a
    /// `limit` above 1 only that fraction of the rest holds keys: half for 2.
    Range {
        /// The last key.
        last: i16,
        /// Distance between keys.
        step: i16,
        /// Divisor of the rest.
        limit: i16,
    },
    /// A count, then that many keys.
    Count {
        /// Distance between keys.
        step: i16,
    },
    /// Nobody can say.
    Unknown,
}

/// One key specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpec {
    /// Where it begins.
    pub begin: Begin,
    /// How keys stand from there on.
    pub find: Find,
    /// What happens to them.
    pub access: KeyAccess,
    /// A remark for readers, or empty.
    pub notes: &'static str,
}

impl KeySpec {
    /// One key at an index.
    pub const fn at(index: i16, access: KeyAccess) -> KeySpec {
        KeySpec { begin: Begin::Index(index), find: KeySpec::ONE, access, notes: "" }
    }

    /// Keys from an index up to one counted from the end (-1: the last argument).
    pub const fn from(index: i16, last: i16, access: KeyAccess) -> KeySpec {
        KeySpec { begin: Begin::Index(index), find: Find::Range { last, step: 1, limit: 0 }, access, notes: "" }
    }

    /// A count at an index, then keys.
    pub const fn counted(index: i16, access: KeyAccess) -> KeySpec {
        KeySpec { begin: Begin::Index(index), find: Find::Count { step: 1 }, access, notes: "" }
    }

    /// One key behind a word, which is searched from an index on.
    pub const fn behind(word: &'static str, from: i16, access: KeyAccess) -> KeySpec {
        KeySpec { begin: Begin::Keyword(word, from), find: KeySpec::ONE, access, notes: "" }
    }

    /// Keys that only the command's code finds.
    pub const fn unknown(access: KeyAccess) -> KeySpec {
        KeySpec { begin: Begin::Unknown, find: Find::Unknown, access, notes: "" }
    }

    /// Sets how keys stand.
    pub const fn find(mut self, find: Find) -> KeySpec {
        self.find = find;
        self
    }

    /// Sets the remark.
    pub const fn notes(mut self, notes: &'static str) -> KeySpec {
        self.notes = notes;
        self
    }

    const ONE: Find = Find::Range { last: 0, step: 1, limit: 0 };

    /// The indices of the keys it finds in a call; none when the call does not fit it.
    pub fn positions(&self, args: &Args<'_>) -> Option<std::iter::StepBy<std::ops::Range<usize>>> {
        let argc = args.len();
        let first = match self.begin {
            Begin::Index(index) => index as usize,
            Begin::Keyword(word, from) => {
                let is_word = |index: &usize| args[*index].eq_ignore_ascii_case(word.as_bytes());
                let at = if from < 0 {
                    (2..=argc.checked_sub(from.unsigned_abs() as usize)?).rev().find(is_word)?
                } else {
                    (from as usize..argc.checked_sub(1)?).find(is_word)? // Behind the last word there is nothing.
                };
                at + 1
            }
            Begin::Unknown => return None,
        };
        let (first, end, step) = match self.find {
            Find::Range { last, step, limit } => {
                let rest = argc.checked_sub(first)?;
                let end = if last >= 0 {
                    first + last as usize + 1
                } else if limit > 1 {
                    first + rest / limit as usize
                } else {
                    (argc + 1).checked_sub(last.unsigned_abs() as usize)?
                };
                (first, end, step as usize)
            }
            Find::Count { step } => {
                let words = parse_count(args.get(first)?)?.checked_mul(step as usize)?;
                (first + 1, (first + 1).checked_add(words)?, step as usize)
            }
            Find::Unknown => return None,
        };
        (first <= end && end <= argc).then(|| (first..end).step_by(step))
    }
}

/// What a command does to keys as far as its flags tell.
fn access_by_flags(command: &Command) -> KeyAccess {
    if !command.access.is_empty() {
        command.access
    } else if command.flags.contains(Flags::WRITE) {
        KeyAccess::CHANGE
    } else if command.flags.contains(Flags::READONLY) {
        KeyAccess::READ
    } else {
        KeyAccess::READ_CHANGE
    }
}

/// The key specifications of a command: its row's own, or those that follow from [`Keys`] and the flags.
pub fn key_specs(command: &Command) -> Vec<KeySpec> {
    if !command.key_specs.is_empty() {
        return command.key_specs.to_vec();
    }
    let access = access_by_flags(command);
    match command.keys {
        Keys::None => Vec::new(),
        Keys::Range { first, last, step } => {
            let last = if last < 0 { last } else { last - first };
            vec![KeySpec::at(first, access).find(Find::Range { last, step, limit: 0 })]
        }
        Keys::Counted { at, destination: 0 } => vec![KeySpec::counted(at, access)],
        Keys::Counted { at, destination } => {
            vec![KeySpec::at(destination, KeyAccess::OVERWRITE), KeySpec::counted(at, KeyAccess::READ)]
        }
        Keys::Custom(_) => vec![KeySpec::unknown(access)],
    }
}

/// The old way of telling clients where keys are, as far as it can: first, last, step, and whether there are keys it
/// does not tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRange {
    /// Index of the first key; 0: none.
    pub first: i16,
    /// Index of the last key, or negative from the end.
    pub last: i16,
    /// Distance between keys.
    pub step: i16,
    /// The flag `movablekeys`.
    pub is_movable: bool,
}

/// Sums up key specifications: a single range is told as it is; several are told together as far as they follow each
/// other without a gap.
pub fn key_range(specs: &[KeySpec]) -> KeyRange {
    let mut range = KeyRange { first: 0, last: 0, step: 0, is_movable: false };
    for spec in specs {
        let (Begin::Index(first), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
            range.is_movable = true;
            continue;
        };
        range.is_movable |= spec.access.contains(KeyAccess::INCOMPLETE);
        let last = if last < 0 { last } else { first + last };
        if range.first == 0 && (step == 1 || specs.len() == 1) {
            range = KeyRange { first, last, step, ..range };
        } else if step == 1 && range.last == first - 1 {
            range.last = last;
        } else {
            range.is_movable = true;
        }
    }
    range
}

/// What the call does to the key at each of `positions`.
pub fn accesses(command: &Command, args: &Args<'_>, positions: &[usize]) -> Vec<KeyAccess> {
    if let Some(access_of) = command.access_of {
        let access = access_of(args);
        return vec![access; positions.len()];
    }
    let specs = key_specs(command);
    // What the command's code found and no specification tells of is the business of the last unknown one.
    let unknown = specs.iter().rev().find(|spec| spec.begin == Begin::Unknown || spec.find == Find::Unknown);
    let otherwise = unknown.map_or_else(|| access_by_flags(command), |spec| spec.access);
    let found: Vec<(KeyAccess, Vec<usize>)> =
        specs.iter().filter_map(|spec| Some((spec.access, spec.positions(args)?.collect::<Vec<_>>()))).collect();
    let access = |position: &usize| {
        let spec = found.iter().find(|(_, positions)| positions.contains(position));
        spec.map_or(otherwise, |(access, _)| *access)
    };
    positions.iter().map(access).collect()
}

/// Where the keys of a call are by the specifications alone, as far as it fits them; `None`: they do not tell of all.
pub fn specified_positions(command: &Command, args: &Args<'_>) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for spec in key_specs(command) {
        let is_unknown = spec.begin == Begin::Unknown || spec.find == Find::Unknown;
        if is_unknown || spec.access.intersects(KeyAccess::INCOMPLETE | KeyAccess::VARIABLE_FLAGS) {
            return None;
        }
        all.extend(spec.positions(args).into_iter().flatten());
    }
    Some(all)
}

/// Whether a client can be told of keys: the command has some, and they are more than places for routing.
pub fn has_keys(command: &Command) -> bool {
    let specs = key_specs(command);
    specs.iter().any(|spec| !spec.access.contains(KeyAccess::NOT_KEY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Context, Run};
    use crate::resp::{Error, Reply};
    use proptest::prelude::*;

    fn nothing(_: &mut Context<'_>, _: &Args<'_>, _: &mut Reply<'_>) -> Result<(), Error> {
        Ok(())
    }

    const fn row() -> Command {
        Command::new("X", Run::Keyspace(nothing))
    }

    const KEYS_OF_MIGRATE: &[KeySpec] = &[
        KeySpec::at(3, KeyAccess::TAKE),
        KeySpec::behind("KEYS", -2, KeyAccess::TAKE.union(KeyAccess::INCOMPLETE)).find(Find::Range {
            last: -1,
            step: 1,
            limit: 0,
        }),
    ];
    const KEYS_OF_XREAD: &[KeySpec] =
        &[KeySpec::behind("STREAMS", 1, KeyAccess::READ).find(Find::Range { last: -1, step: 1, limit: 2 })];

    /// `check("get k", …, "1:RO access")`: the places that specifications find, and what happens there.
    fn check(line: &str, specs: &[KeySpec], expected: &str) {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let shown = specs.iter().flat_map(|spec| {
            let positions = spec.positions(&args).into_iter().flatten();
            positions.map(|position| format!("{position}:{}", spec.access.names().collect::<Vec<_>>().join(" ")))
        });
        assert_eq!(shown.collect::<Vec<_>>().join(", "), expected, "{line}");
    }

    #[test]
    fn specifications_follow_from_the_row() {
        let get = key_specs(&row().key().flags(Flags::READONLY));
        assert_eq!(get, [KeySpec::at(1, KeyAccess::READ)]);
        let pairs = Keys::Range { first: 1, last: -1, step: 2 };
        let mset = key_specs(&row().keys(pairs).flags(Flags::WRITE).access(KeyAccess::OVERWRITE));
        check("mset a 1 b 2", &mset, "1:OW update, 3:OW update");
        let union = key_specs(&row().keys(Keys::Counted { at: 2, destination: 1 }).flags(Flags::WRITE));
        check("zunionstore d 2 a b weights 1 2", &union, "1:OW update, 3:RO access, 4:RO access");
        check("zunionstore d 3 a b", &union, "1:OW update");
        let both = key_specs(&row().keys(Keys::Range { first: 2, last: 3, step: 1 }).flags(Flags::READONLY));
        check("x y a b c", &both, "2:RO access, 3:RO access");
        assert_eq!(key_specs(&row()), []);
    }

    #[test]
    fn keys_behind_words() {
        check("migrate h 1 k 0 10 KEYS", KEYS_OF_MIGRATE, "3:RW access delete");
        check(
            "migrate h 1 k 0 10 copy keys a b",
            KEYS_OF_MIGRATE,
            "3:RW access delete, 8:RW access delete incomplete, 9:RW access delete incomplete",
        );
        check("xread count 1 streams a b 1 2", KEYS_OF_XREAD, "4:RO access, 5:RO access");
        check("xread streams a b 1", KEYS_OF_XREAD, "2:RO access");
        check("xread streams", KEYS_OF_XREAD, "");
        check("xread", KEYS_OF_XREAD, "");
    }

    #[test]
    fn old_clients_are_told_a_range() {
        let told = |specs: &[KeySpec]| {
            let KeyRange { first, last, step, is_movable } = key_range(specs);
            (first, last, step, is_movable)
        };
        let (read, write) = (KeyAccess::READ, KeyAccess::OVERWRITE);
        assert_eq!(told(&[]), (0, 0, 0, false));
        assert_eq!(told(&[KeySpec::at(1, read)]), (1, 1, 1, false));
        assert_eq!(
            told(&[KeySpec::from(1, -1, write).find(Find::Range { last: -1, step: 2, limit: 0 })]),
            (1, -1, 2, false)
        );
        assert_eq!(told(&[KeySpec::at(1, read), KeySpec::at(2, write)]), (1, 2, 1, false));
        assert_eq!(told(&[KeySpec::at(2, write), KeySpec::from(3, -1, read)]), (2, -1, 1, false));
        assert_eq!(told(&[KeySpec::at(1, write), KeySpec::counted(2, read)]), (1, 1, 1, true));
        assert_eq!(told(KEYS_OF_MIGRATE), (3, 3, 1, true));
        assert_eq!(told(KEYS_OF_XREAD), (0, 0, 0, true));
    }

    #[test]
    fn accesses_of_a_call() {
        fn by_argument(args: &Args<'_>) -> KeyAccess {
            if args.len() > 2 { KeyAccess::READ_CHANGE } else { KeyAccess::OVERWRITE }
        }
        let set = row().key().flags(Flags::WRITE).access_of(by_argument);
        assert_eq!(accesses(&set, &[b"set", b"k"], &[1]), [KeyAccess::OVERWRITE]);
        assert_eq!(accesses(&set, &[b"set", b"k", b"get"], &[1]), [KeyAccess::READ_CHANGE]);
        const SORT: &[KeySpec] = &[
            KeySpec::at(1, KeyAccess::READ),
            KeySpec::unknown(KeyAccess::READ),
            KeySpec::unknown(KeyAccess::OVERWRITE),
        ];
        let sort = row().key().flags(Flags::WRITE).key_specs(SORT);
        assert_eq!(accesses(&sort, &[b"sort", b"a", b"store", b"b"], &[1, 3]), [KeyAccess::READ, KeyAccess::OVERWRITE]);
        let channel = row().key().access(KeyAccess::NOT_KEY);
        assert!(!has_keys(&channel) && has_keys(&sort) && !has_keys(&row()));
    }

    proptest! {
        #[test]
        fn positions_never_leave_the_call(
            words in proptest::collection::vec("keys|[0-9]{1,3}|-?[0-9]{10,20}|a", 1..8), index in 1..9_i16,
            from in -9..9_i16, last in -9..9_i16, step in 1..4_i16, limit in 0..4_i16,
        ) {
            let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            let from = if from == 0 { 1 } else { from };
            for begin in [Begin::Index(index), Begin::Keyword("KEYS", from), Begin::Unknown] {
                for find in [Find::Range { last, step, limit }, Find::Count { step }, Find::Unknown] {
                    let spec = KeySpec { begin, find, access: KeyAccess::READ, notes: "" };
                    for position in spec.positions(&args).into_iter().flatten() {
                        prop_assert!(0 < position && position < args.len());
                    }
                }
            }
        }
    }
}
