//! `CLIENT TRACKING` and what belongs to it: a client chooses to be told when keys in its cache become stale.
//!
//! Not here: which keys it has read, and how it is told ([`crate::pubsub`]).

use super::{Args, CommandResult, CoreView, Part, SessionView};
use crate::resp::{Error, Reply};
use crate::session::{Address, Caching, Mode, Session, TrackingChoice};
use crate::value::number::parse_integer;

/// What `CLIENT TRACKING` was asked for.
#[derive(Default)]
struct Wanted<'a> {
    redirect: Option<i64>,
    is_broadcast: bool,
    is_opt_in: bool,
    is_opt_out: bool,
    skips_own: bool,
    prefixes: Vec<&'a [u8]>,
    /// What is wrong with the arguments behind the first `REDIRECT`. Redis says it only if that client is there.
    late_error: Option<Error>,
}

impl<'a> Wanted<'a> {
    fn parse(args: &'a Args<'a>) -> Result<Wanted<'a>, Error> {
        let mut wanted = Wanted::default();
        match wanted.take_options(&args[3..]) {
            Err(error) if wanted.redirect.is_none() => Err(error),
            Err(error) => {
                wanted.late_error = Some(error);
                Ok(wanted)
            }
            Ok(()) => Ok(wanted),
        }
    }

    fn take_options(&mut self, mut options: &'a Args<'a>) -> Result<(), Error> {
        while let [option, rest @ ..] = options {
            options = match (option.to_ascii_lowercase().as_slice(), rest) {
                (b"redirect", [id, rest @ ..]) => {
                    if self.redirect.is_some() {
                        return Err(Error::fixed("ERR A client can only redirect to a single other client"));
                    }
                    self.redirect = Some(parse_integer(id).ok_or(Error::NOT_INTEGER)?);
                    rest
                }
                (b"prefix", [prefix, rest @ ..]) => {
                    self.prefixes.push(prefix);
                    rest
                }
                (b"bcast", rest) => {
                    self.is_broadcast = true;
                    rest
                }
                (b"optin", rest) => {
                    self.is_opt_in = true;
                    rest
                }
                (b"optout", rest) => {
                    self.is_opt_out = true;
                    rest
                }
                (b"noloop", rest) => {
                    self.skips_own = true;
                    rest
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        Ok(())
    }

    /// Whether it goes together, and with what the client has chosen before.
    fn check(&self, now: Option<&TrackingChoice>) -> CommandResult {
        const OTHER_BROADCAST: Error = Error::fixed(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        );
        const OTHER_OPTION: Error = Error::fixed(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        );
        if !self.is_broadcast && !self.prefixes.is_empty() {
            return Err(Error::fixed("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        if now.is_some_and(|now| now.is_broadcast != self.is_broadcast) {
            return Err(OTHER_BROADCAST);
        }
        if self.is_broadcast && (self.is_opt_in || self.is_opt_out) {
            return Err(Error::fixed("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if self.is_opt_in && self.is_opt_out {
            return Err(Error::fixed("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
        if now.is_some_and(|now| self.is_opt_in && now.is_opt_out || self.is_opt_out && now.is_opt_in) {
            return Err(OTHER_OPTION);
        }
        let single = "'. Prefixes for a single client must not overlap.";
        for (at, prefix) in self.prefixes.iter().enumerate() {
            let known = now.into_iter().flat_map(|now| &now.prefixes).map(Vec::as_slice);
            if let Some(other) = known.into_iter().find(|other| overlaps(prefix, other)) {
                return Err(overlap(prefix, "' overlaps with an existing prefix '", other, single));
            }
            if let Some(other) = self.prefixes[at + 1..].iter().find(|other| overlaps(prefix, other)) {
                return Err(overlap(prefix, "' overlaps with another provided prefix '", other, single));
            }
        }
        Ok(())
    }
}

fn overlaps(one: &[u8], other: &[u8]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn overlap(prefix: &[u8], middle: &str, other: &[u8], end: &str) -> Error {
    let mut text = b"ERR Prefix '".to_vec();
    for part in [prefix, middle.as_bytes(), other] {
        text.extend_from_slice(part);
    }
    Error::quoting("", &text, end)
}

fn is_on(args: &Args<'_>) -> Result<bool, Error> {
    match args[2].to_ascii_lowercase().as_slice() {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(Error::SYNTAX),
    }
}

/// At home, before any core is asked.
pub(super) fn check(view: &SessionView<'_>, args: &Args<'_>) -> CommandResult {
    let wanted = Wanted::parse(args)?;
    if wanted.redirect.is_none() && is_on(args)? {
        wanted.check(view.session.tracking.as_deref())?;
    }
    // Every shard has to note changes before the client reads anything.
    view.shared.pubsub.tracking.hold();
    Ok(())
}

/// One core's part: its shard notes changes from now on; the client of `REDIRECT`, if it is here.
pub(super) fn part(view: &mut CoreView<'_>, args: &Args<'_>) -> Part {
    view.shard.listen();
    let wanted = Wanted::parse(args).expect("checked before any core was asked");
    let mut found: Option<Address> = None;
    if let Some(id) = wanted.redirect {
        view.clients.for_each(&mut |session| {
            if session.id as i64 == id {
                session.is_target = true;
                found = Some(session.address());
            }
        });
    }
    Box::new(found)
}

/// The client's choice holds.
pub(super) fn merge(
    view: &mut SessionView<'_>,
    args: &Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let found = parts.into_iter().find_map(|part| *part.downcast::<Option<Address>>().expect("a part of TRACKING"));
    let result = choose(view, args, found);
    view.shared.pubsub.tracking.release();
    result?;
    reply.ok();
    Ok(())
}

fn choose(view: &mut SessionView<'_>, args: &Args<'_>, found: Option<Address>) -> CommandResult {
    let wanted = Wanted::parse(args).expect("checked before any core was asked");
    if wanted.redirect.is_some() && found.is_none() {
        return Err(Error::fixed("ERR The client ID you want redirect to does not exist"));
    }
    if let Some(error) = wanted.late_error {
        return Err(error);
    }
    let session = &mut *view.session;
    let tracking = &view.shared.pubsub.tracking;
    if !is_on(args)? {
        tracking.stop(session.id);
        session.tracking = None;
        session.mode.remove(Mode::TRACKING);
        return Ok(());
    }
    wanted.check(session.tracking.as_deref())?;
    let mut choice = TrackingChoice {
        redirect: found,
        is_broadcast: wanted.is_broadcast,
        is_opt_in: wanted.is_opt_in,
        is_opt_out: wanted.is_opt_out,
        skips_own: wanted.skips_own,
        ..TrackingChoice::default()
    };
    if let Some(before) = session.tracking.take() {
        choice.prefixes = before.prefixes;
        choice.caching = before.caching;
        choice.writes_until = before.writes_until;
    }
    if wanted.is_broadcast {
        let everything: &[&[u8]] = &[b""];
        let prefixes = if wanted.prefixes.is_empty() { everything } else { &wanted.prefixes };
        choice.prefixes.extend(prefixes.iter().map(|prefix| prefix.to_vec()));
        tracking.start(session.address(), found, choice.skips_own, Some(prefixes.iter().copied()));
    } else {
        tracking.start(session.address(), found, choice.skips_own, None::<std::iter::Empty<&[u8]>>);
    }
    session.tracking = Some(Box::new(choice));
    session.mode.insert(Mode::TRACKING);
    Ok(())
}

/// `CLIENT CACHING`.
pub(super) fn caching(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let said_by = view.session.last_command;
    let Some(choice) = view.session.tracking.as_mut() else {
        return Err(Error::fixed(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    match args[2].to_ascii_lowercase().as_slice() {
        b"yes" if !choice.is_opt_in => {
            return Err(Error::fixed("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."));
        }
        b"no" if !choice.is_opt_out => {
            return Err(Error::fixed("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."));
        }
        b"yes" | b"no" => {}
        _ => return Err(Error::SYNTAX),
    }
    // In a transaction no command was the last one: then it holds for what is left of the transaction.
    choice.caching = match said_by {
        Some(said_by) if !view.session.mode.contains(Mode::DENY_BLOCKING) => Caching::Next(said_by),
        _ => Caching::Now,
    };
    reply.ok();
    Ok(())
}

/// `CLIENT GETREDIR`, and `redir=` of a client's line.
pub(super) fn redirect_of(session: &Session) -> i64 {
    match &session.tracking {
        None => -1,
        Some(choice) => choice.redirect.map_or(0, |redirect| redirect.id as i64),
    }
}

/// `CLIENT GETREDIR`.
pub(super) fn getredir(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(redirect_of(view.session));
    Ok(())
}

/// `CLIENT TRACKINGINFO`.
pub(super) fn trackinginfo(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut flags = Vec::new();
    match &view.session.tracking {
        None => flags.push("off"),
        Some(choice) => {
            let is_exception = choice.caching != Caching::Unsaid;
            let all = [
                ("on", true),
                ("bcast", choice.is_broadcast),
                ("optin", choice.is_opt_in),
                ("caching-yes", choice.is_opt_in && is_exception),
                ("optout", choice.is_opt_out),
                ("caching-no", choice.is_opt_out && is_exception),
                ("noloop", choice.skips_own),
                ("broken_redirect", choice.is_redirect_broken),
            ];
            flags.extend(all.iter().filter(|(_, holds)| *holds).map(|(name, _)| *name));
        }
    }
    reply.map(3);
    reply.bulk("flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag));
    reply.bulk("redirect");
    reply.integer(redirect_of(view.session));
    reply.bulk("prefixes");
    let prefixes = view.session.tracking.iter().flat_map(|choice| &choice.prefixes);
    reply.array(prefixes.clone().count());
    prefixes.for_each(|prefix| reply.bulk(prefix));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::client::COMMANDS;
    use super::super::connection::double::Server;

    #[track_caller]
    fn check(server: &mut Server, id: u64, lines: &[(&str, &str)]) {
        for (line, expected) in lines {
            assert_eq!(server.say(COMMANDS, id, line), *expected, "{line}");
        }
    }

    #[test]
    fn a_choice_is_checked_and_told() {
        let mut server = Server::new(2, 3, &[]);
        check(
            &mut server,
            1,
            &[
                ("CLIENT TRACKING maybe", "-ERR syntax error|"),
                ("CLIENT TRACKING on PREFIX a", "-ERR PREFIX option requires BCAST mode to be enabled|"),
                ("CLIENT TRACKING on REDIRECT 99 nonsense", "-ERR The client ID you want redirect to does not exist|"),
                ("CLIENT TRACKING on REDIRECT 2 nonsense", "-ERR syntax error|"),
                (
                    "CLIENT TRACKING on REDIRECT 2 REDIRECT 2",
                    "-ERR A client can only redirect to a single other client|",
                ),
                ("CLIENT TRACKING on optin optout", "-ERR You can't specify both OPTIN mode and OPTOUT mode|"),
                ("CLIENT TRACKING on bcast optin", "-ERR OPTIN and OPTOUT are not compatible with BCAST|"),
                (
                    "CLIENT TRACKING on bcast PREFIX ab PREFIX a",
                    "-ERR Prefix 'ab' overlaps with another provided prefix 'a'. Prefixes for a single client must not \
                     overlap.|",
                ),
                ("CLIENT GETREDIR", ":-1|"),
                ("CLIENT TRACKING on REDIRECT 2 OPTIN NOLOOP", "+OK|"),
                ("CLIENT GETREDIR", ":2|"),
                ("CLIENT TRACKINGINFO", "*6|$5|flags|*3|$2|on|$5|optin|$6|noloop|$8|redirect|:2|$8|prefixes|*0|"),
                ("CLIENT CACHING no", "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.|"),
                ("CLIENT CACHING yes", "+OK|"),
            ],
        );
        assert_eq!(server.shared.pubsub.tracking.clients_len(), 1);
        let info = server.say(COMMANDS, 1, "CLIENT INFO");
        assert!(info.contains(" flags=t ") && info.contains(" redir=2 "), "{info}");
        check(
            &mut server,
            1,
            &[
                (
                    "CLIENT TRACKING on bcast",
                    "-ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
                     re-enabling it with a different mode.|",
                ),
                ("CLIENT TRACKING off", "+OK|"),
                ("CLIENT TRACKING on bcast PREFIX a PREFIX b", "+OK|"),
                ("CLIENT TRACKING on bcast PREFIX c", "+OK|"),
                (
                    "CLIENT TRACKING on bcast PREFIX cd",
                    "-ERR Prefix 'cd' overlaps with an existing prefix 'c'. Prefixes for a single client must not \
                     overlap.|",
                ),
                ("CLIENT TRACKINGINFO", "*6|$5|flags|*2|$2|on|$5|bcast|$8|redirect|:0|$8|prefixes|*3|$1|a|$1|b|$1|c|"),
            ],
        );
        assert_eq!(server.shared.pubsub.tracking.prefixes_len(), 3);
        check(&mut server, 1, &[("CLIENT TRACKING off", "+OK|"), ("CLIENT GETREDIR", ":-1|")]);
        let tracking = &server.shared.pubsub.tracking;
        assert_eq!((tracking.clients_len(), tracking.prefixes_len(), tracking.is_used()), (0, 0, false));
    }
}
