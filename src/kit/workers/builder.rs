//! The limits of a pool, and its start.

use std::cell::RefCell;
use std::io;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::queue::{self, Shared};
use super::table::{Service, Side};
use super::{Owner, Workers};
use crate::{Context, Handle, Permit, Reactor};

/// More threads than this are a mistake.
const MOST_THREADS: usize = 4096;

/// The settings of a pool, with their defaults; from [`Workers::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    threads: Option<usize>,
    queue: usize,
    name: String,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            threads: None,
            queue: 1024,
            name: "worker".to_owned(),
        }
    }

    /// The number of threads, 1 to 4,096; default: as many as the system can run in parallel
    /// ([`available_parallelism`](thread::available_parallelism)). That is right for computations. For blocking
    /// calls, use a pool of its own, with as many threads as calls should block at the same time.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Builder {
        self.threads = Some(threads);
        self
    }

    /// The most jobs that wait for a thread, at least 1; default 1,024. A further job is refused
    /// ([`SpawnError::Full`](super::SpawnError::Full)). Running jobs do not count.
    #[must_use]
    pub fn queue(mut self, jobs: usize) -> Builder {
        self.queue = jobs;
        self
    }

    /// The name of the threads, `NAME-0` and so on; default `worker`. Linux shows the first 15 bytes.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = name.into();
        self
    }

    /// Starts the threads. Results are delivered by `reactor`.
    ///
    /// The pool is a dispatcher without a socket, so it does not keep [`run`](Reactor::run) from returning; a job
    /// does, until its result is delivered. The pool holds one place in the queue of posts, and so does each job.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a number out of its range, or for a name with a zero byte. `ResourceBusy` if the reactor's
    /// queue of posts is full. The system's error if a thread cannot be started. Also if the reactor is shutting
    /// down. After an error no thread is left.
    pub fn build(self, reactor: &mut Reactor) -> io::Result<Workers> {
        self.build_with(reactor.handle(), |service| reactor.add_service(service))
    }

    /// Starts the threads from inside a callback: see [`build`](Builder::build).
    ///
    /// # Errors
    ///
    /// Those of [`build`](Builder::build).
    pub fn build_in(self, cx: &mut Context<'_>) -> io::Result<Workers> {
        self.build_with(cx.handle(), |service| cx.add_service(service))
    }

    fn build_with(
        self,
        handle: Handle,
        add: impl FnOnce(Service) -> io::Result<crate::Id<Service>>,
    ) -> io::Result<Workers> {
        let threads = self.check()?;
        let permit = reserve(&handle.unref())?;
        let shared = Arc::new(Shared::new(threads, self.queue));
        let side = Rc::new(Side::new(Arc::clone(&shared)));
        // Dropped on an early return, which ends the threads.
        let owner = Owner {
            side: Rc::clone(&side),
            threads: RefCell::new(Vec::with_capacity(threads)),
            permit: Some(permit),
            name: self.name.clone(),
        };
        for index in 0..threads {
            let thread = start(&shared, index, &self.name)?;
            owner.threads.borrow_mut().push((index, thread));
        }
        let service = add(Service {
            side: Rc::clone(&side),
        })?;
        let fresh = side.service.set(service);
        debug_assert!(fresh.is_ok(), "it is set once");
        Ok(Workers {
            owner: Rc::new(owner),
        })
    }

    /// How many threads there are to be.
    fn check(&self) -> io::Result<usize> {
        let threads = self.threads.unwrap_or_else(|| {
            thread::available_parallelism()
                .map_or(1, NonZeroUsize::get)
                .min(MOST_THREADS)
        });
        if !(1..=MOST_THREADS).contains(&threads) {
            return Err(invalid(format!(
                "workers: threads({threads}): expected 1 to {MOST_THREADS}"
            )));
        }
        if self.queue == 0 {
            return Err(invalid("workers: queue(0): expected at least 1".to_owned()));
        }
        if self.name.contains('\0') {
            return Err(invalid(format!(
                "workers: name({:?}): it has a zero byte",
                self.name
            )));
        }
        Ok(threads)
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn reserve(handle: &Handle) -> io::Result<Permit> {
    handle.reserve().map_err(|_| {
        let text = "workers: the reactor's queue of posts is full";
        io::Error::new(io::ErrorKind::ResourceBusy, text)
    })
}

fn start(shared: &Arc<Shared>, index: usize, name: &str) -> io::Result<JoinHandle<()>> {
    let builder = thread::Builder::new().name(format!("{name}-{index}"));
    let threads_own = Arc::clone(shared);
    let started = builder.spawn(move || queue::work(&threads_own, index));
    started.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("workers: cannot start {name}-{index}: {error}"),
        )
    })
}
