//! Views of parts of a text, which keep the whole text alive.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use super::json_text::Text;
use super::span::Span;

/// A view of a part of a text. The default is empty and belongs to no text.
#[derive(Clone, Default)]
pub(in crate::claims) struct TextView {
    text: Option<Text>,
    span: Span,
}

impl TextView {
    /// Creates a view of a text that [`set_text`](Self::set_text) sets later.
    pub(in crate::claims) const fn at(span: Span) -> Self {
        Self { text: None, span }
    }

    /// Creates a view of a text of its own.
    pub(in crate::claims) fn new(text: &str) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        Self { text: Some(Text::plain(text)), span: Span::new(0, text.len()) }
    }

    /// Sets the text that this is a view of.
    pub(in crate::claims) fn set_text(&mut self, text: &Text) {
        self.text = Some(text.clone());
    }

    pub(in crate::claims) fn as_str(&self) -> &str {
        self.text.as_ref().and_then(|text| text.get(self.span)).unwrap_or_default()
    }
}

impl fmt::Debug for TextView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl PartialEq for TextView {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for TextView {}

impl Hash for TextView {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}
