//! What clients of this core are told without having asked, and their subscriptions. The whole picture: see
//! [`crate::pubsub`].

use super::accept::CLOSING;
use super::core::Core;
use super::send::{list_once, passes_output_limit};
use crate::command::lookup::{self, Row};
use crate::command::{Args, Flags, Run, key_positions};
use crate::config::Config;
use crate::pubsub::{
    Delivery, Keys, Message, Pubsub, write_change, write_invalidation, write_message, write_redirect_broken,
};
use crate::resp::{Error, Protocol};
use crate::session::{Address, Audience, Mode, Session, Subscriptions};
use crate::shard::fail;

/// Subscriptions of each kind that a client which is gone loses in one pass.
const FORGET_SLICE: usize = 500;

/// Names that clients join or leave in a pass: about a millisecond. Others are served before it goes on.
const CHANGE_SLICE: usize = 256;

/// A client that joins or leaves more names than one pass is for. It is behind its barrier until all are done.
pub(super) struct Changing {
    connection: u32,
    row: &'static Row,
    audience: Audience,
    joins: bool,
    names: Vec<Vec<u8>>,
    /// The first that is left.
    next: usize,
    /// What the slices so far have taken.
    nanoseconds: u64,
}

/// A message as it is on the wire, in the protocols in which somebody wants it.
#[derive(Default)]
struct Written([Option<Vec<u8>>; 2]);

impl Written {
    fn bytes(&mut self, protocol: Protocol, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        self.0[usize::from(protocol == Protocol::Resp3)].get_or_insert_with(|| {
            let mut out = Vec::new();
            write(&mut out);
            out
        })
    }
}

impl Core {
    /// Hands out what is in this core's inbox.
    #[cold]
    pub(super) fn deliver(&mut self) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        while self.shared.pubsub.take(self.core, &mut deliveries) {
            for delivery in deliveries.drain(..) {
                match delivery {
                    Delivery::Message(message) => self.deliver_message(&message),
                    Delivery::Invalidate { to, of, keys } => self.deliver_invalidation(to, of, &keys),
                    Delivery::RedirectBroken { to, gone } => self.deliver_redirect_broken(to, gone),
                }
            }
        }
        self.deliveries = deliveries;
    }

    /// As [`Core::deliver`], where nothing is there most of the time.
    #[inline]
    pub(super) fn deliver_mail(&mut self) {
        if self.shared.pubsub.has_mail(self.core) {
            self.deliver();
        }
    }

    fn deliver_message(&mut self, message: &Message) {
        let members = std::mem::take(&mut self.members);
        let mut written = Written::default();
        for &index in members.of(message.audience, &message.channel) {
            self.push(index, |protocol, push| {
                push(written.bytes(protocol, |out| write_message(out, protocol, message, None)));
            });
        }
        for pattern in &message.patterns {
            let mut written = Written::default();
            for &index in members.of(Audience::Pattern, pattern) {
                self.push(index, |protocol, push| {
                    push(written.bytes(protocol, |out| write_message(out, protocol, message, Some(pattern))));
                });
            }
        }
        self.members = members;
    }

    fn deliver_invalidation(&mut self, to: Address, of: Option<Address>, keys: &Keys) {
        let Some(session) = self.session_at(to) else {
            if let Some(of) = of {
                self.shared.pubsub.put(of.core, Delivery::RedirectBroken { to: of, gone: to.id });
            }
            return;
        };
        // RESP2 knows no pushes, but the message of a subscriber may tell of another's keys.
        if session.protocol == Protocol::Resp3 || (of.is_some() && session.mode.contains(Mode::SUBSCRIBED)) {
            self.push(to.index, |protocol, push| {
                let mut out = Vec::new();
                write_invalidation(&mut out, protocol, keys);
                push(&out);
            });
        }
    }

    fn deliver_redirect_broken(&mut self, to: Address, gone: u64) {
        let Some(session) = self.session_at(to) else { return };
        let Some(choice) = session.tracking.as_mut() else { return };
        if choice.redirect.is_none_or(|redirect| redirect.id != gone) {
            return; // It has chosen another one meanwhile.
        }
        choice.is_redirect_broken = true;
        if session.protocol == Protocol::Resp3 {
            self.push(to.index, |_, push| {
                let mut out = Vec::new();
                write_redirect_broken(&mut out, gone);
                push(&out);
            });
        }
    }

    /// The client at an address, unless it is gone.
    fn session_at(&mut self, address: Address) -> Option<&mut Session> {
        let connection = self.connections.get_mut(address.index as usize)?;
        // Who has said QUIT and only waits for its last reply to leave is gone for others.
        let is_leaving = connection.session.mode.intersects(Mode::CLOSE_AFTER_REPLY | Mode::CLOSE_NOW);
        (connection.session.id == address.id && !connection.broken && !is_leaving).then_some(&mut connection.session)
    }

    /// Writes something that is no reply to a client, and closes the client if that is too much for it.
    fn push(&mut self, index: u32, write: impl FnOnce(Protocol, &mut dyn FnMut(&[u8]))) {
        let connection = &mut **self.connections.get_mut(index as usize).expect("who is told is there");
        if connection.broken || connection.session.mode.contains(Mode::CLOSE_NOW) {
            return;
        }
        // The reply to a blocking command may come in a year; nothing that is told meanwhile belongs behind it.
        let is_ahead = connection.session.mode.contains(Mode::BLOCKED) && connection.replies.outstanding() == 1;
        write(connection.session.protocol, &mut |bytes| match is_ahead {
            true => connection.replies.output.extend_from_slice(bytes),
            false => connection.replies.push(bytes),
        });
        if passes_output_limit(connection, &self.config, self.now_ms, &mut self.stats) {
            connection.session.mode |= Mode::CLOSE_NOW;
            self.closing.push(index);
            return;
        }
        list_once(&mut self.dirty, &mut connection.dirty, index);
    }

    // Subscriptions

    /// Begins or ends subscriptions of a client. The confirmations go to `out`, or to the client, between the messages
    /// that come meanwhile; they are never discarded.
    ///
    /// # Errors
    /// The client may not subscribe now.
    pub(super) fn change_subscriptions(
        &mut self,
        index: u32,
        audience: Audience,
        joins: bool,
        names: &[Vec<u8>],
        mut out: Option<&mut Vec<u8>>,
    ) -> Result<(), Error> {
        let session = &mut self.connections[index as usize].session;
        // In a transaction each of its calls owes a reply. Redis lets the older commands through nevertheless.
        if joins && audience == Audience::Shard && session.mode.contains(Mode::DENY_BLOCKING) {
            return Err(Error::fixed("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"));
        }
        let (protocol, mut subscriptions) = (session.protocol, session.subscriptions.take().unwrap_or_default());
        let all: Vec<Vec<u8>>;
        let names = if joins || !names.is_empty() {
            names
        } else {
            all = subscriptions.names(audience).map(|name| name.to_vec()).collect();
            &all
        };
        let mut confirm = |core: &mut Core, name: Option<&[u8]>, left: usize| match &mut out {
            Some(out) => write_change(out, protocol, audience, joins, name, left),
            None => {
                let mut confirmation = Vec::new();
                write_change(&mut confirmation, protocol, audience, joins, name, left);
                core.connections[index as usize].replies.push(&confirmation);
            }
        };
        for name in names {
            if joins {
                self.join(index, audience, name, &mut subscriptions);
            } else {
                self.leave(index, audience, name, &mut subscriptions);
            }
            confirm(self, Some(name), subscriptions.confirmed_len(audience));
        }
        if names.is_empty() {
            confirm(self, None, subscriptions.confirmed_len(audience));
        }
        let session = &mut self.connections[index as usize].session;
        session.mode.set(Mode::SUBSCRIBED, !subscriptions.is_empty());
        session.subscriptions = (!subscriptions.is_empty()).then_some(subscriptions);
        Ok(())
    }

    /// Runs a command that begins or ends subscriptions.
    pub(super) fn run_subscription(
        &mut self,
        index: u32,
        row: &'static Row,
        audience: Audience,
        joins: bool,
        mut names: Vec<Vec<u8>>,
        started: u64,
    ) -> u64 {
        let session = &self.connections[index as usize].session;
        if !joins && names.is_empty() && CHANGE_SLICE < session.subscriptions_len(audience) {
            let subscriptions = session.subscriptions.as_ref().expect("it has some");
            names = subscriptions.names(audience).map(|name| name.to_vec()).collect();
        }
        self.changed_names += names.len().max(1);
        if CHANGE_SLICE < self.changed_names {
            self.connections[index as usize].barrier = true;
            let changing = Changing { connection: index, row, audience, joins, names, next: 0, nanoseconds: 0 };
            self.changing.push_back(changing);
            return self.clock.raw();
        }
        if let Err(error) = self.change_subscriptions(index, audience, joins, &names, None) {
            let connection = &mut *self.connections[index as usize];
            connection.replies.write(|out| fail(&mut self.stats, row, &error, out.len(), out));
        }
        list_once(&mut self.dirty, &mut self.connections[index as usize].dirty, index);
        let ended = self.clock.raw();
        self.stats.record(row.id, self.clock.delta_as_nanos(started, ended));
        ended
    }

    /// Goes on with the subscriptions of a client that changes very many.
    #[cold]
    pub(super) fn change_some_subscriptions(&mut self) {
        let Some(mut changing) = self.changing.pop_front() else { return };
        let started = self.clock.raw();
        let index = changing.connection;
        let mode = self.connections[index as usize].session.mode;
        let is_gone = self.connections[index as usize].broken || mode.contains(Mode::CLOSE_NOW);
        let end = (changing.next + CHANGE_SLICE).min(changing.names.len());
        if !is_gone {
            let names = &changing.names[changing.next..end];
            self.change_subscriptions(index, changing.audience, changing.joins, names, None)
                .expect("outside of transactions everybody may");
            list_once(&mut self.dirty, &mut self.connections[index as usize].dirty, index);
        }
        changing.next = end;
        changing.nanoseconds += self.clock.delta_as_nanos(started, self.clock.raw());
        if !is_gone && end < changing.names.len() {
            return self.changing.push_back(changing);
        }
        self.stats.record(changing.row.id, changing.nanoseconds);
        let connection = &mut *self.connections[index as usize];
        connection.barrier = false;
        list_once(&mut self.again, &mut connection.again, index);
        if connection.broken || mode.intersects(CLOSING) {
            self.closing.push(index);
        }
    }

    fn join(&mut self, index: u32, audience: Audience, name: &[u8], subscriptions: &mut Subscriptions) {
        if subscriptions.contains(audience, name) {
            return;
        }
        let pubsub = self.shared.pubsub.clone();
        let mut held = pubsub.hold(audience, name);
        self.deliver_mail();
        let name = held.join(self.core, name);
        self.members.join(audience, name.clone(), index);
        subscriptions.insert(audience, name);
    }

    fn leave(&mut self, index: u32, audience: Audience, name: &[u8], subscriptions: &mut Subscriptions) {
        if !subscriptions.remove(audience, name) {
            return;
        }
        let pubsub = self.shared.pubsub.clone();
        let mut held = pubsub.hold(audience, name);
        self.deliver_mail();
        held.leave(self.core, name);
        self.members.leave(audience, name, index);
    }

    /// A client that begins anew is subscribed to nothing.
    pub(super) fn forget_subscriptions(&mut self, index: u32, mut subscriptions: Box<Subscriptions>) {
        while !subscriptions.is_empty() {
            self.forget_some_subscriptions(index, &mut subscriptions);
        }
    }

    /// Ends a slice of the subscriptions of a client that is gone.
    fn forget_some_subscriptions(&mut self, index: u32, subscriptions: &mut Subscriptions) {
        for audience in Audience::ALL {
            let names: Vec<_> = subscriptions.names(audience).take(FORGET_SLICE).cloned().collect();
            names.iter().for_each(|name| self.leave(index, audience, name, subscriptions));
        }
    }

    /// Takes leave, for a client that is closed, of those who would tell it something. False: there is more to do, in
    /// a later pass, so that others do not wait for one with very many subscriptions.
    pub(super) fn tell_no_more(&mut self, index: u32) -> bool {
        let session = &mut self.connections[index as usize].session;
        if session.mode.contains(Mode::TRACKING) {
            session.mode.remove(Mode::TRACKING);
            self.shared.pubsub.tracking.stop(session.id);
        }
        if std::mem::take(&mut session.is_target) {
            self.shared.pubsub.tracking.lose(session.id);
        }
        let Some(mut subscriptions) = session.subscriptions.take() else { return true };
        self.forget_some_subscriptions(index, &mut subscriptions);
        let is_done = subscriptions.is_empty();
        if !is_done {
            self.connections[index as usize].session.subscriptions = Some(subscriptions);
        }
        is_done
    }
}

// Client-side caching

/// A client that tracks begins a command; none: one that there is not.
pub(super) fn begin_tracked(session: &mut Session, row: Option<&'static Row>) {
    let is_in_transaction = session.mode.contains(Mode::IN_TRANSACTION);
    let Some(choice) = session.tracking.as_mut() else { return };
    let container = row.and_then(|row| row.container);
    let is_sibling =
        |said_by: u16| container.is_some() && container == lookup::find_by_index(said_by as usize).container;
    choice.begin_command(is_sibling, is_in_transaction);
}

/// A client that may track is about to read keys.
pub(super) fn remember_read(pubsub: &Pubsub, config: &Config, session: &Session, row: &'static Row, args: &Args<'_>) {
    let Some(choice) = &session.tracking else { return };
    // A script's own calls tell what it reads.
    if !row.flags.contains(Flags::READONLY) || matches!(row.command.run, Run::Joint(_)) || !choice.remembers() {
        return;
    }
    let mut positions = Vec::new();
    if key_positions(row.command, args, &mut positions).is_ok() {
        positions.into_iter().for_each(|at| pubsub.tracking.remember(session.id, args[at]));
        pubsub.bound_tracking(config.tracking_table_max_keys);
    }
}
