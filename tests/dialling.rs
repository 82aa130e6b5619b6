//! Dialling: where a connection comes from, how long an attempt may take, attempts that were begun
//! elsewhere, and the verbs that add sockets from inside a callback.

#[path = "util/ports.rs"]
mod ports;
mod util;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use ports::{closed_port, free_port};
use slabloop::testing::SimClock;
use slabloop::{Context, Dispatcher, Id, Reactor, Socket, SocketOptions, TimerId};
use socket2::{Domain, Type};
use util::*;

const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn tcp() -> socket2::Socket {
    socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
}

fn own_address(socket: &socket2::Socket) -> SocketAddr {
    socket.local_addr().unwrap().as_socket().unwrap()
}

/// A non-blocking socket whose `connect` to `address` has been called.
fn dialled(address: SocketAddr) -> socket2::Socket {
    let socket = tcp();
    socket.set_nonblocking(true).unwrap();
    if let Err(error) = socket.connect(&address.into()) {
        assert_eq!(error.raw_os_error(), Some(115), "EINPROGRESS");
    }
    socket
}

/// A listener whose queue is full: further attempts get no answer until somebody accepts.
struct Silent {
    listener: socket2::Socket,
    address: SocketAddr,
    _waiting: Vec<socket2::Socket>,
}

impl Silent {
    fn new() -> Silent {
        let listener = tcp();
        listener.bind(&NOBODY.into()).unwrap();
        listener.listen(1).unwrap();
        let address = own_address(&listener);
        Silent {
            listener,
            address,
            _waiting: (0..4).map(|_| dialled(address)).collect(),
        }
    }
}

/// A path for a Unix socket that no other test has; removed with the value.
struct UnixPath(PathBuf);

impl UnixPath {
    fn new(name: &str) -> UnixPath {
        let file = format!("slabloop-dial-{}-{name}", std::process::id());
        UnixPath(std::env::temp_dir().join(file))
    }
}

impl Drop for UnixPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(NOBODY).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn from(source: SocketAddr) -> SocketOptions {
    let mut options = SocketOptions::new();
    options.source_address(source);
    options
}

/// A reactor on a simulated clock.
fn on_a_clock() -> (Reactor, SimClock) {
    let clock = SimClock::new();
    let reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    (reactor, clock)
}

/// A spy that keeps the text of its error.
struct Told(Spy, Rc<RefCell<String>>);

impl Dispatcher for Told {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.0.handle_connect(cx)
    }
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        *self.1.borrow_mut() = error.to_string();
        self.0.handle_error(cx, error);
    }
    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.0.handle_close(cx);
    }
}

/// Does one thing in a timer's callback, with the context that callbacks have.
struct InCallback<F>(Option<F>);

impl<F: FnOnce(&mut Context<'_>) -> io::Result<()> + 'static> Dispatcher for InCallback<F> {
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        let result = self.0.take().expect("set once")(cx);
        result.expect("what the test does works");
        Ok(())
    }
}

/// Runs `body` inside a callback. Returns after the turn in which it ran; what keeps the dispatcher is
/// returned.
fn inside_a_callback(
    reactor: &mut Reactor,
    body: impl FnOnce(&mut Context<'_>) -> io::Result<()> + 'static,
) -> UnixStream {
    let (ours, peer) = unix_pair();
    let ran = Rc::new(std::cell::Cell::new(false));
    let told = Rc::clone(&ran);
    let id = reactor
        .add(
            ours,
            InCallback(Some(move |cx: &mut Context<'_>| {
                told.set(true);
                body(cx)
            })),
        )
        .unwrap();
    reactor.at(id).unwrap().set_timer(Duration::ZERO);
    turn_until(reactor, "the callback", |_| ran.get());
    peer
}

#[test]
fn the_peer_sees_the_source_address() {
    let mut reactor = Reactor::new().unwrap();
    let (server, address) = listener();
    let source: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let diary = Diary::default();
    let id = reactor
        .connect_with(address, &from(source), Spy::new("client", &diary))
        .unwrap();
    let (_peer, seen) = server.accept().unwrap();
    assert_eq!(seen.ip(), source.ip());
    assert_eq!(reactor.local_addr(id).unwrap(), seen, "any port");
    turn_until(&mut reactor, "the connection", |_| !diary.all().is_empty());
    assert_eq!(diary.of("client"), ["connect"]);

    // From inside a callback as well.
    let told = diary.clone();
    let _keep = inside_a_callback(&mut reactor, move |cx| {
        cx.connect_with(address, &from(source), Spy::new("inner", &told))?;
        Ok(())
    });
    let (_peer, seen) = server.accept().unwrap();
    assert_eq!(seen.ip(), source.ip());
}

#[test]
fn a_fixed_source_port_can_be_dialled_from_again() {
    let mut reactor = Reactor::new().unwrap();
    // An address that nothing else here uses, and a port that nothing is given.
    let source = SocketAddr::from(([127, 0, 0, 3], free_port()));
    let diary = Diary::default();
    let (first, first_address) = listener();
    let id = reactor
        .connect_with(first_address, &from(source), Spy::new("first", &diary))
        .unwrap();
    let (mut peer, seen) = first.accept().unwrap();
    assert_eq!(seen, source);
    turn_until(&mut reactor, "the connection", |_| !diary.all().is_empty());

    // To the same peer there can't be a second one: the system says so in `connect`.
    let error = reactor
        .connect_with(first_address, &from(source), Spy::new("twin", &diary))
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    assert!(error.to_string().contains(&source.to_string()), "{error}");
    assert_eq!(reactor.count(), 1);

    // This side closes first, so its port waits in the kernel for stray segments.
    reactor.at(id).unwrap().close();
    turn(&mut reactor);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    drop(peer);
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);

    let (second, second_address) = listener();
    reactor
        .connect_with(second_address, &from(source), Spy::new("second", &diary))
        .unwrap();
    let (_peer, seen) = second.accept().unwrap();
    assert_eq!(seen, source);
    turn_until(&mut reactor, "the connection", |_| {
        diary.count("second", "connect") == 1
    });
    assert_eq!(diary.count("twin", ""), 0);
}

#[test]
fn an_unusable_source_address_is_an_error_that_names_it() {
    let mut reactor = Reactor::new().unwrap();
    let (server, address) = listener();
    let (_taken, taken_address) = listener();
    let diary = Diary::default();
    for (source, kind) in [
        ("192.0.2.1:0".to_owned(), io::ErrorKind::AddrNotAvailable),
        ("[::1]:0".to_owned(), io::ErrorKind::InvalidInput),
        (taken_address.to_string(), io::ErrorKind::AddrInUse),
    ] {
        let options = from(source.parse().unwrap());
        let error = reactor
            .connect_with(address, &options, Spy::new("client", &diary))
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("source_address") && text.contains(&source),
            "{text}"
        );
        let from_callback = inside_a_callback(&mut reactor, {
            let diary = diary.clone();
            move |cx| {
                let spy = Spy::new("client", &diary);
                let error = cx.connect_with(address, &options, spy).unwrap_err();
                assert_eq!(error.to_string(), text);
                Ok(())
            }
        });
        drop(from_callback);
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    }
    server.set_nonblocking(true).unwrap();
    assert!(server.accept().is_err(), "nobody was connected to");
    assert!(diary.all().is_empty());
    // A listener, a UDP socket and a Unix socket have no use for it.
    let options = from("192.0.2.1:0".parse().unwrap());
    reactor.listen_with(NOBODY, &options, Echo).unwrap();
    reactor.bind_udp_with(NOBODY, &options, Echo).unwrap();
    let path = UnixPath::new("ignored");
    reactor.listen_unix_with(&path.0, &options, Echo).unwrap();
    reactor.connect_unix_with(&path.0, &options, Echo).unwrap();
}

#[test]
fn of_several_addresses_those_of_the_source_addresss_family_are_tried() {
    let mut reactor = Reactor::new().unwrap();
    let (server, address) = listener();
    let six: SocketAddr = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()));
    let options = from("127.0.0.2:0".parse().unwrap());
    for candidates in [[six, address], [address, six]] {
        reactor
            .connect_with(&candidates[..], &options, Echo)
            .unwrap();
        let (_peer, seen) = server.accept().unwrap();
        assert_eq!(seen.ip().to_string(), "127.0.0.2");
    }
    // The one of the family is refused at once: that is the answer, not the other's family.
    let broadcast: SocketAddr = "255.255.255.255:9".parse().unwrap();
    let error = reactor
        .connect_with(&[broadcast, six][..], &options, Echo)
        .unwrap_err();
    let alone = reactor.connect_with(broadcast, &options, Echo).unwrap_err();
    assert_eq!(error.to_string(), alone.to_string());
    let error = reactor
        .connect_with(&[six, six][..], &options, Echo)
        .unwrap_err();
    assert!(error.to_string().contains("family"), "{error}");
    assert_eq!(reactor.count(), 2);
}

#[test]
fn the_user_timeout_is_set_on_connections_and_inherited_by_accepted_ones() {
    let mut reactor = Reactor::new().unwrap();
    let mut options = SocketOptions::new();
    options.tcp_user_timeout(Duration::from_micros(12_345_678));
    let accepted = Rc::<RefCell<Option<Id<Echo>>>>::default();
    struct Server(Rc<RefCell<Option<Id<Echo>>>>);
    impl Dispatcher for Server {
        fn handle_accept(
            &mut self,
            cx: &mut Context<'_>,
            accepted: slabloop::Accepted,
        ) -> io::Result<()> {
            *self.0.borrow_mut() = Some(cx.add(accepted, Echo)?);
            Ok(())
        }
    }
    let server = Server(Rc::clone(&accepted));
    let server = reactor.listen_with(NOBODY, &options, server).unwrap();
    let address = reactor.local_addr(server).unwrap();
    let client = reactor.connect_with(address, &options, Echo).unwrap();
    let plain = reactor.connect(address, Echo).unwrap();
    turn_until(&mut reactor, "both", |reactor| {
        reactor.counters().accepted == 2
    });
    let set = Some(Duration::from_millis(12_345));
    let accepted = accepted.borrow().unwrap();
    assert_eq!(reactor.tcp_user_timeout(client).unwrap(), set);
    assert_eq!(reactor.tcp_user_timeout(accepted).unwrap(), set);
    assert_eq!(reactor.tcp_user_timeout(plain).unwrap(), None);
}

#[test]
fn an_option_out_of_range_is_an_error_that_names_it() {
    let mut reactor = Reactor::new().unwrap();
    let (_server, address) = listener();
    let path = UnixPath::new("range");
    let _unix = UnixListener::bind(&path.0).unwrap();
    let largest = Duration::from_millis(i32::MAX as u64);
    for limit in [
        Duration::ZERO,
        Duration::from_micros(999),
        largest + Duration::from_millis(1),
        Duration::MAX,
    ] {
        let mut options = SocketOptions::new();
        options.tcp_user_timeout(limit);
        for error in [
            reactor.connect_with(address, &options, Echo).unwrap_err(),
            reactor.listen_with(NOBODY, &options, Echo).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("tcp_user_timeout"), "{error}");
        }
    }
    let mut options = SocketOptions::new();
    options.connect_timeout(Duration::ZERO);
    for error in [
        reactor.connect_with(address, &options, Echo).unwrap_err(),
        reactor
            .connect_unix_with(&path.0, &options, Echo)
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("connect_timeout"), "{error}");
    }
    assert_eq!((reactor.count(), reactor.timer_count()), (0, 0));

    // The ends of the range; and where an option means nothing it is not looked at.
    for limit in [Duration::from_millis(1), largest] {
        let mut options = SocketOptions::new();
        options.tcp_user_timeout(limit);
        options.connect_timeout(Duration::from_nanos(1));
        let id = reactor.connect_with(address, &options, Echo).unwrap();
        assert_eq!(reactor.tcp_user_timeout(id).unwrap(), Some(limit));
    }
    options.tcp_user_timeout(Duration::MAX);
    reactor.bind_udp_with(NOBODY, &options, Echo).unwrap();
    let other = UnixPath::new("range-2");
    reactor.listen_unix_with(&other.0, &options, Echo).unwrap();
    options.connect_timeout(None).backlog(0);
    reactor.connect_unix_with(&other.0, &options, Echo).unwrap();
    let third = UnixPath::new("range-3");
    let error = reactor
        .listen_unix_with(&third.0, &options, Echo)
        .unwrap_err();
    assert!(error.to_string().contains("backlog"), "{error}");
}

#[test]
fn each_attempt_has_the_deadline_that_its_options_give() {
    let (mut reactor, clock) = on_a_clock();
    let silent = Silent::new();
    let diary = Diary::default();
    let mut dial = |who, limit: Option<Option<Duration>>| {
        let mut options = SocketOptions::new();
        if let Some(limit) = limit {
            options.connect_timeout(limit);
        }
        let spy = Spy::new(who, &diary);
        reactor.connect_with(silent.address, &options, spy).unwrap();
    };
    dial("usual", None);
    dial("short", Some(Some(Duration::from_secs(5))));
    dial("long", Some(Some(Duration::from_secs(100))));
    dial("none", Some(None));
    settle(&mut reactor);
    assert_eq!(reactor.timer_count(), 3);
    assert_eq!(reactor.next_timer(), Some(Duration::from_secs(5)));
    clock.advance(Duration::from_secs(5) - Duration::from_nanos(1));
    turn_for(&mut reactor, Duration::ZERO);
    assert!(diary.all().is_empty(), "not before");
    let mut all = Vec::new();
    for (by, who) in [
        (Duration::from_nanos(1), "short"),
        (Duration::from_secs(25), "usual"),
        (Duration::from_secs(70), "long"),
    ] {
        clock.advance(by);
        turn_for(&mut reactor, Duration::ZERO);
        all.extend([format!("{who} error TimedOut"), format!("{who} close")]);
        assert_eq!(diary.all(), all);
    }
    clock.advance(Duration::from_secs(100_000));
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!((reactor.count(), diary.all().len()), (1, 6));
}

/// The time of the last turn may be long past when a program connects between turns.
#[test]
fn a_deadline_counts_from_the_call_that_connects() {
    let (mut reactor, clock) = on_a_clock();
    let silent = Silent::new();
    let diary = Diary::default();
    let mut options = SocketOptions::new();
    options.connect_timeout(Duration::from_secs(5));
    turn_for(&mut reactor, Duration::ZERO);
    clock.advance(Duration::from_secs(60));
    reactor
        .connect_with(silent.address, &options, Spy::new("outside", &diary))
        .unwrap();
    assert_eq!(reactor.next_timer(), Some(Duration::from_secs(5)));
    turn_for(&mut reactor, Duration::ZERO);
    assert!(diary.all().is_empty(), "its time has just begun");

    // In a callback that took 60 s before it connected.
    let (told, slow, address) = (diary.clone(), clock.clone(), silent.address);
    let _keep = inside_a_callback(&mut reactor, move |cx| {
        slow.advance(Duration::from_secs(60));
        cx.connect_with(address, &options, Spy::new("inside", &told))?;
        Ok(())
    });
    assert_eq!(diary.count("inside", ""), 0);
    clock.advance(Duration::from_secs(5) - Duration::from_nanos(1));
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(diary.count("inside", ""), 0);
    clock.advance(Duration::from_nanos(1));
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(diary.of("inside"), ["error TimedOut", "close"]);
    assert_eq!(diary.of("outside"), ["error TimedOut", "close"]);
}

#[test]
fn a_unix_attempt_has_its_own_deadline_until_it_is_established() {
    let (mut reactor, _clock) = on_a_clock();
    let path = UnixPath::new("deadline");
    let _listener = UnixListener::bind(&path.0).unwrap();
    let diary = Diary::default();
    let mut options = SocketOptions::new();
    options.connect_timeout(Duration::from_secs(3));
    reactor
        .connect_unix_with(&path.0, &options, Spy::new("client", &diary))
        .unwrap();
    assert!(diary.all().is_empty(), "calls nothing");
    assert_eq!(reactor.next_timer(), Some(Duration::from_secs(3)));
    turn(&mut reactor);
    assert_eq!(diary.of("client"), ["connect"]);
    assert_eq!(reactor.timer_count(), 0);
}

#[test]
fn sockets_of_every_kind_are_made_from_inside_a_callback() {
    let mut reactor = Reactor::new().unwrap();
    let (one, two) = (UnixPath::new("inside-1"), UnixPath::new("inside-2"));
    let paths = (one.0.clone(), two.0.clone());
    let found = Rc::<RefCell<Vec<SocketAddr>>>::default();
    let diary = Diary::default();
    let (told, noted) = (Rc::clone(&found), diary.clone());
    // Answers each datagram to its sender.
    struct UdpEcho;
    impl Dispatcher for UdpEcho {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let mut datagram = [0; 64];
            let (length, from) = cx.recv_from(&mut datagram)?;
            cx.send_to(&datagram[..length], from)
        }
    }
    let _keep = inside_a_callback(&mut reactor, move |cx| {
        let mut options = SocketOptions::new();
        options.reuse_port(true);
        let plain = cx.bind_udp(NOBODY, UdpEcho)?;
        let plain = cx.at(plain).unwrap().local_addr()?;
        let shared = cx.bind_udp_with(NOBODY, &options, UdpEcho)?;
        let shared = cx.at(shared).unwrap().local_addr()?;
        // The option took effect: a second one on the same port, which the plain one refuses.
        cx.bind_udp_with(shared, &options, UdpEcho)?;
        let refused = cx.bind_udp_with(plain, &options, UdpEcho).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        told.borrow_mut().extend([plain, shared]);
        cx.listen_unix(&paths.0, Accepting(|| Echo))?;
        options.backlog(7);
        cx.listen_unix_with(&paths.1, &options, Accepting(|| Echo))?;
        cx.connect_unix(&paths.0, Spy::new("plain", &noted))?;
        cx.connect_unix_with(&paths.1, &options, Spy::new("with", &noted))?;
        Ok(())
    });
    assert_eq!(reactor.count(), 1 + 3 + 2 + 2);
    turn_until(&mut reactor, "both Unix connections", |reactor| {
        reactor.counters().accepted == 2
            && diary.count("plain", "connect") == 1
            && diary.count("with", "connect") == 1
    });
    for address in found.borrow().iter() {
        let peer = UdpSocket::bind(NOBODY).unwrap();
        peer.set_nonblocking(true).unwrap();
        peer.send_to(b"hello", address).unwrap();
        let mut answer = [0; 16];
        turn_until(&mut reactor, "the answer", |_| {
            peer.recv_from(&mut answer).is_ok()
        });
        assert_eq!(&answer[..5], b"hello");
    }
}

#[test]
fn an_attempt_begun_elsewhere_ends_as_one_of_our_own() {
    let mut reactor = Reactor::new().unwrap();
    let (answering, refusing) = (Silent::new(), Silent::new());
    let diary = Diary::default();
    let peers = Rc::<RefCell<Vec<Option<SocketAddr>>>>::default();
    let told = Rc::clone(&peers);
    let spy = Spy::new("client", &diary).on_connect(move |cx| {
        told.borrow_mut().push(cx.peer());
        cx.send(b" and late")
    });
    let id = reactor
        .add(Socket::connecting(dialled(answering.address)), spy)
        .unwrap();
    reactor.at(id).unwrap().send(b"early").unwrap();
    reactor
        .add(
            Socket::connecting(TcpStream::from(dialled(refusing.address))),
            Spy::new("refused", &diary),
        )
        .unwrap();
    assert_asleep(&mut reactor, "while there is no answer");
    assert!(diary.all().is_empty(), "still in progress");
    assert_eq!(reactor.timer_count(), 2, "with its deadline");

    // Both are asked again by the kernel after a second.
    answering.listener.set_nonblocking(true).unwrap();
    drop(refusing.listener);
    let mut accepted = Vec::new();
    turn_until(&mut reactor, "both answers", |_| {
        if let Ok((stream, _)) = answering.listener.accept() {
            accepted.push(TcpStream::from(stream));
        }
        diary.count("client", "connect") == 1 && diary.count("refused", "close") == 1
    });
    assert_eq!(diary.of("refused"), ["error ConnectionRefused", "close"]);
    assert_eq!(*peers.borrow(), [Some(answering.address)]);
    assert_eq!(reactor.timer_count(), 0);
    let ours = reactor.local_addr(id).unwrap();
    let mut sent = Vec::new();
    turn_until(&mut reactor, "what it sent", |_| {
        if let Ok((stream, _)) = answering.listener.accept() {
            accepted.push(TcpStream::from(stream));
        }
        let peer = accepted
            .iter_mut()
            .find(|stream| stream.peer_addr().ok() == Some(ours));
        if let Some(peer) = peer {
            peer.set_nonblocking(true).unwrap();
            let mut chunk = [0; 64];
            if let Ok(length) = peer.read(&mut chunk) {
                sent.extend_from_slice(&chunk[..length]);
            }
        }
        sent.len() >= 14
    });
    assert_eq!(sent, b"early and late");
    assert_eq!(diary.of("client"), ["connect"]);
}

#[test]
fn an_attempt_that_had_failed_before_it_was_added_is_one_error_and_one_close() {
    let mut reactor = Reactor::new().unwrap();
    let (_bound, address) = closed_port();
    let diary = Diary::default();
    let failed = dialled(address);
    // The loopback has refused by now.
    let id = reactor
        .add(Socket::connecting(failed), Spy::new("refused", &diary))
        .unwrap();
    reactor.at(id).unwrap().send(b"never sent").unwrap();
    assert!(diary.all().is_empty(), "add calls nothing");
    turn_until(&mut reactor, "the refusal", |_| !diary.all().is_empty());
    assert_eq!(diary.of("refused"), ["error ConnectionRefused", "close"]);

    // Established and reset again.
    let (server, address) = listener();
    let stream = dialled(address);
    reset(server.accept().unwrap().0);
    reactor
        .add(Socket::connecting(stream), Spy::new("reset", &diary))
        .unwrap();
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(diary.of("reset"), ["error ConnectionReset", "close"]);
    assert_eq!((reactor.timer_count(), reactor.memory().0), (0, 0));
    settle(&mut reactor);
    assert_eq!(diary.all().len(), 4, "and nothing more");
}

#[test]
fn a_stream_that_was_established_before_it_was_added_as_connecting_is_told_in_a_later_turn() {
    let mut reactor = Reactor::new().unwrap();
    let (server, address) = listener();
    let path = UnixPath::new("established");
    let unix_server = UnixListener::bind(&path.0).unwrap();
    let diary = Diary::default();

    // Blocking ones, too: they are made non-blocking.
    let stream = TcpStream::connect(address).unwrap();
    reactor
        .add(Socket::connecting(stream), Spy::new("tcp", &diary))
        .unwrap();
    let stream = UnixStream::connect(&path.0).unwrap();
    let unix = Spy::new("unix", &diary).on_connect(|cx| cx.send(b" and late"));
    let unix = reactor.add(Socket::connecting(stream), unix).unwrap();
    reactor.at(unix).unwrap().send(b"early").unwrap();
    assert!(diary.all().is_empty(), "add calls nothing");
    turn(&mut reactor);
    assert_eq!(diary.of("tcp"), ["connect"]);
    assert_eq!(diary.of("unix"), ["connect"]);
    let (mut peer, _) = unix_server.accept().unwrap();
    let mut sent = [0; 14];
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    turn(&mut reactor);
    peer.read_exact(&mut sent).unwrap();
    assert_eq!(&sent, b"early and late");

    // With input, and the end of it, before it was added.
    let stream = TcpStream::connect(address).unwrap();
    let (_first, _) = server.accept().unwrap();
    let (mut peer, _) = server.accept().unwrap();
    peer.write_all(b"all of it").unwrap();
    drop(peer);
    let spy = Spy::new("ended", &diary);
    let received = spy.received();
    reactor.add(Socket::connecting(stream), spy).unwrap();
    turn_until(&mut reactor, "the end", |_| {
        diary.count("ended", "close") == 1
    });
    assert_eq!(diary.of("ended")[0], "connect");
    assert_eq!(*received.borrow(), b"all of it");

    // From inside a callback.
    let stream = TcpStream::connect(address).unwrap();
    let noted = diary.clone();
    let _keep = inside_a_callback(&mut reactor, move |cx| {
        cx.add(Socket::connecting(stream), Spy::new("inside", &noted))?;
        assert_eq!(noted.count("inside", ""), 0);
        Ok(())
    });
    assert_eq!(diary.count("inside", ""), 0, "not in the same turn");
    turn_until(&mut reactor, "the connection", |_| {
        diary.count("inside", "connect") == 1
    });
    settle(&mut reactor);
    for who in ["tcp", "unix", "ended", "inside"] {
        assert_eq!(diary.count(who, "connect"), 1, "{who}");
    }
    assert_eq!(reactor.timer_count(), 0);
}

#[test]
fn an_attempt_begun_elsewhere_that_gets_no_answer_ends_at_the_builders_deadline() {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder
        .clock(clock.clone())
        .connect_timeout(Duration::from_secs(7));
    let mut reactor = builder.build().unwrap();
    let silent = Silent::new();
    let diary = Diary::default();
    clock.advance(Duration::from_secs(60));
    reactor
        .add(
            Socket::connecting(dialled(silent.address)),
            Spy::new("client", &diary),
        )
        .unwrap();
    settle(&mut reactor);
    clock.advance(Duration::from_secs(7) - Duration::from_nanos(1));
    turn_for(&mut reactor, Duration::ZERO);
    assert!(diary.all().is_empty(), "not before");
    clock.advance(Duration::from_nanos(1));
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(diary.of("client"), ["error TimedOut", "close"]);
    assert_eq!((reactor.count(), reactor.timer_count()), (0, 0));
}

/// No event would ever come for these but the first, and without a deadline they would stay for ever.
#[test]
fn a_stream_that_is_not_connecting_at_all_is_an_error_and_does_not_wait_for_the_deadline() {
    let mut builder = Reactor::builder();
    builder.connect_timeout(None);
    let mut reactor = builder.build().unwrap();
    let (_bound, address) = closed_port();

    let error_taken = dialled(address);
    let taken = error_taken.take_error().unwrap().unwrap();
    assert_eq!(taken.kind(), io::ErrorKind::ConnectionRefused);

    let dialled_twice = dialled(address);
    assert!(dialled_twice.connect(&address.into()).is_err());

    let never_dialled = tcp();
    let (bound_only, _) = closed_port();

    let unix = || socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let unix_missing = unix();
    let missing = socket2::SockAddr::unix("/nonexistent/socket").unwrap();
    assert!(unix_missing.connect(&missing).is_err());

    let path = UnixPath::new("full");
    let full = unix();
    full.bind(&socket2::SockAddr::unix(&path.0).unwrap())
        .unwrap();
    full.listen(1).unwrap();
    let mut queued = Vec::new();
    let unix_refused = loop {
        let socket = unix();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(&socket2::SockAddr::unix(&path.0).unwrap()) {
            Ok(()) => queued.push(socket),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                break socket;
            }
        }
        assert!(queued.len() < 100, "the queue has an end");
    };

    for (what, socket) in [
        ("error taken", error_taken),
        ("dialled twice", dialled_twice),
        ("never dialled", never_dialled),
        ("bound only", bound_only),
        ("missing path", unix_missing),
        ("full queue", unix_refused),
        ("Unix, never dialled", unix()),
    ] {
        let diary = Diary::default();
        let text = Rc::<RefCell<String>>::default();
        let told = Told(Spy::new("client", &diary), Rc::clone(&text));
        reactor.add(Socket::connecting(socket), told).unwrap();
        turn_until(&mut reactor, what, |reactor| reactor.count() == 0);
        assert_eq!(
            diary.of("client"),
            ["error NotConnected", "close"],
            "{what}"
        );
        assert!(text.borrow().contains("connect was not called"), "{what}");
    }
}

#[test]
fn what_is_no_stream_cannot_be_connecting() {
    let mut reactor = Reactor::new().unwrap();
    let wrong: [(&str, OwnedFd); 3] = [
        ("a datagram socket", UdpSocket::bind(NOBODY).unwrap().into()),
        ("a listener", listener().0.into()),
        ("a file", std::fs::File::open("/dev/null").unwrap().into()),
    ];
    for (what, fd) in wrong {
        let error = reactor.add(Socket::connecting(fd), Echo).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{what}");
        assert!(
            error.to_string().contains("Socket::connecting"),
            "{what}: {error}"
        );
    }
    assert_eq!((reactor.count(), reactor.timer_count()), (0, 0));
}

#[test]
fn what_the_system_refuses_at_once_is_refused_by_the_call_that_dials() {
    // Nobody connects to a broadcast address.
    let address: SocketAddr = "255.255.255.255:9".parse().unwrap();
    let refused = Socket::dial(address).map(drop).unwrap_err();
    let as_connect_says = tcp().connect(&address.into()).unwrap_err();
    assert_eq!(refused.raw_os_error(), as_connect_says.raw_os_error());
}
