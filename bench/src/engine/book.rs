//! Keeps one thread's record: which requests count, and what is noted of each.

use super::connection::{Pending, Purpose};
use super::plan::{Extent, Pace, Plan, Shared};
use super::record::{Record, histogram};
use crate::wire::reply::{Kind, Reply};
use hdrhistogram::Histogram;
use std::sync::atomic::Ordering;

/// The record of a thread and the moments that decide what belongs to it.
pub struct Book {
    pub record: Record,
    is_open: bool,
    /// The measured time, on the run's clock.
    pub begin_ns: u64,
    pub end_ns: u64,
    /// When the last reply came.
    pub last_reply_ns: u64,
    /// Replies and errors that were not published yet.
    replies: u64,
    errors: u64,
    /// Replies since the begin of the run.
    pub replies_ever: u64,
    recent: Histogram<u64>,
}

impl Book {
    /// For a run whose load begins at `start_ns`.
    pub fn new(plan: &Plan, start_ns: u64) -> Book {
        let begin_ns = start_ns + plan.warmup_ns;
        let end_ns = match plan.extent {
            Extent::TimeNs(time_ns) => begin_ns + time_ns,
            Extent::Requests(_) => u64::MAX,
        };
        Book {
            record: Record::new(plan.workload.commands.len(), plan.interval_ns),
            is_open: matches!(plan.pace, Pace::Open(..)),
            begin_ns,
            end_ns,
            last_reply_ns: begin_ns,
            replies: 0,
            errors: 0,
            replies_ever: 0,
            recent: histogram(),
        }
    }

    /// Whether a moment is within the measured time.
    pub fn is_measured(&self, at_ns: u64) -> bool {
        (self.begin_ns..self.end_ns).contains(&at_ns)
    }

    /// A request is being sent.
    pub fn note_sent(&mut self, pending: &Pending) {
        if matches!(pending.purpose, Purpose::Load(_)) && self.is_measured(pending.planned_ns) {
            self.record.lateness.saturating_record(pending.sent_ns.saturating_sub(pending.due_ns));
        }
    }

    fn response_ns(&self, pending: &Pending, now_ns: u64) -> u64 {
        let from_ns = if self.is_open || pending.sent_ns == 0 { pending.planned_ns } else { pending.sent_ns };
        now_ns.saturating_sub(from_ns)
    }

    /// A request was answered.
    pub fn note_reply(&mut self, command: u16, pending: &Pending, reply: &Reply, now_ns: u64) {
        let response_ns = self.response_ns(pending, now_ns);
        self.replies += 1;
        self.replies_ever += 1;
        self.last_reply_ns = now_ns;
        self.recent.saturating_record(response_ns);
        if reply.kind == Kind::Error {
            self.errors += 1;
        }
        if self.is_measured(now_ns) {
            self.record.commands[usize::from(command)].replies_in_time += 1;
            self.record.series.note_reply(now_ns - self.begin_ns);
        }
        if !self.is_measured(pending.planned_ns) {
            return;
        }
        self.record.series.note_latency(pending.planned_ns - self.begin_ns, response_ns);
        let of_command = &mut self.record.commands[usize::from(command)];
        of_command.answered += 1;
        of_command.response.saturating_record(response_ns);
        of_command.service.saturating_record(now_ns.saturating_sub(pending.sent_ns));
        match reply.kind {
            Kind::Nil => of_command.nils += 1,
            Kind::Error => {
                of_command.errors += 1;
                self.record.note_error(reply.text);
            }
            Kind::Value | Kind::Push => {}
        }
    }

    /// A request will not be answered: the time waited so far stands for its response time.
    pub fn note_unanswered(&mut self, pending: &Pending, now_ns: u64) {
        let Purpose::Load(command) = pending.purpose else { return };
        if self.is_measured(pending.planned_ns) {
            let response_ns = self.response_ns(pending, now_ns);
            self.record.series.note_latency(pending.planned_ns - self.begin_ns, response_ns);
            let of_command = &mut self.record.commands[usize::from(command)];
            of_command.unanswered += 1;
            of_command.response.saturating_record(response_ns);
        }
    }

    /// The connection of a request was closed before its reply came.
    pub fn note_lost(&mut self, pending: &Pending) {
        let Purpose::Load(command) = pending.purpose else { return };
        if self.is_measured(pending.planned_ns) {
            self.record.commands[usize::from(command)].lost += 1;
        }
    }

    /// A request was planned, and the run ended before there was a connection for it.
    pub fn note_unsent(&mut self, command: u16, planned_ns: u64, now_ns: u64) {
        if self.is_measured(planned_ns) {
            let waited_ns = now_ns.saturating_sub(planned_ns);
            self.record.series.note_latency(planned_ns - self.begin_ns, waited_ns);
            let of_command = &mut self.record.commands[usize::from(command)];
            of_command.unsent += 1;
            of_command.response.saturating_record(waited_ns);
        }
    }

    /// Tells who watches.
    pub fn publish(&mut self, shared: &Shared) {
        shared.replies.fetch_add(std::mem::take(&mut self.replies), Ordering::Relaxed);
        shared.error_replies.fetch_add(std::mem::take(&mut self.errors), Ordering::Relaxed);
        if !self.recent.is_empty() {
            shared.add_recent(&mut self.recent);
        }
    }
}
