//! How far loading is, for who waits for the start: lines of the log, and a bar where standard output is a terminal.

use super::core::unix_ms;
use crate::shared::Shared;
use crate::shared::persistence::Progress;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the bar is drawn.
const DRAW: Duration = Duration::from_millis(100);
/// A line of the log comes each time that so many of those have passed: every five seconds.
const DRAWS_PER_LINE: u32 = 50;
/// Columns of the bar itself.
const BAR_COLUMNS: usize = 30;

/// Tells of it until it is dropped.
pub(super) struct Reporter {
    ends: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Begins. Where there is no room for a thread, nothing is told.
    pub(super) fn start(shared: &Arc<Shared>) -> Reporter {
        let (ends, ended) = channel::<()>();
        let shared = shared.clone();
        let report = move || {
            let is_terminal = std::io::stdout().is_terminal();
            let mut ticks = 0;
            loop {
                let is_over = ended.recv_timeout(DRAW) != Err(RecvTimeoutError::Timeout);
                ticks += 1;
                let progress = shared.persistence.loading.progress(unix_ms());
                if is_terminal && progress.total_bytes != 0 {
                    draw(&bar(&progress), is_over);
                }
                if is_over {
                    return;
                }
                if ticks % DRAWS_PER_LINE == 0 && progress.total_bytes != 0 {
                    tracing::info!("{}", line(&progress));
                }
            }
        };
        let thread = std::thread::Builder::new().name("progress".into()).spawn(report).ok();
        Reporter { ends: Some(ends), thread }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.ends = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // It has nothing to say any more.
        }
    }
}

/// Draws over what was drawn before. The cursor stands in front of it: a line of the log, which is longer, takes its
/// place.
fn draw(bar: &str, is_last: bool) {
    let mut out = std::io::stdout().lock();
    let end = if is_last { '\n' } else { '\r' };
    // A terminal that is gone needs no bar.
    let _ = write!(out, "{bar}{end}").and_then(|()| out.flush());
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

/// For the log.
fn line(progress: &Progress) -> String {
    format!(
        "Loading: {:.2} % of {:.2} Mb in {} seconds, about {} seconds left",
        progress.percent(),
        mebibytes(progress.total_bytes),
        progress.elapsed_seconds,
        progress.left_seconds()
    )
}

/// For a terminal.
fn bar(progress: &Progress) -> String {
    let full = (progress.percent() * BAR_COLUMNS as f64 / 100.0) as usize;
    let (full, empty) = ("#".repeat(full), " ".repeat(BAR_COLUMNS - full));
    format!("loading [{full}{empty}] {:5.1} % {:4} s left", progress.percent(), progress.left_seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_a_line_and_in_a_bar() {
        let progress = Progress { total_bytes: 4 << 20, loaded_bytes: 1 << 20, elapsed_seconds: 10 };
        assert_eq!(line(&progress), "Loading: 25.00 % of 4.00 Mb in 10 seconds, about 30 seconds left");
        assert_eq!(bar(&progress), "loading [#######                       ]  25.0 %   30 s left");
        let done = Progress { loaded_bytes: 4 << 20, ..progress };
        assert_eq!(bar(&done), "loading [##############################] 100.0 %    0 s left");
        let nothing = Progress { loaded_bytes: 0, ..progress };
        assert_eq!(bar(&nothing), "loading [                              ]   0.0 %    1 s left");
        assert!(bar(&done).len() < 80, "a line of the log hides it");
    }
}
