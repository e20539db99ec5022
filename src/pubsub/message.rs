//! What is handed to clients, and how it looks on the wire.

use crate::resp::{Protocol, Reply};
use crate::session::{Address, Audience};
use std::sync::Arc;

/// A published message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// Whether to a channel or to a shard channel.
    pub audience: Audience,
    /// The channel.
    pub channel: Box<[u8]>,
    /// What is told.
    pub payload: Box<[u8]>,
    /// The patterns that match the channel; publisher and members read the same list.
    pub patterns: Box<[Arc<[u8]>]>,
}

/// Keys that a client may not take from its cache any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// All of them.
    All,
    /// These.
    These(Arc<[Box<[u8]>]>),
}

/// Something for one core to hand to its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// To every member.
    Message(Arc<Message>),
    /// To one client, because it, or the one it stands in for, has these keys in its cache.
    Invalidate {
        /// Who gets the message.
        to: Address,
        /// Whose cache it is, if another's.
        of: Option<Address>,
        /// Which keys.
        keys: Keys,
    },
    /// To a client whose messages went to one that is gone.
    RedirectBroken {
        /// The client.
        to: Address,
        /// The id of the other.
        gone: u64,
    },
}

/// The channel by which RESP2 clients are told of keys.
const INVALIDATE_CHANNEL: &str = "__redis__:invalidate";

/// Writes `message`, `smessage`, or with a pattern `pmessage`.
pub fn write_message(out: &mut Vec<u8>, protocol: Protocol, message: &Message, pattern: Option<&[u8]>) {
    let mut reply = Reply::new(out, protocol);
    if let Some(pattern) = pattern {
        reply.push(4);
        reply.bulk("pmessage");
        reply.bulk(pattern);
    } else {
        reply.push(3);
        reply.bulk(if message.audience == Audience::Shard { "smessage" } else { "message" });
    }
    reply.bulk(&message.channel);
    reply.bulk(&message.payload);
}

/// Writes the confirmation that a subscription begins or ends; no name: there was none to end.
pub fn write_change(
    out: &mut Vec<u8>,
    protocol: Protocol,
    audience: Audience,
    joins: bool,
    name: Option<&[u8]>,
    left: usize,
) {
    let word = match (audience, joins) {
        (Audience::Channel, true) => "subscribe",
        (Audience::Channel, false) => "unsubscribe",
        (Audience::Pattern, true) => "psubscribe",
        (Audience::Pattern, false) => "punsubscribe",
        (Audience::Shard, true) => "ssubscribe",
        (Audience::Shard, false) => "sunsubscribe",
    };
    let mut reply = Reply::new(out, protocol);
    reply.push(3);
    reply.bulk(word);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(left as i64);
}

/// Writes which keys are stale: a push, or in RESP2, which only subscribers understand, a message.
pub fn write_invalidation(out: &mut Vec<u8>, protocol: Protocol, keys: &Keys) {
    let mut reply = Reply::new(out, protocol);
    match protocol {
        Protocol::Resp3 => {
            reply.push(2);
            reply.bulk("invalidate");
        }
        Protocol::Resp2 => {
            reply.push(3);
            reply.bulk("message");
            reply.bulk(INVALIDATE_CHANNEL);
        }
    }
    match keys {
        Keys::All => reply.null(),
        Keys::These(keys) => {
            reply.array(keys.len());
            keys.iter().for_each(|key| reply.bulk(key));
        }
    }
}

/// Writes that the client which got the messages is gone.
pub fn write_redirect_broken(out: &mut Vec<u8>, gone: u64) {
    let mut reply = Reply::new(out, Protocol::Resp3);
    reply.push(2);
    reply.bulk("tracking-redir-broken");
    reply.integer(gone as i64);
}
