//! What the tests of several reactors share: an echo server, clients that block, and a callback that does.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use slabloop::kit::group::Place;
use slabloop::{Accepted, Context, Dispatcher, Handle};

use crate::util::DEADLINE;

/// Serves what it accepts itself.
pub(crate) struct Listener;

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(accepted, Echo(None))?;
        Ok(())
    }
}

/// Every byte comes back.
pub(crate) struct Echo(pub(crate) Option<Place>);

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }
}

/// A client that waits for what it reads, but not for ever.
pub(crate) fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    stream
}

/// Sends a line of its own and expects it back.
#[track_caller]
pub(crate) fn expect_echo(client: &mut TcpStream, number: usize) {
    let sent = format!("client {number:08}");
    client.write_all(sent.as_bytes()).expect("it is open");
    let mut received = vec![0; sent.len()];
    client.read_exact(&mut received).expect("the echo");
    assert_eq!(received, sent.as_bytes());
}

/// All that comes, up to an end that is no reset.
#[track_caller]
pub(crate) fn read_to_the_end(client: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("no reset");
    rest
}

/// Ends a client, and waits until the server has, too.
#[track_caller]
pub(crate) fn hang_up(mut client: TcpStream) {
    client.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(read_to_the_end(&mut client), b"");
}

/// A reactor that is in a callback until this is dropped.
pub(crate) struct Blocked {
    _open: Sender<()>,
}

/// Blocks a reactor, and returns when it is.
pub(crate) fn block(handle: &Handle) -> Blocked {
    let (open, opened) = channel::<()>();
    let (begin, began) = channel();
    let posted = handle.post(move |_| {
        let _ = begin.send(());
        let _ = opened.recv_timeout(DEADLINE);
    });
    posted.expect("room");
    began.recv_timeout(DEADLINE).expect("the reactor runs");
    Blocked { _open: open }
}

/// What a thread of a group says, which has to come.
#[track_caller]
pub(crate) fn next<T>(told: &Receiver<T>) -> T {
    told.recv_timeout(DEADLINE).expect("it is told")
}

/// Waits until another thread has done something that can only be asked for.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
