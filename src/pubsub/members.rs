//! The subscribers among the connections of one core.

use crate::session::Audience;
use ahash::AHashMap;
use std::sync::Arc;

/// By name, the connections that are subscribed to it.
#[derive(Debug, Default)]
pub struct Members {
    /// Each list is in order of the connections' numbers: who joins or leaves is found by halving, and messages are
    /// handed out as the connections lie in memory.
    by_name: [AHashMap<Arc<[u8]>, Vec<u32>>; Audience::ALL.len()],
}

impl Members {
    /// The connections that are subscribed to a name.
    pub fn of(&self, audience: Audience, name: &[u8]) -> &[u32] {
        self.by_name[audience as usize].get(name).map_or(&[], Vec::as_slice)
    }

    /// One more.
    pub fn join(&mut self, audience: Audience, name: Arc<[u8]>, connection: u32) {
        let members = self.by_name[audience as usize].entry(name).or_default();
        let at = members.binary_search(&connection).expect_err("a client joins once");
        members.insert(at, connection);
    }

    /// One less.
    pub fn leave(&mut self, audience: Audience, name: &[u8], connection: u32) {
        let names = &mut self.by_name[audience as usize];
        let members = names.get_mut(name).expect("who leaves has joined");
        let at = members.binary_search(&connection).expect("who leaves has joined");
        members.remove(at);
        if members.is_empty() {
            names.remove(name);
            if names.is_empty() {
                *names = AHashMap::default(); // Memory of a crowd that left.
            }
        }
    }
}
