use std::{error::Error, fmt};

/// A list of configuration problems, each with the name of its setting.
///
/// ```
/// use tower_introspect::ConfigError;
///
/// let mut problems = ConfigError::new();
/// problems.push("issuer", "not an https URL");
/// assert_eq!(problems.or_ok(()).unwrap_err().to_string(), "issuer: not an https URL");
/// assert_eq!(ConfigError::new().or_ok(7), Ok(7));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<(String, String)>,
}

impl ConfigError {
    /// Creates an empty list of problems.
    #[must_use]
    pub const fn new() -> Self {
        Self { problems: Vec::new() }
    }

    /// Creates a list of one problem. See [`push`](Self::push).
    pub(crate) fn of(name: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { problems: vec![(name.into(), problem.to_string())] }
    }

    /// Adds a problem of the setting `name`.
    ///
    /// # Security
    ///
    /// `problem` must not hold a secret.
    pub fn push(&mut self, name: impl Into<String>, problem: impl fmt::Display) {
        self.problems.push((name.into(), problem.to_string()));
    }

    /// Adds the problems of one part, with its name as a prefix to the names of the settings.
    pub fn merge(&mut self, part: &str, problems: Self) {
        let prefixed = |(name, problem)| (format!("{part}.{name}"), problem);
        self.problems.extend(problems.problems.into_iter().map(prefixed));
    }

    /// Adds problems with their names unchanged.
    pub(crate) fn append(&mut self, mut problems: Self) {
        self.problems.append(&mut problems.problems);
    }

    /// Returns the problems, each with the name of its setting first.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        self.problems.iter().map(|(name, problem)| (&**name, &**problem))
    }

    /// Returns `value` if there are no problems.
    ///
    /// # Errors
    ///
    /// Returns the problems if there are any.
    pub fn or_ok<T>(self, value: T) -> Result<T, Self> {
        if self.problems.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, problem)) in self.problems.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{name}: {problem}")?;
        }
        Ok(())
    }
}

impl Error for ConfigError {}
