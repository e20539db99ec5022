//! Whether a client's keys live on one other core, told by its commands. Pure counting, and none at all for commands
//! that stay where they came in: only those that leave for another core are noted.
//!
//! ```text
//!   commands    1 … local … 17 … 18 … … 240 … 256            a window: from a command to core 3 on, 256 commands
//!   to core 3              ●    ●   ●●●●●●●                  205 of them to core 3: its keys live there
//! ```

/// Commands of a window.
pub const WINDOW: u64 = 256;
/// Of them so many go to one other core if the client's keys live there: four of five. A client of random keys on two
/// cores sends half of them there, so that it never moves.
pub const HITS: u32 = 205;
/// Each move doubles the windows that the next one takes, up to 2^6 of them, so that a client whose keys change their
/// place pays for little moving.
const DOUBLINGS_MAX: u32 = 6;

/// What is known of where a client's commands go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Following {
    /// The core in question.
    core: u32,
    /// Commands to it in this window.
    hits: u32,
    /// The client's command with which the window began.
    began: u64,
    /// Windows in a row that were for it.
    windows: u32,
    /// How often the client has moved.
    moves: u32,
}

impl Following {
    /// A command goes to another core; it is the client's command number `command`. True: the client's keys live there.
    #[inline]
    pub fn note(&mut self, core: usize, command: u64) -> bool {
        if self.hits == 0 || WINDOW <= command.wrapping_sub(self.began) {
            // A window that ended without enough of them, or another core: what was counted counts no more.
            if self.hits != 0 || self.core != core as u32 {
                self.windows = 0;
            }
            (self.core, self.hits, self.began) = (core as u32, 1, command);
            return false;
        }
        self.hits += u32::from(self.core == core as u32);
        if self.hits < HITS {
            return false;
        }
        self.hits = 0;
        self.windows += 1;
        1 << self.moves.min(DOUBLINGS_MAX) <= self.windows
    }

    /// The client has moved.
    pub fn moved(&mut self) {
        *self = Following { moves: self.moves.saturating_add(1), ..Following::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of so many commands it moves; `None`: not at all. `core_of` says where each goes, core 0 being its own.
    fn moves_at(following: &mut Following, commands: u64, core_of: impl Fn(u64) -> usize) -> Option<u64> {
        (1..=commands).find(|&command| core_of(command) != 0 && following.note(core_of(command), command))
    }

    #[test]
    fn a_client_of_one_other_core_moves_after_a_window() {
        assert_eq!(moves_at(&mut Following::default(), 1000, |_| 1), Some(HITS.into()));
        assert_eq!(moves_at(&mut Following::default(), 1000, |command| usize::from(command % 8 != 0)), Some(234));
    }

    #[test]
    fn a_client_whose_keys_are_everywhere_stays() {
        let mut random = fastrand::Rng::with_seed(1);
        for cores in [2, 4, 8] {
            let cores_of: Vec<usize> = (0..=200_000).map(|_| random.usize(0..cores)).collect();
            assert_eq!(moves_at(&mut Following::default(), 200_000, |command| cores_of[command as usize]), None);
        }
        // Three of four are not enough, whatever came before.
        assert_eq!(moves_at(&mut Following::default(), 200_000, |command| usize::from(command % 4 != 0)), None);
        // Two cores, by turns.
        assert_eq!(moves_at(&mut Following::default(), 200_000, |command| 1 + command as usize % 2), None);
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let mut following = Following::default();
        assert!((1..u64::from(HITS)).all(|command| !following.note(1, command)));
        assert!((10_000..10_000 + u64::from(HITS) - 1).all(|command| !following.note(1, command)));
        assert!(following.note(1, 10_204));
    }

    #[test]
    fn one_that_moves_to_and_fro_moves_ever_more_seldom() {
        let mut following = Following::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            waits.push(moves_at(&mut following, 100_000, |_| 1).expect("it moves some time"));
            following.moved();
        }
        assert!(waits.windows(2).take(6).all(|pair| pair[1] == 2 * pair[0]), "{waits:?}");
        assert_eq!(waits[6..], [waits[6]; 3], "but not ever less");
    }
}
