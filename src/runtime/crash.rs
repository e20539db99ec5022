//! A panic in any thread ends the process, with its message, its thread and its stack in the log.
//!
//! Once this is said it aborts, so that never one core is dead and the others serve. (A release is built with
//! `panic = "abort"` besides, which makes it smaller.) A thread that is stuck (a reader that does not empty
//! the pipe of the log, say) must not keep the others serving, so the words have a deadline.

use crate::log;
use crate::sys::crash;
use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the last words may take.
const WORDS_S_MAX: u32 = 10;

/// From now on the log (none: standard output) tells why the process ended. After [`log::start`], once.
pub fn watch(log_file: Option<&Path>) {
    let to_stderr = log_file.is_some();
    std::panic::set_hook(Box::new(move |info| last_words(info, to_stderr)));
    if let Err(error) = crash::watch(log_file) {
        tracing::warn!("cannot watch for crashes: {error}");
    }
}

fn last_words(info: &PanicHookInfo<'_>, to_stderr: bool) -> ! {
    static SPEAKS: AtomicBool = AtomicBool::new(false);
    if SPEAKS.swap(true, Ordering::Relaxed) {
        // The first one ends the process when it has spoken.
        loop {
            std::thread::sleep(Duration::from_secs(u64::from(WORDS_S_MAX)));
        }
    }
    crash::end_in(WORDS_S_MAX);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("a panic without words");
    let place = info.location().map_or_else(|| "an unknown place".to_string(), ToString::to_string);
    let words = format!("the thread {thread} panicked at {place}: {message}");
    if thread != log::THREAD_NAME {
        log::flush(); // What led to this comes first.
    }
    // The stack takes its time to be read: whatever happens then, the message is there.
    log::write_now(&words, "");
    let stack = format!("{}", Backtrace::force_capture());
    log::write_now("its stack was:", &stack);
    if to_stderr {
        eprintln!("corering: {words}\n{stack}");
    }
    std::process::abort();
}
