//! Snapshots and logs on disk, for `corering-check`: which of them a path means, whether a server uses them, and how a
//! plan is carried out. What is in them, and what a plan is: [`crate::check`].
//!
//! ```text
//! temp-check-… ◀── parts of the old files        all of them, synced; who fails here has changed nothing
//! X.bak-1      ◀── link to X                      never in the place of another file; synced
//! X            ◀── rename of temp-check-…         the manifest first, removed files last; synced
//! ```
//! Who fails among the renames takes them back. After a power cut each file is the old or the new one, the old one is
//! there in any case, and running the program again does the rest.

use super::core::unix_ms;
use super::file_source::FileSource;
use crate::check::log::{self, BACKUP, Report};
use crate::check::plan::{Plan, Step};
use crate::check::snapshot::Part;
use crate::check::{Files, repair};
use crate::config::reason;
use crate::sys::file;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The files of a directory.
#[derive(Debug)]
struct Directory(PathBuf);

impl Files for Directory {
    type File = FileSource;

    fn open(&self, name: &str) -> io::Result<Option<FileSource>> {
        match FileSource::open(&self.0.join(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && entry.path().is_file()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// A log or a file, of which nobody else makes use meanwhile.
#[derive(Debug)]
pub struct Subject {
    files: Directory,
    /// Which file; `None`: the log.
    single: Option<String>,
    /// The manifest that is meant, where it was named.
    manifest: Option<String>,
    /// Nothing may have been changed since.
    since: SystemTime,
    _lock: Option<File>,
}

impl Subject {
    /// What a path means: a file, a manifest or a directory of a log; or a server's directory, in which there may be
    /// several.
    ///
    /// # Errors
    /// Why it cannot be looked at.
    pub fn all_of(path: &Path) -> Result<Vec<Subject>, String> {
        let told = |error: io::Error| format!("{}: {}", path.display(), reason(&error));
        let since = SystemTime::now();
        let metadata = std::fs::metadata(path).map_err(told)?;
        if !metadata.is_dir() {
            if !metadata.is_file() {
                return Err(format!("{}: it is no file and no directory", path.display()));
            }
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or(format!("{}: its name is no text", path.display()))?.to_string();
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let files = Directory(parent.unwrap_or(Path::new(".")).to_path_buf());
            let names = files.names().map_err(told)?;
            let lock = if log::is_log(&names) { Some(lock(&files.0)?) } else { None };
            let is_manifest = name.ends_with(".manifest");
            let (single, manifest) = if is_manifest { (None, Some(name)) } else { (Some(name), None) };
            return Ok(vec![Subject { files, single, manifest, since, _lock: lock }]);
        }
        let names = Directory(path.to_path_buf()).names().map_err(told)?;
        if log::is_log(&names) {
            return Ok(vec![Subject::of_log(path)?]);
        }
        let mut subjects = Vec::new();
        for name in names.iter().filter(|name| name.ends_with(".rdb") || name.ends_with(".aof")) {
            let is_temporary = name.starts_with("temp-");
            if !is_temporary {
                let files = Directory(path.to_path_buf());
                subjects.push(Subject { files, single: Some(name.clone()), manifest: None, since, _lock: None });
            }
        }
        let mut below: Vec<PathBuf> =
            std::fs::read_dir(path).map_err(told)?.flatten().map(|entry| entry.path()).collect();
        below.sort();
        for below in below.into_iter().filter(|below| below.is_dir()) {
            if Directory(below.clone()).names().is_ok_and(|names| log::is_log(&names)) {
                subjects.push(Subject::of_log(&below)?);
            }
        }
        if subjects.is_empty() {
            return Err(format!(
                "{}: there is neither a snapshot (*.rdb) nor a log (*.manifest, *.aof)",
                path.display()
            ));
        }
        Ok(subjects)
    }

    fn of_log(path: &Path) -> Result<Subject, String> {
        let lock = Some(lock(path)?);
        let files = Directory(path.to_path_buf());
        Ok(Subject { files, single: None, manifest: None, since: SystemTime::now(), _lock: lock })
    }

    /// Where it is.
    pub fn place(&self) -> PathBuf {
        match &self.single {
            Some(name) => self.files.0.join(name),
            None => self.files.0.clone(),
        }
    }

    fn told(&self, error: &io::Error) -> String {
        format!("{}: {}", self.place().display(), reason(error))
    }

    /// Looks through it.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn examine(&self) -> Result<Report, String> {
        let examined = match &self.single {
            Some(name) => log::examine_single(&self.files, name, unix_ms()),
            None => log::examine(&self.files, self.manifest.as_deref(), unix_ms()),
        };
        examined.map_err(|error| self.told(&error))?.map_err(|why| format!("{}: {why}", self.place().display()))
    }

    /// What would make it whole; `None`: it is.
    ///
    /// # Errors
    /// Why nothing can.
    pub fn repair(&self, report: &Report) -> Result<Option<Plan>, String> {
        self.refuse_part()?;
        let planned = repair::repair(&self.files, report, unix_ms()).map_err(|error| self.told(&error))?;
        planned.map_err(|why| format!("{}: it cannot be repaired: {why}", self.place().display()))
    }

    /// What would make it as it was at a time, unix seconds; `None`: it is.
    ///
    /// # Errors
    /// Why nothing can.
    pub fn truncate(&self, report: &Report, seconds: u64) -> Result<Option<Plan>, String> {
        self.refuse_part()?;
        let planned = repair::truncate(&self.files, report, seconds, unix_ms()).map_err(|error| self.told(&error))?;
        planned.map_err(|why| format!("{}: it cannot be cut at that time: {why}", self.place().display()))
    }

    /// A file of a log is not changed without the others.
    fn refuse_part(&self) -> Result<(), String> {
        let Some(name) = &self.single else { return Ok(()) };
        let Ok(Ok(report)) = log::examine(&self.files, None, unix_ms()) else { return Ok(()) };
        if report.manifest().files().any(|entry| entry.name == *name) {
            let directory = self.files.0.display();
            return Err(format!("{name} is a part of the log in {directory}, which is changed as a whole: name that"));
        }
        Ok(())
    }

    /// Carries a plan out: all of it, or nothing. The names of files and of their backups.
    ///
    /// # Errors
    /// What failed; then everything is as it was, unless it says otherwise.
    pub fn carry_out(&self, plan: &Plan) -> Result<Vec<(String, String)>, String> {
        let mut change = Change { directory: &self.files.0, temporary: Vec::new(), changed: Vec::new() };
        match change.run(plan, self.since) {
            Ok(()) => {
                let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let changed = change.changed.iter().filter_map(|changed| Some((changed, changed.backup.as_ref()?)));
                Ok(changed.map(|(changed, backup)| (name(&changed.path), name(backup))).collect())
            }
            Err(failed) => Err(match change.take_back() {
                Ok(()) => format!("{failed}; everything is as it was"),
                Err(also) => format!("{failed}; then {also}: the old files are those named *{BACKUP}N"),
            }),
        }
    }
}

fn lock(path: &Path) -> Result<File, String> {
    let opened = File::open(path).map_err(|error| format!("{}: {}", path.display(), reason(&error)))?;
    if file::lock(&opened) {
        return Ok(opened);
    }
    Err(format!("{}: a server uses this directory (it holds its lock): stop it, or check a copy", path.display()))
}

/// A file that is being changed.
#[derive(Debug)]
struct Changed {
    path: PathBuf,
    /// What it was is there too; `None`: it was not there.
    backup: Option<PathBuf>,
    /// It is changed, not only backed up.
    is_done: bool,
}

/// A plan being carried out.
struct Change<'a> {
    directory: &'a Path,
    /// New files, and the names that they are to get.
    temporary: Vec<(PathBuf, PathBuf)>,
    changed: Vec<Changed>,
}

impl Change<'_> {
    fn run(&mut self, plan: &Plan, since: SystemTime) -> Result<(), String> {
        for (name, step) in &plan.steps {
            if let Step::Write(parts) = step {
                self.write(name, parts).map_err(|error| format!("cannot write the new {name}: {}", reason(&error)))?;
            }
        }
        for name in plan.steps.keys() {
            let path = self.directory.join(name);
            let backup = if path.try_exists().unwrap_or(true) {
                let failed = |error: io::Error| format!("cannot make a backup of {name}: {}", reason(&error));
                Some(back_up(&path).map_err(failed)?)
            } else {
                None
            };
            self.changed.push(Changed { path, backup, is_done: false });
        }
        let synced = |error: io::Error| format!("cannot sync {}: {}", self.directory.display(), reason(&error));
        file::sync_directory(self.directory).map_err(synced)?;
        // A server that takes no lock may run: what was looked at must still be what is there.
        for Changed { path, .. } in self.changed.iter().filter(|changed| changed.backup.is_some()) {
            let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|modified| since < modified) {
                return Err(format!("{} was changed meanwhile: somebody uses it", path.display()));
            }
        }
        // The manifest first: what it does not name any more may go.
        let is_manifest = |path: &Path| path.extension().is_some_and(|extension| extension == "manifest");
        let removed = |path: &PathBuf| !self.temporary.iter().any(|(_, to)| to == path);
        self.changed.sort_by_key(|changed| (!is_manifest(&changed.path), removed(&changed.path)));
        for changed in &mut self.changed {
            let name = changed.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let failed = |error: io::Error| format!("cannot replace {name}: {}", reason(&error));
            match self.temporary.iter().position(|(_, to)| *to == changed.path) {
                Some(at) => {
                    std::fs::rename(&self.temporary[at].0, &changed.path).map_err(failed)?;
                    self.temporary.remove(at);
                }
                None => std::fs::remove_file(&changed.path).map_err(failed)?,
            }
            changed.is_done = true;
        }
        file::sync_directory(self.directory).map_err(synced)
    }

    /// Writes a new file beside the old one, with its owner and mode.
    fn write(&mut self, name: &str, parts: &[Part]) -> io::Result<()> {
        let path = self.directory.join(name);
        let temporary = self.directory.join(format!("temp-check-{}-{name}", std::process::id()));
        let mut new = File::options().write(true).create_new(true).open(&temporary)?;
        self.temporary.push((temporary, path.clone()));
        let mut old = match File::open(&path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        for part in parts {
            match part {
                Part::New(bytes) => new.write_all(bytes)?,
                Part::Old(range) => {
                    let old = old.as_mut().expect("parts of a file that is there");
                    old.seek(SeekFrom::Start(range.start))?;
                    let bytes = range.end - range.start;
                    if io::copy(&mut old.take(bytes), &mut new)? != bytes {
                        return Err(io::Error::other("the old file has become shorter"));
                    }
                }
            }
        }
        if let Some(old) = old {
            let metadata = old.metadata()?;
            new.set_permissions(metadata.permissions())?;
            // Who may not give files away is their owner, as a rule.
            let owner = std::os::unix::fs::MetadataExt::uid(&metadata);
            let group = std::os::unix::fs::MetadataExt::gid(&metadata);
            let _ = std::os::unix::fs::fchown(&new, Some(owner), Some(group));
        }
        new.sync_all()
    }

    /// Makes everything as it was.
    fn take_back(&mut self) -> Result<(), String> {
        let mut failed = None;
        let mut note = |what: &Path, result: io::Result<()>| {
            if let Err(error) = result {
                failed.get_or_insert(format!("cannot take back {}: {}", what.display(), reason(&error)));
            }
        };
        for (temporary, _) in self.temporary.drain(..) {
            note(&temporary, std::fs::remove_file(&temporary));
        }
        for changed in self.changed.drain(..) {
            match (&changed.backup, changed.is_done) {
                (Some(backup), true) => note(&changed.path, std::fs::rename(backup, &changed.path)),
                (Some(backup), false) => note(backup, std::fs::remove_file(backup)),
                (None, true) => note(&changed.path, std::fs::remove_file(&changed.path)),
                (None, false) => {}
            }
        }
        note(self.directory, file::sync_directory(self.directory));
        failed.map_or(Ok(()), Err)
    }
}

/// Gives a file a second name, which is none of another file. Where there are no links, it is copied.
fn back_up(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for number in 1u64.. {
        let backup = path.with_file_name(format!("{name}{BACKUP}{number}"));
        match std::fs::hard_link(path, &backup) {
            Ok(()) => return Ok(backup),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(_) => {}
        }
        let mut new = match File::options().write(true).create_new(true).open(&backup) {
            Ok(new) => new,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        };
        let copied = File::open(path).and_then(|mut old| io::copy(&mut old, &mut new)).and_then(|_| new.sync_all());
        if let Err(error) = copied {
            let _ = std::fs::remove_file(&backup); // What failed is told.
            return Err(error);
        }
        return Ok(backup);
    }
    unreachable!("there are numbers enough")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("corering-check-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).expect("a directory for temporary files");
            for (name, text) in [("a.aof", "0123456789"), ("b.aof", "other")] {
                std::fs::write(path.join(name), text).expect("it is writable");
            }
            Scratch(path)
        }

        fn subject(&self) -> Subject {
            Subject {
                files: Directory(self.0.clone()),
                single: None,
                manifest: None,
                since: SystemTime::now(),
                _lock: None,
            }
        }

        fn all(&self) -> BTreeMap<String, String> {
            let names = Directory(self.0.clone()).names().expect("it is readable");
            let read = |name: String| (name.clone(), std::fs::read_to_string(self.0.join(&name)).expect("text"));
            names.into_iter().map(read).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn plan(steps: &[(&str, Step)]) -> Plan {
        let steps = steps.iter().map(|(name, step)| (name.to_string(), step.clone())).collect();
        Plan { steps, loss: Default::default() }
    }

    #[test]
    fn a_plan_is_carried_out_and_every_old_file_stays_under_a_name_of_its_own() {
        let scratch = Scratch::new("done");
        std::fs::write(scratch.0.join("a.aof.bak-1"), "before").expect("it is writable");
        let steps = [
            ("a.aof", Step::Write(vec![Part::Old(2..4), Part::New(b"!".to_vec())])),
            ("b.aof", Step::Remove),
            ("c.aof", Step::Write(vec![Part::New(b"new".to_vec())])),
        ];
        let mut done = scratch.subject().carry_out(&plan(&steps)).expect("nothing fails");
        done.sort();
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        assert_eq!(done, [pair("a.aof", "a.aof.bak-2"), pair("b.aof", "b.aof.bak-1")]);
        let expected = [
            ("a.aof", "23!"),
            ("a.aof.bak-1", "before"),
            ("a.aof.bak-2", "0123456789"),
            ("b.aof.bak-1", "other"),
            ("c.aof", "new"),
        ];
        assert_eq!(scratch.all(), expected.map(|(name, text)| pair(name, text)).into());
    }

    #[test]
    fn whatever_fails_everything_is_as_it_was() {
        let scratch = Scratch::new("failed");
        let before = scratch.all();
        let cut = Step::Write(vec![Part::Old(0..3)]);
        // The old file is shorter than the plan believes; the new one has no directory; the old one is a directory.
        std::fs::create_dir(scratch.0.join("z")).expect("it is writable");
        let failing = [
            ("b.aof", Step::Write(vec![Part::Old(0..100)])),
            ("no/b.aof", Step::Write(vec![Part::New(b"x".to_vec())])),
            ("z", Step::Remove),
            ("z", Step::Write(vec![Part::New(b"x".to_vec())])),
        ];
        for (name, step) in failing {
            let failed = scratch.subject().carry_out(&plan(&[("a.aof", cut.clone()), (name, step)]));
            assert!(failed.expect_err("it cannot").ends_with("; everything is as it was"), "{name}");
            assert_eq!(scratch.all(), before, "{name}");
        }
    }

    #[test]
    fn what_was_changed_meanwhile_is_left_alone() {
        let scratch = Scratch::new("meanwhile");
        let subject = scratch.subject();
        let later = subject.since + std::time::Duration::from_secs(1);
        File::options()
            .write(true)
            .open(scratch.0.join("a.aof"))
            .expect("there")
            .set_modified(later)
            .expect("it is ours");
        let before = scratch.all();
        let cut = Step::Write(vec![Part::Old(0..3)]);
        let refused = subject.carry_out(&plan(&[("a.aof", cut.clone()), ("b.aof", cut)])).expect_err("it was changed");
        assert!(refused.contains("a.aof was changed meanwhile") && refused.contains("as it was"), "{refused}");
        assert_eq!(scratch.all(), before);
    }

    #[test]
    fn renames_that_were_done_are_taken_back() {
        let scratch = Scratch::new("back");
        let before = scratch.all();
        let steps = [("a.aof", Step::Write(vec![Part::Old(0..3)])), ("n.aof", Step::Write(Vec::new()))];
        let subject = scratch.subject();
        let mut change = Change { directory: &scratch.0, temporary: Vec::new(), changed: Vec::new() };
        change.run(&plan(&steps), SystemTime::now()).expect("nothing fails");
        assert_ne!(scratch.all(), before);
        change.take_back().expect("nothing fails");
        assert_eq!(scratch.all(), before);
        assert!(subject.place().is_dir());
    }

    #[test]
    fn a_directory_that_somebody_uses_is_refused() {
        let scratch = Scratch::new("lock");
        std::fs::write(scratch.0.join("x.manifest"), "").expect("it is writable");
        let held = lock(&scratch.0).expect("nobody has it");
        let refused = Subject::all_of(&scratch.0).expect_err("it is used");
        assert!(refused.contains("a server uses this directory"), "{refused}");
        let refused = Subject::all_of(&scratch.0.join("a.aof")).expect_err("it is used");
        assert!(refused.contains("a server uses this directory"), "{refused}");
        drop(held);
        assert_eq!(Subject::all_of(&scratch.0).expect("nobody uses it").len(), 1);
    }
}
