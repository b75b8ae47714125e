//! Combines the claims of a JWT with a later response about the same token.

use super::{
    claims_set::Claims,
    details,
    scope::{SCOPE, SCP, Scope},
    text::{json_text::Text, span::Span},
};

/// The claims of a JWT, and those with a response. They are kept beside the text of the response,
/// because a confirmed token is combined for every request.
struct Confirmed {
    signed: Claims,
    combined: Claims,
}

impl Claims {
    /// Narrows these claims to what `later`, the claims of a later response about the same token,
    /// still allows, and adds the members that only the response has.
    ///
    /// The response keeps the result, for these claims only.
    #[must_use]
    pub(crate) fn confirmed_by(&self, later: &Self) -> Self {
        let combine = || self.clone().combined_with(later);
        let kept = later.text.parsed().get(|| {
            let signed = self.clone();
            Some(Confirmed { signed, combined: combine() })
        });
        match kept {
            Some(kept) if kept.signed.is_same_as(self) => kept.combined.clone(),
            _ => combine(),
        }
    }

    /// Returns true if both were read from the same text in the same way.
    fn is_same_as(&self, other: &Self) -> bool {
        let named = |claims: &Self| claims.rare.as_ref().and_then(|rare| rare.scope_claim);
        let names =
            [self, other].map(|claims| claims.text.get(named(claims).unwrap_or(Span::NONE)));
        self.text.is_same_as(&other.text)
            && self.audience == other.audience
            && self.scope == other.scope
            && names[0] == names[1]
    }

    /// If both name a scope, the result has what both grant; otherwise the scope of the one that
    /// does. It has the earlier expiry, the later start, and the key of either. Of
    /// `authorization_details` (RFC 9396) that both have, the elements stay that `later` repeats.
    ///
    /// The text is changed too, so that no reading of it grants more.
    fn combined_with(mut self, later: &Self) -> Self {
        let mut changes = Vec::new();
        let mut take_later = |name: &'static str| {
            changes.extend(later.raw(name).map(|value| (name, value.to_owned())));
        };
        let (own, end) = (self.expires_at(), later.expires_at());
        if end.is_some_and(|end| own.is_none_or(|own| end < own)) {
            self.expires_at = later.expires_at;
            take_later("exp");
        }
        if later.not_before() > self.not_before() {
            self.not_before = later.not_before;
            take_later("nbf");
        }
        if self.issued_at().is_none() {
            self.issued_at = later.issued_at;
        }
        if self.confirmation().is_none() && later.confirmation().is_some() {
            let key = later.confirmation().cloned();
            self.rare.get_or_insert_default().confirmation = key;
            take_later("cnf");
        }
        let before = self.text.clone();
        let named = self.rare.as_ref().and_then(|rare| before.get(rare.scope_claim?));
        let claim = named.unwrap_or(match before.raw(SCOPE) {
            None if before.raw(SCP).is_some() => SCP,
            _ => SCOPE,
        });
        let (own_scope, later_claim) = (before.raw(claim), later.scope_claim());
        let mut taken_scope = None;
        match (own_scope, later.raw(later_claim)) {
            (Some(written), Some(_)) => {
                let both = self.scope.iter().filter(|value| later.scope.contains(value));
                let both = Scope::from_values(both);
                // The written claim may have a type that grants nothing here, but something to
                // other readers.
                if both != self.scope || both.is_empty() {
                    changes.push((claim, both.to_json(written.starts_with('['))));
                    self.scope = both;
                }
            }
            // A setting that names the claim of the JWT rules out any other.
            (None, Some(written)) if named.is_none_or(|named| named == later_claim) => {
                changes.push((later_claim, written.to_owned()));
                self.scope = later.scope.clone();
                taken_scope = Some(later_claim);
            }
            (None, Some(_)) | (_, None) => {}
        }
        if let (Some(own), Some(later)) = (self.raw(details::NAME), later.raw(details::NAME)) {
            changes.extend(details::narrowed(own, later).map(|both| (details::NAME, both)));
        }
        // Another reader may take the scope from any of these.
        let is_of_scope = |name: &str| [SCOPE, SCP, claim, later_claim].contains(&name);
        let is_new =
            |name: &str| name != "active" && !is_of_scope(name) && before.raw(name).is_none();
        let new: Vec<_> = later.members().filter(|(name, _)| is_new(name)).collect();
        changes.extend(new.iter().map(|(name, value)| (*name, (*value).to_owned())));
        if changes.is_empty() {
            return self;
        }
        let audience = new.iter().any(|(name, _)| *name == "aud").then_some(later);
        let subject = self.subject().is_none().then(|| later.subject()).flatten();
        let text = before.with(&changes);
        self.with_text(text, &Taken { audience, subject, scope_claim: taken_scope })
    }

    /// Moves the claims to another text that contains the same values, and those of `taken`.
    fn with_text(mut self, text: Text, taken: &Taken<'_>) -> Self {
        let before = std::mem::replace(&mut self.text, text);
        let (mut issuer, mut subject) = (self.issuer, self.subject);
        for span in [&mut issuer, &mut subject] {
            *span = before.get(*span).map_or(Span::NONE, |part| self.span_of(part));
        }
        if let Some(part) = taken.subject {
            subject = self.span_of(part);
        }
        let audience =
            taken.audience.map_or_else(|| self.audience.clone(), |later| later.audience.clone());
        let audience = audience.map(|value| self.span_of(value));
        let scope = Scope::at(self.span_of(self.scope.clone().as_str()));
        let named = self.rare.as_ref().and_then(|rare| before.get(rare.scope_claim?));
        if let Some(claim) = taken.scope_claim.or(named) {
            let claim = self.span_of(claim);
            self.rare.get_or_insert_default().scope_claim = Some(claim);
        }
        Self { issuer, subject, audience, scope, ..self }.with_updated_views()
    }
}

/// Values that are taken from a response.
struct Taken<'a> {
    /// The response, if the audience is taken from it.
    audience: Option<&'a Claims>,
    subject: Option<&'a str>,
    /// The claim of the response that the scope is taken from.
    scope_claim: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{claims::scope::ScopeClaim, clock::UnixTime};

    fn claims(text: &str) -> Claims {
        Claims::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn scope_in_another_claim_is_narrowed_in_the_json_text_too() {
        let array = r#"["read", "write", "admin"]"#;
        for (scp, later, left) in [
            (array, "admin read", r#"["read","admin"]"#),
            (array, "write", r#"["write"]"#),
            (array, "other", "[]"),
            (array, "x admin write read", array),
            ("\"read write admin\"", "admin read", "\"read admin\""),
            ("\"read write admin\"", "", "\"\""),
        ] {
            let said = claims(&format!("{{\"scp\":{scp},\"x\":1}}"));
            let word = |scope: &str| claims(&format!("{{\"scope\":\"{scope}\"}}"));
            let both = said.confirmed_by(&word(later));
            assert_eq!((both.raw("scp"), both.raw("x")), (Some(left), Some("1")), "{later}");
            assert!(both.raw("scope").is_none());
            let again = both.clone().confirmed_by(&word("read write admin"));
            assert_eq!(again.raw("scp"), Some(left), "what is gone does not come back");
            assert_eq!(again.scope(), both.scope());
        }
    }

    #[test]
    fn scope_of_the_wrong_type_becomes_an_empty_scope_claim() {
        let later = claims(r#"{"scope":"read"}"#);
        for (own, left) in [(r#"["read",7]"#, "[]"), ("7", "\"\""), (r#"["a b","c"]"#, "[]")] {
            let both = claims(&format!("{{\"scope\":{own}}}")).confirmed_by(&later);
            assert_eq!((both.scope().as_str(), both.raw("scope")), ("", Some(left)));
        }
    }

    #[test]
    fn earlier_exp_later_nbf_and_either_cnf_are_kept_in_the_json_text() {
        let (early, late) = (r#"{"exp":5.5,"nbf":1}"#, r#"{"exp":7,"nbf":2e0,"cnf":{"jkt":"x"}}"#);
        for (said, later) in [(early, late), (late, early)] {
            let both = claims(said).confirmed_by(&claims(later));
            assert_eq!((both.raw("exp"), both.raw("nbf")), (Some("5.5"), Some("2e0")));
            assert_eq!(both.expires_at(), Some(UnixTime::from_millis(5_500)));
            assert_eq!(both.not_before(), Some(UnixTime::from_secs(2)));
            assert_eq!(both.raw("cnf"), Some(r#"{"jkt":"x"}"#));
            assert_eq!(both.confirmation().unwrap().jkt(), Some("x"));
        }
        let silent = claims(early).confirmed_by(&claims("{}"));
        assert_eq!(silent.text.as_str(), early);
        let told = claims("{}").confirmed_by(&claims(late));
        assert_eq!((told.raw("exp"), told.raw("nbf")), (Some("7"), Some("2e0")));
    }

    #[test]
    fn rfc9396_only_details_that_both_grant_stay() {
        let read = r#"{"type":"account","actions":["read"]}"#;
        let pay = r#"{"type":"payment","max":5}"#;
        let own = format!("[{read},{pay}]");
        for (own, later, left) in [
            (&*own, "[]", "[]"),
            (&own, read, "[]"),
            (&own, "null", "[]"),
            (&own, "[7]", "[]"),
            (&own, r#"[{"actions":["read"],"type":"\u0061ccount"}]"#, &format!("[{read}]")),
            (&own, r#"[{"type":"payment","max":5},{"type":"other"}]"#, &format!("[{pay}]")),
            (&own, r#"[{"type":"payment","max":6},{"type":"account"}]"#, "[]"),
            (&own, &format!("[{pay},{{\"type\":\"other\"}},{read}]"), &own),
            ("[]", &own, "[]"),
            // What is invalid grants nothing here, but may grant something to other readers.
            (pay, &own, "[]"),
            ("[7]", &own, "[]"),
        ] {
            let word = |value: &str| claims(&format!("{{\"authorization_details\":{value}}}"));
            let both = word(own).confirmed_by(&word(later));
            assert_eq!(both.raw("authorization_details"), Some(left), "{own} {later}");
            let again = both.clone().confirmed_by(&word(own));
            assert_eq!(again.raw("authorization_details"), Some(left), "what is gone came back");
        }
        let own = claims(&format!("{{\"authorization_details\":{own}}}"));
        let silent = own.clone().confirmed_by(&claims("{}"));
        assert_eq!(silent.authorization_details().unwrap().len(), 2);
        let taken = claims("{}").confirmed_by(&own);
        assert_eq!(taken.authorization_details().unwrap().len(), 2);
    }

    #[test]
    fn other_claims_are_kept_when_some_are_narrowed() {
        let said = claims(
            r#"{"iss":"https:\/\/as","sub":"s","aud":["a\/b","c"],"scope":"read  write","\u0065xp":9,"x":[]}"#,
        );
        let both = said.confirmed_by(&claims(r#"{"exp":5,"nbf":1,"cnf":{"jkt":"k"}}"#));
        assert_eq!((both.issuer(), both.subject()), (Some("https://as"), Some("s")));
        assert_eq!(both.audience().iter().collect::<Vec<_>>(), ["a/b", "c"]);
        assert_eq!(both.scope().as_str(), "read write");
        assert_eq!(both.expires_at(), Some(UnixTime::from_secs(5)));
        assert_eq!(
            (both.issued_at(), both.raw("exp"), both.raw("x")),
            (None, Some("5"), Some("[]"))
        );
        let (said, later) = (claims(r#"{"token_use":"refresh"}"#), claims(r#"{"exp":5}"#));
        assert!(said.confirmed_by(&later).declares_refresh_token());
    }

    #[test]
    fn scope_taken_from_a_date_claim_is_written_once() {
        let text = br#"{"exp":9}"#;
        let said = Claims::with_scope_from(text, ScopeClaim::Named("exp")).unwrap();
        let both = said.confirmed_by(&claims(r#"{"exp":5,"scope":"write"}"#));
        assert_eq!(both.text.as_str(), r#"{"exp":""}"#);
        assert_eq!(both.expires_at(), Some(UnixTime::from_secs(5)));
    }

    #[test]
    fn members_that_only_one_of_the_two_has_are_kept() {
        let own = claims(r#"{"iss":"https://as","aud":"a","azp":"web","x":1,"exp":9}"#);
        let later = claims(
            r#"{"active":true,"sub":"s","aud":["a","b"],"scope":"read write","iat":3,"x":2,"client_id":"web","username":"\u0061l"}"#,
        );
        let both = own.confirmed_by(&later);
        assert_eq!((both.issuer(), both.subject()), (Some("https://as"), Some("s")));
        assert_eq!(both.audience().iter().collect::<Vec<_>>(), ["a"]);
        assert_eq!(
            (both.scope().as_str(), both.raw("scope")),
            ("read write", Some("\"read write\""))
        );
        assert_eq!(both.issued_at(), Some(UnixTime::from_secs(3)));
        assert_eq!((both.raw("x"), both.raw("active")), (Some("1"), None));
        assert_eq!(both.string("username").as_deref(), Some("al"));
        assert_eq!(both.client_id().as_deref(), Some("web"));
        // What was taken is narrowed later like the rest.
        let again = both.confirmed_by(&claims(r#"{"scope":"read"}"#));
        assert_eq!((again.scope().as_str(), again.raw("scope")), ("read", Some("\"read\"")));
    }

    #[test]
    fn scope_is_taken_from_a_response_unless_another_claim_is_configured() {
        let later = claims(r#"{"scp":["read","write"]}"#);
        let both = claims(r#"{"aud":"a"}"#).confirmed_by(&later);
        assert_eq!((both.scope().as_str(), both.raw("scp")), ("read write", later.raw("scp")));
        let narrowed = both.confirmed_by(&claims(r#"{"scope":"write x"}"#));
        assert_eq!(
            (narrowed.scope().as_str(), narrowed.raw("scp")),
            ("write", Some(r#"["write"]"#))
        );
        assert_eq!(narrowed.raw("scope"), None);

        let named = |text: &str| {
            Claims::with_scope_from(text.as_bytes(), ScopeClaim::Named("permissions")).unwrap()
        };
        let both = named(r#"{"scope":"a"}"#).confirmed_by(&claims(r#"{"scope":"a b"}"#));
        assert_eq!((both.scope().as_str(), both.raw("scope")), ("", Some("\"a\"")));
        let both = named("{}").confirmed_by(&named(r#"{"permissions":["a b","c"]}"#));
        assert_eq!(both.scope().as_str(), "c");
        let both = both.confirmed_by(&named(r#"{"permissions":["d"]}"#));
        assert_eq!((both.scope().as_str(), both.raw("permissions")), ("", Some("[]")));
    }

    #[test]
    fn audience_of_a_response_replaces_one_that_a_setting_filled_in() {
        let own = claims(r#"{"client_id":"web"}"#).with_audience("web");
        let both = own.clone().confirmed_by(&claims(r#"{"aud":["a\/b","c"]}"#));
        assert_eq!(both.audience().iter().collect::<Vec<_>>(), ["a/b", "c"]);
        let silent = own.confirmed_by(&claims(r#"{"sub":"s"}"#));
        assert_eq!(silent.audience().iter().collect::<Vec<_>>(), ["web"]);
    }

    #[test]
    fn result_is_kept_for_the_same_claims_only() {
        let (one, other) = (claims(r#"{"scope":"a b"}"#), claims(r#"{"scope":"b c"}"#));
        let later = claims(r#"{"scope":"a b c","sub":"s"}"#);
        let first = one.confirmed_by(&later);
        let again = claims(r#"{"scope":"a b"}"#).confirmed_by(&later);
        assert!(std::ptr::eq(first.text.as_str(), again.text.as_str()));
        assert_eq!(other.confirmed_by(&later).scope().as_str(), "b c");
        let named = Claims::with_scope_from(br#"{"scope":"a b"}"#, ScopeClaim::Named("x")).unwrap();
        assert_eq!(named.confirmed_by(&later).scope().as_str(), "");
        let filled = one.clone().with_audience("me").confirmed_by(&later);
        assert!(filled.audience().contains("me"));
    }
}
