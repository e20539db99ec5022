//! Which cores have subscribers of a name, and how many.

use ahash::AHashMap;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use xxhash_rust::xxh3::xxh3_64;

/// Stripes of a directory: a subscriber keeps publishers of one name in so many waiting, and a table that grows is only
/// this part of the whole.
const STRIPES: usize = 64;

/// Subscribers of one name, by core.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(SmallVec<[(u32, u32); 2]>);

impl Counts {
    fn add(&mut self, core: usize, more: u32) {
        match self.0.iter_mut().find(|(of, _)| *of as usize == core) {
            Some((_, count)) => *count += more,
            None => self.0.push((core as u32, more)),
        }
    }

    /// Those of another name beside these.
    pub fn add_all(&mut self, others: &Counts) {
        for &(core, count) in &others.0 {
            self.add(core as usize, count);
        }
    }

    fn take_one(&mut self, core: usize) {
        let at = self.0.iter().position(|(of, _)| *of as usize == core).expect("who leaves has joined");
        self.0[at].1 -= 1;
        if self.0[at].1 == 0 {
            self.0.remove(at);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Of all cores.
    pub fn total(&self) -> usize {
        self.0.iter().map(|(_, count)| *count as usize).sum()
    }

    /// The cores that have any.
    pub fn cores(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|(core, _)| *core as usize)
    }
}

type Names = AHashMap<Arc<[u8]>, Counts>;

/// Names of one kind.
pub struct Directory {
    stripes: Box<[RwLock<Names>]>,
    /// Names over all stripes.
    len: AtomicUsize,
}

impl Directory {
    /// Without names.
    pub fn new() -> Directory {
        Directory::with_stripes(STRIPES)
    }

    /// For names that are always looked at together.
    pub fn of_one_stripe() -> Directory {
        Directory::with_stripes(1)
    }

    fn with_stripes(stripes: usize) -> Directory {
        Directory { stripes: (0..stripes).map(|_| RwLock::default()).collect(), len: AtomicUsize::new(0) }
    }

    /// Whether nobody is subscribed to anything.
    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    /// How many names have a subscriber.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    fn stripe(&self, name: &[u8]) -> &RwLock<Names> {
        match &*self.stripes {
            [only] => only,
            stripes => &stripes[xxh3_64(name) as usize % stripes.len()],
        }
    }

    /// Looks a name up, together with other readers.
    pub fn read(&self, name: &[u8]) -> StripeView<'_> {
        StripeView(self.stripe(name).read().expect("a panic ends the process"))
    }

    /// Changes a name's subscribers, alone.
    pub fn write(&self, name: &[u8]) -> Stripe<'_> {
        Stripe { names: self.stripe(name).write().expect("a panic ends the process"), len: &self.len }
    }

    /// Shows every name, stripe by stripe.
    pub fn for_each(&self, mut visit: impl FnMut(&Arc<[u8]>, &Counts)) {
        for stripe in &self.stripes {
            stripe.read().expect("a panic ends the process").iter().for_each(|(name, counts)| visit(name, counts));
        }
    }
}

/// A stripe that is read.
pub struct StripeView<'a>(RwLockReadGuard<'a, Names>);

impl StripeView<'_> {
    /// Who is subscribed to a name.
    pub fn counts(&self, name: &[u8]) -> Option<&Counts> {
        self.0.get(name)
    }

    /// All names of the stripe.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<[u8]>, &Counts)> {
        self.0.iter()
    }
}

/// A stripe that is changed: nobody publishes to its names meanwhile.
pub struct Stripe<'a> {
    names: RwLockWriteGuard<'a, Names>,
    len: &'a AtomicUsize,
}

impl Stripe<'_> {
    /// One client more of a core. Returns the name as it is shared.
    pub fn join(&mut self, core: usize, name: &[u8]) -> Arc<[u8]> {
        if let Some((shared, _)) = self.names.get_key_value(name) {
            let shared = shared.clone();
            self.names.get_mut(name).expect("found before").add(core, 1);
            return shared;
        }
        let shared: Arc<[u8]> = name.into();
        let mut counts = Counts::default();
        counts.add(core, 1);
        self.names.insert(shared.clone(), counts);
        self.len.fetch_add(1, Ordering::Release);
        shared
    }

    /// One client less.
    pub fn leave(&mut self, core: usize, name: &[u8]) {
        let counts = self.names.get_mut(name).expect("who leaves has joined");
        counts.take_one(core);
        if counts.is_empty() {
            self.names.remove(name);
            self.len.fetch_sub(1, Ordering::Release);
            if self.names.is_empty() {
                *self.names = Names::default(); // Memory of a crowd that left.
            }
        }
    }
}
