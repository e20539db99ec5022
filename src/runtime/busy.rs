//! What happens beside a script that has passed `busy-reply-threshold`: nobody waits for it any more. Not here: running
//! scripts, and how what one holds becomes a loan (`script`).
//!
//! ```text
//!   tick of the script ─┬─ first time: all cores ─▶ who waits in a queue of keys, or borrows, is told BUSY
//!                       └─ every time: a pass of a narrower kind on its own core
//! ```
//! Who needs nothing that the script holds is served as ever by the other cores. Its own core has Lua on its stack, and
//! runs only what Redis allows then, beside what other cores send; its other clients are told `BUSY`. Who comes later
//! and would have to wait is told so where it would begin to: see those who ask for [`Scripts::refusal`].
//!
//! Clients in blocking commands wait on: they wait anyhow.
//!
//! [`Scripts::refusal`]: crate::shared::Scripts::refusal

use super::accept::CLOSING;
use super::core::{Core, unix_ms};
use super::gathering::Kind;
use super::joint::{Borrowing, Work};
use super::mailbox::Control;
use super::read::{Planned, What};
use super::send::list_once;
use super::timing::Fate;
use crate::command::lookup::Row;
use crate::command::{Flags, Joint, Run};
use crate::resp::{Error, Output, Protocol, Reply, Span};
use crate::route::parcel::flags;
use crate::shard::Waiter;
use crate::sys::ring::Buffer;

/// What of a pass waits while another is made within it.
struct Aside {
    planned: Vec<Planned>,
    planned_next: usize,
    spans: Vec<Span>,
    active: Vec<u32>,
    buffers: Vec<Buffer>,
    now_ms: u64,
}

impl Borrowing {
    /// Whether its client waits anyhow.
    pub(super) fn is_patient(&self) -> bool {
        matches!(self.work, Work::Retry(..))
    }
}

impl Core {
    /// A script of this core has passed the threshold: whoever waits is told, on every core. `serves`: nothing of the
    /// script is half done on this core's engine.
    pub(super) fn tell_busy(&mut self, serves: bool) {
        for core in (0..self.map.shards()).filter(|&core| core != self.core) {
            self.mailbox.control(core, Control::Busy);
        }
        self.refuse_waiting(serves);
    }

    /// Tells those who wait here that a script is busy. `serves`: those who wait on, and need not any more, have their
    /// turn at once.
    pub(super) fn refuse_waiting(&mut self, serves: bool) {
        let Some(busy) = self.shared.scripts.refusal() else { return };
        self.shard.take();
        let waits_on = |waiter: &Waiter| matches!(waiter, Waiter::Borrower { request, .. } if request.is_patient);
        for waiter in self.shard.locks.dismiss(waits_on) {
            self.refuse_waiter(waiter, &busy);
        }
        for gathering in std::mem::take(&mut self.saving.held_gatherings) {
            match &self.gatherings[gathering as usize].kind {
                Kind::Borrowing(borrowing) if borrowing.is_patient() => self.saving.held_gatherings.push(gathering),
                _ => self.refuse_gathering(gathering),
            }
        }
        if serves {
            self.serve_waiting();
        }
    }

    /// Tells one who waited for keys of this shard, and does no longer.
    pub(super) fn refuse_waiter(&mut self, waiter: Waiter, busy: &Error) {
        match waiter {
            Waiter::Own { connection, sequence, row, .. } => {
                let out = self.refusal_of(row, busy);
                self.fill_with(connection, sequence, out);
            }
            Waiter::Sent { from, header, .. } if from == self.core => {
                assert!(header.flags & flags::GATHER != 0, "a core sends itself nothing else");
                let mut out = Output::default();
                Reply::new(&mut out, Protocol::Resp2).error(busy);
                self.own_part(header.target, out);
            }
            Waiter::Sent { from, header, .. } => self.refuse_sent(from, &header, busy),
            Waiter::Borrower { from, gathering, .. } => self.refuse_borrower(from, gathering),
        }
    }

    /// Tells a borrower that it gets nothing here.
    pub(super) fn refuse_borrower(&mut self, from: usize, gathering: u32) {
        if from == self.core {
            self.refuse_gathering(gathering);
        } else {
            self.mailbox.control(from, Control::Refused { gathering });
        }
    }

    /// What was to be done does not happen: a script that had begun, and was to begin again, runs no longer.
    pub(super) fn forget_work(&mut self, work: Work) {
        match work {
            Work::Retry(..) => panic!("one who waits anyhow is not refused"),
            Work::Script(work) => self.forget_run(work.before),
            Work::Exec(exec) => self.forget_runs(exec.before),
            Work::Command | Work::Watch => {}
        }
    }

    /// Ends what borrows for a client of this core, before it has begun: what it has goes home.
    pub(super) fn refuse_gathering(&mut self, gathering: u32) {
        let done = self.gatherings.remove(gathering as usize);
        let Kind::Borrowing(borrowing) = done.kind else { panic!("what borrows nothing waits for nobody") };
        let Borrowing { requests, loans, work, .. } = *borrowing;
        self.forget_work(work);
        let mut unwatched = Vec::new();
        let mut loans = loans.into_iter();
        for (owner, request) in requests {
            let loan = loans.next();
            if loan.is_none() || request.keeps_watched {
                unwatched.extend(request.watched);
            }
            let Some(mut loan) = loan else { continue };
            unwatched.append(&mut loan.watched);
            if owner == self.core {
                self.come_home(loan);
            } else {
                self.mailbox.control(owner, Control::Home(loan));
            }
        }
        self.forget_watched(unwatched);
        let busy = self.shared.scripts.refusal().unwrap_or(Error::BUSY_SCRIPT);
        let out = self.refusal_of(done.row, &busy);
        self.finish_gathering(done.connection, done.sequence, out);
    }

    /// The reply to a command that is refused, which is counted.
    fn refusal_of(&mut self, row: &'static Row, busy: &Error) -> Output {
        let is_exec = matches!(row.command.run, Run::Joint(Joint::Exec));
        let said = if is_exec { Error::exec_abort(busy) } else { busy.clone() };
        self.stats.rejected(row.id, said.prefix());
        let mut out = Output::default();
        Reply::new(&mut out, Protocol::Resp2).error(&said);
        out
    }

    // Beside the script, on its own core

    /// A pass within a script of this client that has been running for too long: commands that are allowed then run,
    /// all others are refused.
    pub(super) fn serve_beside(&mut self, client: u32, busy: &Error, reads_mail: bool) {
        let is_within_another = std::mem::replace(&mut self.serving_beside, true);
        self.answer_planned(client, busy);
        let aside = Aside {
            planned: std::mem::take(&mut self.planned),
            planned_next: std::mem::take(&mut self.planned_next),
            spans: std::mem::take(&mut self.spans),
            active: std::mem::take(&mut self.active),
            buffers: std::mem::take(&mut self.used_buffers),
            now_ms: self.now_ms,
        };
        let is_waiting = self.connections.get_mut(client as usize).map(|own| std::mem::replace(&mut own.barrier, true));
        self.now_ms = unix_ms();
        let batches = self.timing.batches_len();
        self.ring.enter(None, 0, 1);
        self.take_events();
        if reads_mail {
            self.read_mail();
            if !self.steps.is_empty() {
                self.run_step();
            }
            if !self.long_replies.is_empty() {
                self.write_long();
            }
        }
        self.deliver_mail();
        self.plan_again();
        self.answer_planned(client, busy);
        self.planned.clear();
        self.spans.clear();
        for buffer in std::mem::take(&mut self.used_buffers) {
            self.ring.give_back(buffer);
        }
        self.flush();
        if let (Some(own), Some(is_waiting)) = (self.connections.get_mut(client as usize), is_waiting) {
            own.barrier = is_waiting;
            if 0 < own.unplanned_bytes() {
                list_once(&mut self.again, &mut own.again, client);
            }
        }
        self.ring.submit(); // What it brings is taken in the next pass, within a script or not.
        let Aside { planned, planned_next, spans, active, buffers, now_ms } = aside;
        (self.planned, self.planned_next, self.spans) = (planned, planned_next, spans);
        (self.active, self.used_buffers, self.now_ms) = (active, buffers, now_ms);
        self.timing.forget_batches(batches);
        self.timing.fate = Fate::AsUsual;
        self.serving_beside = is_within_another;
    }

    /// Answers all commands of this pass that have not run, but for those of the script's own client.
    fn answer_planned(&mut self, client: u32, busy: &Error) {
        let mut planned = std::mem::take(&mut self.planned);
        let rest = planned.split_off(self.planned_next);
        let mut clock = self.clock.raw();
        for command in rest {
            if command.connection == client {
                planned.push(command);
                continue;
            }
            clock = match command.what {
                What::Row(row) if !row.flags.contains(Flags::ALLOW_BUSY) => {
                    self.refuse_busy(&command, row, busy, clock)
                }
                _ => self.run_one(&command, clock),
            };
        }
        self.planned = planned;
        for index in std::mem::take(&mut self.active) {
            if index == client {
                self.active.push(index);
            } else {
                self.consume_planned(index);
            }
        }
    }

    /// Tells a client that a script runs too long, in its turn.
    fn refuse_busy(&mut self, planned: &Planned, row: &'static Row, busy: &Error, started: u64) -> u64 {
        let connection = &*self.connections[planned.connection as usize];
        if connection.broken || connection.session.mode.intersects(CLOSING) {
            return started;
        }
        if connection.barrier || !connection.held_back.is_empty() {
            return self.run_one(planned, started); // Behind what the client sent before: it is held back.
        }
        self.refuse(planned, row, busy.clone())
    }
}
