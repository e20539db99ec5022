//! `oom-score-adj`: how willing the kernel is to kill this process when memory runs out.

use crate::config::{Config, OomScoreAdj, reason};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

/// What the kernel accepts.
const SCORE_RANGE: std::ops::RangeInclusive<i32> = -1000..=1000;

/// The score of this process.
pub struct OomScore {
    file: PathBuf,
    /// The score that the process had before it was changed here; none: it was not.
    base: Mutex<Option<i32>>,
}

impl Default for OomScore {
    fn default() -> OomScore {
        OomScore { file: "/proc/self/oom_score_adj".into(), base: Mutex::new(None) }
    }
}

impl OomScore {
    /// Sets the score that the configuration asks for; or, where it asks for none, the one of before.
    ///
    /// # Errors
    /// What the system refuses; then the score is unchanged.
    pub fn apply(&self, config: &Config) -> Result<(), String> {
        let mut base = self.base.lock().expect("no holder of this lock panics");
        let [primary, ..] = config.oom_score_adj_values.0;
        let (score, new_base) = match (config.oom_score_adj, *base) {
            (OomScoreAdj::No, None) => return Ok(()),
            (OomScoreAdj::No, Some(before)) => (before, None),
            (kind, before) => {
                let before = before.map_or_else(|| self.read(), Ok)?;
                let score = if kind == OomScoreAdj::Relative { primary.saturating_add(before) } else { primary };
                (score, Some(before))
            }
        };
        let score = score.clamp(*SCORE_RANGE.start(), *SCORE_RANGE.end());
        let failed = |error: std::io::Error| format!("Unable to write {}: {}", self.file.display(), reason(&error));
        fs::write(&self.file, score.to_string()).map_err(failed)?;
        *base = new_base;
        Ok(())
    }

    fn read(&self) -> Result<i32, String> {
        let failed = |why: String| format!("Unable to read {}: {why}", self.file.display());
        let text = fs::read_to_string(&self.file).map_err(|error| failed(reason(&error)))?;
        text.trim().parse().map_err(|_| failed(format!("'{text}' is no number")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OomScores;

    #[test]
    fn scores_are_relative_to_what_was_there_and_come_back() {
        let file = std::env::temp_dir().join(format!("corering-oom-{}", std::process::id()));
        let score = OomScore { file: file.clone(), base: Mutex::new(None) };
        let check = |kind: OomScoreAdj, value: i32, expected: &str| {
            let oom_score_adj_values = OomScores([value, 0, 0]);
            let config = Config { oom_score_adj: kind, oom_score_adj_values, ..Config::default() };
            score.apply(&config).expect("written");
            assert_eq!(fs::read_to_string(&file).expect("there").trim(), expected);
        };
        fs::write(&file, "22\n").expect("written");
        check(OomScoreAdj::No, 9, "22");
        check(OomScoreAdj::Relative, 9, "31");
        check(OomScoreAdj::Relative, 10, "32");
        check(OomScoreAdj::Absolute, 10, "10");
        check(OomScoreAdj::Relative, 2000, "1000");
        check(OomScoreAdj::No, 10, "22");
        fs::write(&file, "5\n").expect("written");
        check(OomScoreAdj::No, 10, "5");
        check(OomScoreAdj::Relative, 1, "6");
        fs::remove_file(&file).expect("removed");
        let config = Config { oom_score_adj: OomScoreAdj::Absolute, ..Config::default() };
        let nowhere = OomScore { file: "/nonexistent/x".into(), base: Mutex::new(None) };
        assert!(nowhere.apply(&config).is_err_and(|why| why.ends_with(": No such file or directory")));
    }
}
