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
}

impl CpuTime {
    /// Of a process on this machine, all its threads together, in steps of 10 ms.
    pub fn of_process(pid: u32) -> Result<CpuTime, String> {
        let path = format!("/proc/{pid}/stat");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
        CpuTime::parse(&text, ticks_per_s).ok_or_else(|| format!("{path} is not understood"))
    }

    /// The name of a process stands in parentheses and may contain anything, further ones among it.
    fn parse(stat: &str, ticks_per_s: f64) -> Option<CpuTime> {
        let (_, behind) = stat.rsplit_once(')')?;
        let mut fields = behind.split_whitespace().skip(11);
        let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / ticks_per_s);
        Some(CpuTime { user_s: seconds()?, system_s: seconds()? })
    }

    /// What was used since `before`.
    pub fn since(&self, before: &CpuTime) -> CpuTime {
        CpuTime { user_s: self.user_s - before.user_s, system_s: self.system_s - before.system_s }
    }

    /// User and system time together.
    pub fn total_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_whatever_the_name() {
        let stat = "12 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(CpuTime::parse(stat, 100.0), Some(CpuTime { user_s: 2.5, system_s: 0.5 }));
        assert_eq!(CpuTime::parse("12 (a) S 1", 100.0), None);
        assert!(CpuTime::of_process(std::process::id()).is_ok());
        assert!(CpuTime::of_process(u32::MAX).is_err());
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
