//! Commands that look at every key of a database: a step at a time outside transactions, so that nobody waits for them.
//!
//! ```text
//!   home                                  shard 0          shard 1
//!   KEYS h* ─▶ KEYS h* 0 ───────────────▶ some 512 keys
//!         ◀── position 81, those of them that match
//!           ─▶ KEYS h* 81 ──────────────▶ …
//!           ─▶ KEYS h* 0 ────────────────────────────────▶ some 512 keys
//! ```
//! The core that runs a survey (`src/runtime/survey.rs`) sends each shard the call with one argument more than a client
//! may give: the position at which that shard goes on. The answer is an array of two: the next position, 0 at the end,
//! and the part of the reply. Without that argument (in a transaction) the command is run as a whole.
//!
//! What a survey reports: every key that is there from its beginning to its end exactly once, no key twice; one that
//! comes or goes meanwhile, perhaps.

use super::{Args, Context};
use crate::keyspace::EntryRef;
use crate::resp::Reply;

/// Keys looked at in a step, and up to a segment of the table (some nine hundred) more: about 0.1 ms.
pub const STEP_KEYS: usize = 512;

/// How much of the work a call is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// All of it.
    Whole,
    /// A step of it from this position on.
    Step(u64),
}

impl Place {
    /// Of a call for which clients give so many arguments.
    ///
    /// # Panics
    /// A core sent what is no position.
    pub fn of(args: &Args<'_>, client_len: usize) -> Place {
        let Some(position) = args.get(client_len) else { return Place::Whole };
        let position = std::str::from_utf8(position).ok().and_then(|digits| digits.parse().ok());
        Place::Step(position.expect("a core sends a position"))
    }

    /// Visits the keys that this call is to look at, and returns where the next step begins.
    fn visit(self, context: &Context<'_>, visit: impl FnMut(EntryRef<'_>)) -> u64 {
        match self {
            Place::Whole => {
                context.keyspace.for_each(context.db, visit);
                0
            }
            Place::Step(position) => context.keyspace.survey(context.db, position, STEP_KEYS, visit),
        }
    }

    /// Writes what stands before the part of a step; nothing of the whole.
    pub fn begin(self, next: u64, reply: &mut Reply<'_>) {
        if self != Place::Whole {
            reply.array(2);
            reply.integer(i64::try_from(next).expect("positions are short"));
        }
    }
}

/// Replies with the keys that are wanted, at most so many.
pub fn keys(
    context: &Context<'_>,
    place: Place,
    limit: usize,
    is_wanted: impl Fn(&[u8]) -> bool,
    reply: &mut Reply<'_>,
) {
    let (mut keys, mut len) = (Vec::new(), 0);
    let mut elements = Reply::new(&mut keys, reply.protocol());
    let next = place.visit(context, |view| {
        if len < limit && is_wanted(view.key()) {
            elements.bulk(view.key());
            len += 1;
        }
    });
    place.begin(if len < limit { next } else { 0 }, reply);
    reply.array(len);
    reply.raw(&keys);
}

/// Replies with the number of keys that are wanted.
pub fn count(context: &Context<'_>, place: Place, is_wanted: impl Fn(&[u8]) -> bool, reply: &mut Reply<'_>) {
    let mut count = 0;
    let next = place.visit(context, |view| count += i64::from(is_wanted(view.key())));
    place.begin(next, reply);
    reply.integer(count);
}
