//! A folder for configuration files that goes when it is no longer used.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use crate::cli::{Doing, Result};

/// The folder; one at a time in a process.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// A place for temporary files that can't be written.
    pub fn new() -> Result<Self> {
        let path = env::temp_dir().join(format!("slabloop-peers-{}", process::id()));
        fs::create_dir_all(&path).doing(format!("making {}", path.display()))?;
        Ok(TempDir(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What is left in a folder for temporary files does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
