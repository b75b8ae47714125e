//! What every answer shows besides: the certificate of the server, and its clock.

use http::header;
use tower_introspect::clock::UnixTime;

use super::Doctor;
use crate::{finding::Findings, net::Exchange, when};

/// More of a difference is worth a look, whatever the leeway.
const NOTICEABLE_SKEW: i64 = 5;

impl Doctor<'_> {
    /// When the certificates end that servers showed.
    pub(super) fn certificates(&mut self, seen: &[&Exchange], findings: &mut Findings) {
        let mut told: Vec<String> = Vec::new();
        for exchange in seen {
            let uri = exchange.request.uri();
            let Some(authority) = uri.authority() else { continue };
            let authority = authority.to_string();
            if told.contains(&authority) || uri.scheme_str() != Some("https") {
                continue;
            }
            if let Some(Err(trouble)) = &exchange.outcome
                && trouble.is_tls()
            {
                findings.bad("tls", format!("{authority}: {}", trouble.words()));
                told.push(authority);
                continue;
            }
            let Some(certificate) = exchange.certificate() else { continue };
            let what = format!("the certificate of {authority} ({})", certificate.subject);
            self.expiry(&what, certificate.not_after, "tls_certificate_expires", findings);
            told.push(authority);
        }
    }

    /// How far its clock is from ours, by its `Date` (RFC 9110 §6.6.1), which has whole seconds.
    pub(super) fn clock(&self, seen: &[&Exchange], findings: &mut Findings) {
        let skew = |exchange: &&Exchange| {
            let date = exchange.response()?.headers().get(header::DATE)?.to_str().ok()?;
            let date = httpdate::parse_http_date(date).ok()?;
            let date = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
            Some(skew(i64::try_from(date).ok()?, exchange.sent, exchange.received))
        };
        let all: Vec<i64> = seen.iter().filter_map(skew).collect();
        // A cache in between may answer with an old date: the one closest to ours counts.
        let Some(skew) = all.into_iter().min_by_key(|skew| skew.unsigned_abs()) else {
            if seen.iter().any(|exchange| exchange.response().is_some()) {
                findings.note("no_date", "its answers have no date, so its clock is not known");
            }
            return;
        };
        let leeway = i64::try_from(self.deployed.settings.leeway.as_secs()).unwrap_or(i64::MAX);
        let size = when::span(u128::from(skew.unsigned_abs()));
        let way = if skew > 0 { "ahead of" } else { "behind" };
        match skew.abs() {
            0 => findings.good("clock", "its clock and ours agree, as far as whole seconds tell"),
            off if off > leeway => findings.bad(
                "clock_skew",
                format!(
                    "its clock is {size} {way} ours, more than the leeway of {leeway} s: good \
                     tokens are refused"
                ),
            ),
            off if off > NOTICEABLE_SKEW => findings.warn(
                "clock_skew",
                format!("its clock is {size} {way} ours; the leeway is {leeway} s"),
            ),
            _ => findings
                .good("clock", format!("its clock is {size} {way} ours; the leeway is {leeway} s")),
        }
    }
}

/// How many seconds a clock is ahead that read `date` somewhere between two readings of ours: the
/// least that explains it. Servers write the date anew once a second.
fn skew(date: i64, sent: UnixTime, received: UnixTime) -> i64 {
    let (early, late) = (date - received.as_secs(), date + 2 - sent.as_secs());
    if early > 0 {
        early
    } else if late < 0 {
        late
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_whole_seconds_is_no_skew() {
        let at = |millis| UnixTime::from_millis(millis);
        for (date, sent, received, wanted) in [
            (100, 100_200, 100_400, 0),
            (100, 100_900, 101_100, 0),
            (99, 100_000, 100_100, 0),
            (98, 100_000, 100_100, 0),
            (97, 100_000, 100_100, -1),
            (101, 100_000, 100_100, 1),
            (101, 100_900, 101_100, 0),
            // However long it took, only what it can't explain is a skew.
            (105, 100_000, 110_000, 0),
            (160, 100_000, 110_000, 50),
        ] {
            assert_eq!(skew(date, at(sent), at(received)), wanted, "{date} {sent} {received}");
        }
    }
}
