//! INFO (follows).

/// The version of Redis that clients are told they talk to.
pub const REDIS_VERSION: &str = "7.2.4";
