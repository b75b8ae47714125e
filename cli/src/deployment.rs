//! The configuration of a deployment.

use std::path::{Path, PathBuf};

use tower_introspect::{ResourceServer, config::Config, inspect::Settings};

use crate::{Context, config::ConfigFile, net::RecordingTransport, report::Failure};

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

    /// Builds the resource server.
    ///
    /// `transport` records the exchanges with servers, and replaces the settings of connections.
    ///
    /// # Errors
    ///
    /// All mistakes in the file.
    pub(crate) fn server(
        &self,
        cx: &Context,
        transport: Option<&RecordingTransport>,
    ) -> Result<ResourceServer, Failure> {
        let failure = |problems| self.file.failure(&problems);
        let builder = self.config.builder().map_err(failure)?.clock(cx.clock.clone());
        let builder = match transport {
            Some(transport) => builder.transport(transport.transport()),
            None => builder,
        };
        builder.build().map_err(failure)
    }

    /// Returns the name of the file without its folders.
    pub(crate) fn file_name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// Returns the names of all issuers.
    pub(crate) fn issuers(&self) -> Vec<&str> {
        self.settings.issuers.iter().map(|issuer| &*issuer.issuer).collect()
    }
}
