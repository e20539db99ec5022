//! What the host does to latency and safety: looked at when the server starts, and by `--check-system`.

use super::server::files_reserved;
use crate::config::Config;
use crate::sys::process;
use crate::sys::ring::Ring;

/// Locked memory below which no core can be started.
const LOCKED_BYTES_MIN: u64 = 512 * 1024;

/// Clocks that are read without a system call.
const FAST_CLOCKS: &[&str] = &["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

/// Asks the kernel for what the process needs and may have.
///
/// # Errors
/// What it must have and may not, with the mend.
pub fn prepare(config: &Config) -> Result<(), String> {
    if config.disable_thp && !process::disable_huge_pages() {
        tracing::warn!("cannot keep transparent huge pages away from this process (disable-thp)");
    }
    locked_memory()?;
    io_uring()
}

fn locked_memory() -> Result<(), String> {
    let bytes = process::raise_locked_memory();
    if bytes < LOCKED_BYTES_MIN {
        return Err(format!(
            "locked memory is limited to {bytes} bytes, and a core needs {LOCKED_BYTES_MIN}: raise it (ulimit -l, \
             LimitMEMLOCK= in the unit, --ulimit memlock= of the container)"
        ));
    }
    Ok(())
}

/// One look at the host: its name, and what is wrong and how to mend it.
type Check = (&'static str, fn(&Config) -> Result<(), String>);

const CHECKS: &[Check] =
    &[("somaxconn", backlog), ("huge-pages", huge_pages), ("clock", clock), ("cpu-quota", cpu_quota)];

/// Checks that a start makes by itself, and fails where they do.
const NEEDS: &[Check] =
    &[("io_uring", |_| io_uring()), ("locked-memory", |_| locked_memory()), ("open-files", open_files)];

/// Says what about the host and the configuration costs latency or safety.
pub fn warn(config: &Config) {
    for (_, check) in CHECKS {
        if let Err(why) = check(config) {
            tracing::warn!("WARNING {why}");
        }
    }
    if config.maxmemory.bytes == 0 {
        tracing::warn!("WARNING maxmemory is not set: memory may grow until the system kills the server");
    } else if let Some(why) = too_much(config.maxmemory.bytes, process::memory_bytes()) {
        tracing::warn!("WARNING {why}");
    }
    warn_of_pending(config, &Config::default());
}

/// What is wrong with a limit above what this process may use, in bytes; 0: not known.
fn too_much(maxmemory_bytes: u64, machine_bytes: u64) -> Option<String> {
    (machine_bytes != 0 && machine_bytes < maxmemory_bytes).then(|| {
        format!(
            "maxmemory is {maxmemory_bytes} bytes, but the process may use no more than {machine_bytes}: the system kills \
             the server before the limit is reached. Set maxmemory to at most 80%"
        )
    })
}

/// Says which of the values that are not as in `other` have no effect yet.
pub fn warn_of_pending(config: &Config, other: &Config) {
    let names = config.without_effect(other);
    if !names.is_empty() {
        tracing::warn!("WARNING this version does not act on what is set here yet: {}", names.join(", "));
    }
}

/// Looks at the host for a server with this configuration; prints what it finds. False: something is to be mended.
pub fn report(config: &Config) -> bool {
    let mut is_well = true;
    for (name, check) in NEEDS.iter().chain(CHECKS) {
        match check(config) {
            Ok(()) => println!("[{name}]...OK"),
            Err(why) => {
                println!("[{name}]...WARNING:\n{why}\n");
                is_well = false;
            }
        }
    }
    is_well
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().into()
}

/// Before any core starts, since what hosts the cores ends in a panic where it may not have a ring.
fn io_uring() -> Result<(), String> {
    Ring::new().and_then(|mut ring| ring.probe()).map_err(|error| error.to_string())
}

fn open_files(config: &Config) -> Result<(), String> {
    let want = u64::from(config.maxclients) + files_reserved(config, config.shards.max(1) as usize);
    let have = process::raise_open_files(want);
    if have < want {
        return Err(format!(
            "{have} files may be open, but maxclients {} needs {want}: raise it (ulimit -n, LimitNOFILE= in the unit)",
            config.maxclients
        ));
    }
    Ok(())
}

fn backlog(config: &Config) -> Result<(), String> {
    let somaxconn = read("/proc/sys/net/core/somaxconn").parse::<u64>().unwrap_or(u64::MAX);
    if somaxconn < u64::from(config.tcp_backlog) {
        return Err(format!(
            "The TCP backlog setting of {} cannot be enforced because /proc/sys/net/core/somaxconn is set to the lower \
             value of {somaxconn}: sysctl net.core.somaxconn={}",
            config.tcp_backlog, config.tcp_backlog
        ));
    }
    Ok(())
}

fn huge_pages(config: &Config) -> Result<(), String> {
    if !config.disable_thp && read("/sys/kernel/mm/transparent_hugepage/enabled").contains("[always]") {
        return Err(
            "transparent huge pages are always on: zeroing one takes milliseconds, in the middle of a command. \
                    Set disable-thp yes, or echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
                .into(),
        );
    }
    Ok(())
}

fn clock(_: &Config) -> Result<(), String> {
    let clock = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    if clock.is_empty() || FAST_CLOCKS.contains(&clock.as_str()) {
        return Ok(());
    }
    Err(format!(
        "the clock {clock} is read by a system call, which costs time in every pass; look for a faster one in \
         /sys/devices/system/clocksource/clocksource0/available_clocksource"
    ))
}

fn cpu_quota(config: &Config) -> Result<(), String> {
    let cores = if config.shards == 0 {
        std::thread::available_parallelism().map_or(1, usize::from)
    } else {
        config.shards as usize
    };
    match quota_of(&read("/sys/fs/cgroup/cpu.max")) {
        Some(quota) if quota < cores as f64 => Err(format!(
            "the control group allows {quota:.2} CPUs and the server runs {cores} cores: when the quota is used up, all \
             of them stand still. Set shards to fewer, give the container whole CPUs (cpuset), or lift the quota"
        )),
        _ => Ok(()),
    }
}

/// CPUs that a `cpu.max` of a control group allows; none: all.
fn quota_of(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (0.0 < period).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::{quota_of, too_much};

    #[test]
    fn a_limit_above_the_machine_is_worth_a_word() {
        assert_eq!(too_much(1 << 30, 1 << 30), None);
        assert_eq!(too_much(1 << 30, 0), None);
        assert!(too_much((1 << 30) + 1, 1 << 30).is_some_and(|why| why.contains("no more than 1073741824:")));
    }

    #[test]
    fn quotas_of_control_groups() {
        assert_eq!(quota_of("150000 100000"), Some(1.5));
        assert_eq!(quota_of("max 100000"), None);
        assert_eq!(quota_of(""), None);
        assert_eq!(quota_of("1 0"), None);
    }
}
