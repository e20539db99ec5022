//! What is sent: a file per family of commands. **A new family is a file here and a line in `FAMILIES`**; see
//! `strings.rs` for what stands in one.
//!
//! A row is `weight [mode:] words`:
//!
//! - `(A|B)` one of them, `[A|B $x]` perhaps one of them, `{A $x}` once or several times;
//! - `$name` a random thing, of the family's own `things` or of `generate.rs`: `$key $value $int $count $offset $float
//!   $seconds $ms $at $at_ms $until $until_ms $db $pattern $cursor $word $text $bit $bitfield`;
//! - the mode says how replies are compared where byte for byte is too strict, and is the whole list of what may
//!   differ: `any-order:` a set in array's clothing, `time:` numbers a little apart, `member:` any key that exists,
//!   `kind:` the same type of reply, `scan:` the cursor is the server's own, `payload:` the order of a table's elements
//!   and the nodes of a list are, `idle:` times of consumers and deliveries a little apart.
//!
//! Commands that may wait are sent in a transaction, and `SORT` behind another command (`Step::accompanied`).
//!
//! The random run draws rows by weight. The sweep (`sweep.rs`) takes every row several times and puts every boundary
//! number where a thing stands; where a number that large would cost gigabytes or block, use a thing of the family's
//! own, which is swept over its own words.
//!
//! Rows never set a time to live that could pass within a run except by `expiring:`, after which the driver waits and
//! touches the keys: an expired key may or may not count in DBSIZE until then. Nothing here makes values of megabytes.

use crate::compare::Mode;

mod bitmaps;
mod dump;
mod encodings;
mod expiry;
mod geo;
mod hashes;
mod hyperloglog;
mod keys;
mod lists;
mod pubsub;
mod server;
mod sets;
mod sorted_sets;
mod streams;
mod strings;

/// A family of commands.
pub struct Family {
    /// What `CORERING_DIFF_FAMILY` selects it by.
    pub name: &'static str,
    /// What is sent.
    pub rows: &'static [&'static str],
    /// `$names` of its own, and the words one of which each stands for. Names are unique among all families. For a name
    /// that `generate.rs` draws itself: the words that the sweep puts there, instead of every boundary number.
    pub things: &'static [(&'static str, &'static [&'static [u8]])],
    /// The types of its values and how each is read whole: the type, the command with KEY where the key stands, the
    /// mode in which two such readings are compared.
    pub values: &'static [(&'static str, &'static str, Mode)],
    /// Commands (KEY is the key) after which a key holds something that the sweep shall meet: each encoding, each edge.
    /// The sweep also runs the rows on a missing key and on a string.
    pub givens: &'static [&'static str],
}

/// Every family.
pub const FAMILIES: &[&Family] = &[
    &bitmaps::FAMILY,
    &dump::FAMILY,
    &expiry::FAMILY,
    &geo::FAMILY,
    &hashes::FAMILY,
    &hyperloglog::FAMILY,
    &keys::FAMILY,
    &lists::FAMILY,
    &pubsub::FAMILY,
    &server::FAMILY,
    &sets::FAMILY,
    &sorted_sets::FAMILY,
    &streams::FAMILY,
    &strings::FAMILY,
    // Last: the sweep leaves the limits as it finds them in its last cases.
    &encodings::FAMILY,
];
