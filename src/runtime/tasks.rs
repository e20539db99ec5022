//! Tasks of glommio beside a core's loop: what waits for files or timers of glommio and must not hold up clients.
//!
//! The loop never awaits anything while there is no such task: then the thread sleeps in the private ring, which costs
//! half of what sleeping in glommio does (see the table on the architecture page). While there are some, the loop gives
//! way to them between two passes, and where it would sleep, the thread sleeps in glommio; the private ring rings a
//! [`Bell`] when something completes in it.
//!
//! ```text
//!   no tasks      pass ─▶ sleep in the private ring ─▶ pass …
//!   tasks, busy   pass ─▶ enter, not asleep ─▶ let tasks run ─▶ pass …
//!   tasks, idle   pass ─▶ enter, not asleep ─▶ sleep in glommio until the bell, a task's file or a timer ─▶ pass …
//! ```
//! What has to be fast and is one write after the other, such as a log, belongs on the private ring, where it shares
//! the loop's entries into the kernel. This is for what has steps: walking, opening, reading ahead.

use super::core::Core;
use super::ticker::Ticker;
use crate::sys::bell::Bell;
use glommio::timer::Timer;
use glommio::{Latency, Shares, TaskQueueHandle};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Poll, Waker};
use std::time::Duration;

/// How soon glommio looks at what the tasks wait for while the loop is busy.
const LATENCY: Duration = Duration::from_millis(1);
/// How often a core with tasks is woken, whatever it does.
const TICK: Duration = Duration::from_millis(2);

/// The loops of cores with tasks. If its preemption timer rings between its looking at the rings and its looking for
/// tasks, which a busy machine makes happen, glommio 0.9 takes it that none is ready, and sleeps until something else
/// happens, which may be never. So a thread wakes them, as long as there are any.
static TICKER: LazyLock<Ticker<Waker>> = LazyLock::new(|| {
    let tick = || {
        loop {
            TICKER.tick(Waker::wake);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new().name("ticker".into()).spawn(tick).expect("a thread more can be started");
    Ticker::new()
});

thread_local! {
    /// Tasks of this core that have not ended.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
    /// Where they run: apart from the loop, so that a completion of theirs interrupts it.
    static QUEUE: Cell<Option<TaskQueueHandle>> = const { Cell::new(None) };
}

/// Counts a task for as long as it lives, whichever way it ends.
struct Counted;

impl Counted {
    fn new() -> Counted {
        RUNNING.set(RUNNING.get() + 1);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
    }
}

/// Starts a task on the calling core. It runs between passes of the loop and shares its thread: it must not run long
/// between two awaits.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    let queue = QUEUE.get().unwrap_or_else(|| {
        let queue = glommio::executor().create_task_queue(Shares::default(), Latency::Matters(LATENCY), "beside");
        QUEUE.set(Some(queue));
        queue
    });
    let counted = Counted::new();
    let task = async move {
        let _counted = counted;
        task.await;
    };
    glommio::spawn_local_into(task, queue).expect("the queue was made on this core").detach();
}

/// Whether the loop has to leave room for tasks.
#[inline]
pub(super) fn are_running() -> bool {
    RUNNING.get() != 0
}

impl Core {
    /// As [`Core::rest`] while tasks are running.
    pub(super) async fn rest_beside(&mut self, bell: &mut Option<Bell>) {
        let bell = match bell {
            Some(bell) => bell,
            None => {
                let made = Bell::new().expect("a core has descriptors in reserve");
                self.ring.ring_bell(Some(&made));
                TICKER.add(self.core, poll_fn(|context| Poll::Ready(context.waker().clone())).await);
                bell.insert(made)
            }
        };
        self.sends = 0;
        let idle_ms = self.idle_ms();
        self.sample_writes();
        let may_sleep = !self.is_busy(idle_ms) && self.park();
        self.timing.has_slept = may_sleep;
        // What completed before the bell was there, or since the last look, rings no more.
        self.ring.enter(None, 0, 1);
        if may_sleep && !self.ring.has_events() {
            let mut heard = pin!(bell.heard());
            let mut timer = pin!(Timer::new(self.idle(idle_ms)));
            let mut is_begun = false;
            poll_fn(|context| {
                let is_over = heard.as_mut().poll(context).is_ready() || timer.as_mut().poll(context).is_ready();
                // Woken by whomever: there is nothing against a pass too many.
                if is_over || std::mem::replace(&mut is_begun, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            self.ring.enter(None, 0, 1);
        } else {
            glommio::executor().yield_task_queue_now().await;
        }
        if may_sleep {
            self.mailbox.unpark();
        }
    }

    /// The last task ended: nobody hears the bell any more.
    pub(super) fn silence(&mut self, bell: &mut Option<Bell>) {
        if bell.take().is_some() {
            TICKER.remove(self.core);
            self.ring.ring_bell(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::aof_place::LogFiles;
    use super::super::core::Parts;
    use super::super::listen::Doors;
    use super::super::listen::tests::free_port;
    use super::super::mailbox::connect;
    use super::super::parking::Parking;
    use super::*;
    use crate::config::Config;
    use crate::keyspace::Keyspace;
    use crate::shard::Shard;
    use crate::shared::Shared;
    use crate::sys::ring::Ring;
    use glommio::io::DmaFile;
    use glommio::{LocalExecutorBuilder, Placement};
    use parking_lot::Mutex;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Instant;

    /// Blocks that the task writes, each with direct I/O and each synced.
    const BLOCKS: usize = 20;
    const BLOCK_BYTES: usize = 4096;
    /// CI's cores and disks are shared.
    const WAIT: Duration = Duration::from_secs(200);

    /// Serves on a port, with a task that waits a little and then writes a file.
    fn start(port: u16, go: Arc<AtomicBool>, written: Arc<AtomicUsize>) -> (Arc<Shared>, std::thread::JoinHandle<()>) {
        let config = Config { port, bind: vec!["127.0.0.1".into()], ..Config::default() };
        let doors = Arc::new(Doors::open(&config, 1).expect("the port is free"));
        let shared = Arc::new(Shared::new(config, vec![0], 1, String::new()));
        let keyspace = Keyspace::new(1, 1);
        let hasher = keyspace.hasher();
        let shard =
            Mutex::new(Shard::new(0, 1, shared.config(), keyspace, 1, shared.pubsub.clone(), shared.log.clone()));
        let shards: &'static [Mutex<Shard>] = Box::leak(vec![shard].into_boxed_slice());
        let parking = Arc::new(Parking::new(1));
        let mailbox = connect(1, &parking).pop().expect("one core");
        let core_shared = shared.clone();
        let thread = std::thread::spawn(move || {
            let executor = LocalExecutorBuilder::new(Placement::Unbound).make().expect("an executor");
            executor.run(async move {
                let parts = Parts {
                    core: 0,
                    mailbox,
                    doors,
                    shards,
                    hasher,
                    shared: core_shared,
                    ring: Ring::new().unwrap(),
                    log_files: LogFiles::default(),
                    board: None,
                };
                spawn(async move {
                    while !go.load(Ordering::Relaxed) {
                        Timer::new(Duration::from_millis(1)).await;
                    }
                    let path = std::env::temp_dir().join(format!("corering-tasks-{}", std::process::id()));
                    let file = DmaFile::create(&path).await.expect("a file");
                    for block in 0..BLOCKS {
                        let buffer = file.alloc_dma_buffer(BLOCK_BYTES);
                        file.write_at(buffer, (block * BLOCK_BYTES) as u64).await.expect("written");
                        file.fdatasync().await.expect("synced");
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                    file.close().await.expect("closed");
                    std::fs::remove_file(path).expect("removed");
                });
                Core::new(parts).run().await;
            });
        });
        (shared, thread)
    }

    fn ping(client: &mut TcpStream) -> Duration {
        let started = Instant::now();
        client.write_all(b"PING\r\n").unwrap();
        let mut reply = [0; 7];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"+PONG\r\n");
        started.elapsed()
    }

    #[test]
    fn tasks_write_files_while_clients_are_served_and_while_nobody_calls() {
        for is_idle in [false, true] {
            let port = free_port();
            let (go, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            let (shared, thread) = start(port, go.clone(), written.clone());
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            client.set_nodelay(true).unwrap();
            let mut longest = (0..200).map(|_| ping(&mut client)).max().unwrap();
            go.store(true, Ordering::Relaxed);
            let started = Instant::now();
            while written.load(Ordering::Relaxed) < BLOCKS && started.elapsed() < WAIT {
                if is_idle {
                    std::thread::sleep(Duration::from_millis(1));
                } else {
                    longest = longest.max(ping(&mut client));
                }
            }
            assert_eq!(written.load(Ordering::Relaxed), BLOCKS, "idle: {is_idle}");
            // Asleep in glommio, a core would hear of a request only by its timers if the bell did not ring.
            assert!(longest < WAIT / 10, "{longest:?}");
            longest = (0..200).map(|_| ping(&mut client)).max().unwrap();
            assert!(longest < WAIT / 10, "{longest:?} after the last task");
            shared.stop(0);
            thread.join().unwrap();
        }
    }
}
