//! `--trace FILE`: what the loop did, for a viewer. Built without the feature `trace`, the flag is known and refused.

use slabloop::Reactor;

use super::Failure;

/// The file that was asked for.
#[derive(Clone, Debug, Default)]
pub struct TraceFile {
    #[cfg(feature = "trace")]
    path: Option<String>,
}

impl TraceFile {
    /// Takes the flag's value.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if the program was built without traces.
    #[cfg(feature = "trace")]
    pub fn read(path: Option<String>) -> Result<TraceFile, Failure> {
        Ok(TraceFile { path })
    }

    /// Takes the flag's value.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if the program was built without traces.
    #[cfg(not(feature = "trace"))]
    pub fn read(path: Option<String>) -> Result<TraceFile, Failure> {
        match path {
            None => Ok(TraceFile::default()),
            Some(_) => Err(Failure::Usage(
                "--trace: built without traces; use cargo run --features trace".to_owned(),
            )),
        }
    }

    /// Whether a file was asked for.
    #[must_use]
    pub fn is_on(&self) -> bool {
        #[cfg(feature = "trace")]
        return self.path.is_some();
        #[cfg(not(feature = "trace"))]
        return false;
    }

    /// From here on everything is written down.
    ///
    /// # Errors
    ///
    /// [`Failure::Work`] if the file cannot be made.
    #[cfg_attr(not(feature = "trace"), expect(unused_variables))]
    pub fn begin(&self, reactor: &mut Reactor) -> Result<(), Failure> {
        #[cfg(feature = "trace")]
        if let Some(path) = &self.path {
            let trace = slabloop::trace::Trace::to_file(path);
            reactor.observe(trace.map_err(Failure::io(&format!("--trace {path}")))?);
        }
        Ok(())
    }

    /// Writes the end of the file, and says what is in it.
    ///
    /// # Errors
    ///
    /// [`Failure::Work`] if it could not be written.
    #[cfg_attr(not(feature = "trace"), expect(unused_variables))]
    pub fn end(&self, reactor: &mut Reactor) -> Result<(), Failure> {
        #[cfg(feature = "trace")]
        if let (Some(path), Some(trace)) =
            (&self.path, reactor.unobserve::<slabloop::trace::Trace>())
        {
            let written = trace
                .finish()
                .map_err(Failure::io(&format!("--trace {path}")))?;
            let (records, dropped) = (written.records, written.dropped);
            super::say(&format!(
                "trace: {records} records in {path}, {dropped} dropped; open it at https://ui.perfetto.dev"
            ));
        }
        Ok(())
    }
}
