//! An index of the members of a JSON object, in a few bytes per member.
//!
//! The index follows the object in the same text, so it is written in characters. A number is
//! written in digits of six bits, the lowest first, and a seventh bit marks each digit but the
//! last.
//!
//! A member is two numbers: twice the distance of its value from the end of the previous value, and
//! the length of the value. If the object writes the name with escapes, the first number is one
//! more, and the length of the decoded name and the name itself follow it. A zero ends the index.

/// The bytes that most members take: two numbers of one digit, because name and value are short.
const USUAL: usize = 2;

/// An index under construction, behind the object that it describes.
pub(super) struct Index {
    text: String,
    /// The end of the last value.
    at: usize,
}

impl Index {
    /// Creates an index behind `object`, with capacity for about `members` members.
    pub(super) fn after(object: &str, members: usize) -> Self {
        let mut text = String::with_capacity(object.len() + 2 * USUAL * members + 1);
        text.push_str(object);
        Self { text, at: 0 }
    }

    /// Adds a member whose value starts at `start`. `escaped` is its decoded name if the object
    /// writes the name with escapes.
    pub(super) fn push(&mut self, start: usize, len: usize, escaped: Option<&str>) {
        let before = start - self.at;
        self.number(before << 1 | usize::from(escaped.is_some()));
        if let Some(name) = escaped {
            self.number(name.len());
            self.text.push_str(name);
        }
        self.number(len);
        self.at = start + len;
    }

    /// Ends the index and returns the whole text.
    pub(super) fn finish(mut self) -> String {
        self.number(0);
        self.text
    }

    fn number(&mut self, number: usize) {
        let (mut digit, mut rest) = (number & LOW, number >> BITS);
        while rest > 0 {
            self.digit(digit | MORE);
            (digit, rest) = (rest & LOW, rest >> BITS);
        }
        self.digit(digit);
    }

    fn digit(&mut self, digit: usize) {
        self.text.push(char::from(digit.to_le_bytes()[0]));
    }
}

const BITS: u32 = 6;
const LOW: usize = (1 << BITS) - 1;
const MORE: usize = 1 << BITS;

/// An iterator over the members of an object, in their order: names, and values as JSON text.
pub(super) struct Members<'a> {
    /// The object and its index.
    text: &'a str,
    /// The end of the last value.
    at: usize,
    /// The position of the next number.
    index: usize,
}

impl<'a> Members<'a> {
    /// Creates an iterator. The index starts at `index`, the end of the object.
    pub(super) const fn new(text: &'a str, index: usize) -> Self {
        Self { text, at: 0, index }
    }

    fn number(&mut self) -> Option<usize> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let digit = usize::from(*self.text.as_bytes().get(self.index)?);
            self.index += 1;
            number |= (digit & LOW) << shift;
            if digit & MORE == 0 {
                return Some(number);
            }
            shift += BITS;
        }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let before = self.number().filter(|before| *before > 0)?;
        let start = self.at + (before >> 1);
        let name = if before & 1 == 0 {
            quoted(self.text.get(self.at..start)?)?
        } else {
            let end = self.number()? + self.index;
            let name = self.text.get(self.index..end)?;
            self.index = end;
            name
        };
        self.at = start + self.number()?;
        Some((name, self.text.get(start..self.at)?))
    }
}

/// Returns the part of `text` within quotes. `text` stands between two values.
fn quoted(text: &str) -> Option<&str> {
    // Usually the text is a brace or comma, the name in quotes and a colon.
    let usual = text.get(1..).and_then(|text| text.strip_prefix('"')?.strip_suffix("\":"));
    usual.or_else(|| text.get(text.find('"')? + 1..text.rfind('"')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_numbers_decode_to_the_same_numbers() {
        let numbers = [0, 1, 63, 64, 65, 4095, 4096, 70_000, 1 << 30, usize::MAX];
        let mut index = Index::after("", numbers.len());
        for number in numbers {
            index.number(number);
        }
        assert!(index.text.is_ascii());
        let mut members = Members::new(&index.text, 0);
        for number in numbers {
            assert_eq!(members.number(), Some(number));
        }
        assert_eq!(members.number(), None);
    }

    #[test]
    fn small_members_take_two_bytes() {
        let mut index = Index::after("", 1);
        index.push(7, 26, None);
        assert_eq!(index.finish().len(), USUAL + 1);
    }

    #[test]
    fn name_is_the_last_quoted_text_before_the_value() {
        for text in ["{\"a\":", ",\"a\":", " { \"a\" : ", ",\n\"a\":", ",\"a\" :", "\n,\t\"a\"\r: "]
        {
            assert_eq!(quoted(text), Some("a"), "{text:?}");
        }
        assert_eq!(quoted(",\"\":"), Some(""));
        assert_eq!(quoted(", \"\" :"), Some(""));
        assert_eq!(quoted(",:"), None);
    }
}
