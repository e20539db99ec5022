//! Interrupts: the first SIGINT or SIGTERM asks a run to end and to report, a later one ends the process.

use crate::clock::Clock;
use crate::console::complain;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Signals so soon after the first one belong to it: `timeout` sends one to the process and one to its group.
const SAME_NS_MAX: u64 = 500_000_000;

/// Sets the flag when a signal comes; at a later one the process ends with this status.
pub fn watch(status: i32) -> Result<Arc<AtomicBool>, String> {
    let cannot = |error: std::io::Error| format!("cannot wait for signals: {error}");
    let interrupted: Arc<AtomicBool> = Arc::default();
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(cannot)?;
    let flag = interrupted.clone();
    let wait = move || {
        let clock = Clock::start();
        let mut first_ns = None;
        for _ in signals.forever() {
            let now_ns = clock.now_ns();
            flag.store(true, Ordering::Relaxed);
            if SAME_NS_MAX < now_ns - *first_ns.get_or_insert(now_ns) {
                complain(format_args!("corering-bench: interrupted again: nothing more is written\n"));
                std::process::exit(status);
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map_err(cannot)?;
    Ok(interrupted)
}
