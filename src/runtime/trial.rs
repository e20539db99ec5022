//! What a run of a script, or of a transaction with scripts, leaves behind that may have to begin again with every
//! shard: counts, entries of the slow log, lines of the server's log, messages to channels. Kept apart until it has
//! ended: then told, or taken back. Not here: what it wrote, and all else (`attempt`).

use super::libraries::log;
use super::slow;
use crate::command::lookup::CommandId;
use crate::command::slowlog;
use crate::config::Config;
use crate::keyspace::Effects;
use crate::resp::counted_word;
use crate::session::{Audience, Session};
use crate::shared::Shared;
use crate::stats::Stats;
use crate::stats::histogram::Histogram;
use ahash::AHashMap;
use std::collections::VecDeque;

/// Calls that are noted one by one; with more of them they are added up.
const CALLS_MAX: usize = 4096;
/// Bytes of lines and messages that are kept back; who logs or publishes more begins again at once.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// What was counted of a call.
struct Counted {
    /// None: there is no such command.
    command: Option<CommandId>,
    /// None: it has not run, or that is counted apart.
    nanoseconds: Option<u64>,
    /// Keys found, and not found.
    found: (u64, u64),
    fault: Option<Fault>,
}

/// What was wrong with a call. Errors are told by their first word.
#[derive(PartialEq, Eq, Hash)]
enum Fault {
    Refused(Box<str>),
    Failed(Box<str>),
    /// Its error is one of a call of it, which was counted then.
    FailedByOther,
}

/// What was counted of many calls of a command.
#[derive(Default)]
struct Sum {
    calls: u64,
    nanoseconds: u64,
    latencies: Histogram,
    found: (u64, u64),
    faults: AHashMap<Fault, u64>,
}

/// A message to a channel.
pub(super) struct Message {
    pub(super) audience: Audience,
    pub(super) channel: Vec<u8>,
    pub(super) text: Vec<u8>,
    /// Its place among what happens to keys: before the effects of this rank and above.
    pub(super) rank: u64,
}

/// See the module's page. Most leave nothing behind, as those do that hold everything: it has no size then.
#[derive(Default)]
pub(super) struct Trial {
    kept: Option<Box<Kept>>,
}

#[derive(Default)]
struct Kept {
    calls: Vec<Counted>,
    /// What is not there any more.
    sums: AHashMap<Option<CommandId>, Sum>,
    slow: VecDeque<slowlog::Entry>,
    lines: Vec<(usize, Vec<u8>)>,
    messages: Vec<Message>,
    kept_bytes: usize,
}

impl Trial {
    /// A command has run; `failed`: its reply, which is an error.
    pub(super) fn note_call(&mut self, command: CommandId, nanoseconds: u64, found: (u64, u64), failed: Option<&[u8]>) {
        let fault = failed.map(|reply| Fault::Failed(first_word(reply)));
        self.note(Counted { command: Some(command), nanoseconds: Some(nanoseconds), found, fault });
    }

    /// A script has failed, apart from its having run; by an error of this first word, unless that was counted.
    pub(super) fn note_failure(&mut self, script: CommandId, prefix: Option<&str>) {
        let fault = Some(prefix.map_or(Fault::FailedByOther, |prefix| Fault::Failed(prefix.into())));
        self.note(Counted { command: Some(script), nanoseconds: None, found: (0, 0), fault });
    }

    /// A command was refused.
    pub(super) fn note_refusal(&mut self, command: Option<CommandId>, prefix: &str) {
        let fault = Some(Fault::Refused(prefix.into()));
        self.note(Counted { command, nanoseconds: None, found: (0, 0), fault });
    }

    fn note(&mut self, counted: Counted) {
        let kept = self.kept();
        if CALLS_MAX <= kept.calls.len() {
            kept.add_up();
        }
        kept.calls.push(counted);
    }

    fn kept(&mut self) -> &mut Kept {
        self.kept.get_or_insert_default()
    }

    /// A command belongs into the slow log, which has so many entries at most.
    pub(super) fn note_slow(&mut self, entry: Option<slowlog::Entry>, entries_max: usize) {
        let Some(entry) = entry else { return };
        let slow = &mut self.kept().slow;
        slow.push_back(entry);
        while entries_max < slow.len() {
            slow.pop_front();
        }
    }

    /// A line for the log. False: there are too many of them.
    pub(super) fn note_line(&mut self, level: usize, line: &[u8]) -> bool {
        let has_room = self.has_room_for(size_of::<(usize, Vec<u8>)>() + line.len());
        if has_room {
            self.kept().lines.push((level, line.to_vec()));
        }
        has_room
    }

    /// A message to a channel. False: there are too many of them.
    pub(super) fn note_message(&mut self, audience: Audience, channel: &[u8], message: &[u8]) -> bool {
        let has_room = self.has_room_for(size_of::<Message>() + channel.len() + message.len());
        if has_room {
            let (channel, text, rank) = (channel.to_vec(), message.to_vec(), Effects::next_rank());
            self.kept().messages.push(Message { audience, channel, text, rank });
        }
        has_room
    }

    fn has_room_for(&mut self, bytes: usize) -> bool {
        let kept = self.kept();
        kept.kept_bytes += bytes;
        kept.kept_bytes <= KEPT_BYTES_MAX
    }

    /// What the script has published, in this order.
    pub(super) fn take_messages(&mut self) -> Vec<Message> {
        self.kept.as_mut().map(|kept| std::mem::take(&mut kept.messages)).unwrap_or_default()
    }

    /// The script has ended. Its messages are told elsewhere.
    pub(super) fn tell(self, shared: &Shared, config: &Config, session: &Session) {
        let Some(kept) = self.kept else { return };
        kept.lines.into_iter().for_each(|(level, line)| log(level, &line));
        kept.slow.into_iter().for_each(|entry| slow::log(shared, config, entry, session));
    }

    /// It begins again.
    pub(super) fn take_back(self, stats: &mut Stats) {
        let Some(mut kept) = self.kept else { return };
        kept.add_up();
        for (command, sum) in kept.sums {
            if let Some(command) = command {
                stats.take_back(command, sum.calls, sum.nanoseconds, &sum.latencies);
            }
            stats.counters.hits_taken_back += sum.found.0;
            stats.counters.misses_taken_back += sum.found.1;
            for (fault, count) in sum.faults {
                match fault {
                    Fault::Refused(prefix) => stats.take_back_errors(command, true, Some(&prefix), count),
                    Fault::Failed(prefix) => stats.take_back_errors(command, false, Some(&prefix), count),
                    Fault::FailedByOther => stats.take_back_errors(command, false, None, count),
                }
            }
        }
    }
}

impl Kept {
    fn add_up(&mut self) {
        for Counted { command, nanoseconds, found, fault } in self.calls.drain(..) {
            let sum = self.sums.entry(command).or_default();
            if let Some(nanoseconds) = nanoseconds {
                sum.calls += 1;
                sum.nanoseconds += nanoseconds;
                sum.latencies.record(nanoseconds);
            }
            sum.found = (sum.found.0 + found.0, sum.found.1 + found.1);
            if let Some(fault) = fault {
                *sum.faults.entry(fault).or_default() += 1;
            }
        }
    }
}

/// `WRONGTYPE` of `-WRONGTYPE Operation …`.
fn first_word(reply: &[u8]) -> Box<str> {
    let text = reply.strip_prefix(b"-").unwrap_or(reply);
    counted_word(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup;
    use crate::stats::Wanted;

    #[test]
    fn what_is_taken_back_was_never_counted() {
        let find = |name: &[u8]| lookup::find_row(&[name]).expect("a command").id;
        let (get, incr) = (find(b"GET"), find(b"INCR"));
        let mut stats = Stats::new(true);
        stats.record(get, 100);
        let mut trial = Trial::default();
        for nanoseconds in [100, 2000] {
            stats.record(get, nanoseconds);
            trial.note_call(get, nanoseconds, (1, 0), None);
        }
        stats.record(incr, 300);
        stats.failed(incr, Some("WRONGTYPE"));
        trial.note_call(incr, 300, (0, 0), Some(b"-WRONGTYPE Operation against a key\r\n"));
        stats.rejected(incr, "ERR");
        trial.note_refusal(Some(incr), "ERR");
        stats.error("ERR");
        trial.note_refusal(None, "ERR");
        trial.take_back(&mut stats);
        assert_eq!((stats.counters.commands_processed, stats.counters.hits_taken_back), (1, 2));
        assert_eq!((stats.command(get).calls, stats.command(get).nanoseconds), (1, 100));
        let incr = stats.command(incr);
        assert_eq!((incr.calls, incr.nanoseconds, incr.failed, incr.rejected), (0, 0, 0, 0));
        assert_eq!(stats.counters.error_replies, 0);
        let mut errors = String::new();
        stats.snapshot(Wanted::ERRORS).info_errors(&mut errors);
        assert_eq!(errors, "");
        assert_eq!(stats.histograms().map(|(_, histogram)| histogram.count()).sum::<u64>(), 1);
    }

    #[test]
    fn however_many_calls_there_were_all_are_taken_back() {
        let find = |name: &[u8]| lookup::find_row(&[name]).expect("a command").id;
        let (get, incr) = (find(b"GET"), find(b"INCR"));
        let (mut stats, mut trial) = (Stats::new(true), Trial::default());
        for turn in 0..3 * CALLS_MAX as u64 {
            stats.record(get, turn);
            trial.note_call(get, turn, (1, 1), None);
            stats.rejected(incr, "ERR");
            trial.note_refusal(Some(incr), "ERR");
            assert!(trial.kept().calls.len() <= CALLS_MAX);
        }
        trial.take_back(&mut stats);
        assert_eq!((stats.command(get).calls, stats.command(get).nanoseconds), (0, 0));
        assert_eq!((stats.command(incr).rejected, stats.counters.error_replies), (0, 0));
        assert_eq!(stats.counters.hits_taken_back, 3 * CALLS_MAX as u64);
        assert_eq!(stats.histograms().map(|(_, histogram)| histogram.count()).sum::<u64>(), 0);
    }

    #[test]
    fn counts_that_were_reset_meanwhile_stay_so() {
        let get = lookup::find_row(&[b"GET"]).expect("a command").id;
        let (mut stats, mut trial) = (Stats::new(true), Trial::default());
        trial.note_call(get, 100, (1, 0), Some(b"-ERR reset\r\n"));
        trial.note_refusal(None, "ERR");
        trial.take_back(&mut stats);
        assert_eq!((stats.command(get).calls, stats.counters.commands_processed), (0, 0));
    }

    #[test]
    fn lines_are_kept_up_to_a_limit() {
        let mut trial = Trial::default();
        let line = [b'x'; 1000];
        assert!((0..60).all(|_| trial.note_line(2, &line)));
        assert!((0..10).any(|_| !trial.note_line(2, &line)));
    }
}
