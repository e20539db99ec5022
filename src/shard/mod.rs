//! One core's engine: its keys and its statistics, and the execution of commands on them. A command runs to completion:
//! no await, no lock, `now` handed in.

use crate::command::lookup::Row;
use crate::command::{Args, CommandResult, Context, Run};
use crate::config::Config;
use crate::keyspace::Keyspace;
use crate::resp::{Error, Protocol, Reply};
use crate::route::parcel::{RequestHeader, flags};
use crate::stats::Stats;
use std::sync::Arc;

/// One core's engine.
pub struct Shard {
    /// The keys.
    pub keyspace: Keyspace,
    /// Counters and latencies.
    pub stats: Stats,
    /// The configuration in force here.
    pub config: Arc<Config>,
    /// Randomness of this shard.
    pub random: fastrand::Rng,
    /// This shard's number.
    pub index: usize,
    /// Shards of the server.
    pub shards: usize,
    /// Unix time in milliseconds, read by the loop.
    pub now_ms: u64,
}

/// What a call needs beside its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Selected database.
    pub db: usize,
    /// The client's protocol.
    pub protocol: Protocol,
    /// False: access clocks stay (`CLIENT NO-TOUCH`).
    pub touch: bool,
}

impl Call {
    /// As a request of another core says.
    pub fn of(header: &RequestHeader) -> Call {
        Call {
            db: header.db as usize,
            protocol: if header.flags & flags::RESP3 == 0 { Protocol::Resp2 } else { Protocol::Resp3 },
            touch: header.flags & flags::NO_TOUCH == 0,
        }
    }
}

impl Shard {
    /// Takes a new configuration.
    pub fn configure(&mut self, config: Arc<Config>) {
        self.config = config;
    }

    /// What is due ten times a second.
    pub fn cron(&mut self) {}

    /// Runs a command whose keys are all here, and writes its reply or error to `out`. True: it succeeded.
    #[inline]
    pub fn execute(&mut self, row: &'static Row, call: Call, args: &Args<'_>, out: &mut Vec<u8>) -> bool {
        let Run::Keyspace(run) = row.command.run else {
            panic!("{} does not run on a keyspace", row.full_name());
        };
        let start = out.len();
        let mut reply = Reply::new(out, call.protocol);
        self.keyspace.begin(self.now_ms, call.touch);
        let mut context = Context {
            keyspace: &mut self.keyspace,
            config: &self.config,
            random: &mut self.random,
            db: call.db,
            now_ms: self.now_ms,
            shard: self.index,
            shards: self.shards,
        };
        match run(&mut context, args, &mut reply) {
            Ok(()) => true,
            Err(error) => {
                self.fail(row, &error, start, out);
                false
            }
        }
    }

    /// Replaces what was written since `start` by an error, and counts it.
    #[cold]
    pub fn fail(&mut self, row: &'static Row, error: &Error, start: usize, out: &mut Vec<u8>) {
        out.truncate(start);
        Reply::new(out, Protocol::Resp2).error(error);
        self.stats.failed(row.id, error.prefix());
    }
}

/// What the code of a session command returns, written or counted the same way.
pub fn finish(result: CommandResult, shard: &mut Shard, row: &'static Row, start: usize, out: &mut Vec<u8>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            shard.fail(row, &error, start, out);
            false
        }
    }
}
