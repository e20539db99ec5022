//! Messages between cores: one bounded single-producer ring per ordered pair of cores, filled once per pass.
//!
//! During a pass requests and replies for a peer are packed into parcels; at its end each parcel becomes one message,
//! and a peer that sleeps is woken once: see `parking`. The order between two cores is the order of sending.

use super::lend::Loan;
use super::parking::Parking;
use super::spares::Spares;
use crate::command::{Part, slowlog};
use crate::connection::Connection;
use crate::keyspace::Keyspace;
use crate::resp::Output;
use crate::route::parcel::{PARCEL_BYTES_MAX, Parcel, ReplyHeader, RequestHeader};
use crate::session::Watched;
use crate::shard::{Request, Ticket};
use crate::value::LongString;
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;

/// Messages that fit between two cores before the sender keeps them itself.
const RING_MESSAGES: usize = 256;
/// Emptied parcels a core keeps.
const SPARE_PARCELS: usize = 64;

/// What one core tells another.
pub enum Message {
    /// Commands to execute.
    Requests(Parcel),
    /// Answers to such.
    Replies(Parcel),
    /// Everything rarer.
    Control(Box<Control>),
}

/// The rarer messages.
pub enum Control {
    /// Serve this accepted socket.
    Serve {
        /// The socket.
        socket: RawFd,
        /// Its listener's index.
        listener: u32,
    },
    /// Serve this client from now on: nothing of it is under way.
    Adopt(Box<Connection>),
    /// Execute this command, some of whose arguments are long: those come as they are.
    Request {
        /// As in a parcel.
        header: RequestHeader,
        /// The arguments, empty where a long one belongs.
        args: Vec<Vec<u8>>,
        /// The long ones, by number.
        bodies: Vec<(u32, LongString)>,
    },
    /// Contribute to a command that asks every core.
    Ask {
        /// The asker's gathering.
        gathering: u32,
        /// The row's number.
        command: u16,
        /// The asking client's database.
        db: usize,
        /// The asking client.
        client: u64,
        /// The arguments.
        args: Arc<Vec<Vec<u8>>>,
        /// What the core has lent to the asker, for the time of the answer.
        keyspace: Option<Box<Keyspace>>,
    },
    /// The contribution.
    Answer {
        /// The asker's gathering.
        gathering: u32,
        /// The part.
        part: Part,
        /// What came with the question.
        keyspace: Option<Box<Keyspace>>,
    },
    /// Hand over what is wanted, as soon as nobody holds it.
    Lend {
        /// The borrower's gathering.
        gathering: u32,
        /// What it wants.
        request: Request,
    },
    /// Here they are.
    Lent {
        /// The borrower's gathering.
        gathering: u32,
        /// The entries.
        loan: Loan,
    },
    /// They are held by a script that does not end: the borrower's client is told so.
    Refused {
        /// The borrower's gathering.
        gathering: u32,
    },
    /// A script has been running for too long: tell those who wait.
    Busy,
    /// Borrowed entries come home.
    Home(Loan),
    /// Something was put into your lane of the log for which somebody waits.
    Flush,
    /// My lane of the log is synced further than it was.
    Synced,
    /// A client of yours that waits has its reply.
    Unblocked {
        /// Its ticket, closed.
        ticket: Arc<Ticket>,
        /// The reply.
        reply: Output,
        /// What it took to make.
        nanoseconds: u64,
    },
    /// A client of yours that waits may have something to do, with keys of several shards.
    Knock {
        /// Its ticket.
        ticket: Arc<Ticket>,
        /// Which of its keys.
        at: usize,
    },
    /// A client waits for keys of yours no more.
    Unblock(Arc<Ticket>),
    /// These keys are watched by one client less.
    Unwatch(Vec<Watched>),
    /// The configuration changed: take the newest, then answer with an empty part.
    Reconfigure {
        /// The asker's gathering.
        gathering: u32,
    },
    /// A visitor brought your engine a deadline that comes before you meant to look.
    Sooner,
    /// A command of one of your clients took long here: note it, with the client's address and name.
    Slow {
        /// The client's connection, …
        connection: u32,
        /// … and the place of the reply.
        sequence: u32,
        /// What there is to say of the command.
        entry: slowlog::Entry,
    },
    /// A snapshot has had its moment: walk over your shard.
    Snapshot(Arc<super::snapshot::Job>),
    /// A line for the clients in `MONITOR` on this core.
    Monitor(bytes::Bytes),
}

/// One core's ends of the rings, and what it is packing.
pub struct Mailbox {
    core: usize,
    to: Vec<Option<Producer<Message>>>,
    from: Vec<Option<Consumer<Message>>>,
    /// Messages that found the ring full, by receiver.
    waiting: Vec<VecDeque<Message>>,
    requests: Vec<Parcel>,
    replies: Vec<Parcel>,
    /// Receivers that got something in this pass.
    posted: Vec<bool>,
    spare: Spares<Parcel>,
    parking: Arc<Parking>,
    /// Wakes sent, for the statistics.
    pub wakes: u64,
}

/// The mailboxes of all cores, connected.
pub fn connect(cores: usize, parking: &Arc<Parking>) -> Vec<Mailbox> {
    let mut mailboxes: Vec<Mailbox> = (0..cores)
        .map(|core| Mailbox {
            core,
            to: (0..cores).map(|_| None).collect(),
            from: (0..cores).map(|_| None).collect(),
            waiting: (0..cores).map(|_| VecDeque::new()).collect(),
            requests: (0..cores).map(|_| Parcel::default()).collect(),
            replies: (0..cores).map(|_| Parcel::default()).collect(),
            posted: vec![false; cores],
            spare: Spares::new(SPARE_PARCELS),
            parking: parking.clone(),
            wakes: 0,
        })
        .collect();
    for from in 0..cores {
        for to in (0..cores).filter(|&to| to != from) {
            let (producer, consumer) = RingBuffer::new(RING_MESSAGES);
            mailboxes[from].to[to] = Some(producer);
            mailboxes[to].from[from] = Some(consumer);
        }
    }
    mailboxes
}

impl Mailbox {
    /// Packs a request for a core.
    pub fn request(&mut self, to: usize, header: RequestHeader, args: &[&[u8]]) {
        self.requests[to].push_request(header, args);
        if PARCEL_BYTES_MAX < self.requests[to].bytes() {
            self.post_requests(to);
        }
    }

    /// Packs a reply for a core; see [`Parcel::push_reply`].
    pub fn reply(&mut self, to: usize, header: ReplyHeader, write: impl FnOnce(&mut Output) -> u32) {
        if PARCEL_BYTES_MAX < self.replies[to].bytes() {
            self.post_replies(to);
        }
        self.replies[to].push_reply(header, write);
    }

    /// Notes when the reply was made that was packed last for a core.
    #[inline]
    pub fn stamp_reply(&mut self, to: usize, handed: u64) {
        self.replies[to].stamp_last(handed);
    }

    /// Sends a rarer message about the reply that was packed last, so that it comes before it: while the reply is
    /// missing, the client that it is for stays where it is.
    pub fn control_before_reply(&mut self, to: usize, control: Control) {
        self.post(to, Message::Control(Box::new(control)));
    }

    /// Sends a rarer message, behind everything packed for that core so far.
    pub fn control(&mut self, to: usize, control: Control) {
        self.post_requests(to);
        self.post_replies(to);
        self.post(to, Message::Control(Box::new(control)));
    }

    fn post_requests(&mut self, to: usize) {
        if !self.requests[to].is_empty() {
            let empty = self.spare.take();
            let parcel = std::mem::replace(&mut self.requests[to], empty);
            self.post(to, Message::Requests(parcel));
        }
    }

    fn post_replies(&mut self, to: usize) {
        if !self.replies[to].is_empty() {
            let empty = self.spare.take();
            let parcel = std::mem::replace(&mut self.replies[to], empty);
            self.post(to, Message::Replies(parcel));
        }
    }

    fn post(&mut self, to: usize, message: Message) {
        assert_ne!(to, self.core, "a core sends nothing to itself");
        self.posted[to] = true;
        if self.waiting[to].is_empty() {
            let producer = self.to[to].as_mut().expect("every pair of cores is connected");
            if let Err(PushError::Full(message)) = producer.push(message) {
                self.waiting[to].push_back(message);
            }
        } else {
            self.waiting[to].push_back(message);
        }
    }

    /// Sends what this pass packed; `wake` is called with the ring of each receiver that sleeps.
    ///
    /// `has_mail`: whether something lies in a core's inbox.
    pub fn flush(&mut self, has_mail: impl Fn(usize) -> bool, mut wake: impl FnMut(RawFd)) {
        for to in 0..self.to.len() {
            if to == self.core {
                continue;
            }
            self.post_requests(to);
            self.post_replies(to);
            while let Some(message) = self.waiting[to].pop_front() {
                let producer = self.to[to].as_mut().expect("every pair of cores is connected");
                if let Err(PushError::Full(message)) = producer.push(message) {
                    self.waiting[to].push_front(message);
                    break;
                }
                self.posted[to] = true;
            }
            if (std::mem::take(&mut self.posted[to]) || has_mail(to))
                && let Some(ring) = self.parking.to_wake(to)
            {
                self.wakes += 1;
                wake(ring);
            }
        }
    }

    /// The next message, core by core.
    pub fn receive(&mut self, from: usize) -> Option<Message> {
        self.from[from].as_mut()?.pop().ok()
    }

    /// Keeps an emptied parcel for reuse.
    pub fn recycle(&mut self, parcel: Parcel) {
        self.spare.keep(parcel.recycle());
    }

    /// Frees the parcels kept for reuse that were not needed lately.
    pub fn trim(&mut self) {
        self.spare.trim();
    }

    /// Whether a message of another core has come.
    pub fn has_message(&self) -> bool {
        self.from.iter().flatten().any(|consumer| !consumer.is_empty())
    }

    /// Announces sleep. False: something came in between, do not sleep. `has_mail`: whether it lies in the inbox.
    pub fn park(&mut self, has_mail: impl Fn() -> bool) -> bool {
        if self.to.len() == 1 {
            return true;
        }
        let has_kept = || self.waiting.iter().any(|queue| !queue.is_empty());
        self.parking.park(self.core, || self.has_message() || has_mail() || has_kept())
    }

    /// Awake again.
    pub fn unpark(&mut self) {
        if 1 < self.to.len() {
            self.parking.unpark(self.core);
        }
    }
}
