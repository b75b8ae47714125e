//! A range of a text.

use std::ops::Range;

/// The position and the length of a part of a text, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::claims) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The span that no text has.
    pub(in crate::claims) const NONE: Self = Self { start: u32::MAX, len: u32::MAX };

    /// Creates a span, which is `NONE` if 32 bits can't hold it.
    pub(super) fn new(start: usize, len: usize) -> Self {
        match (u32::try_from(start), u32::try_from(len)) {
            (Ok(start), Ok(len)) => Self { start, len },
            _ => Self::NONE,
        }
    }

    pub(super) fn range(self) -> Range<usize> {
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        number(self.start)..number(self.start).saturating_add(number(self.len))
    }
}
