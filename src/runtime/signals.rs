//! SIGTERM and SIGINT end the server in order; a second one ends it at once, unless the first was refused.

use super::server::Traces;
use crate::config::ShutdownOptions;
use crate::session::Ending;
use crate::shared::Shared;
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::sync::Arc;

/// Starts a thread that waits for signals. It ends with the process.
pub(super) fn watch(shared: &Arc<Shared>, traces: &Arc<Traces>) {
    let mut signals = match Signals::new([SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2, SIGXFSZ]) {
        Ok(signals) => signals,
        Err(error) => {
            tracing::warn!("cannot watch for signals: {error}");
            return;
        }
    };
    let (shared, traces) = (shared.clone(), traces.clone());
    let watch = move || {
        for signal in signals.forever() {
            match signal {
                SIGTERM | SIGINT if shared.persistence.is_ending() => {
                    tracing::warn!("You insist... exiting now.");
                    traces.remove();
                    crate::log::flush();
                    std::process::exit(1);
                }
                SIGTERM => tracing::warn!("Received SIGTERM scheduling shutdown..."),
                SIGINT => tracing::warn!("Received SIGINT scheduling shutdown..."),
                // Ignored, as Redis ignores SIGHUP and SIGPIPE. SIGXFSZ: a file that may not grow (`ulimit -f`) says so
                // to whoever writes it, as a full disk does.
                _ => continue,
            }
            let config = shared.config();
            let (name, options) = match signal {
                SIGINT => ("SIGINT", config.shutdown_on_sigint),
                _ => ("SIGTERM", config.shutdown_on_sigterm),
            };
            shared.persistence.end(Ending {
                save: options.contains(ShutdownOptions::SAVE),
                nosave: options.contains(ShutdownOptions::NOSAVE),
                force: options.contains(ShutdownOptions::FORCE),
                signal: Some(name),
            });
            (shared.alarm)();
        }
    };
    let started = std::thread::Builder::new().name("signals".into()).spawn(watch);
    if let Err(error) = started {
        tracing::warn!("cannot watch for signals: {error}");
    }
}
