//! The type of errors that other crates return.

use std::error::Error;

/// A boxed error of any type.
pub type BoxError = Box<dyn Error + Send + Sync>;
