//! The settings of a group, and its start.

use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use super::error::{Fault, GroupError, text_of_panic};
use super::member::Member;
use super::shared::Shared;
use super::{Failure, Group};

/// More threads than this are a mistake.
const MOST_THREADS: usize = 1024;

/// The settings of a group, with their defaults; from [`Group::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    threads: Option<usize>,
    name: String,
    drain: Duration,
    grace: Duration,
    #[cfg(feature = "affinity")]
    processors: Vec<usize>,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            threads: None,
            name: "reactor".to_owned(),
            drain: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            #[cfg(feature = "affinity")]
            processors: Vec::new(),
        }
    }

    /// The number of threads, each with a reactor, 1 to 1,024. Default: as many as the system can run in parallel
    /// ([`available_parallelism`](thread::available_parallelism)).
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Builder {
        self.threads = Some(threads);
        self
    }

    /// The name of the threads, `NAME-0` and so on; default `reactor`. Linux shows the first 15 bytes. Errors name the
    /// thread.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = name.into();
        self
    }

    /// How long the graceful shutdown of all reactors may take together; default 10 s. Connections that are open after
    /// it are aborted. Zero aborts them at once.
    #[must_use]
    pub fn drain(mut self, limit: Duration) -> Builder {
        self.drain = limit;
        self
    }

    /// How long after the end of the [`drain`](Builder::drain) [`join`](Group::join) still waits for a thread that
    /// does not end; default 5 s.
    #[must_use]
    pub fn grace(mut self, time: Duration) -> Builder {
        self.grace = time;
        self
    }

    /// Pins each thread to one of these processors, in order, and from the first again if there are more threads.
    /// Default: the system's scheduler chooses. (Feature `affinity`, on Linux and Android.)
    ///
    /// Threads that a pinned thread starts, such as those of `kit::workers`, are pinned to the same processor.
    ///
    /// ```
    /// use slabloop::kit::group::{Group, processors};
    ///
    /// let allowed = processors()?;
    /// let builder = Group::builder().threads(allowed.len()).pin(allowed);
    /// # drop(builder);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "affinity")]
    #[cfg_attr(docsrs, doc(cfg(feature = "affinity")))]
    #[must_use]
    pub fn pin(mut self, processors: impl IntoIterator<Item = usize>) -> Builder {
        self.processors = processors.into_iter().collect();
        self
    }

    /// Starts the threads. `body` runs on each: it makes a reactor, adds its dispatchers, calls
    /// [`Member::run`], and returns what [`join`](Group::join) is to return.
    ///
    /// Blocks until every thread has called `run`: no reactor runs before all are ready.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started or pinned, or its closure returns an error or panics before all are ready: for
    /// example, because the address is in use or no descriptor is left. Then the other closures are not left running:
    /// their `run` returns immediately, and all threads have ended when this returns (but see [`grace`](Builder::grace)).
    /// `InvalidInput` for a number out of its range, and for a name with a zero byte.
    pub fn start<T, F>(self, body: F) -> Result<Group<T>, GroupError>
    where
        T: Send + 'static,
        F: Fn(&Member) -> io::Result<T> + Send + Sync + 'static,
    {
        let threads = self.check()?;
        let shared = Arc::new(Shared::new(&self.name, threads, self.drain, self.grace));
        let body = Arc::new(body);
        let (values, received) = channel();
        for index in 0..threads {
            let member = Member::new(index, &shared);
            let set_up = self.set_up(index);
            let (body, values) = (Arc::clone(&body), values.clone());
            let job = move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    set_up()?;
                    body(&member)
                }));
                // What the closure holds goes before the thread counts as ended.
                drop(body);
                member.end(deliver(outcome, index, &values));
            };
            let builder = thread::Builder::new().name(shared.name_of(index));
            if let Err(error) = builder.spawn(job) {
                let text = format!("cannot start the thread: {error}");
                let error = io::Error::new(error.kind(), text);
                shared.end(index, Some(Fault::Error(error)));
            }
        }
        let group = Group {
            shared,
            values: received,
        };
        match group.shared.wait_for_start() {
            true => Ok(group),
            false => Err(GroupError::new(group.shared.wait_for_end())),
        }
    }

    /// What a thread does first.
    fn set_up(&self, index: usize) -> impl FnOnce() -> io::Result<()> + Send + use<> {
        #[cfg(feature = "affinity")]
        let processor = match self.processors.len() {
            0 => None,
            known => self.processors.get(index % known).copied(),
        };
        #[cfg(not(feature = "affinity"))]
        let _ = index;
        move || {
            #[cfg(feature = "affinity")]
            if let Some(processor) = processor {
                super::affinity::pin(processor)?;
            }
            Ok(())
        }
    }

    /// How many threads there are to be.
    fn check(&self) -> Result<usize, GroupError> {
        let threads = self.threads.unwrap_or_else(|| {
            thread::available_parallelism()
                .map_or(1, NonZeroUsize::get)
                .min(MOST_THREADS)
        });
        if !(1..=MOST_THREADS).contains(&threads) {
            let text = format!("threads({threads}): expected 1 to {MOST_THREADS}");
            return Err(self.invalid(text));
        }
        if self.name.contains('\0') {
            return Err(self.invalid(format!("name({:?}): it has a zero byte", self.name)));
        }
        Ok(threads)
    }

    fn invalid(&self, text: String) -> GroupError {
        let error = io::Error::new(io::ErrorKind::InvalidInput, text);
        GroupError::new(vec![Failure {
            index: 0,
            name: self.name.clone(),
            fault: Fault::Error(error),
        }])
    }
}

/// Sends what a closure returned to `join`; or says what went wrong.
fn deliver<T>(
    outcome: thread::Result<io::Result<T>>,
    index: usize,
    values: &Sender<(usize, T)>,
) -> Option<Fault> {
    match outcome {
        Ok(Ok(value)) => {
            // If the group was dropped, nobody waits for the value.
            let _ = values.send((index, value));
            None
        }
        Ok(Err(error)) => Some(Fault::Error(error)),
        Err(payload) => Some(Fault::Panic(text_of_panic(payload))),
    }
}
