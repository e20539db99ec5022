//! Small commands on the server as a whole: what time it is, which role it has, watching it, stopping it.
//!
//! Not here: `INFO`, `CONFIG`, `DEBUG`, `MEMORY`, and saving: files of their own.

use super::info::REDIS_VERSION;
use super::{Args, Categories, Command, CommandResult, Flags, Group, Run, SessionView};
use crate::resp::{Error, Reply};
use crate::session::{Deferred, Ending, Mode};
use crate::value::number::parse_integer;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

const ANY_STATE: Flags = Flags::LOADING.union(Flags::STALE);
const ADMIN: Flags = ANY_STATE.union(Flags::ADMIN).union(Flags::NOSCRIPT);

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("LOLWUT", Run::Session(lolwut))
        .arity(-1)
        .flags(Flags::READONLY.union(Flags::FAST))
        .docs(Group::Server, "5.0.0", "Draws the ring of cores, and tells the version.")
        .syntax("[VERSION version]"),
    Command::new("MONITOR", Run::Session(monitor)).flags(ADMIN).docs(
        Group::Server,
        "1.0.0",
        "Sends the client every command that any client runs, until it leaves.",
    ),
    Command::new("ROLE", Run::Session(role))
        .flags(ANY_STATE.union(Flags::NOSCRIPT).union(Flags::FAST))
        .categories(Categories::ADMIN.union(Categories::DANGEROUS))
        .docs(Group::Server, "2.8.12", "Tells whether the server is a primary or a replica, and who follows it."),
    Command::new("SHUTDOWN", Run::Session(shutdown))
        .arity(-1)
        .flags(ADMIN.union(Flags::NO_MULTI).union(Flags::ALLOW_BUSY))
        .docs(Group::Server, "1.0.0", "Ends the server.")
        .complexity(
            "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
        )
        .syntax("[NOSAVE|SAVE] [NOW@7.0.0] [FORCE@7.0.0] [ABORT@7.0.0]"),
    Command::new("TIME", Run::Session(time))
        .flags(ANY_STATE.union(Flags::FAST))
        .docs(Group::Server, "2.6.0", "Tells the time: Unix seconds, and microseconds of the current one.")
        .tips(&["nondeterministic_output"]),
];

fn time(_: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    // The loop's time is in milliseconds and as old as the pass; who asks for the time wants it fresh.
    #[allow(clippy::disallowed_methods, reason = "as said")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    reply.array(2);
    reply.bulk_integer(now.as_secs() as i64);
    reply.bulk_integer(i64::from(now.subsec_micros()));
    Ok(())
}

fn role(_: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(3);
    reply.bulk("master");
    reply.integer(0); // Replication offset: nothing is replicated.
    reply.array(0);
    Ok(())
}

/// A client that watches already gets no reply, as in Redis.
fn monitor(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if view.session.mode.contains(Mode::DENY_BLOCKING) {
        return Err(Error::fixed("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if !view.session.mode.contains(Mode::MONITOR) {
        view.session.mode |= Mode::MONITOR;
        view.shared.monitors.fetch_add(1, Ordering::Relaxed);
        reply.ok();
    }
    Ok(())
}

/// Ends the server without a reply, unless it fails: the connection just closes.
fn shutdown(view: &mut SessionView<'_>, args: &Args<'_>, _: &mut Reply<'_>) -> CommandResult {
    let (mut save, mut nosave, mut now, mut force, mut abort) = (false, false, false, false, false);
    for word in &args[1..] {
        let option = match word.to_ascii_lowercase().as_slice() {
            b"save" => &mut save,
            b"nosave" => &mut nosave,
            b"now" => &mut now,
            b"force" => &mut force,
            b"abort" => &mut abort,
            _ => return Err(Error::SYNTAX),
        };
        *option = true;
    }
    if (abort && (save || nosave || now || force)) || (save && nosave) {
        return Err(Error::SYNTAX);
    }
    if abort {
        // Nothing is ever waited for, so a shutdown that has begun is over before anybody can ask.
        return Err(Error::fixed("ERR No shutdown in progress."));
    }
    if !nosave && let Some(run) = view.shared.scripts.longest().filter(|_| view.shared.scripts.is_any_busy()) {
        return Err(run.refusal());
    }
    tracing::warn!("User requested shutdown...");
    // No replica lags behind, so NOW changes nothing.
    view.session.deferred = Some(Box::new(Deferred::Shutdown(Ending { save, nosave, force, signal: None })));
    Ok(())
}

/// Columns of the drawing by default.
const COLUMNS: i64 = 40;
/// Fewest and most columns of the drawing.
const COLUMNS_RANGE: std::ops::RangeInclusive<i64> = 12..=160;

fn lolwut(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut columns = COLUMNS;
    if let [_, word, version, rest @ ..] = args
        && word.eq_ignore_ascii_case(b"VERSION")
    {
        parse_integer(version).ok_or(Error::NOT_INTEGER)?;
        for (index, word) in rest.iter().enumerate() {
            let number = parse_integer(word).ok_or(Error::NOT_INTEGER)?;
            if index == 0 {
                columns = number.clamp(*COLUMNS_RANGE.start(), *COLUMNS_RANGE.end());
            }
        }
    }
    let mut text = ring(columns as usize, view.shared.cores);
    let own = env!("CARGO_PKG_VERSION");
    write!(text, "\nCorering ver. {own}, speaking as Redis ver. {REDIS_VERSION}\n").expect("a string takes any text");
    reply.verbatim(b"txt", text);
    Ok(())
}

/// A ring that many columns wide, its cores as beads on it.
fn ring(columns: usize, cores: usize) -> String {
    // A character is about twice as high as wide, so two columns make a unit.
    let rows = columns / 2;
    let center = (rows as f64 - 1.0) / 2.0;
    let mut dots = vec![vec![' '; rows * 2]; rows];
    let mut put = |angle: f64, dot: char| {
        let (x, y) = (center + center * angle.sin(), center - center * angle.cos());
        dots[y.round() as usize][(x * 2.0).round() as usize] = dot;
    };
    let around = |part: usize, parts: usize| part as f64 / parts as f64 * std::f64::consts::TAU;
    let steps = columns * 8;
    for step in 0..steps {
        put(around(step, steps), '.');
    }
    let beads = cores.min(steps); // Beyond that they would hide each other.
    for bead in 0..beads {
        put(around(bead, beads), 'O');
    }
    let lines: Vec<String> = dots.into_iter().map(|line| line.into_iter().collect::<String>()).collect();
    lines.iter().map(|line| line.trim_end()).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::connection::double::Server;
    use super::*;

    #[track_caller]
    fn check(server: &mut Server, line: &str, expected: &str) {
        assert_eq!(server.say(COMMANDS, 1, line), expected, "{line}");
    }

    #[test]
    fn role_and_time() {
        let mut server = Server::new(1, 1, &[]);
        check(&mut server, "ROLE", "*3|$6|master|:0|*0|");
        let time = server.say(COMMANDS, 1, "TIME");
        let words: Vec<&str> = time.split('|').collect();
        assert_eq!((words[0], words[1]), ("*2", "$10"));
        assert!(words[4].parse::<u32>().unwrap() < 1_000_000);
    }

    #[test]
    fn monitor_counts_a_client_once() {
        let mut server = Server::new(1, 2, &[]);
        check(&mut server, "MONITOR", "+OK|");
        check(&mut server, "MONITOR", "");
        assert_eq!(server.say(COMMANDS, 2, "MONITOR"), "+OK|");
        assert_eq!(server.shared.monitors.load(Ordering::Relaxed), 2);
        assert!(server.session(2).mode.contains(Mode::MONITOR));
    }

    #[test]
    fn shutdown_says_what_is_to_be_done() {
        for line in ["SHUTDOWN foo", "SHUTDOWN SAVE NOSAVE", "SHUTDOWN NOW ABORT", "SHUTDOWN ABORT SAVE"] {
            let mut server = Server::new(1, 1, &[]);
            check(&mut server, line, "-ERR syntax error|");
            assert_eq!(server.session(1).deferred, None);
        }
        let mut server = Server::new(1, 1, &[]);
        check(&mut server, "SHUTDOWN ABORT", "-ERR No shutdown in progress.|");
        let none = Ending::default();
        for (line, ending) in [
            ("SHUTDOWN", none),
            ("SHUTDOWN nosave", Ending { nosave: true, ..none }),
            ("SHUTDOWN NOSAVE NOW FORCE", Ending { nosave: true, force: true, ..none }),
            ("SHUTDOWN SAVE", Ending { save: true, ..none }),
        ] {
            check(&mut server, line, "");
            assert_eq!(server.session(1).deferred.take().as_deref(), Some(&Deferred::Shutdown(ending)));
        }
    }

    #[test]
    fn lolwut_names_the_server() {
        let mut server = Server::new(4, 1, &[]);
        let art = server.say(COMMANDS, 1, "LOLWUT");
        assert_eq!(art.matches('O').count(), 4, "{art}");
        assert!(art.ends_with(", speaking as Redis ver. 7.2.4\n|"), "{art}");
        assert_eq!(server.say(COMMANDS, 1, "LOLWUT 1 x"), art);
        assert_eq!(server.say(COMMANDS, 1, "LOLWUT VERSION 6"), art);
        assert!(server.say(COMMANDS, 1, "LOLWUT VERSION 5 80").len() > art.len());
        check(&mut server, "LOLWUT VERSION x", "-ERR value is not an integer or out of range|");
        check(&mut server, "LOLWUT VERSION 5 1 x", "-ERR value is not an integer or out of range|");
        for columns in COLUMNS_RANGE {
            assert!(ring(columns as usize, 1000).len() < 30_000);
        }
    }
}
