/// The state of the introspection endpoint, as canaries of this service find it.
///
/// A canary is the introspection of a random token, or of a token of this service. Tokens of clients
/// don't count, because a client can choose tokens that the server fails on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerState {
    /// Nothing was sent yet.
    #[default]
    Unknown,
    /// The server answers.
    Answers,
    /// The server calls a random token active. It accepts anything, and must not be trusted.
    AcceptsAnything,
    /// No connection can be made, or no response arrives in time.
    Unreachable,
    /// The server is overloaded (408, 429, 503).
    Overloaded,
    /// The server rejects the credentials of this service.
    RejectsCredentials,
    /// The server refuses every request for another reason (other 4xx).
    RefusesEveryone,
    /// The server fails (5xx), redirects, or sends responses that can't be understood.
    Broken,
}

impl ServerState {
    /// Returns a stable name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Answers => "answers",
            Self::AcceptsAnything => "accepts_anything",
            Self::Unreachable => "unreachable",
            Self::Overloaded => "overloaded",
            Self::RejectsCredentials => "rejects_credentials",
            Self::RefusesEveryone => "refuses_everyone",
            Self::Broken => "broken",
        }
    }
}
