//! Servers that behave as a test wants them to: prompt, stalling, silent, lying, or gone.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a server does with a request.
pub type Answer = Box<dyn Fn(&[Vec<u8>]) -> Vec<u8> + Send + Sync>;

/// A server with a thread for each connection.
pub struct Fake {
    pub address: String,
    pub port: u16,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

pub struct State {
    answer: Answer,
    /// While this is later than now, nobody is answered.
    stall: Mutex<Option<(Instant, Instant)>>,
    /// Requests other than greetings that were read.
    pub requests: AtomicU64,
    pub connections: AtomicU64,
    ends: AtomicBool,
}

impl Fake {
    pub fn start(answer: impl Fn(&[Vec<u8>]) -> Vec<u8> + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(State {
            answer: Box::new(answer),
            stall: Mutex::new(None),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            ends: AtomicBool::new(false),
        });
        let shared = state.clone();
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ends.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { return };
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Fake { address: format!("127.0.0.1:{port}"), port, state, acceptor: Some(acceptor) }
    }

    /// One that answers `+OK` to everything.
    pub fn prompt() -> Fake {
        Fake::start(|_| b"+OK\r\n".to_vec())
    }

    /// From `after` from now on nobody is answered for `length`.
    pub fn stall(&self, after: Duration, length: Duration) {
        let begin = Instant::now() + after;
        *self.state.stall.lock().expect("no thread panicked") = Some((begin, begin + length));
    }

    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.state.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(mut stream: TcpStream, state: &State) {
    let _ = stream.set_nodelay(true);
    let mut input = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let mut out = Vec::new();
        while let Some((arguments, len)) = parse(&input) {
            input.drain(..len);
            let is_greeting = ["PING", "AUTH", "HELLO", "SELECT", "INFO", "CLUSTER"]
                .iter()
                .any(|name| arguments[0].eq_ignore_ascii_case(name.as_bytes()));
            if !is_greeting {
                state.requests.fetch_add(1, Ordering::Relaxed);
                let stall = *state.stall.lock().expect("no thread panicked");
                if let Some((begin, end)) = stall {
                    let now = Instant::now();
                    if begin <= now && now < end {
                        std::thread::sleep(end - now);
                    }
                }
            }
            out.extend((state.answer)(&arguments));
        }
        // An answer of nothing at all ends the connection.
        if out == b"close" {
            return;
        }
        if stream.write_all(&out).is_err() || state.ends.load(Ordering::Relaxed) {
            return;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(len) => input.extend_from_slice(&piece[..len]),
        }
    }
}

/// The arguments of a whole request, and how long it is.
fn parse(input: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 0;
    let number = |mark: u8| {
        let end = at + input[at..].windows(2).position(|pair| pair == b"\r\n")?;
        assert_eq!(input[at], mark, "{:?}", String::from_utf8_lossy(input));
        let number: usize = std::str::from_utf8(&input[at + 1..end]).ok()?.parse().ok()?;
        Some((number, end + 2))
    };
    let (count, begin) = number(b'*')?;
    at = begin;
    let mut arguments = Vec::new();
    for _ in 0..count {
        let end = at + input.get(at..)?.windows(2).position(|pair| pair == b"\r\n")?;
        let len: usize = std::str::from_utf8(&input[at + 1..end]).ok()?.parse().ok()?;
        arguments.push(input.get(end + 2..end + 2 + len)?.to_vec());
        at = end + 2 + len + 2;
        if input.len() < at {
            return None;
        }
    }
    Some((arguments, at))
}

/// Whether a request is the one with this name.
pub fn is(arguments: &[Vec<u8>], name: &str) -> bool {
    arguments[0].eq_ignore_ascii_case(name.as_bytes())
}
