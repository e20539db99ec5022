//! The line of the default user. Redis' `CONFIG REWRITE` adds it to every file, whether or not anybody ever wrote one:
//! `user default on nopass ~* &* +@all`, and where there is a password, its SHA-256 in the place of `nopass`. What says
//! no more than what holds here anyway is taken; anything else would be a promise that nobody keeps.

use super::kind::{Refusal, Secret};
use super::parse::Word;
use sha2::{Digest, Sha256};

/// Anybody else, or other rights.
const NO_USERS: &str = "this version does not have users yet: only the default one, as 'user default on nopass ~* &* \
                        +@all', or in the place of nopass the password that requirepass names";

/// What a line says of the default user: that it is on and may do everything, and how it logs in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct DefaultUser {
    /// SHA-256 of its passwords in hexadecimal digits; none: `nopass`.
    hashes: Vec<Vec<u8>>,
    /// `sanitize-payload`: Redis writes it where the line that it read had it, later versions always.
    sanitizes: bool,
}

impl DefaultUser {
    /// Reads what stands behind `user`.
    ///
    /// # Errors
    /// It is another user, or does not say exactly that this one may do everything.
    pub(super) fn read(words: &[Word]) -> Result<DefaultUser, Refusal> {
        let Some((b"default", rules)) = words.split_first().map(|(name, rules)| (name.as_slice(), rules)) else {
            return Err(NO_USERS.into());
        };
        let mut user = DefaultUser::default();
        let (mut is_on, mut has_keys, mut has_channels, mut has_commands) = (false, false, false, false);
        let mut logs_in = false;
        for rule in rules {
            match rule.to_ascii_lowercase().as_slice() {
                b"on" => is_on = true,
                b"~*" | b"allkeys" => has_keys = true,
                b"&*" | b"allchannels" => has_channels = true,
                b"+@all" | b"allcommands" => has_commands = true,
                b"sanitize-payload" => user.sanitizes = true,
                b"nopass" => {
                    user.hashes.clear();
                    logs_in = true;
                }
                _ => {
                    user.hashes.push(match rule.split_first() {
                        Some((b'#', hash)) => hash.to_vec(),
                        Some((b'>', password)) => hash(password),
                        _ => return Err(NO_USERS.into()),
                    });
                    logs_in = true;
                }
            }
        }
        let is_all = is_on && has_keys && has_channels && has_commands && logs_in;
        if is_all { Ok(user) } else { Err(NO_USERS.into()) }
    }

    /// Whether it logs in with this password, and no other.
    ///
    /// # Errors
    /// It does not: what to do about that.
    pub(super) fn check(&self, password: &Secret) -> Result<(), &'static str> {
        match (self.hashes.is_empty(), password.is_empty()) {
            (true, true) => Ok(()),
            (false, true) => Err("this line has the hash of a password, and this version needs the password itself: \
                                  add a line 'requirepass <password>'"),
            (true, false) => Err("requirepass names a password, and this line says that none is needed (nopass): \
                                  remove one of the two"),
            (false, false) if self.hashes.iter().all(|known| *known == hash(password.bytes())) => Ok(()),
            (false, false) => Err("this line has another password than requirepass, and this version has only one: \
                                   remove this line if what requirepass names is right"),
        }
    }

    /// The line, with this password: as Redis writes it.
    pub(super) fn line(&self, password: &Secret) -> Vec<u8> {
        let sanitizes = if self.sanitizes { "sanitize-payload " } else { "" };
        let login = match password.is_empty() {
            true => format!("nopass {sanitizes}"),
            false => format!("{sanitizes}#{} ", String::from_utf8_lossy(&hash(password.bytes()))),
        };
        format!("user default on {login}~* &* +@all").into()
    }
}

/// As Redis keeps a password.
fn hash(password: &[u8]) -> Vec<u8> {
    format!("{:x}", Sha256::digest(password)).into()
}
