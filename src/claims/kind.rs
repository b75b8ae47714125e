//! Judges the kind of a token: the one judgement for JWTs and for introspection responses.
//!
//! In this order:
//!
//! 1. The `typ` of the header.
//! 2. The words in `typ`, `token_use` and `token_type`. If two disagree, the token is refused.
//! 3. Without either, the marks of other tokens: `at_hash`, `c_hash`, `s_hash`, `events`.
//! 4. `nonce`, unless there is a scope: some servers leave it in access tokens.
//! 5. In a JWT whose `typ` is `JWT` or absent, a sign of an access token, such as a scope or a
//!    client. A plain ID token has no mark at all, so a JWT without a sign is refused too.

use super::{json, typ::Typ};
use crate::error::kind::TokenKind;

/// The back-channel logout event, as a JSON string.
const LOGOUT_EVENT: &str = "\"http://schemas.openid.net/event/backchannel-logout\"";

/// The reason why an unmarked JWT is refused. Names the setting.
pub(crate) const UNMARKED: &str = "`typ` is not at+jwt, and no scope, client or word says that it is \
     an access token: see `danger_accept_unmarked_jwts`";

/// The evidence about the kind of a token in the text of a JWT or of an introspection response.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// The `typ` of the header or a word is that of an access token.
    access: bool,
    /// The kind that `typ`, `token_use` and `token_type` name, if it is another.
    words: [Option<TokenKind>; 3],
    /// The kind that the other members show.
    mark: Option<Mark>,
    nonce: bool,
    /// There is a scope, or the type of credentials, `Bearer` or `DPoP`.
    scope: bool,
    client: bool,
    htm: bool,
    htu: bool,
}

/// A mark of another kind of token. The greatest decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    DpopProof,
    Hash,
    Introspection,
    Event,
    Logout,
}

/// The meaning of a word that names a kind of token.
enum Word {
    Access,
    /// A type of credentials (RFC 6749 §7.1).
    Scheme,
    Other(TokenKind),
    Unknown,
}

impl Evidence {
    /// Reads the evidence in a JWT: the `typ` of its header, and the names and JSON values of its
    /// claims.
    pub(crate) fn of_jwt<'a>(typ: Typ, claims: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut evidence = Self { access: typ == Typ::Access, ..Self::default() };
        if let Typ::Other(kind) = typ {
            evidence.words[0] = Some(kind);
        }
        // A single pass over the claims, because this runs for every token.
        for (name, value) in claims {
            match name {
                "typ" => evidence.add_word(0, &Word::read(value)),
                "token_use" => evidence.add_word(1, &Word::read(value).or_other()),
                "token_type" => evidence.add_word(2, &Word::read(value)),
                _ => evidence.add_member(name, value),
            }
        }
        evidence
    }

    /// Reads the evidence in an introspection response: the names and JSON values of its members.
    ///
    /// # Errors
    ///
    /// The name of a member that must be a string and is not.
    pub(crate) fn of_response<'a>(
        members: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, &'static str> {
        let mut evidence = Self::default();
        for (name, value) in members {
            match name {
                // An addition of some servers.
                "typ" => evidence.add_word(0, &Word::read(value)),
                "token_use" if !value.starts_with('"') => return Err("token_use"),
                "token_use" => evidence.add_word(1, &Word::read(value).or_other()),
                "token_type" if !value.starts_with('"') => return Err("token_type"),
                // RFC 7662 §2.2: the type of an access token (RFC 6749 §7.1). No other type is
                // known here, and there is no way to present one.
                "token_type" => match Word::read(value) {
                    scheme @ Word::Scheme => evidence.add_word(2, &scheme),
                    Word::Other(kind) => evidence.words[2] = Some(kind),
                    Word::Access | Word::Unknown => evidence.words[2] = Some(TokenKind::Other),
                },
                _ => evidence.add_member(name, value),
            }
        }
        Ok(evidence)
    }

    fn add_word(&mut self, slot: usize, word: &Word) {
        match word {
            Word::Access => self.access = true,
            // The claim `typ` of one server product. As `token_type` it says how the token is
            // presented, and servers say so of other tokens too.
            Word::Scheme if slot < 2 => self.access = true,
            Word::Scheme => self.scope = true,
            Word::Other(kind) => self.words[slot] = Some(*kind),
            Word::Unknown => {}
        }
    }

    fn add_member(&mut self, name: &str, value: &str) {
        let is = |start| value.starts_with(start);
        match name {
            "events" if is('{') && value.contains(LOGOUT_EVENT) => self.add_mark(Mark::Logout),
            "events" if is('{') => self.add_mark(Mark::Event),
            "token_introspection" if is('{') => self.add_mark(Mark::Introspection),
            "at_hash" | "c_hash" | "s_hash" => self.add_mark(Mark::Hash),
            "htm" | "htu" => {
                self.htm |= name == "htm";
                self.htu |= name == "htu";
                if self.htm && self.htu {
                    self.add_mark(Mark::DpopProof);
                }
            }
            "nonce" => self.nonce = true,
            "scope" | "scp" => self.scope |= (is('"') || is('[')) && value.len() > 2,
            // Claims of the client that ID tokens do not have, unless they have marks as well, such
            // as those of ZITADEL. Any may have `azp` (OpenID Connect Core §2).
            "client_id" | "cid" | "appid" | "azpacr" => self.client |= is('"') && value.len() > 2,
            _ => {}
        }
    }

    fn add_mark(&mut self, mark: Mark) {
        self.mark = self.mark.max(Some(mark));
    }

    /// Returns the kind of the token, if something shows that it is not an access token.
    pub(crate) fn other_kind(&self) -> Option<TokenKind> {
        if let Some(kind) = self.words.into_iter().flatten().next() {
            return Some(kind);
        }
        if self.access {
            return None;
        }
        let by_mark = self.mark.map(|mark| match mark {
            Mark::DpopProof => TokenKind::DpopProof,
            Mark::Hash => TokenKind::Id,
            Mark::Introspection => TokenKind::IntrospectionResponse,
            Mark::Event => TokenKind::SecurityEvent,
            Mark::Logout => TokenKind::Logout,
        });
        by_mark.or((self.nonce && !self.scope).then_some(TokenKind::Id))
    }

    /// Returns the members that decide in [`other_kind`](Self::other_kind).
    fn deciding(&self) -> Option<&'static [&'static str]> {
        const WORDS: [[&str; 1]; 3] = [["typ"], ["token_use"], ["token_type"]];
        if let Some(slot) = self.words.iter().position(Option::is_some) {
            return WORDS.get(slot).map(<[_; 1]>::as_slice);
        }
        self.other_kind()?;
        Some(match self.mark {
            Some(Mark::DpopProof) => &["htm", "htu"],
            Some(Mark::Hash) => &["at_hash", "c_hash", "s_hash"],
            Some(Mark::Introspection) => &["token_introspection"],
            Some(Mark::Event | Mark::Logout) => &["events"],
            None => &["nonce"],
        })
    }

    /// Describes the members that show the kind, for a recording of the checks. `member` returns the
    /// JSON value of one.
    pub(crate) fn describe<'a>(&self, member: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
        const OF_ACCESS: [&str; 9] = [
            "typ",
            "token_use",
            "token_type",
            "scope",
            "scp",
            "client_id",
            "cid",
            "appid",
            "azpacr",
        ];
        let deciding = self.deciding();
        let describe = |name: &&str| match *name {
            "typ" | "token_use" | "token_type" => Some(format!("{name} {}", member(name)?)),
            _ => member(name).map(|_| (*name).to_owned()),
        };
        let found: Vec<_> = deciding.unwrap_or(&OF_ACCESS).iter().filter_map(describe).collect();
        // The type of the header is no member.
        let header = || deciding.map(|names| format!("{} of the header", names.join(", ")));
        if found.is_empty() { header() } else { Some(found.join(", ")) }
    }

    /// Returns true if nothing in a JWT shows that it is an access token.
    pub(crate) const fn is_unmarked(&self) -> bool {
        !(self.access || self.scope || self.client)
    }

    /// Returns true if a response says that the token is an access token: by a word, by the type of
    /// credentials, or by a scope. A client does not, because servers add it to every response.
    pub(crate) const fn is_of_access_token(&self) -> bool {
        self.access || self.scope
    }

    /// Refuses a JWT that is not an access token, judged by itself.
    ///
    /// # Errors
    ///
    /// The kind of the token. It is [`Unmarked`](TokenKind::Unmarked) if nothing shows it.
    pub(crate) fn judge(&self) -> Result<(), TokenKind> {
        match self.other_kind() {
            Some(kind) => Err(kind),
            None if self.is_unmarked() => Err(TokenKind::Unmarked),
            None => Ok(()),
        }
    }
}

impl Word {
    /// Reads the JSON value of a member that names a kind of token.
    ///
    /// Knows the names of RFC 7009 §2.1 and RFC 8693 §3, and others that servers use.
    fn read(value: &str) -> Self {
        const ACCESS: [&str; 4] =
            ["access", "access_token", "at+jwt", "urn:ietf:params:oauth:token-type:access_token"];
        const REFRESH: [&str; 4] = [
            "refresh",
            "refresh_token",
            "offline",
            "urn:ietf:params:oauth:token-type:refresh_token",
        ];
        const ID: [&str; 4] =
            ["id", "id_token", "serialized-id", "urn:ietf:params:oauth:token-type:id_token"];
        const OTHER: [&str; 3] =
            ["initialaccesstoken", "registrationaccesstoken", "authorization_code"];
        let Some(word) = json::decode_string(value) else { return Self::Unknown };
        let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
        if is(&["bearer", "dpop"]) {
            Self::Scheme
        } else if is(&ACCESS) {
            Self::Access
        } else if is(&REFRESH) {
            Self::Other(TokenKind::Refresh)
        } else if is(&ID) {
            Self::Other(TokenKind::Id)
        } else if is(&["logout", "logout_token"]) {
            Self::Other(TokenKind::Logout)
        } else if is(&OTHER) {
            Self::Other(TokenKind::Other)
        } else {
            Self::Unknown
        }
    }

    /// Returns another kind for an unknown word. `token_use` has no other purpose than to name it.
    const fn or_other(self) -> Self {
        match self {
            Self::Unknown => Self::Other(TokenKind::Other),
            known => known,
        }
    }
}

/// Returns true if the JSON `value` of `token_type` or `token_use` says that the token is a refresh
/// token. Every policy refuses these, however the token was verified.
pub(super) fn is_refresh(value: &str) -> bool {
    matches!(Word::read(value), Word::Other(TokenKind::Refresh))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_decide_are_described() {
        let scheme = ("token_type", r#""Bearer""#);
        for (members, kind, described) in [
            (
                &[scheme, ("token_use", r#""refresh""#), ("typ", r#""x""#)][..],
                Some(TokenKind::Refresh),
                Some(r#"token_use "refresh""#),
            ),
            (&[scheme, ("at_hash", r#""x""#)], Some(TokenKind::Id), Some("at_hash")),
            (&[("nonce", r#""x""#)], Some(TokenKind::Id), Some("nonce")),
            (&[("htm", r#""x""#), ("htu", r#""x""#)], Some(TokenKind::DpopProof), Some("htm, htu")),
            (&[scheme, ("scope", r#""a""#)], None, Some(r#"token_type "Bearer", scope"#)),
            (&[("sub", r#""x""#)], None, None),
        ] {
            let evidence = Evidence::of_jwt(Typ::Plain, members.iter().copied());
            let member = |name: &str| members.iter().find(|one| one.0 == name).map(|one| one.1);
            assert_eq!(evidence.other_kind(), kind, "{members:?}");
            assert_eq!(evidence.describe(member).as_deref(), described, "{members:?}");
        }
        let in_header = Evidence::of_jwt(Typ::Other(TokenKind::Logout), std::iter::empty());
        assert_eq!(in_header.describe(|_| None).as_deref(), Some("typ of the header"));
    }
}
