//! Stores the JSON object that claims are read from, and the strings that were decoded from it.

mod index;
pub(crate) mod json_text;
pub(crate) mod span;
pub(crate) mod text_view;
