//! `corering-check`: the command line around [`corering::check`], which asks before it changes anything.

use clap::Parser;
use corering::check::json::Json;
use corering::check::log::Report;
use corering::check::plan::Plan;
use corering::check::{Verdict, tell, time};
use corering::runtime::check::Subject;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// It cannot be read, or not be done.
const FAILED: u8 = 2;

const MORE_HELP: &str = "\
PATH may be:
  a snapshot (RDB, versions 1 to 12, of Redis, Valkey or Corering)
  a log in one file (AOF), also one that begins with a snapshot
  the directory of a log (appendonlydir), or its manifest
  a server's directory, in which all of these are looked for

A log that a server uses is refused: stop the server, or check a copy.

Repairing: what is lost is shown before, and the question is asked. New files are written beside the old ones and
synced; then they take their names, and the old files stay as *.bak-N. If anything fails, everything is as it was. The
lanes of a log (one for each core) are cut at the same moment, so that no transaction is there by half. What can be read
behind damage in the middle is lost too: that is said, and --yes alone does not do it.

Exit status:
  0  whole, or made whole
  1  damaged; with --fix or --truncate-to-time: nothing was changed, because the answer was no
  2  it cannot be read, or not be done; the reason is on standard error

Examples:
  corering-check /var/lib/redis/dump.rdb
  corering-check /var/lib/redis/appendonlydir --json
  corering-check /var/lib/redis/appendonlydir --fix
  corering-check appendonlydir --truncate-to-time 2026-11-21T20:00:00Z";

/// Checks snapshots (RDB) and append-only files (AOF) of Redis and Corering, describes them, and repairs them.
#[derive(Parser)]
#[command(name = "corering-check", version, after_long_help = MORE_HELP)]
struct Arguments {
    /// File or directory.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Tells what was found as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Repairs: keeps all that stands before what is damaged.
    #[arg(long)]
    fix: bool,
    /// Takes back all that is later than this: unix seconds or RFC 3339. Needs `aof-timestamp-enabled`.
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "fix")]
    truncate_to_time: Option<u64>,
    /// Answers yes where only what is broken, or what is later than the time, is lost.
    #[arg(long)]
    yes: bool,
    /// With --yes: also where what can be read behind the damage is lost.
    #[arg(long, requires = "yes")]
    lose_what_follows: bool,
}

fn parse_time(text: &str) -> Result<u64, String> {
    time::parse(text).ok_or_else(|| "neither unix seconds nor a time like 2026-11-21T20:00:00Z".to_string())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(why) => {
            eprintln!("corering-check: {why}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, String> {
    let subjects = Subject::all_of(&arguments.path)?;
    let changes = arguments.fix || arguments.truncate_to_time.is_some();
    if changes && 1 < subjects.len() {
        let places: Vec<String> = subjects.iter().map(|subject| subject.place().display().to_string()).collect();
        return Err(format!("there are several things here, say which one is meant: {}", places.join(", ")));
    }
    let (mut reports, mut statuses, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for subject in &subjects {
        let place = subject.place().display().to_string();
        match subject.examine() {
            Ok(report) => {
                statuses.push(report.verdict().status());
                if arguments.json {
                    reports.push(tell::json(&report, &place));
                } else {
                    print(&tell::text(&report, &place));
                }
                if changes {
                    let (status, told) = change(arguments, subject, &report)?;
                    statuses = vec![status];
                    if let (Some(Json::Object(members)), Some(told)) = (reports.last_mut(), told) {
                        members.push(("plan".to_string(), told));
                    }
                }
            }
            Err(why) => failures.push(why),
        }
    }
    if arguments.json && !reports.is_empty() {
        let told = if reports.len() == 1 { reports.remove(0) } else { Json::List(reports) };
        print(&format!("{told}\n"));
    }
    for why in &failures {
        eprintln!("corering-check: {why}");
        statuses.push(FAILED);
    }
    // What is damaged weighs more than what is not known.
    Ok(if statuses.contains(&1) { 1 } else { statuses.into_iter().max().unwrap_or(FAILED) })
}

/// Repairs or truncates: the status, and what a program is told.
fn change(arguments: &Arguments, subject: &Subject, report: &Report) -> Result<(u8, Option<Json>), String> {
    let plan = match arguments.truncate_to_time {
        Some(seconds) => subject.truncate(report, seconds)?,
        None => subject.repair(report)?,
    };
    let Some(plan) = plan else {
        say(arguments, "Nothing is to be done.");
        return Ok((Verdict::Whole.status(), None));
    };
    say(arguments, tell::plan_text(&plan).trim_end());
    if !is_agreed(arguments, &plan)? {
        say(arguments, "Nothing was changed.");
        // Room that was not used is no damage.
        let verdict = if arguments.fix { report.verdict() } else { Verdict::Damaged };
        return Ok((verdict.status(), Some(tell::plan_json(&plan, false))));
    }
    for (name, backup) in subject.carry_out(&plan)? {
        say(arguments, &format!("{name} is changed, what it was is {backup}"));
    }
    let after = subject.examine()?;
    say(arguments, &format!("{}: {}", subject.place().display(), after.verdict().word()));
    Ok((after.verdict().status(), Some(tell::plan_json(&plan, true))))
}

fn is_agreed(arguments: &Arguments, plan: &Plan) -> Result<bool, String> {
    if arguments.yes {
        if plan.loss.is_middle && arguments.fix && !arguments.lose_what_follows {
            let what = "the damage is not at the end, and --yes alone does not lose what follows it";
            return Err(format!("{what}: answer by hand, or add --lose-what-follows. Nothing was changed"));
        }
        return Ok(true);
    }
    eprint!("Continue? [y/N] ");
    let _ = std::io::stderr().flush(); // Who does not see the question answers nothing.
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| format!("cannot read the answer: {error}"))?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// Says something beside what is found: to people, and not in the way of a program.
fn say(arguments: &Arguments, text: &str) {
    if arguments.json { eprintln!("{text}") } else { print(&format!("{text}\n")) }
}

/// Prints; a reader that has gone away is no failure.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
