//! What is asked of the server: which commands in which proportion, on which keys, with which values.

pub mod keys;
mod position;
pub mod size;
pub mod template;
pub mod zipf;

use keys::{Distribution, Keys, Tags, Trace};
use size::Sizes;
use std::path::Path;
use std::sync::Arc;
use template::{Filler, Template};

/// The most commands of a mix: each has histograms of its own in every thread.
pub const COMMANDS_MAX: usize = 64;

/// Commands by name, for `--mix`.
pub const KNOWN: &[(&str, &str)] = &[
    ("ping", "PING"),
    ("get", "GET {key}"),
    ("set", "SET {key} {value}"),
    ("setex", "SET {key} {value} EX {ttl}"),
    ("incr", "INCR counter:{key}"),
    ("del", "DEL {key}"),
    ("exists", "EXISTS {key}"),
    ("mget", "MGET {key} {key} {key} {key} {key} {key} {key} {key} {key} {key}"),
    (
        "mset",
        "MSET {key} {value} {key} {value} {key} {value} {key} {value} {key} {value} \
         {key} {value} {key} {value} {key} {value} {key} {value} {key} {value}",
    ),
    ("lpush", "LPUSH list:{key} {value}"),
    ("rpush", "RPUSH list:{key} {value}"),
    ("lpop", "LPOP list:{key}"),
    ("rpop", "RPOP list:{key}"),
    ("lrange_100", "LRANGE list:{key} 0 99"),
    ("sadd", "SADD set:{key} element:{int:0:999}"),
    ("spop", "SPOP set:{key}"),
    ("hset", "HSET hash:{key} field:{int:0:999} {value}"),
    ("hget", "HGET hash:{key} field:{int:0:999}"),
    ("zadd", "ZADD zset:{key} {int:0:1000000} element:{int:0:999}"),
    ("zpopmin", "ZPOPMIN zset:{key}"),
    ("zrange_10", "ZRANGE zset:{key} 0 9"),
    ("xadd", "XADD stream:{key} MAXLEN ~ 1000 * field {value}"),
];

/// A command of a mix.
#[derive(Debug, Clone)]
pub struct Command {
    /// As it stands in tables; unique in its mix.
    pub name: String,
    /// As it was typed.
    pub text: String,
    pub weight: u64,
    pub template: Template,
}

/// What is asked, for all threads.
#[derive(Debug, Clone)]
pub struct Workload {
    pub commands: Vec<Command>,
    pub keys: u64,
    pub key_prefix: String,
    pub distribution: Distribution,
    pub sizes: Sizes,
    /// In seconds, both ends included.
    pub ttl_s: Option<(u64, u64)>,
    pub seed: u64,
    trace: Option<Arc<Trace>>,
    /// Keys have hash tags.
    pub tags: Option<Tags>,
}

/// A command as the command line says it: a name for tables, what was typed, the weight.
pub type Said = (Option<String>, String, u64);

impl Workload {
    /// Puts a workload together; what does not fit comes back as a sentence. Reads the trace, if there is one.
    pub fn new(
        said: Vec<Said>,
        keys: u64,
        key_prefix: String,
        distribution: Distribution,
        sizes: Sizes,
        ttl_s: Option<(u64, u64)>,
        seed: u64,
    ) -> Result<Workload, String> {
        if keys == 0 {
            return Err("there must be at least one key".into());
        }
        if COMMANDS_MAX < said.len() {
            return Err(format!("a mix has at most {COMMANDS_MAX} commands"));
        }
        let mut commands: Vec<Command> = Vec::new();
        for (name, text, weight) in said {
            let template = Template::parse(&text)?;
            if template.has_ttl && ttl_s.is_none() {
                return Err(format!("`{text}` has a TTL: say which with --ttl"));
            }
            let mut name = name.unwrap_or_else(|| template.name.clone());
            let wanted = name.clone();
            let mut number = 2;
            while commands.iter().any(|other| other.name == name) {
                name = format!("{wanted} #{number}");
                number += 1;
            }
            commands.push(Command { name, text, weight, template });
        }
        if commands.iter().all(|command| command.weight == 0) {
            return Err("no command has a weight".into());
        }
        let trace = match &distribution {
            Distribution::Trace(path) => Some(Arc::new(Trace::read(Path::new(path))?)),
            _ => None,
        };
        Ok(Workload { commands, keys, key_prefix, distribution, sizes, ttl_s, seed, trace, tags: None })
    }

    /// Whether keys are those of a trace.
    pub fn has_trace(&self) -> bool {
        self.trace.is_some()
    }

    /// Whether some command has keys in several slots.
    pub fn has_several_keys(&self) -> bool {
        self.commands.iter().any(|command| command.template.has_several_keys)
    }

    /// Gives all keys hash tags, so that those of a command are in one slot.
    pub fn tag_keys(&mut self) -> Result<(), String> {
        if self.trace.is_some() {
            return Err(
                "the keys of a trace are as they are: hash tags have to stand in its lines, or before {key}, as in \
                        `MGET {{tag}}{key} {{tag}}{key}`"
                    .into(),
            );
        }
        self.tags = Some(Tags::of(self.keys));
        Ok(())
    }

    /// What draws the requests of thread `index` of `threads`.
    pub fn requests(self: &Arc<Workload>, index: usize, threads: usize) -> Requests {
        let keys = Keys::new(&self.distribution, self.keys, self.trace.clone(), &self.key_prefix, index, threads);
        let keys = keys.tagged(self.tags.clone());
        let seed = self.seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let filler = Filler::new(keys, self.sizes.clone(), self.ttl_s.unwrap_or((0, 0)), index, threads, seed);
        let weight = self.commands.iter().map(|command| command.weight).sum();
        Requests { workload: self.clone(), filler, weight }
    }
}

/// Requests of one thread.
pub struct Requests {
    workload: Arc<Workload>,
    filler: Filler,
    weight: u64,
}

impl Requests {
    /// Appends a request; tells which command of the mix it is.
    pub fn append(&mut self, out: &mut Vec<u8>) -> usize {
        let index = self.draw();
        self.workload.commands[index].template.append(&mut self.filler, out);
        index
    }

    /// Draws the command of a request that is not made: one that was due, and cannot be sent any more.
    pub fn draw(&mut self) -> usize {
        let commands = &self.workload.commands;
        if commands.len() == 1 {
            return 0;
        }
        let mut at = self.filler.below(self.weight);
        let found = commands.iter().position(|command| {
            let is_here = at < command.weight;
            at = at.saturating_sub(command.weight);
            is_here
        });
        found.expect("below the sum of the weights")
    }

    /// The first key of the request appended last, if it has one.
    pub fn first_key(&self) -> Option<&[u8]> {
        self.filler.first_key()
    }
}

/// `get:9,set:1`: known commands and weights.
pub fn parse_mix(text: &str) -> Result<Vec<Said>, String> {
    let mut said = Vec::new();
    for item in text.split(',') {
        let (name, weight) = item.split_once([':', '=']).unwrap_or((item, "1"));
        let name = name.trim().to_ascii_lowercase();
        let Some((_, text)) = KNOWN.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = KNOWN.iter().map(|(known, _)| *known).collect();
            return Err(format!("`{name}` is none of {}; others with --command", known.join(", ")));
        };
        let weight: u32 = weight.trim().parse().map_err(|_| format!("`{weight}` is no weight"))?;
        said.push((Some(name.to_ascii_uppercase()), (*text).to_string(), u64::from(weight)));
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(mix: &str) -> Result<Arc<Workload>, String> {
        let said = parse_mix(mix)?;
        let workload =
            Workload::new(said, 100, "key:".into(), Distribution::Uniform, Sizes::Fixed(3), Some((1, 1)), 1)?;
        Ok(Arc::new(workload))
    }

    #[test]
    fn commands_come_in_their_proportion() {
        let workload = workload("get:9,set:1").unwrap();
        let mut requests = workload.requests(0, 1);
        let mut seen = [0u32; 2];
        for _ in 0..100_000 {
            seen[requests.append(&mut Vec::new())] += 1;
        }
        assert!((f64::from(seen[1]) - 10_000.0).abs() < 500.0, "{seen:?}");
    }

    /// The arguments of a request, the name not among them.
    fn arguments(request: &[u8]) -> Vec<String> {
        let text = String::from_utf8(request.to_vec()).expect("text");
        text.split("\r\n").skip(4).step_by(2).filter(|argument| !argument.is_empty()).map(String::from).collect()
    }

    #[test]
    fn tagged_keys_of_a_command_are_in_one_slot_and_there_are_no_more_of_them() {
        use crate::wire::cluster::slot;
        for (distribution, distinct_min) in
            [(Distribution::Uniform, 990), (Distribution::Zipf(0.99), 500), (Distribution::Sequential, 1000)]
        {
            let said = parse_mix("mget,get").unwrap();
            let mut workload =
                Workload::new(said, 1000, "key:".into(), distribution.clone(), Sizes::Fixed(3), None, 1).unwrap();
            workload.tag_keys().unwrap();
            let mut requests = Arc::new(workload).requests(0, 1);
            let (mut names, mut slots) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
            for _ in 0..2_000 {
                let mut out = Vec::new();
                requests.append(&mut out);
                let keys = arguments(&out);
                assert!(keys.len() == 10 || keys.len() == 1, "{keys:?}");
                let of: std::collections::BTreeSet<u16> = keys.iter().map(|key| slot(key.as_bytes())).collect();
                assert_eq!(of.len(), 1, "{keys:?}");
                assert_eq!(requests.first_key().map(slot), of.first().copied());
                slots.extend(of);
                let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
                assert!(distribution != Distribution::Sequential || distinct.len() == keys.len(), "{keys:?}");
                names.extend(keys);
            }
            assert!(distinct_min <= names.len() && names.len() <= 1000, "{}: {}", distribution, names.len());
            assert_eq!(slots.len(), 16, "{distribution}");
            // Each node of a cluster has its share of them, whatever their number.
            let parts: std::collections::BTreeSet<u16> = slots.iter().map(|slot| slot / 1024).collect();
            assert_eq!(parts.len(), 16, "{distribution}: {slots:?}");
        }
    }

    #[test]
    fn every_known_command_is_one() {
        for (name, _) in KNOWN {
            let workload = workload(name).expect(name);
            assert_eq!(workload.requests(0, 2).append(&mut Vec::new()), 0);
        }
        let twice = workload("get,get:3").unwrap();
        assert_eq!(twice.commands[1].name, "GET #2");
        for bad in ["", "got", "get:x", "get:0,set:0", "get:-1"] {
            assert!(workload(bad).is_err(), "{bad}");
        }
    }
}
