//! Grammars of credentials.

/// Returns true if `text` is a `b64token` (RFC 6750 §2.1): `1*( ALPHA / DIGIT / "-" / "." / "_" /
/// "~" / "+" / "/" ) *"="`.
pub(super) fn is_b64token(text: &[u8]) -> bool {
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    let body = &text[..text.len() - padding];
    // Without early exit and branches, the compiler checks many bytes at once. Tokens are bounded
    // before they get here.
    !body.is_empty() && body.iter().fold(true, |all, &byte| all & is_b64char(byte))
}

const fn is_b64char(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    // `-`, `.` and `/` directly precede the digits in ASCII.
    let digit = byte.wrapping_sub(b'-') <= b'9' - b'-';
    letter | digit | (byte == b'+') | (byte == b'_') | (byte == b'~')
}

/// Returns true if `text` is a `token = 1*tchar` (RFC 9110 §5.6.2), the grammar of scheme names.
pub(super) fn is_http_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6750_2_1_b64token_characters() {
        for byte in 0..=u8::MAX {
            let listed = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            assert_eq!(is_b64char(byte), listed, "{byte}");
        }
    }
}
