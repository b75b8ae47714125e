//! Lists the cutoffs in force.

use serde_json::{Value, json};

use super::name::{Fault, Name, Texts};
use crate::revocation::{cutoff::Cutoff, in_force::InForce, revocations::Revocations};

/// The maximum number of cutoffs in one list.
const MAX_LIMIT: usize = 1000;

/// The number of cutoffs in a list unless the query has another.
const DEFAULT_LIMIT: usize = 100;

/// A request for a list of cutoffs.
pub(super) struct Query {
    pub(super) name: Option<Name>,
    limit: usize,
}

impl Query {
    /// Reads the query of a URI. An unknown parameter is refused, because it may be a misspelt filter.
    ///
    /// # Errors
    ///
    /// Returns the first fault.
    pub(super) fn read(query: &str) -> Result<Self, Fault> {
        let (mut texts, mut limit) = (Texts::default(), None);
        for (name, text) in form_urlencoded::parse(query.as_bytes()) {
            if name == "limit" {
                let number = text.parse().ok().filter(|number| (1..=MAX_LIMIT).contains(number));
                let number = number.ok_or("limit is not a number from 1 to 1000")?;
                if limit.replace(number).is_some() {
                    return Err("limit is given twice");
                }
            } else if !texts.add(&name, &text)? {
                return Err("a parameter is unknown");
            }
        }
        Ok(Self { name: texts.filter()?, limit: limit.unwrap_or(DEFAULT_LIMIT) })
    }

    pub(super) fn list(&self, revocations: &Revocations) -> Value {
        rows(&match &self.name {
            Some(name) => revocations.in_force_for(&name.cutoff(), self.limit),
            None => revocations.in_force(self.limit),
        })
    }
}

/// Lists the cutoffs that now cover the tokens of a name: its own, and the broader ones.
pub(super) fn covering(name: &Name, revocations: &Revocations) -> Value {
    let of_kinds = |cutoff: &Cutoff, kinds: [&str; 2]| {
        let list = revocations.in_force_for(cutoff, MAX_LIMIT);
        list.into_iter().filter(move |one| kinds.contains(&one.kind())).collect::<Vec<_>>()
    };
    let mut list = of_kinds(&name.cutoff(), [name.kind(), "issuer"]);
    if let Some(subject) = name.subject_cutoff() {
        list.extend(of_kinds(&subject, ["subject"; 2]));
    }
    rows(&list)
}

fn rows(list: &[InForce]) -> Value {
    list.iter().map(row).collect()
}

fn row(one: &InForce) -> Value {
    json!({
        "issuer": one.issuer(),
        "kind": one.kind(),
        "value": one.value(),
        "revoked_at": one.revoked_at().map(|at| at.as_secs()),
        "learned_at": one.learned_at().as_secs(),
    })
}
