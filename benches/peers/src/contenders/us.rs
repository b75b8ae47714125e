//! This crate, by its facade.

use tower_introspect::{ClientAuth, IntrospectLayer, Issuer, ResourceServer, jose::Algorithm};

use super::{Built, Contender, US, US_OPAQUE, bare, plain, reason};
use crate::authority::{AUDIENCE, Authority, CLIENT, SECRET};

type Layer = IntrospectLayer<tower_introspect::verify::BoxVerifier>;

pub async fn jwt(authority: &Authority, algorithm: Algorithm, memory: bool) -> Built {
    let layer = layer(authority, algorithm, memory).await?;
    let us = Contender::router(US, plain().layer(layer));
    Ok(if memory { us.remembering() } else { us })
}

/// With its memory, around the router and not boxed by it.
pub async fn around(authority: &Authority, algorithm: Algorithm) -> Built {
    let layer = layer(authority, algorithm, true).await?;
    Ok(bare::around("tower-introspect, around the router", layer).remembering())
}

pub async fn opaque(authority: &Authority) -> Built {
    let issuer = Issuer::introspect(authority.issuer(), ClientAuth::basic(CLIENT, SECRET));
    let api = ResourceServer::builder(AUDIENCE).issuer(issuer).danger_allow_http_loopback();
    let api = api.build().map_err(reason)?;
    api.warm().await.map_err(reason)?;
    Ok(Contender::router(US_OPAQUE, plain().layer(api.layer())).remembering())
}

async fn layer(authority: &Authority, algorithm: Algorithm, memory: bool) -> Result<Layer, String> {
    let issuer =
        Issuer::jwt(authority.issuer()).configure_jwt(move |jwt| jwt.algorithms([algorithm]));
    let api = ResourceServer::builder(AUDIENCE).issuer(issuer).danger_allow_http_loopback();
    let api = if memory { api } else { api.without_cache() };
    let api = api.build().map_err(reason)?;
    api.warm().await.map_err(reason)?;
    Ok(api.layer())
}
