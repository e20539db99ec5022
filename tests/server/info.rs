//! What `INFO` says, for tests to look at.

use crate::client::{Client, Value};

/// A field of it.
pub fn info_field<'a>(info: &'a str, field: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(str::trim_end)
}

impl Client {
    /// What it says of a section.
    pub fn info(&mut self, section: &str) -> String {
        match self.call(&["INFO", section]).expect("INFO is answered") {
            Value::Bulk(text) => String::from_utf8(text).expect("INFO is text"),
            other => panic!("INFO is a bulk, not {other}"),
        }
    }

    /// A number in it.
    pub fn info_number(&mut self, section: &str, field: &str) -> i64 {
        let text = self.info(section);
        let value = info_field(&text, field).and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no number {field} in {text}"))
    }
}
