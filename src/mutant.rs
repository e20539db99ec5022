//! Faults that can be switched on in a server built with `--features mutants`, one at a time, by the name in
//! `CORERING_MUTANT`: to see that the checkers of `tests/server/atomic/` find them (`tests/mutants`). Without the
//! feature nothing of it is in the program.

/// What can be done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// `EXEC` runs although a watched key has changed.
    ExecIgnoresWatch,
    /// `EXEC` looks at those watched keys only that are on its client's core.
    ExecLooksAtOwnKeysOnly,
    /// A transaction on several shards lets go of their engines between its calls.
    TransactionsLetGo,
    /// A reply that comes from another core does not wait for those before it.
    RepliesOvertake,
    /// Now and then a borrowed entry does not come home.
    LoansAreLost,
    /// Visitors and unions do not see that keys of a shard are lent.
    LentKeysLookFree,
    /// A flush leaves out the last shard.
    FlushLeavesAShard,
}

impl Mutant {
    /// All, with their names.
    pub const ALL: [(Mutant, &str); 7] = [
        (Mutant::ExecIgnoresWatch, "exec-ignores-watch"),
        (Mutant::ExecLooksAtOwnKeysOnly, "exec-looks-at-own-keys-only"),
        (Mutant::TransactionsLetGo, "transactions-let-go"),
        (Mutant::RepliesOvertake, "replies-overtake"),
        (Mutant::LoansAreLost, "loans-are-lost"),
        (Mutant::LentKeysLookFree, "lent-keys-look-free"),
        (Mutant::FlushLeavesAShard, "flush-leaves-a-shard"),
    ];

    /// Whether this one is switched on.
    #[cfg(feature = "mutants")]
    pub fn is_on(self) -> bool {
        static CHOSEN: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let name = std::env::var("CORERING_MUTANT").ok()?;
            let known = Mutant::ALL.iter().find(|(_, known)| *known == name);
            Some(known.unwrap_or_else(|| panic!("no mutant is called {name}")).0)
        }) == Some(self)
    }

    /// Whether this one is switched on: never.
    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    pub const fn is_on(self) -> bool {
        false
    }
}
