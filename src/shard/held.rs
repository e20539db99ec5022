//! Who holds which engine: a core its own while it has work for it, and those of other cores for a window of commands,
//! or for a command that needs several. Not here: what is done with them, and what is lent ([`crate::route::locks`]).
//!
//! ```text
//!   visit               own 1 held ─▶ try 0 ─▶ busy: a parcel                    never waits
//!   several: 0, 1, 2    let go of all ─▶ 0 ─▶ 1 ─▶ 2 ─▶ all clear? ─▶ run        waits, and holds only lower ones
//! ```
//! So nobody waits for one who waits for him: who waits for an engine holds only lower ones, who waits for his own
//! otherwise holds none, and all others only try. `tests/model/` tries every order, with waits that never end by
//! themselves.

use crate::mutant::Mutant;
use crate::sync::{EngineGuard, EngineLock, spin_loop};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// What is asked of an engine before something runs in it.
pub trait Engine {
    /// Whether nothing of it is lent, read bit by bit, or waited for.
    fn is_free(&self) -> bool;

    /// Whether it is free and no snapshot has yet to record anything of it: then any command may run.
    fn is_quiet(&self) -> bool;
}

/// Engines of other cores that a core holds, by core.
pub type Visited<E> = [Option<EngineGuard<'static, E>>];

/// A core's hold on its own engine: taken for a pass, let go in the kernel.
pub struct Held<E: 'static> {
    core: usize,
    engines: &'static [EngineLock<E>],
    guard: Option<EngineGuard<'static, E>>,
    /// Whether an engine was waited for in vain.
    is_impatient: bool,
}

impl<E: 'static> Held<E> {
    /// That of one of these, not held yet.
    pub fn new(engines: &'static [EngineLock<E>], core: usize) -> Held<E> {
        Held { core, engines, guard: None, is_impatient: false }
    }

    /// Whose it is.
    #[inline]
    pub fn core(&self) -> usize {
        self.core
    }

    /// The engine of a core, behind its lock.
    #[inline]
    pub fn engine_of(&self, core: usize) -> &'static EngineLock<E> {
        &self.engines[core]
    }

    /// How long to wait for an engine: so long, or not at all until [`Held::be_patient`] if one was waited for in vain.
    fn patience(&self, limit: Duration) -> Duration {
        if self.is_impatient { Duration::ZERO } else { limit }
    }

    /// Engines may be waited for again.
    #[inline]
    pub fn be_patient(&mut self) {
        self.is_impatient = false;
    }

    /// Whether an engine was waited for in vain since then.
    #[inline]
    pub fn is_impatient(&self) -> bool {
        self.is_impatient
    }

    /// Takes hold. Waits for a visitor to finish its commands, a few microseconds.
    #[inline]
    pub fn take(&mut self) {
        if self.guard.is_none() {
            self.guard = Some(self.engines[self.core].lock());
        }
    }

    /// Takes hold unless a visitor has it; whether it is held now.
    #[inline]
    pub fn try_take(&mut self) -> bool {
        if self.guard.is_none() {
            self.guard = self.engines[self.core].try_lock();
        }
        self.guard.is_some()
    }

    /// Takes hold, or gives up after so long; whether it is held now.
    fn take_within(&mut self, limit: Duration) -> bool {
        if self.guard.is_none() {
            self.guard = self.engines[self.core].try_lock_for(limit);
        }
        self.guard.is_some()
    }

    /// Whether it is held now.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.guard.is_some()
    }

    /// Lets go: until [`Held::take`] nothing of the engine may be touched.
    #[inline]
    pub fn let_go(&mut self) {
        self.guard = None;
    }

    /// Lets whoever waits for the engine have it first, and takes hold again. False: somebody else has it now.
    #[inline]
    pub fn let_in(&mut self) -> bool {
        self.hand_over();
        self.try_take()
    }

    /// Lets go; who has waited longest has it next.
    #[inline]
    pub fn hand_over(&mut self) {
        if let Some(guard) = self.guard.take() {
            EngineGuard::unlock_fair(guard);
        }
    }
}

impl<E: 'static> Deref for Held<E> {
    type Target = E;

    #[inline]
    fn deref(&self) -> &E {
        self.guard.as_ref().expect("held during a pass")
    }
}

impl<E: 'static> DerefMut for Held<E> {
    #[inline]
    fn deref_mut(&mut self) -> &mut E {
        self.guard.as_mut().expect("held during a pass")
    }
}

/// Takes hold of the engines of several shards, given in rising order, and of the own one; waits for each of them for
/// so long. False: one is busy, or has something lent that is needed, or something large that a snapshot has yet to
/// record (`is_clear` tells, of engines that are not quiet), and only the own one is held.
pub fn hold_several<E: Engine>(
    own: &mut Held<E>,
    visited: &mut Visited<E>,
    wanted: &[usize],
    limit: Duration,
    is_clear: impl Fn(usize, &E) -> bool,
) -> bool {
    let core = own.core();
    let is_held = |shard: &usize| *shard == core || visited[*shard].is_some();
    if !(own.is_held() && wanted.iter().all(is_held)) {
        visited.fill_with(|| None);
        own.let_go();
        if !take_several(own, visited, wanted, limit) {
            own.is_impatient = true;
            visited.fill_with(|| None);
            own.take();
            return false;
        }
    }
    if Mutant::LentKeysLookFree.is_on() {
        return true;
    }
    let is_clear = wanted.iter().all(|&shard| {
        let engine = if shard == core { &**own } else { visited[shard].as_ref().expect("taken above") };
        engine.is_quiet() || is_clear(shard, engine)
    });
    if !is_clear {
        visited.fill_with(|| None);
    }
    is_clear
}

fn take_several<E>(own: &mut Held<E>, visited: &mut Visited<E>, wanted: &[usize], limit: Duration) -> bool {
    let (core, limit) = (own.core(), own.patience(limit));
    let lower = if Mutant::OwnEngineFirst.is_on() { 0 } else { wanted.partition_point(|&shard| shard < core) };
    let (below, above) = wanted.split_at(lower);
    let mut take = |own: &Held<E>, shard: usize| {
        let engine = own.engine_of(shard);
        visited[shard] = engine.try_lock().or_else(|| engine.try_lock_for(limit));
        visited[shard].is_some()
    };
    below.iter().all(|&shard| take(own, shard))
        && (own.try_take() || own.take_within(limit))
        && above.iter().all(|&shard| shard == core || take(own, shard))
}

/// Takes hold of another core's engine, unless that is busy all the time (it is looked at so often) or has something
/// lent.
pub fn visit<E: Engine>(own: &Held<E>, visited: &mut Visited<E>, shard: usize, spins: usize) -> bool {
    visit_if(own, visited, shard, spins, E::is_free)
}

/// The same, unless it is not fit. Who runs commands there needs one of which nothing is lent.
pub fn visit_if<E: Engine>(
    own: &Held<E>,
    visited: &mut Visited<E>,
    shard: usize,
    spins: usize,
    is_fit: impl Fn(&E) -> bool,
) -> bool {
    for _ in 0..spins {
        let engine = own.engine_of(shard);
        let peer = if Mutant::VisitorsWait.is_on() { Some(engine.lock()) } else { engine.try_lock() };
        if let Some(peer) = peer {
            if is_fit(&peer) || Mutant::LentKeysLookFree.is_on() {
                visited[shard] = Some(peer);
            }
            break;
        }
        spin_loop();
    }
    visited[shard].is_some()
}
