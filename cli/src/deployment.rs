//! The configuration of a deployment.

use std::path::{Path, PathBuf};

use tower_introspect::{config::Config, inspect::Settings};

use crate::{config::ConfigFile, report::Failure};

/// A valid configuration and its file.
pub(crate) struct Deployment {
    pub(crate) path: PathBuf,
    pub(crate) file: ConfigFile,
    pub(crate) config: Config,
    pub(crate) settings: Settings,
}

impl Deployment {
    /// Reads the settings of a resource server and the secrets that they name.
    ///
    /// # Errors
    ///
    /// All mistakes in the file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let (file, config) = ConfigFile::read(path)?;
        // Building finds more mistakes, such as a missing secret.
        config.build().map_err(|problems| file.failure(&problems))?;
        let settings = config.inspect();
        Ok(Self { path: path.to_owned(), file, config, settings })
    }
}
