//! The tokens that a body or a query names.

use crate::revocation::cutoff::Cutoff;

/// The fault of a body or a query, in words that quote nothing of it.
pub(super) type Fault = &'static str;

/// The texts of a body or a query that name tokens.
#[derive(Default)]
pub(super) struct Texts {
    issuer: Option<String>,
    subject: Option<String>,
    session: Option<String>,
    client: Option<String>,
    token_id: Option<String>,
}

impl Texts {
    /// Adds a text. Returns false if this name is not one of those that name tokens.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is empty, or the name was there.
    pub(super) fn add(&mut self, name: &str, text: &str) -> Result<bool, Fault> {
        let slot = match name {
            "issuer" => &mut self.issuer,
            "subject" => &mut self.subject,
            "session" => &mut self.session,
            "client" => &mut self.client,
            "token_id" => &mut self.token_id,
            _ => return Ok(false),
        };
        if text.is_empty() {
            return Err("a name is empty");
        }
        match slot.replace(text.to_owned()) {
            None => Ok(true),
            Some(_) => Err("a name is given twice"),
        }
    }

    /// Returns the name in a query: that of the whole issuer if there is no other text, or `None` without
    /// any text.
    pub(super) fn filter(self) -> Result<Option<Name>, Fault> {
        let Self { issuer, subject, session, client, token_id } = &self;
        let all = [subject, session, client, token_id].into_iter().all(Option::is_none);
        if all && issuer.is_none() {
            return Ok(None);
        }
        self.name(all).map(Some)
    }

    /// Returns the name in a body. It must be that of the whole issuer if `all` is true, and must not be
    /// if it is false.
    pub(super) fn name(self, all: bool) -> Result<Name, Fault> {
        let issuer = self.issuer.ok_or("the issuer is missing")?;
        let (kind, value) = match (self.subject, self.session, self.client, self.token_id, all) {
            (Some(subject), None, None, None, false) => (Kind::Subject, subject),
            (subject, Some(session), None, None, false) => (Kind::Session { subject }, session),
            (None, None, Some(client), None, false) => (Kind::Client, client),
            (None, None, None, Some(token_id), false) => (Kind::Token, token_id),
            (None, None, None, None, true) => (Kind::Issuer, String::new()),
            (None, None, None, None, false) => return Err("no tokens of the issuer are named"),
            _ => return Err("more than one target is named"),
        };
        Ok(Name { issuer, kind, value })
    }
}

/// The name of one token, or of all tokens of a subject, a session, a client or an issuer.
pub(super) struct Name {
    pub(super) issuer: String,
    kind: Kind,
    /// Empty for an issuer.
    value: String,
}

enum Kind {
    Client,
    Issuer,
    Session { subject: Option<String> },
    Subject,
    Token,
}

impl Name {
    pub(super) const fn token(issuer: String, jwt_id: String) -> Self {
        Self { issuer, kind: Kind::Token, value: jwt_id }
    }

    pub(super) const fn issuer(issuer: String) -> Self {
        Self { issuer, kind: Kind::Issuer, value: String::new() }
    }

    /// Returns the kind, as lists of cutoffs have it.
    pub(super) const fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Client => "client",
            Kind::Issuer => "issuer",
            Kind::Session { .. } => "session",
            Kind::Subject => "subject",
            Kind::Token => "token",
        }
    }

    /// Returns true if it names one token, which was issued once.
    pub(super) const fn is_one_token(&self) -> bool {
        matches!(self.kind, Kind::Token)
    }

    /// Returns the name that an event may show. A `jti` is left out: for some authorization servers it
    /// is the token.
    pub(super) fn loggable_value(&self) -> Option<&str> {
        let shown = !matches!(self.kind, Kind::Issuer | Kind::Token);
        shown.then_some(self.value.as_str())
    }

    pub(super) fn cutoff(&self) -> Cutoff {
        let (issuer, value) = (self.issuer.as_str(), self.value.as_str());
        match &self.kind {
            Kind::Client => Cutoff::client(issuer, value),
            Kind::Issuer => Cutoff::issuer(issuer),
            Kind::Session { subject: None } => Cutoff::session(issuer, value),
            Kind::Session { subject: Some(subject) } => {
                Cutoff::session(issuer, value).of_subject(subject)
            }
            Kind::Subject => Cutoff::subject(issuer, value),
            Kind::Token => Cutoff::token(issuer, value),
        }
    }

    /// Returns the cutoff for the subject of a session. It may have replaced that of the session.
    pub(super) fn subject_cutoff(&self) -> Option<Cutoff> {
        let Kind::Session { subject: Some(subject) } = &self.kind else { return None };
        Some(Cutoff::subject(self.issuer.as_str(), subject))
    }
}
