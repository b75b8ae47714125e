//! What has changed in the keys since an earlier report: one look shows no rotation, two do.

use std::path::Path;

use serde_json::Value;

use super::Doctor;
use crate::{
    finding::Findings,
    input,
    keys::{jwk::Key, set::Set},
    report::Failure,
};

/// An earlier report.
pub(super) struct Before {
    report: Value,
    date: String,
}

impl Before {
    /// # Errors
    ///
    /// If the file can't be read, or is no report of `doctor`.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let report: Value = serde_json::from_slice(&input::file(path)?).unwrap_or_default();
        let date = report["runbook"]["checked"].as_str().unwrap_or_default().to_owned();
        if report["command"] != "doctor" || date.is_empty() {
            let problem = "is no report of `introspect --json doctor`";
            return Err(Failure::usage(format!("`{}` {problem}", path.display())));
        }
        Ok(Self { report, date })
    }

    /// The keys that this issuer had then, if any are known: name and thumbprint.
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
    pub(super) fn rotated(&self, issuer: &str, set: &Set, findings: &mut Findings) {
        let Some(before) = &self.before else { return };
        let Some(had) = before.keys(issuer) else { return };
        let date = &before.date;
        let is = |key: &&Key, print: &str| key.thumbprint.as_deref() == Some(print);
        let gone: Vec<_> =
            had.iter().filter(|(_, print)| !set.keys.iter().any(|key| is(&key, print))).collect();
        let new: Vec<_> = set
            .keys
            .iter()
            .filter(|key| key.thumbprint.is_some())
            .filter(|key| !had.iter().any(|(_, print)| is(key, print)))
            .collect();
        for (kid, _) in &gone {
            findings.warn(
                "key_withdrawn",
                format!("key `{kid}` was there at {date} and is withdrawn: its tokens are refused"),
            );
        }
        for key in &new {
            let kid = key.kid.as_deref().unwrap_or("(no kid)");
            findings.note("key_new", format!("key `{kid}` is new since {date}"));
        }
        let kept = had.len() - gone.len();
        if !new.is_empty() && kept > 0 {
            findings.note(
                "rotation_under_way",
                "old and new keys are published side by side: expect the old ones to be withdrawn",
            );
        } else if new.is_empty() && gone.is_empty() {
            findings.good("keys_unchanged", format!("its keys are those of {date}"));
        }
    }
}
