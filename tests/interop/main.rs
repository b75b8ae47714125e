//! Against real authorization servers.
