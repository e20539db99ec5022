//! The server as its operator meets it: started by hand, by systemd, in the background; reconfigured while it runs;
//! short of file descriptors; crashed; stopped.

use crate::client::{Client, Value, encode};
use crate::process::{Kind, Server, free_port};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that should happen soon; CI's cores are shared.
const SOON_MS: u64 = 60_000;

fn binary() -> std::ffi::OsString {
    std::env::var_os("CORERING_TEST_SERVER").unwrap_or_else(|| env!("CARGO_BIN_EXE_corering").into())
}

/// The server, as a child that does not outlive the test.
fn server() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(binary()).stdin(Stdio::null());
    command
}

/// A shell that becomes the server, likewise.
fn shell(line: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "sh", "-c", line]);
    command
}

/// Whether a process runs; one that has ended and that nobody has asked for yet does not.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|fields| !fields.is_empty() && !fields.starts_with('Z'))
}

/// A directory of its own, removed when dropped, and the server in the background that wrote its pid there.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("corering-operation-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a directory for the test");
        Scratch(path)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    fn text(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).unwrap_or_default()
    }

    fn pid(&self) -> Option<u32> {
        self.read("pid").trim().parse().ok()
    }

    fn kill(&self, signal: &str) {
        let pid = self.pid().expect("a pidfile").to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the server with these arguments until it ends by itself.
fn run(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_millis(SOON_MS);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {SOON_MS} ms");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn connect(port: u16) -> Client {
    Client::connect(port).expect("the server accepts connections")
}

fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

fn pong() -> Value {
    Value::Simple(b"PONG".to_vec())
}

fn error(text: &str) -> Value {
    Value::Error(text.as_bytes().to_vec())
}

fn value(client: &mut Client, name: &str) -> String {
    match client.call(&["CONFIG", "GET", name]).expect("a reply") {
        Value::Array(pair) => match &pair[..] {
            [_, Value::Bulk(value)] => String::from_utf8_lossy(value).into_owned(),
            other => panic!("{name}: {other:?}"),
        },
        other => panic!("{other}"),
    }
}

#[test]
fn a_server_in_the_background_leaves_its_starter_when_it_serves() {
    let scratch = Scratch::new("background");
    let port = free_port();
    let arguments = |port: u16| {
        let (pid, log, socket, dir) =
            (scratch.text("pid"), scratch.text("log"), scratch.text("socket"), scratch.text(""));
        let text = format!(
            "--port {port} --bind 127.0.0.1 --shards 2 --daemonize yes --dir {dir} --pidfile {pid} --logfile {log} \
             --unixsocket {socket}"
        );
        text.split(' ').map(str::to_string).collect::<Vec<_>>()
    };
    let start = |port: u16| run(&arguments(port).iter().map(String::as_str).collect::<Vec<_>>());
    let started = start(port);
    assert_eq!((started.status.code(), words(&started)), (Some(0), String::new()));
    // No waiting: the starter came back because the server serves.
    let pid = scratch.pid().expect("the pidfile is written");
    let mut client = connect(port);
    assert!(client.info("server").contains(&format!("\r\nprocess_id:{pid}\r\n")));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields follow").split(' ').collect();
    assert_eq!(fields[4], pid.to_string(), "a session of its own");
    for stream in 0..3 {
        let target = std::fs::read_link(format!("/proc/{pid}/fd/{stream}")).expect("a standard stream");
        assert_eq!(target, Path::new("/dev/null"));
    }
    // Who cannot start says so to whoever started it, and in the log, and leaves the other one's pidfile alone.
    let second = start(port);
    assert_eq!(second.status.code(), Some(1));
    assert!(words(&second).contains("Address already in use"), "{}", words(&second));
    eventually("the log tells too", || scratch.read("log").contains("Address already in use"));
    assert_eq!(scratch.pid(), Some(pid));
    assert_eq!(client.call(&["PING"]).unwrap(), pong());

    scratch.kill("-TERM");
    eventually("the server ends", || !is_running(pid));
    assert!(!scratch.path("pid").exists() && !scratch.path("socket").exists(), "nothing is left behind");
    assert!(scratch.read("log").contains("ready to exit, bye bye"));
    assert_eq!(start(port).status.code(), Some(0), "the port is free at once");
}

#[test]
fn systemd_is_told_when_the_server_serves_and_when_it_ends() {
    let scratch = Scratch::new("systemd");
    let systemd = UnixDatagram::bind(scratch.path("notify")).expect("a socket for the test");
    systemd.set_read_timeout(Some(Duration::from_millis(SOON_MS))).expect("set");
    let port = free_port();
    let (port_text, dir) = (port.to_string(), scratch.text(""));
    let mut child = server()
        .args([
            "--port",
            &port_text,
            "--bind",
            "127.0.0.1",
            "--dir",
            &dir,
            "--supervised",
            "auto",
            "--daemonize",
            "yes",
        ])
        .args(["--enable-debug-command", "yes", "--shards", "2"])
        .env("NOTIFY_SOCKET", scratch.path("notify"))
        .env("WATCHDOG_USEC", "1000000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let hear = || {
        let mut packet = [0; 200];
        let len = loop {
            match systemd.recv(&mut packet) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other.expect("the server tells"),
            }
        };
        String::from_utf8_lossy(&packet[..len]).into_owned()
    };
    assert_eq!(hear(), "STATUS=Starting");
    assert!(hear().starts_with("READY=1\n"));
    let mut client = connect(port);
    let text = client.info("server");
    assert!(text.contains("\r\nprocess_supervised:systemd\r\n"), "{text}");
    assert!(text.contains(&format!("\r\nprocess_id:{}\r\n", child.id())), "a supervised server does not fork");
    assert_eq!([hear(), hear()], ["WATCHDOG=1", "WATCHDOG=1"]);
    // A core that is stuck is not vouched for: before it wakes, nothing is heard for twice the time between two words.
    // Who listens may himself be held up for as long: then again.
    systemd.set_read_timeout(Some(Duration::from_millis(1200))).expect("set");
    let is_silent = (0..5).any(|_| {
        client.send_raw(&encode(&["DEBUG", "SLEEP", "6"])).unwrap();
        client.stream.set_nonblocking(true).expect("set");
        let is_asleep = || matches!(client.stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        let mut is_silent = false;
        while !is_silent && is_asleep() {
            is_silent = systemd.recv(&mut [0; 10]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        }
        client.stream.set_nonblocking(false).expect("set");
        assert_eq!(client.read().unwrap(), ok());
        is_silent
    });
    assert!(is_silent, "somebody vouched for a core that sleeps");
    systemd.set_read_timeout(Some(Duration::from_millis(SOON_MS))).expect("set");
    client.send_raw(&encode(&["SHUTDOWN", "NOSAVE"])).unwrap();
    eventually("systemd is told of the end", || hear().starts_with("STOPPING=1\n"));
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn upstart_lets_the_server_go_on() {
    let scratch = Scratch::new("upstart");
    let port = free_port();
    let mut child = server()
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--dir",
            &scratch.text(""),
            "--supervised",
            "upstart",
        ])
        .args(["--pidfile", &scratch.text("pid")])
        .env("UPSTART_JOB", "corering")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let stat = format!("/proc/{}/stat", child.id());
    let state =
        || std::fs::read_to_string(&stat).unwrap_or_default().rsplit(") ").next().unwrap_or_default().chars().next();
    eventually("it stops itself", || state() == Some('T'));
    assert!(Client::connect(port).is_err() && scratch.pid().is_none());
    assert!(Command::new("kill").args(["-CONT", &child.id().to_string()]).status().expect("kill runs").success());
    eventually("it serves", || scratch.pid().is_some());
    assert!(connect(port).info("server").contains("\r\nprocess_supervised:upstart\r\n"));
    scratch.kill("-TERM");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_server_whose_output_nobody_reads_serves_on() {
    let scratch = Scratch::new("output");
    let port = free_port();
    let mut child = server()
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", &scratch.text(""), "--loglevel", "debug"])
        .args(["--pidfile", &scratch.text("pid")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take()); // Whoever read the log is gone.
    eventually("it serves", || scratch.pid().is_some() && Client::connect(port).is_ok());
    let mut client = connect(port);
    for samples in 1..50 {
        assert_eq!(client.call(&["CONFIG", "SET", "maxmemory-samples", &samples.to_string()]).unwrap(), ok());
    }
    scratch.kill("-TERM");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn ports_and_addresses_change_while_clients_are_served() {
    for shards in [1, 2, 4] {
        let server = Server::start(Kind::Corering { shards }, &[]);
        let mut client = connect(server.port);
        let other = free_port();
        assert_eq!(client.call(&["CONFIG", "SET", "port", &other.to_string()]).unwrap(), ok());
        assert!(Client::connect(server.port).is_err(), "the old port is closed");
        assert_eq!(client.call(&["PING"]).unwrap(), pong(), "who is there stays");
        let mut second = connect(other);
        assert_eq!(second.call(&["PING"]).unwrap(), pong());
        let text = second.info("server");
        assert!(text.contains(&format!("\r\ntcp_port:{other}\r\n")), "{text}");
        assert!(text.contains(&format!("\r\nlistener0:name=tcp,bind=127.0.0.1,port={other}\r\n")), "{text}");

        // What fails leaves everything as it was, the other values of the same call too.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = listener.local_addr().expect("bound").port().to_string();
        let refused = error(
            "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs.",
        );
        let call = ["CONFIG", "SET", "timeout", "77", "port", &taken, "maxclients", "99"];
        assert_eq!(client.call(&call).unwrap(), refused);
        let refused = error(
            "ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to specified addresses.",
        );
        // Nobody has 192.0.2.1.
        assert_eq!(client.call(&["CONFIG", "SET", "bind", "* 192.0.2.1", "timeout", "77"]).unwrap(), refused);
        assert_eq!(
            [value(&mut client, "timeout"), value(&mut client, "port"), value(&mut client, "bind")],
            ["0".into(), other.to_string(), "127.0.0.1".to_string()]
        );
        assert_eq!(value(&mut client, "maxclients"), "10000");
        eventually("new clients come in again", || {
            Client::connect(other).is_ok_and(|mut client| client.call(&["PING"]).is_ok_and(|reply| reply == pong()))
        });

        // The same port on other addresses; one that the machine lacks is optional.
        let call = ["CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2 -192.0.2.1"];
        assert_eq!(client.call(&call).unwrap(), ok());
        for (address, is_open) in [("127.0.0.1", true), ("127.0.0.2", true), ("127.0.0.3", false)] {
            assert_eq!(std::net::TcpStream::connect((address, other)).is_ok(), is_open, "{address}");
        }
        assert_eq!(client.call(&["CONFIG", "SET", "bind", "*"]).unwrap(), ok());
        assert!(std::net::TcpStream::connect(("127.0.0.3", other)).is_ok());
        assert_eq!(connect(other).call(&["PING"]).unwrap(), pong());
        assert_eq!(client.call(&["CONFIG", "SET", "port", "0"]).unwrap(), ok());
        assert!(Client::connect(other).is_err());
        assert_eq!(
            client.call(&["CONFIG", "SET", "port", &server.port.to_string(), "bind", "127.0.0.1"]).unwrap(),
            ok()
        );
        assert_eq!(connect(server.port).call(&["PING"]).unwrap(), pong());
    }
}

#[test]
fn few_file_descriptors_refuse_clients_in_words() {
    /// Enough for one core, its reserve, and some clients.
    const FILES_MAX: u32 = 90;
    const CLIENTS: usize = 400;
    let scratch = Scratch::new("files");
    let port = free_port();
    let command = format!(
        "ulimit -n {FILES_MAX}; exec {} --port {port} --bind 127.0.0.1 --shards 1 --enable-debug-command yes \
         --dir {dir} --pidfile {dir}/pid --logfile {dir}/log",
        binary().to_string_lossy(),
        dir = scratch.0.display()
    );
    let mut child = shell(&command).stdin(Stdio::null()).spawn().expect("sh runs");
    eventually("it serves", || scratch.read("log").contains("Ready to accept connections"));
    let mut first = connect(port);
    let max: usize = value(&mut first, "maxclients").parse().expect("a number");
    assert!((10..FILES_MAX as usize).contains(&max), "{max}");
    let warning = format!("maxclients has been reduced to {max} to compensate for low ulimit");
    assert!(scratch.read("log").contains(&warning), "{}", scratch.read("log"));
    let refused = error("ERR max number of clients reached");
    let mut clients: Vec<Client> = (1..max).map(|_| connect(port)).collect();
    for client in &mut clients {
        assert_eq!(client.call(&["PING"]).unwrap(), pong());
    }
    // While the only core sleeps, more clients come than there are descriptors left. All are told why they must go. On
    // a busy machine the core may accept them in small groups: then again, with more time.
    let failures = || scratch.read("log").matches("Accepting client connection: Too many open files").count();
    let begun = Instant::now();
    for round in 1..=10_u64 {
        first.send_raw(&encode(&["DEBUG", "SLEEP", &format!("{}", round as f64 / 2.0)])).unwrap();
        std::thread::sleep(Duration::from_millis(100 * round));
        let many: Vec<Client> = (0..CLIENTS).map(|_| connect(port)).collect();
        assert_eq!(first.read().unwrap(), ok());
        for mut client in many {
            assert_eq!(client.read().unwrap(), refused);
        }
        if failures() != 0 {
            break;
        }
    }
    let failures_max = 3 + begun.elapsed().as_secs() as usize;
    assert!((1..=failures_max).contains(&failures()), "told once a second: {}", scratch.read("log"));
    assert_eq!(first.call(&["PING"]).unwrap(), pong());
    drop(clients.pop());
    eventually("a free place is given out", || connect(port).call(&["PING"]).is_ok_and(|reply| reply == pong()));
    scratch.kill("-TERM");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_crash_ends_the_process_and_is_in_the_log() {
    for (subcommand, signal, said) in [
        ("PANIC", 6, "panicked at src/command/debug.rs:"),
        ("ASSERT", 6, "called by DEBUG ASSERT"),
        ("OOM", 6, "crashed by signal: 6"),
        ("SEGFAULT", 11, "crashed by signal: 11"),
    ] {
        let scratch = Scratch::new(subcommand);
        let log = scratch.text("log");
        let port = free_port();
        // The harness waits for a line on standard output; this server's go to a file.
        let mut child = server()
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--shards", "2", "--logfile", &log])
            .args(["--enable-debug-command", "yes", "--dir", &scratch.text("")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        eventually("it serves", || scratch.read("log").contains("Ready to accept connections"));
        let mut others: Vec<Client> = (0..4).map(|_| connect(port)).collect();
        let mut client = connect(port);
        client.send_raw(&encode(&["DEBUG", subcommand])).unwrap();
        let deadline = Instant::now() + Duration::from_millis(SOON_MS);
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "DEBUG {subcommand} did not end the process");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.signal(), Some(signal), "DEBUG {subcommand}");
        for other in &mut others {
            assert!(other.call(&["PING"]).is_err(), "no core serves on");
        }
        let log = scratch.read("log");
        assert!(log.contains(said), "{log}");
        if subcommand == "PANIC" {
            assert!(log.contains("called by DEBUG PANIC") && log.contains("the thread core-"), "{log}");
            assert!(log.contains("Crash::crash"), "the stack names the place: {log}");
        }
    }
}

#[test]
fn a_second_signal_forces_and_others_are_ignored() {
    let scratch = Scratch::new("signals");
    let (pid, socket) = (scratch.text("pid"), scratch.text("socket"));
    let mut server = Server::start(Kind::Corering { shards: 1 }, &["--pidfile", &pid, "--unixsocket", &socket]);
    let mut client = connect(server.port);
    for signal in ["HUP", "PIPE", "USR1", "USR2"] {
        server.signal(signal);
    }
    assert_eq!(client.call(&["PING"]).unwrap(), pong());
    // What is logged is logged in the pass in which the core falls asleep.
    let words = [&["DEBUG", "LOG", "good night"][..], &["DEBUG", "SLEEP", "600"]].map(encode);
    client.send_raw(&words.concat()).unwrap();
    eventually("the core sleeps", || server.output().contains("DEBUG LOG: good night"));
    server.signal("TERM");
    eventually("the signal is seen", || server.output().contains("Received SIGTERM scheduling shutdown..."));
    assert_eq!(server.wait_exit(300), None, "it waits for the command that runs");
    server.signal("INT");
    let status = server.wait_exit(SOON_MS).expect("the second signal ends it");
    assert_eq!(status.code(), Some(1), "{}", server.output());
    assert!(!scratch.path("pid").exists() && !scratch.path("socket").exists(), "nothing is left behind");
}

#[test]
fn the_score_for_the_kernel_follows_the_configuration() {
    let server =
        Server::start(Kind::Corering { shards: 2 }, &["--oom-score-adj", "yes", "--oom-score-adj-values", "3 4 5"]);
    let score = || {
        let text = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", server.child.id())).expect("it runs");
        text.trim().parse::<i32>().expect("a number")
    };
    let base = score() - 3;
    let mut client = connect(server.port);
    let mut set = |pairs: &[&str]| client.call(&[&["CONFIG", "SET"][..], pairs].concat()).unwrap();
    assert_eq!(set(&["oom-score-adj-values", "10 20 30"]), ok());
    assert_eq!(score(), base + 10);
    assert_eq!(set(&["oom-score-adj", "absolute", "oom-score-adj-values", "12 20 30"]), ok());
    assert_eq!(score(), 12);
    // A change that fails elsewhere changes nothing.
    assert!(matches!(set(&["oom-score-adj-values", "15 20 30", "bind", "192.0.2.1"]), Value::Error(_)));
    assert_eq!(score(), 12);
    assert_eq!(set(&["oom-score-adj", "no"]), ok());
    assert_eq!(score(), base);
}

#[test]
fn the_log_file_may_be_moved_away() {
    let scratch = Scratch::new("log");
    let log = scratch.text("log");
    let port = free_port();
    let mut child = server()
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--logfile", &log, "--dir", &scratch.text("")])
        .stdin(Stdio::null())
        .spawn()
        .expect("the binary runs");
    eventually("it serves", || scratch.read("log").contains("Ready to accept connections"));
    std::fs::rename(scratch.path("log"), scratch.path("log.1")).expect("moved");
    let mut client = connect(port);
    assert_eq!(client.call(&["CONFIG", "SET", "loglevel", "verbose", "maxmemory-samples", "6"]).unwrap(), ok());
    client.send_raw(&encode(&["SHUTDOWN"])).unwrap();
    assert!(child.wait().expect("it ends").success());
    assert!(scratch.read("log").contains("User requested shutdown..."), "{}", scratch.read("log"));
    assert!(!scratch.read("log.1").contains("User requested shutdown..."));
}

#[test]
fn a_unix_socket_takes_the_place_of_a_stale_one_and_of_nothing_else() {
    let scratch = Scratch::new("unix");
    let port = free_port().to_string();
    let socket = scratch.text("socket");
    std::fs::write(scratch.path("socket"), "precious").expect("written");
    let refused = run(&["--port", &port, "--bind", "127.0.0.1", "--unixsocket", &socket, "--dir", &scratch.text("")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("Failed opening Unix socket: bind: "), "{}", words(&refused));
    assert_eq!(scratch.read("socket"), "precious");
    std::fs::remove_file(scratch.path("socket")).expect("removed");
    drop(UnixListener::bind(scratch.path("socket")).expect("a stale socket"));

    let mut server = Server::start(Kind::Corering { shards: 2 }, &["--unixsocket", &socket, "--unixsocketperm", "722"]);
    UnixStream::connect(scratch.path("socket")).expect("it listens");
    let mode = std::fs::metadata(scratch.path("socket")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o722);
    // Another server has taken the name meanwhile: it stays.
    std::fs::remove_file(scratch.path("socket")).expect("removed");
    let other = UnixListener::bind(scratch.path("socket")).expect("bound");
    server.signal("TERM");
    assert_eq!(server.wait_exit(SOON_MS).expect("it ends").code(), Some(0));
    assert!(std::fs::metadata(scratch.path("socket")).expect("still there").file_type().is_socket());
    drop(other);
}

#[test]
fn what_this_version_lacks_is_refused_by_line_and_word() {
    let scratch = Scratch::new("absent");
    let file = scratch.text("a.conf");
    for line in [
        "cluster-enabled yes",
        "tls-port 6380",
        "replicaof 127.0.0.1 6379",
        "aclfile /etc/redis/users.acl",
        "user alice on nopass ~* +@all",
        "loadmodule /usr/lib/x.so",
        "sentinel monitor m 127.0.0.1 6379 2",
        "no-such-directive 1",
    ] {
        std::fs::write(scratch.path("a.conf"), format!("# a comment\nport 0\n{line}\n")).expect("written");
        let refused = run(&[&file]);
        let said = words(&refused);
        assert_eq!(refused.status.code(), Some(1), "{line}: {said}");
        assert!(said.contains("at line 3\n") && said.contains(&format!(">>> '{line}'\n")), "{said}");
    }
    let refused = run(&["--sentinel", "--port", "26379"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("Sentinel"), "{}", words(&refused));
}

#[test]
fn stock_configuration_files_start_as_they_are() {
    let tuning = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/corering.conf");
    for file in [Path::new("/etc/redis/redis.conf"), &tuning] {
        let scratch = Scratch::new("stock");
        let (pid, log) = (scratch.text("pid"), scratch.text("log"));
        // Only what another server on this machine may use is set otherwise.
        let arguments = ["--pidfile", &pid, "--logfile", &log, "--daemonize", "no"];
        let kind = Kind::Corering { shards: 1 };
        let directory = scratch.path("log");
        let mut server = start_with_log(kind, file, &arguments, &directory);
        assert_eq!(connect(server.port).call(&["PING"]).unwrap(), pong(), "{}", file.display());
        server.signal("TERM");
        assert_eq!(server.wait_exit(SOON_MS).expect("it ends").code(), Some(0));
    }
}

/// Starts a server whose log is a file; `Server` waits for a line on standard output, so a pipe stands in for the file.
fn start_with_log(kind: Kind, file: &Path, arguments: &[&str], log: &Path) -> Server {
    std::os::unix::fs::symlink("/dev/stdout", log).expect("linked");
    Server::spawn(kind, free_port(), Some(file), arguments)
        .unwrap_or_else(|output| panic!("{}: {output}", file.display()))
}

#[test]
fn standard_input_and_arguments_configure_too() {
    let scratch = Scratch::new("stdin");
    std::fs::create_dir(scratch.path("d")).expect("made");
    std::fs::write(scratch.path("a.conf"), format!("include {}/*.conf\nmaxclients 11\n", scratch.text("d")))
        .expect("written");
    std::fs::write(scratch.path("d/1.conf"), "timeout 5\nmaxclients 10\n").expect("written");
    std::fs::write(scratch.path("d/2.conf"), "hz 17 # often\n").expect("written");
    std::fs::write(scratch.path("in"), "hz 18\nproto-max-bulk-len 2mb\nslave-priority 7\n").expect("written");
    let port = free_port();
    let command = format!(
        "exec {} {} --port {port} --bind 127.0.0.1 --dir {} --client-output-buffer-limit normal 1mb 0 0 \
         --requirepass '--a b#' --pidfile {} - <{}",
        binary().to_string_lossy(),
        scratch.text("a.conf"),
        scratch.text(""),
        scratch.text("pid"),
        scratch.text("in")
    );
    let mut child = shell(&command).stdout(Stdio::null()).spawn().expect("sh runs");
    eventually("it serves", || Client::connect(port).is_ok() && scratch.pid().is_some());
    let mut client = connect(port);
    assert_eq!(client.call(&["AUTH", "--a b#"]).unwrap(), ok());
    for (name, expected) in [
        ("timeout", "5"),
        ("maxclients", "11"),
        ("hz", "18"),
        ("proto-max-bulk-len", "2097152"),
        ("replica-priority", "7"),
        ("client-output-buffer-limit", "normal 1048576 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
    ] {
        assert_eq!(value(&mut client, name), expected, "{name}");
    }
    // A rewrite keeps comments and includes, and holds what was changed.
    assert_eq!(client.call(&["CONFIG", "SET", "maxclients", "12"]).unwrap(), ok());
    assert_eq!(client.call(&["CONFIG", "REWRITE"]).unwrap(), ok());
    let text = scratch.read("a.conf");
    assert!(text.starts_with(&format!("include {}/*.conf\nmaxclients 12\n", scratch.text("d"))), "{text}");
    assert!(text.contains("\nrequirepass \"--a b#\"\n"), "{text}");
    scratch.kill("-TERM");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn why_a_start_fails_is_told_once_wherever_somebody_looks() {
    let scratch = Scratch::new("told-once");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let start = format!(
        "exec {} --port {port} --bind 127.0.0.1 --shards 1 --dir {}",
        binary().to_string_lossy(),
        scratch.text("")
    );
    // A terminal is as a file here: standard output and standard error are the same.
    for (ends, files) in [
        ("--logfile '' >both 2>&1", vec!["both"]),
        ("--logfile '' >out 2>err", vec!["out", "err"]),
        ("--logfile log >out 2>&1", vec!["log", "out"]),
    ] {
        let folder = scratch.text("");
        assert!(!shell(&format!("cd {folder} && {start} {ends}")).status().expect("sh runs").success());
        for file in files {
            let text = scratch.read(file);
            assert_eq!(text.matches("in use").count(), 1, "{ends} {file}: {text}");
            std::fs::remove_file(scratch.path(file)).expect("it is there");
        }
    }
}

#[test]
fn the_tuning_check_tells_what_to_mend() {
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/check");
    let output = Command::new(&check).output().expect("bash runs");
    let said = words(&output);
    assert!(said.contains("\nok    io_uring           0\n"), "{said}");
    let to_mend = said.lines().filter(|line| line.starts_with("MEND ")).count();
    assert!(said.ends_with(&format!(" looked at, {to_mend} to mend\n")), "{said}");
    assert_eq!(output.status.code(), Some(i32::from(0 < to_mend)));
    // A server beyond the limits of this machine.
    let output = Command::new(&check).env("CORERING_CLIENTS", "4000000000").output().expect("bash runs");
    assert!(
        words(&output).contains("MEND  open_files") || words(&output).contains("ok    open_files         unlimited")
    );
    assert_eq!(Command::new(&check).arg("--nonsense").output().expect("bash runs").status.code(), Some(2));
}

#[test]
fn the_process_answers_for_itself() {
    for flag in ["-v", "--version"] {
        let output = run(&[flag]);
        assert_eq!(output.status.code(), Some(0));
        assert!(words(&output).starts_with("Corering server v=7.2.4 sha="));
        assert!(words(&output).ends_with(&format!(" corering={}\n", env!("CARGO_PKG_VERSION"))));
    }
    for flag in ["-h", "--help"] {
        let output = run(&[flag]);
        assert_eq!(output.status.code(), Some(0));
        assert!(words(&output).contains("--check-system"));
    }
    let output = run(&["--test-memory", "2"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(words(&output).contains("Your memory passed this test."));
    for wrong in [&["--test-memory"][..], &["--test-memory", "x"], &["--test-memory", "0"]] {
        assert_eq!(run(wrong).status.code(), Some(1), "{wrong:?}");
    }
    let output = run(&["--check-system"]);
    let said = words(&output);
    assert!(said.contains("[io_uring]...OK\n"), "{said}");
    assert_eq!(output.status.success(), !said.contains("WARNING"), "{said}");
}

/// Runs a command with some system calls answered by an error (a seccomp filter), as in a container.
const FORBIDDING: &str = "
import ctypes, os, struct, sys
error, calls = int(sys.argv[1]), [int(call) for call in sys.argv[2].split(',')]
code = [(0x20, 0, 0, 0)]
for call in calls:
    code += [(0x15, 0, 1, call), (0x06, 0, 0, 0x00050000 | error)]
code += [(0x06, 0, 0, 0x7fff0000)]
text = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in code))
class Program(ctypes.Structure):
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
program = Program(len(code), ctypes.addressof(text))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program)) == 0, ctypes.get_errno()
os.execv(sys.argv[3], sys.argv[3:])
";

#[test]
#[cfg(target_arch = "x86_64")] // The numbers of the system calls.
fn where_io_uring_is_forbidden_the_server_says_so() {
    let port = free_port().to_string();
    for call in ["425", "426", "427"] {
        let mut command = Command::new("python3");
        command.args(["-c", FORBIDDING, "1", call]).arg(binary()).args(["--port", &port]);
        let output = command.stdin(Stdio::null()).output().expect("python3 runs");
        let words = words(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains("io_uring is forbidden here") && !words.contains("panicked"), "{words}");
    }
}

/// Containers may have no `/sys`.
#[test]
fn a_machine_that_tells_nothing_of_its_cpus_is_served_all_the_same() {
    let without_sys = ["unshare", "--mount", "sh", "-c", "umount -l /sys && exec \"$@\"", "sh"];
    let tried = Command::new(without_sys[0]).args(&without_sys[1..]).arg("true").output();
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        return eprintln!("skipped: only who may unmount /sys can try this: {tried:?}");
    }
    let kind = Kind::Corering { shards: 2 };
    let appendonly = ["--appendonly", "yes"];
    let server = Server::spawn_by(&without_sys, kind, free_port(), None, &appendonly).expect("it starts");
    let mut client = Client::connect(server.port).expect("it serves");
    assert_eq!(client.call(&["SET", "key", "value"]).unwrap(), Value::Simple(b"OK".to_vec()));
    assert_eq!(client.call(&["SAVE"]).unwrap(), Value::Simple(b"OK".to_vec()));
    assert_eq!(client.call(&["DEBUG", "RELOAD"]).unwrap(), Value::Simple(b"OK".to_vec()));
    assert_eq!(client.call(&["GET", "key"]).unwrap(), Value::Bulk(b"value".to_vec()));
    // Each core on a CPU of its own, where there are two.
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.child.id())).expect("it runs");
    let cpus: Vec<String> = tasks
        .filter_map(|task| {
            let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let is_core = field("Name:")?.starts_with("core-");
            is_core.then(|| field("Cpus_allowed_list:").unwrap_or_default().to_string())
        })
        .collect();
    assert!(2 <= cpus.len() && cpus.iter().filter(|cpu| cpu.parse::<usize>().is_ok()).count() == 2, "{cpus:?}");
}
