//! Publishing, subscribing, and looking at who is subscribed to what. How messages travel: see [`crate::pubsub`].
//!
//! Not here: what a subscription changes on the client's core (`runtime::pubsub`).

use super::client::write_help;
use super::key_spec::{KeyAccess, KeySpec};
use super::{Args, Command, CommandResult, Flags, Group, Run, SessionView};
use crate::resp::{Error, Reply};
use crate::session::Audience;
use crate::structure::glob;

const ANY_STATE: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE);
const SUBSCRIBER: Flags = ANY_STATE.union(Flags::NOSCRIPT);
const PUBLISHER: Flags = ANY_STATE.union(Flags::FAST).union(Flags::MAY_REPLICATE);

const fn subscription(name: &'static str, audience: Audience, joins: bool, arity: i16, since: &'static str) -> Command {
    let (summary, complexity) = match (audience, joins) {
        (Audience::Channel, true) => {
            ("Subscribes the client to channels.", "O(N) where N is the number of channels to subscribe to.")
        }
        (Audience::Pattern, true) => (
            "Subscribes the client to all channels that a pattern matches.",
            "O(N) where N is the number of patterns to subscribe to.",
        ),
        (Audience::Shard, true) => (
            "Subscribes the client to shard channels.",
            "O(N) where N is the number of shard channels to subscribe to.",
        ),
        (Audience::Channel, false) => {
            ("Ends subscriptions to channels, or to all of them.", "O(N) where N is the number of channels to leave.")
        }
        (Audience::Pattern, false) => {
            ("Ends subscriptions to patterns, or to all of them.", "O(N) where N is the number of patterns to leave.")
        }
        (Audience::Shard, false) => (
            "Ends subscriptions to shard channels, or to all of them.",
            "O(N) where N is the number of shard channels to leave.",
        ),
    };
    let syntax = match (audience, joins) {
        (Audience::Channel, true) => "channel [channel ...]",
        (Audience::Channel, false) => "[channel [channel ...]]",
        (Audience::Pattern, true) => "pattern [pattern ...]",
        (Audience::Pattern, false) => "[pattern [pattern ...]]",
        (Audience::Shard, true) => "shardchannel [shardchannel ...]",
        (Audience::Shard, false) => "[shardchannel [shardchannel ...]]",
    };
    Command::new(name, Run::Subscription { audience, joins })
        .arity(arity)
        .flags(SUBSCRIBER)
        .docs(Group::PubSub, since, summary)
        .complexity(complexity)
        .syntax(syntax)
}

/// Shard channels have slots, as keys do.
const SHARD_CHANNEL: &[KeySpec] = &[KeySpec::at(1, KeyAccess::NOT_KEY)];
const SHARD_CHANNELS: &[KeySpec] = &[KeySpec::from(1, -1, KeyAccess::NOT_KEY)];

/// The rows.
pub const COMMANDS: &[Command] = &[
    subscription("PSUBSCRIBE", Audience::Pattern, true, -2, "2.0.0"),
    Command::new("PUBLISH", Run::Session(publish))
        .arity(3)
        .flags(PUBLISHER)
        .docs(Group::PubSub, "2.0.0", "Sends a message to the subscribers of a channel, and tells how many there are.")
        .complexity(
            "O(N+M) where N is the number of receivers and M is the number of patterns that clients subscribed to.",
        )
        .syntax("channel message"),
    Command::new("PUBSUB", Run::Container)
        .arity(-2)
        .docs(Group::PubSub, "2.8.0", "Commands about subscriptions.")
        .complexity("Depends on subcommand.")
        .subcommands(SUBCOMMANDS),
    subscription("PUNSUBSCRIBE", Audience::Pattern, false, -1, "2.0.0"),
    Command::new("SPUBLISH", Run::Session(spublish))
        .arity(3)
        .key_specs(SHARD_CHANNEL)
        .flags(PUBLISHER)
        .docs(Group::PubSub, "7.0.0", "Sends a message to the subscribers of a shard channel.")
        .complexity("O(N) where N is the number of receivers.")
        .syntax("shardchannel message"),
    subscription("SSUBSCRIBE", Audience::Shard, true, -2, "7.0.0").key_specs(SHARD_CHANNELS),
    subscription("SUBSCRIBE", Audience::Channel, true, -2, "2.0.0"),
    subscription("SUNSUBSCRIBE", Audience::Shard, false, -1, "7.0.0").key_specs(SHARD_CHANNELS),
    subscription("UNSUBSCRIBE", Audience::Channel, false, -1, "2.0.0"),
];

const fn subcommand(
    name: &'static str,
    run: fn(&mut SessionView<'_>, &Args<'_>, &mut Reply<'_>) -> CommandResult,
    arity: i16,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command::new(name, Run::Session(run)).arity(arity).flags(ANY_STATE).docs(Group::PubSub, since, summary)
}

const OF_CHANNELS: &str = "O(N) where N is the number of channels.";

const SUBCOMMANDS: &[Command] = &[
    subcommand("CHANNELS", channels, -2, "2.8.0", "Returns the channels that have subscribers.")
        .complexity(OF_CHANNELS)
        .syntax("[pattern]"),
    subcommand("HELP", help, 2, "6.2.0", "Describes the subcommands.").flags(Flags::LOADING.union(Flags::STALE)),
    subcommand("NUMPAT", numpat, 2, "2.8.0", "Returns how many patterns clients are subscribed to."),
    subcommand("NUMSUB", numsub, -2, "2.8.0", "Returns how many clients are subscribed to each channel.")
        .complexity(OF_CHANNELS)
        .syntax("[channel [channel ...]]"),
    subcommand("SHARDCHANNELS", shardchannels, -2, "7.0.0", "Returns the shard channels that have subscribers.")
        .complexity(OF_CHANNELS)
        .syntax("[pattern]"),
    subcommand(
        "SHARDNUMSUB",
        shardnumsub,
        -2,
        "7.0.0",
        "Returns how many clients are subscribed to each shard channel.",
    )
    .complexity(OF_CHANNELS)
    .syntax("[shardchannel [shardchannel ...]]"),
];

/// To whom a call publishes, if it does: the channel and the message follow its name.
pub fn audience_of(command: &Command) -> Option<Audience> {
    match command.name {
        "PUBLISH" => Some(Audience::Channel),
        "SPUBLISH" => Some(Audience::Shard),
        _ => None,
    }
}

fn publish(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(view.shared.pubsub.publish(Audience::Channel, args[1], args[2]) as i64);
    Ok(())
}

fn spublish(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(view.shared.pubsub.publish(Audience::Shard, args[1], args[2]) as i64);
    Ok(())
}

fn help(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    write_help(args, SUBCOMMANDS, reply);
    Ok(())
}

fn channels(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    list(view, Audience::Channel, args, reply)
}

fn shardchannels(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    list(view, Audience::Shard, args, reply)
}

fn list(view: &SessionView<'_>, audience: Audience, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let pattern = match args {
        [_, _] => None,
        [_, _, pattern] => Some(glob::Pattern::new(pattern)),
        _ => return Err(Error::subcommand_syntax("PUBSUB", args[1])),
    };
    let mark = reply.defer();
    let mut len = 0;
    view.shared.pubsub.for_each_name(audience, |name| {
        if pattern.as_ref().is_none_or(|pattern| pattern.matches(name)) {
            reply.bulk(name);
            len += 1;
        }
    });
    reply.finish_array(mark, len);
    Ok(())
}

fn numpat(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(view.shared.pubsub.names_len(Audience::Pattern) as i64);
    Ok(())
}

fn numsub(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    count(view, Audience::Channel, args, reply);
    Ok(())
}

fn shardnumsub(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    count(view, Audience::Shard, args, reply);
    Ok(())
}

fn count(view: &SessionView<'_>, audience: Audience, args: &Args<'_>, reply: &mut Reply<'_>) {
    let names = &args[2..];
    reply.array(2 * names.len());
    for name in names {
        reply.bulk(name);
        reply.integer(view.shared.pubsub.subscribers_len(audience, name) as i64);
    }
}
