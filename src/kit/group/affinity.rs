//! A thread on one processor.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The numbers of the processors on which this thread may run, for [`Builder::pin`](super::Builder::pin): those that
/// `taskset`, a container or the system leave to the process. (Feature `affinity`, on Linux and Android.)
///
/// # Errors
///
/// The system's error.
pub fn processors() -> io::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    let all = 0..CpuSet::MAX_CPU;
    Ok(all.filter(|&number| allowed.is_set(number)).collect())
}

/// Has the present thread run on this processor alone.
pub(super) fn pin(processor: usize) -> io::Result<()> {
    let refused = |why: &dyn std::fmt::Display, kind| {
        io::Error::new(
            kind,
            format!("cannot pin it to processor {processor}: {why}"),
        )
    };
    if processor >= CpuSet::MAX_CPU {
        let why = format!("the highest is {}", CpuSet::MAX_CPU - 1);
        return Err(refused(&why, io::ErrorKind::InvalidInput));
    }
    let mut one = CpuSet::new();
    one.set(processor);
    sched_setaffinity(None, &one).map_err(|error| refused(&error, error.kind()))
}
