//! The names of everything that a queue has in Redis.

/// The group that all workers belong to.
pub(crate) const GROUP: &str = "workers";

/// What is to be done for a job. Each lane has a stream of its own, so that receivers of callbacks that are slow or
/// down hold up no work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Work,
    /// To tell its outcome.
    Callback,
}

impl Lane {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Lane::Work => "work",
            Lane::Callback => "callback",
        }
    }
}

/// Names that begin with the queue's own.
#[derive(Clone, Debug)]
pub(crate) struct Names(pub(crate) String);

impl Names {
    /// A hash: what was posted, and how far it is.
    pub(crate) fn job(&self, id: &str) -> String {
        format!("{}:job:{id}", self.0)
    }

    /// A string: the job that was posted with this idempotency key.
    pub(crate) fn key(&self, key: &str) -> String {
        format!("{}:key:{key}", self.0)
    }

    /// A stream: the ids of the jobs that are to be done, or are being done.
    pub(crate) fn stream(&self, lane: Lane) -> String {
        format!("{}:{}", self.0, lane.name())
    }

    /// A sorted set: the ids of the jobs that have failed, by when they are tried again.
    pub(crate) fn later(&self, lane: Lane) -> String {
        format!("{}:{}:later", self.0, lane.name())
    }

    /// A stream: the jobs that are not tried again, with their last errors.
    pub(crate) fn dead(&self) -> String {
        format!("{}:dead", self.0)
    }

    /// A hash: what has been counted.
    pub(crate) fn counts(&self) -> String {
        format!("{}:counts", self.0)
    }
}
