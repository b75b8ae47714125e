//! Where the members of an object stand, in a few bytes each.
//!
//! It is a part of the text that it is about, so it is written in characters: numbers in digits of six
//! bits, the lowest first, each digit but the last with a seventh bit. A member is how far its value is
//! from the end of the one before, doubled, and how long it is. What is odd has the name next, with its
//! length before it, because the object writes it with escapes. A zero comes last.

/// Of most members: name and value are shorter than what a digit tells.
const USUAL: usize = 2;

/// An index being written, behind what was written before.
pub(super) struct Index {
    text: String,
    /// Where the last value ends.
    at: usize,
}

impl Index {
    /// Behind the object that it is about, which has about so many members.
    pub(super) fn behind(object: &str, members: usize) -> Self {
        let mut text = String::with_capacity(object.len() + 2 * USUAL * members + 1);
        text.push_str(object);
        Self { text, at: 0 }
    }

    /// The next member, its value at `start`. The name only where it is written with escapes.
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

    /// All that was written.
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

/// The members of an object, in its order: names, and values as they are written.
pub(super) struct Members<'a> {
    /// The object and its index.
    text: &'a str,
    /// Where the last value ends.
    at: usize,
    /// Where the next number is.
    index: usize,
}

impl<'a> Members<'a> {
    /// The index starts at `index`, where the object ends.
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

/// What stands in quotes, in the text between two values.
fn quoted(text: &str) -> Option<&str> {
    // Mostly it is a comma, the name and a colon.
    let usual = text.get(1..).and_then(|text| text.strip_prefix('"')?.strip_suffix("\":"));
    usual.or_else(|| text.get(text.find('"')? + 1..text.rfind('"')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let numbers = [0, 1, 63, 64, 65, 4095, 4096, 70_000, 1 << 30, usize::MAX];
        let mut index = Index::behind("", numbers.len());
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
        let mut index = Index::behind("", 1);
        index.push(7, 26, None);
        assert_eq!(index.finish().len(), USUAL + 1);
    }

    #[test]
    fn names_stand_in_quotes() {
        for text in ["{\"a\":", ",\"a\":", " { \"a\" : ", ",\n\"a\":", ",\"a\" :", "\n,\t\"a\"\r: "]
        {
            assert_eq!(quoted(text), Some("a"), "{text:?}");
        }
        assert_eq!(quoted(",\"\":"), Some(""));
        assert_eq!(quoted(", \"\" :"), Some(""));
        assert_eq!(quoted(",:"), None);
    }
}
