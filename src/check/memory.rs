//! Files in memory, for tests.

use super::Files;
use super::plan::{Patched, Step};
use super::snapshot::Part;
use crate::aof::recovery::Source;
use std::collections::BTreeMap;
use std::io;

/// A directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory(pub BTreeMap<String, Vec<u8>>);

impl Memory {
    /// With these files.
    pub fn of<const N: usize>(files: [(&str, Vec<u8>); N]) -> Memory {
        Memory(files.into_iter().map(|(name, bytes)| (name.to_string(), bytes)).collect())
    }

    /// The files after some steps.
    pub fn after(&self, steps: &BTreeMap<String, Step>) -> Memory {
        let patched = Patched { files: self, steps };
        let read = |name: String| {
            let mut file = patched.open(&name).expect("memory").expect("named");
            let mut bytes = vec![0; file.len() as usize];
            file.read_at(0, &mut bytes).expect("memory");
            (name, bytes)
        };
        Memory(patched.names().expect("memory").into_iter().map(read).collect())
    }
}

impl Files for Memory {
    type File = Vec<u8>;

    fn open(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(name).cloned())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.keys().cloned().collect())
    }
}

/// A file of these parts of another.
pub fn parts_of(old: &[u8], parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Old(range) => bytes.extend_from_slice(&old[range.start as usize..range.end as usize]),
            Part::New(new) => bytes.extend_from_slice(new),
        }
    }
    bytes
}
