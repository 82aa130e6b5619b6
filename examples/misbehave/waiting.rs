//! Faults that use little or no CPU time: something waits that should not.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use slabloop::{Context, Dispatcher, Reactor, TimerId};

/// Gets a byte now and then, and sleeps over it, in a callback: everyone else waits meanwhile. What takes long belongs
/// on a thread, as `kit::workers` has them.
struct Worker {
    time: Duration,
}

impl Dispatcher for Worker {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|_, _| Ok(()))?;
        thread::sleep(self.time);
        Ok(())
    }
}

pub(crate) fn block(reactor: &mut Reactor, time: Duration) -> io::Result<()> {
    let (ours, mut peer) = UnixStream::pair()?;
    reactor.add(ours, Worker { time })?;
    reactor.call_every(Duration::from_secs(2), move |_| {
        // One that the worker has not read yet is enough.
        let _ = peer.write(b"x");
    });
    Ok(())
}

/// Sends whenever its timer says so, whether or not its client reads. It stops short of the hard cap, at which the
/// connection would be closed; a real one would not.
struct Feed {
    /// It is never read.
    _client: UnixStream,
}

const NEWS: [u8; 16 * 1024] = [b'n'; 16 * 1024];

impl Dispatcher for Feed {
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        if cx.queued() < cx.hard_cap() / 2 {
            cx.send(&NEWS)?;
        }
        Ok(())
    }
}

pub(crate) fn slow_client(reactor: &mut Reactor) -> io::Result<()> {
    let (ours, client) = UnixStream::pair()?;
    let feed = reactor.add(ours, Feed { _client: client })?;
    if let Some(mut feed) = reactor.at(feed) {
        feed.set_interval(Duration::from_millis(20));
    }
    Ok(())
}

/// Is told that its client has finished, and keeps the connection. (The default closes it.)
struct Forgetful {
    _client: UnixStream,
}

impl Dispatcher for Forgetful {
    fn handle_eof(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn leak(reactor: &mut Reactor) -> io::Result<()> {
    for _ in 0..120 {
        let (ours, client) = UnixStream::pair()?;
        client.shutdown(Shutdown::Write)?;
        reactor.add(ours, Forgetful { _client: client })?;
    }
    Ok(())
}
