//! Checks the certificate and the clock of each server.

use http::header;
use tower_introspect::clock::UnixTime;

use super::Doctor;
use crate::{diagnosis::Setting, net::Exchange, when};

/// The difference in seconds that causes a warning even within the leeway.
const NOTICEABLE_SKEW: i64 = 5;

impl Doctor<'_> {
    /// Checks the certificate of each server once.
    pub(super) fn check_certificates(&mut self, exchanges: &[&Exchange]) {
        let mut checked: Vec<String> = Vec::new();
        for exchange in exchanges {
            let uri = exchange.request.uri();
            let Some(authority) = uri.authority() else { continue };
            let authority = authority.to_string();
            if checked.contains(&authority) || uri.scheme_str() != Some("https") {
                continue;
            }
            match (&exchange.outcome, exchange.certificate()) {
                (Some(Err(error)), _) if error.is_tls() => {
                    let text = error.describe();
                    let is_trust = text.contains("`--ca`");
                    self.found.bad("tls").text(format!("{authority}: {text}"));
                    if is_trust {
                        let text = "a PEM file with that authority; give it to this command too";
                        self.found.change(self.place().with(Setting::CA, text));
                    }
                }
                (_, Some(certificate)) => {
                    let what = format!("the certificate of {authority} ({})", certificate.subject);
                    self.add_expiry(&what, certificate.not_after, "tls_certificate_expires");
                }
                _ => continue,
            }
            checked.push(authority);
        }
    }

    /// Compares the clock of the server with the clock of this machine, by the header `Date` (RFC
    /// 9110 §6.6.1), which has whole seconds.
    pub(super) fn check_clock(&mut self, exchanges: &[&Exchange]) {
        let skew = |exchange: &&Exchange| {
            let date = exchange.response()?.headers().get(header::DATE)?.to_str().ok()?;
            let date = httpdate::parse_http_date(date).ok()?;
            let date = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
            Some(skew(i64::try_from(date).ok()?, exchange.sent, exchange.received))
        };
        let skews = exchanges.iter().filter_map(skew);
        // A cache in between may send an old date, so the smallest difference counts.
        let Some(skew) = skews.min_by_key(|skew| skew.unsigned_abs()) else {
            if exchanges.iter().any(|exchange| exchange.response().is_some()) {
                let text = "the responses have no date, so the clock of the server is not known";
                self.found.note("no_date").text(text);
            }
            return;
        };
        let leeway = i64::try_from(self.deployment.settings.leeway.as_secs()).unwrap_or(i64::MAX);
        let size = when::span(u128::from(skew.unsigned_abs()));
        let way = if skew > 0 { "ahead of" } else { "behind" };
        let text = format!("the clock of the server is {size} {way} the clock of this machine");
        match skew.abs() {
            0 => self
                .found
                .good("clock")
                .text("the clock of the server agrees with this machine, in seconds"),
            off if off > leeway => self.found.bad("clock_skew").text(format!(
                "{text}, more than the leeway of {leeway} s: valid tokens are refused"
            )),
            off if off > NOTICEABLE_SKEW => {
                self.found.warn("clock_skew").text(format!("{text}; the leeway is {leeway} s"));
            }
            _ => self.found.good("clock").text(format!("{text}; the leeway is {leeway} s")),
        }
    }
}

/// Returns the smallest number of seconds that a clock can be ahead if it read `date` between
/// `sent` and `received`. Servers may update their date only once a second.
fn skew(date: i64, sent: UnixTime, received: UnixTime) -> i64 {
    let (early, late) = (date - received.as_secs(), date + 2 - sent.as_secs());
    early.max(0) + late.min(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_of_dates_is_not_a_skew() {
        let at = |millis| UnixTime::from_millis(millis);
        for (date, sent, received, wanted) in [
            (100, 100_200, 100_400, 0),
            (100, 100_900, 101_100, 0),
            (99, 100_000, 100_100, 0),
            (98, 100_000, 100_100, 0),
            (97, 100_000, 100_100, -1),
            (101, 100_000, 100_100, 1),
            (101, 100_900, 101_100, 0),
            // A long exchange explains a large difference.
            (105, 100_000, 110_000, 0),
            (160, 100_000, 110_000, 50),
        ] {
            assert_eq!(skew(date, at(sent), at(received)), wanted, "{date} {sent} {received}");
        }
    }
}
