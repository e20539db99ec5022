//! Rules of the configuration, each with a case; Redis 7.0.15 is the oracle of names, defaults and error texts.

use super::directive::Access;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A machine with 8 GiB and one directory that is missing, on which no more than 20000 clients fit.
struct Fake {
    memory_bytes: u64,
}

impl Machine for Fake {
    fn resolve_directory(&self, path: &Path) -> io::Result<PathBuf> {
        match path.to_str() {
            Some(path) if path.contains("missing") => Err(io::Error::from_raw_os_error(2)),
            _ => Ok(Path::new("/").join(path)),
        }
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn read_file(&self, _: &Path) -> io::Result<Vec<u8>> {
        panic!("nothing here reads files")
    }

    fn replace_file(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        panic!("nothing here writes files")
    }

    fn apply(&self, old: &Config, new: &Config) -> Result<(), (&'static str, String)> {
        if old.maxclients < new.maxclients && 20_000 < new.maxclients {
            return Err(("maxclients", "too many".into()));
        }
        Ok(())
    }
}

fn caller() -> Caller<'static> {
    Caller { may_change_protected: false, is_loading: false, machine: &Fake { memory_bytes: 8 << 30 } }
}

/// A glob that knows only `*` at the end.
fn starts_with(pattern: &[u8], name: &[u8]) -> bool {
    let prefix = pattern.strip_suffix(b"*").unwrap_or(pattern).to_ascii_lowercase();
    name.starts_with(&prefix)
}

/// Sets `pairs` (`name value` with the value up to the end) and shows `shown`, or the error.
fn set(config: &Config, pairs: &[&str]) -> Result<Config, String> {
    let pairs: Vec<(&[u8], &[u8])> = pairs
        .iter()
        .map(|pair| pair.split_once(' ').expect("a value"))
        .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
        .collect();
    config.set(&pairs, &caller()).map_err(text)
}

fn text(error: Vec<u8>) -> String {
    String::from_utf8(error).expect("text")
}

fn shown(config: &Config, name: &str) -> String {
    String::from_utf8(config.value(name).expect("a directive")).expect("text")
}

/// Loads texts by file name; the first is the main one.
fn load_files(files: &[(&str, &str)], arguments: &[&str]) -> Result<Config, LoadError> {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    load_bytes(&files, arguments)
}

fn load_bytes(files: &[(&str, &[u8])], arguments: &[&str]) -> Result<Config, LoadError> {
    let files: BTreeMap<PathBuf, &[u8]> = files.iter().map(|(path, text)| (PathBuf::from(path), *text)).collect();
    let host = Host {
        read_file: &|path| match files.get(path) {
            Some(text) => Ok(text.to_vec()),
            None => Err(io::Error::from_raw_os_error(2)),
        },
        expand: &|pattern| {
            let pattern = pattern.to_str().expect("text");
            files
                .keys()
                .filter(|path| starts_with(pattern.as_bytes(), path.to_str().unwrap().as_bytes()))
                .cloned()
                .collect()
        },
        resolve_directory: &|path| match path.to_str() {
            Some(".") => Ok("/etc".into()),
            Some(path) if path.contains("missing") => Err(io::Error::from_raw_os_error(2)),
            _ => Ok(path.into()),
        },
        check_renames: &|renames| match renames.iter().any(|(old, _)| old == b"nosuch") {
            true => Err("No such command in rename-command: 'nosuch'".into()),
            false => Ok(()),
        },
        machine_memory_bytes: 8 << 30,
    };
    let arguments: Vec<Vec<u8>> = arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect();
    let line = CommandLine::parse(&arguments);
    let mut loader = Loader::new(&host).expect("the directory is there");
    if let Some(file) = &line.file {
        loader.main_file(file)?;
    }
    loader.text(&line.lines, &Place::CommandLine)?;
    loader.finish(Place::CommandLine)
}

fn load(text: &str) -> Result<Config, LoadError> {
    load_files(&[("/etc/corering.conf", text)], &["corering.conf"])
}

#[test]
fn every_name_and_default_of_redis_7_0() {
    let config = Config::default();
    let get = config.get(&[b"*"], &starts_with);
    let all: BTreeMap<&str, String> =
        get.iter().map(|(name, value)| (name.as_str(), String::from_utf8(value.clone()).unwrap())).collect();
    assert_eq!(all.len(), get.len(), "every name once");
    let mut count = 0;
    for line in include_str!("redis-7.0-defaults.txt").lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        count += 1;
        let row = Directive::find(name.as_bytes()).unwrap_or_else(|| panic!("{name} is not known"));
        assert_eq!(all.contains_key(name), !row.flags.contains(Flags::HIDDEN), "{name} in CONFIG GET *");
        assert!(!row.flags.intersects(Flags::NEWER | Flags::OWN), "{name} is Redis' own");
        if name != "dir" {
            // The working directory: made absolute when the configuration is loaded.
            assert_eq!(shown(&config, name), value, "{name}");
        }
    }
    assert_eq!(count, 197);
    for row in Directive::all().filter(|row| row.flags.intersects(Flags::NEWER | Flags::OWN)) {
        let listed =
            include_str!("redis-7.0-defaults.txt").lines().any(|line| line.split(' ').next() == Some(row.name));
        assert!(!listed, "{} is neither newer nor our own", row.name);
    }
}

#[test]
fn rows_are_well_formed() {
    let mut names: Vec<&str> = Directive::all().flat_map(Directive::names).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "a name stands twice");
    }
    for row in Directive::all() {
        assert!(row.names().all(|name| name == name.to_ascii_lowercase()), "{}", row.name);
        assert!(!row.doc.is_empty() && row.doc.iter().all(|line| !line.trim().is_empty()), "{}", row.name);
    }
    for (name, field) in rows::FIELDS {
        assert_eq!(*field, name.replace('-', "_"));
    }
}

#[test]
fn bounds_fit_the_fields() {
    for row in Directive::all() {
        let values = match row.kind {
            Kind::Integer(min, max) => vec![min.to_string(), max.to_string()],
            Kind::Memory(min, max) => vec![min.to_string(), max.to_string()],
            Kind::Octal(max) => vec!["0".into(), format!("{max:o}")],
            Kind::Choice(names) => names.iter().map(|name| name.to_ascii_uppercase()).collect(),
            _ => continue,
        };
        for value in values {
            let mut config = Config::default();
            let words = [value.clone().into_bytes()];
            let input = Input {
                words: &words,
                kind: row.kind,
                adds: false,
                resolve_directory: &|path| Ok(path.into()),
                machine_memory_bytes: 0,
            };
            row.read(&mut config, &input).unwrap_or_else(|refusal| panic!("{} {value}: {refusal}", row.name));
            let written = String::from_utf8(row.write(&config, Form::Reply)).unwrap();
            // "yes" and "relative" are one value of oom-score-adj.
            let same = written.eq_ignore_ascii_case(&value) || (row.name, written.as_str()) == ("oom-score-adj", "yes");
            assert!(same, "{} {value} became {written}", row.name);
        }
    }
}

/// Every line was answered so by Redis 7.0.15, but for `maxmemory`, which takes no shares there.
#[test]
fn refusals_of_config_set() {
    for (pair, why) in [
        ("maxmemory abc", "argument must be a memory value"),
        ("maxmemory 1T", "argument must be a memory value"),
        ("maxmemory 101%", "percentage argument must be less or equal to 100"),
        ("maxmemory 0%", "percentage argument must be greater than 0"),
        ("maxmemory-clients abc", "argument must be a memory or percent value"),
        ("maxmemory-clients 101%", "percentage argument must be less or equal to 100"),
        ("slave-priority abc", "argument couldn't be parsed into an integer"),
        ("hz ", "argument couldn't be parsed into an integer"),
        ("tcp-keepalive ", "argument couldn't be parsed into an integer"),
        ("timeout 1.5", "argument couldn't be parsed into an integer"),
        ("timeout -1", "argument must be between 0 and 2147483647 inclusive"),
        ("maxclients 0", "argument must be between 1 and 4294967295 inclusive"),
        ("maxmemory-samples 0", "argument must be between 1 and 2147483647 inclusive"),
        ("proto-max-bulk-len 1", "argument must be between 1048576 and 9223372036854775807 inclusive"),
        ("client-query-buffer-limit 1", "argument must be between 1048576 and 9223372036854775807 inclusive"),
        ("port 99999", "argument must be between 0 and 65535 inclusive"),
        ("appendfsync foo", "argument(s) must be one of the following: everysec, always, no"),
        ("loglevel foo", "argument(s) must be one of the following: debug, verbose, notice, warning"),
        ("oom-score-adj foo", "argument(s) must be one of the following: no, yes, relative, absolute"),
        ("protected-mode maybe", "argument must be 'yes' or 'no'"),
        ("databases 3", "can't set immutable config"),
        ("unixsocketperm 700", "can't set immutable config"),
        ("dir /tmp", "can't set protected config"),
        ("dbfilename x", "can't set protected config"),
        ("save abc", "Invalid save parameters"),
        ("save 3600  1", "Invalid save parameters"),
        ("save 0 1", "Invalid save parameters"),
        ("save 1 -1", "Invalid save parameters"),
        ("notify-keyspace-events Q", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        ("shutdown-on-sigint ", "argument(s) must be one of the following: default, save, nosave, now, force"),
        ("shutdown-on-sigint save bla", "argument(s) must be one of the following: default, save, nosave, now, force"),
        ("shutdown-on-sigint save nosave", "shutdown options SAVE and NOSAVE can't be used simultaneously"),
        ("client-output-buffer-limit normal 1 2", "Wrong number of arguments in buffer limit configuration."),
        ("client-output-buffer-limit foo 1 2 3", "Invalid client class specified in buffer limit configuration."),
        (
            "client-output-buffer-limit normal 1 x 3",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit normal 1 2 -3",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        ("oom-score-adj-values 1 2", "wrong number of arguments"),
        ("oom-score-adj-values 1 2 3000", "Invalid oom-score-adj-values, elements must be between -2000 and 2000."),
        ("latency-tracking-info-percentiles abc", "Invalid latency-tracking-info-percentiles parameters"),
        (
            "latency-tracking-info-percentiles 1 200",
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
        ),
        ("cluster-announce-hostname a_b", "Hostnames may only contain alphanumeric characters, hyphens or dots"),
        ("proc-title-template {foo}", "template format is invalid or contains unknown variables"),
        ("bind 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7", "Too many bind addresses specified."),
        ("rdb-key-save-delay x", "argument couldn't be parsed into an integer"),
    ] {
        let name = pair.split(' ').next().unwrap();
        let expected = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
        assert_eq!(set(&Config::default(), &[pair]).map(|_| ()), Err(expected), "{pair}");
    }
    let config = Config::default();
    let no_text: [(&[u8], &[u8]); 1] = [(b"f\xf0\x84\0g", b"1")];
    let unknown: &[u8] = b"ERR Unknown option or number of arguments for CONFIG SET - 'f\xf0\x84'";
    assert_eq!(config.set(&no_text, &caller()).map(|_| ()), Err(unknown.to_vec()), "byte by byte, up to a NUL");
    let unknown = "ERR Unknown option or number of arguments for CONFIG SET - 'foo'";
    assert_eq!(set(&config, &["foo bar", "maxmemory abc"]).unwrap_err(), unknown);
    // Names come back as the client wrote them where the value was not looked at, in small letters otherwise.
    let failed = |name: &str, why: &str| text(Config::set_failed(name.as_bytes(), why));
    assert_eq!(set(&config, &["port 1", "PORT abc"]).unwrap_err(), failed("PORT", "duplicate parameter"));
    assert_eq!(set(&config, &["DATABASES 1"]).unwrap_err(), failed("DATABASES", "can't set immutable config"));
    assert_eq!(set(&config, &["PORT abc"]).unwrap_err(), failed("port", "argument couldn't be parsed into an integer"));
}

#[test]
fn values_as_config_get_shows_them() {
    for (pair, expected) in [
        ("maxmemory 12kb", "12288"),
        ("maxmemory 100mb", "104857600"),
        ("maxmemory 25%", "2147483648"),
        ("maxmemory ", "0"),
        ("maxmemory-clients 50%", "50%"),
        ("maxmemory-clients 0%", "0"),
        ("oom-score-adj relative", "yes"),
        ("hz 0", "1"),
        ("hz 700", "500"),
        ("notify-keyspace-events KEAm", "AKEm"),
        ("notify-keyspace-events Elg", "glE"),
        ("notify-keyspace-events g$lshzxetdn", "A"),
        ("latency-tracking-info-percentiles 1.50 99.999", "1.5 99.999"),
        ("latency-tracking-info-percentiles ", ""),
        ("client-output-buffer-limit replica 1k 1kb 3", "normal 0 0 0 slave 1000 1024 3 pubsub 33554432 8388608 60"),
        ("save ", ""),
        ("save 1 0 2 3", "1 0 2 3"),
        ("shutdown-on-sigint FORCE now", "now force"),
        ("shutdown-on-sigint default", "default"),
        ("loglevel NOTICE", "notice"),
        ("slave-priority 7", "7"),
        ("bind 1.2.3.4 -::1", "1.2.3.4 -::1"),
        ("requirepass a b", "a b"),
        ("use-exit-on-panic yes", "yes"),
        ("activedefrag YES", "yes"),
        ("active-defrag-ignore-bytes 1kb", "1024"),
        ("replica-lazy-flush yes", "yes"),
    ] {
        let config = set(&Config::default(), &[pair]).unwrap_or_else(|error| panic!("{pair}: {error}"));
        assert_eq!(shown(&config, pair.split(' ').next().unwrap()), expected, "{pair}");
    }
    let config = set(&Config::default(), &["slave-priority 1", "replica-priority 2"]).unwrap();
    assert_eq!(config.replica_priority, 2);
}

#[test]
fn a_refused_change_changes_nothing() {
    let config = Config::default();
    let changed = set(&config, &["maxmemory 1gb", "maxmemory-policy allkeys-lru"]).unwrap();
    assert_eq!((changed.maxmemory.bytes, changed.maxmemory_policy), (1 << 30, MaxmemoryPolicy::AllkeysLru));
    assert!(set(&changed, &["maxmemory 2gb", "maxmemory-policy foo"]).is_err());
    assert_eq!(changed.maxmemory.bytes, 1 << 30);
    assert_eq!(config, Config::default());
    let refused = set(&changed, &["maxmemory 2gb", "maxclients 20001"]).unwrap_err();
    assert_eq!(refused, text(Config::set_failed(b"maxclients", "too many")));
}

#[test]
fn protected_directives_and_loading() {
    let config = Config::default();
    let pairs: [(&[u8], &[u8]); 1] = [(b"dir", b"/srv/data")];
    let allowed = Caller { may_change_protected: true, ..caller() };
    assert_eq!(config.set(&pairs, &allowed).unwrap().dir, Path::new("/srv/data"));
    let missing: [(&[u8], &[u8]); 1] = [(b"dir", b"/missing")];
    let expected = Config::set_failed(b"dir", "No such file or directory");
    assert_eq!(config.set(&missing, &allowed).unwrap_err(), expected);
    let loading = Caller { is_loading: true, ..allowed };
    assert!(config.set(&pairs, &loading).unwrap_err().starts_with(b"LOADING "));
    let none = Caller { machine: &Fake { memory_bytes: 0 }, ..caller() };
    assert!(config.set(&[(b"maxmemory", b"80%")], &none).is_err());
}

#[test]
fn config_get_finds_by_name_alias_and_pattern() {
    let config = Config::default();
    let get = |patterns: &[&str]| {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        let found = config.get(&patterns, &starts_with);
        found.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(get(&["MAXmemory"]), "MAXmemory");
    assert_eq!(get(&["maxmemory", "MAXMEMORY", "MaxMemory-p*"]), "maxmemory maxmemory-policy");
    assert_eq!(get(&["hash-max-ziplist*"]), "hash-max-ziplist-entries hash-max-ziplist-value");
    assert_eq!(get(&["nothing", "nothing*"]), "");
    assert_eq!(get(&["use-exit*"]), "");
    assert_eq!(get(&["use-exit-on-panic"]), "use-exit-on-panic");
}

#[test]
fn a_secret_may_be_any_bytes_and_is_not_shown() {
    let config = Config::default();
    let secret = b"a\xff\0\r\nb".as_slice();
    let config = config.set(&[(b"requirepass", secret)], &caller()).unwrap();
    assert_eq!(config.requirepass.bytes(), secret);
    assert_eq!(config.value("requirepass").unwrap(), secret);
    assert!(!format!("{config:?}").contains("255"));
    assert!(config.set(&[(b"pidfile", secret)], &caller()).is_err());
    assert!(Directive::find(b"RequirePass").unwrap().flags.contains(Flags::SENSITIVE));
}

#[test]
fn files_are_read_as_redis_reads_them() {
    let config = load(
        "# comment\n\n  Port 7000\r\nBIND 10.0.0.1 -::1\nmaxmemory 1GB\nrequirepass \"a \\x41\"\n\
         save 900 1\nsave 300 10\nclient-output-buffer-limit pubsub 1mb 2mb 3\ndir sub\nhz 9999\n\
         rename-command FLUSHALL \"\"\nlua-replicate-commands yes\nactivedefrag yes\n\
         acllog-max-len 7\nunixsocketperm 700\nslaveof no one\nmaxmemory-samples 7\nnotify-keyspace-events \"\"\nlogfile ''\n",
    )
    .unwrap();
    assert_eq!(config.port, 7000);
    assert_eq!(config.bind, ["10.0.0.1", "-::1"]);
    assert_eq!(config.maxmemory.bytes, 1 << 30);
    assert_eq!(config.requirepass.bytes(), b"a A");
    assert_eq!(shown(&config, "save"), "900 1 300 10");
    assert_eq!(config.client_output_buffer_limit.pubsub.soft_seconds, 3);
    assert_eq!(config.client_output_buffer_limit.replica.hard_bytes, 256 << 20);
    assert_eq!(config.dir, Path::new("/etc/sub"));
    assert_eq!(config.hz, 500);
    assert_eq!(config.renamed_commands, [(b"FLUSHALL".to_vec(), vec![])]);
    assert_eq!(config.unixsocketperm, 0o700);
    assert_eq!(config.file, Some("/etc/corering.conf".into()));
    let pending = config.without_effect(&Config::default());
    assert!(pending.contains(&"acllog-max-len") && !pending.contains(&"activedefrag"), "{pending:?}");
}

#[test]
fn a_list_in_a_file_replaces_the_default_and_then_adds() {
    assert_eq!(shown(&load("port 1").unwrap(), "save"), "3600 1 300 100 60 10000");
    assert_eq!(shown(&load("save 1 2").unwrap(), "save"), "1 2");
    assert_eq!(shown(&load("save 1 2 3 4").unwrap(), "save"), "1 2 3 4");
    assert_eq!(shown(&load("save \"1 2 3 4\"").unwrap(), "save"), "1 2 3 4");
    assert_eq!(shown(&load("save 1 2\nsave \"\"\nsave 3 4").unwrap(), "save"), "3 4");
    assert_eq!(shown(&load("save \"\"").unwrap(), "save"), "");
}

#[test]
fn comments_may_follow_a_value() {
    let config = load(
        "maxmemory 4gb   # hard cap, don't exceed\nsave 900 1   # snapshot if…\nrequirepass #secret # x\n\
         rename-command CONFIG #conf # y\nbind 127.0.0.1 # z\ntimeout 5#6\n",
    );
    assert_eq!(config.unwrap_err().line.unwrap().1, "timeout 5#6");
    let config = load(
        "maxmemory 4gb   # hard cap, don't exceed\nsave 900 1   # snapshot if…\nrequirepass #secret # x\n\
         rename-command CONFIG #conf # y\nbind 127.0.0.1 # z\n",
    )
    .unwrap();
    assert_eq!(config.maxmemory.bytes, 4 << 30);
    assert_eq!(shown(&config, "save"), "900 1");
    assert_eq!(shown(&config, "requirepass"), "#secret");
    assert_eq!(config.renamed_commands, [(b"CONFIG".to_vec(), b"#conf".to_vec())]);
    assert_eq!(shown(&config, "bind"), "127.0.0.1");
}

#[test]
fn a_refused_line_is_named() {
    for (text, number, line, why) in [
        (
            "port 1\nmaxmemroy 4gb",
            2,
            "maxmemroy 4gb",
            "Bad directive or wrong number of arguments: unknown directive 'maxmemroy'",
        ),
        (
            "include",
            1,
            "include",
            "Bad directive or wrong number of arguments: wrong number of arguments for 'include'",
        ),
        ("port", 1, "port", "wrong number of arguments"),
        ("port 1 2", 1, "port 1 2", "wrong number of arguments"),
        ("port x", 1, "port x", "argument couldn't be parsed into an integer"),
        ("\n\nport \"x", 3, "port \"x", "Unbalanced quotes in configuration line"),
        ("save 1", 1, "save 1", "Invalid save parameters"),
        ("dir /missing", 1, "dir /missing", "No such file or directory"),
        ("loadmodule /x.so", 1, "loadmodule /x.so", "Modules are not supported"),
        ("sentinel a b", 1, "sentinel a b", "sentinel directive while not in sentinel mode"),
        (
            "port 1\nrename-command nosuch x",
            2,
            "rename-command nosuch x",
            "No such command in rename-command: 'nosuch'",
        ),
        ("dbfilename a/b", 1, "dbfilename a/b", "dbfilename can't be a path, just a filename"),
        ("appendfilename ''", 1, "appendfilename ''", "appendfilename can't be empty"),
    ] {
        let error = load(text).unwrap_err();
        assert_eq!(error.line, Some((number, line.into())), "{text}");
        assert_eq!(error.reason, why, "{text}");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        load("port x").unwrap_err().to_string(),
        format!(
            "\n*** FATAL CONFIG FILE ERROR (Corering {version}) ***\nReading the configuration file, at line 1\n\
             >>> 'port x'\nargument couldn't be parsed into an integer (in /etc/corering.conf)"
        )
    );
    let missing = load_files(&[], &["nowhere.conf"]).unwrap_err();
    assert_eq!(missing.reason, "Fatal error, can't open config file '/etc/nowhere.conf': No such file or directory");
}

#[test]
fn includes() {
    let config = load_files(
        &[
            ("/etc/main.conf", "port 1\ninclude /etc/d/*\ninclude more.conf\ninclude /etc/none/*"),
            ("/etc/d/1.conf", "timeout 3\nport 2"),
            ("/etc/d/2.conf", "port 3 # kept by nobody"),
            ("/etc/more.conf", "save 5 6"),
        ],
        &["main.conf"],
    )
    .unwrap();
    assert_eq!((config.port, config.timeout), (3, 3));
    assert_eq!(shown(&config, "save"), "5 6");
    let error =
        load_files(&[("/etc/a.conf", "include b.conf"), ("/etc/b.conf", "port 1\nfoo 1")], &["a.conf"]).unwrap_err();
    assert_eq!(error.place, Place::File("/etc/b.conf".into()));
    assert_eq!(error.line, Some((2, "foo 1".into())));
    let error = load_files(&[("/etc/a.conf", "include a.conf")], &["a.conf"]).unwrap_err();
    assert_eq!(error.reason, "files include each other more than 16 deep");
    assert!(load_files(&[("/etc/a.conf", "include b.conf")], &["a.conf"]).is_err());
}

/// The forms that Redis 7.0.15's own tests of its command line use.
#[test]
fn the_command_line() {
    let lines = |arguments: &[&str]| {
        let arguments: Vec<Vec<u8>> = arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect();
        let line = CommandLine::parse(&arguments);
        (line.file.map(|file| file.display().to_string()), line.reads_stdin, String::from_utf8(line.lines).unwrap())
    };
    let file = |name: &str| Some(name.to_string());
    assert_eq!(lines(&["a.conf", "-"]), (file("a.conf"), true, "".into()));
    assert_eq!(lines(&["-", "--port", "1"]), (None, true, "port \"1\" ".into()));
    assert_eq!(lines(&["--port", "1", "-"]), (None, true, "port \"1\" ".into()));
    assert_eq!(lines(&["--port", "-", "--hz", "5"]).2, "port \"-\" \nhz \"5\" ");
    assert_eq!(lines(&["--port 6380"]).2, "port 6380 ");
    assert_eq!(lines(&["--save", "", "--port", "1"]).2, "save \"\" \nport \"1\" ");
    assert_eq!(lines(&["--save", "--port", "1"]).2, "save \"\"\nport \"1\" ");
    assert_eq!(lines(&["--port", "1", "--save"]).2, "port \"1\" \nsave \"\"");
    assert_eq!(lines(&["--requirepass", "--secret"]).2, "requirepass \"--secret\" ");
    assert_eq!(lines(&["--save", "3600 1 60 1000", "60", "5"]).2, "save \"3600 1 60 1000\" \"60\" \"5\" ");

    let loaded = |arguments: &[&str]| load_files(&[("/etc/a.conf", "port 5\nsave 9 9")], arguments);
    let config =
        loaded(&["a.conf", "--port", "7000", "--maxmemory", "1gb", "--oom-score-adj-values", "1", "2", "3"]).unwrap();
    assert_eq!((config.port, config.maxmemory.bytes), (7000, 1 << 30));
    assert_eq!(config.oom_score_adj_values.0, [1, 2, 3]);
    assert_eq!(shown(&loaded(&["a.conf", "--save", ""]).unwrap(), "save"), "");
    assert_eq!(shown(&loaded(&["--save", "1", "2", "--save", "3 4"]).unwrap(), "save"), "1 2 3 4");
    assert_eq!(shown(&loaded(&["--shutdown-on-sigint", "now force"]).unwrap(), "shutdown-on-sigint"), "now force");
    assert_eq!(loaded(&["--requirepass", "#x y"]).unwrap().requirepass.bytes(), b"#x y");
    let error = loaded(&["--port", "1", "--foo", "bar"]).unwrap_err();
    assert_eq!(error.place, Place::CommandLine);
    assert_eq!(error.line, Some((2, "foo \"bar\"".into())));
}

/// What Redis 7.0.15 made of the same file after the same changes, but for the order of the added lines, the comment
/// that it would not have read, the line of the default user, the percentiles, which it always adds, and the line of
/// `client-output-buffer-limit`, which it gives to another class.
#[test]
fn rewriting_keeps_comments_and_order() {
    let old = "# head comment\nport 7303\n\n  MaxMemory 100mb   # hard cap\nslave-priority 7\nsave 900 1\nsave 300 10\n\n\n\
               # middle\ninclude /etc/b1*\nclient-output-buffer-limit pubsub 1mb 1mb 10\ntimeout 5\ntimeout 6\n\
               bind 127.0.0.1\nrequirepass \"a b\\xff\"\nlogfile \"\"\nrename-command FLUSHALL \"\"\n\
               list-max-ziplist-entries 4\nunixsocketperm 700\nappendonly no\n";
    let config = load_files(&[("/etc/corering.conf", old), ("/etc/b1.conf", "hz 20")], &["corering.conf"]).unwrap();
    let config = set(&config, &["maxmemory 2gb", "save 60 5", "replica-priority 100", "maxmemory-clients 5%"]).unwrap();
    let new = String::from_utf8(config.rewrite(old.as_bytes())).unwrap();
    assert_eq!(
        new,
        "# head comment\nport 7303\n\nmaxmemory 2gb   # hard cap\nreplica-priority 100\nsave 60 5\n\n# middle\n\
         include /etc/b1*\nclient-output-buffer-limit pubsub 1mb 1mb 10\ntimeout 6\n\nbind 127.0.0.1\n\
         requirepass \"a b\\xff\"\nlogfile \"\"\nrename-command FLUSHALL \"\"\n# ??? list-max-ziplist-entries 4\n\
         unixsocketperm 700\nappendonly no\n\n# Generated by CONFIG REWRITE\ndir \"/etc\"\nhz 20\n\
         maxmemory-clients 5%\n"
    );
    assert_eq!(String::from_utf8(config.rewrite(new.as_bytes())).unwrap(), new, "once more changes nothing");
    let default = load("").unwrap();
    assert_eq!(
        String::from_utf8(default.rewrite(b"")).unwrap(),
        "# Generated by CONFIG REWRITE\ndir \"/etc\"\nsave 3600 1\nsave 300 100\nsave 60 10000\n"
    );
}

/// What Redis 7.0.15 made of a file with `port`, `bind`, `dir` and `logfile`: as it was, after `CONFIG SET
/// requirepass`, and with `requirepass foo` from the beginning.
const REWRITTEN_BY_REDIS: [(&str, &[u8]); 3] = [
    (
        "port 18010\nbind 127.0.0.1\ndir \"/tmp\"\nlogfile \"l\"\n\n# Generated by CONFIG REWRITE\nmaxmemory 100mb\n\
         save 3600 1\nsave 300 100\nsave 60 10000\nlatency-tracking-info-percentiles 50 99 99.9\n\
         user default on nopass ~* &* +@all\n",
        b"",
    ),
    (
        "port 18010\nbind 127.0.0.1\ndir \"/tmp\"\nlogfile \"l\"\n\n# Generated by CONFIG REWRITE\nsave 3600 1\n\
         save 300 100\nsave 60 10000\nlatency-tracking-info-percentiles 50 99 99.9\nrequirepass \"foo bar\"\n\
         user default on #fbc1a9f858ea9e177916964bd88c3d37b91a1e84412765e29950777f265c4b75 ~* &* +@all\n",
        b"foo bar",
    ),
    (
        "port 18010\nbind 127.0.0.1\ndir \"/tmp\"\nlogfile \"l\"\nrequirepass \"foo\"\n\n\
         # Generated by CONFIG REWRITE\nmaxmemory 100mb\nsave 3600 1\nsave 300 100\nsave 60 10000\nlatency-tracking-info-percentiles 50 99 99.9\n\
         user default on #2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae ~* &* +@all\n",
        b"foo",
    ),
];

#[test]
fn a_file_that_redis_has_rewritten_loads() {
    for (text, password) in REWRITTEN_BY_REDIS {
        let config = load(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.requirepass.bytes(), password);
        // The lines of the list need not stand in an order.
        let mut lines: Vec<&str> = text.lines().collect();
        lines.reverse();
        assert_eq!(load(&lines.join("\n")).unwrap().requirepass.bytes(), password);
        // A rewrite leaves the line where it is true, and keeps it true.
        let line = text.lines().last().expect("the user");
        let rewritten = String::from_utf8(config.rewrite(text.as_bytes())).unwrap();
        assert!(rewritten.contains(line), "{rewritten}");
        for (password, login) in
            [("", "nopass"), ("abc", "#ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")]
        {
            let changed = set(&config, &[&format!("requirepass {password}")]).unwrap();
            let rewritten = String::from_utf8(changed.rewrite(text.as_bytes())).unwrap();
            assert!(rewritten.contains(&format!("\nuser default on {login} ~* &* +@all\n")), "{rewritten}");
            assert_eq!(rewritten.matches("user default").count(), 1, "{rewritten}");
            assert_eq!(load(&rewritten).unwrap().requirepass.bytes(), password.as_bytes());
        }
    }
    let later = "user default on nopass sanitize-payload ~* &* +@all";
    let config = load(later).unwrap();
    assert!(config.rewrite(later.as_bytes()).starts_with(later.as_bytes()));
    let changed = set(&config, &["requirepass abc"]).unwrap();
    let rewritten = String::from_utf8(changed.rewrite(later.as_bytes())).unwrap();
    assert!(rewritten.starts_with("user default on sanitize-payload #ba7816bf8f01cfea414140de"), "{rewritten}");
    assert!(load("requirepass abc\nUSER default >abc ON allkeys allchannels allcommands").is_ok());
}

#[test]
fn a_line_of_a_user_that_says_more_than_what_holds_is_refused() {
    let foo = "#2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    let of_foo = format!("user default on {foo} ~* &* +@all");
    for (user, requirepass, why) in [
        ("user default off nopass ~* &* +@all", "\"\"", "does not have users yet"),
        ("user default on nopass ~* &*", "\"\"", "does not have users yet"),
        ("user default on nopass ~* &* +@all -debug", "\"\"", "does not have users yet"),
        ("user default on nopass ~a* &* +@all", "\"\"", "does not have users yet"),
        ("user default on nopass ~* +@all", "\"\"", "does not have users yet"),
        ("user default on ~* &* +@all", "\"\"", "does not have users yet"),
        ("user alice on nopass ~* &* +@all", "\"\"", "does not have users yet"),
        ("user default on nopass ~* &* +@all", "foo", "remove one of the two"),
        (&of_foo, "\"\"", "add a line 'requirepass <password>'"),
        (&of_foo, "bar", "another password than requirepass"),
        (&of_foo.replace(foo, &format!("{foo} >bar")), "foo", "another password than requirepass"),
    ] {
        let error = load(&format!("port 1\n{user}\nrequirepass {requirepass}\n")).unwrap_err();
        assert_eq!(error.line, Some((2, user.to_string())), "{error}");
        assert!(error.reason.contains(why), "{error}");
        assert!(error.to_string().ends_with("(in /etc/corering.conf)"), "{error}");
    }
    let twice = "user default on nopass ~* &* +@all\nuser default on nopass ~* &* +@all";
    assert_eq!(load(twice).unwrap_err().line.unwrap().0, 2);
}

#[test]
fn the_stock_file_holds_the_defaults() {
    let stock = stock_file();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/corering.conf");
    if std::env::var_os("CORERING_WRITE_STOCK_FILE").is_some() {
        std::fs::write(&path, &stock).expect("tuning/ is there");
    }
    let committed = std::fs::read_to_string(&path).expect("tuning/corering.conf is there");
    assert!(committed == stock, "tuning/corering.conf is old: run this test with CORERING_WRITE_STOCK_FILE=1");
    let uncommented: String = stock
        .lines()
        .filter(|line| line.starts_with('#') && !line.starts_with("# ") && *line != "#")
        .map(|line| format!("{}\n", &line[1..]))
        .collect();
    let rows = Directive::all().filter(|row| !row.flags.contains(Flags::HIDDEN)).count();
    assert_eq!(uncommented.lines().count(), rows);
    let mut config = load(&uncommented).unwrap();
    assert_eq!((config.file.take(), &config.dir), (Some("/etc/corering.conf".into()), &PathBuf::from("/etc/.")));
    config.dir = ".".into();
    assert_eq!(config, Config::default());
}

/// A value of every kind, most of them accepted.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        (0u32..100_000).prop_map(|number| number.to_string().into_bytes()),
        "[0-9]{1,4}(k|kb|m|mb|g|gb|%)?".prop_map(String::into_bytes),
        prop::sample::select(vec!["yes", "no", "", "default", "save now", "60 1 5 10", "AKE", "normal 1 2 3"])
            .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
    ]
}

fn any_pairs() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let names: Vec<&str> = Directive::all().flat_map(Directive::names).collect();
    prop::collection::vec((prop::sample::select(names), any_value()), 1..6)
}

proptest! {
    /// Whatever is set and accepted survives a rewrite of any file and loading it again.
    #[test]
    fn a_rewritten_file_loads_as_the_same(pairs in any_pairs(), old in any_pairs()) {
        let mut config = load("").unwrap();
        for (name, value) in &pairs {
            let caller = Caller { may_change_protected: true, ..caller() };
            if let Ok(changed) = config.set(&[(name.as_bytes(), value.as_slice())], &caller) {
                config = changed;
            }
        }
        let old: Vec<u8> =
            old.iter().flat_map(|(name, value)| [name.as_bytes(), b" ", &parse::quote(value), b"\n"].concat()).collect();
        let new = String::from_utf8(config.rewrite(&old)).expect("quoted");
        let mut loaded = load(&new).unwrap_or_else(|error| panic!("{error}\n{new}"));
        loaded.file = config.file.clone();
        prop_assert_eq!(loaded, config);
    }

    /// Any bytes are a configuration or an error.
    #[test]
    fn any_text_loads_or_is_refused(text in prop::collection::vec(any::<u8>(), 0..200), pairs in any_pairs()) {
        let _ = load_bytes(&[("/etc/corering.conf", text.as_slice())], &["corering.conf"]);
        let mut lines = text;
        for (name, value) in pairs {
            lines.extend([b"\n", name.as_bytes(), b" ", value.as_slice()].concat());
        }
        let _ = load_bytes(&[("/etc/corering.conf", lines.as_slice())], &["corering.conf"]);
        let _ = Config::default().rewrite(&lines);
    }
}

#[test]
fn what_is_not_there_is_refused_by_line_and_by_client() {
    for (line, name) in [
        ("cluster-enabled YES", "cluster-enabled"),
        ("tls-port 6380", "tls-port"),
        ("replicaof 127.0.0.1 6379", "replicaof"),
        ("slaveof 127.0.0.1 6379", "replicaof"),
        ("aclfile /etc/users.acl", "aclfile"),
        ("user alice on", "users"),
        ("loadmodule /lib/x.so", "Modules"),
    ] {
        let error = load(&format!("port 1\n{line}\n")).unwrap_err();
        assert_eq!(error.line, Some((2, line.to_string())));
        assert!(error.reason.contains(name), "{error}");
    }
    let same = "appendonly No\ncluster-enabled no\ntls-port 0\nreplicaof no one\naclfile \"\"";
    assert_eq!(load(same).unwrap().port, 6379);
    let refused = Config::default().set(&[(b"timeout", b"3"), (b"tls-port", b"6380")], &caller()).unwrap_err();
    let refused = text(refused);
    let expected = "ERR CONFIG SET failed (possibly related to argument 'tls-port') - this version does not have that \
                    yet: tls-port can only be 0";
    assert_eq!(refused, expected);
    assert!(Config::default().set(&[(b"appendonly", b"no"), (b"tls-port", b"0")], &caller()).is_ok());
}

#[test]
fn every_directive_without_a_field_says_why() {
    for row in Directive::all() {
        if matches!(row.access, Access::Remembered) {
            assert!(row.doc[0].ends_with('.'), "{}", row.name);
            assert!(!row.flags.contains(Flags::PENDING), "{} has no field to act on", row.name);
        }
    }
}
