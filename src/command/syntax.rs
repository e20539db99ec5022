//! The grammar of a row's arguments, and the tree of arguments that `COMMAND DOCS` tells clients about (`redis-cli`
//! makes its hints of it). Documentation only: no command's arguments are parsed with it.
//!
//! ```text
//! key value [NX|XX] [GET] [EX seconds|PX milliseconds|KEEPTTL]
//! key value [key value ...]
//! key (MAXLEN|MINID) operator=[=|~] threshold [LIMIT count]
//! ```
//!
//! | written | means |
//! |---|---|
//! | `NX` | a word in capitals, or of signs (`*`, `=`, `~`, `$`, `""`), is a token: written as it stands |
//! | `seconds` | any other word is an argument; its type follows from its name |
//! | `start:string` | an argument with its type: `key string integer double pattern unix-time` |
//! | `EX seconds` | a token before an argument belongs to it; before several arguments, to all of them as a block |
//! | `[x]` | optional |
//! | `(x)`, `<x>` | one argument or one choice, where brackets are needed to say so |
//! | `a\|b` | a choice; within brackets each side is a sequence (`[EX seconds\|PX milliseconds]`), outside one word |
//! | `[AGGREGATE SUM\|MIN]` | a token and a choice of tokens, since two tokens in a row are never a choice's first side |
//! | `x [x ...]` | one or more; `[x ...]` and `[x [x ...]]`: none or more; likewise with several words: a block |
//! | `[GET x [GET x ...]]` | the token is repeated too |
//! | `name=[…]` | names a choice or a block; without it the usual choices and blocks have the names Redis gives them |
//! | `X@6.2.0` | first version that had it; also behind a bracket |
//!
//! [`parse`] takes any text: it never fails, and says what it had to guess in [`Syntax::problems`].

use std::iter::Peekable;

/// What an argument is, as `COMMAND DOCS` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The name of a key.
    Key,
    /// Any bytes.
    String,
    /// A signed integer.
    Integer,
    /// A floating-point number.
    Double,
    /// A glob-style pattern.
    Pattern,
    /// A point in time, in seconds or milliseconds since 1970.
    UnixTime,
    /// Nothing but its token.
    PureToken,
    /// One of its arguments.
    OneOf,
    /// All of its arguments, together.
    Block,
}

impl Kind {
    /// As `COMMAND DOCS` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Key => "key",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Double => "double",
            Kind::Pattern => "pattern",
            Kind::UnixTime => "unix-time",
            Kind::PureToken => "pure-token",
            Kind::OneOf => "oneof",
            Kind::Block => "block",
        }
    }

    fn from_name(name: &str) -> Option<Kind> {
        let written = [Kind::Key, Kind::String, Kind::Integer, Kind::Double, Kind::Pattern, Kind::UnixTime];
        written.into_iter().find(|kind| kind.name() == name)
    }
}

/// One argument, or a choice or block of arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// `seconds`, `condition`, `key_value`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The word written before it, or all there is of it.
    pub token: Option<String>,
    /// First version that had it.
    pub since: Option<String>,
    /// May be left out.
    pub optional: bool,
    /// May be repeated.
    pub multiple: bool,
    /// Its token is repeated with it.
    pub multiple_token: bool,
    /// For a key: which of the command's key specifications speaks of it.
    pub key_spec: Option<usize>,
    /// Parts of a choice or a block.
    pub arguments: Vec<Argument>,
}

impl Argument {
    fn new(name: impl Into<String>, kind: Kind) -> Argument {
        Argument {
            name: name.into(),
            kind,
            token: None,
            since: None,
            optional: false,
            multiple: false,
            multiple_token: false,
            key_spec: None,
            arguments: Vec::new(),
        }
    }

    fn with(name: String, kind: Kind, arguments: Vec<Argument>) -> Argument {
        Argument { arguments, ..Argument::new(name, kind) }
    }

    /// The fewest words a client may write for it.
    fn words_min(&self) -> usize {
        if self.optional {
            return 0;
        }
        let parts = self.arguments.iter().map(Argument::words_min);
        let own = match self.kind {
            Kind::PureToken => 0,
            Kind::OneOf => parts.min().unwrap_or(0),
            Kind::Block => parts.sum(),
            _ => 1,
        };
        own + usize::from(self.token.is_some())
    }

    /// Whether every client writes the same number of words for it.
    fn is_fixed(&self) -> bool {
        let same = match self.kind {
            Kind::OneOf => self.arguments.windows(2).all(|pair| pair[0].words_min() == pair[1].words_min()),
            _ => true,
        };
        !self.optional && !self.multiple && same && self.arguments.iter().all(Argument::is_fixed)
    }
}

/// What a grammar says.
#[derive(Debug, Default)]
pub struct Syntax {
    /// The arguments after the command's name (and its subcommand's).
    pub arguments: Vec<Argument>,
    /// What had to be guessed; empty for a well-written grammar.
    pub problems: Vec<&'static str>,
}

impl Syntax {
    /// The arity that these arguments have, behind a name of `name_words` words.
    pub fn arity(&self, name_words: usize) -> i64 {
        let words = (name_words + self.arguments.iter().map(Argument::words_min).sum::<usize>()) as i64;
        if self.arguments.iter().all(Argument::is_fixed) { words } else { -words }
    }
}

/// Reads a grammar. `key_specs` is how many key specifications the command has: its keys point to them in order.
pub fn parse(grammar: &str, key_specs: usize) -> Syntax {
    let mut parser = Parser { marks: marks(grammar).into_iter().peekable(), problems: Vec::new() };
    let mut items = parser.sequence(0).items;
    // A stray closing bracket ends a sequence early; what follows still counts.
    while parser.marks.next().is_some() {
        parser.problem("closing bracket without an opening one");
        items.extend(parser.sequence(0).items);
    }
    let mut arguments = attach(items);
    let mut next = 0;
    for argument in &mut arguments {
        number_keys(argument, key_specs, &mut next);
    }
    Syntax { arguments, problems: parser.problems }
}

fn number_keys(argument: &mut Argument, key_specs: usize, next: &mut usize) {
    if argument.kind == Kind::Key && key_specs > 0 {
        argument.key_spec = Some((*next).min(key_specs - 1));
        *next += 1;
    }
    for part in &mut argument.arguments {
        number_keys(part, key_specs, next);
    }
}

/// Brackets deeper than this are not followed.
const DEPTH_MAX: usize = 16;

/// What a grammar is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark<'a> {
    Open {
        optional: bool,
    },
    Close,
    Bar,
    Dots,
    /// `name=` before a bracket.
    Label(&'a str),
    /// `@version` behind a word or bracket.
    Since(&'a str),
    Word(&'a str),
}

fn marks(grammar: &str) -> Vec<Mark<'_>> {
    let mut marks = Vec::new();
    let mut rest = grammar.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '[' | '(' | '<' | ']' | ')' | '>' | '|' => {
                marks.push(match first {
                    '[' => Mark::Open { optional: true },
                    '(' | '<' => Mark::Open { optional: false },
                    '|' => Mark::Bar,
                    _ => Mark::Close,
                });
                1
            }
            _ => {
                let end = |sign: char| sign.is_whitespace() || "[](<>)|".contains(sign);
                let length = rest.find(end).unwrap_or(rest.len());
                push_word(&rest[..length], &mut marks);
                length
            }
        };
        rest = rest[length..].trim_start();
    }
    marks
}

fn push_word<'a>(word: &'a str, marks: &mut Vec<Mark<'a>>) {
    if word == "..." {
        marks.push(Mark::Dots);
        return;
    }
    let (word, since) = match word.rsplit_once('@') {
        Some((word, version)) if version.starts_with(|first: char| first.is_ascii_digit()) => (word, Some(version)),
        _ => (word, None),
    };
    let (label, word) = match word.split_once('=') {
        Some((label, word)) if label.starts_with(|first: char| first.is_ascii_lowercase()) => (Some(label), word),
        _ => (None, word),
    };
    marks.extend(label.map(Mark::Label));
    if !word.is_empty() {
        marks.push(Mark::Word(word));
    }
    marks.extend(since.map(Mark::Since));
}

/// A piece of a sequence, before tokens have found their arguments.
#[derive(Debug, Clone, PartialEq)]
enum Item {
    Token(Argument),
    Argument(Argument),
}

impl Item {
    fn into_argument(self) -> Argument {
        match self {
            Item::Token(argument) | Item::Argument(argument) => argument,
        }
    }

    fn argument_mut(&mut self) -> &mut Argument {
        match self {
            Item::Token(argument) | Item::Argument(argument) => argument,
        }
    }
}

struct Parser<'a, Marks: Iterator<Item = Mark<'a>>> {
    marks: Peekable<Marks>,
    problems: Vec<&'static str>,
}

/// Items side by side.
struct Sequence {
    items: Vec<Item>,
    /// Dots stood at its end, before a closing bracket.
    repeated: bool,
}

/// What stood between two brackets.
struct Group {
    alternatives: Vec<Vec<Item>>,
    repeated: bool,
}

impl<'a, Marks: Iterator<Item = Mark<'a>>> Parser<'a, Marks> {
    fn problem(&mut self, problem: &'static str) {
        self.problems.push(problem);
    }

    /// Items up to the end of the grammar, a closing bracket or (inside brackets) a bar, which are left unread.
    fn sequence(&mut self, depth: usize) -> Sequence {
        let mut items: Vec<Item> = Vec::new();
        loop {
            match self.marks.peek().copied() {
                None | Some(Mark::Close) => return Sequence { items, repeated: false },
                Some(Mark::Bar) if depth > 0 => return Sequence { items, repeated: false },
                Some(Mark::Dots) => {
                    self.marks.next();
                    if depth > 0 && self.marks.peek() == Some(&Mark::Close) {
                        return Sequence { items, repeated: true };
                    }
                    match items.last_mut() {
                        Some(Item::Argument(last)) => last.multiple = true,
                        _ => self.problem("dots behind no argument"),
                    }
                }
                Some(Mark::Bar) => {
                    self.marks.next();
                    let (Some(before), Some(after)) = (items.pop(), self.element(depth, &mut Vec::new())) else {
                        self.problem("a choice lacks a side");
                        continue;
                    };
                    items.push(Item::Argument(choice_of_words(before.into_argument(), after.into_argument())));
                }
                Some(_) => {
                    if let Some(item) = self.element(depth, &mut items) {
                        items.push(item);
                    }
                }
            }
        }
    }

    /// One word or one pair of brackets. A repetition of what stands at the end of `before` goes into it.
    fn element(&mut self, depth: usize, before: &mut Vec<Item>) -> Option<Item> {
        let mut label = None;
        while let Some(Mark::Label(name)) = self.marks.peek().copied() {
            self.marks.next();
            label = Some(name);
        }
        let Some(mark) = self.marks.peek().copied() else {
            self.problem("a name before nothing");
            return None;
        };
        let mut item = match mark {
            Mark::Word(word) => {
                self.marks.next();
                Some(word_item(word))
            }
            Mark::Open { .. } if depth >= DEPTH_MAX => {
                self.marks.next();
                self.problem("brackets too deep");
                None
            }
            Mark::Open { optional } => {
                self.marks.next();
                let group = self.group(depth + 1);
                self.group_item(group, optional, before)
            }
            Mark::Since(_) => {
                self.marks.next();
                self.problem("a version behind nothing");
                None
            }
            Mark::Close | Mark::Bar | Mark::Dots | Mark::Label(_) => {
                self.problem("a name before nothing");
                None
            }
        };
        if let Some(Mark::Since(version)) = self.marks.peek().copied() {
            self.marks.next();
            match item.as_mut().or_else(|| before.last_mut()) {
                Some(item) => item.argument_mut().since = Some(version.to_string()),
                None => self.problem("a version behind nothing"),
            }
        }
        if let (Some(label), Some(item)) = (label, item.as_mut().or_else(|| before.last_mut())) {
            item.argument_mut().name = label.to_string();
        }
        item
    }

    fn group(&mut self, depth: usize) -> Group {
        let mut alternatives = Vec::new();
        let mut repeated = false;
        loop {
            let sequence = self.sequence(depth);
            repeated |= sequence.repeated;
            let items = sequence.items;
            if items.is_empty() {
                self.problem("empty brackets, or a choice that lacks a side");
            } else {
                alternatives.push(items);
            }
            match self.marks.next() {
                Some(Mark::Bar) => continue,
                Some(_) => return Group { alternatives, repeated },
                None => {
                    self.problem("opening bracket without a closing one");
                    return Group { alternatives, repeated };
                }
            }
        }
    }

    fn group_item(&mut self, group: Group, optional: bool, before: &mut Vec<Item>) -> Option<Item> {
        let Group { mut alternatives, repeated } = group;
        if alternatives.len() <= 1 {
            let items = alternatives.pop()?;
            if repeated && fold_repetition(before, &items) {
                return None;
            }
            let mut arguments = attach(items);
            let mut argument = match arguments.len() {
                1 => arguments.pop()?,
                _ => block(arguments),
            };
            argument.optional |= optional;
            argument.multiple |= repeated;
            // `[NX]` must not take the argument behind it: a token in brackets is complete.
            return Some(Item::Argument(argument));
        }
        if repeated {
            self.problem("dots inside a choice");
        }
        let leading = leading_token(&mut alternatives);
        let parts = alternatives.into_iter().map(|items| {
            let mut arguments = attach(items);
            if arguments.len() == 1 { arguments.remove(0) } else { block(arguments) }
        });
        let parts: Vec<Argument> = parts.collect();
        let mut argument = Argument::with(choice_name(leading.as_deref(), &parts), Kind::OneOf, parts);
        argument.token = leading;
        argument.optional = optional;
        Some(Item::Argument(argument))
    }
}

/// `AGGREGATE SUM|MIN|MAX` within brackets: the first token belongs to the whole choice. Takes it off.
fn leading_token(alternatives: &mut [Vec<Item>]) -> Option<String> {
    let (first, others) = alternatives.split_first_mut()?;
    let all_tokens = others.iter().all(|items| matches!(items.as_slice(), [Item::Token(_)]));
    if !all_tokens || !matches!(first.as_slice(), [Item::Token(_), Item::Token(_)]) {
        return None;
    }
    first.remove(0).into_argument().token
}

/// `x [x ...]`: makes the end of `before` multiple if it says the same as `items`.
fn fold_repetition(before: &mut Vec<Item>, items: &[Item]) -> bool {
    let Some(start) = before.len().checked_sub(items.len()) else {
        return false;
    };
    if items.is_empty() || before[start..] != *items {
        return false;
    }
    let with_token = matches!(items[0], Item::Token(_)) && items.len() > 1;
    let mut arguments = attach(before.split_off(start));
    let mut argument = if arguments.len() == 1 { arguments.remove(0) } else { block(arguments) };
    argument.multiple = true;
    argument.multiple_token = with_token && argument.token.is_some();
    before.push(Item::Argument(argument));
    true
}

/// Gives tokens to the arguments behind them.
fn attach(items: Vec<Item>) -> Vec<Argument> {
    let is_plain = |item: &Item| match item {
        Item::Token(_) => false,
        Item::Argument(argument) => {
            let kind = argument.kind;
            !argument.optional && argument.token.is_none() && kind != Kind::PureToken && kind != Kind::Block
                || (kind == Kind::Block && argument.multiple && argument.token.is_none())
        }
    };
    let mut arguments = Vec::new();
    let mut items = items.into_iter().peekable();
    while let Some(item) = items.next() {
        let token = match item {
            Item::Argument(argument) => {
                arguments.push(argument);
                continue;
            }
            Item::Token(token) => token,
        };
        let mut run = Vec::new();
        let mut is_last = false;
        while items.peek().is_some_and(is_plain) {
            run.extend(items.next().map(Item::into_argument));
            is_last = items.peek().is_none();
        }
        let since = token.since.clone();
        match run.len() {
            0 => arguments.push(token),
            1 => {
                let mut argument = run.remove(0);
                argument.token = token.token;
                argument.since = since.or(argument.since);
                arguments.push(argument);
            }
            _ if is_last => {
                let mut block = block(run);
                block.token = token.token;
                block.since = since;
                arguments.push(block);
            }
            _ => {
                run[0].token = token.token;
                arguments.extend(run);
            }
        }
    }
    arguments
}

fn block(arguments: Vec<Argument>) -> Argument {
    // `count [ANY]` goes by the argument that must be there; several go by all their names.
    let required: Vec<&str> =
        arguments.iter().filter(|argument| !argument.optional).map(|argument| argument.name.as_str()).collect();
    let name = required.join("_");
    Argument::with(name, Kind::Block, arguments)
}

/// `LEFT|RIGHT`, `BEFORE|AFTER` outside brackets; a third word joins the choice of the first two.
fn choice_of_words(before: Argument, after: Argument) -> Argument {
    let mut parts = match before {
        Argument { kind: Kind::OneOf, arguments, .. } => arguments,
        other => vec![other],
    };
    parts.push(after);
    Argument::with(choice_name(None, &parts), Kind::OneOf, parts)
}

/// Names of the usual choices by the first name in them.
const CHOICES: &[(&str, &str)] = &[
    ("nx", "condition"),
    ("xx", "condition"),
    ("gt", "comparison"),
    ("seconds", "expiration"),
    ("milliseconds", "expiration"),
    ("left", "where"),
    ("before", "where"),
    ("min", "where"),
    ("sum", "aggregate"),
    ("asc", "order"),
    ("byscore", "sortby"),
    ("maxlen", "strategy"),
    ("equal", "operator"),
    ("m", "unit"),
    ("byte", "index_unit"),
    ("async", "async"),
    ("sync", "async"),
    ("on", "enabled"),
    ("yes", "mode"),
    ("nosave", "nosave_save"),
];

fn choice_name(token: Option<&str>, parts: &[Argument]) -> String {
    if let Some(token) = token {
        return token.to_ascii_lowercase();
    }
    let first = parts.first().map_or("", |part| part.name.as_str());
    match CHOICES.iter().find(|(name, _)| *name == first) {
        Some((_, choice)) => choice.to_string(),
        None => parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join("_"),
    }
}

fn word_item(word: &str) -> Item {
    let sign_name = match word {
        "*" => Some("auto_id"),
        "$" => Some("new_id"),
        "=" => Some("equal"),
        "~" => Some("approximately"),
        "\"\"" => Some("empty_string"),
        _ => None,
    };
    let is_token = sign_name.is_some() || !word.chars().any(char::is_lowercase);
    if is_token {
        let name = sign_name.map_or_else(|| word.to_ascii_lowercase(), str::to_string);
        let text = if word == "\"\"" { "" } else { word };
        return Item::Token(Argument { token: Some(text.to_string()), ..Argument::new(name, Kind::PureToken) });
    }
    if let Some((name, kind)) = word.rsplit_once(':')
        && let Some(kind) = Kind::from_name(kind)
    {
        return Item::Argument(Argument::new(name, kind));
    }
    Item::Argument(Argument::new(word, kind_of(word)))
}

/// The type that an argument of this name has unless the grammar says otherwise.
fn kind_of(name: &str) -> Kind {
    match name {
        "key" | "newkey" | "source" | "destination" | "destkey" | "sourcekey" | "key1" | "key2" | "src" | "dst" => {
            Kind::Key
        }
        "score" | "width" | "height" | "longitude" | "latitude" | "radius" | "timeout" => Kind::Double,
        "offset" | "numkeys" | "rank" | "num-matches" | "len" | "bits" | "bit" | "decrement" | "increment" | "db"
        | "index" | "index1" | "index2" | "destination-db" | "protover" | "numreplicas" | "numlocal" | "limit"
        | "ttl" | "frequency" | "count" | "weight" | "cursor" | "client-id" | "port" | "slot" | "start-slot"
        | "end-slot" | "seconds" | "milliseconds" | "ms" | "start" | "stop" | "end" | "numfields" => Kind::Integer,
        "pattern" => Kind::Pattern,
        _ if name.starts_with("unix-time") => Kind::UnixTime,
        _ => Kind::String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `name:type="TOKEN"@since?*!#key_spec(parts)`: `?` optional, `*` multiple, `!` token repeated too.
    fn show(arguments: &[Argument]) -> String {
        let show_one = |argument: &Argument| {
            let mut text = format!("{}:{}", argument.name, argument.kind.name());
            text.extend(argument.token.iter().map(|token| format!("=\"{token}\"")));
            text.extend(argument.since.iter().map(|since| format!("@{since}")));
            for (is, sign) in [(argument.optional, '?'), (argument.multiple, '*'), (argument.multiple_token, '!')] {
                text.extend(is.then_some(sign));
            }
            text.extend(argument.key_spec.iter().map(|spec| format!("#{spec}")));
            if !argument.arguments.is_empty() {
                text.push_str(&format!("({})", show(&argument.arguments)));
            }
            text
        };
        arguments.iter().map(show_one).collect::<Vec<_>>().join(" ")
    }

    /// The tree of a grammar, and the arity it means for a command of one word.
    fn check(grammar: &str, arity: i64, expected: &str) {
        let syntax = parse(grammar, 0);
        assert_eq!(show(&syntax.arguments), expected, "{grammar}");
        assert_eq!(syntax.problems, Vec::<&str>::new(), "{grammar}");
        assert_eq!(syntax.arity(1), arity, "{grammar}");
    }

    #[test]
    fn words_and_types() {
        check("", 1, "");
        check("key", 2, "key:key");
        check(
            "key seconds unix-time-seconds pattern foo",
            6,
            "key:key seconds:integer unix-time-seconds:unix-time pattern:pattern foo:string",
        );
        check("start:string ip:port NOW", 4, "start:string ip:port:string now:pure-token=\"NOW\"");
        check(
            "[NOW@7.0.0] [COUNT count]@6.2.0 x@7.0.0",
            -2,
            "now:pure-token=\"NOW\"@7.0.0? count:integer=\"COUNT\"@6.2.0? x:string@7.0.0",
        );
    }

    #[test]
    fn choices() {
        check(
            "key BEFORE|AFTER pivot",
            4,
            "key:key where:oneof(before:pure-token=\"BEFORE\" after:pure-token=\"AFTER\") pivot:string",
        );
        check(
            "key value [NX|XX] [GET] [EX seconds|PX milliseconds|KEEPTTL]",
            -3,
            "key:key value:string condition:oneof?(nx:pure-token=\"NX\" xx:pure-token=\"XX\") get:pure-token=\"GET\"? \
             expiration:oneof?(seconds:integer=\"EX\" milliseconds:integer=\"PX\" keepttl:pure-token=\"KEEPTTL\")",
        );
        check(
            "[AGGREGATE SUM|MIN|MAX]",
            -1,
            "aggregate:oneof=\"AGGREGATE\"?(sum:pure-token=\"SUM\" min:pure-token=\"MIN\" max:pure-token=\"MAX\")",
        );
        check(
            "args=<host port|NO ONE>",
            3,
            "args:oneof(host_port:block(host:string port:integer) no_one:block(no:pure-token=\"NO\" one:pure-token=\"ONE\"))",
        );
        check("*|id", 2, "auto_id_id:oneof(auto_id:pure-token=\"*\" id:string)");
        check("M|KM|FT", 2, "unit:oneof(m:pure-token=\"M\" km:pure-token=\"KM\" ft:pure-token=\"FT\")");
    }

    #[test]
    fn repetitions() {
        check("key [key ...] timeout", -3, "key:key* timeout:double");
        check("key value [key value ...]", -3, "key_value:block*(key:key value:string)");
        check("[name ...]", -1, "name:string?*");
        check("[name [name ...]]", -1, "name:string?*");
        check("message ...", -2, "message:string*");
        check("[GET pattern [GET pattern ...]]", -1, "pattern:pattern=\"GET\"?*!");
        check(
            "[CONFIG name value [CONFIG name value ...]]",
            -1,
            "name_value:block=\"CONFIG\"?*!(name:string value:string)",
        );
        check("STREAMS key [key ...] id [id ...]", -4, "key_id:block=\"STREAMS\"(key:key* id:string*)");
        check("[ID client-id [client-id ...]]", -1, "client-id:integer=\"ID\"?*");
    }

    #[test]
    fn tokens_find_their_arguments() {
        check("[LIMIT offset count]", -1, "offset_count:block=\"LIMIT\"?(offset:integer count:integer)");
        check("[COUNT count [ANY]]", -1, "count:block?(count:integer=\"COUNT\" any:pure-token=\"ANY\"?)");
        check("[NX] key", -2, "nx:pure-token=\"NX\"? key:key");
        check(
            "key trim=[(MAXLEN|MINID) [=|~] threshold [LIMIT count]]",
            -2,
            "key:key trim:block?(strategy:oneof(maxlen:pure-token=\"MAXLEN\" minid:pure-token=\"MINID\") \
             operator:oneof?(equal:pure-token=\"=\" approximately:pure-token=\"~\") threshold:string count:integer=\"LIMIT\"?)",
        );
        check(
            "(FROMMEMBER member|FROMLONLAT longitude latitude)",
            -3,
            "member_longitude_latitude:oneof(member:string=\"FROMMEMBER\" \
             longitude_latitude:block=\"FROMLONLAT\"(longitude:double latitude:double))",
        );
    }

    #[test]
    fn keys_point_to_their_specifications() {
        let keys = |specs| show(&parse("destination key [key ...]", specs).arguments);
        assert_eq!(keys(2), "destination:key#0 key:key*#1");
        assert_eq!(keys(1), "destination:key#0 key:key*#0");
        assert_eq!(keys(0), "destination:key key:key*");
    }

    #[test]
    fn mistakes_are_reported_and_survived() {
        for wrong in ["[", "]", "[a", "a]", "[]", "a|", "|a", "...", "[...]", "@1", "[a|b ...]", "x=", "x=]", "[a||b]"]
        {
            assert!(!parse(wrong, 1).problems.is_empty(), "{wrong}");
        }
        assert!(!parse(&"[".repeat(100_000), 1).problems.is_empty());
        assert_eq!(show(&parse("a] b", 0).arguments), "a:string b:string");
    }

    proptest! {
        #[test]
        fn any_text_has_a_tree(text in "([a-cA-C=@1*:]{0,3}|[\\[\\]()<>|]|\\.\\.\\.| |key|\u{e9}){0,40}") {
            let syntax = parse(&text, 2);
            syntax.arity(1);
        }
    }
}
