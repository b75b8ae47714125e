//! `zitadel`: an extractor that asks the authorization server, with its memory of answers.

use axum::{Router, routing::get};
use zitadel::{
    axum::introspection::{IntrospectedUser, IntrospectionState, IntrospectionStateBuilder},
    oidc::introspection::cache::in_memory::InMemoryIntrospectionCache,
};

use super::{Built, Contender, reason};
use crate::authority::{Authority, CLIENT, SECRET};

pub const NAME: &str = "zitadel";

pub async fn build(authority: &Authority) -> Built {
    let state: IntrospectionState = IntrospectionStateBuilder::new(authority.issuer())
        .with_basic_auth(CLIENT, SECRET)
        .with_introspection_cache(InMemoryIntrospectionCache::new())
        .build()
        .await
        .map_err(reason)?;
    let handler = async |_: IntrospectedUser| "done";
    Ok(Contender::router(NAME, Router::new().route("/", get(handler)).with_state(state))
        .remembering())
}
