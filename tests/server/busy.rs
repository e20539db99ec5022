//! A script that runs too long: who would have to wait for it is told so, and everybody else is served.

use crate::client::{Client, Value};
use crate::extra::wait_until;
use crate::process::{Kind, Server};

const BUSY: &[u8] = b"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

fn connect(server: &Server) -> Client {
    Client::connect(server.port).expect("a running server accepts connections")
}

fn is_busy(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text == BUSY)
}

#[test]
fn who_would_wait_for_a_busy_script_is_told_so() {
    let server = Server::start(Kind::Corering { shards: 4 }, &["--busy-reply-threshold", "200"]);
    let mut other = connect(&server);
    for key in 0..40 {
        other.call(&["SET", &format!("k{key}"), "v"]).expect("a reply");
    }
    for script in [
        "while true do redis.call('GET', KEYS[1]) end",
        // It names one key, and holds all of them from the second on.
        "redis.call('GET', 'k1') redis.call('GET', 'k2') redis.call('GET', 'k3') while true do end",
    ] {
        let mut runs = connect(&server);
        runs.send_raw(&crate::client::encode(&["EVAL", script, "1", "held"])).expect("it is sent");
        // From the threshold on, whichever core they come in at.
        let mut clients: Vec<Client> = (0..8).map(|_| connect(&server)).collect();
        for client in &mut clients {
            wait_until("the script's key is refused", || is_busy(&client.call(&["GET", "held"]).expect("a reply")));
            for refused in [
                &["DBSIZE"][..],
                &["KEYS", "*"],
                &["FLUSHALL"],
                &["MSET", "held", "1", "k1", "2", "k2", "3", "k3", "4"],
                &["EVAL", "return redis.call('GET', 'held')", "1", "held"],
            ] {
                let reply = client.call(refused).expect("a reply");
                assert!(is_busy(&reply), "{refused:?}: {reply:?}");
            }
            client.call(&["MULTI"]).expect("a reply");
            client.call(&["SET", "held", "v"]).expect("a reply");
            let Value::Error(text) = client.call(&["EXEC"]).expect("a reply") else { panic!("it ran") };
            assert!(text.starts_with(b"EXECABORT Transaction discarded because of: BUSY"), "{}", text.escape_ascii());
            let pong = client.call(&["PING"]).expect("a reply");
            assert!(pong == Value::Simple(b"PONG".to_vec()) || is_busy(&pong), "{pong:?}");
        }
        // Some of them came in at other cores, where other keys are read as ever.
        if script.starts_with("while") {
            let reads: Vec<Value> = clients
                .iter_mut()
                .flat_map(|client| {
                    (0..40).map(|key| client.call(&["GET", &format!("k{key}")]).expect("a reply")).collect::<Vec<_>>()
                })
                .collect();
            let served = reads.iter().filter(|reply| **reply == Value::Bulk(b"v".to_vec())).count();
            assert!(reads.iter().all(|reply| is_busy(reply) || *reply == Value::Bulk(b"v".to_vec())), "{reads:?}");
            assert!(40 <= served, "{served} of {} were served", reads.len());
        }
        assert_eq!(other.call(&["SCRIPT", "KILL"]).expect("a reply"), Value::Simple(b"OK".to_vec()));
        let Value::Error(text) = runs.read().expect("it ends") else { panic!("it has no end") };
        assert!(text.starts_with(b"ERR Script killed by user"), "{}", text.escape_ascii());
        wait_until("all keys are counted", || other.call(&["DBSIZE"]).expect("a reply") == Value::Integer(40));
    }
}
