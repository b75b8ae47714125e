//! Compares the keys with those of an earlier report, to show rotations.

use std::path::Path;

use serde_json::Value;

use super::Doctor;
use crate::{
    input,
    keys::{jwk::Key, set::Set},
    report::Failure,
};

/// An earlier report of `doctor`.
pub(super) struct EarlierReport {
    report: Value,
    date: String,
}

impl EarlierReport {
    /// Reads a report.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or is not a report of `doctor`.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let report: Value = serde_json::from_slice(&input::file(path)?).unwrap_or_default();
        let date = report["runbook"]["checked"].as_str().unwrap_or_default().to_owned();
        if report["command"] != "doctor" || date.is_empty() {
            let problem = "is not a report of `introspect --json doctor`";
            return Err(Failure::usage(format!("`{}` {problem}", path.display())));
        }
        Ok(Self { report, date })
    }

    /// Returns the `kid` and thumbprint of the keys of an issuer, if the report has them.
    fn keys(&self, issuer: &str) -> Option<Vec<(&str, &str)>> {
        let sections = self.report["sections"].as_array()?;
        let section = sections.iter().find(|section| section["more"]["issuer"] == *issuer)?;
        let keys = section["more"]["keys"].as_array()?.iter();
        let named = keys.filter_map(|key| {
            Some((key["kid"].as_str().unwrap_or("(no kid)"), key["thumbprint"].as_str()?))
        });
        Some(named.collect())
    }
}

impl Doctor<'_> {
    /// Compares the keys of an issuer with those of the earlier report.
    pub(super) fn compare_keys(&mut self, issuer: &str, set: &Set) {
        let Some(earlier) = &self.earlier else { return };
        let Some(old) = earlier.keys(issuer) else { return };
        let date = &earlier.date;
        let is = |key: &Key, print: &str| key.thumbprint.as_deref() == Some(print);
        let is_there = |print: &str| set.keys.iter().any(|key| is(key, print));
        let withdrawn: Vec<_> = old.iter().filter(|(_, print)| !is_there(print)).collect();
        let is_known = |key: &&Key| old.iter().any(|(_, print)| is(key, print));
        let named = set.keys.iter().filter(|key| key.thumbprint.is_some());
        let new: Vec<_> = named.filter(|key| !is_known(key)).collect();
        let kept = old.len() - withdrawn.len();
        if kept == 0 && !old.is_empty() && !new.is_empty() {
            self.found.warn("keys_all_new").text(format!(
                "all keys are new since {date}, and none of the old ones is published any more: \
                 its tokens are refused. Probably the server makes its keys when it starts, as \
                 a Spring Authorization Server does by default"
            ));
            self.found.change(
                "at the authorization server: keep the keys in a file or a store, and publish an \
                 old one until its tokens have expired",
            );
            return;
        }
        for (kid, _) in &withdrawn {
            let text = format!("key `{kid}` was withdrawn after {date}: its tokens are refused");
            self.found.warn("key_withdrawn").text(text);
        }
        for key in &new {
            let kid = key.kid.as_deref().unwrap_or("(no kid)");
            self.found.note("key_new").text(format!("key `{kid}` is new since {date}"));
        }
        if !new.is_empty() && kept > 0 {
            self.found.note("rotation_under_way").text(
                "a rotation is under way: old and new keys are published, and the old keys will be \
                 withdrawn",
            );
        } else if new.is_empty() && withdrawn.is_empty() {
            let text = format!("the keys have not changed since {date}");
            self.found.good("keys_unchanged").text(text);
        }
    }
}
