//! Reads the table `[forward]`.

use super::reader::Section;
use crate::{error::config::ConfigError, layer::forward::headers::ForwardHeaders};

/// A function that sets the name of a header.
type Setter = fn(ForwardHeaders, &str) -> Result<ForwardHeaders, ConfigError>;

/// A function that sets the name of a header for a claim.
type ClaimSetter = fn(ForwardHeaders, &str, &str) -> Result<ForwardHeaders, ConfigError>;

/// Reads the names of the headers that verified claims are written into.
pub(super) fn read(section: &mut Section) -> ForwardHeaders {
    let mut headers = ForwardHeaders::new();
    let setters: [(&str, Setter); 4] = [
        ("issuer", ForwardHeaders::issuer),
        ("subject", ForwardHeaders::subject),
        ("client", ForwardHeaders::client),
        ("scope", ForwardHeaders::scope),
    ];
    for (name, set) in setters {
        if let Some(header) = section.text(name) {
            headers = add(section, headers, |headers| set(headers, &header));
        }
    }
    let setters: [(&str, ClaimSetter); 2] =
        [("claims", ForwardHeaders::claim), ("json", ForwardHeaders::json)];
    for (name, set) in setters {
        for (claim, header) in section.section(name, Section::pairs).unwrap_or_default() {
            headers = add(section, headers, |headers| set(headers, &claim, &header));
        }
    }
    headers
}

/// Returns `headers` after `set`, or unchanged if `set` fails.
fn add(
    section: &mut Section,
    headers: ForwardHeaders,
    set: impl FnOnce(ForwardHeaders) -> Result<ForwardHeaders, ConfigError>,
) -> ForwardHeaders {
    match set(headers.clone()) {
        Ok(more) => more,
        Err(problems) => {
            for (name, problem) in problems.problems() {
                section.problem(name, problem);
            }
            headers
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::file::Config;

    fn problems(forward: &str) -> String {
        let text = format!(
            "audience = \"https://api.example.com\"\n\
             [[issuer]]\nissuer = \"https://as.example.com\"\nmode = \"jwt\"\n\
             [forward]\n{forward}"
        );
        let built = Config::from_toml(&text).and_then(|config| config.build());
        built.map_or_else(
            |error| error.to_string(),
            |api| format!("{:?}", api.forward_headers().is_some()),
        )
    }

    #[test]
    fn forward_table_names_headers_and_all_problems_are_reported() {
        let sound = "issuer = \"x-auth-issuer\"\nsubject = \"X-Auth-Subject\"\n\
             client = \"x-auth-client\"\nscope = \"x-auth-scope\"\n\
             [forward.claims]\ntenant = \"x-auth-tenant\"\n\
             [forward.json]\ngroups = \"x-auth-groups\"";
        assert_eq!(problems(sound), "true");
        let wrong = "issuer = \"host\"\nsubject = \"x-auth-subject\"\nscope = 7\nsubjekt = \"x\"\n\
             [forward.claims]\ntenant = \"X_Auth_Subject\"\n\"urn:a b\" = \"content-type\"\n\
             [forward.json]\ngroups = \"x auth\"";
        let mut told: Vec<_> = Vec::new();
        let text = problems(wrong);
        told.extend(text.lines());
        assert_eq!(
            told,
            [
                "forward.issuer: `host` is reserved by HTTP, proxies or authentication",
                "forward.scope: expected a non-empty text",
                "forward.claims.tenant: `x_auth_subject` is used for another claim already",
                "forward.claims.urn:a b: `content-type` is reserved by HTTP, proxies or authentication",
                "forward.json.groups: `x auth` is not a field name (RFC 9110 §5.1)",
                "forward.subjekt: unknown setting",
            ]
        );
    }
}
