//! Stores with a request what observed requirements would have refused.

use std::sync::Arc;

use http::Extensions;

use super::{
    identity::Anonymous,
    observer::Observer,
    verified_token::{Observed, VerifiedToken},
};
use crate::error::refusal::VerifyError;

impl Observer {
    /// Counts the outcome for an admitted request, and stores the error with it.
    pub(crate) fn note_in(&self, outcome: Result<(), VerifyError>, extensions: &mut Extensions) {
        if let (Some(error), Some(reports)) = (self.note(outcome), Observed::of_mut(extensions)) {
            reports.push(error);
        }
    }

    /// Returns the errors with which observed requirements would have refused the request.
    pub fn reports(extensions: &Extensions) -> impl Iterator<Item = &VerifyError> {
        Observed::of(extensions).into_iter().flat_map(Observed::iter)
    }
}

impl Observed {
    pub(super) fn push(&mut self, error: VerifyError) {
        Arc::make_mut(self.0.get_or_insert_default()).push(error);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &VerifyError> {
        self.0.iter().flat_map(|errors| errors.iter())
    }

    pub(super) fn of(extensions: &Extensions) -> Option<&Self> {
        let token = extensions.get::<VerifiedToken>().map(|token| &token.observed);
        token.or_else(|| extensions.get::<Anonymous>().map(|who| &who.observed))
    }

    pub(super) fn of_mut(extensions: &mut Extensions) -> Option<&mut Self> {
        if extensions.get::<VerifiedToken>().is_some() {
            return extensions.get_mut::<VerifiedToken>().map(|token| &mut token.observed);
        }
        extensions.get_mut::<Anonymous>().map(|who| &mut who.observed)
    }
}
