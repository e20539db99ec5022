//! How well a core's loop runs: how long its passes take, how long it sleeps, how long it was ready to run while its
//! CPU did something else, and which passes held everybody up.
//!
//! A stall is a pass that took at least `stall-slower-than` microseconds. The command that took most of it is named, if
//! that was at least half; else other work held the pass up (a snapshot's walk, expiry, many commands at once), or, if
//! the delay is as long, another process on the CPU.

use crate::command::lookup::CommandId;

/// A pass that took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// When it ended, Unix milliseconds.
    pub unix_ms: u64,
    /// How long it took.
    pub nanoseconds: u64,
    /// The command that took at least half of it.
    pub command: Option<CommandId>,
    /// For how long of it the thread was ready and did not run.
    pub delayed_nanoseconds: u64,
}

/// The health of one core's loop since the start, or `CONFIG RESETSTAT`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Time in passes.
    pub busy_nanoseconds: u64,
    /// Time asleep for want of anything to do.
    pub parked_nanoseconds: u64,
    /// The longest pass.
    pub longest_nanoseconds: u64,
    /// Time in which the thread was ready to run and the system ran something else (`/proc/thread-self/schedstat`); 0
    /// where the kernel does not tell.
    pub delayed_nanoseconds: u64,
    /// Passes that were stalls.
    pub stalls: u64,
    /// The last of them.
    pub last_stall: Option<Stall>,
}

impl Health {
    /// A pass took so long. True: it was a stall.
    #[inline]
    pub fn note_pass(&mut self, nanoseconds: u64, stall_nanoseconds: u64) -> bool {
        self.busy_nanoseconds += nanoseconds;
        self.longest_nanoseconds = self.longest_nanoseconds.max(nanoseconds);
        stall_nanoseconds <= nanoseconds
    }

    /// Keeps a stall. `slowest`: the command that took longest in the pass, and how long, in nanoseconds.
    pub fn note_stall(&mut self, unix_ms: u64, nanoseconds: u64, slowest: Option<(CommandId, u64)>, delayed: u64) {
        let command = slowest.filter(|(_, took)| nanoseconds / 2 <= *took).map(|(command, _)| command);
        let delayed_nanoseconds = delayed.min(nanoseconds);
        self.stalls += 1;
        self.last_stall = Some(Stall { unix_ms, nanoseconds, command, delayed_nanoseconds });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::lookup;

    #[test]
    fn a_stall_names_the_command_that_took_half_of_it() {
        let keys = lookup(b"keys").expect("a row").id;
        let mut health = Health::default();
        assert!(!health.note_pass(999, 1000));
        assert!(health.note_pass(1000, 1000));
        health.note_stall(5, 1000, Some((keys, 500)), 2000);
        let stall = Stall { unix_ms: 5, nanoseconds: 1000, command: Some(keys), delayed_nanoseconds: 1000 };
        assert_eq!(health.last_stall, Some(stall));
        health.note_stall(6, 1000, Some((keys, 499)), 0);
        assert_eq!(health.last_stall.unwrap().command, None);
        health.note_stall(7, 1000, None, 0);
        assert_eq!((health.stalls, health.busy_nanoseconds, health.longest_nanoseconds), (3, 1999, 1000));
    }
}
