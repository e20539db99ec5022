//! Scripts on a Lua that goes on from input to input, as that of a server does: whatever one does, its reply is one
//! whole element, and the next script finds everything as it was.

use corering::resp::decode::scan;
use corering::resp::{Output, Protocol};
use corering::script::{Answer, Caller, Engine, Invocation};
use std::cell::RefCell;

/// Ticks after which a script is ended: some hundred thousand instructions.
const TICKS_MAX: u32 = 3;

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::new(Engine::new("7.2.4"));
}

/// Answers calls with replies of all kinds, by the length of their names.
struct Server {
    ticks: u32,
}

impl Caller for Server {
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, out: &mut Output) -> Answer {
        let reply: &[u8] = match (args[0].len() % 8, protocol) {
            (0, _) => b"-ERR no\r\n",
            (1, _) => b":-7\r\n",
            (2, _) => b"$-1\r\n",
            (3, _) => b"+OK\r\n",
            (4, _) => b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            (5, Protocol::Resp3) => b"%1\r\n$1\r\na\r\n,1.5\r\n",
            (6, Protocol::Resp3) => b"~2\r\n#t\r\n_\r\n",
            _ => b"$3\r\na\r\n\r\n",
        };
        out.extend_from_slice(reply);
        Answer::Replied
    }

    fn may_call(&mut self, args: &[&[u8]]) -> Option<bool> {
        args[0].len().is_multiple_of(2).then_some(true)
    }

    fn log(&mut self, _: usize, _: &[u8]) -> Option<&'static str> {
        None
    }

    fn tick(&mut self) -> Option<&'static str> {
        self.ticks += 1;
        (TICKS_MAX < self.ticks).then_some("Script killed by user with SCRIPT KILL...")
    }

    fn cpu_seconds(&mut self) -> f64 {
        0.0
    }
}

/// The reply of a script, or the error of one that is none.
pub fn run(text: &[u8], keys: &[&[u8]], args: &[&[u8]]) -> Vec<u8> {
    ENGINE.with_borrow_mut(|engine| {
        let reply = run_on(engine, text, keys, args);
        let next = run_on(engine, b"return {#KEYS, type(redis.call), 'as it was'}", &[], &[]);
        assert_eq!(next, b"*3\r\n:0\r\n$8\r\nfunction\r\n$9\r\nas it was\r\n", "{}", next.escape_ascii());
        reply
    })
}

fn run_on(engine: &mut Engine, text: &[u8], keys: &[&[u8]], args: &[&[u8]]) -> Vec<u8> {
    let Ok(reference) = engine.compile(text) else { return b"-ERR Error compiling script\r\n".to_vec() };
    let mut out = Output::default();
    let call = Invocation { reference, name: "sha", is_function: false, keys, args, protocol: Protocol::Resp3 };
    engine.run(&call, &mut Server { ticks: 0 }, &mut out);
    engine.forget(reference);
    let reply: Vec<u8> = out.into_pieces().flat_map(|piece| piece.to_vec()).collect();
    assert_eq!(scan(&reply), Ok(Some(reply.len())), "one whole element");
    reply
}
