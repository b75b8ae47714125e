//! Narrows claims to what a later response about the same token still allows.

use super::{
    claims_set::Claims,
    details,
    scope::Scope,
    text::{json_text::Text, span::Span},
};

impl Claims {
    /// Narrows these claims to what `later`, the claims of a later response about the same token,
    /// still allows.
    ///
    /// The result has the scope and the `authorization_details` that both grant if `later` names
    /// any, the earlier expiry, the later start, and the key of either. Of `authorization_details`
    /// (RFC 9396) the elements stay that `later` repeats.
    ///
    /// The text is changed too, so that no reading of it grants more.
    #[must_use]
    pub(crate) fn narrowed_by(mut self, later: &Self) -> Self {
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
        if self.confirmation().is_none() && later.confirmation().is_some() {
            let key = later.confirmation().cloned();
            self.rare.get_or_insert_default().confirmation = key;
            take_later("cnf");
        }
        let before = self.text.clone();
        let claim = self.rare.as_ref().and_then(|rare| before.get(rare.scope_claim?));
        let claim = claim.unwrap_or("scope");
        if later.raw("scope").is_some() {
            let both = self.scope.iter().filter(|value| later.scope.contains(value));
            let both = Scope::from_values(both);
            let written = self.raw(claim);
            // The written claim may have a type that grants nothing here, but something to other
            // readers.
            if both != self.scope || both.is_empty() && written.is_some() {
                let in_array = written.is_some_and(|text| text.starts_with('['));
                changes.push((claim, both.to_json(in_array)));
                self.scope = both;
            }
        }
        if let (Some(own), Some(later)) = (self.raw(details::NAME), later.raw(details::NAME)) {
            changes.extend(details::narrowed(own, later).map(|both| (details::NAME, both)));
        }
        if changes.is_empty() { self } else { self.with_text(before.with(&changes)) }
    }

    /// Moves the claims to another text that contains the same values.
    fn with_text(mut self, text: Text) -> Self {
        let before = std::mem::replace(&mut self.text, text);
        let (mut issuer, mut subject) = (self.issuer, self.subject);
        for span in [&mut issuer, &mut subject] {
            *span = before.get(*span).map_or(Span::NONE, |part| self.span_of(part));
        }
        let audience = self.audience.clone().map(|value| self.span_of(value));
        let scope = Scope::at(self.span_of(self.scope.clone().as_str()));
        if let Some(claim) = self.rare.as_ref().and_then(|rare| before.get(rare.scope_claim?)) {
            let claim = self.span_of(claim);
            self.rare.get_or_insert_default().scope_claim = Some(claim);
        }
        Self { issuer, subject, audience, scope, ..self }.with_updated_views()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixTime;

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
            let said = said.with_scope(&Scope::parse("read write admin"), "scp");
            let word = |scope: &str| claims(&format!("{{\"scope\":\"{scope}\"}}"));
            let both = said.narrowed_by(&word(later));
            assert_eq!((both.raw("scp"), both.raw("x")), (Some(left), Some("1")), "{later}");
            assert!(both.raw("scope").is_none());
            let again = both.clone().narrowed_by(&word("read write admin"));
            assert_eq!(again.raw("scp"), Some(left), "what is gone does not come back");
            assert_eq!(again.scope(), both.scope());
        }
    }

    #[test]
    fn scope_of_the_wrong_type_becomes_an_empty_scope_claim() {
        let later = claims(r#"{"scope":"read"}"#);
        let both = claims(r#"{"scope":["read","admin"]}"#).narrowed_by(&later);
        assert_eq!((both.scope().as_str(), both.raw("scope")), ("", Some("[]")));
        assert_eq!(claims("{}").narrowed_by(&later).raw("scope"), None);
    }

    #[test]
    fn earlier_exp_later_nbf_and_either_cnf_are_kept_in_the_json_text() {
        let (early, late) = (r#"{"exp":5.5,"nbf":1}"#, r#"{"exp":7,"nbf":2e0,"cnf":{"jkt":"x"}}"#);
        for (said, later) in [(early, late), (late, early)] {
            let both = claims(said).narrowed_by(&claims(later));
            assert_eq!((both.raw("exp"), both.raw("nbf")), (Some("5.5"), Some("2e0")));
            assert_eq!(both.expires_at(), Some(UnixTime::from_millis(5_500)));
            assert_eq!(both.not_before(), Some(UnixTime::from_secs(2)));
            assert_eq!(both.raw("cnf"), Some(r#"{"jkt":"x"}"#));
            assert_eq!(both.confirmation().unwrap().jkt(), Some("x"));
        }
        let silent = claims(early).narrowed_by(&claims("{}"));
        assert_eq!(silent.text.as_str(), early);
        let told = claims("{}").narrowed_by(&claims(late));
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
            let both = word(own).narrowed_by(&word(later));
            assert_eq!(both.raw("authorization_details"), Some(left), "{own} {later}");
            let again = both.clone().narrowed_by(&word(own));
            assert_eq!(again.raw("authorization_details"), Some(left), "what is gone came back");
        }
        let own = claims(&format!("{{\"authorization_details\":{own}}}"));
        let silent = own.clone().narrowed_by(&claims("{}"));
        assert_eq!(silent.authorization_details().unwrap().len(), 2);
        assert_eq!(claims("{}").narrowed_by(&own).raw("authorization_details"), None);
    }

    #[test]
    fn other_claims_are_kept_when_some_are_narrowed() {
        let said = claims(
            r#"{"iss":"https:\/\/as","sub":"s","aud":["a\/b","c"],"scope":"read  write","\u0065xp":9,"x":[]}"#,
        );
        let both = said.narrowed_by(&claims(r#"{"exp":5,"nbf":1,"cnf":{"jkt":"k"}}"#));
        assert_eq!((both.issuer(), both.subject()), (Some("https://as"), Some("s")));
        assert_eq!(both.audience().iter().collect::<Vec<_>>(), ["a/b", "c"]);
        assert_eq!(both.scope().as_str(), "read write");
        assert_eq!(both.expires_at(), Some(UnixTime::from_secs(5)));
        assert_eq!(
            (both.issued_at(), both.raw("exp"), both.raw("x")),
            (None, Some("5"), Some("[]"))
        );
        let (said, later) = (claims(r#"{"token_use":"refresh"}"#), claims(r#"{"exp":5}"#));
        assert!(said.narrowed_by(&later).declares_refresh_token());
    }

    #[test]
    fn scope_taken_from_a_date_claim_is_written_once() {
        let said = claims(r#"{"exp":9}"#).with_scope(&Scope::parse("read"), "exp");
        let both = said.narrowed_by(&claims(r#"{"exp":5,"scope":"write"}"#));
        assert_eq!(both.text.as_str(), r#"{"exp":""}"#);
        assert_eq!(both.expires_at(), Some(UnixTime::from_secs(5)));
    }
}
