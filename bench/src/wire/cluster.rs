//! Where keys are in a cluster: slots, the map of slots to nodes, and what redirections say.

use super::value::Value;
use std::fmt;

/// Slots of a cluster.
pub const SLOTS: usize = 16_384;
/// The most nodes that are connected to.
pub const NODES_MAX: usize = 1_000;

/// CRC-16 as XMODEM has it: polynomial 0x1021, begins with 0.
const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

static CRC16: [u16; 256] = crc16_table();

/// The slot of a key: by what stands between the first `{` and the next `}`, if anything does.
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let behind = &key[open + 1..];
        let close = behind.iter().position(|&byte| byte == b'}')?;
        (0 < close).then(|| &behind[..close])
    });
    let hashed = tag.unwrap_or(key);
    let crc = hashed.iter().fold(0u16, |crc, &byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)]);
    crc % SLOTS as u16
}

/// Which node has which slot.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotMap {
    /// Addresses of the primaries.
    pub nodes: Vec<String>,
    /// By slot: index of the node; `None` where nobody serves.
    pub owners: Vec<Option<u16>>,
}

impl fmt::Debug for SlotMap {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} nodes, {} slots", self.nodes.len(), self.owners.iter().flatten().count())
    }
}

impl SlotMap {
    /// From the reply to `CLUSTER SLOTS`. An empty host means the one that was asked.
    pub fn of_slots(reply: &Value, asked: &str) -> Result<SlotMap, String> {
        let mut map = SlotMap { nodes: Vec::new(), owners: vec![None; SLOTS] };
        let unclear = || "the reply to CLUSTER SLOTS is not understood".to_string();
        for range in reply.list().ok_or_else(unclear)? {
            let Some([from, to, node, ..]) = range.list() else { return Err(unclear()) };
            let (from, to) = (from.integer().ok_or_else(unclear)?, to.integer().ok_or_else(unclear)?);
            let Some([host, port, ..]) = node.list() else { return Err(unclear()) };
            let host = host.text().unwrap_or_default();
            let port = port.integer().ok_or_else(unclear)?;
            map.add(from, to, &host, port, asked).ok_or_else(unclear)?;
        }
        map.checked()
    }

    /// From the reply to `CLUSTER SHARDS`.
    pub fn of_shards(reply: &Value, asked: &str) -> Result<SlotMap, String> {
        let mut map = SlotMap { nodes: Vec::new(), owners: vec![None; SLOTS] };
        let unclear = || "the reply to CLUSTER SHARDS is not understood".to_string();
        for shard in reply.list().ok_or_else(unclear)? {
            let nodes = shard.field("nodes").and_then(Value::list).ok_or_else(unclear)?;
            let is_primary = |node: &&Value| {
                let role = node.field("role").and_then(Value::text);
                matches!(role.as_deref(), Some("master" | "primary"))
            };
            let slots = shard.field("slots").and_then(Value::list).ok_or_else(unclear)?;
            let Some(node) = nodes.iter().find(is_primary) else { continue };
            let endpoint = node.field("endpoint").or_else(|| node.field("ip"));
            let host = endpoint.and_then(Value::text).unwrap_or_default();
            let port = node.field("port").and_then(Value::integer).ok_or_else(unclear)?;
            for range in slots.chunks_exact(2) {
                let (from, to) = (range[0].integer().ok_or_else(unclear)?, range[1].integer().ok_or_else(unclear)?);
                map.add(from, to, &host, port, asked).ok_or_else(unclear)?;
            }
        }
        map.checked()
    }

    fn add(&mut self, from: i64, to: i64, host: &str, port: i64, asked: &str) -> Option<()> {
        let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
        if SLOTS <= to || to < from || u16::try_from(port).is_err() {
            return None;
        }
        let host = if host.is_empty() || host == "?" { asked } else { host };
        let node = self.node(&address(host, port))?;
        self.owners[from..=to].fill(Some(node));
        Some(())
    }

    /// The index of a node, which is added if it is new; `None` if there are too many.
    pub fn node(&mut self, address: &str) -> Option<u16> {
        if let Some(at) = self.nodes.iter().position(|known| known == address) {
            return Some(at as u16);
        }
        if NODES_MAX <= self.nodes.len() {
            return None;
        }
        self.nodes.push(address.to_string());
        Some((self.nodes.len() - 1) as u16)
    }

    fn checked(self) -> Result<SlotMap, String> {
        if self.owners.iter().all(Option::is_none) {
            return Err("no node of the cluster serves a slot".into());
        }
        Ok(self)
    }
}

fn address(host: &str, port: i64) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A redirection that a node answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirection {
    /// The slot is elsewhere from now on.
    Moved { slot: u16, address: String },
    /// This once, after `ASKING`.
    Ask { address: String },
}

/// What an error says of another node, if it is a redirection. An empty host means the node that answered.
pub fn redirection(text: &[u8], asked: &str) -> Option<Redirection> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split(' ');
    let kind = words.next()?;
    if kind != "MOVED" && kind != "ASK" {
        return None;
    }
    let slot: u16 = words.next()?.parse().ok().filter(|slot| usize::from(*slot) < SLOTS)?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let address = address(if host.is_empty() || host == "?" { asked } else { host }, i64::from(port));
    Some(if kind == "MOVED" { Redirection::Moved { slot, address } } else { Redirection::Ask { address } })
}

#[cfg(test)]
mod tests {
    use super::super::value::parse;
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"{foo}bar"), 12182);
        assert_eq!(slot(b"a{foo}{bar}"), 12182);
        assert_eq!(slot(b"{}foo"), slot(b"{}foo"));
        assert_ne!(slot(b"{}foo"), slot(b"foo"));
        assert_eq!(slot(b""), 0);
    }

    fn value(wire: &str) -> Value {
        parse(wire.replace('|', "\r\n").as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn maps_are_read_in_both_forms() {
        let slots = value("*2|*3|:0|:8191|*3|$0||:7001|$1|a|*3|:8192|:16383|*3|$8|10.0.0.2|:7002|$1|b|");
        let map = SlotMap::of_slots(&slots, "127.0.0.1").unwrap();
        assert_eq!(map.nodes, ["127.0.0.1:7001", "10.0.0.2:7002"]);
        assert_eq!((map.owners[8191], map.owners[8192]), (Some(0), Some(1)));

        let node =
            |role: &str, port: u32| format!("*6|$4|role|${}|{role}|$8|endpoint|$3|::1|$4|port|:{port}|", role.len());
        let shard = format!("*1|*4|$5|slots|*2|:5|:6|$5|nodes|*2|{}{}", node("replica", 7001), node("master", 7002));
        let map = SlotMap::of_shards(&value(&shard), "h").unwrap();
        assert_eq!(map.nodes, ["[::1]:7002"]);
        assert_eq!((map.owners[4], map.owners[6]), (None, Some(0)));

        for bad in ["*0|", "$2|hi|", "*1|*3|:5|:99999|*2|$1|h|:1|", "*1|*3|:5|:4|*2|$1|h|:1|", "*1|*2|:5|:4|"] {
            assert!(SlotMap::of_slots(&value(bad), "h").is_err(), "{bad}");
        }
    }

    #[test]
    fn redirections_are_understood() {
        let moved = Redirection::Moved { slot: 3999, address: "127.0.0.1:6381".into() };
        assert_eq!(redirection(b"MOVED 3999 127.0.0.1:6381", "h"), Some(moved));
        assert_eq!(redirection(b"ASK 1 :7", "h"), Some(Redirection::Ask { address: "h:7".into() }));
        for bad in ["ERR x", "MOVED", "MOVED x h:1", "MOVED 99999 h:1", "MOVED 1 h", "MOVED 1 h:x"] {
            assert_eq!(redirection(bad.as_bytes(), "h"), None, "{bad}");
        }
    }
}
