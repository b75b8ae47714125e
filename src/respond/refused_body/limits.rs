//! Bounds the reading of the bodies of refused requests.

use std::{sync::Arc, time::Duration};

use http_body::Body;
use tokio::sync::Semaphore;

use super::{reading::Reading, refusing::Refused};

/// The limits of what is read of refused requests.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) max_bytes: u64,
    pub(super) max_time: Duration,
    /// One permit for each body that is being read.
    pub(super) permits: Arc<Semaphore>,
}

impl Limits {
    /// Starts to read the body of a refused request, or returns the response if that would be
    /// useless or too much.
    pub(super) fn end<Res, B: Body>(
        &self,
        refused: Refused<Res, B>,
    ) -> Result<Reading<Res, B>, Res> {
        let Refused { response, body } = refused;
        let Some(body) = body.filter(|body| self.is_read(body)) else { return Err(response) };
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Ok(Reading::new(body, response, self.max_bytes, self.max_time, permit)),
            Err(_) => Err(response),
        }
    }

    /// Returns true if the body has something to read, and may end within the limit.
    fn is_read<B: Body>(&self, body: &B) -> bool {
        !body.is_end_stream() && body.size_hint().lower() <= self.max_bytes
    }
}
