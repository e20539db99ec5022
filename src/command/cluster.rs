//! The core-aware cluster view: with `core-ports`, each core is shown to cluster clients as a node of its own, with its
//! range of slots and its own port, so that they send every command straight to the core that owns its keys.
//!
//! ```text
//!   a cluster client                     CLUSTER SLOTS
//!   slot  8191 ──▶ port 7001 ─▶ core 0      0 …  8191  →  address:7001
//!   slot  8192 ──▶ port 7002 ─▶ core 1   8192 … 16383  →  address:7002
//!   any client ──▶ port 6379 ─▶ some core, which forwards
//! ```
//! It is a view, not a cluster: nobody is ever redirected (no MOVED, no CROSSSLOT), every port serves every key and all
//! databases, a command's keys may be anywhere. So a client with an old map, or with none, only pays the hop. Nodes
//! come, go and change slots only when the server starts anew; commands that would change the map are refused.
//! Without `core-ports` everything answers as in a Redis that is no node.
//!
//! The address shown is the one at which the asking client reached the server, unless `cluster-announce-ip` says
//! another; so clients on several networks each get one that works for them.

use super::client::write_help;
use super::{
    Args, Categories, Command, CommandResult, Context, Flags, Gather, Group, Run, SessionView, Spread, survey,
};
use crate::config::{Config, EndpointType};
use crate::resp::{Error, Reply};
use crate::route::SlotMap;
use crate::route::slot::slot_of;
use crate::session::{Mode, Session};
use crate::shared::Shared;
use crate::value::number::parse_integer;
use sha1::{Digest as _, Sha1};
use std::fmt::Write as _;

const INFORMS: &[&str] = &["nondeterministic_output"];
const DISABLED: Error = Error::fixed("ERR This instance has cluster support disabled");
const UNCHANGEABLE: Error =
    Error::fixed("ERR The nodes are the cores of this server, and change only when it starts anew");
/// What a connection over a Unix socket is told: the server's address on the same machine.
const LOOPBACK: &str = "127.0.0.1";

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("ASKING", Run::Session(accept)).arity(1).flags(Flags::FAST).categories(Categories::CONNECTION).docs(
        Group::Cluster,
        "3.0.0",
        "Accepted: no slot ever moves from one core to another.",
    ),
    Command::new("CLUSTER", Run::Container)
        .arity(-2)
        .docs(Group::Cluster, "3.0.0", "Commands about the cores as nodes of a cluster.")
        .complexity("Depends on subcommand.")
        .absent(refuse_absent)
        .subcommands(SUBCOMMANDS),
    Command::new("READONLY", Run::Session(accept))
        .arity(1)
        .flags(Flags::FAST.union(Flags::LOADING).union(Flags::STALE))
        .categories(Categories::CONNECTION)
        .docs(Group::Cluster, "3.0.0", "Accepted: there are no replicas to read from.")
        .complexity("O(1)"),
    Command::new("READWRITE", Run::Session(accept))
        .arity(1)
        .flags(Flags::FAST.union(Flags::LOADING).union(Flags::STALE))
        .categories(Categories::CONNECTION)
        .docs(Group::Cluster, "3.0.0", "Accepted: what READONLY asked for is over.")
        .complexity("O(1)"),
];

const SUBCOMMANDS: &[Command] = &[
    Command::new("COUNTKEYSINSLOT", Run::Keyspace(count_keys_in_slot))
        .arity(3)
        .flags(Flags::STALE)
        .spread(Spread::Survey(Gather::Sum, None))
        .docs(Group::Cluster, "3.0.0", "Returns the number of keys in a slot.")
        .complexity("O(N) where N is the number of keys of the core that owns the slot")
        .syntax("slot:integer"),
    Command::new("GETKEYSINSLOT", Run::Keyspace(keys_in_slot))
        .arity(4)
        .flags(Flags::STALE)
        .spread(Spread::Survey(Gather::Concat, Some(3)))
        .docs(Group::Cluster, "3.0.0", "Returns keys of a slot.")
        .complexity("O(N) where N is the number of keys of the core that owns the slot")
        .syntax("slot:integer count:integer")
        .tips(&["nondeterministic_output"]),
    Command::new("HELP", Run::Session(help)).arity(2).flags(Flags::LOADING.union(Flags::STALE)).docs(
        Group::Cluster,
        "5.0.0",
        "Describes the subcommands.",
    ),
    Command::new("INFO", Run::Session(info))
        .arity(2)
        .flags(Flags::STALE)
        .docs(Group::Cluster, "3.0.0", "Returns the state of the cluster of cores.")
        .complexity("O(1)")
        .tips(INFORMS),
    Command::new("KEYSLOT", Run::Session(key_slot))
        .arity(3)
        .flags(Flags::STALE)
        .docs(Group::Cluster, "3.0.0", "Returns the slot of a key.")
        .complexity("O(N) where N is the length of the key")
        .syntax("key:string"),
    Command::new("LINKS", Run::Session(links))
        .arity(2)
        .flags(Flags::STALE)
        .docs(Group::Cluster, "7.0.0", "Returns nothing: cores need no links.")
        .complexity("O(1)")
        .tips(INFORMS),
    Command::new("MYID", Run::Session(my_id))
        .arity(2)
        .flags(Flags::STALE)
        .docs(
            Group::Cluster,
            "3.0.0",
            "Returns the id of the core whose port is used; on the shared port, of the first.",
        )
        .complexity("O(1)"),
    Command::new("NODES", Run::Session(nodes))
        .arity(2)
        .flags(Flags::STALE)
        .docs(Group::Cluster, "3.0.0", "Returns the cores as nodes, a line each.")
        .complexity("O(N) where N is the number of cores")
        .tips(INFORMS),
    Command::new("REPLICAS", Run::Session(replicas))
        .arity(3)
        .flags(Flags::ADMIN.union(Flags::STALE))
        .docs(Group::Cluster, "5.0.0", "Returns the replicas of a core: none.")
        .complexity("O(1)")
        .syntax("node-id")
        .tips(INFORMS),
    Command::new("SHARDS", Run::Session(shards))
        .arity(2)
        .flags(Flags::STALE)
        .docs(Group::Cluster, "7.0.0", "Returns the slots of each core with its address, as maps.")
        .complexity("O(N) where N is the number of cores")
        .tips(INFORMS),
    Command::new("SLAVES", Run::Session(replicas))
        .arity(3)
        .flags(Flags::ADMIN.union(Flags::STALE))
        .deprecated("5.0.0", "`CLUSTER REPLICAS`")
        .docs(Group::Cluster, "3.0.0", "Returns the replicas of a core: none.")
        .complexity("O(1)")
        .syntax("node-id")
        .tips(INFORMS),
    Command::new("SLOTS", Run::Session(slots))
        .arity(2)
        .flags(Flags::STALE)
        .deprecated("7.0.0", "`CLUSTER SHARDS`")
        .docs(Group::Cluster, "3.0.0", "Returns the slots of each core with its address.")
        .complexity("O(N) where N is the number of cores")
        .tips(INFORMS),
];

/// Subcommands of Redis that change nodes or slots, or ask what only a bus between nodes could tell, and their arity.
const ABSENT: [(&str, i16); 15] = [
    ("addslots", -3),
    ("addslotsrange", -4),
    ("bumpepoch", 2),
    ("count-failure-reports", 3),
    ("delslots", -3),
    ("delslotsrange", -4),
    ("failover", -2),
    ("flushslots", 2),
    ("forget", 3),
    ("meet", -4),
    ("replicate", 3),
    ("reset", -2),
    ("saveconfig", 2),
    ("set-config-epoch", 3),
    ("setslot", -4),
];

fn refuse_absent(config: &Config, args: &Args<'_>) -> Option<Error> {
    let (name, arity) = *ABSENT.iter().find(|(name, _)| args[1].eq_ignore_ascii_case(name.as_bytes()))?;
    let (least, len) = (usize::from(arity.unsigned_abs()), args.len());
    let is_right = if arity < 0 { least <= len } else { least == len };
    if !is_right {
        return Some(Error::wrong_arity(&format!("cluster|{name}")));
    }
    Some(check_enabled(config).err().unwrap_or(UNCHANGEABLE))
}

/// Refuses where cores are not shown as nodes.
///
/// # Errors
/// `core-ports` is not set.
pub fn check_enabled(config: &Config) -> CommandResult {
    if config.core_ports == 0 { Err(DISABLED) } else { Ok(()) }
}

/// The core whose own port a client uses, if it asks for that core's keys alone, as a cluster client asks every node:
/// outside transactions. As `DBSIZE` there.
pub fn own_core(view: &SessionView<'_>) -> Option<usize> {
    let session = &view.session;
    (session.is_node && !session.mode.contains(Mode::DENY_BLOCKING)).then_some(session.core)
}

/// The own port of the core that a client uses by it.
pub fn own_port(view: &SessionView<'_>) -> Option<u16> {
    view.session.is_node.then(|| port_of(view.config, view.session.core))
}

fn port_of(config: &Config, core: usize) -> u16 {
    config.core_ports + u16::try_from(core).expect("the last port was checked at start")
}

/// The cores as the asking client shall see them.
struct View<'a> {
    map: SlotMap,
    shared: &'a Shared,
    config: &'a Config,
    session: &'a Session,
    /// Where clients find the server.
    ip: &'a str,
}

/// One core in it.
struct Node {
    core: usize,
    /// 40 hexadecimal digits, others at every start.
    id: String,
    port: u16,
    first_slot: u16,
    last_slot: u16,
}

impl<'a> View<'a> {
    fn of(view: &'a SessionView<'_>) -> Result<View<'a>, Error> {
        check_enabled(view.config)?;
        let (session, config) = (&*view.session, view.config);
        let reached = match session.local.rsplit_once(':') {
            Some((ip, port)) if port != "0" => ip.trim_start_matches('[').trim_end_matches(']'),
            _ => LOOPBACK,
        };
        let ip = if config.cluster_announce_ip.is_empty() { reached } else { &config.cluster_announce_ip };
        Ok(View { map: SlotMap::new(view.shared.cores), shared: view.shared, config, session, ip })
    }

    fn node(&self, core: usize) -> Node {
        let (first_slot, last_slot) = self.map.slots_of(core);
        let port = port_of(self.config, core);
        Node { core, id: node_id(&self.shared.run_id, core), port, first_slot, last_slot }
    }

    fn nodes(&self) -> impl Iterator<Item = Node> {
        (0..self.map.shards()).map(|core| self.node(core))
    }

    /// What `cluster-preferred-endpoint-type` wants clients to use; `None`: the host they used.
    fn endpoint(&self) -> Option<&str> {
        match self.config.cluster_preferred_endpoint_type {
            EndpointType::Ip => Some(self.ip),
            EndpointType::Hostname if self.config.cluster_announce_hostname.is_empty() => Some("?"),
            EndpointType::Hostname => Some(&self.config.cluster_announce_hostname),
            EndpointType::UnknownEndpoint => None,
        }
    }

    fn write_endpoint(&self, reply: &mut Reply<'_>) {
        match self.endpoint() {
            Some(endpoint) => reply.bulk(endpoint),
            None => reply.null(),
        }
    }

    /// What `CLUSTER SLOTS` tells beside the preferred endpoint.
    fn more_endpoints(&self) -> Vec<(&'static str, &str)> {
        let kind = self.config.cluster_preferred_endpoint_type;
        let mut more = Vec::new();
        if kind != EndpointType::Ip {
            more.push(("ip", self.ip));
        }
        if kind != EndpointType::Hostname && !self.config.cluster_announce_hostname.is_empty() {
            more.push(("hostname", self.config.cluster_announce_hostname.as_str()));
        }
        more
    }
}

/// The core that a client talks to as a node: that of the port that it uses. The shared port belongs to none, and its
/// connections may go from core to core unseen: it answers as the first, always.
fn node_of(session: &Session) -> usize {
    if session.is_node { session.core } else { 0 }
}

/// The id of a core as a node: 40 hexadecimal digits, others at every start.
fn node_id(run_id: &str, core: usize) -> String {
    let digest = Sha1::digest(format!("{run_id}/{core}"));
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut id, byte| {
        write!(id, "{byte:02x}").expect("strings take all");
        id
    })
}

fn accept(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    check_enabled(view.config)?;
    reply.ok();
    Ok(())
}

fn help(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    check_enabled(view.config)?;
    write_help(args, SUBCOMMANDS, reply);
    Ok(())
}

fn info(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let cores = View::of(view)?.map.shards();
    let text = format!(
        "cluster_state:ok\r\ncluster_slots_assigned:{slots}\r\ncluster_slots_ok:{slots}\r\ncluster_slots_pfail:0\r\n\
         cluster_slots_fail:0\r\ncluster_known_nodes:{cores}\r\ncluster_size:{cores}\r\n\
         cluster_current_epoch:{cores}\r\ncluster_my_epoch:{epoch}\r\ncluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n",
        slots = crate::route::slot::SLOTS,
        epoch = node_of(view.session) + 1,
    );
    reply.verbatim(b"txt", text);
    Ok(())
}

fn key_slot(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    check_enabled(view.config)?;
    reply.integer(slot_of(args[2]).into());
    Ok(())
}

/// The slot that an argument names.
fn slot(arg: &[u8], out_of_range: Error) -> Result<u16, Error> {
    let slot = parse_integer(arg).ok_or(Error::NOT_INTEGER)?;
    u16::try_from(slot).ok().filter(|&slot| usize::from(slot) < crate::route::slot::SLOTS).ok_or(out_of_range)
}

/// Whether a shard has the keys of a slot.
fn owns(context: &Context<'_>, slot: u16) -> bool {
    SlotMap::new(context.shards).shard_of_slot(slot) == context.shard
}

fn count_keys_in_slot(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    check_enabled(context.config)?;
    let slot = slot(args[2], Error::fixed("ERR Invalid slot"))?;
    let place = survey::Place::of(args, 3);
    if owns(context, slot) {
        survey::count(context, place, |key| slot_of(key) == slot, reply);
    } else {
        place.begin(0, reply);
        reply.integer(0);
    }
    Ok(())
}

fn keys_in_slot(context: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    const INVALID: Error = Error::fixed("ERR Invalid slot or number of keys");
    check_enabled(context.config)?;
    // The types of both arguments come before their ranges.
    let count = parse_integer(args[2]).and_then(|_| parse_integer(args[3])).ok_or(Error::NOT_INTEGER)?;
    let slot = slot(args[2], INVALID)?;
    let limit = usize::try_from(count).map_err(|_| INVALID)?;
    let place = survey::Place::of(args, 4);
    if owns(context, slot) {
        survey::keys(context, place, limit, |key| slot_of(key) == slot, reply);
    } else {
        place.begin(0, reply);
        reply.array(0);
    }
    Ok(())
}

fn links(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    check_enabled(view.config)?;
    reply.array(0);
    Ok(())
}

fn my_id(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let view = View::of(view)?;
    reply.bulk(view.node(node_of(view.session)).id);
    Ok(())
}

/// `<id> <ip:port@bus-port[,hostname]> <flags> <primary> <ping> <pong> <epoch> <link> <slots>`, a line a node. Cores
/// have no bus; its port is 0. `myself` is the core whose own port the client uses: redis-benchmark takes the address
/// that it called for that node's, and the shared port belongs to no core.
fn nodes(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let view = View::of(view)?;
    let mut text = String::new();
    for node in view.nodes() {
        let Node { core, id, port, first_slot, last_slot } = node;
        let hostname = match view.config.cluster_announce_hostname.as_str() {
            "" => String::new(),
            hostname => format!(",{hostname}"),
        };
        let flags = if view.session.is_node && core == view.session.core { "myself,master" } else { "master" };
        let slots = if first_slot == last_slot { first_slot.to_string() } else { format!("{first_slot}-{last_slot}") };
        let epoch = core + 1;
        writeln!(text, "{id} {}:{port}@0{hostname} {flags} - 0 0 {epoch} connected {slots}", view.ip)
            .expect("strings take all");
    }
    reply.verbatim(b"txt", text);
    Ok(())
}

fn replicas(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let view = View::of(view)?;
    if !view.nodes().any(|node| node.id.as_bytes().eq_ignore_ascii_case(args[2])) {
        return Err(Error::new([b"ERR Unknown node ", args[2]].concat()));
    }
    reply.array(0);
    Ok(())
}

fn shards(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let view = View::of(view)?;
    let hostname = view.config.cluster_announce_hostname.as_str();
    reply.array(view.map.shards());
    for node in view.nodes() {
        reply.map(2);
        reply.bulk("slots");
        reply.array(2);
        reply.integer(node.first_slot.into());
        reply.integer(node.last_slot.into());
        reply.bulk("nodes");
        reply.array(1);
        reply.map(7 + usize::from(!hostname.is_empty()));
        reply.bulk("id");
        reply.bulk(node.id);
        reply.bulk("port");
        reply.integer(node.port.into());
        reply.bulk("ip");
        reply.bulk(view.ip);
        reply.bulk("endpoint");
        view.write_endpoint(reply);
        if !hostname.is_empty() {
            reply.bulk("hostname");
            reply.bulk(hostname);
        }
        reply.bulk("role");
        reply.bulk("master");
        reply.bulk("replication-offset");
        reply.integer(0);
        reply.bulk("health");
        reply.bulk("online");
    }
    Ok(())
}

fn slots(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let view = View::of(view)?;
    let more = view.more_endpoints();
    reply.array(view.map.shards());
    for node in view.nodes() {
        reply.array(3);
        reply.integer(node.first_slot.into());
        reply.integer(node.last_slot.into());
        reply.array(4);
        view.write_endpoint(reply);
        reply.integer(node.port.into());
        reply.bulk(node.id);
        reply.map(more.len());
        for (name, value) in &more {
            reply.bulk(*name);
            reply.bulk(*value);
        }
    }
    Ok(())
}
