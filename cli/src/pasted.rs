//! Cleans tokens that people paste: removes schemes, quotes, white space and encodings.
//!
//! Every cleanup is reported, because the middleware does none of them.

use percent_encoding::percent_decode_str;

use crate::{
    json,
    report::{Report, Tone},
};

/// A change that was made to a pasted token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cleanup {
    Alphabet,
    HeaderName,
    Invisible,
    Padding,
    PercentEncoding,
    Quotes,
    Response,
    Scheme,
    Utf16,
    WhiteSpace,
}

impl Cleanup {
    /// Returns the name in JSON.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Alphabet => "alphabet",
            Self::HeaderName => "header_name",
            Self::Invisible => "invisible_characters",
            Self::Padding => "padding",
            Self::PercentEncoding => "percent_encoding",
            Self::Quotes => "quotes",
            Self::Response => "token_response",
            Self::Scheme => "scheme",
            Self::Utf16 => "utf16",
            Self::WhiteSpace => "white_space",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Alphabet => "`+` and `/` of plain base64 were replaced by `-` and `_`",
            Self::HeaderName => "the header name in front of it was removed",
            Self::Invisible => "invisible characters, which web pages and chats add, were removed",
            Self::Padding => "base64 padding (`=`) was removed",
            Self::PercentEncoding => "percent-encoding, as in URLs, was decoded",
            Self::Quotes => "quotes around it were removed",
            Self::Response => "the `access_token` was taken from a whole token response",
            Self::Scheme => {
                "the scheme (`Bearer`) was removed: it is part of the header, not of the token"
            }
            Self::Utf16 => "UTF-16, which PowerShell writes, was converted",
            Self::WhiteSpace => "line breaks or spaces within it were removed",
        }
    }
}

/// A pasted token after all cleanups.
pub(crate) struct Pasted {
    pub(crate) token: String,
    pub(crate) cleanups: Vec<Cleanup>,
}

impl Pasted {
    /// Cleans the input.
    ///
    /// # Errors
    ///
    /// If it is not a token. The error never holds the input.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut cleanups = Vec::new();
        let text = decode_text(bytes, &mut cleanups)?;
        let mut token = text.trim().to_owned();
        // Wrappers are nested; each round removes one.
        for _ in 0..8 {
            let Some((cleanup, inner)) = clean_once(&token)? else { break };
            if !cleanups.contains(&cleanup) {
                cleanups.push(cleanup);
            }
            token = inner;
        }
        if token.is_empty() {
            return Err("there is no token".to_owned());
        }
        Ok(Self { token, cleanups })
    }

    /// Reports the cleanups.
    pub(crate) fn report_cleanups(&self, report: &mut Report) {
        let codes: Vec<_> = self.cleanups.iter().map(|cleanup| cleanup.code()).collect();
        report.set("cleaned", codes);
        if self.cleanups.is_empty() {
            return;
        }
        report.line(Tone::Warning, "The middleware would refuse this token as it was pasted:");
        for cleanup in &self.cleanups {
            report.item(Tone::Warning, "!", cleanup.description());
        }
        report.line(Tone::Plain, "The rest is about the cleaned token.");
    }
}

/// Decodes UTF-8, or UTF-16 with a byte order mark.
fn decode_text(bytes: &[u8], cleanups: &mut Vec<Cleanup>) -> Result<String, String> {
    let units = |to: fn([u8; 2]) -> u16| -> Vec<u16> {
        bytes
            .get(2..)
            .unwrap_or_default()
            .chunks_exact(2)
            .map(|pair| to([pair[0], pair[1]]))
            .collect()
    };
    let text = match bytes {
        [0xff, 0xfe, ..] => String::from_utf16(&units(u16::from_le_bytes)).ok(),
        [0xfe, 0xff, ..] => String::from_utf16(&units(u16::from_be_bytes)).ok(),
        _ => std::str::from_utf8(bytes).ok().map(str::to_owned),
    };
    if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        cleanups.push(Cleanup::Utf16);
    }
    let text =
        text.filter(|text| !text.contains(|char: char| char.is_control() && !char.is_whitespace()));
    text.ok_or_else(|| format!("{} bytes that are not text, and so not a token", bytes.len()))
}

/// Removes the outermost wrapper of a token, if there is one.
fn clean_once(text: &str) -> Result<Option<(Cleanup, String)>, String> {
    let found = |cleanup, inner: &str| Ok(Some((cleanup, inner.trim().to_owned())));
    let invisible =
        |char| matches!(char, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}');
    if text.contains(invisible) {
        return found(Cleanup::Invisible, &text.replace(invisible, ""));
    }
    if let Some(rest) = strip_prefix_of(text, &["authorization:", "dpop:", "proxy-authorization:"])
    {
        return found(Cleanup::HeaderName, rest);
    }
    if let Some((scheme, rest)) = text.split_once(char::is_whitespace) {
        if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("dpop") {
            return found(Cleanup::Scheme, rest);
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return Err("these are Basic credentials, not a token".to_owned());
        }
    }
    if text.starts_with('{') {
        let (Ok(members) | Err((members, _))) = json::members(text);
        let token = members.iter().find(|(name, _)| name == "access_token");
        return match token.map(|(_, value)| serde_json::from_str::<String>(value.get())) {
            Some(Ok(token)) => found(Cleanup::Response, &token),
            _ => Err("this is JSON without an `access_token`".to_owned()),
        };
    }
    for quote in ['"', '\'', '`', '“', '‘', '<'] {
        let end = match quote {
            '“' => '”',
            '‘' => '’',
            '<' => '>',
            other => other,
        };
        if let Some(inner) = text.strip_prefix(quote) {
            return found(Cleanup::Quotes, inner.strip_suffix(end).unwrap_or(inner));
        }
        if let Some(inner) = text.strip_suffix(end) {
            return found(Cleanup::Quotes, inner);
        }
    }
    if text.contains(char::is_whitespace) {
        return found(Cleanup::WhiteSpace, &text.replace(char::is_whitespace, ""));
    }
    if let Some(decoded) = percent_decoded(text) {
        return found(Cleanup::PercentEncoding, &decoded);
    }
    // A JWT never has these characters; an opaque token may.
    if looks_like_jwt(text) {
        if text.contains('=') {
            return found(Cleanup::Padding, &text.replace('=', ""));
        }
        if text.contains(['+', '/']) {
            return found(Cleanup::Alphabet, &text.replace('+', "-").replace('/', "_"));
        }
    }
    Ok(None)
}

/// Removes one of these prefixes, whatever its case.
fn strip_prefix_of<'a>(text: &'a str, prefixes: &[&str]) -> Option<&'a str> {
    prefixes.iter().find_map(|prefix| {
        let (start, rest) = text.split_at_checked(prefix.len())?;
        start.eq_ignore_ascii_case(prefix).then_some(rest)
    })
}

/// Returns true for the parts of a JWS or JWE. The first starts like `{"` in base64.
fn looks_like_jwt(text: &str) -> bool {
    text.starts_with("ey") && matches!(text.matches('.').count(), 1..=4)
}

/// Decodes `%XX`, if there is any and all of it is well-formed.
fn percent_decoded(text: &str) -> Option<String> {
    let is_escape =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !text.contains('%') || !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "eyJhbGciOiJub25lIn0.e30.c2ln";

    fn read(text: impl AsRef<[u8]>) -> (String, Vec<Cleanup>) {
        let pasted = Pasted::read(text.as_ref()).unwrap();
        (pasted.token, pasted.cleanups)
    }

    #[test]
    fn tokens_are_cleaned_and_cleanups_reported() {
        for (pasted, cleanups) in [
            (JWT.to_owned(), vec![]),
            (format!("  {JWT}\r\n"), vec![]),
            (format!("Bearer {JWT}"), vec![Cleanup::Scheme]),
            (format!("bearer Bearer {JWT}"), vec![Cleanup::Scheme]),
            (format!("Authorization: Bearer {JWT}"), vec![Cleanup::HeaderName, Cleanup::Scheme]),
            (format!("\"{JWT}\""), vec![Cleanup::Quotes]),
            (format!("'Bearer {JWT}'"), vec![Cleanup::Quotes, Cleanup::Scheme]),
            (format!("{JWT}\""), vec![Cleanup::Quotes]),
            (format!("“{JWT}”"), vec![Cleanup::Quotes]),
            (JWT.replace('.', ".\n  "), vec![Cleanup::WhiteSpace]),
            (JWT.replace('.', "%2E"), vec![Cleanup::PercentEncoding]),
            (format!("Bearer%20{JWT}"), vec![Cleanup::PercentEncoding, Cleanup::Scheme]),
            (JWT.replace("e30", "e30="), vec![Cleanup::Padding]),
            (JWT.replace("e30", "e30%3D"), vec![Cleanup::PercentEncoding, Cleanup::Padding]),
            (JWT.replace("e30", "e\u{200b}30"), vec![Cleanup::Invisible]),
            (
                format!("{{\"token_type\":\"Bearer\",\"access_token\":\"{JWT}\"}}\n"),
                vec![Cleanup::Response],
            ),
        ] {
            assert_eq!(read(&pasted), (JWT.to_owned(), cleanups), "{pasted}");
        }
        let (token, cleanups) = read("eyJhbGciOiJub25lIn0.e30.+/8=");
        assert_eq!(token, "eyJhbGciOiJub25lIn0.e30.-_8");
        assert_eq!(cleanups, [Cleanup::Padding, Cleanup::Alphabet]);
    }

    #[test]
    fn utf16_is_text_and_binary_data_is_not() {
        let mut utf16 = vec![0xff, 0xfe];
        utf16.extend(format!("{JWT}\r\n").encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(read(utf16), (JWT.to_owned(), vec![Cleanup::Utf16]));
        for garbage in [b"\x7fELF\x01\0\0".as_slice(), b"\xff\xd8\xff", b"abc\0def", b"\x1b[2J"] {
            let problem = Pasted::read(garbage).err().unwrap();
            assert!(problem.ends_with("not text, and so not a token"), "{problem}");
        }
    }

    #[test]
    fn errors_do_not_show_the_input() {
        for (text, problem) in [
            ("", "there is no token"),
            (" \n", "there is no token"),
            ("\"\"", "there is no token"),
            ("Basic c2VjcmV0", "these are Basic credentials, not a token"),
            ("{\"error\":\"x\"}", "this is JSON without an `access_token`"),
        ] {
            let outcome = Pasted::read(text.as_bytes()).err();
            assert_eq!(outcome.as_deref(), Some(problem), "{text}");
        }
    }

    #[test]
    fn opaque_tokens_keep_their_characters() {
        for token in ["abc+/def==", "a.b", "gho_16C7e42F292c", "abc%", "abc%zz"] {
            assert_eq!(read(token), (token.to_owned(), vec![]));
        }
    }
}
