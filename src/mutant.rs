//! Faults that can be switched on in a server built with `--features mutants`, one at a time, by the name in
//! `CORERING_MUTANT`: to see that the tests find them (`tests/mutants`). Without the feature
//! nothing of it is in the program.
//!
//! Those without a name are for `tests/model/`: in a server they show only in an order of steps that hardly ever comes,
//! or cost time and nothing else.

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
    /// `MSET` on several shards holds their engines one after the other.
    SplitCommandsLetGo,
    /// A visitor runs a command although one before it is still on its way to that shard.
    VisitsOvertake,
    /// A script that begins again keeps what it wrote before.
    ScriptsKeepTheirFirstTry,
    /// A client that has moved is not read until it sends more.
    MovedInputWaits,
    /// All cores are asked about their clients although one is on its way between them.
    QuestionsDoNotWait,
    /// A client that waits is answered by everybody who has something for it.
    WaitersAnsweredTwice,
    /// Who waits for a key last is served first.
    WaitersOvertake,
    /// A client that finds nothing lets go of its keys before it begins to wait for them.
    WaitersLookAway,
    /// Who fills a key takes no heed of where those who wait for it would put what comes.
    LinksAreForgotten,
    /// What ran on several shards is logged as if each had run its part alone.
    LogsInHalves,
    /// Who waits for several engines takes its own first, whatever its number.
    OwnEngineFirst,
    /// A visitor waits for the engine while it holds its own.
    VisitorsWait,
    /// A core with tasks does not tell the ticker that it is there.
    TickerUntold,
}

impl Mutant {
    /// All, with their names.
    pub const ALL: [(Mutant, &str); 17] = [
        (Mutant::ExecIgnoresWatch, "exec-ignores-watch"),
        (Mutant::ExecLooksAtOwnKeysOnly, "exec-looks-at-own-keys-only"),
        (Mutant::TransactionsLetGo, "transactions-let-go"),
        (Mutant::RepliesOvertake, "replies-overtake"),
        (Mutant::LoansAreLost, "loans-are-lost"),
        (Mutant::LentKeysLookFree, "lent-keys-look-free"),
        (Mutant::FlushLeavesAShard, "flush-leaves-a-shard"),
        (Mutant::SplitCommandsLetGo, "split-commands-let-go"),
        (Mutant::VisitsOvertake, "visits-overtake"),
        (Mutant::ScriptsKeepTheirFirstTry, "scripts-keep-their-first-try"),
        (Mutant::MovedInputWaits, "moved-input-waits"),
        (Mutant::QuestionsDoNotWait, "questions-do-not-wait"),
        (Mutant::WaitersAnsweredTwice, "waiters-answered-twice"),
        (Mutant::WaitersOvertake, "waiters-overtake"),
        (Mutant::WaitersLookAway, "waiters-look-away"),
        (Mutant::LinksAreForgotten, "links-are-forgotten"),
        (Mutant::LogsInHalves, "logs-in-halves"),
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
