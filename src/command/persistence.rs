//! Saving keys: `SAVE`, `BGSAVE`, `LASTSAVE`, what `INFO` says of it, and when commands are refused for its sake.
//!
//! Not here: doing it (`src/runtime/snapshot.rs`), and `DEBUG RELOAD`.

use super::lookup::{self, Row};
use super::{Args, Categories, Command, CommandResult, Context, Flags, Group, Joint, Run, SessionView};
use crate::config::Config;
use crate::rdb::Limits;
use crate::resp::{Error, Reply};
use crate::session::{Deferred, Mode, Session};
use crate::shard::Shard;
use crate::shared::Shared;
use crate::shared::persistence::{Purpose, Wish, obstacle};
use std::fmt::Write;
use std::sync::atomic::Ordering;

const SAVING: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING);

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("BGSAVE", Run::Session(bgsave))
        .arity(-1)
        .flags(SAVING)
        .docs(Group::Server, "1.0.0", "Saves all keys to the disk, while clients are served.")
        .syntax("[schedule=SCHEDULE]@3.2.2"),
    Command::new("LASTSAVE", Run::Session(lastsave))
        .flags(Flags::LOADING.union(Flags::STALE).union(Flags::FAST))
        .categories(Categories::ADMIN.union(Categories::DANGEROUS))
        .docs(Group::Server, "1.0.0", "Returns when keys were saved last: Unix seconds.")
        .tips(&["nondeterministic_output"]),
    Command::new("SAVE", Run::Session(save))
        .flags(SAVING.union(Flags::NO_MULTI))
        .docs(Group::Server, "1.0.0", "Saves all keys to the disk, and replies when they are there.")
        .complexity("O(N) where N is the total number of keys in all databases"),
];

const IN_PROGRESS: Error = Error::fixed("ERR Background save already in progress");
const NOT_IN_PROGRESS: Error = Error::fixed("ERR Background saving is currently not in progress or scheduled");
const ANOTHER: Error = Error::fixed(
    "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a \
     BGSAVE whenever possible.",
);
const UNSAVED: Error = Error::fixed(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that \
     may modify the data set are disabled, because this instance is configured to report errors during writes if RDB \
     snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB \
     error.",
);

fn bgsave(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let persistence = &view.shared.persistence;
    let mut schedules = false;
    match args {
        [_] => {}
        [_, word] if word.eq_ignore_ascii_case(b"schedule") => schedules = true,
        [_, word] if word.eq_ignore_ascii_case(b"cancel") => {
            if persistence.is_saving(Purpose::Background) {
                persistence.cancel_background();
                reply.simple("Background saving cancelled");
            } else if persistence.schedule(false) {
                reply.simple("Scheduled background saving cancelled");
            } else {
                return Err(NOT_IN_PROGRESS);
            }
            return Ok(());
        }
        _ => return Err(Error::SYNTAX),
    }
    let is_in_transaction = view.session.mode.contains(Mode::DENY_BLOCKING);
    if persistence.is_saving(Purpose::Background) {
        return Err(IN_PROGRESS);
    }
    if persistence.is_busy() || view.shared.log.is_rewriting() || is_in_transaction {
        if !schedules && !is_in_transaction {
            return Err(ANOTHER);
        }
        persistence.schedule(true);
        reply.simple("Background saving scheduled");
    } else {
        persistence.wish(Wish::Asked);
        reply.simple("Background saving started");
    }
    Ok(())
}

fn save(view: &mut SessionView<'_>, _: &Args<'_>, _: &mut Reply<'_>) -> CommandResult {
    if view.shared.persistence.is_saving(Purpose::Background) {
        return Err(IN_PROGRESS);
    }
    view.session.deferred = Some(Box::new(Deferred::Save));
    Ok(())
}

fn lastsave(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(view.shared.persistence.history().last_save_seconds as i64);
    Ok(())
}

/// Whether a command is refused while the disk does not keep what is written: it writes, or says so, as scripts and
/// functions with flags do; or it runs what was queued that does.
pub fn needs_disk(shared: &Shared, row: &'static Row, args: &Args<'_>, session: &Session) -> bool {
    let writes = |row: &Row, args: &Args<'_>| {
        row.flags.contains(Flags::WRITE)
            || matches!(row.command.run, Run::Joint(Joint::Script(call)) if shared.scripts.says_it_writes(call, args))
    };
    let queued = &session.transaction;
    let is_write_queued = |at: usize| {
        let args: Vec<&[u8]> = queued.args(at).collect();
        writes(lookup::find_by_index(queued.command(at) as usize), &args)
    };
    let is_exec = matches!(row.command.run, Run::Joint(Joint::Exec));
    writes(row, args) || row.command.tells_of_disk || is_exec && (0..queued.len()).any(is_write_queued)
}

/// Whether writes are refused because keys could not be saved last time.
pub fn is_unsaved(obstacles: u8, config: &Config) -> bool {
    obstacles & obstacle::UNSAVED != 0 && config.stop_writes_on_bgsave_error && !config.save.0.is_empty()
}

/// Why a command is refused that would run otherwise: keys are being loaded, or could not be saved last time.
pub fn refused(obstacles: u8, row: &'static Row, config: &Config, needs_disk: impl FnOnce() -> bool) -> Option<Error> {
    if is_unsaved(obstacles, config) && needs_disk() {
        return Some(UNSAVED);
    }
    (obstacles & obstacle::LOADING != 0 && !row.flags.contains(Flags::LOADING)).then_some(Error::LOADING)
}

/// What the directives say about the forms of values, on a shard.
pub fn value_limits(shard: &mut Shard) -> Limits {
    let Shard { keyspace, config, random, index, shards, .. } = shard;
    let now_ms = keyspace.now_ms();
    let (shard, shards) = (*index, *shards);
    super::dump::limits(&mut Context { keyspace, config, random, db: 0, now_ms, shard, shards, long_reply: None })
}

/// The lines of `INFO persistence` that tell of loading and of snapshots, when the cores have counted so many changes.
pub fn write_info(text: &mut String, shared: &Shared, changes: u64, now_ms: u64) {
    let persistence = &shared.persistence;
    let (history, running) = (persistence.history(), persistence.running());
    let background = running.filter(|running| running.purpose == Purpose::Background);
    let held_bytes = if persistence.is_claimed() { persistence.held_bytes.load(Ordering::Relaxed) } else { 0 };
    let (keys, recorded) = (running.map_or(0, |running| running.keys), &persistence.keys_recorded);
    let recorded = if running.is_some() { recorded.load(Ordering::Relaxed).min(keys) } else { 0 };
    let percent = if keys == 0 { 0.0 } else { recorded as f64 * 100.0 / keys as f64 };
    let seconds_since = |since_ms: u64| (now_ms.saturating_sub(since_ms) / 1000) as i64;
    let is_saving = persistence.is_saving(Purpose::Background);
    let lines = format!(
        "loading:{}\r\nasync_loading:0\r\ncurrent_cow_peak:{held_bytes}\r\ncurrent_cow_size:{held_bytes}\r\n\
         current_cow_size_age:0\r\ncurrent_fork_perc:{percent:.2}\r\ncurrent_save_keys_processed:{recorded}\r\n\
         current_save_keys_total:{keys}\r\nrdb_changes_since_last_save:{}\r\nrdb_bgsave_in_progress:{}\r\n\
         rdb_last_save_time:{}\r\nrdb_last_bgsave_status:{}\r\nrdb_last_bgsave_time_sec:{}\r\n\
         rdb_current_bgsave_time_sec:{}\r\nrdb_saves:{}\r\nrdb_last_cow_size:{}\r\n\
         rdb_last_load_keys_expired:{}\r\nrdb_last_load_keys_loaded:{}\r\n",
        u8::from(persistence.is_loading()),
        persistence.changes_since_save(changes),
        u8::from(is_saving),
        history.last_save_seconds,
        if history.is_ok { "ok" } else { "err" },
        history.last_duration_seconds,
        background.map_or(-1, |background| seconds_since(background.since_ms)),
        history.saves,
        history.last_held_bytes,
        persistence.loading.expired.load(Ordering::Relaxed),
        persistence.loading.keys.load(Ordering::Relaxed),
    );
    text.push_str(&lines);
}

/// Those that come behind all others while keys are being loaded.
pub fn write_loading(text: &mut String, shared: &Shared, now_ms: u64) {
    let loading = &shared.persistence.loading;
    if !shared.persistence.is_loading() {
        return;
    }
    let since = loading.since_seconds.load(Ordering::Relaxed);
    let progress = loading.progress(now_ms);
    let (total, loaded) = (progress.total_bytes, progress.loaded_bytes);
    let (percent, eta) = (progress.percent(), progress.left_seconds());
    let used = loading.used_bytes.load(Ordering::Relaxed);
    write!(
        text,
        "loading_start_time:{since}\r\nloading_total_bytes:{total}\r\nloading_rdb_used_mem:{used}\r\n\
         loading_loaded_bytes:{loaded}\r\nloading_loaded_perc:{percent:.2}\r\nloading_eta_seconds:{eta}\r\n"
    )
    .expect("a string takes any text");
}

#[cfg(test)]
mod tests {
    use super::super::connection::double::Server;
    use super::*;
    use crate::shared::persistence::Running;

    #[track_caller]
    fn check(server: &mut Server, line: &str, expected: &str) {
        assert_eq!(server.say(COMMANDS, 1, line), expected, "{line}");
    }

    #[test]
    fn a_save_is_wished_for_scheduled_or_refused() {
        let mut server = Server::new(1, 1, &[]);
        check(&mut server, "BGSAVE foo", "-ERR syntax error|");
        check(&mut server, "BGSAVE SCHEDULE now", "-ERR syntax error|");
        check(&mut server, "BGSAVE CANCEL", "-ERR Background saving is currently not in progress or scheduled|");
        check(&mut server, "BGSAVE", "+Background saving started|");
        check(&mut server, "BGSAVE SCHEDULE", "-ERR Background save already in progress|");
        check(&mut server, "SAVE", "-ERR Background save already in progress|");
        assert_eq!(server.shared.persistence.take_wish(), Some(Wish::Asked));
        check(&mut server, "BGSAVE", "-ERR Background save already in progress|");
        assert!(server.shared.persistence.claim(Purpose::Background));
        let running = Running { purpose: Purpose::Background, since_ms: 0, keys: 0, changes: 0 };
        server.shared.persistence.set_running(running);
        server.shared.persistence.release();
        assert!(server.shared.persistence.claim(Purpose::Emptied));
        check(&mut server, "BGSAVE", "+Background saving started|");
        server.shared.persistence.release();
        assert!(server.shared.persistence.claim(Purpose::Background));
        server.shared.persistence.set_running(running);
        server.shared.persistence.release();
        assert!(server.shared.persistence.claim(Purpose::LogBase), "by somebody else");
        check(&mut server, "BGSAVE", &format!("-{}|", ANOTHER.text()));
        check(&mut server, "BGSAVE SCHEDULE", "+Background saving scheduled|");
        check(&mut server, "BGSAVE CANCEL", "+Scheduled background saving cancelled|");
        check(&mut server, "SAVE", "");
        assert_eq!(server.session(1).deferred.take().as_deref(), Some(&Deferred::Save));
    }

    #[test]
    fn obstacles_keep_commands_from_running() {
        let mut config = Config::default();
        let shared = Shared::new(Config::default(), vec![0], 1, String::new());
        let mut session = Session::new(1, 0, 0, 0);
        let of = |name: &str| lookup::lookup(name.as_bytes()).expect("a command");
        let check = |obstacles, name: &str, session: &Session, config: &Config| {
            let needs_disk = || needs_disk(&shared, of(name), &[name.as_bytes(), b"#!lua\nreturn 1", b"0"], session);
            refused(obstacles, of(name), config, needs_disk)
        };
        assert_eq!(check(0, "set", &session, &config), None);
        assert_eq!(check(obstacle::LOADING, "get", &session, &config), Some(Error::LOADING));
        assert_eq!(check(obstacle::LOADING, "info", &session, &config), None);
        for name in ["set", "ping", "eval", "eval_ro"] {
            assert_eq!(check(obstacle::UNSAVED, name, &session, &config), Some(UNSAVED));
        }
        assert_eq!(check(obstacle::UNSAVED, "get", &session, &config), None);
        assert_eq!(check(obstacle::UNSAVED, "exec", &session, &config), None);
        session.transaction.push(of("set").id.index() as u16, [&b"set"[..], b"k", b"v"].into_iter());
        assert_eq!(check(obstacle::UNSAVED, "exec", &session, &config), Some(UNSAVED));
        session.transaction.clear();
        session.transaction.push(of("eval").id.index() as u16, [&b"eval"[..], b"return 1", b"0"].into_iter());
        assert_eq!(check(obstacle::UNSAVED, "exec", &session, &config), None);
        session.transaction.push(of("eval").id.index() as u16, [&b"eval"[..], b"#!lua\n", b"0"].into_iter());
        assert_eq!(check(obstacle::UNSAVED, "exec", &session, &config), Some(UNSAVED));
        config.save.0.clear();
        assert_eq!(check(obstacle::UNSAVED, "set", &session, &config), None);
    }
}
