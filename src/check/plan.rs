//! What is to be done with files, and the files as they would be then.

use super::Files;
use super::snapshot::Part;
use crate::aof::recovery::Source;
use std::collections::BTreeMap;
use std::io;

/// What becomes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It has these parts, of itself and others; one that was not there has new ones only.
    Write(Vec<Part>),
    /// It goes away; its backup stays.
    Remove,
}

/// What is lost by that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// Bytes that are not in the new files.
    pub bytes: u64,
    /// Commands that can be read in them.
    pub commands: u64,
    /// Keys of snapshots that can be read in them.
    pub keys: u64,
    /// Keys of snapshots that are damaged themselves, each told as a problem.
    pub damaged_keys: u64,
    /// The last time that what stays tells, unix seconds.
    pub last_kept: Option<u64>,
    /// The first time that what goes tells.
    pub first_lost: Option<u64>,
    /// What can be read behind what is broken goes too: it is not the end of a log that is broken.
    pub is_middle: bool,
    /// Nothing of a snapshot is left out, but its checksum says that something in it is not what was saved.
    pub is_doubtful: bool,
}

/// What is to be done: nothing at all, or all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What becomes of which file.
    pub steps: BTreeMap<String, Step>,
    /// What is lost.
    pub loss: Loss,
}

/// The files of a directory as they would be after some steps.
#[derive(Debug)]
pub struct Patched<'a, F> {
    /// Those that are.
    pub files: &'a F,
    /// What would become of them.
    pub steps: &'a BTreeMap<String, Step>,
}

impl<F: Files> Files for Patched<'_, F> {
    type File = PatchedFile<F::File>;

    fn open(&self, name: &str) -> io::Result<Option<Self::File>> {
        let old = self.files.open(name)?;
        let parts = match self.steps.get(name) {
            Some(Step::Remove) => return Ok(None),
            Some(Step::Write(parts)) => parts.clone(),
            None => match &old {
                Some(old) => vec![Part::Old(0..old.len())],
                None => return Ok(None),
            },
        };
        Ok(Some(PatchedFile { old, parts }))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = self.files.names()?;
        names.retain(|name| !matches!(self.steps.get(name), Some(Step::Remove)));
        names.extend(self.steps.iter().filter(|(_, step)| **step != Step::Remove).map(|(name, _)| name.clone()));
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// A file as it would be.
#[derive(Debug)]
pub struct PatchedFile<S> {
    old: Option<S>,
    parts: Vec<Part>,
}

/// Bytes of a part.
pub fn part_bytes(part: &Part) -> u64 {
    match part {
        Part::Old(range) => range.end - range.start,
        Part::New(bytes) => bytes.len() as u64,
    }
}

impl<S: Source> Source for PatchedFile<S> {
    fn len(&self) -> u64 {
        self.parts.iter().map(part_bytes).sum()
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let (mut begins, mut filled) = (0, 0);
        for part in &self.parts {
            let ends = begins + part_bytes(part);
            let at = offset + filled as u64;
            if at < ends && filled < bytes.len() {
                let len = ((ends - at) as usize).min(bytes.len() - filled);
                let into = &mut bytes[filled..filled + len];
                match part {
                    Part::Old(range) => {
                        let old = self.old.as_mut().expect("parts of a file that is there");
                        old.read_at(range.start + at - begins, into)?;
                    }
                    Part::New(new) => into.copy_from_slice(&new[(at - begins) as usize..][..len]),
                }
                filled += len;
            }
            begins = ends;
        }
        assert_eq!(filled, bytes.len(), "only bytes that are there are asked for");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;

    #[test]
    fn files_are_read_as_they_would_be() {
        let files = Memory::of([("a", b"0123456789".to_vec()), ("b", b"old".to_vec())]);
        let parts = vec![Part::Old(2..5), Part::New(b"xy".to_vec()), Part::Old(9..10)];
        let steps = BTreeMap::from([
            ("a".to_string(), Step::Write(parts)),
            ("b".to_string(), Step::Remove),
            ("c".to_string(), Step::Write(vec![Part::New(b"new".to_vec())])),
        ]);
        let patched = Patched { files: &files, steps: &steps };
        assert_eq!(patched.names().expect("memory"), ["a", "c"]);
        assert!(patched.open("b").expect("memory").is_none() && patched.open("d").expect("memory").is_none());
        let mut file = patched.open("a").expect("memory").expect("there");
        assert_eq!(file.len(), 6);
        for start in 0..6 {
            for end in start..=6 {
                let mut bytes = vec![0; end - start];
                file.read_at(start as u64, &mut bytes).expect("memory");
                assert_eq!(bytes, &b"234xy9"[start..end]);
            }
        }
    }
}
