//! The limit of the length of a response.

/// The maximum length of a response body in bytes, as an extension of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit(pub(super) usize);

impl BodyLimit {
    /// Creates a limit of this many bytes.
    ///
    /// ```
    /// use tower_introspect::transport::BodyLimit;
    ///
    /// assert_eq!(BodyLimit::new(256 * 1024).bytes(), 262_144);
    /// ```
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// Returns the number of bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0
    }
}
