//! What the server is, and what it costs: `INFO`, and the CPU time of its process if that is on this machine.

use crate::wire::control::Control;
use crate::wire::value::Value;
use serde::{Deserialize, Serialize};

/// What the server says of itself. All of it may be missing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerInfo {
    pub software: Option<String>,
    pub process_id: Option<u32>,
    pub multiplexing_api: Option<String>,
}

impl ServerInfo {
    /// Asks; a server that does not say is none the worse.
    pub fn ask(control: &mut Control) -> ServerInfo {
        match control.call(&[b"INFO"]) {
            Ok(Value::Text(text)) => ServerInfo::parse(&String::from_utf8_lossy(&text)),
            _ => ServerInfo::default(),
        }
    }

    fn parse(text: &str) -> ServerInfo {
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(known, _)| *known == name).map(|(_, value)| value.trim().to_string())
        };
        let software = [("corering_version", "Corering"), ("valkey_version", "Valkey"), ("dragonfly_version", "")]
            .iter()
            .find_map(|(name, title)| field(name).map(|version| format!("{title} {version}").trim().to_string()))
            .or_else(|| field("redis_version").map(|version| format!("Redis {version}")));
        let process_id = field("process_id").and_then(|text| text.parse().ok());
        ServerInfo { software, process_id, multiplexing_api: field("multiplexing_api") }
    }
}

/// Seconds of CPU that a process used so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuTime {
    pub user_s: f64,
    pub system_s: f64,
    /// Of its threads that live, to the nanosecond; where the kernel does not tell, none.
    exact_s: Option<f64>,
    /// It is known in steps of 10 ms alone.
    pub is_coarse: bool,
}

/// What the two ways of reading it may differ by: a step of each of its parts, and rounding.
const STEPS_S: f64 = 0.03;

impl CpuTime {
    /// Of a process on this machine, all its threads together.
    pub fn of_process(pid: u32) -> Result<CpuTime, String> {
        let path = format!("/proc/{pid}/stat");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
        let ticks = CpuTime::parse(&text, ticks_per_s).ok_or_else(|| format!("{path} is not understood"))?;
        Ok(CpuTime { exact_s: exact_s(pid), ..ticks })
    }

    /// The name of a process stands in parentheses and may contain anything, further ones among it.
    fn parse(stat: &str, ticks_per_s: f64) -> Option<CpuTime> {
        let (_, behind) = stat.rsplit_once(')')?;
        let mut fields = behind.split_whitespace().skip(11);
        let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / ticks_per_s);
        Some(CpuTime { user_s: seconds()?, system_s: seconds()?, exact_s: None, is_coarse: true })
    }

    /// What was used since `before`.
    pub fn since(&self, before: &CpuTime) -> CpuTime {
        let (user_s, system_s) = (self.user_s - before.user_s, self.system_s - before.system_s);
        let coarse_s = user_s + system_s;
        let exact_s = self.exact_s.zip(before.exact_s).map(|(after_s, before_s)| after_s - before_s);
        // A thread that has ended is in the steps alone.
        match exact_s.filter(|exact_s| 0.0 < *exact_s && (exact_s - coarse_s).abs() <= STEPS_S) {
            None => CpuTime { user_s, system_s, exact_s: None, is_coarse: true },
            // The kernel tells user and system time apart in steps only: their shares.
            Some(exact_s) => {
                let user_share = if 0.0 < coarse_s { user_s / coarse_s } else { 0.5 };
                let (user_s, system_s) = (user_share * exact_s, (1.0 - user_share) * exact_s);
                CpuTime { user_s, system_s, exact_s: Some(exact_s), is_coarse: false }
            }
        }
    }

    /// User and system time together.
    pub fn total_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

/// Of all threads of a process that live.
fn exact_s(pid: u32) -> Option<f64> {
    let mut sum_ns = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // One that has just ended has no file any more.
        if let Ok(text) = std::fs::read_to_string(thread.ok()?.path().join("schedstat")) {
            sum_ns += text.split_whitespace().next()?.parse::<u64>().ok()?;
        }
    }
    Some(sum_ns as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_whatever_the_name() {
        let stat = "12 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        let ticks = CpuTime { user_s: 2.5, system_s: 0.5, exact_s: None, is_coarse: true };
        assert_eq!(CpuTime::parse(stat, 100.0), Some(ticks));
        assert_eq!(CpuTime::parse("12 (a) S 1", 100.0), None);
        assert!(CpuTime::of_process(std::process::id()).is_ok());
        assert!(CpuTime::of_process(u32::MAX).is_err());
    }

    #[test]
    fn little_cpu_time_is_told_to_the_nanosecond() {
        let at =
            |user_s: f64, system_s: f64, exact_s: Option<f64>| CpuTime { user_s, system_s, exact_s, is_coarse: true };
        let before = at(1.0, 1.0, Some(2.0005));
        let used = at(1.02, 1.01, Some(2.0345)).since(&before);
        assert!((used.total_s() - 0.034).abs() < 1e-9 && !used.is_coarse, "{used:?}");
        assert!((used.user_s / used.total_s() - 2.0 / 3.0).abs() < 1e-6, "{used:?}");
        assert!((at(1.0, 1.0, Some(2.003)).since(&before).total_s() - 0.0025).abs() < 1e-9, "less than a step");
        // A thread that ended took its time along; and some kernels tell nothing.
        for after in [at(1.5, 1.5, Some(1.2)), at(1.5, 1.5, None)] {
            let used = after.since(&before);
            assert!((used.total_s() - 1.0).abs() < 1e-9 && used.is_coarse, "{used:?}");
        }
        let own = std::process::id();
        let before = CpuTime::of_process(own).unwrap();
        let mut sum = 0u64;
        while CpuTime::of_process(own).unwrap().since(&before).total_s() <= 0.0 {
            sum = (0..100_000u64).fold(sum, |sum, number| sum.wrapping_mul(31).wrapping_add(number));
        }
        std::hint::black_box(sum);
    }

    #[test]
    fn servers_are_told_apart() {
        let software = |text: &str| ServerInfo::parse(text).software;
        assert_eq!(software("redis_version:7.0.15\r\nprocess_id:5\r\n"), Some("Redis 7.0.15".into()));
        assert_eq!(software("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n"), Some("Valkey 8.0.1".into()));
        assert_eq!(software("redis_version:7.2.4\r\ncorering_version:0.1.0\r\n"), Some("Corering 0.1.0".into()));
        assert_eq!(software(""), None);
        assert_eq!(ServerInfo::parse("process_id:5\r\n").process_id, Some(5));
    }
}
