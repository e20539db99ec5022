//! Lists: a quicklist under a key.
//!
//! Redis 7.0 says "quicklist" of every list, however short, and so does this server. Not here: the structure
//! (`structure::quicklist`) and the commands.

use super::Container;
pub use crate::structure::quicklist::{Element, Fill, Node, Quicklist as List, Sought};

impl Container for List {
    fn encoding_name(&self) -> &'static str {
        "quicklist"
    }

    fn heap_bytes(&self) -> usize {
        List::heap_bytes(self)
    }

    fn duplicate(&self) -> Self {
        List::duplicate(self)
    }

    fn is_heavy(&self) -> bool {
        List::is_heavy(self)
    }

    fn free_some(&mut self, budget: usize) -> bool {
        List::free_some(self, budget)
    }
}
