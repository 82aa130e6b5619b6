//! Graceful shutdown: what is being sent arrives whole, what is being answered gets its answer, and what
//! could not be finished is aborted and named.

#[cfg_attr(feature = "tls", path = "util/tls.rs")]
#[cfg_attr(not(feature = "tls"), path = "util/plain.rs")]
mod over;
mod util;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use over::{serve, tcp_pair};
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::{Accepted, AnyId, Cause, Context, Dispatcher, Handle, Id, Reactor, TimerId};
use util::*;

const LARGE: usize = 20_000_000;

/// Reads until the end of the stream: how many bytes came, or the error.
fn download(address: SocketAddr, request: &'static [u8]) -> thread::JoinHandle<io::Result<usize>> {
    let client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(DEADLINE)).expect("a socket");
    let mut client = over::client(client);
    thread::spawn(move || {
        client.write_all(request)?;
        let mut buffer = vec![0; 64 * 1024];
        let mut received = 0;
        loop {
            match client.read(&mut buffer)? {
                0 => return Ok(received),
                count => received += count,
            }
        }
    })
}

/// Sends so many bytes, piece by piece, in `handle_write`.
struct Source {
    left: usize,
    started: Rc<Cell<usize>>,
}

impl Dispatcher for Source {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if cx.recv(&mut [0; 64])? > 0 {
            self.started.set(self.started.get() + 1);
            cx.start_writing();
        }
        Ok(())
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let piece = self.left.min(16 * 1024);
        self.left -= piece;
        cx.send(&vec![7; piece])?;
        if self.left == 0 {
            cx.stop_writing();
        }
        Ok(())
    }
}

#[test]
fn what_handle_write_produces_arrives_whole_before_a_shutdown_ends_it() {
    let mut reactor = Reactor::new().expect("a poller");
    let started = Rc::new(Cell::new(0));
    let (source, begun) = (Rc::clone(&started), Rc::clone(&started));
    let (_, address) = serve(&mut reactor, move || Source {
        left: LARGE,
        started: Rc::clone(&source),
    });
    let client = download(address, b"go");
    turn_until(&mut reactor, "the request", |_| begun.get() == 1);
    let aborted = reactor.shutdown(DEADLINE).expect("the loop works");
    assert_eq!(client.join().expect("it reads").ok(), Some(LARGE));
    assert_eq!(aborted, []);
    assert_eq!(reactor.counters().ends.finished, 2, "listener and client");
}

/// Answers a line with a producer and a word behind it.
struct Producer(Rc<Cell<usize>>);

impl Handler for Producer {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        _: &[u8],
    ) -> io::Result<()> {
        self.0.set(self.0.get() + 1);
        framing.push_producer(cx, io::repeat(7).take(LARGE as u64));
        framing.push(cx, b"the end")
    }
}

/// A server of [`Producer`]s; the id of its last connection.
fn producers(reactor: &mut Reactor, requests: &Rc<Cell<usize>>) -> (AnyFramed, SocketAddr) {
    struct Door(AnyFramed, Rc<Cell<usize>>);
    impl Dispatcher for Door {
        fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
            let framed = Framed::new(Terminator::Line, Producer(Rc::clone(&self.1)))?;
            self.0
                .set(Some(cx.add(over::accepted_as(accepted), framed)?));
            Ok(())
        }
    }
    let last = AnyFramed::default();
    let door = Door(Rc::clone(&last), Rc::clone(requests));
    let id = reactor.listen("127.0.0.1:0", door).expect("a free port");
    let address = reactor.local_addr(id).expect("a listener");
    (last, address)
}

type AnyFramed = Rc<Cell<Option<Id<Framed<Producer>>>>>;

#[test]
fn what_producers_give_arrives_whole_with_what_was_pushed_behind_them() {
    type Ending = fn(&mut Reactor, Id<Framed<Producer>>);
    let endings: [(&str, Ending); 4] = [
        ("shutdown", |reactor, _| {
            assert_eq!(reactor.shutdown(DEADLINE).expect("the loop works"), []);
        }),
        ("close", |reactor, id| {
            reactor.at(id).expect("open").close();
        }),
        ("close_when_done", |reactor, id| {
            reactor.at(id).expect("open").close_when_done();
        }),
        ("shutdown_write", |reactor, id| {
            reactor.at(id).expect("open").shutdown_write();
        }),
    ];
    for (name, ending) in endings {
        let mut reactor = Reactor::new().expect("a poller");
        let requests = Rc::new(Cell::new(0));
        let (last, address) = producers(&mut reactor, &requests);
        let client = download(address, b"go\n");
        turn_until(&mut reactor, "the request", |_| requests.get() == 1);
        ending(&mut reactor, last.get().expect("it was accepted"));
        turn_until(&mut reactor, "the download", |_| client.is_finished());
        let received = client.join().expect("it reads").expect("a clean end");
        assert_eq!(received, LARGE + 7, "{name}");
    }
}

/// Answers a request later, and closes then if the server is on its way out.
struct Late {
    how: How,
    handle: Handle,
    upstream: Option<SocketAddr>,
    asked: Rc<Cell<usize>>,
    answered: Answered,
}

type Answered = Arc<AtomicBool>;

#[derive(Clone, Copy, Debug)]
enum How {
    Timer,
    Worker,
    Upstream,
    Never,
}

fn answer(cx: &mut Context<'_>, answered: &Answered) -> io::Result<()> {
    answered.store(true, Ordering::Relaxed);
    cx.send(b"answer")?;
    if cx.is_shutting_down() {
        cx.close();
    }
    Ok(())
}

impl Dispatcher for Late {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if cx.recv(&mut [0; 64])? == 0 {
            return Ok(());
        }
        self.asked.set(self.asked.get() + 1);
        let me = cx.any_id();
        match self.how {
            How::Timer => {
                cx.set_timer(Duration::from_millis(30));
            }
            How::Worker => {
                let handle = self.handle.clone();
                let answered = Arc::clone(&self.answered);
                thread::spawn(move || {
                    let job = move |reactor: &mut Reactor| {
                        let mut cx = reactor.at(me).expect("it waits");
                        answer(&mut cx, &answered).expect("room");
                    };
                    handle.post(job).expect("room in the queue");
                });
            }
            How::Upstream => {
                let upstream = self.upstream.expect("there is one");
                let id = cx.connect(upstream, self.to_upstream(me))?;
                cx.at(id).expect("it is being made").send(b"question")?;
            }
            How::Never => {}
        }
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        answer(cx, &self.answered)
    }

    /// Stays while the answer is still to come.
    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.answered.load(Ordering::Relaxed) {
            cx.close();
        }
        Ok(())
    }
}

impl Late {
    fn to_upstream(&self, client: AnyId) -> Upstream {
        Upstream {
            client,
            answered: Arc::clone(&self.answered),
        }
    }
}

/// The connection to another server, for one request: it waits for the reply.
struct Upstream {
    client: AnyId,
    answered: Answered,
}

impl Dispatcher for Upstream {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if cx.recv(&mut [0; 64])? > 0 {
            if let Some(mut client) = cx.at(self.client) {
                answer(&mut client, &self.answered)?;
            }
            cx.close();
        }
        Ok(())
    }

    fn handle_shutdown(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_request_that_a_timer_a_worker_or_an_upstream_answers_gets_its_answer() {
    // The upstream answers with a word of ten letters, so that its own bytes are not mistaken for ours.
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let upstream_address = upstream.local_addr().expect("bound");
    let (go, may_answer) = std::sync::mpsc::channel::<()>();
    let replies = thread::spawn(move || {
        let (mut stream, _) = upstream.accept().expect("a client");
        may_answer.recv().expect("the test goes on");
        stream.write_all(b"upstreamed").expect("it reads");
    });
    for how in [How::Timer, How::Worker, How::Upstream] {
        let mut reactor = Reactor::new().expect("a poller");
        let handle = reactor.handle().unref();
        let asked = Rc::new(Cell::new(0));
        let counted = Rc::clone(&asked);
        let (_, address) = serve(&mut reactor, move || Late {
            how,
            handle: handle.clone(),
            upstream: Some(upstream_address),
            asked: Rc::clone(&counted),
            answered: Answered::default(),
        });
        let client = download(address, b"question");
        turn_until(&mut reactor, "the request", |_| asked.get() == 1);
        if let How::Upstream = how {
            go.send(()).expect("it waits");
        }
        let aborted = reactor.shutdown(DEADLINE).expect("the loop works");
        let received = client.join().expect("it reads").expect("a clean end");
        assert_eq!((received, aborted.len()), (6, 0), "{how:?}");
    }
    replies.join().expect("it was asked");
}

#[test]
fn a_dispatcher_that_stays_is_aborted_at_the_deadline_and_named() {
    let mut reactor = Reactor::new().expect("a poller");
    let handle = reactor.handle().unref();
    let asked = Rc::new(Cell::new(0));
    let counted = Rc::clone(&asked);
    let (_, address) = serve(&mut reactor, move || Late {
        how: How::Never,
        handle: handle.clone(),
        upstream: None,
        asked: Rc::clone(&counted),
        answered: Answered::default(),
    });
    let client = download(address, b"question");
    turn_until(&mut reactor, "the request", |_| asked.get() == 1);
    let aborted = reactor
        .shutdown(Duration::from_millis(50))
        .expect("the loop works");
    assert_eq!(aborted.len(), 1);
    assert_eq!(reactor.end_of(aborted[0].id), Some(Cause::Shutdown));
    let error = client.join().expect("it reads").expect_err("no answer");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn listeners_go_first_idle_connections_at_once_and_services_last() {
    struct Service(Diary);
    impl Dispatcher for Service {
        fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            assert!(cx.is_shutting_down());
            self.0.note("service", cx.any_id(), "asked");
            Ok(())
        }
        fn handle_close(&mut self, cx: &mut Context<'_>) {
            self.0.note("service", cx.any_id(), "closed");
        }
    }
    struct Idle(Diary);
    impl Dispatcher for Idle {
        fn handle_close(&mut self, cx: &mut Context<'_>) {
            assert_eq!(cx.end_cause(), Some(Cause::Finished));
            self.0.note("idle", cx.any_id(), "closed");
        }
    }
    struct Door(Diary);
    impl Dispatcher for Door {
        fn handle_shutdown(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            unreachable!("listeners are closed");
        }
        fn handle_close(&mut self, cx: &mut Context<'_>) {
            let refused = cx.listen("127.0.0.1:0".parse().expect("an address"), Echo);
            assert!(refused.is_err(), "nothing is added any more");
            self.0.note("door", cx.any_id(), "closed");
        }
    }
    let diary = Diary::default();
    let mut reactor = Reactor::new().expect("a poller");
    reactor
        .bind_udp("127.0.0.1:0", Service(diary.clone()))
        .expect("a port");
    reactor
        .listen("127.0.0.1:0", Door(diary.clone()))
        .expect("a port");
    let (ours, mut peer) = tcp_pair();
    over::add(&mut reactor, ours, Idle(diary.clone()));
    let reader = thread::spawn(move || peer.read(&mut [0; 8]));
    let begun = Instant::now();
    let aborted = reactor.shutdown(DEADLINE).expect("the loop works");
    assert!(
        begun.elapsed() < DEADLINE,
        "it did not wait for the deadline"
    );
    assert_eq!(aborted, []);
    assert_eq!(reader.join().expect("it reads").ok(), Some(0));
    let order = diary.all();
    assert_eq!(
        order.first().map(String::as_str),
        Some("service asked"),
        "{order:?}"
    );
    assert_eq!(
        order.last().map(String::as_str),
        Some("service closed"),
        "{order:?}"
    );
    assert_eq!(order.len(), 4, "{order:?}");
    let (ours, _peer) = tcp_pair();
    let id = over::add(&mut reactor, ours, Echo);
    assert!(!reactor.at(id).expect("open").is_shutting_down());
}

#[test]
fn a_panic_in_handle_shutdown_closes_that_one_and_the_others_finish() {
    struct Bad;
    impl Dispatcher for Bad {
        fn handle_shutdown(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            panic!("wanted");
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, _bad_peer) = tcp_pair();
    let bad = over::add(&mut reactor, ours, Bad);
    let (ours, mut peer) = tcp_pair();
    let good = over::add(&mut reactor, ours, Echo);
    reactor
        .at(good)
        .expect("open")
        .send(b"whole")
        .expect("room");
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).map(|_| received)
    });
    let aborted = reactor.shutdown(DEADLINE).expect("the loop works");
    assert_eq!(aborted, []);
    assert_eq!(
        reader.join().expect("it reads").ok().as_deref(),
        Some(&b"whole"[..])
    );
    assert_eq!(reactor.end_of(bad), Some(Cause::Panic));
}

#[test]
fn close_when_done_waits_for_the_producer_and_close_does_not() {
    for (waits, expected) in [(true, LARGE), (false, 0)] {
        let mut reactor = Reactor::new().expect("a poller");
        let (ours, mut peer) = tcp_pair();
        let started = Rc::default();
        let source = Source {
            left: LARGE,
            started,
        };
        let id = over::add(&mut reactor, ours, source);
        let mut cx = reactor.at(id).expect("open");
        cx.start_writing();
        if waits {
            cx.close_when_done();
        } else {
            cx.close();
        }
        assert!(cx.is_closing());
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).map(|_| received.len())
        });
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
        assert_eq!(reader.join().expect("it reads").ok(), Some(expected));
    }
}

/// A producer that fails after close: the peer must not take what came for the whole.
#[test]
fn a_producer_that_fails_ends_in_a_reset() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the disk is gone"));
            }
            self.0 -= 1;
            buffer.fill(7);
            Ok(buffer.len())
        }
    }
    struct Quiet;
    impl Handler for Quiet {
        fn found_terminator(
            &mut self,
            _: &mut Context<'_>,
            _: &mut Framing,
            _: &[u8],
        ) -> io::Result<()> {
            Ok(())
        }
    }
    for close_first in [false, true] {
        let mut reactor = Reactor::new().expect("a poller");
        let (ours, mut peer) = tcp_pair();
        let framed = Framed::new(Terminator::Line, Quiet).expect("a terminator");
        let id = over::add(&mut reactor, ours, framed);
        reactor.with(id, |framed, cx| {
            framed.framing().push_producer(cx, Broken(10));
            if close_first {
                cx.close();
            }
        });
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
        let cause = Cause::Error(io::ErrorKind::Other);
        assert_eq!(reactor.end_of(id), Some(cause));
        let error = peer.read_to_end(&mut Vec::new()).expect_err("no clean end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_producer_pushed_before_the_connection_is_established_survives_a_close() {
    type Ending = fn(&mut Context<'_>);
    let endings: [(&str, Ending); 2] = [
        ("close", |cx| cx.close()),
        ("close_when_done", |cx| cx.close_when_done()),
    ];
    for (name, end) in endings {
        let mut reactor = Reactor::new().expect("a poller");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let producer = Producer(Rc::default());
        let framed = Framed::new(Terminator::Line, producer).expect("a terminator");
        let id = reactor.connect(address, framed).expect("it listens");
        reactor.with(id, |framed, cx| {
            framed
                .framing()
                .push_producer(cx, io::repeat(7).take(LARGE as u64));
            end(cx);
        });
        let received = thread::spawn(move || {
            let (mut peer, _) = listener.accept()?;
            io::copy(&mut peer, &mut io::sink())
        });
        turn_until(&mut reactor, name, |reactor| reactor.count() == 0);
        let received = received.join().expect("it reads").ok();
        assert_eq!(received, Some(LARGE as u64), "{name}");
        assert_eq!(reactor.end_of(id), Some(Cause::Finished), "{name}");
    }
}
