//! Two at a time: the machine has other work as well, and most tests wait more than they compute.

use crate::Answer;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const WORKERS: usize = 2;

/// What `work` makes of each, in their order; or the first error.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    all: &[T],
    work: impl Fn(usize, &T) -> Answer<R> + Sync,
) -> Answer<Vec<R>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let failed = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(index) else { break };
                    match work(index, one) {
                        Ok(result) => done.lock().expect("no worker panics").push((index, result)),
                        Err(error) => {
                            next.store(all.len(), Ordering::Relaxed);
                            *failed.lock().expect("no worker panics") = Some(error.to_string());
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().expect("no worker panics") {
        return Err(error.into());
    }
    let mut done = done.into_inner().expect("no worker panics");
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
