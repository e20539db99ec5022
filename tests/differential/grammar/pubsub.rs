//! Publishing to nobody, and asking who listens. Who does, or tracks keys, gets messages between replies:
//! `tests/server/pubsub.rs` and transcripts.

use super::Family;

/// The family.
pub const FAMILY: Family = Family {
    name: "pubsub",
    rows: &[
        "3 PUBLISH $key $value",
        "2 SPUBLISH $key $value",
        "2 PUBSUB (CHANNELS|SHARDCHANNELS) [$pattern] [$word]",
        "2 PUBSUB (NUMSUB|SHARDNUMSUB) [{$key}]",
        "2 PUBSUB NUMPAT [$word]",
        "1 PUBSUB $word",
        "2 CLIENT TRACKING (off|maybe) [BCAST|OPTIN|OPTOUT|NOLOOP|PREFIX $key|REDIRECT 99999999|REDIRECT $value|$word]",
        "1 CLIENT CACHING (yes|no|$word)",
        "1 CLIENT GETREDIR",
        "1 CLIENT TRACKINGINFO",
    ],
    things: &[],
    values: &[],
    givens: &[],
};
