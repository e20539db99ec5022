//! Keyspaces of several shards, held at once: on them any command runs as on one keyspace, at one moment.
//!
//! # How everything becomes atomic
//!
//! Every command is one step between others, and so is every transaction, wherever their keys are (strict
//! serializability). Nobody can see it half done, and what was answered before it began has happened before it.
//!
//! - **One shard.** Whoever holds the shard's engine runs a command on it; nobody else does meanwhile. If all keys are
//!   on one shard, that is all. Beyond it such a command pays one branch: is anything of this shard held or waited for?
//! - **Several shards, their engines free.** The core takes hold of all engines needed, in rising order, and runs the
//!   command, or the transaction, on them: a *union*. Two cores that want the same engines meet at the lowest one; who
//!   comes second waits for its turn, for so long that it is only in vain if the first runs something slow.
//! - **Several shards, an engine busy for longer** (or what is needed of it away): the core borrows; see
//!   [`crate::route::locks`] for the order in which, and why nobody waits for ever. Of a shard it borrows the entries
//!   of the keys, or the whole keyspace if a command needs more than it can name (`FLUSHALL`, `DBSIZE`, `SCAN` in a
//!   transaction). When it has all it runs, on a union of what it borrowed. Slow commands always borrow, so that they
//!   keep nobody from an engine.
//!
//! Both ways are two-phase locking: everything is held before the first step and until after the last. A union is held
//! by the engines' locks, a loan by the owners' books. Visitors keep away from a shard with an entry in its books; a
//! union looks whether anything that it needs is there, held or waited for, so it never touches what is on loan. The
//! order of the steps is the order in which they had everything they needed. A reply leaves after that moment. It may
//! leave before borrowed entries are home: whoever asks their owner for them waits until they are.
//!
//! `WATCH` needs its keys as a command does, so that it is before or after a change, and `EXEC` needs the watched keys
//! together with those of its commands: at its moment it compares versions, and runs or does not.
//!
//! What is not atomic over several shards: `KEYS`, where each shard answers for its own moment (in a transaction it
//! is); `SCAN`, whose promise does not ask for it; and what every core answers for itself (`INFO`, `CLIENT LIST`).
//!
//! # How a union runs a command
//!
//! Keys on one shard: there. Split by key: each shard its part. On every shard: each. Several keys that the command
//! must see together: their entries move into an overlay for as long as it runs, and after them those of the keys that
//! follow from what they hold (`SORT … BY weight_*`; every keyspace is held then). Events go to the shard of their key.

use crate::command::lookup::Row;
use crate::command::{Args, Context, Flags, Gather, Keys, Run, Spread, Wait, journal, key_positions};
use crate::config::Config;
use crate::keyspace::{Class, Event, Keyspace};
use crate::mutant::Mutant;
use crate::resp::{Error, Output, Reply};
use crate::route::parcel::ArgSlices;
use crate::route::walk::{Step, Walk};
use crate::route::{Place, SlotMap, gather, place};
use crate::shard::{Call, fail};
use crate::stats::Stats;
use smallvec::SmallVec;
use std::borrow::Cow;

/// Keyspaces by shard; `None`: not held, since nothing there is needed.
pub type Parts<'a> = SmallVec<[Option<&'a mut Keyspace>; 8]>;

/// See the module's page.
pub struct Union<'a> {
    /// Of as many shards as there are parts: one part has all keys, whatever shards they came from.
    map: SlotMap,
    /// Of the server.
    shards: usize,
    parts: Parts<'a>,
    /// Where entries of several parts meet; empty between commands.
    overlay: &'a mut Option<Box<Keyspace>>,
    config: &'a Config,
    random: &'a mut fastrand::Rng,
    /// What a command waits for that found nothing, where it may.
    wait: Option<&'a mut Option<Wait>>,
}

impl<'a> Union<'a> {
    /// Of these parts, of a server with so many shards.
    pub fn new(
        shards: usize,
        parts: Parts<'a>,
        overlay: &'a mut Option<Box<Keyspace>>,
        config: &'a Config,
        random: &'a mut fastrand::Rng,
    ) -> Union<'a> {
        Union { map: SlotMap::new(parts.len()), shards, parts, overlay, config, random, wait: None }
    }

    /// Commands may wait: what for is told here, and nothing is written then.
    pub fn may_wait(mut self, wait: &'a mut Option<Wait>) -> Union<'a> {
        self.wait = Some(wait);
        self
    }

    /// Runs a command, all of whose keys are held, and writes its reply or error to `out`. True: it succeeded.
    pub fn execute(
        &mut self,
        row: &'static Row,
        call: Call,
        args: &Args<'_>,
        now_ms: u64,
        stats: &mut Stats,
        out: &mut Output,
    ) -> bool {
        match (place(self.map, row.command, args), row.command.spread) {
            (Place::One(shard), _) => self.run_at(shard, row, call, args, now_ms, stats, out),
            (Place::Anywhere, Spread::Owner | Spread::Split(_)) => {
                let any = self.parts.iter().position(Option::is_some).expect("something is held");
                self.run_at(any, row, call, args, now_ms, stats, out)
            }
            (Place::Several, Spread::Split(how)) => self.run_split(how, row, call, args, now_ms, stats, out),
            (Place::Several, _) => self.run_together(row, call, args, now_ms, stats, out),
            (Place::Anywhere, Spread::Every(how) | Spread::Survey(how, _)) => {
                let mut replies = Vec::with_capacity(self.parts.len());
                for shard in 0..self.parts.len() {
                    if Mutant::FlushLeavesAShard.is_on() && 0 < shard && shard + 1 == self.parts.len() {
                        continue;
                    }
                    let mut reply = Output::default();
                    if !self.run_at(shard, row, call, args, now_ms, stats, &mut reply) {
                        out.append(reply); // Whatever is wrong with it is wrong on every shard.
                        return false;
                    }
                    replies.push(Some(reply));
                }
                gather::merge(how, replies, &[], &mut Reply::new(out, call.protocol));
                true
            }
            (Place::Anywhere, Spread::Cursor) => {
                let shards = self.parts.len();
                let mut walk = Walk::new(args, crate::route::cursor_shard(args, shards), false);
                let mut asked: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
                loop {
                    let slices: Vec<&[u8]> = asked.iter().map(Vec::as_slice).collect();
                    let mut reply = Output::default();
                    let succeeds = self.run_at(walk.shard(), row, call, &slices, now_ms, stats, &mut reply);
                    match walk.take(reply.bytes(), shards) {
                        Step::On(cursor) => {
                            walk.ask_on(cursor, &mut asked);
                            continue;
                        }
                        Step::End(cursor) => walk.write(cursor, &mut Reply::new(out, call.protocol)),
                        Step::Failed => out.append(reply),
                    }
                    return succeeds;
                }
            }
            (Place::Anywhere, Spread::Lot) => loop {
                let start = out.len();
                let shard = self.draw(call.db);
                let succeeds = self.run_at(shard, row, call, args, now_ms, stats, out);
                // All its keys may have been expired ones: another has its turn.
                let is_empty = |part: &Option<&mut Keyspace>| part.as_ref().is_none_or(|part| part.len(call.db) == 0);
                if !is_empty(&self.parts[shard]) || self.parts.iter().all(is_empty) {
                    return succeeds;
                }
                out.truncate(start);
            },
        }
    }

    /// A shard by lot, each as often as it has keys.
    fn draw(&mut self, db: usize) -> usize {
        let lens: SmallVec<[usize; 8]> =
            self.parts.iter().map(|part| part.as_ref().map_or(0, |keyspace| keyspace.len(db))).collect();
        let total: usize = lens.iter().sum();
        let mut lot = if total == 0 { 0 } else { self.random.usize(..total) };
        for (shard, len) in lens.into_iter().enumerate() {
            if lot < len {
                return shard;
            }
            lot -= len;
        }
        0
    }

    #[expect(clippy::too_many_arguments, reason = "those of a call, and where")]
    fn run_at(
        &mut self,
        shard: usize,
        row: &'static Row,
        call: Call,
        args: &Args<'_>,
        now_ms: u64,
        stats: &mut Stats,
        out: &mut Output,
    ) -> bool {
        let shards = self.parts.len();
        let keyspace = &mut **self.parts[shard].as_mut().expect("what a command needs is held");
        let (config, random, wait) = (self.config, &mut *self.random, self.wait.as_deref_mut());
        run_in(keyspace, (shard, shards), self.shards, config, random, wait, row, call, args, now_ms, stats, out)
    }

    /// Each shard runs the command on its own keys.
    #[expect(clippy::too_many_arguments, reason = "those of a call, and how")]
    fn run_split(
        &mut self,
        how: Gather,
        row: &'static Row,
        call: Call,
        args: &Args<'_>,
        now_ms: u64,
        stats: &mut Stats,
        out: &mut Output,
    ) -> bool {
        let Keys::Range { first, last: -1, step } = row.command.keys else {
            panic!("{} splits keys that are no range to the end", row.full_name());
        };
        let (first, step) = (first as usize, step as usize);
        if !(args.len() - first).is_multiple_of(step) {
            // A key without its value: the command's own code words the error, on any shard.
            let any = self.parts.iter().position(Option::is_some).expect("something is held");
            return self.run_at(any, row, call, args, now_ms, stats, out);
        }
        let key_shards: SmallVec<[u16; 32]> =
            args[first..].iter().step_by(step).map(|key| self.map.shard_of(key) as u16).collect();
        let mut replies: Vec<Option<Output>> = Vec::with_capacity(self.parts.len());
        let mut part = ArgSlices::new();
        let mut succeeds = true;
        let noted: SmallVec<[usize; 8]> =
            self.parts.iter().map(|part| part.as_ref().map_or(0, |keyspace| keyspace.effects.len())).collect();
        for shard in 0..self.parts.len() {
            part.clear();
            part.extend_from_slice(&args[..first]);
            for (at, _) in key_shards.iter().enumerate().filter(|(_, of)| **of as usize == shard) {
                part.extend_from_slice(&args[first + at * step..first + (at + 1) * step]);
            }
            if part.len() == first {
                replies.push(None);
                continue;
            }
            let mut reply = Output::default();
            succeeds &= self.run_at(shard, row, call, &part, now_ms, stats, &mut reply);
            replies.push(Some(reply));
        }
        gather::merge(how, replies, &key_shards, &mut Reply::new(out, call.protocol));
        self.rank_by_key(&noted, &key_shards, args[first..].iter().step_by(step).copied().collect());
        succeeds
    }

    /// The events of a command that ran shard by shard get the order of its keys. `noted`: how many there were before.
    fn rank_by_key(&mut self, noted: &[usize], key_shards: &[u16], keys: SmallVec<[&[u8]; 32]>) {
        let mut placed = Vec::new();
        for (shard, (part, &len)) in self.parts.iter_mut().zip(noted).enumerate() {
            let Some(part) = part else { continue };
            // The shard has gone through its keys in this order; a key given again has the same events again.
            let of_shard = key_shards.iter().enumerate().filter(|(_, of)| usize::from(**of) == shard);
            let mut places = of_shard.map(|(place, _)| place).peekable();
            let mut seen: SmallVec<[Event; 4]> = SmallVec::new();
            for effect in part.effects.after(len) {
                while let Some(&place) = places.peek()
                    && (keys[place] != &effect.key[..] || seen.contains(&effect.event))
                {
                    places.next();
                    seen.clear();
                }
                seen.push(effect.event);
                placed.push((places.peek().copied().unwrap_or(keys.len()), effect));
            }
        }
        let mut ranks: Vec<u64> = placed.iter().map(|(_, effect)| effect.rank).collect();
        ranks.sort_unstable();
        placed.sort_by_key(|(place, _)| *place);
        placed.into_iter().zip(ranks).for_each(|((_, effect), rank)| effect.rank = rank);
    }

    /// The entries of all keys meet in the overlay.
    fn run_together(
        &mut self,
        row: &'static Row,
        call: Call,
        args: &Args<'_>,
        now_ms: u64,
        stats: &mut Stats,
        out: &mut Output,
    ) -> bool {
        let mut positions = Vec::new();
        key_positions(row.command, args, &mut positions).expect("its place was found by them");
        let mut keys: SmallVec<[(Cow<'_, [u8]>, usize); 8]> =
            positions.iter().map(|&at| (Cow::Borrowed(args[at]), self.map.shard_of(args[at]))).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut overlay = self.overlay.take().unwrap_or_else(|| {
            let any = self.parts.iter().flatten().next().expect("something is held");
            Box::new(any.sibling())
        });
        let mut listened = Class::empty();
        let is_recorded = self.parts.iter().flatten().any(|part| part.records.is_on);
        let is_replaying = self.parts.iter().flatten().any(|part| part.is_replaying);
        overlay.begin(now_ms, false);
        overlay.is_replaying = is_replaying;
        let parts = &mut self.parts;
        let reads = row.flags.contains(Flags::READONLY);
        let mut lend = |overlay: &mut Keyspace, (key, shard): &(Cow<'_, [u8]>, usize)| {
            let keyspace = &mut **parts[*shard].as_mut().expect("what a command needs is held");
            keyspace.begin(now_ms, false);
            keyspace.effects.begin_command(call.actor, reads);
            listened |= keyspace.effects.listened();
            keyspace.lend(key, |db, entry| overlay.adopt(db, entry));
        };
        keys.iter().for_each(|key| lend(&mut overlay, key));
        if let Some(derived) = row.command.derived.filter(|derived| (derived.is_used)(args)) {
            let mut more = (derived.keys)(&overlay, call.db, args);
            more.sort_unstable();
            more.dedup();
            more.retain(|key| !keys.iter().any(|(known, _)| known[..] == key[..]));
            for key in more {
                let shard = self.map.shard_of(&key);
                let key = (Cow::Owned(key), shard);
                lend(&mut overlay, &key);
                keys.push(key);
            }
        }
        overlay.effects.listen(listened);
        overlay.records.is_on = is_recorded;
        let (config, random, wait) = (self.config, &mut *self.random, self.wait.as_deref_mut());
        let shards = self.shards;
        let succeeds = run_in(&mut overlay, (0, 1), shards, config, random, wait, row, call, args, now_ms, stats, out);
        for (key, shard) in &keys {
            let keyspace = &mut **self.parts[*shard].as_mut().expect("as above");
            overlay.lend(key, |db, entry| keyspace.adopt(db, entry));
        }
        for record in overlay.records.iter() {
            let shard = record.keys.first().map_or(0, |key| self.map.shard_of(key));
            let keyspace = self.parts[shard].as_mut().expect("a command touches no key that it does not name");
            keyspace.records.adopt(&record);
        }
        overlay.records.clear();
        for effect in overlay.effects.take_all() {
            let shard = self.map.shard_of(&effect.key);
            let keyspace = self.parts[shard].as_mut().expect("a command touches no key that it does not name");
            if keyspace.effects.listened().intersects(effect.event.class) {
                keyspace.effects.push(effect);
            }
        }
        self.parts.iter_mut().flatten().next().expect("something is held").absorb(&mut overlay);
        *self.overlay = Some(overlay);
        succeeds
    }
}

/// Runs a command in one keyspace, which is that of a shard of so many.
#[expect(clippy::too_many_arguments, reason = "all that a command may see")]
fn run_in(
    keyspace: &mut Keyspace,
    (shard, shards): (usize, usize),
    shards_of_server: usize,
    config: &Config,
    random: &mut fastrand::Rng,
    wait: Option<&mut Option<Wait>>,
    row: &'static Row,
    call: Call,
    args: &Args<'_>,
    now_ms: u64,
    stats: &mut Stats,
    out: &mut Output,
) -> bool {
    let start = out.len();
    if keyspace.is_replaying && !call.is_replayed {
        fail(stats, row, &Error::LOADING, start, out);
        return false;
    }
    keyspace.begin(now_ms, call.touch);
    keyspace.effects.begin_command(call.actor, row.flags.contains(Flags::READONLY));
    let dirty = keyspace.dirty;
    let mut context = Context { keyspace, config, random, db: call.db, now_ms, shard, shards, long_reply: None };
    let mut reply = Reply::new(&mut *out, call.protocol);
    let result = match row.command.run {
        Run::Keyspace(run) => run(&mut context, args, &mut reply),
        Run::Blocking(run) => run(&mut context, args, &mut reply).map(|nothing| match (nothing, wait) {
            (None, _) => {}
            (Some(nothing), Some(wait)) => *wait = Some(nothing),
            (Some(nothing), None) => nothing.refused.write(&mut reply),
        }),
        _ => panic!("{} does not run on a keyspace", row.full_name()),
    };
    if keyspace.records.is_on {
        journal::record_if_changed(keyspace, row, call.db, args, shards_of_server, dirty, result.is_ok());
    }
    match result {
        Ok(()) => true,
        Err(error) => {
            fail(stats, row, &error, start, out);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::lookup;
    use crate::keyspace::{Actor, Expiry, StringRef};
    use crate::resp::Protocol;

    const NOW_MS: u64 = 1_700_000_000_000;
    const SHARDS: usize = 3;

    /// Keyspaces of a server, all held, and the same commands on one keyspace.
    struct World {
        keyspaces: Vec<Keyspace>,
        alone: Keyspace,
        overlay: Option<Box<Keyspace>>,
        config: Config,
        stats: Stats,
    }

    fn run(world: &mut World, on_all: bool, line: &str) -> String {
        let mut alone_overlay = None;
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let row = lookup(args[0]).expect("a command");
        let mut random = fastrand::Rng::with_seed(1);
        let mut out = Output::default();
        let call = Call { db: 0, protocol: Protocol::Resp2, touch: true, actor: Actor::default(), is_replayed: false };
        let parts: Parts<'_> = if on_all {
            world.keyspaces.iter_mut().map(Some).collect()
        } else {
            std::iter::once(Some(&mut world.alone)).collect()
        };
        let overlay = if on_all { &mut world.overlay } else { &mut alone_overlay };
        Union::new(parts.len(), parts, overlay, &world.config, &mut random).execute(
            row,
            call,
            &args,
            NOW_MS,
            &mut world.stats,
            &mut out,
        );
        String::from_utf8_lossy(out.bytes()).replace("\r\n", "|")
    }

    fn world() -> World {
        World {
            keyspaces: (0..SHARDS).map(|_| Keyspace::new(16, 1)).collect(),
            alone: Keyspace::new(16, 1),
            overlay: None,
            config: Config::default(),
            stats: Stats::default(),
        }
    }

    #[test]
    fn several_keyspaces_answer_as_one() {
        let mut world = world();
        let lines = "MSET a 1 b 2 c 3 d 4 e 5|MGET a b c d e nothing a|MGET b|DEL a nothing c|EXISTS a b c d d|DBSIZE|\
                     MSET a|RENAME b f|RENAME nothing f|RENAMENX d e|COPY e g|MGET a b c d e f g|MSETNX x 1 f 2|MSETNX x 1 y 2|\
                     TOUCH x y z|LCS x y LEN|INCR x|GET x|SWAPDB 0 1|DBSIZE|EXISTS x y|SWAPDB 1 0|DBSIZE|SWAPDB 0 99|\
                     UNLINK x y|DBSIZE|SET x v PX 100|RENAME x z|PTTL z|FLUSHALL|DBSIZE|MGET a b c|RANDOMKEY|FLUSHDB WRONG";
        for line in lines.split('|') {
            let (ours, expected) = (run(&mut world, true, line), run(&mut world, false, line));
            assert_eq!(ours, expected, "{line}");
        }
        assert!(world.keyspaces.iter().all(|keyspace| keyspace.len(0) == 0));
    }

    #[test]
    fn a_random_key_is_any_key_of_all_shards() {
        let mut world = world();
        for index in 0..40 {
            run(&mut world, true, &format!("SET k{index} v"));
        }
        let mut seen = std::collections::BTreeSet::new();
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2000 {
            let parts: Parts<'_> = world.keyspaces.iter_mut().map(Some).collect();
            let mut out = Output::default();
            let call =
                Call { db: 0, protocol: Protocol::Resp2, touch: true, actor: Actor::default(), is_replayed: false };
            Union::new(SHARDS, parts, &mut world.overlay, &world.config, &mut random).execute(
                lookup(b"RANDOMKEY").expect("a command"),
                call,
                &[b"RANDOMKEY"],
                NOW_MS,
                &mut world.stats,
                &mut out,
            );
            seen.insert(out.into_bytes());
        }
        assert_eq!(seen.len(), 40);
    }

    #[test]
    fn a_random_key_is_found_beside_shards_whose_keys_have_expired() {
        let mut world = world();
        let map = SlotMap::new(SHARDS);
        for index in 0..30 {
            let key = format!("k{index}").into_bytes();
            let keyspace = &mut world.keyspaces[map.shard_of(&key)];
            keyspace.begin(NOW_MS - 10, true);
            keyspace.set_string(0, &key, b"v", if index == 7 { Expiry::Clear } else { Expiry::At(NOW_MS - 1) });
        }
        assert_eq!(run(&mut world, true, "RANDOMKEY"), "$2|k7|");
    }

    #[test]
    fn events_and_books_are_those_of_the_keys_shard() {
        let mut world = world();
        let map = SlotMap::new(SHARDS);
        let (from, to) = (b"a", b"b");
        assert_ne!(map.shard_of(from), map.shard_of(to));
        run(&mut world, true, "SET a v");
        world.keyspaces[map.shard_of(to)].effects.listen(Class::all());
        run(&mut world, true, "RENAME a b");
        let noted: Vec<_> = world.keyspaces.iter_mut().map(|keyspace| keyspace.effects.take_all()).collect();
        assert_eq!(noted.iter().map(Vec::len).sum::<usize>(), noted[map.shard_of(to)].len());
        assert!(noted[map.shard_of(to)].iter().any(|effect| &*effect.key == to));
        let keyspace = &mut world.keyspaces[map.shard_of(to)];
        assert!(matches!(keyspace.read_string(0, to), Ok(Some(StringRef::Bytes(b"v")))));
        assert_eq!(world.keyspaces.iter().map(|keyspace| keyspace.dirty).sum::<u64>(), 2);
    }
}
