//! What is due goes to a free place: in plain mode of any connection, in cluster mode of the node that has the key.

use super::super::connection::{Kept, Pending, Purpose};
use super::Worker;
use super::links::{Link, State, mark_dirty};
use crate::wire::append_request;
use crate::wire::cluster::{Redirection, SLOTS, SlotMap, slot};
use crate::wire::endpoint::Endpoint;
use std::collections::VecDeque;

/// Requests that are sent before replies are looked at again.
const BURST_MAX: usize = 4096;
/// Requests that wait for busy nodes of a cluster; beyond, the schedule waits.
const QUEUED_MAX: usize = 65_536;

pub(super) struct Token {
    pub(super) link: usize,
    pub(super) generation: u32,
    pub(super) freed_ns: u64,
}

/// A request that waits for a place on its node.
pub(super) struct Queued {
    pub(super) pending: Pending,
    pub(super) is_asking: bool,
}

pub(super) struct Node {
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
    pub(super) tokens: VecDeque<Token>,
    pub(super) queue: VecDeque<Queued>,
}

impl Node {
    pub(super) fn new(name: String, endpoint: Endpoint) -> Node {
        Node { name, endpoint, tokens: VecDeque::new(), queue: VecDeque::new() }
    }
}

impl Worker {
    /// The moment at which the next request is planned, if that is not later than now.
    pub(super) fn next_planned_ns(&mut self, now_ns: u64) -> Option<u64> {
        if !self.is_planning {
            return None;
        }
        match &self.schedule {
            None if self.map.is_some() && self.places == 0 => None,
            None => (now_ns < self.book.end_ns).then_some(now_ns),
            Some(schedule) => {
                let planned_ns = self.start_ns + schedule.next_ns();
                (planned_ns <= now_ns && planned_ns < self.book.end_ns).then_some(planned_ns)
            }
        }
    }

    /// The request planned for this moment is made: goes on to the next.
    pub(super) fn consume(&mut self, planned_ns: u64) {
        if let Some(schedule) = &mut self.schedule {
            schedule.advance();
        } else if self.map.is_some() {
            self.places -= 1;
        }
        if let Some(quota) = &mut self.quota
            && self.book.begin_ns <= planned_ns
        {
            *quota -= 1;
            self.is_planning = 0 < *quota;
        }
    }

    /// Sends what is due where there is a place.
    pub(super) fn dispatch(&mut self, now_ns: u64) {
        for node in 0..self.nodes.len() {
            while !self.nodes[node].queue.is_empty() {
                let Some(token) = self.take_token(node) else { break };
                let queued = self.nodes[node].queue.pop_front().expect("looked at");
                self.queued -= 1;
                self.assign(token, queued);
            }
        }
        if self.quota == Some(0) {
            self.is_planning = false;
        }
        for _ in 0..BURST_MAX {
            let Some(planned_ns) = self.next_planned_ns(now_ns) else { break };
            if self.map.is_some() {
                if QUEUED_MAX <= self.queued {
                    break;
                }
                self.consume(planned_ns);
                self.dispatch_by_slot(planned_ns, now_ns);
                continue;
            }
            let Some(token) = self.take_token(0) else { break };
            self.consume(planned_ns);
            let link = &mut self.links[token.link];
            let command = self.requests.append(link.connection.out()) as u16;
            let due_ns = if self.schedule.is_some() { planned_ns.max(token.freed_ns) } else { token.freed_ns };
            link.connection.push(Pending {
                purpose: Purpose::Load(command),
                planned_ns,
                due_ns,
                sent_ns: 0,
                kept: None,
            });
            mark_dirty(link, token.link, &mut self.dirty);
        }
    }

    pub(super) fn dispatch_by_slot(&mut self, planned_ns: u64, now_ns: u64) {
        self.request.clear();
        let command = self.requests.append(&mut self.request) as u16;
        let slot = self.requests.first_key().map(slot);
        let kept = Some(Kept { bytes: self.request.clone().into_boxed_slice(), slot });
        let pending = Pending { purpose: Purpose::Load(command), planned_ns, due_ns: planned_ns, sent_ns: 0, kept };
        // What has no key goes to any node: by the clock, so that all get some.
        let node = self.node_of_slot(slot.unwrap_or((now_ns % SLOTS as u64) as u16));
        self.send_to(node, Queued { pending, is_asking: false });
    }

    /// The node that has a slot; the first one if the map knows none.
    fn node_of_slot(&self, slot: u16) -> usize {
        let map = self.map.as_ref().expect("in cluster mode");
        map.owners[usize::from(slot)].map_or(0, usize::from)
    }

    /// Sends a request to a node, or lets it wait there.
    pub(super) fn send_to(&mut self, node: usize, queued: Queued) {
        let token = if self.nodes[node].queue.is_empty() { self.take_token(node) } else { None };
        match token {
            Some(token) => self.assign(token, queued),
            None => {
                self.nodes[node].queue.push_back(queued);
                self.queued += 1;
            }
        }
    }

    pub(super) fn assign(&mut self, token: Token, queued: Queued) {
        let Queued { mut pending, is_asking } = queued;
        let link = &mut self.links[token.link];
        if is_asking {
            append_request(&[b"ASKING"], link.connection.out());
            let asking = Pending { purpose: Purpose::Asking, kept: None, sent_ns: 0, ..pending };
            link.connection.push(asking);
        }
        pending.due_ns = pending.due_ns.max(token.freed_ns);
        let kept = pending.kept.as_ref().expect("in cluster mode");
        link.connection.out().extend_from_slice(&kept.bytes);
        link.connection.push(pending);
        mark_dirty(link, token.link, &mut self.dirty);
    }

    pub(super) fn take_token(&mut self, node: usize) -> Option<Token> {
        while let Some(token) = self.nodes[node].tokens.pop_front() {
            let link = &self.links[token.link];
            if link.generation == token.generation && link.state == State::Ready {
                return Some(token);
            }
        }
        None
    }

    pub(super) fn redirect(&mut self, pending: Pending, to: Redirection) {
        self.book.record.redirections += 1;
        let (address, slot) = match &to {
            Redirection::Moved { slot, address } => (address, Some(*slot)),
            Redirection::Ask { address } => (address, None),
        };
        let Some(node) = self.node_of(address) else {
            return self.shared.fail(format!("a redirection to {address} cannot be followed"));
        };
        if let Some(slot) = slot {
            let map = self.map.as_mut().expect("in cluster mode");
            map.owners[usize::from(slot)] = Some(node as u16);
            self.shared.want_map();
        }
        self.send_to(node, Queued { pending, is_asking: slot.is_none() });
    }

    /// The node with this address, which is connected to if it is new.
    pub(super) fn node_of(&mut self, address: &str) -> Option<usize> {
        let map = self.map.as_mut().expect("in cluster mode");
        let node = usize::from(map.node(address)?);
        if node == self.nodes.len() {
            self.nodes.push(Node::new(address.to_string(), Endpoint::resolve(address).ok()?));
            let per_node = self.links.len().div_ceil(node);
            self.links.extend((0..per_node).map(|_| Link::new(node)));
        }
        Some(node)
    }

    /// Takes a new map of the cluster; what waits for nodes that lost its slot goes to their successors.
    pub(super) fn take_map(&mut self, map: &SlotMap) {
        let nodes: Vec<Option<usize>> = map.nodes.iter().map(|name| self.node_of(name)).collect();
        let owners = map.owners.iter().map(|owner| {
            let node = nodes[usize::from((*owner)?)]?;
            Some(node as u16)
        });
        self.map.as_mut().expect("in cluster mode").owners = owners.collect();
        let waiting: Vec<Queued> = self.nodes.iter_mut().flat_map(|node| node.queue.drain(..)).collect();
        self.queued = 0;
        for queued in waiting {
            let slot = queued.pending.kept.as_ref().expect("in cluster mode").slot;
            let node = self.node_of_slot(slot.unwrap_or(0));
            self.send_to(node, queued);
        }
    }

    /// Whether there is a place for a request.
    pub(super) fn has_place(&self) -> bool {
        if self.map.is_none() {
            return !self.nodes[0].tokens.is_empty();
        }
        self.queued < QUEUED_MAX && (self.schedule.is_some() || 0 < self.places)
    }
}
