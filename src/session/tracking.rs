//! What a client chose about client-side caching (`CLIENT TRACKING`). Not here: the keys remembered for it (`pubsub`).

use std::collections::BTreeSet;

/// Where a client is, for as long as it is connected. A client never moves; `id` tells whether it is still the same
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Its core.
    pub core: usize,
    /// Its connection there.
    pub index: u32,
    /// Its id.
    pub id: u64,
}

/// What `CLIENT CACHING` said, and for which commands it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caching {
    /// Nothing.
    #[default]
    Unsaid,
    /// The exception holds for the next command; said by a subcommand with this number.
    Next(u16),
    /// It holds for the command that runs, or for the transaction it has begun.
    Now,
}

/// `CLIENT TRACKING ON` and its options.
#[derive(Debug, Clone, Default)]
pub struct TrackingChoice {
    /// Who gets the invalidation messages instead.
    pub redirect: Option<Address>,
    /// `BCAST`: told of every key with one of its prefixes, read or not.
    pub is_broadcast: bool,
    /// `OPTIN`: only what is read after `CLIENT CACHING YES`.
    pub is_opt_in: bool,
    /// `OPTOUT`: all but what is read after `CLIENT CACHING NO`.
    pub is_opt_out: bool,
    /// `NOLOOP`: not told of its own changes.
    pub skips_own: bool,
    /// The client of `redirect` is gone.
    pub is_redirect_broken: bool,
    /// See [`Caching`].
    pub caching: Caching,
    /// `PREFIX`, with `BCAST`.
    pub prefixes: BTreeSet<Vec<u8>>,
    /// A write of its own may still be under way on another core, until the reply with this number is there: what it
    /// reads next must not be remembered before.
    pub writes_until: Option<u32>,
}

impl TrackingChoice {
    /// Whether keys that the client reads now are to be remembered.
    pub fn remembers(&self) -> bool {
        let is_exception = self.caching != Caching::Unsaid;
        let is_left_out = if is_exception { self.is_opt_out } else { self.is_opt_in };
        !self.is_broadcast && !is_left_out
    }

    /// A command begins. `is_sibling`: it belongs to the same container as the subcommand with the given number, and
    /// leaves for the command behind it what that one said. `is_in_transaction`: it is queued, or ends a transaction.
    pub fn begin_command(&mut self, is_sibling: impl FnOnce(u16) -> bool, is_in_transaction: bool) {
        self.caching = match self.caching {
            Caching::Now if !is_in_transaction => Caching::Unsaid,
            Caching::Next(said_by) if !is_sibling(said_by) => Caching::Now,
            unchanged => unchanged,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_holds_for_one_command_or_transaction() {
        let mut choice = TrackingChoice { is_opt_in: true, ..TrackingChoice::default() };
        choice.begin_command(|_| false, false);
        assert!(!choice.remembers());
        choice.caching = Caching::Next(7);
        choice.begin_command(|said_by| said_by == 7, false);
        assert_eq!(choice.caching, Caching::Next(7));
        choice.begin_command(|_| false, false);
        assert!(choice.remembers());
        choice.begin_command(|_| false, false);
        assert!(!choice.remembers());
        choice.caching = Caching::Next(7);
        choice.begin_command(|_| false, false); // MULTI
        choice.begin_command(|_| false, true); // queued
        choice.begin_command(|_| false, true); // EXEC
        assert!(choice.remembers());
        choice.begin_command(|_| false, false);
        assert!(!choice.remembers());
    }

    #[test]
    fn opting_out_turns_the_exception_round() {
        let mut choice = TrackingChoice { is_opt_out: true, ..TrackingChoice::default() };
        assert!(choice.remembers());
        choice.caching = Caching::Now;
        assert!(!choice.remembers());
        assert!(!TrackingChoice { is_broadcast: true, ..TrackingChoice::default() }.remembers());
    }
}
