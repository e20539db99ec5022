//! Types of directives that are more than a number or a text: choices and lists.

use super::kind::{Form, INT_MAX, Input, Kind, LONG_MAX, Lines, Refusal, Setting, choose, not_among};
use super::parse;
use bitflags::bitflags;
use std::fmt;

/// Gives an enum its words. Several words may stand for one value: the first is the one written.
macro_rules! words {
    ($type:ident: $($variant:ident = $name:literal),+ $(,)?) => {
        impl $type {
            /// The words, in the order in which refusals list them.
            pub const NAMES: &'static [&'static str] = &[$($name),+];
            const VALUES: &'static [$type] = &[$($type::$variant),+];

            /// The word of the value.
            pub fn name(self) -> &'static str {
                let index = Self::VALUES.iter().position(|value| *value == self).expect("every value has a word");
                Self::NAMES[index]
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl Setting for $type {
            fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
                let index = match input.words {
                    [word] => choose(Self::NAMES, word),
                    _ => None,
                };
                *self = Self::VALUES[index.ok_or_else(|| not_among(Self::NAMES))?];
                Ok(())
            }

            fn write(&self, _: Kind, _: Form) -> Vec<u8> {
                self.name().into()
            }
        }
    };
}

/// How much the operator's log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Much, little of it useful.
    Verbose,
    /// What an operator wants to know.
    #[default]
    Notice,
    /// Only what needs attention.
    Warning,
}
words!(LogLevel: Debug = "debug", Verbose = "verbose", Notice = "notice", Warning = "warning");

/// Who watches over the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Supervised {
    /// Upstart: the process stops itself when ready.
    Upstart,
    /// systemd: told over `NOTIFY_SOCKET`.
    Systemd,
    /// Found out from the environment.
    Auto,
    /// Nobody.
    #[default]
    No,
}
words!(Supervised: Upstart = "upstart", Systemd = "systemd", Auto = "auto", No = "no");

/// Where syslog files the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // The names say it: see syslog(3).
pub enum SyslogFacility {
    User,
    #[default]
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}
words!(SyslogFacility: User = "user", Local0 = "local0", Local1 = "local1", Local2 = "local2", Local3 = "local3",
    Local4 = "local4", Local5 = "local5", Local6 = "local6", Local7 = "local7");

/// Which keys leave when memory is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MaxmemoryPolicy {
    /// Least recently used among those with a TTL.
    VolatileLru,
    /// Least frequently used among those with a TTL.
    VolatileLfu,
    /// Any of those with a TTL.
    VolatileRandom,
    /// Nearest to their end.
    VolatileTtl,
    /// Least recently used.
    AllkeysLru,
    /// Least frequently used.
    AllkeysLfu,
    /// Any.
    AllkeysRandom,
    /// None: writes are refused.
    #[default]
    Noeviction,
    /// Least recently modified among those with a TTL.
    VolatileLrm,
    /// Least recently modified.
    AllkeysLrm,
    /// Of which the fewest hits are to be expected for their bytes and their time.
    AllkeysLhd,
}
words!(MaxmemoryPolicy: VolatileLru = "volatile-lru", VolatileLfu = "volatile-lfu", VolatileRandom = "volatile-random",
    VolatileTtl = "volatile-ttl", AllkeysLru = "allkeys-lru", AllkeysLfu = "allkeys-lfu",
    AllkeysRandom = "allkeys-random", Noeviction = "noeviction", VolatileLrm = "volatile-lrm",
    AllkeysLrm = "allkeys-lrm",
    AllkeysLhd = "allkeys-lhd");

/// When the append-only log is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Appendfsync {
    /// Once a second.
    #[default]
    Everysec,
    /// Before the reply.
    Always,
    /// When the system likes.
    No,
}
words!(Appendfsync: Everysec = "everysec", Always = "always", No = "no");

/// How a replica loads a data set straight from the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DisklessLoad {
    /// Never.
    #[default]
    Disabled,
    /// Only into an empty data set.
    OnEmptyDb,
    /// Beside the old data set, which serves meanwhile.
    Swapdb,
}
words!(DisklessLoad: Disabled = "disabled", OnEmptyDb = "on-empty-db", Swapdb = "swapdb");

/// Whether TLS clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsAuthClients {
    /// Not asked for.
    No,
    /// Required.
    #[default]
    Yes,
    /// Checked where shown.
    Optional,
}
words!(TlsAuthClients: No = "no", Yes = "yes", Optional = "optional");

/// How the process tells the kernel's out-of-memory killer about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OomScoreAdj {
    /// Not at all.
    #[default]
    No,
    /// Relative to the score it was started with.
    Relative,
    /// As absolute scores.
    Absolute,
}
words!(OomScoreAdj: No = "no", Relative = "yes", Relative = "relative", Absolute = "absolute");

/// Which channels a new user may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AclPubsubDefault {
    /// All.
    Allchannels,
    /// None.
    #[default]
    Resetchannels,
}
words!(AclPubsubDefault: Allchannels = "allchannels", Resetchannels = "resetchannels");

/// Who may use something dangerous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtectedAction {
    /// Nobody.
    #[default]
    No,
    /// Everybody.
    Yes,
    /// Clients on this machine.
    Local,
}
words!(ProtectedAction: No = "no", Yes = "yes", Local = "local");

impl ProtectedAction {
    /// Whether a client may; `local` says that it is connected over loopback or a Unix socket.
    pub fn allows(self, local: bool) -> bool {
        match self {
            ProtectedAction::No => false,
            ProtectedAction::Yes => true,
            ProtectedAction::Local => local,
        }
    }
}

/// What cluster clients are told as the address of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndpointType {
    /// The IP address.
    #[default]
    Ip,
    /// The announced host name.
    Hostname,
    /// Nothing: the client keeps the address it used.
    UnknownEndpoint,
}
words!(EndpointType: Ip = "ip", Hostname = "hostname", UnknownEndpoint = "unknown-endpoint");

bitflags! {
    /// How a signal shuts the server down. Empty: `default` (saves if save points exist).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct ShutdownOptions: u8 {
        /// Save even without save points.
        const SAVE = 1 << 0;
        /// Do not save.
        const NOSAVE = 1 << 1;
        /// Do not wait for replicas that lag.
        const NOW = 1 << 2;
        /// Go on where something fails.
        const FORCE = 1 << 3;
    }
}

impl ShutdownOptions {
    /// The words, in the order in which refusals list them.
    pub const NAMES: &'static [&'static str] = &["default", "save", "nosave", "now", "force"];
    const VALUES: [ShutdownOptions; 5] = [
        ShutdownOptions::empty(),
        ShutdownOptions::SAVE,
        ShutdownOptions::NOSAVE,
        ShutdownOptions::NOW,
        ShutdownOptions::FORCE,
    ];
}

impl Setting for ShutdownOptions {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        let mut options = ShutdownOptions::empty();
        if input.words.is_empty() {
            return Err(not_among(Self::NAMES));
        }
        for word in input.words {
            options |= Self::VALUES[choose(Self::NAMES, word).ok_or_else(|| not_among(Self::NAMES))?];
        }
        if options.contains(ShutdownOptions::SAVE | ShutdownOptions::NOSAVE) {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = options;
        Ok(())
    }

    fn write(&self, _: Kind, _: Form) -> Vec<u8> {
        if self.is_empty() {
            return Self::NAMES[0].into();
        }
        let names = std::iter::zip(Self::NAMES, Self::VALUES).skip(1).filter(|(_, value)| self.contains(*value));
        names.map(|(name, _)| *name).collect::<Vec<_>>().join(" ").into()
    }
}

bitflags! {
    /// Which changes of keys are published, and on which channels.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct KeyspaceEvents: u32 {
        /// `K`: on `__keyspace@<db>__:<key>`.
        const KEYSPACE = 1 << 0;
        /// `E`: on `__keyevent@<db>__:<event>`.
        const KEYEVENT = 1 << 1;
        /// `g`: commands on keys of any type.
        const GENERIC = 1 << 2;
        /// `$`: strings.
        const STRING = 1 << 3;
        /// `l`: lists.
        const LIST = 1 << 4;
        /// `s`: sets.
        const SET = 1 << 5;
        /// `h`: hashes.
        const HASH = 1 << 6;
        /// `z`: sorted sets.
        const ZSET = 1 << 7;
        /// `x`: keys that reached their end.
        const EXPIRED = 1 << 8;
        /// `e`: keys that left for memory.
        const EVICTED = 1 << 9;
        /// `t`: streams.
        const STREAM = 1 << 10;
        /// `m`: keys asked for and not there. Not in `A`.
        const KEY_MISS = 1 << 11;
        /// `d`: types of modules.
        const MODULE = 1 << 13;
        /// `n`: keys that are new. Not in `A`.
        const NEW = 1 << 14;
        /// `A`: all types of values, generic, expired and evicted.
        const ALL = Self::GENERIC.bits() | Self::STRING.bits() | Self::LIST.bits() | Self::SET.bits()
            | Self::HASH.bits() | Self::ZSET.bits() | Self::EXPIRED.bits() | Self::EVICTED.bits()
            | Self::STREAM.bits() | Self::MODULE.bits();
    }
}

impl KeyspaceEvents {
    /// The letters of single classes, in the order of writing. `A` stands for the first ten together.
    const LETTERS: &'static [(u8, KeyspaceEvents)] = &[
        (b'g', KeyspaceEvents::GENERIC),
        (b'$', KeyspaceEvents::STRING),
        (b'l', KeyspaceEvents::LIST),
        (b's', KeyspaceEvents::SET),
        (b'h', KeyspaceEvents::HASH),
        (b'z', KeyspaceEvents::ZSET),
        (b'x', KeyspaceEvents::EXPIRED),
        (b'e', KeyspaceEvents::EVICTED),
        (b't', KeyspaceEvents::STREAM),
        (b'd', KeyspaceEvents::MODULE),
        (b'n', KeyspaceEvents::NEW),
        (b'K', KeyspaceEvents::KEYSPACE),
        (b'E', KeyspaceEvents::KEYEVENT),
        (b'm', KeyspaceEvents::KEY_MISS),
    ];
}

impl Setting for KeyspaceEvents {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        let [word] = input.words else { return Err("wrong number of arguments".into()) };
        let mut events = KeyspaceEvents::empty();
        for letter in word {
            events |= match letter {
                b'A' => KeyspaceEvents::ALL,
                _ => Self::LETTERS
                    .iter()
                    .find(|(name, _)| name == letter)
                    .map(|(_, class)| *class)
                    .ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?,
            };
        }
        *self = events;
        Ok(())
    }

    fn write(&self, _: Kind, form: Form) -> Vec<u8> {
        let mut text = Vec::new();
        let mut rest = *self;
        if self.contains(KeyspaceEvents::ALL) {
            text.push(b'A');
            rest -= KeyspaceEvents::ALL | KeyspaceEvents::NEW; // Redis writes no `n` beside an `A`.
        }
        text.extend(Self::LETTERS.iter().filter(|(_, class)| rest.contains(*class)).map(|(letter, _)| letter));
        match form {
            Form::Reply => text,
            Form::File => parse::quote(&text),
        }
    }
}

/// A snapshot is taken when at least `changes` writes happened and `seconds` have passed since the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot, at least 1.
    pub seconds: u64,
    /// Writes since the last snapshot.
    pub changes: u32,
}

/// All save points; none: no snapshots by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SavePoints(pub Vec<SavePoint>);

impl Setting for SavePoints {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        const INVALID: Refusal = Refusal::Borrowed("Invalid save parameters");
        let clear = matches!(input.words, [word] if word.is_empty());
        let words = if clear { &[] } else { input.words };
        if !words.len().is_multiple_of(2) {
            return Err(INVALID);
        }
        let mut points = Vec::new();
        for pair in words.chunks_exact(2) {
            let seconds = number(&pair[0]).filter(|seconds| 1 <= *seconds).ok_or(INVALID)?;
            let changes = if pair[1].is_empty() { Some(0) } else { number(&pair[1]) };
            let changes = changes.ok_or(INVALID)?;
            let changes = u32::try_from(changes).map_err(|_| INVALID)?;
            points.push(SavePoint { seconds, changes });
        }
        if clear || !input.adds {
            self.0.clear();
        }
        self.0.extend(points);
        Ok(())
    }

    fn write(&self, _: Kind, _: Form) -> Vec<u8> {
        let points = self.0.iter().map(|point| format!("{} {}", point.seconds, point.changes));
        points.collect::<Vec<_>>().join(" ").into()
    }

    fn lines(&self, _: &Self, _: Kind) -> Lines {
        if self.0.is_empty() {
            return vec![(b"\"\"".into(), true)];
        }
        self.0.iter().map(|point| (format!("{} {}", point.seconds, point.changes).into(), true)).collect()
    }
}

/// A non-negative decimal number, less strict than [`parse::integer`]: leading zeros do no harm here.
fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse::<i64>().ok().and_then(|value| u64::try_from(value).ok())
}

/// What a client may leave unread in its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BufferLimit {
    /// Disconnected at once beyond this; 0: no limit.
    pub hard_bytes: u64,
    /// Disconnected after `soft_seconds` beyond this; 0: no limit.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_seconds: u64,
}

impl BufferLimit {
    /// Whether there is a limit at all.
    pub fn is_limited(&self) -> bool {
        self.hard_bytes != 0 || self.soft_bytes != 0
    }
}

/// The limits of each class of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BufferLimits {
    /// Clients that send commands.
    pub normal: BufferLimit,
    /// Replicas.
    pub replica: BufferLimit,
    /// Clients with a subscription.
    pub pubsub: BufferLimit,
}

impl BufferLimits {
    fn class(&mut self, name: &[u8]) -> Option<&mut BufferLimit> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(&mut self.normal),
            b"slave" | b"replica" => Some(&mut self.replica),
            b"pubsub" => Some(&mut self.pubsub),
            _ => None,
        }
    }
}

impl Setting for BufferLimits {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        if !input.words.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        let mut limits = *self;
        for group in input.words.chunks_exact(4) {
            let [class, hard, soft, seconds] = group else { unreachable!("chunks of four") };
            let limit = limits.class(class).ok_or("Invalid client class specified in buffer limit configuration.")?;
            let read = || {
                Some(BufferLimit {
                    hard_bytes: parse::memory_bytes(hard)?,
                    soft_bytes: parse::memory_bytes(soft)?,
                    soft_seconds: number(seconds).filter(|seconds| *seconds <= INT_MAX as u64)?,
                })
            };
            *limit = read().ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
        }
        *self = limits;
        Ok(())
    }

    fn write(&self, _: Kind, _: Form) -> Vec<u8> {
        // The old name of replicas, as Redis 7.0 replies.
        let classes = [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)];
        let texts = classes
            .map(|(name, limit)| format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds));
        texts.join(" ").into()
    }

    fn lines(&self, default: &Self, _: Kind) -> Lines {
        let classes = [
            ("normal", self.normal, default.normal),
            ("replica", self.replica, default.replica),
            ("pubsub", self.pubsub, default.pubsub),
        ];
        let lines = classes.map(|(name, limit, default)| {
            let (hard, soft) = (parse::format_memory(limit.hard_bytes), parse::format_memory(limit.soft_bytes));
            (format!("{name} {hard} {soft} {}", limit.soft_seconds).into(), limit != default)
        });
        lines.into()
    }
}

/// Most addresses that `bind` takes.
pub const BIND_ADDRESSES_MAX: usize = 16;

/// The addresses of `bind`.
impl Setting for Vec<String> {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        if BIND_ADDRESSES_MAX < input.words.len() {
            return Err("Too many bind addresses specified.".into());
        }
        // What has other characters is no address, and would not be read back as it is written.
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'#\\".contains(byte);
        if !input.words.iter().flatten().all(is_plain) {
            return Err("Failed to bind to specified addresses.".into());
        }
        let words = input.words.iter().filter(|word| !word.is_empty());
        let addresses = words.map(|word| String::from_utf8(word.clone())).collect::<Result<Vec<_>, _>>();
        *self = addresses.map_err(|_| "argument must be valid UTF-8")?;
        Ok(())
    }

    fn write(&self, _: Kind, form: Form) -> Vec<u8> {
        match form {
            Form::File if self.is_empty() => b"\"\"".into(),
            _ => self.join(" ").into(),
        }
    }

    fn lines(&self, default: &Self, kind: Kind) -> Lines {
        if self == default { vec![] } else { vec![(self.write(kind, Form::File), true)] }
    }
}

/// The server to follow; none: this one is the primary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplicaOf(pub Option<(String, u16)>);

impl Setting for ReplicaOf {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        let [host, port] = input.words else { return Err("wrong number of arguments".into()) };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            self.0 = None;
            return Ok(());
        }
        let port = number(port).and_then(|port| u16::try_from(port).ok()).ok_or("Invalid master port")?;
        let host = String::from_utf8(host.clone()).map_err(|_| "argument must be valid UTF-8")?;
        self.0 = Some((host, port));
        Ok(())
    }

    fn write(&self, _: Kind, _: Form) -> Vec<u8> {
        self.0.as_ref().map(|(host, port)| format!("{host} {port}")).unwrap_or_default().into()
    }

    fn lines(&self, _: &Self, kind: Kind) -> Lines {
        self.0.iter().map(|_| (self.write(kind, Form::File), true)).collect()
    }
}

/// Percentiles of `INFO latencystats`, each from 0 to 100.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Percentiles(pub Vec<f64>);

impl Percentiles {
    /// `99.900000` without the zeros.
    pub fn format(percentile: f64) -> String {
        let text = format!("{percentile:.6}");
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    }
}

impl Setting for Percentiles {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        let words = if matches!(input.words, [word] if word.is_empty()) { &[] } else { input.words };
        let mut percentiles = Vec::new();
        for word in words {
            let value = std::str::from_utf8(word).ok().and_then(|text| text.parse::<f64>().ok());
            let value =
                value.filter(|value| !value.is_nan()).ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&value) {
                return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into());
            }
            percentiles.push(value);
        }
        self.0 = percentiles;
        Ok(())
    }

    fn write(&self, _: Kind, form: Form) -> Vec<u8> {
        match form {
            Form::File if self.0.is_empty() => b"\"\"".into(),
            _ => self.0.iter().copied().map(Percentiles::format).collect::<Vec<_>>().join(" ").into(),
        }
    }
}

/// Scores for the out-of-memory killer: as a primary, as a replica, in background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OomScores(pub [i32; 3]);

impl Setting for OomScores {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        let words: &[Vec<u8>; 3] = input.words.try_into().map_err(|_| "wrong number of arguments")?;
        let mut scores = [0; 3];
        for (score, word) in std::iter::zip(&mut scores, words) {
            let value = std::str::from_utf8(word).ok().and_then(|text| text.parse::<i32>().ok());
            *score = value
                .filter(|value| (-2000..=2000).contains(value))
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
        }
        self.0 = scores;
        Ok(())
    }

    fn write(&self, _: Kind, _: Form) -> Vec<u8> {
        self.0.map(|score| score.to_string()).join(" ").into()
    }
}

/// A limit in bytes, or a share of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// So many bytes; 0: no limit.
    Bytes(u64),
    /// So many hundredths of something, 1 to 100.
    Percent(u8),
}

impl Default for MemoryLimit {
    fn default() -> MemoryLimit {
        MemoryLimit::Bytes(0)
    }
}

impl MemoryLimit {
    /// The limit in bytes, as a share of `whole_bytes` where it is a share; 0: no limit.
    pub fn bytes(self, whole_bytes: u64) -> u64 {
        match self {
            MemoryLimit::Bytes(bytes) => bytes,
            MemoryLimit::Percent(percent) => (u128::from(whole_bytes) * u128::from(percent) / 100) as u64,
        }
    }

    fn take(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        let (Kind::MemoryOrShare(refusal), [word]) = (input.kind, input.words) else { panic!("another kind") };
        if let Some(bytes) = parse::memory_bytes(word) {
            *self = MemoryLimit::Bytes(bytes);
            return Ok(());
        }
        let percent = word.strip_suffix(b"%").and_then(parse::integer).filter(|percent| 0 <= *percent);
        *self = match percent.ok_or(refusal)? {
            0 => MemoryLimit::Bytes(0),
            percent @ 1..=100 => MemoryLimit::Percent(percent as u8),
            _ => return Err("percentage argument must be less or equal to 100".into()),
        };
        Ok(())
    }
}

impl Setting for MemoryLimit {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        let mut limit = *self;
        limit.take(input)?;
        if matches!(limit, MemoryLimit::Bytes(bytes) if LONG_MAX < bytes) {
            return Err("percentage argument must be less or equal to 100".into()); // What Redis takes it for.
        }
        *self = limit;
        Ok(())
    }

    fn write(&self, _: Kind, form: Form) -> Vec<u8> {
        match (*self, form) {
            (MemoryLimit::Bytes(bytes), Form::Reply) => bytes.to_string().into(),
            (MemoryLimit::Bytes(bytes), Form::File) => parse::format_memory(bytes).into(),
            (MemoryLimit::Percent(percent), _) => format!("{percent}%").into(),
        }
    }
}

/// The memory budget of the server: bytes, or a share of the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// What was asked for.
    pub limit: MemoryLimit,
    /// What it comes to; 0: no limit.
    pub bytes: u64,
}

/// Replies bytes, since monitoring tools expect a number; a file keeps the share.
impl Setting for Budget {
    fn read(&mut self, input: &Input<'_>) -> Result<(), Refusal> {
        self.limit.take(input)?;
        if self.limit == MemoryLimit::Bytes(0) && input.words[0].ends_with(b"%") {
            return Err("percentage argument must be greater than 0".into()); // It would mean: no limit.
        }
        self.bytes = self.limit.bytes(input.machine_memory_bytes);
        if self.bytes == 0 && matches!(self.limit, MemoryLimit::Percent(_)) {
            return Err("the memory of this machine is not known: give a size".into());
        }
        Ok(())
    }

    fn write(&self, kind: Kind, form: Form) -> Vec<u8> {
        match form {
            Form::Reply => self.bytes.to_string().into(),
            Form::File => self.limit.write(kind, form),
        }
    }
}
