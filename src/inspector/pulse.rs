//! When a beat is due: what wakes the hub ten times a second while a page is there.
//!
//! It is no timer of the loop's. An armed timer gives every wait a limit, for which the kernel sets up a timer of its own
//! and takes it down again: with 20,000 turns a second that costs each turn more than all that the inspector does in it.
//! So a thread sleeps from one beat to the next and then sends a byte to a socket that the loop reads. There is at most
//! one unread byte: while the loop is blocked none is added, and no beat is sent.
//!
//! A timer of the loop is used in two cases: on a clock that a test moves, which a thread cannot follow, and if there is no
//! descriptor or thread left.

use std::io;
use std::os::unix::net::UnixDatagram as Socket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::mio::Interest;
use crate::mio::net::UnixDatagram;

use crate::{AnyId, Context, Dispatcher, Id, Socket as Source, TimerId};

use super::hub::Hub;

/// From one beat to the next.
const PERIOD: Duration = Duration::from_millis(100);

/// What has beats made.
#[derive(Debug)]
pub(super) enum Pulse {
    Timer(TimerId),
    Thread {
        receiver: AnyId,
        /// The thread ends when this is dropped.
        _alive: Sender<()>,
    },
}

impl Pulse {
    /// Called for the hub, in its name.
    pub(super) fn start(cx: &mut Context<'_>, hub: Id<Hub>) -> Pulse {
        if cx.time_passes() {
            match Pulse::start_thread(cx, hub) {
                Ok(pulse) => return pulse,
                Err(error) => log::debug!("the inspector beats by a timer: {error}"),
            }
        }
        let timer = cx.set_interval(PERIOD);
        cx.unref_timer(timer);
        Pulse::Timer(timer)
    }

    fn start_thread(cx: &mut Context<'_>, hub: Id<Hub>) -> io::Result<Pulse> {
        let (ours, theirs) = Socket::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let is_pending = Arc::new(AtomicBool::new(false));
        let (alive, ends) = mpsc::channel();
        let ticker = Ticker {
            socket: theirs,
            is_pending: Arc::clone(&is_pending),
        };
        thread::Builder::new()
            .name("slabloop-inspector".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || ticker.run(PERIOD, &ends))?;
        let ours = Source::foreign_with(UnixDatagram::from_std(ours), Interest::READABLE);
        let receiver = cx.add(ours, Receiving { hub, is_pending })?;
        Ok(Pulse::Thread {
            receiver: receiver.any(),
            _alive: alive,
        })
    }

    pub(super) fn stop(self, cx: &mut Context<'_>) {
        match self {
            Pulse::Timer(timer) => {
                cx.cancel_timer(timer);
            }
            Pulse::Thread { receiver, .. } => {
                if let Some(mut receiver) = cx.at(receiver) {
                    receiver.close();
                }
            }
        }
    }
}

/// The thread's end.
struct Ticker {
    socket: Socket,
    is_pending: Arc<AtomicBool>,
}

impl Ticker {
    fn run(&self, period: Duration, ends: &Receiver<()>) {
        while ends.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
            if self.is_pending.swap(true, Ordering::AcqRel) {
                continue;
            }
            if self.socket.send(&[0]).is_err() {
                // There is room for one: the other end is gone.
                return;
            }
        }
    }
}

/// The loop's end.
#[derive(Debug)]
struct Receiving {
    hub: Id<Hub>,
    is_pending: Arc<AtomicBool>,
}

impl Dispatcher for Receiving {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut received = false;
        let _: io::Result<()> = cx.read_with(|socket: &mut UnixDatagram| {
            received = socket.recv(&mut [0]).is_ok();
            // There is no second one: it is not sent before this one is known to be taken.
            Err(io::ErrorKind::WouldBlock.into())
        });
        if !received {
            return Ok(());
        }
        self.is_pending.store(false, Ordering::Release);
        cx.with(self.hub, Hub::beat).unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_does_not_listen_gets_one_datagram_and_the_thread_ends_with_the_hub() {
        let (ours, theirs) = Socket::pair().unwrap();
        let is_pending = Arc::new(AtomicBool::new(false));
        let (alive, ends) = mpsc::channel();
        let ticker = Ticker {
            socket: theirs,
            is_pending: Arc::clone(&is_pending),
        };
        let thread = thread::spawn(move || ticker.run(Duration::ZERO, &ends));
        assert_eq!(ours.recv(&mut [0; 2]).unwrap(), 1);
        // So often is it due while the loop is stuck.
        for _ in 0..10_000 {
            assert!(is_pending.load(Ordering::Acquire));
        }
        ours.set_nonblocking(true).unwrap();
        let second = ours.recv(&mut [0; 2]);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        ours.set_nonblocking(false).unwrap();
        is_pending.store(false, Ordering::Release);
        assert_eq!(ours.recv(&mut [0; 2]).unwrap(), 1, "it goes on");
        drop(alive);
        thread.join().unwrap();
    }
}
