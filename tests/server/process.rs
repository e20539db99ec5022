//! Servers started by tests: the binary under test and Debian's redis-server, each on a port and in a directory of
//! its own, ended by pid when dropped.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a server may take until it accepts connections: machines that test are shared, and who is ready sooner is
/// waited for no longer.
const START_MS_MAX: u64 = 120_000;

/// How long what a server printed may be on its way when it has ended.
const LAST_WORDS_MS_MAX: u64 = 10_000;

/// Somebody else may take a free port between our looking and the server's binding.
const START_TRIES_MAX: u32 = 5;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The binary that cargo built, or the one named by `CORERING_TEST_SERVER`.
    Corering {
        /// `--shards`
        shards: usize,
    },
    /// Debian's redis-server, or the one named by `CORERING_TEST_REDIS`.
    Redis,
}

impl Kind {
    /// The program.
    pub fn binary(self) -> OsString {
        match self {
            Kind::Corering { .. } => {
                std::env::var_os("CORERING_TEST_SERVER").unwrap_or_else(|| env!("CARGO_BIN_EXE_corering").into())
            }
            Kind::Redis => std::env::var_os("CORERING_TEST_REDIS").unwrap_or_else(|| "redis-server".into()),
        }
    }

    /// A name for messages.
    pub fn name(self) -> String {
        match self {
            Kind::Corering { shards } => format!("corering with {shards} shard{}", if shards == 1 { "" } else { "s" }),
            Kind::Redis => "redis-server".into(),
        }
    }
}

/// A running server; dropping it kills it.
pub struct Server {
    /// The process.
    pub child: Child,
    output: Arc<Mutex<String>>,
    readers: [JoinHandle<()>; 2],
    /// Its working directory, gone after the drop.
    pub directory: PathBuf,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// What it is.
    pub kind: Kind,
}

/// A port that nobody listens on right now, with `PORTS_APART - 1` free ones behind it that no other call in this
/// process returns. Below the range from which the kernel takes the ports of outgoing connections, which come and go.
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 10_000..32_000;
    const PORTS_APART: u16 = 8;
    static NEXT: std::sync::LazyLock<AtomicU32> = std::sync::LazyLock::new(|| AtomicU32::new(std::process::id() * 61));
    loop {
        let place = NEXT.fetch_add(1, Ordering::Relaxed) % u32::from(PORTS.len() as u16 / PORTS_APART);
        let port = PORTS.start + place as u16 * PORTS_APART;
        if (port..port + PORTS_APART).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}

fn scratch_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("corering-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).expect("the directory for temporary files can be written");
    directory
}

impl Server {
    /// Starts a server and waits until it accepts connections. Panics with the server's output when it does not.
    pub fn start(kind: Kind, arguments: &[&str]) -> Server {
        for attempt in 1..=START_TRIES_MAX {
            match Server::try_start(kind, free_port(), arguments) {
                Ok(server) => return server,
                Err(output) if output.contains("Address already in use") && attempt < START_TRIES_MAX => {}
                Err(output) => panic!("{} did not start; it said:\n{output}", kind.name()),
            }
        }
        unreachable!("the last attempt returns or panics");
    }

    /// Starts a server on a given port; its output when it does not come up.
    pub fn try_start(kind: Kind, port: u16, arguments: &[&str]) -> Result<Server, String> {
        Server::spawn(kind, port, None, arguments)
    }

    /// As `try_start`, for a server that may read a configuration file first.
    pub fn spawn(kind: Kind, port: u16, file: Option<&Path>, arguments: &[&str]) -> Result<Server, String> {
        Server::spawn_by(&[], kind, port, file, arguments)
    }

    /// The same, started by a program, which becomes what stands behind its arguments.
    pub fn spawn_by(
        starter: &[&str],
        kind: Kind,
        port: u16,
        file: Option<&Path>,
        arguments: &[&str],
    ) -> Result<Server, String> {
        let directory = scratch_directory();
        // setpriv: should the test process be killed, the server goes with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(starter).arg(kind.binary()).args(file);
        command.args(["--port", &port.to_string(), "--save", "", "--bind", "127.0.0.1"]);
        command.args(["--enable-debug-command", "yes", "--enable-protected-configs", "yes"]);
        command.arg("--dir").arg(&directory);
        if let Kind::Corering { shards } = kind {
            command.args(["--shards", &shards.to_string()]);
        }
        command.args(arguments).current_dir(&directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("can't run setpriv {}: {error}", kind.binary().to_string_lossy()))?;
        let output = Arc::new(Mutex::new(String::new()));
        let readers = [
            keep(child.stdout.take().expect("piped above"), Arc::clone(&output)),
            keep(child.stderr.take().expect("piped above"), Arc::clone(&output)),
        ];
        let mut server = Server { child, output, readers, directory, port, kind };
        let deadline = Instant::now() + Duration::from_millis(START_MS_MAX);
        loop {
            if server.output().contains("Ready to accept connections") {
                return Ok(server);
            }
            if let Ok(Some(status)) = server.child.try_wait() {
                server.wait_for_last_words();
                return Err(format!("{}({status})", server.output()));
            }
            if deadline < Instant::now() {
                return Err(format!("{}(not ready after {START_MS_MAX} ms)", server.output()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.output.lock().expect("no reader panicked").clone()
    }

    /// What a server has said that has ended may be on its way; whoever it started may hold the pipes open.
    fn wait_for_last_words(&self) {
        let deadline = Instant::now() + Duration::from_millis(LAST_WORDS_MS_MAX);
        while !self.readers.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Reads a pipe to its end, so that the server never blocks on it.
fn keep(pipe: impl Read + Send + 'static, output: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
            if let Ok(mut output) = output.lock() {
                output.push_str(&String::from_utf8_lossy(&bytes));
            }
            bytes.clear();
        }
    })
}
