//! Faults that burn the processor, while everyone is still served.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use slabloop::{Context, Dispatcher, PostError, Reactor, TimerId};

/// Asks for `handle_write` and never has anything to write. It should call `stop_writing`, and `start_writing` when there
/// is something.
struct Spinner {
    _peer: UnixStream,
}

impl Dispatcher for Spinner {
    fn handle_write(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn spin(reactor: &mut Reactor) -> io::Result<()> {
    let (ours, peer) = UnixStream::pair()?;
    let spinner = reactor.add(ours, Spinner { _peer: peer })?;
    if let Some(mut spinner) = reactor.at(spinner) {
        spinner.start_writing();
    }
    Ok(())
}

/// Does not read its input. It should, or call `pause_reading`.
struct Lazy {
    _peer: UnixStream,
}

impl Dispatcher for Lazy {
    fn handle_read(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn no_drain(reactor: &mut Reactor) -> io::Result<()> {
    let (ours, mut peer) = UnixStream::pair()?;
    peer.write_all(b"read me")?;
    reactor.add(ours, Lazy { _peer: peer })?;
    Ok(())
}

/// Reads many chunks in a callback. One, and the loop would come back to it when the others have had their turn.
struct Hog;

/// Work that takes so long.
fn work(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

impl Dispatcher for Hog {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let began = Instant::now();
        let mut chunk = [0; 4096];
        while began.elapsed() < Duration::from_millis(4) {
            cx.recv(&mut chunk)?;
            work(Duration::from_micros(100));
        }
        Ok(())
    }
}

pub(crate) fn greedy(reactor: &mut Reactor) -> io::Result<()> {
    let (ours, mut peer) = UnixStream::pair()?;
    reactor.add(ours, Hog)?;
    // Ends with the program, or when the loop closes the other end.
    thread::spawn(move || while peer.write_all(&[b'g'; 4096]).is_ok() {});
    Ok(())
}

/// A period of zero: the loop never sleeps.
struct Ticker;

impl Dispatcher for Ticker {
    fn handle_timer(&mut self, _: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn timers(reactor: &mut Reactor) -> io::Result<()> {
    let ticker = reactor.add_service(Ticker)?;
    if let Some(mut ticker) = reactor.at(ticker) {
        ticker.set_interval(Duration::ZERO);
    }
    Ok(())
}

/// A thread posts faster than the loop runs what was posted, and does not mind being refused.
pub(crate) fn posts(reactor: &mut Reactor) -> io::Result<()> {
    let handle = reactor.handle().unref();
    thread::spawn(move || {
        loop {
            let posted = handle.post(|_| work(Duration::from_micros(20)));
            match posted {
                Err(PostError::Gone(_)) => return,
                Err(_) => thread::yield_now(),
                Ok(()) => {}
            }
        }
    });
    Ok(())
}
