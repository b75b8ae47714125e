//! Reads the response to a poll (RFC 8936 §2.5).

use std::borrow::Cow;

use bytes::Bytes;
use http::Response;
use serde_json::value::RawValue;

use super::{
    error::TransmitterError,
    request::{self, json_text},
};
use crate::claims::json::{self, Object};

/// The SETs of a response, not yet verified.
#[derive(Debug)]
pub(super) struct PollResponse<'a> {
    sets: Option<Object<'a>>,
    pub(super) more_available: bool,
}

impl<'a> PollResponse<'a> {
    /// Reads a response. Members that are not set are absent. One without content has no SETs.
    pub(super) fn parse(response: &'a Response<Bytes>) -> Result<Self, TransmitterError> {
        if response.body().is_empty() {
            return Ok(Self { sets: None, more_available: false });
        }
        let object = request::object(json_text(response)?)?;
        let sets = object.get("sets").map(|value| request::object(value.get().as_bytes()));
        let sets = sets.transpose()?;
        let more_available = match object.get("moreAvailable").map(json::boolean) {
            None => false,
            Some(Some(more)) => more,
            Some(None) => return Err(TransmitterError::bad("`moreAvailable` is not a boolean")),
        };
        Ok(Self { sets, more_available })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sets.as_ref().is_none_or(|sets| sets.iter().len() == 0)
    }

    /// Returns the SETs, each with its `jti` first.
    pub(super) fn sets(&self) -> impl Iterator<Item = (&Cow<'a, str>, &'a RawValue)> {
        self.sets.iter().flat_map(Object::iter)
    }
}
