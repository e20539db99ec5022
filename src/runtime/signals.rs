//! SIGTERM and SIGINT end the server in order; a second one ends it at once. Runs on the main thread.

use crate::shared::Shared;
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::sync::Arc;

/// Starts a thread that waits for signals. It ends with the process.
pub fn watch(shared: &Arc<Shared>) {
    let mut signals = match Signals::new([SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2]) {
        Ok(signals) => signals,
        Err(error) => {
            tracing::warn!("cannot watch for signals: {error}");
            return;
        }
    };
    let shared = shared.clone();
    std::thread::spawn(move || {
        let mut asked = false;
        for signal in signals.forever() {
            match signal {
                SIGTERM | SIGINT if asked => std::process::exit(1),
                SIGTERM => tracing::warn!("Received SIGTERM scheduling shutdown..."),
                SIGINT => tracing::warn!("Received SIGINT scheduling shutdown..."),
                _ => continue, // Ignored, as Redis ignores SIGHUP and SIGPIPE.
            }
            asked = true;
            shared.stop(0);
        }
    });
}
