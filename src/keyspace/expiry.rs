//! Deadlines: set, cleared, come.

use super::{Event, Keyspace};
use crate::structure::table::Position;

impl Keyspace {
    /// Gives a key a deadline in unix ms; "expire". One that has come already removes the key: "del". Whether there was
    /// such a key.
    pub fn set_deadline(&mut self, db: usize, key: &[u8], deadline_ms: u64) -> bool {
        self.set_deadline_if(db, key, deadline_ms, |_| true)
    }

    /// The same if `allows` says yes to the present deadline. Whether there was such a key, and it did.
    pub fn set_deadline_if(
        &mut self,
        db: usize,
        key: &[u8],
        deadline_ms: u64,
        allows: impl FnOnce(Option<u64>) -> bool,
    ) -> bool {
        let Some(position) = self.write_position(db, key) else { return false };
        if !allows(self.databases[db].view(position).deadline_ms()) {
            return false;
        }
        if deadline_ms <= self.now_ms {
            let entry = self.databases[db].remove(position);
            self.changed(db, key, Event::DEL);
            self.discard(entry);
            return true;
        }
        self.databases[db].change(position, |entry| entry.set_deadline(Some(deadline_ms)));
        self.changed(db, key, Event::EXPIRE);
        true
    }

    /// Takes a key's deadline away; "persist". Whether there was such a key, and it had one.
    pub fn persist(&mut self, db: usize, key: &[u8]) -> bool {
        let Some(position) = self.write_position(db, key) else { return false };
        if self.databases[db].view(position).deadline_ms().is_none() {
            return false;
        }
        self.databases[db].change(position, |entry| entry.set_deadline(None));
        self.changed(db, key, Event::PERSIST);
        true
    }

    /// Removes an entry whose deadline has come; "expired". Counts no change: the log of writes learns of it by the
    /// event.
    #[cold]
    pub(super) fn expire_at(&mut self, db: usize, position: Position) {
        let entry = self.databases[db].remove(position);
        self.stats.expired += 1;
        self.effects.note(Event::EXPIRED, db, entry.view().key());
        self.discard(entry);
    }
}
