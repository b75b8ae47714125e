//! Opens the leases of requests whose responses may stay open.

use http::Request;

use super::admit::{Admitter, Presentation};
#[cfg(feature = "_crypto")]
use crate::{credentials::head::RequestHead, policy::recorder::Recorder};
use crate::{error::refusal::VerifyError, policy::replay_check::Admission};

impl<V, R> Admitter<V, R> {
    /// Returns true if each admitted request gets a lease.
    pub(super) const fn opens_leases(&self) -> bool {
        #[cfg(feature = "_crypto")]
        return self.settings.leases.is_some();
        #[cfg(not(feature = "_crypto"))]
        false
    }

    /// Opens a lease for an admitted request, and stores it in the request with the recorder of what
    /// the request meets from here on.
    #[cfg(feature = "_crypto")]
    pub(super) fn open_lease<B>(
        &self,
        decision: &Admission,
        presentation: &Presentation,
        request: &mut Request<B>,
    ) -> Result<(), VerifyError> {
        let (Some(lessor), Some(token)) = (&self.settings.leases, presentation.token()) else {
            return Ok(());
        };
        let head = RequestHead::of(request);
        let peer = self.settings.peer.as_deref().and_then(|peer| peer(head));
        let lease = lessor.open(token, decision.token(), peer)?;
        request.extensions_mut().insert(Recorder::new(lease.recorder()));
        request.extensions_mut().insert(lease);
        Ok(())
    }

    #[cfg(not(feature = "_crypto"))]
    #[expect(clippy::unused_self, reason = "without cryptography there are no leases")]
    pub(super) const fn open_lease<B>(
        &self,
        _: &Admission,
        _: &Presentation,
        _: &mut Request<B>,
    ) -> Result<(), VerifyError> {
        Ok(())
    }
}
