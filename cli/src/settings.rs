//! The configuration that a deployment runs with.

use std::path::{Path, PathBuf};

use tower_introspect::{config::Config, inspect::Settings};

use crate::{config::File, report::Failure};

/// A configuration, and where it was.
pub(crate) struct Deployed {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) config: Config,
    pub(crate) settings: Settings,
}

impl Deployed {
    /// Reads the settings of a resource server, and the secrets that they name.
    ///
    /// # Errors
    ///
    /// All that is wrong.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let (file, config) = File::read(path)?;
        // What only shows when it is put together, such as a secret that is not there.
        config.build().map_err(|problems| file.failure(&problems))?;
        let settings = config.inspect();
        Ok(Self { path: path.to_owned(), file, config, settings })
    }
}
