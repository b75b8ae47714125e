//! Reads the body of a signal.

use std::{pin::pin, time::Duration};

use bytes::Buf as _;
use http::StatusCode;
use http_body::Body;

/// The maximum length of a body in bytes.
pub(super) const MAX_BODY: usize = 16 * 1024;

/// The time limit for a body.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a body.
///
/// # Errors
///
/// Returns the status of the response if the body is longer than 16 KiB, takes longer than ten seconds
/// or breaks off.
pub(super) async fn read<B: Body>(body: B) -> Result<Vec<u8>, StatusCode> {
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let reading = async {
        let (mut body, mut read) = (pin!(body), Vec::new());
        while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
            let Ok(mut data) = frame.into_data() else { continue };
            if data.remaining() > MAX_BODY - read.len() {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            while data.has_remaining() {
                let chunk = data.chunk();
                read.extend_from_slice(chunk);
                let read_now = chunk.len();
                data.advance(read_now);
            }
        }
        Ok(read)
    };
    tokio::time::timeout(TIMEOUT, reading).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
}
