//! Jobs: trivial work on other threads, and its result back on the loop's.
//!
//! A number of chains is on its way at any time; when the result of a job has come back, the chain's next job
//! goes out, until all jobs are done. The work adds one to a number, so that what is measured is the way there
//! and back, on all threads.

use crate::cli::{self, Result};
use crate::posts::Watch;

/// What the command line says.
#[derive(Debug)]
pub struct Settings {
    /// How many jobs altogether.
    pub jobs: u64,
    /// How many of them are on their way at a time.
    pub chains: u64,
    /// How many threads do them.
    pub threads: usize,
}

impl Settings {
    /// `--jobs`, `--chains` and `--threads`.
    ///
    /// # Errors
    ///
    /// Unknown flags and unusable values.
    pub fn from_args() -> Result<Settings> {
        let expected = "a whole number of at least 1";
        let mut settings = Settings {
            jobs: 1_000_000,
            chains: 1_000,
            threads: 1,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(flag) = cli::next_flag(&mut parser)? {
            match flag.as_str() {
                "jobs" => settings.jobs = cli::value(&mut parser, &flag, expected)?,
                "chains" => settings.chains = cli::value(&mut parser, &flag, expected)?,
                "threads" => settings.threads = cli::value(&mut parser, &flag, expected)?,
                _ => return Err(cli::unknown(&flag, "--jobs N, --chains N, --threads N")),
            }
        }
        if settings.chains == 0 || settings.threads == 0 || settings.jobs < settings.chains {
            let text = "jobs, chains and threads are to be at least 1, and jobs as many as chains";
            return Err(cli::Error::Usage(text.to_owned()));
        }
        Ok(settings)
    }

    /// Prints the one line with the figures.
    ///
    /// # Errors
    ///
    /// If not every job has come back; the kernel's.
    pub fn report(&self, watch: &Watch, sum: u64) -> Result<()> {
        if sum != self.jobs {
            return Err(cli::Error::Failed(format!(
                "{sum} of {} jobs came back",
                self.jobs
            )));
        }
        watch.report_as("job", self.jobs)
    }
}

/// The work of a job.
#[must_use]
pub fn work(number: u64) -> u64 {
    std::hint::black_box(number) + 1
}
