//! Whether the next group of the log waits for company, under `appendfsync always`.
//!
//! Clients that wait for a reply before they ask again fall apart into two crowds: while what one has written is on its
//! way to the disk, the other gathers, and everybody waits for two syncs. Waiting a moment for those whom the last
//! group has released makes one crowd of them again, and one sync for each reply.
//!
//! ```text
//!   without   │ A ─ sync ─ │ B ─ sync ─ │ A ─ sync ─ │ B ─ sync ─ │      half of the clients a sync
//!   with      │ A+B ─ sync ─ │··│ A+B ─ sync ─ │··│ A+B ─ sync ─ │       all of them
//! ```
//! Half of what the last sync took is the most that is waited for, and only until all are there: who waits longer than
//! without does so by less than the sync that everybody else is spared. Where few come back in time (clients with other
//! things to do, or far away), it is not tried again for some groups. Not here: clocks, clients, the disk.

/// Of what the last sync took, one part in so many may be waited for, …
const SYNC_PER_WAIT: u64 = 2;
/// … and this at most, in nanoseconds.
const WAIT_NANOSECONDS_MAX: u64 = 5_000_000;
/// Groups that wait for nobody after one that did so in vain.
const ALONE_GROUPS: u32 = 16;

/// See the module's page. Times are nanoseconds of one clock.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Whom the next group waits for.
    awaited: Option<Awaited>,
    /// So many groups will not wait.
    alone: u32,
}

#[derive(Debug)]
struct Awaited {
    /// Clients that are to wait for the next group.
    clients: usize,
    /// Those that did when it began to wait.
    first: Option<usize>,
    /// For so long.
    until: u64,
}

impl Company {
    /// A group is on disk. So many clients wait for it, or for the next one.
    pub(super) fn written(&mut self, now: u64, took: u64, clients: usize) {
        self.awaited = None;
        if 0 < self.alone {
            self.alone -= 1;
        } else {
            let until = now + (took / SYNC_PER_WAIT).min(WAIT_NANOSECONDS_MAX);
            self.awaited = Some(Awaited { clients, first: None, until });
        }
    }

    /// Whether nobody is waited for.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        self.awaited.is_none()
    }

    /// Whether those of the last group have yet to be told.
    pub(super) fn is_new(&self) -> bool {
        self.awaited.as_ref().is_some_and(|awaited| awaited.first.is_none())
    }

    /// Whether the next group, which so many clients wait for, is not to be written yet.
    pub(super) fn is_awaited(&mut self, now: u64, clients: usize) -> bool {
        let Some(awaited) = &mut self.awaited else { return false };
        let first = *awaited.first.get_or_insert(clients);
        if clients < awaited.clients && now < awaited.until {
            return true;
        }
        let (came, missing) = (clients.saturating_sub(first), awaited.clients.saturating_sub(first));
        if came * 2 < missing {
            self.alone = ALONE_GROUPS;
        }
        self.awaited = None;
        false
    }

    /// For how long it is waited, if it is.
    pub(super) fn left(&self, now: u64) -> Option<u64> {
        self.awaited.as_ref().map(|awaited| awaited.until.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups, and clients told, of a closed loop of so many, each of which asks again so long after its reply, where a
    /// sync takes as long as this and two crowds are there at first.
    fn told_per_group(clients: usize, again: u64, sync: u64, waits: bool) -> f64 {
        let mut company = Company::default();
        // When each client's next write comes; those of the group under way have none.
        let mut due: Vec<u64> = (0..clients).map(|client| if client % 2 == 0 { 0 } else { sync / 2 }).collect();
        let (mut now, mut groups, mut told) = (0, 0, 0);
        while groups < 1000 {
            let waiting = due.iter().filter(|due| **due <= now).count();
            if waits && company.is_awaited(now, waiting) || waiting == 0 {
                now += 1;
                continue;
            }
            let group: Vec<usize> = (0..clients).filter(|&client| due[client] <= now).collect();
            now += sync;
            let behind = due.iter().enumerate().filter(|(at, due)| !group.contains(at) && **due <= now).count();
            if waits {
                company.written(now, sync, group.len() + behind);
            }
            (groups, told) = (groups + 1, told + group.len());
            group.iter().for_each(|&client| due[client] = now + again + client as u64);
        }
        told as f64 / groups as f64
    }

    #[test]
    fn clients_that_come_back_at_once_share_their_syncs() {
        let alone = told_per_group(50, 20, 1000, false);
        assert!(alone < 30.0, "{alone}");
        let together = told_per_group(50, 20, 1000, true);
        assert!(45.0 < together, "{together}");
    }

    #[test]
    fn nobody_is_waited_for_who_does_not_come() {
        let mut company = Company::default();
        company.written(1000, 200, 10);
        assert!(company.is_new());
        assert!(company.is_awaited(1001, 4));
        assert!(!company.is_new());
        assert_eq!(company.left(1040), Some(60));
        assert!(company.is_awaited(1099, 5));
        assert!(!company.is_awaited(1100, 5), "half of the sync is over");
        assert_eq!(company.left(1100), None);
        for _ in 0..ALONE_GROUPS {
            company.written(2000, 400, 10);
            assert!(!company.is_awaited(2000, 4), "one of six came");
        }
        company.written(3000, 400, 10);
        assert!(company.is_awaited(3000, 4));
        assert!(!company.is_awaited(3010, 10), "all are there");
        company.written(4000, 400, 10);
        assert!(company.is_awaited(4000, 4));
    }

    #[test]
    fn one_client_is_never_kept_waiting() {
        let mut company = Company::default();
        company.written(1000, 400, 1);
        assert!(company.is_awaited(1001, 0), "there is nothing to write");
        assert!(!company.is_awaited(1002, 1));
        company.written(u64::MAX / 2, u64::MAX / 4, 2);
        assert_eq!(company.left(u64::MAX / 2), Some(WAIT_NANOSECONDS_MAX));
    }
}
