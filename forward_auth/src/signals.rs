//! Receives logouts and security events, at an address of their own.

use std::net::SocketAddr;

use axum::{Router, body::Body};
use tower_introspect::{ConfigError, config::ConfiguredSignals};

/// Returns the routes of the receivers: `/backchannel-logout`, and `/events/1`, `/events/2`, .. for the
/// transmitters that push, in the order of the settings.
///
/// # Errors
///
/// Returns a problem if there are routes and no address, or an address and no route.
pub(crate) fn routes(
    signals: Option<&ConfiguredSignals>,
    listen: Option<SocketAddr>,
) -> Result<Option<(SocketAddr, Router)>, ConfigError> {
    let (mut routes, mut is_empty) = (Router::new(), true);
    if let Some(signals) = signals {
        if let Some(service) = signals.logout_service::<Body>() {
            routes = routes.route_service("/backchannel-logout", service);
            is_empty = false;
        }
        for (place, (_, receiver)) in (1..).zip(signals.receivers()) {
            routes =
                routes.route_service(&format!("/events/{place}"), receiver.push_service::<Body>());
            is_empty = false;
        }
    }
    let mut problems = ConfigError::new();
    match (listen, is_empty) {
        (Some(listen), false) => return Ok(Some((listen, routes))),
        (None, true) => {}
        (None, false) => problems.push(
            "signals_listen",
            "missing: `signals` receives messages of authorization servers, which do not come from the \
             proxy",
        ),
        (Some(_), true) => problems.push("signals_listen", "has no effect: `signals` receives nothing"),
    }
    problems.or_ok(None)
}
