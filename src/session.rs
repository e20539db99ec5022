//! What is remembered of a client: who it is, which database and protocol it chose, and what `CLIENT LIST` tells of it.
//! No sockets here and no buffers: those are the connection's.

mod subscriptions;
mod tracking;
mod transaction;

pub use subscriptions::{Audience, Subscriptions};
pub use tracking::{Address, Caching, TrackingChoice};
pub use transaction::{Transaction, Watched};

use crate::resp::Protocol;
use bitflags::bitflags;

bitflags! {
    /// States that make a client's next command take the long way; a plain client has none of them, so that the hot
    /// path tests one word.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Mode: u32 {
        /// Has to `AUTH` first.
        const UNAUTHENTICATED = 1 << 0;
        /// `CLIENT REPLY OFF`.
        const REPLY_OFF = 1 << 1;
        /// `CLIENT REPLY SKIP` was read; the next command's reply is left out.
        const REPLY_SKIP_NEXT = 1 << 2;
        /// The command being executed is the one to be left out.
        const REPLY_SKIP = 1 << 3;
        /// Gets a copy of every command (`MONITOR`).
        const MONITOR = 1 << 4;
        /// Will be closed when its replies are sent.
        const CLOSE_AFTER_REPLY = 1 << 5;
        /// Sent its last byte: will be closed when what came before it has run and its replies are sent.
        const INPUT_ENDED = 1 << 10;
        /// Will be closed at the end of the pass, whatever is pending.
        const CLOSE_NOW = 1 << 6;
        /// `CLIENT NO-EVICT ON`.
        const NO_EVICT = 1 << 7;
        /// `CLIENT NO-TOUCH ON`.
        const NO_TOUCH = 1 << 8;
        /// Connected through a unix socket.
        const UNIX_SOCKET = 1 << 9;
        /// Between `MULTI` and `EXEC`: commands are queued.
        const IN_TRANSACTION = 1 << 11;
        /// Its transaction runs: commands do not block.
        const DENY_BLOCKING = 1 << 12;
        /// What `RESET` leaves: how it is connected, and that it ends.
        const KEPT = Mode::UNIX_SOCKET.bits()
            | Mode::CLOSE_AFTER_REPLY.bits()
            | Mode::INPUT_ENDED.bits()
            | Mode::CLOSE_NOW.bits();
        /// Waits: in a blocking command, or for the end of `CLIENT PAUSE` (filled in for listings).
        const BLOCKED = 1 << 13;
        /// Has subscriptions: in RESP2 it may do little else.
        const SUBSCRIBED = 1 << 14;
        /// `CLIENT TRACKING ON`: what it reads is remembered.
        const TRACKING = 1 << 15;
        /// Has asked for the debugger of scripts, which there is not: a script that it wants to try would run for real.
        const WOULD_DEBUG = 1 << 16;
    }
}

/// How safe a client's writes are when they are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// They are in memory.
    None,
    /// They will be on disk within a second, unless the disk is slow.
    Everysec,
    /// They are on disk.
    Always,
}

impl Durability {
    /// Whether there is no such thing without a log.
    pub fn needs_log(self) -> bool {
        self != Durability::None
    }
}

/// What a command leaves to be done before its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deferred {
    /// All keys are to be on the disk.
    Save,
    /// All keys come from the disk.
    Reload {
        /// They are put there before.
        saves: bool,
        /// The databases are emptied before.
        flushes: bool,
        /// What is there already is no error, and becomes what the file has.
        merges: bool,
    },
    /// All keys come from the append-only file.
    LoadLog,
    /// The server ends: there is a reply only if it does not.
    Shutdown(Ending),
}

/// How the server is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ending {
    /// With a snapshot, although there are no save points.
    pub save: bool,
    /// Without one, although there are.
    pub nosave: bool,
    /// Whatever goes wrong.
    pub force: bool,
    /// A signal asked for it; none: a client.
    pub signal: Option<&'static str>,
}

/// What a connection takes beside its session and its buffers, in bytes. Told here, for listings, and checked where
/// connections are.
pub const CONNECTION_BYTES: usize = 512;

/// One client.
#[derive(Debug, Clone)]
pub struct Session {
    /// Unique for the life of the server, never reused.
    pub id: u64,
    /// The core that serves it.
    pub core: usize,
    /// Its connection there.
    pub index: u32,
    /// Its socket's number, as `CLIENT LIST` shows it.
    pub fd: i32,
    /// `ip:port` of the client.
    pub peer: Box<str>,
    /// `ip:port` of ours.
    pub local: Box<str>,
    /// It came through its core's own port (`core-ports`), which stands for that core alone: commands that a cluster
    /// client sends to every node (`KEYS`, `DBSIZE`, `FLUSHALL`, `SCAN`) are about this core's keys.
    pub is_node: bool,
    /// Another client has told its core to send it invalidations (`REDIRECT`): it keeps its place.
    pub is_target: bool,
    /// `CLIENT SETNAME`; empty: none.
    pub name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library_name: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`.
    pub library_version: Vec<u8>,
    /// The user it authenticated as.
    pub user: String,
    /// The selected database.
    pub db: usize,
    /// The protocol it asked for.
    pub protocol: Protocol,
    /// States off the hot path.
    pub mode: Mode,
    /// `CLIENT DURABILITY`: when its replies to writes may leave; none: as `appendfsync` says.
    pub durability: Option<Durability>,
    /// When it connected, Unix milliseconds.
    pub connected_ms: u64,
    /// When its last command came in, Unix milliseconds.
    pub active_ms: u64,
    /// The last command's number in the table, if it ran one.
    pub last_command: Option<u16>,
    /// Bytes read from it.
    pub input_bytes: u64,
    /// Bytes written to it.
    pub output_bytes: u64,
    /// Commands it ran.
    pub commands: u64,
    /// What it queued since `MULTI`; empty outside [`Mode::IN_TRANSACTION`].
    pub transaction: Transaction,
    /// The keys it watches.
    pub watched: Vec<Watched>,
    /// Keys that it watches no more and whose shards are to be told.
    pub unwatched: Vec<Watched>,
    /// What it is subscribed to, in [`Mode::SUBSCRIBED`] …
    pub subscriptions: Option<Box<Subscriptions>>,
    /// … and was until it said `RESET`: its core has to forget it.
    pub unsubscribed: Option<Box<Subscriptions>>,
    /// What it chose about client-side caching, in [`Mode::TRACKING`].
    pub tracking: Option<Box<TrackingChoice>>,
    /// Bytes of its input in use now, those of the command under way included, filled in for listings; 4 GiB and more
    /// count as that.
    pub query_bytes: u32,
    /// Room that the buffers of its input have beyond that, filled in for listings, likewise.
    pub query_room_bytes: u32,
    /// Whether it waits for something before its next command runs, filled in for listings.
    pub is_blocked: bool,
    /// Bytes of its output waiting now, filled in for listings.
    pub pending_bytes: usize,
    /// What its last command left to be done; taken when it has run.
    pub deferred: Option<Box<Deferred>>,
}

impl Session {
    /// What the server is to this client, as `INFO` and `HELLO` name it: who came through a core's own port sees nodes
    /// of a cluster.
    pub fn server_mode(&self) -> &'static str {
        if self.is_node { "cluster" } else { "standalone" }
    }

    /// A client that just connected.
    pub fn new(id: u64, core: usize, fd: i32, now_ms: u64) -> Session {
        Session {
            id,
            core,
            index: 0,
            fd,
            peer: Box::default(),
            local: Box::default(),
            is_node: false,
            is_target: false,
            name: Vec::new(),
            library_name: Vec::new(),
            library_version: Vec::new(),
            user: "default".to_string(),
            db: 0,
            protocol: Protocol::Resp2,
            mode: Mode::empty(),
            connected_ms: now_ms,
            active_ms: now_ms,
            last_command: None,
            input_bytes: 0,
            output_bytes: 0,
            commands: 0,
            transaction: Transaction::default(),
            watched: Vec::new(),
            unwatched: Vec::new(),
            subscriptions: None,
            unsubscribed: None,
            tracking: None,
            query_bytes: 0,
            query_room_bytes: 0,
            is_blocked: false,
            pending_bytes: 0,
            durability: None,
            deferred: None,
        }
    }

    /// Whether it was promised that there is a log.
    pub fn is_promised_log(&self) -> bool {
        self.durability.is_some_and(Durability::needs_log)
    }

    /// Frees what holds nothing: the client is not busy.
    pub fn rest(&mut self) {
        if self.transaction.is_empty() {
            self.transaction = Transaction::default();
        }
        if self.watched.is_empty() {
            self.watched = Vec::new();
        }
        if self.unwatched.is_empty() {
            self.unwatched = Vec::new();
        }
    }

    /// Back to what a new connection is (`RESET`), except for its identity and addresses.
    pub fn reset(&mut self, authenticated: bool) {
        self.name.clear();
        self.user = "default".to_string();
        self.db = 0;
        self.protocol = Protocol::Resp2;
        self.discard();
        self.unsubscribed = self.subscriptions.take();
        self.tracking = None;
        self.durability = None;
        self.mode &= Mode::KEPT;
        self.mode.set(Mode::UNAUTHENTICATED, !authenticated);
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        Address { core: self.core, index: self.index, id: self.id }
    }

    /// How many subscriptions of a kind it has.
    pub fn subscriptions_len(&self, audience: Audience) -> usize {
        self.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.len(audience))
    }

    /// Ends the transaction, if there is one, and what is watched for it.
    pub fn discard(&mut self) {
        self.mode.remove(Mode::IN_TRANSACTION);
        self.transaction.clear();
        self.unwatch();
    }

    /// Watches nothing any more; the shards have yet to be told.
    pub fn unwatch(&mut self) {
        self.unwatched.append(&mut self.watched);
    }

    /// A command could not be queued: `EXEC` will refuse the transaction, if there is one.
    pub fn spoil_transaction(&mut self) {
        if self.mode.contains(Mode::IN_TRANSACTION) {
            self.transaction.is_spoiled = true;
        }
    }
}
