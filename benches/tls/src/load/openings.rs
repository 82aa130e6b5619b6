//! Connections that are opened and closed again, a few at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use slabloop_peers::cli::{Error, Result};

use super::link::{Link, Opener};
use super::{Options, Work};

/// How many are on their way at once.
const THREADS: usize = 8;

/// Opens and closes `count` connections.
///
/// # Errors
///
/// The first one that fails, or whose handshake is of the other kind.
pub fn run(options: &Options, opener: &Opener) -> Result<()> {
    let resumed = options.work == Work::Resumed;
    // Whatever is made at first use is made. And there is a ticket for each thread: all of these are begun before one
    // of them has brought any.
    let mut first: Vec<_> = (0..THREADS)
        .map(|number| opener.connect(number))
        .collect::<Result<_>>()?;
    first.iter_mut().try_for_each(Link::shake_hands)?;
    first.into_iter().for_each(Link::close);
    super::measured(options, options.count, || {
        let next = AtomicUsize::new(0);
        let body = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= options.count {
                    return Ok(());
                }
                let link = opener.open(number)?;
                link.expect_resumed(resumed)?;
                link.close();
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(body)).collect();
            threads.into_iter().try_for_each(|thread| {
                let panicked = |_| Err(Error::Failed("a thread panicked".to_owned()));
                thread.join().unwrap_or_else(panicked)
            })
        })
    })
}
