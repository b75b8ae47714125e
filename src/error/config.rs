use std::{error::Error, fmt};

/// Everything that is wrong with a configuration, each problem with the name of its setting.
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
    /// No problem yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { problems: Vec::new() }
    }

    /// Notes a problem of the setting `name`. Must not hold a secret.
    pub fn push(&mut self, name: impl Into<String>, problem: impl fmt::Display) {
        self.problems.push((name.into(), problem.to_string()));
    }

    /// Takes over the problems of one part, their names prefixed by that of the part.
    pub fn merge(&mut self, part: &str, problems: Self) {
        let prefixed = |(name, problem)| (format!("{part}.{name}"), problem);
        self.problems.extend(problems.problems.into_iter().map(prefixed));
    }

    /// Takes over problems as they are.
    pub(crate) fn append(&mut self, mut problems: Self) {
        self.problems.append(&mut problems.problems);
    }

    /// The problems: name of the setting, and what is wrong with it.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        self.problems.iter().map(|(name, problem)| (&**name, &**problem))
    }

    /// `value`, if there is no problem.
    ///
    /// # Errors
    ///
    /// The problems, if there are any.
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
