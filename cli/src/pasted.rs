//! Finds the token in what people paste: a header, a command, a URL, a response, a mail.
//!
//! Every cleanup is reported, because the middleware does none of them. Nothing is guessed: a text
//! that may hold two tokens, or something else beside one, is refused.

mod marked;
mod other;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;

use self::{
    marked::{is_token_char, marked, without_scheme},
    other::{not_a_token, other_than_token},
};
use crate::{
    json,
    report::{Report, Tone},
};

/// A change that was made to a pasted token: its name in JSON, and the words for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cleanup(&'static str, &'static str);

impl Cleanup {
    const ALPHABET: Self = Self("alphabet", "the `+` and `/` of plain base64");
    const COMMAND: Self = Self("command", "the command around it");
    const HEADER_NAME: Self = Self("header_name", "all but the value of the Authorization header");
    const INVISIBLE: Self = Self("invisible_characters", "invisible characters of web pages");
    const PADDING: Self = Self("padding", "base64 padding (`=`)");
    const PARAMETER: Self = Self("parameter", "all but the value of `access_token`");
    const PERCENT_ENCODING: Self = Self("percent_encoding", "percent-encoding, as in URLs");
    const QUOTED_PRINTABLE: Self = Self("quoted_printable", "the `=` at line ends of a mail");
    const QUOTES: Self = Self("quotes", "quotes");
    const QUOTING: Self = Self("quoting", "the `>` of a quoted mail");
    const RESPONSE: Self = Self("token_response", "all but the `access_token` of a token response");
    const SCHEME: Self = Self("scheme", "the scheme (`Bearer`)");
    const UTF16: Self = Self("utf16", "UTF-16, which PowerShell writes");
    const WHITE_SPACE: Self = Self("white_space", "line breaks or spaces within it");
}

/// A pasted token after all cleanups.
#[derive(Debug)]
pub(crate) struct Pasted {
    pub(crate) token: String,
    pub(crate) cleanups: Vec<Cleanup>,
}

const SEVERAL: &str = "there is more than one token: paste the one that you ask about";
const WORDS: &str = "there is other text beside the token, or no token: paste the token alone";

impl Pasted {
    /// Cleans the input.
    ///
    /// # Errors
    ///
    /// If it is not a token, or not certainly one. The error holds nothing of the input, but for the
    /// name of an error that a server reports.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut cleanups = Vec::new();
        let text = decode_text(bytes, &mut cleanups)?;
        let mut token = text.trim().to_owned();
        // Wrappers are nested; each round removes one.
        for _ in 0..10 {
            let Some((cleanup, inner)) = clean_once(&token)? else { break };
            if !cleanups.contains(&cleanup) {
                cleanups.push(cleanup);
            }
            token = inner.trim().to_owned();
        }
        match token {
            empty if empty.is_empty() => Err("there is no token".to_owned()),
            // JSON escapes and percent-encoding may hold these.
            odd if odd.contains(char::is_control) => Err(not_text(bytes)),
            token => Ok(Self { token, cleanups }),
        }
    }

    /// Reports the cleanups.
    pub(crate) fn report_cleanups(&self, report: &mut Report) {
        let (codes, words): (Vec<_>, Vec<_>) = self.cleanups.iter().map(|it| (it.0, it.1)).unzip();
        report.set("cleaned", codes);
        if !words.is_empty() {
            let words = words.join("; ");
            let line = format!("Taken off (a service would refuse it as pasted): {words}.");
            report.line(Tone::Warning, line);
        }
    }
}

/// Decodes UTF-8, or UTF-16 with a byte order mark.
fn decode_text(bytes: &[u8], cleanups: &mut Vec<Cleanup>) -> Result<String, String> {
    let mut utf16 = |units: &[u8], to: fn([u8; 2]) -> u16| {
        cleanups.push(Cleanup::UTF16);
        let units: Vec<_> = units.chunks_exact(2).map(|pair| to([pair[0], pair[1]])).collect();
        String::from_utf16(&units).ok()
    };
    let text = match bytes {
        [0xff, 0xfe, units @ ..] => utf16(units, u16::from_le_bytes),
        [0xfe, 0xff, units @ ..] => utf16(units, u16::from_be_bytes),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    };
    let text =
        text.filter(|text| !text.contains(|char: char| char.is_control() && !char.is_whitespace()));
    text.ok_or_else(|| not_text(bytes))
}

fn not_text(bytes: &[u8]) -> String {
    format!("{} bytes that are not text, and so not a token", bytes.len())
}

/// Removes the outermost wrapper of a token, if there is one.
///
/// # Errors
///
/// A sentence that says what the text is instead.
fn clean_once(text: &str) -> Result<Option<(Cleanup, String)>, String> {
    let found = |cleanup, inner: &str| Ok(Some((cleanup, inner.to_owned())));
    let invisible =
        |char| matches!(char, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}');
    if text.contains(invisible) {
        return found(Cleanup::INVISIBLE, &text.replace(invisible, ""));
    }
    if let Some(unwrapped) = unwrap_mail(text) {
        return Ok(Some(unwrapped));
    }
    if let Some(what) = not_a_token(text) {
        return Err(what.to_owned());
    }
    if text.starts_with('{') {
        let (Ok(members) | Err((members, _))) = json::members(text);
        let mut tokens = members.iter().filter(|(name, _)| name == "access_token");
        match (tokens.next(), tokens.next()) {
            (Some(_), Some(_)) => return Err(SEVERAL.to_owned()),
            (Some((_, token)), None) => {
                let token = serde_json::from_str::<String>(token.get());
                let token = token.map_err(|_| "the `access_token` of this JSON is not text")?;
                return found(Cleanup::RESPONSE, &token);
            }
            (None, _) => {}
        }
    } else if let Ok(inner) = serde_json::from_str::<String>(text) {
        return found(Cleanup::QUOTES, &inner);
    }
    if let Some(marked) = marked(text)? {
        return Ok(Some(marked));
    }
    if let Some(token) = without_scheme(text) {
        return found(Cleanup::SCHEME, token);
    }
    if let Some(what) = other_than_token(text) {
        return Err(what);
    }
    let quotes = ["\"\"", "''", "``", "\u{201c}\u{201d}", "\u{2018}\u{2019}", "<>"];
    for (start, end) in quotes.map(|pair| pair.split_at(pair.len() / 2)) {
        if text.starts_with(start) || text.ends_with(end) {
            let inner = text.strip_prefix(start).unwrap_or(text);
            return found(Cleanup::QUOTES, inner.strip_suffix(end).unwrap_or(inner));
        }
    }
    if text.contains(char::is_whitespace) {
        return joined(text).map(|token| Some((Cleanup::WHITE_SPACE, token)));
    }
    if let Some(decoded) = percent_decoded(text) {
        return found(Cleanup::PERCENT_ENCODING, &decoded);
    }
    // A JWT never has these characters; an opaque token may.
    if looks_like_jwt(text) {
        if text.contains('=') {
            return found(Cleanup::PADDING, &text.replace('=', ""));
        }
        if text.contains(['+', '/']) {
            return found(Cleanup::ALPHABET, &text.replace('+', "-").replace('/', "_"));
        }
    }
    Ok(None)
}

/// Undoes what mail programs do to long lines. A soft line break is a `=` (RFC 2045 §6.7).
fn unwrap_mail(text: &str) -> Option<(Cleanup, String)> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
    if lines.clone().all(|line| line.starts_with('>')) && lines.peek().is_some() {
        let lines: Vec<_> = lines.map(|line| line.trim_start_matches(['>', ' '])).collect();
        return Some((Cleanup::QUOTING, lines.join("\n")));
    }
    let (last, wrapped) = lines.collect::<Vec<_>>().split_last().map(|(l, w)| (*l, w.to_vec()))?;
    let whole: Option<String> =
        wrapped.iter().map(|line| line.trim_end().strip_suffix('=')).collect();
    let whole = whole.filter(|whole| !whole.is_empty())?;
    Some((Cleanup::QUOTED_PRINTABLE, (whole + last).replace("=3D", "=")))
}

/// Joins the lines of a wrapped token.
///
/// # Errors
///
/// If they may be several tokens, or a token and something else.
fn joined(text: &str) -> Result<String, String> {
    let pieces: Vec<_> = text.split_whitespace().collect();
    let token = pieces.concat();
    let (Some((last, lines)), true) = (pieces.split_last(), token.chars().all(is_token_char))
    else {
        return Err(WORDS.to_owned());
    };
    let whole = |piece: &&&str| looks_like_jwt(piece) && piece.matches('.').count() >= 2;
    if pieces.iter().filter(whole).count() > 1 {
        return Err(SEVERAL.to_owned());
    }
    if !looks_like_jwt(&token) {
        // Programs wrap at a width. Lines of another form are several words.
        let wraps = |line: &&str| line.len() >= 50 && line.len() == lines[0].len();
        let wrapped = lines.iter().all(wraps) && last.len() < lines[0].len();
        return if wrapped { Ok(token) } else { Err(WORDS.to_owned()) };
    }
    // A piece of base64 without capitals and digits is rare, and a word without them is common.
    let is_word = |piece: &&str| piece.chars().all(|char| char.is_ascii_lowercase() || char == '-');
    if pieces.iter().any(is_word) {
        return Err(WORDS.to_owned());
    }
    // A JWE has four dots, and so have two JWTs one after the other.
    let header = token.split('.').next().and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let encrypted =
        header.is_some_and(|header| String::from_utf8_lossy(&header).contains("\"enc\""));
    if token.matches('.').count() > 2 && !encrypted {
        return Err(SEVERAL.to_owned());
    }
    Ok(token)
}

/// Returns true for the parts of a JWS or JWE. The first starts like `{"` in base64.
fn looks_like_jwt(text: &str) -> bool {
    text.starts_with("ey") && text.contains('.')
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
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln";
    const OTHER: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.b3RoZXI";

    fn read(text: impl AsRef<[u8]>) -> (String, Vec<Cleanup>) {
        let pasted = Pasted::read(text.as_ref()).unwrap();
        (pasted.token, pasted.cleanups)
    }

    #[test]
    fn texts_are_cleaned_or_named() {
        let cases = include_str!("../tests/pasted.txt").lines();
        for case in cases.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (expected, text) = case.split_once(" | ").unwrap();
            let (first, second) = TOKEN.split_at(30);
            let text = text.replace("TOKEN", TOKEN).replace("OTHER", OTHER);
            let text = text.replace("TO", first).replace("KEN", second);
            let text = text.replace("\\n", "\n").replace("\\r", "\r");
            match (Pasted::read(text.as_bytes()), expected.strip_prefix("! ")) {
                (Ok(read), None) => {
                    let codes: Vec<_> = read.cleanups.iter().map(|it| it.0).collect();
                    let codes = if codes.is_empty() { "-".to_owned() } else { codes.join(", ") };
                    assert_eq!((&*read.token, &*codes), (TOKEN, expected), "{text}");
                }
                (Err(problem), Some(expected)) => {
                    assert!(problem.contains(expected), "{text}: {problem}");
                    assert!(!problem.contains("hunter"), "{problem}");
                }
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }

    #[test]
    fn utf16_is_text_and_binary_data_is_not() {
        let mut utf16 = vec![0xff, 0xfe];
        utf16.extend(format!("{TOKEN}\r\n").encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(read(utf16), (TOKEN.to_owned(), vec![Cleanup::UTF16]));
        for garbage in [b"\x7fELF\x01\0\0".as_slice(), b"\xff\xd8\xff", b"abc\0def", b"\x1b[2J"] {
            let problem = Pasted::read(garbage).err().unwrap();
            assert!(problem.ends_with("not text, and so not a token"), "{problem}");
        }
    }

    #[test]
    fn plain_base64_becomes_base64url() {
        let (token, cleanups) = read("eyJhbGciOiJub25lIn0.e30.+/8=");
        assert_eq!(token, "eyJhbGciOiJub25lIn0.e30.-_8");
        assert_eq!(cleanups, [Cleanup::PADDING, Cleanup::ALPHABET]);
    }

    #[test]
    fn opaque_tokens_keep_their_characters_and_are_joined_if_they_have_a_width() {
        for token in ["abc+/def==", "a.b", "gho_16C7e42F292c", "abc%", "abc%zz", "a=b", "errors"] {
            assert_eq!(read(token), (token.to_owned(), vec![]));
        }
        let (line, end) = ("a".repeat(76), "b".repeat(10));
        assert_eq!(read(format!("{line}\n{line}\n{end}")).0, format!("{line}{line}{end}"));
        assert!(Pasted::read(format!("{line}\n{line}").as_bytes()).is_err(), "perhaps two");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_not_cleaned_is_unchanged(
            text in "([ -~\\n]|eyJhbGciOiJub25lIn0\\.e30\\.c2ln|[Aa]uthorization: ?|Bearer |access_token[=:]|error\"|\\PC){0,24}",
        ) {
            match Pasted::read(text.as_bytes()) {
                Ok(read) => {
                    prop_assert!(!read.token.is_empty() && read.token.len() <= text.len());
                    if read.cleanups.is_empty() {
                        prop_assert_eq!(&read.token, text.trim());
                    }
                }
                Err(problem) => prop_assert!(!problem.is_empty() && problem.len() < 150),
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Pasted::read(&bytes);
        }

        #[test]
        fn any_token_is_found(
            token in "eyJ[A-Za-z0-9_-]{20,200}[A-Z]\\.[A-Z][A-Za-z0-9_-]{0,200}\\.[A-Z0-9]{43}",
            wrapper in "|Authorization: Bearer |curl -H 'Authorization: Bearer |\\{\"access_token\":\"|a: b\nauthorization: bearer ",
        ) {
            let text = format!("{wrapper}{token}");
            for end in ["", "\n"] {
                prop_assert_eq!(&read(format!("{text}{end}")).0, &token);
            }
        }
    }
}
