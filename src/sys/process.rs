//! Limits and facts of the process and the host.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::fs::FileExt;

/// Raises the soft limit of open files to at least `want`, as far as the hard limit allows; returns the limit in force.
pub fn raise_open_files(want: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the kernel to write.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return 1024;
    }
    if limit.rlim_cur < want {
        // Root may raise the hard limit too; others get what there is.
        for hard in [limit.rlim_max.max(want), limit.rlim_max] {
            let raised = libc::rlimit { rlim_cur: want.min(hard), rlim_max: hard };
            // SAFETY: `raised` is a valid rlimit.
            if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
                return raised.rlim_cur;
            }
        }
    }
    limit.rlim_cur
}

/// CPU seconds of this process: (system, user), and of its children.
pub fn cpu_seconds(who: CpuOf) -> (f64, f64) {
    // SAFETY: all-zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let who = match who {
        CpuOf::Process => libc::RUSAGE_SELF,
        CpuOf::Children => libc::RUSAGE_CHILDREN,
        CpuOf::Thread => libc::RUSAGE_THREAD,
    };
    // SAFETY: `usage` is a valid place to write.
    if unsafe { libc::getrusage(who, &mut usage) } != 0 {
        return (0.0, 0.0);
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_stime), seconds(usage.ru_utime))
}

/// Whose CPU time [`cpu_seconds`] tells.
pub enum CpuOf {
    /// All threads.
    Process,
    /// Ended children.
    Children,
    /// The calling thread.
    Thread,
}

/// CPU time of the calling thread, in nanoseconds: exact at this moment, where [`cpu_seconds`] may be a tick behind.
pub fn thread_cpu_nanoseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place to write.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "every thread has a clock of its CPU time");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// For how long a thread was ready to run while its CPU ran something else, as the scheduler counts it.
#[derive(Debug, Default)]
pub struct RunQueue(Option<std::fs::File>);

impl RunQueue {
    /// Of the calling thread, whoever asks later.
    pub fn of_this_thread() -> RunQueue {
        RunQueue(std::fs::File::open("/proc/thread-self/schedstat").ok())
    }

    /// Nanoseconds since the thread began. `None`: the kernel does not tell.
    pub fn delay_nanoseconds(&self) -> Option<u64> {
        // Three numbers: time on a CPU, time waiting for one, times on one.
        let mut text = [0; 96];
        let len = self.0.as_ref()?.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..len]).ok()?.split_whitespace().nth(1)?.parse().ok()
    }
}

/// `uname`: (system, release, machine).
pub fn uname() -> (String, String, String) {
    // SAFETY: all-zero is a valid utsname.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is a valid place to write.
    if unsafe { libc::uname(&mut name) } != 0 {
        return ("Linux".into(), "unknown".into(), "unknown".into());
    }
    let text = |field: &[libc::c_char]| {
        let bytes: Vec<u8> = field.iter().take_while(|&&byte| byte != 0).map(|&byte| byte as u8).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    (text(&name.sysname), text(&name.release), text(&name.machine))
}

/// Resident memory of this process in bytes, from `/proc/self/statm`.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn resident_bytes() -> io::Result<u64> {
    Ok(memory_fields()?[1])
}

/// The part of it that is no file's, in bytes: what a control group's limit is compared with, but for the kernel's own.
///
/// # Errors
/// As above.
pub fn anonymous_bytes() -> io::Result<u64> {
    let [_, resident, of_files] = memory_fields()?;
    Ok(resident.saturating_sub(of_files))
}

/// Address space, resident memory and the part of it that belongs to files, in bytes.
fn memory_fields() -> io::Result<[u64; 3]> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let mut words = text.split(' ').map(|word| word.parse().unwrap_or(0));
    Ok(std::array::from_fn(|_| words.next().unwrap_or(0) * page_bytes()))
}

/// Where others want the calling thread's CPU, it has a tenth of what they have.
pub fn step_back() {
    // SAFETY: changes nothing but when this thread runs; Linux takes 0 for the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 10) };
}

/// Bytes of a page.
pub fn page_bytes() -> u64 {
    // SAFETY: sysconf has no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// Limits the calling thread to these CPUs.
///
/// # Errors
/// What the kernel says (EINVAL: none of them is allowed).
pub fn pin_thread(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: all-zero is an empty set; CPU_SET checks nothing but the index stays below CPU_SETSIZE.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as usize) {
            libc::CPU_SET(cpu, &mut set);
        }
        set
    };
    // SAFETY: `set` is a valid CPU set of the size given.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Memory that this process may use, in bytes: the smaller of the machine's and the control group's. 0: not known.
pub fn memory_bytes() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
    });
    let group = group_memory_bytes(&read("/proc/self/cgroup").unwrap_or_default(), &read);
    match (machine, group) {
        (Some(machine), Some(group)) => machine.min(group),
        (machine, group) => machine.or(group).unwrap_or(0),
    }
}

/// The smallest limit of memory of the control groups that the process is in, in bytes. `groups` is
/// `/proc/self/cgroup`; `read` reads a file. Within a container the path is that of the host: then the root counts.
fn group_memory_bytes(groups: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let mut smallest: Option<u64> = None;
    let mut look = |path: String| {
        if let Some(bytes) = read(&path).and_then(|text| text.trim().parse::<u64>().ok()) {
            smallest = Some(smallest.map_or(bytes, |smallest| smallest.min(bytes)));
        }
    };
    for line in groups.lines() {
        let mut words = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (words.next(), words.next(), words.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut path = path.trim_end_matches('/');
        loop {
            look(format!("{root}{path}/{file}"));
            let Some(end) = path.rfind('/') else { break };
            path = &path[..end];
        }
    }
    smallest
}

/// Keeps the kernel from backing this process' memory with huge pages by itself, as Redis does: zeroing one takes
/// milliseconds, in the middle of some client's command.
///
/// False where the kernel does not know how.
pub fn disable_huge_pages() -> bool {
    // SAFETY: the call takes no pointers; where the kernel does not know it, nothing changes.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 }
}

/// Raises the soft limit of locked memory to the hard one; returns the limit in force, in bytes. Where nobody may ask,
/// none is known, and what needs the memory will say so.
pub fn raise_locked_memory() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the kernel to write.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } != 0 {
        return u64::MAX;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: `raised` is a valid rlimit.
    if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raised) } == 0 { raised.rlim_cur } else { limit.rlim_cur }
}

#[cfg(test)]
mod tests {
    use super::group_memory_bytes;

    #[test]
    fn the_smallest_group_limit_on_the_way_to_the_root_counts() {
        let read = |path: &str| {
            let text = match path {
                "/sys/fs/cgroup/a.slice/b.service/memory.max" => "max\n",
                "/sys/fs/cgroup/a.slice/memory.max" => "2000\n",
                "/sys/fs/cgroup/memory.max" => "3000\n",
                "/sys/fs/cgroup/memory/c/memory.limit_in_bytes" => "1000\n",
                _ => return None,
            };
            Some(text.to_string())
        };
        assert_eq!(group_memory_bytes("0::/a.slice/b.service\n", &read), Some(2000));
        assert_eq!(group_memory_bytes("0::/\n", &read), Some(3000));
        assert_eq!(group_memory_bytes("0::/elsewhere/on/the/host\n", &read), Some(3000));
        assert_eq!(group_memory_bytes("3:cpu:/c\n2:pids,memory:/c\n0::/a.slice\n", &read), Some(1000));
        assert_eq!(group_memory_bytes("3:cpu:/c\n", &read), None);
        assert_eq!(group_memory_bytes("", &read), None);
    }
}
