//! What a run records: two histograms for each command, the generator's own lateness, a line over time, and counts.
//!
//! | Word | Means |
//! |---|---|
//! | planned | the moment at which the schedule has a request; in a closed loop the moment at which it is sent |
//! | due | when it could have been sent: when planned, or when a connection became free, if all were busy |
//! | service time | from the moment it was sent to its reply |
//! | response time | from the moment it was planned to its reply: what a user would have waited |
//! | lateness | from the moment it was due to the moment it was sent: the generator's own fault |
//!
//! Every request planned within the measured time is counted once: answered, unanswered, unsent or lost. The histogram
//! of response times has all but the lost ones; for what was not answered the time waited so far stands in it, a lower
//! bound, since leaving such requests out would hide the worst. That holds for each command too: what was never sent
//! has its command drawn when it is given up, as it would have been when it was sent.

use super::series::Series;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// The longest time that histograms tell: longer ones count as this, an hour.
pub const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Significant digits of the histograms.
pub const DIGITS: u8 = 3;
/// How many different errors are told apart; further ones are one.
pub const ERROR_TEXTS_MAX: usize = 32;
/// In an error about an unknown command, what stands behind it is what was sent: keys and values.
const ARGUMENTS_FOLLOW: &str = ", with args beginning with: ";

/// A histogram of nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS).expect("the bounds are valid")
}

/// Of one command.
#[derive(Debug, Clone)]
pub struct CommandRecord {
    pub response: Histogram<u64>,
    pub service: Histogram<u64>,
    pub answered: u64,
    /// Replies that came within the measured time, whenever they were asked for: what rates are of. `answered` has
    /// those that came later, and those of requests planned before are not in it.
    pub replies_in_time: u64,
    /// Replies that were null: keys that are not there.
    pub nils: u64,
    /// Replies that were errors. They are answers too.
    pub errors: u64,
    pub unanswered: u64,
    /// Planned within the measured time, but still waiting for a connection when it was over.
    pub unsent: u64,
    pub lost: u64,
}

impl Default for CommandRecord {
    fn default() -> CommandRecord {
        let (response, service) = (histogram(), histogram());
        CommandRecord {
            response,
            service,
            answered: 0,
            replies_in_time: 0,
            nils: 0,
            errors: 0,
            unanswered: 0,
            unsent: 0,
            lost: 0,
        }
    }
}

impl CommandRecord {
    fn add(&mut self, other: &CommandRecord) {
        self.response.add(&other.response).expect("same bounds");
        self.service.add(&other.service).expect("same bounds");
        self.answered += other.answered;
        self.replies_in_time += other.replies_in_time;
        self.nils += other.nils;
        self.errors += other.errors;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.lost += other.lost;
    }
}

/// Of one thread, or of all.
#[derive(Debug, Clone)]
pub struct Record {
    pub commands: Vec<CommandRecord>,
    pub lateness: Histogram<u64>,
    pub series: Series,
    pub connections_closed: u64,
    pub redirections: u64,
    /// What RESP3 sent unasked.
    pub pushes: u64,
    pub error_texts: BTreeMap<String, u64>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Within the measured time: the threads' time outside of waiting, and waiting for a CPU.
    pub busy_ns: u64,
    pub run_queue_ns: u64,
    /// When the measured time ended, in nanoseconds since its begin.
    pub measured_ns: u64,
}

impl Record {
    /// Nothing recorded, for so many commands.
    pub fn new(commands: usize, interval_ns: u64) -> Record {
        Record {
            commands: vec![CommandRecord::default(); commands],
            lateness: histogram(),
            series: Series::new(interval_ns),
            connections_closed: 0,
            redirections: 0,
            pushes: 0,
            error_texts: BTreeMap::new(),
            bytes_sent: 0,
            bytes_received: 0,
            busy_ns: 0,
            run_queue_ns: 0,
            measured_ns: 0,
        }
    }

    /// Counts an error by its text, of which only the first words tell it from others.
    pub fn note_error(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        // Redirections and the like name slots and addresses: the first word is enough to tell them apart.
        let first = text.split(' ').next().unwrap_or_default();
        let is_kind = !first.is_empty() && first.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        let known = if is_kind && first != "ERR" { first.to_string() } else { kind_of_error(&text) };
        if self.error_texts.len() < ERROR_TEXTS_MAX || self.error_texts.contains_key(&known) {
            *self.error_texts.entry(known).or_default() += 1;
        } else {
            *self.error_texts.entry("(others)".into()).or_default() += 1;
        }
    }

    /// Adds what another thread recorded.
    pub fn add(&mut self, other: &Record) {
        for (ours, theirs) in self.commands.iter_mut().zip(&other.commands) {
            ours.add(theirs);
        }
        self.lateness.add(&other.lateness).expect("same bounds");
        self.series.add(&other.series);
        self.connections_closed += other.connections_closed;
        self.redirections += other.redirections;
        self.pushes += other.pushes;
        for (text, count) in &other.error_texts {
            *self.error_texts.entry(text.clone()).or_default() += count;
        }
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.busy_ns += other.busy_ns;
        self.run_queue_ns += other.run_queue_ns;
        self.measured_ns = self.measured_ns.max(other.measured_ns);
    }

    /// Requests answered, by all commands.
    pub fn answered(&self) -> u64 {
        self.commands.iter().map(|command| command.answered).sum()
    }

    /// Replies that came within the measured time, by all commands.
    pub fn replies_in_time(&self) -> u64 {
        self.commands.iter().map(|command| command.replies_in_time).sum()
    }

    /// Requests planned within the measured time: the sum of what became of them.
    pub fn planned(&self) -> u64 {
        let of = |command: &CommandRecord| command.answered + command.unanswered + command.unsent + command.lost;
        self.commands.iter().map(of).sum()
    }

    /// Error replies, by all commands.
    pub fn errors(&self) -> u64 {
        self.commands.iter().map(|command| command.errors).sum()
    }

    /// Response times of all commands, those that were never sent among them.
    pub fn response(&self) -> Histogram<u64> {
        let mut sum = histogram();
        for command in &self.commands {
            sum.add(&command.response).expect("same bounds");
        }
        sum
    }

    /// Service times of all commands.
    pub fn service(&self) -> Histogram<u64> {
        let mut sum = histogram();
        for command in &self.commands {
            sum.add(&command.service).expect("same bounds");
        }
        sum
    }
}

/// The text of an error without what was sent: quoted words stay only where they can be names of commands or options.
fn kind_of_error(text: &str) -> String {
    let text = text.split(ARGUMENTS_FOLLOW).next().expect("split gives one at least");
    let mut pieces = text.split('\'');
    let mut kind = pieces.next().unwrap_or_default().to_string();
    let mut is_quoted = false;
    for piece in pieces {
        is_quoted = !is_quoted;
        let is_name = piece.chars().all(|c| c.is_ascii_alphabetic() || "|-_.".contains(c));
        kind.push('\'');
        kind += if !is_quoted || is_name { piece } else { "…" };
    }
    kind
}

/// Response times as they would have been had every place of a closed loop kept its pace: a place that waits for longer
/// than the median is taken to have meant to send again every median, and each such request waits for the rest.
///
/// This is HdrHistogram's correction for coordinated omission. It is an estimate; an open loop measures.
pub fn corrected(service: &Histogram<u64>) -> Histogram<u64> {
    if service.is_empty() {
        return service.clone();
    }
    service.clone_correct(service.value_at_quantile(0.5).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_correction_counts_what_a_stall_hid() {
        let mut service = histogram();
        service.saturating_record_n(100_000, 10_000);
        service.saturating_record_n(1_000_000_000, 1);
        assert!(service.value_at_quantile(0.999) < 101_000, "one sample in ten thousand shows nothing at p99.9");
        let corrected = corrected(&service);
        // A second holds ten thousand requests at this pace, which waited from 0 to a second.
        assert!((corrected.len() as i64 - 20_000).abs() < 60, "{}", corrected.len());
        let p75 = corrected.value_at_quantile(0.75) as f64;
        assert!((p75 / 5e8 - 1.0).abs() < 0.02, "{p75}");
        assert_eq!(super::corrected(&histogram()).len(), 0);
    }

    #[test]
    fn errors_are_counted_by_kind() {
        let mut record = Record::new(1, 1);
        for text in ["MOVED 1 h:1", "MOVED 2 h:2", "ERR a", "ERR b", "ERR a", "odd"] {
            record.note_error(text.as_bytes());
        }
        let counts: Vec<(&str, u64)> = record.error_texts.iter().map(|(text, count)| (text.as_str(), *count)).collect();
        assert_eq!(counts, [("ERR a", 2), ("ERR b", 1), ("MOVED", 2), ("odd", 1)]);
        for number in 0..100 {
            record.note_error(format!("ERR {number}").as_bytes());
        }
        // Whatever was sent is no part of what went wrong.
        let mut other = Record::new(1, 1);
        for number in 0..100 {
            let unknown = format!("ERR unknown command 'HGETX', with args beginning with: 'key:{number}' 'a b' ");
            other.note_error(unknown.as_bytes());
            other.note_error(format!("ERR no such index 'key:{number}' here").as_bytes());
            other.note_error(b"ERR wrong number of arguments for 'config|get' command");
        }
        let counts: Vec<(&str, u64)> = other.error_texts.iter().map(|(text, count)| (text.as_str(), *count)).collect();
        let wrong = "ERR wrong number of arguments for 'config|get' command";
        let kinds = [("ERR no such index '…' here", 100), ("ERR unknown command 'HGETX'", 100), (wrong, 100)];
        assert_eq!(counts, kinds);
        assert_eq!(record.error_texts.len(), ERROR_TEXTS_MAX + 1);
        assert_eq!(record.error_texts.values().sum::<u64>(), 106);
    }
}
