//! Tokens as people paste them.
//!
//! A pasted token is cleaned of what came along, so that the question can be answered; each thing
//! that was removed is told, because the middleware takes none of it off.

use crate::{
    json,
    report::{Report, Tone},
};

/// What came along with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remark {
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

impl Remark {
    /// For JSON.
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

    const fn words(self) -> &'static str {
        match self {
            Self::Alphabet => "`+` and `/` of plain base64 were replaced by `-` and `_`",
            Self::HeaderName => "the header's name in front was removed",
            Self::Invisible => "invisible characters were removed, as web pages and chats add them",
            Self::Padding => "base64 padding (`=`) was removed",
            Self::PercentEncoding => "it was percent-encoded, as for a URL, and was decoded",
            Self::Quotes => "quotes around it were removed",
            Self::Response => "it is a whole token response; its `access_token` was taken",
            Self::Scheme => {
                "the scheme in front (`Bearer `) was removed: it goes before the token once"
            }
            Self::Utf16 => "it was UTF-16, as PowerShell writes it, and was converted",
            Self::WhiteSpace => "line breaks or spaces within it were removed",
        }
    }
}

/// A token as it was pasted, without what came along.
pub(crate) struct Pasted {
    pub(crate) token: String,
    pub(crate) remarks: Vec<Remark>,
}

impl Pasted {
    /// Cleans what was read.
    ///
    /// # Errors
    ///
    /// Why it is no token at all. Never what was read.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut remarks = Vec::new();
        let text = text(bytes, &mut remarks)?;
        let mut token = text.trim().to_owned();
        // Things come wrapped in each other; each round takes one layer off.
        for _ in 0..8 {
            let Some((remark, inner)) = peeled(&token)? else { break };
            if !remarks.contains(&remark) {
                remarks.push(remark);
            }
            token = inner;
        }
        if token.is_empty() {
            return Err("there is no token".to_owned());
        }
        Ok(Self { token, remarks })
    }

    /// Tells what was removed.
    pub(crate) fn tell(&self, report: &mut Report) {
        let codes: Vec<_> = self.remarks.iter().map(|remark| remark.code()).collect();
        report.set("cleaned", codes);
        if self.remarks.is_empty() {
            return;
        }
        report.line(Tone::Warning, "The middleware would refuse this token as it was pasted:");
        for remark in &self.remarks {
            report.item(Tone::Warning, "!", remark.words());
        }
        report.line(Tone::Plain, "What follows is about the token without that.");
    }
}

fn text(bytes: &[u8], remarks: &mut Vec<Remark>) -> Result<String, String> {
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
        remarks.push(Remark::Utf16);
    }
    let text =
        text.filter(|text| !text.contains(|char: char| char.is_control() && !char.is_whitespace()));
    text.ok_or_else(|| format!("{} bytes that are no text, and so no token", bytes.len()))
}

/// The token within `text`, if something is around it.
fn peeled(text: &str) -> Result<Option<(Remark, String)>, String> {
    let found = |remark, inner: &str| Ok(Some((remark, inner.trim().to_owned())));
    let invisible =
        |char| matches!(char, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}');
    if text.contains(invisible) {
        return found(Remark::Invisible, &text.replace(invisible, ""));
    }
    if let Some(rest) = strip_word(text, &["authorization:", "dpop:", "proxy-authorization:"]) {
        return found(Remark::HeaderName, rest);
    }
    if let Some((scheme, rest)) = text.split_once(char::is_whitespace) {
        if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("dpop") {
            return found(Remark::Scheme, rest);
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return Err("these are Basic credentials, not a token".to_owned());
        }
    }
    if text.starts_with('{') {
        let (Ok(members) | Err((members, _))) = json::members(text);
        let token = members.iter().find(|(name, _)| name == "access_token");
        return match token.map(|(_, value)| serde_json::from_str::<String>(value.get())) {
            Some(Ok(token)) => found(Remark::Response, &token),
            _ => Err("it is JSON without an `access_token`".to_owned()),
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
            return found(Remark::Quotes, inner.strip_suffix(end).unwrap_or(inner));
        }
        if let Some(inner) = text.strip_suffix(end) {
            return found(Remark::Quotes, inner);
        }
    }
    if text.contains(char::is_whitespace) {
        return found(Remark::WhiteSpace, &text.replace(char::is_whitespace, ""));
    }
    if let Some(decoded) = percent_decoded(text) {
        return found(Remark::PercentEncoding, &decoded);
    }
    // In a JWT they have no place; in an opaque token they may be meant.
    if looks_like_jwt(text) {
        if text.contains('=') {
            return found(Remark::Padding, &text.replace('=', ""));
        }
        if text.contains(['+', '/']) {
            return found(Remark::Alphabet, &text.replace('+', "-").replace('/', "_"));
        }
    }
    Ok(None)
}

/// The text after one of these words, in whatever case.
fn strip_word<'a>(text: &'a str, words: &[&str]) -> Option<&'a str> {
    words.iter().find_map(|word| {
        let (start, rest) = text.split_at_checked(word.len())?;
        start.eq_ignore_ascii_case(word).then_some(rest)
    })
}

/// It has the parts of a JWS or a JWE, of which the first starts as base64 of `{"` does.
fn looks_like_jwt(text: &str) -> bool {
    text.starts_with("ey") && matches!(text.matches('.').count(), 1..=4)
}

/// The text with `%XX` decoded, if there is any and all of it is well-formed.
fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return None;
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        decoded.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "eyJhbGciOiJub25lIn0.e30.c2ln";

    fn read(text: impl AsRef<[u8]>) -> (String, Vec<Remark>) {
        let pasted = Pasted::read(text.as_ref()).unwrap();
        (pasted.token, pasted.remarks)
    }

    #[test]
    fn what_comes_along_is_removed_and_told() {
        for (pasted, remarks) in [
            (JWT.to_owned(), vec![]),
            (format!("  {JWT}\r\n"), vec![]),
            (format!("Bearer {JWT}"), vec![Remark::Scheme]),
            (format!("bearer Bearer {JWT}"), vec![Remark::Scheme]),
            (format!("Authorization: Bearer {JWT}"), vec![Remark::HeaderName, Remark::Scheme]),
            (format!("\"{JWT}\""), vec![Remark::Quotes]),
            (format!("'Bearer {JWT}'"), vec![Remark::Quotes, Remark::Scheme]),
            (format!("{JWT}\""), vec![Remark::Quotes]),
            (format!("“{JWT}”"), vec![Remark::Quotes]),
            (JWT.replace('.', ".\n  "), vec![Remark::WhiteSpace]),
            (JWT.replace('.', "%2E"), vec![Remark::PercentEncoding]),
            (format!("Bearer%20{JWT}"), vec![Remark::PercentEncoding, Remark::Scheme]),
            (JWT.replace("e30", "e30="), vec![Remark::Padding]),
            (JWT.replace("e30", "e30%3D"), vec![Remark::PercentEncoding, Remark::Padding]),
            (JWT.replace("e30", "e\u{200b}30"), vec![Remark::Invisible]),
            (
                format!("{{\"token_type\":\"Bearer\",\"access_token\":\"{JWT}\"}}\n"),
                vec![Remark::Response],
            ),
        ] {
            assert_eq!(read(&pasted), (JWT.to_owned(), remarks), "{pasted}");
        }
        let (token, remarks) = read("eyJhbGciOiJub25lIn0.e30.+/8=");
        assert_eq!(token, "eyJhbGciOiJub25lIn0.e30.-_8");
        assert_eq!(remarks, [Remark::Padding, Remark::Alphabet]);
    }

    #[test]
    fn utf16_is_text_and_garbage_is_none() {
        let mut utf16 = vec![0xff, 0xfe];
        utf16.extend(format!("{JWT}\r\n").encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(read(utf16), (JWT.to_owned(), vec![Remark::Utf16]));
        for garbage in [b"\x7fELF\x01\0\0".as_slice(), b"\xff\xd8\xff", b"abc\0def", b"\x1b[2J"] {
            let problem = Pasted::read(garbage).err().unwrap();
            assert!(problem.ends_with("no text, and so no token"), "{problem}");
        }
    }

    #[test]
    fn what_is_no_token_is_told_without_showing_it() {
        for (text, problem) in [
            ("", "there is no token"),
            (" \n", "there is no token"),
            ("\"\"", "there is no token"),
            ("Basic c2VjcmV0", "these are Basic credentials, not a token"),
            ("{\"error\":\"x\"}", "it is JSON without an `access_token`"),
        ] {
            let outcome = Pasted::read(text.as_bytes()).err();
            assert_eq!(outcome.as_deref(), Some(problem), "{text}");
        }
    }

    #[test]
    fn opaque_tokens_keep_what_belongs_to_them() {
        for token in ["abc+/def==", "a.b", "gho_16C7e42F292c", "abc%", "abc%zz"] {
            assert_eq!(read(token), (token.to_owned(), vec![]));
        }
    }
}
