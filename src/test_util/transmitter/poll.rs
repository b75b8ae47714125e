//! The poll for security events (RFC 8936).

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    super::{error::EndpointError, response::json, server::AuthorizationServer, state::State},
    requests::optional,
    streams::{Status, Streams},
};

/// A poll that waits for events. It is an extension of the response that it has so far.
#[derive(Clone)]
struct LongPoll {
    client: String,
    max: usize,
}

impl State {
    /// Takes acknowledgements and errors, and returns events (RFC 8936 §2.2, §2.3).
    pub(super) fn poll(
        &mut self,
        client: String,
        members: &Map<String, Value>,
    ) -> Result<Response<Bytes>, EndpointError> {
        let max = optional(members, "maxEvents", |value| usize::try_from(value.as_u64()?).ok())?;
        let at_once = optional(members, "returnImmediately", Value::as_bool)?;
        let acknowledged = optional(members, "ack", Value::as_array)?;
        let errors = optional(members, "setErrs", Value::as_object)?;
        let acknowledged: Vec<_> = acknowledged.into_iter().flatten().collect();
        let errors: Vec<_> = errors.into_iter().flatten().collect();
        let described =
            |error: &Value| error["err"].is_string() && error["description"].is_string();
        if !acknowledged.iter().all(|jti| jti.is_string())
            || !errors.iter().all(|(_, error)| described(error))
        {
            return Err(EndpointError::invalid_request("ack or setErrs of the wrong type"));
        }
        let streams = &mut self.streams;
        if streams.of(&client).is_none_or(|stream| stream.settings.push.is_some()) {
            return Err(EndpointError::Status(StatusCode::NOT_FOUND));
        }
        for jti in acknowledged.into_iter().filter_map(Value::as_str) {
            if streams.remove(&client, jti) {
                streams.acknowledged.push(jti.to_owned());
            }
        }
        for (jti, error) in errors {
            if streams.remove(&client, jti) {
                streams.errors.push((jti.clone(), error.clone()));
            }
        }
        let poll = LongPoll { client, max: max.unwrap_or(usize::MAX) };
        let (mut response, empty) = streams.next(&poll);
        if empty && poll.max > 0 && at_once != Some(true) {
            response.extensions_mut().insert(poll);
        }
        Ok(response)
    }
}

impl Streams {
    /// Removes an event from the queue of a client. Returns false if it is not there, as when an
    /// acknowledgement is repeated.
    fn remove(&mut self, client: &str, jti: &str) -> bool {
        let Some(stream) = self.of(client) else { return false };
        let before = stream.queue.len();
        stream.queue.retain(|(queued, _)| queued != jti);
        stream.queue.len() < before
    }

    /// Returns the response to a poll, and true if it has no events. Events stay queued until they
    /// are acknowledged.
    fn next(&mut self, poll: &LongPoll) -> (Response<Bytes>, bool) {
        let stream = self.of(&poll.client).filter(|stream| stream.status == Status::Enabled);
        let (mut sets, mut more) = (Map::new(), false);
        for (jti, set) in stream.into_iter().flat_map(|stream| &stream.queue) {
            if sets.len() == poll.max {
                more = true;
                break;
            }
            sets.insert(jti.clone(), set.as_str().into());
        }
        let empty = sets.is_empty();
        (json(StatusCode::OK, &json!({ "sets": sets, "moreAvailable": more })), empty)
    }
}

impl AuthorizationServer {
    /// Returns the response, or waits for events if it is that of a poll that waits.
    pub(in crate::test_util) async fn long_poll(
        &self,
        mut response: Response<Bytes>,
    ) -> Response<Bytes> {
        let Some(poll) = response.extensions_mut().remove::<LongPoll>() else { return response };
        let (mut changed, limit) = {
            let state = self.state();
            (state.streams.changed.subscribe(), state.streams.poll_wait)
        };
        let events = async {
            loop {
                let (response, empty) = self.state().streams.next(&poll);
                if !empty {
                    return response;
                }
                // This can't fail, because the sender lives as long as `self`.
                let _ = changed.changed().await;
            }
        };
        tokio::time::timeout(limit, events).await.unwrap_or(response)
    }
}
