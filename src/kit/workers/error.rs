//! The errors of a job: it is refused, or it panics.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Which of the two queues has no place for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FullQueue {
    /// As many jobs wait for a thread as [`queue`](super::Builder::queue) allows.
    Jobs,
    /// The reactor's queue of posts has no place for the result
    /// ([`Builder::post_capacity`](crate::Builder::post_capacity)).
    Posts,
}

/// Why a job was refused. It contains both closures; neither has run.
///
/// It converts to an [`io::Error`]; the kind is `ResourceBusy` if a queue is full, which is a real error for the
/// dispatcher that returns it. (`WouldBlock` would be ignored.)
///
/// ```
/// use slabloop::kit::workers::SpawnError;
///
/// /// Runs the work here if no thread can take it, and gives back what was to be called with the result.
/// fn inline<W: FnOnce(), N>(error: SpawnError<W, N>) -> N {
///     let (work, then) = error.into_parts();
///     work();
///     then
/// }
/// ```
#[non_exhaustive]
pub enum SpawnError<W, N> {
    /// A queue is full. There is room again when a job has finished: a good time to try again is the completion of
    /// another job of the same dispatcher.
    #[non_exhaustive]
    Full {
        /// Which one.
        queue: FullQueue,
        /// The work that was not taken.
        work: W,
        /// What would have been called with its result.
        then: N,
    },
    /// The pool or its reactor is shutting down or has ended, or the context is another reactor's. A retry would fail
    /// as well.
    #[non_exhaustive]
    Closed {
        /// The work that was not taken.
        work: W,
        /// What would have been called with its result.
        then: N,
    },
}

impl<W, N> SpawnError<W, N> {
    /// The two closures.
    pub fn into_parts(self) -> (W, N) {
        match self {
            SpawnError::Full { work, then, .. } | SpawnError::Closed { work, then } => (work, then),
        }
    }

    /// Whether a queue is full, so that a later retry may succeed.
    pub fn is_full(&self) -> bool {
        matches!(self, SpawnError::Full { .. })
    }

    fn text(&self) -> &'static str {
        match self {
            SpawnError::Full {
                queue: FullQueue::Jobs,
                ..
            } => "job refused: the queue of the worker threads is full",
            SpawnError::Full {
                queue: FullQueue::Posts,
                ..
            } => "job refused: the reactor's queue of posts has no place for its result",
            SpawnError::Closed { .. } => "job refused: the worker threads are shutting down",
        }
    }
}

impl<W, N> fmt::Debug for SpawnError<W, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::Full { queue, .. } => f
                .debug_struct("Full")
                .field("queue", queue)
                .finish_non_exhaustive(),
            SpawnError::Closed { .. } => f.write_str("Closed { .. }"),
        }
    }
}

impl<W, N> fmt::Display for SpawnError<W, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<W, N> Error for SpawnError<W, N> {}

impl<W, N> From<SpawnError<W, N>> for io::Error {
    fn from(error: SpawnError<W, N>) -> io::Error {
        let kind = if error.is_full() {
            io::ErrorKind::ResourceBusy
        } else {
            io::ErrorKind::Other
        };
        io::Error::new(kind, error.text())
    }
}

/// The work of a job panicked. The thread continues with the next job.
///
/// The process's panic hook reports the panic itself, as on any thread; there is no additional log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerPanic {
    message: String,
}

impl WorkerPanic {
    /// The panic message; `(no message)` if the payload is no text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Takes the payload of a panic apart. Its drop is the user's, and may panic as well.
    pub(super) fn from_payload(payload: Box<dyn Any + Send>) -> WorkerPanic {
        let message = match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => {
                let text = payload.downcast_ref::<&str>().copied();
                let text = text.unwrap_or("(no message)").to_owned();
                drop_contained(payload);
                text
            }
        };
        WorkerPanic { message }
    }
}

impl fmt::Display for WorkerPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the job panicked: {}", self.message)
    }
}

impl Error for WorkerPanic {}

impl From<WorkerPanic> for io::Error {
    fn from(panic: WorkerPanic) -> io::Error {
        io::Error::other(panic)
    }
}

/// Drops a value of the user's, whose drop may panic.
pub(super) fn drop_contained<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        // It is the user's, too.
        std::mem::forget(payload);
    }
}
