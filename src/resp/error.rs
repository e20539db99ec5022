//! What a client is told when a command fails. The texts are Redis' own (7.0): clients branch on them.
//!
//! Here are those that several commands share, and those that need care with what the client sent. A text that one
//! command alone uses stands beside that command.

use std::borrow::Cow;

/// The text of an error reply, without the leading `-` and the line end: `ERR syntax error`. Bytes, not characters:
/// some texts repeat what the client sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Cow<'static, [u8]>);

/// A client's word is repeated up to this many bytes; all arguments of an unknown command together as well.
const PREVIEW_BYTES_MAX: usize = 128;

/// Values and types.
impl Error {
    /// The command expects another type than the key holds.
    pub const WRONG_TYPE: Error = Error::fixed("WRONGTYPE Operation against a key holding the wrong kind of value");
    /// The options make no sense.
    pub const SYNTAX: Error = Error::fixed("ERR syntax error");
    /// An argument or a value is no signed 64-bit integer.
    pub const NOT_INTEGER: Error = Error::fixed("ERR value is not an integer or out of range");
    /// An argument is a number outside what the command can do.
    pub const VALUE_OUT_OF_RANGE: Error = Error::fixed("ERR value is out of range");
    /// A count is negative.
    pub const NOT_POSITIVE: Error = Error::fixed("ERR value is out of range, must be positive");
    /// An argument or a value is no float.
    pub const NOT_FLOAT: Error = Error::fixed("ERR value is not a valid float");
    /// A float is no number to go on with.
    pub const NOT_FINITE: Error = Error::fixed("ERR value is NaN or Infinity");
    /// A sum of floats left the numbers.
    pub const INCREMENT_NOT_FINITE: Error = Error::fixed("ERR increment would produce NaN or Infinity");
    /// The command needs an existing key.
    pub const NO_SUCH_KEY: Error = Error::fixed("ERR no such key");
    /// An index lies outside.
    pub const OUT_OF_RANGE: Error = Error::fixed("ERR index out of range");
    /// An offset is negative.
    pub const OFFSET_OUT_OF_RANGE: Error = Error::fixed("ERR offset is out of range");
    /// A bit's offset is no integer, or beyond the longest string.
    pub const BIT_OFFSET: Error = Error::fixed("ERR bit offset is not an integer or out of range");
    /// A bit is neither 0 nor 1.
    pub const BIT_VALUE: Error = Error::fixed("ERR bit is not an integer or out of range");
    /// Adding would leave the signed 64-bit range.
    pub const OVERFLOW: Error = Error::fixed("ERR increment or decrement would overflow");
    /// The decrement cannot be negated.
    pub const DECREMENT_OVERFLOW: Error = Error::fixed("ERR decrement would overflow");
    /// A string would grow beyond `proto-max-bulk-len`.
    pub const STRING_TOO_LONG: Error = Error::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    /// Source and destination are one.
    pub const SAME_OBJECT: Error = Error::fixed("ERR source and destination objects are the same");
    /// There is no database of that number.
    pub const DB_INDEX: Error = Error::fixed("ERR DB index is out of range");
    /// SCAN and its relatives were handed no cursor.
    pub const INVALID_CURSOR: Error = Error::fixed("ERR invalid cursor");
    /// A blocking command's timeout in seconds.
    pub const TIMEOUT_NOT_FLOAT: Error = Error::fixed("ERR timeout is not a float or out of range");
    /// A timeout in milliseconds.
    pub const TIMEOUT_NOT_INTEGER: Error = Error::fixed("ERR timeout is not an integer or out of range");
    /// A timeout below zero.
    pub const TIMEOUT_NEGATIVE: Error = Error::fixed("ERR timeout is negative");
    /// A timeout that ends after the last millisecond that can be counted; Redis 7.0 has no such check, later ones do.
    pub const TIMEOUT_OUT_OF_RANGE: Error = Error::fixed("ERR timeout is out of range");
    /// `numkeys` is zero or less.
    pub const NUMKEYS_NOT_POSITIVE: Error = Error::fixed("ERR numkeys should be greater than 0");
    /// `numkeys` is more than there are arguments.
    pub const NUMKEYS_TOO_BIG: Error = Error::fixed("ERR Number of keys can't be greater than number of args");
    /// RESTORE and MIGRATE find the name taken.
    pub const BUSY_KEY: Error = Error::fixed("BUSYKEY Target key name already exists.");
    /// XGROUP CREATE finds the name taken.
    pub const BUSY_GROUP: Error = Error::fixed("BUSYGROUP Consumer Group name already exists");
    /// A string that PF commands were handed is no HyperLogLog.
    pub const NOT_HYPERLOGLOG: Error = Error::fixed("WRONGTYPE Key is not a valid HyperLogLog string value.");

    /// An expire time that is not positive, or beyond what milliseconds can count; `command` in lower case.
    pub fn invalid_expire(command: &str) -> Error {
        Error::new(format!("ERR invalid expire time in '{command}' command"))
    }

    /// `numkeys` is zero where the command names itself, in lower case.
    pub fn needs_input_key(command: &str) -> Error {
        Error::new(format!("ERR at least 1 input key is needed for '{command}' command"))
    }
}

/// Finding the command.
impl Error {
    /// There is no such command. `args[0]` is its name; the others are repeated in part.
    pub fn unknown_command(args: &[&[u8]]) -> Error {
        let (name, rest) = args.split_first().expect("a request without arguments is no command");
        let mut text = b"ERR unknown command '".to_vec();
        text.extend_from_slice(preview(name, PREVIEW_BYTES_MAX));
        text.extend_from_slice(b"', with args beginning with: ");
        let start = text.len();
        for arg in rest {
            let left = PREVIEW_BYTES_MAX.saturating_sub(text.len() - start);
            if left == 0 {
                break;
            }
            text.push(b'\'');
            text.extend_from_slice(preview(arg, left));
            text.extend_from_slice(b"' ");
        }
        Error::new(text)
    }

    /// The container command (`CONFIG`, in any case) has no such subcommand.
    pub fn unknown_subcommand(container: &str, subcommand: &[u8]) -> Error {
        Error::about_subcommand("ERR unknown subcommand '", container, subcommand)
    }

    /// A RESP2 client with subscriptions calls something else than it may.
    pub fn not_for_subscribers(command: &str) -> Error {
        let allowed = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
        Error::new(format!("ERR Can't execute '{command}': {allowed}").into_bytes())
    }

    /// A subcommand exists, but not with these arguments: what commands say that look at their arguments themselves.
    pub fn subcommand_syntax(container: &str, subcommand: &[u8]) -> Error {
        Error::about_subcommand("ERR unknown subcommand or wrong number of arguments for '", container, subcommand)
    }

    fn about_subcommand(beginning: &str, container: &str, subcommand: &[u8]) -> Error {
        let mut text = beginning.as_bytes().to_vec();
        text.extend_from_slice(preview(subcommand, PREVIEW_BYTES_MAX));
        text.extend_from_slice(format!("'. Try {} HELP.", container.to_ascii_uppercase()).as_bytes());
        Error::new(text)
    }

    /// Too few or too many arguments; `name` in full and in lower case: `get`, `config|set`.
    pub fn wrong_arity(name: &str) -> Error {
        Error::new(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// The command may not be queued in a transaction.
    pub const NOT_IN_TRANSACTION: Error = Error::fixed("ERR Command not allowed inside a transaction");

    /// A subscribed RESP2 client sent something else; `name` as in [`Error::wrong_arity`].
    pub fn subscribed(name: &str) -> Error {
        Error::new(format!(
            "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
             this context"
        ))
    }

    /// A command that a directive switches off: `("DEBUG", "enable-debug-command")`.
    pub fn switched_off(command: &str, directive: &str) -> Error {
        Error::new(format!(
            "ERR {command} command not allowed. If the {directive} option is set to \"local\", you can run it from a \
             local connection, otherwise you need to set this option in the configuration file, and then restart the \
             server."
        ))
    }
}

/// Who may do what.
impl Error {
    /// The client has yet to authenticate.
    pub const NOT_AUTHENTICATED: Error = Error::fixed("NOAUTH Authentication required.");
    /// HELLO without AUTH from a client that has yet to authenticate.
    pub const HELLO_NOT_AUTHENTICATED: Error = Error::fixed(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> \
         option can be used to authenticate the client and select the RESP protocol version at the same time",
    );
    /// AUTH failed.
    pub const WRONG_PASSWORD: Error = Error::fixed("WRONGPASS invalid username-password pair or user is disabled.");
    /// AUTH with a password alone, though none is configured.
    pub const NO_PASSWORD_SET: Error = Error::fixed(
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
         configuration is correct?",
    );
    /// HELLO with a version other than 2 and 3.
    pub const NO_PROTOCOL: Error = Error::fixed("NOPROTO unsupported protocol version");
    /// HELLO with no number.
    pub const PROTOCOL_NOT_INTEGER: Error = Error::fixed("ERR Protocol version is not an integer or out of range");
    /// The user lacks a key's permission.
    pub const NO_PERMISSION_KEY: Error =
        Error::fixed("NOPERM this user has no permissions to access one of the keys used as arguments");
    /// The user lacks a channel's permission.
    pub const NO_PERMISSION_CHANNEL: Error =
        Error::fixed("NOPERM this user has no permissions to access one of the channels used as arguments");

    /// The user lacks the command's permission; `name` as in [`Error::wrong_arity`].
    pub fn no_permission_command(name: &str) -> Error {
        Error::new(format!("NOPERM this user has no permissions to run the '{name}' command"))
    }

    /// One connection more than `maxclients`.
    pub const MAX_CLIENTS: Error = Error::fixed("ERR max number of clients reached");
    /// A connection from elsewhere while nobody needs a password.
    pub const PROTECTED_MODE: Error = Error::fixed(
        "DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the \
         default user. In this mode connections are only accepted from the loopback interface. If you want to connect \
         from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected \
         mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis \
         from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet \
         if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the \
         protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and \
         then restarting the server. 3) If you started the server manually just for testing, restart it with the \
         '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only \
         need to do one of the above things in order for the server to start accepting connections from the outside.",
    );
}

/// Transactions, scripts and blocked clients.
impl Error {
    /// EXEC after a command could not be queued.
    pub const EXEC_ABORT: Error = Error::fixed("EXECABORT Transaction discarded because of previous errors.");
    /// MULTI within MULTI.
    pub const MULTI_NESTED: Error = Error::fixed("ERR MULTI calls can not be nested");
    /// EXEC without MULTI.
    pub const EXEC_WITHOUT_MULTI: Error = Error::fixed("ERR EXEC without MULTI");
    /// DISCARD without MULTI.
    pub const DISCARD_WITHOUT_MULTI: Error = Error::fixed("ERR DISCARD without MULTI");
    /// WATCH within MULTI.
    pub const WATCH_IN_MULTI: Error = Error::fixed("ERR WATCH inside MULTI is not allowed");

    /// EXEC itself is refused.
    pub fn exec_abort(reason: &Error) -> Error {
        let mut text = b"EXECABORT Transaction discarded because of: ".to_vec();
        text.extend_from_slice(reason.as_bytes().strip_prefix(b"ERR ").unwrap_or(reason.as_bytes()));
        Error::new(text)
    }

    /// EVALSHA of an unknown script.
    pub const NO_SCRIPT: Error = Error::fixed("NOSCRIPT No matching script. Please use EVAL.");
    /// A script has been running for longer than `busy-reply-threshold`.
    pub const BUSY_SCRIPT: Error =
        Error::fixed("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.");
    /// A function has been running for longer than `busy-reply-threshold`.
    pub const BUSY_FUNCTION: Error =
        Error::fixed("BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.");
    /// Nothing to kill.
    pub const NOT_BUSY: Error = Error::fixed("NOTBUSY No scripts in execution right now.");
    /// The script has written.
    pub const UNKILLABLE: Error = Error::fixed(
        "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the \
         script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
    );
    /// CLIENT UNBLOCK … ERROR.
    pub const UNBLOCKED: Error = Error::fixed("UNBLOCKED client unblocked via CLIENT UNBLOCK");
    /// A blocked client's node became a replica, or its slot left.
    pub const UNBLOCKED_BY_FORCE: Error =
        Error::fixed("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)");
}

/// The server's state.
impl Error {
    /// The data set is being loaded.
    pub const LOADING: Error = Error::fixed("LOADING Redis is loading the dataset in memory");
    /// `maxmemory` is used up and nothing may be evicted.
    pub const OUT_OF_MEMORY: Error = Error::fixed("OOM command not allowed when used memory > 'maxmemory'.");
    /// A write to a replica.
    pub const READ_ONLY: Error = Error::fixed("READONLY You can't write against a read only replica.");
    /// A replica that has lost its primary and may not serve old data.
    pub const MASTER_DOWN: Error =
        Error::fixed("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
    /// Fewer replicas than `min-replicas-to-write`.
    pub const NO_REPLICAS: Error = Error::fixed("NOREPLICAS Not enough good replicas to write.");

    /// Keys of one command lie in several slots.
    pub const CROSS_SLOT: Error = Error::fixed("CROSSSLOT Keys in request don't hash to the same slot");
    /// Some keys of a command are here, some have moved on.
    pub const TRY_AGAIN: Error = Error::fixed("TRYAGAIN Multiple keys request during rehashing of slot");
    /// Too many slots are without a node.
    pub const CLUSTER_DOWN: Error = Error::fixed("CLUSTERDOWN The cluster is down");
    /// As above, and `cluster-allow-reads-when-down` is on.
    pub const CLUSTER_DOWN_FOR_WRITES: Error =
        Error::fixed("CLUSTERDOWN The cluster is down and only accepts read commands");
    /// This slot is without a node.
    pub const SLOT_NOT_SERVED: Error = Error::fixed("CLUSTERDOWN Hash slot not served");

    /// The slot's home is elsewhere; `address` is `host:port`.
    pub fn moved(slot: u16, address: &str) -> Error {
        Error::new(format!("MOVED {slot} {address}"))
    }

    /// This key has moved already; `address` is `host:port`.
    pub fn ask(slot: u16, address: &str) -> Error {
        Error::new(format!("ASK {slot} {address}"))
    }
}

impl Error {
    /// An error with a fixed text, prefix included.
    pub const fn fixed(text: &'static str) -> Error {
        Error(Cow::Borrowed(text.as_bytes()))
    }

    /// An error with a text made for the occasion, prefix included.
    pub fn new(text: impl Into<Vec<u8>>) -> Error {
        Error(Cow::Owned(text.into()))
    }

    /// An error that repeats a client's word: `before`, at most 128 bytes of the word, `after`.
    pub fn quoting(before: &str, word: &[u8], after: &str) -> Error {
        Error::new([before.as_bytes(), preview(word, PREVIEW_BYTES_MAX), after.as_bytes()].concat())
    }

    /// The text as it is written to a client, save that line ends in it become blanks there.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text for people: logs and tests.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// What `INFO errorstats` counts it by: see [`counted_word`].
    pub fn prefix(&self) -> &str {
        counted_word(&self.0)
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Error({:?})", self.text())
    }
}

/// No word of an error is counted by itself that is as long.
const COUNTED_BYTES_MAX: usize = 31;

/// What an error of this text is counted by: its first word, such as `WRONGTYPE`; `ERR`, as in Redis, where it has one
/// word only, or a very long one. Ends of lines, which a script can put there, are sent as spaces.
pub fn counted_word(text: &[u8]) -> &str {
    let text = &text[..text.len().min(COUNTED_BYTES_MAX)];
    let word = memchr::memchr3(b' ', b'\r', b'\n', text).and_then(|end| std::str::from_utf8(&text[..end]).ok());
    word.unwrap_or("ERR")
}

/// What is repeated of a client's word: as in Redis, where it is printed as a C string, it ends at a NUL.
fn preview(word: &[u8], bytes_max: usize) -> &[u8] {
    let word = &word[..word.len().min(bytes_max)];
    &word[..memchr::memchr(0, word).unwrap_or(word.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_unknown(args: &[&[u8]], name: &str, rest: &str) {
        let expected = format!("ERR unknown command '{name}', with args beginning with: {rest}");
        assert_eq!(Error::unknown_command(args).text(), expected);
    }

    #[test]
    fn unknown_commands_repeat_some_of_what_was_sent() {
        let (a, b) = ("a".repeat(300), "b".repeat(300));
        check_unknown(&[b"foo"], "foo", "");
        check_unknown(&[b"foo", b"a", b"b"], "foo", "'a' 'b' ");
        // The second argument is cut to 128 less the 103 bytes of the first.
        let expected = format!("'{}' '{}' ", &a[..100], &b[..25]);
        check_unknown(&[a.as_bytes(), &a.as_bytes()[..100], b.as_bytes(), b"c"], &a[..128], &expected);
        check_unknown(&[b"foo", &a.as_bytes()[..124], b"b", b"c"], "foo", &format!("'{}' 'b' ", &a[..124]));
        check_unknown(&[b"foo", &a.as_bytes()[..125], b"b", b"c"], "foo", &format!("'{}' ", &a[..125]));
        check_unknown(&[b"foo", &a.as_bytes()[..300], b"b"], "foo", &format!("'{}' ", &a[..128]));
        check_unknown(&[b"f\0oo", b"a\0b", b"c"], "f", "'a' 'c' ");
        check_unknown(&[b"", b""], "", "'' ");
        assert_eq!(Error::unknown_command(&[b"\xff"]).as_bytes()[21], 0xff);
    }

    #[test]
    fn unknown_subcommands_name_their_container() {
        let check = |error: Error, expected: &str| assert_eq!(error.text(), expected);
        check(Error::unknown_subcommand("config", b"foo"), "ERR unknown subcommand 'foo'. Try CONFIG HELP.");
        let long = "x".repeat(129);
        let expected = format!("ERR unknown subcommand '{}'. Try CONFIG HELP.", &long[..128]);
        check(Error::unknown_subcommand("CONFIG", long.as_bytes()), &expected);
        check(
            Error::subcommand_syntax("object", b"x\0y"),
            "ERR unknown subcommand or wrong number of arguments for 'x'. Try OBJECT HELP.",
        );
        check(Error::quoting("ERR Unsupported option ", b"FOO", ""), "ERR Unsupported option FOO");
    }

    #[test]
    fn the_prefix_is_the_first_word() {
        assert_eq!(Error::WRONG_TYPE.prefix(), "WRONGTYPE");
        assert_eq!(Error::moved(3999, "127.0.0.1:6381").prefix(), "MOVED");
        assert_eq!(Error::moved(3999, "127.0.0.1:6381").text(), "MOVED 3999 127.0.0.1:6381");
        assert_eq!(Error::new("").prefix(), "ERR");
        assert_eq!(Error::new("SINGLE").prefix(), "ERR");
        assert_eq!(Error::new("A\r\nB c").prefix(), "A");
        assert_eq!(Error::new(format!("{} x", "W".repeat(30))).prefix(), "W".repeat(30));
        assert_eq!(Error::new(format!("{} x", "W".repeat(31))).prefix(), "ERR");
        assert_eq!(
            Error::exec_abort(&Error::OUT_OF_MEMORY).text(),
            "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'."
        );
    }
}
