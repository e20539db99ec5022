//! `corering-check`: the command line around [`corering::check`], which asks before it changes anything.

use clap::Parser;
use corering::check::json::Json;
use corering::check::log::Report;
use corering::check::plan::Plan;
use corering::check::{Verdict, tell};
use corering::cli::CheckArguments;
use corering::runtime::check::Subject;
use std::io::{BufRead, Write};
use std::process::ExitCode;

/// It cannot be read, or not be done.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let arguments = CheckArguments::parse();
    match run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(why) => {
            eprintln!("corering-check: {why}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(arguments: &CheckArguments) -> Result<u8, String> {
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
fn change(arguments: &CheckArguments, subject: &Subject, report: &Report) -> Result<(u8, Option<Json>), String> {
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

fn is_agreed(arguments: &CheckArguments, plan: &Plan) -> Result<bool, String> {
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
fn say(arguments: &CheckArguments, text: &str) {
    if arguments.json { eprintln!("{text}") } else { print(&format!("{text}\n")) }
}

/// Prints; a reader that has gone away is no failure.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
