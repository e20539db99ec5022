//! Where in a command its first key stands: what decides on the node of a cluster that gets it.
//!
//! The table has those commands whose first key is not their first argument; all others, unknown ones among them, have
//! it there. A command that takes no key goes to any node.

/// Where the first key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// There is none.
    Nowhere,
    /// At this argument, the name being 0.
    At(usize),
    /// Behind the number of keys, which is this argument; nowhere if that is 0.
    Counted(usize),
    /// Behind the word STREAMS.
    Streams,
}

const TABLE: &[(&str, First)] = &[
    ("ACL", First::Nowhere),
    ("AUTH", First::Nowhere),
    ("BGREWRITEAOF", First::Nowhere),
    ("BGSAVE", First::Nowhere),
    ("BITOP", First::At(2)),
    ("BLMPOP", First::Counted(2)),
    ("BZMPOP", First::Counted(2)),
    ("CLIENT", First::Nowhere),
    ("CLUSTER", First::Nowhere),
    ("COMMAND", First::Nowhere),
    ("CONFIG", First::Nowhere),
    ("DBSIZE", First::Nowhere),
    ("DEBUG", First::At(2)),
    ("DISCARD", First::Nowhere),
    ("ECHO", First::Nowhere),
    ("EVAL", First::Counted(2)),
    ("EVALSHA", First::Counted(2)),
    ("EVALSHA_RO", First::Counted(2)),
    ("EVAL_RO", First::Counted(2)),
    ("EXEC", First::Nowhere),
    ("FCALL", First::Counted(2)),
    ("FCALL_RO", First::Counted(2)),
    ("FLUSHALL", First::Nowhere),
    ("FLUSHDB", First::Nowhere),
    ("FUNCTION", First::Nowhere),
    ("HELLO", First::Nowhere),
    ("INFO", First::Nowhere),
    ("KEYS", First::Nowhere),
    ("LASTSAVE", First::Nowhere),
    ("LATENCY", First::Nowhere),
    ("LMPOP", First::Counted(1)),
    ("LOLWUT", First::Nowhere),
    ("MEMORY", First::At(2)),
    ("MIGRATE", First::At(3)),
    ("MODULE", First::Nowhere),
    ("MULTI", First::Nowhere),
    ("OBJECT", First::At(2)),
    ("PING", First::Nowhere),
    ("PUBLISH", First::Nowhere),
    ("PUBSUB", First::Nowhere),
    ("RANDOMKEY", First::Nowhere),
    ("READONLY", First::Nowhere),
    ("READWRITE", First::Nowhere),
    ("ROLE", First::Nowhere),
    ("SAVE", First::Nowhere),
    ("SCAN", First::Nowhere),
    ("SCRIPT", First::Nowhere),
    ("SELECT", First::Nowhere),
    ("SINTERCARD", First::Counted(1)),
    ("SLOWLOG", First::Nowhere),
    ("TIME", First::Nowhere),
    ("UNWATCH", First::Nowhere),
    ("WAIT", First::Nowhere),
    ("WAITAOF", First::Nowhere),
    ("XGROUP", First::At(2)),
    ("XINFO", First::At(2)),
    ("XREAD", First::Streams),
    ("XREADGROUP", First::Streams),
    ("ZDIFF", First::Counted(1)),
    ("ZINTER", First::Counted(1)),
    ("ZINTERCARD", First::Counted(1)),
    ("ZMPOP", First::Counted(1)),
    ("ZUNION", First::Counted(1)),
];

/// The argument that is the first key, the name being 0; `words` as they were typed, with their places.
pub fn first_key(words: &[String]) -> Option<usize> {
    let name = words.first()?.to_ascii_uppercase();
    let first = TABLE.iter().find(|(known, _)| *known == name).map_or(First::At(1), |(_, first)| *first);
    let at = match first {
        First::Nowhere => None,
        First::At(at) => Some(at),
        // A number that is drawn anew each time is taken for one that is not 0.
        First::Counted(count) => (words.get(count)?.parse() != Ok(0u64)).then_some(count + 1),
        First::Streams => words.iter().position(|word| word.eq_ignore_ascii_case("STREAMS")).map(|at| at + 1),
    };
    at.filter(|at| *at < words.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_where_commands_have_them() {
        let first = |line: &str| {
            let words: Vec<String> = line.split(' ').map(String::from).collect();
            first_key(&words).map(|at| words[at].clone())
        };
        let key = Some("k".to_string());
        let lines = [
            "GET k",
            "set k v",
            "EVAL script 2 k other",
            "evalsha sha {int:1:2} k",
            "FCALL f 1 k",
            "ZUNION 2 k other",
            "ZUNIONSTORE k 2 a b",
            "BLMPOP 0 1 k LEFT",
            "BITOP AND k a b",
            "OBJECT ENCODING k",
            "XREAD COUNT 1 STREAMS k 0",
            "XREADGROUP GROUP g c streams k >",
            "MODULE.COMMAND k",
        ];
        for line in lines {
            assert_eq!(first(line), key, "{line}");
        }
        for line in
            ["PING", "PING k", "EVAL script 0", "EVAL script 0 argument", "EVAL", "GET", "XREAD COUNT 1", "TIME"]
        {
            assert_eq!(first(line), None, "{line}");
        }
        assert!(TABLE.is_sorted_by_key(|(name, _)| *name));
    }
}
