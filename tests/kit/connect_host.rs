//! Connections to names: which address is tried when, which one wins, and what is said if none does.

#[path = "../util/ports.rs"]
mod ports;
#[path = "../util/mod.rs"]
mod util;

mod name_server;

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use name_server::NameServer;
use ports::free_port;
use simple_dns::RCODE;
use slabloop::kit::resolver::{ConnectError, Dial, Dialling, DnsResolver, Failure, connect_host};
use slabloop::testing::SimClock;
use slabloop::{Context, Dispatcher, Id, Reactor, Socket};
use socket2::{Domain, Type};
use util::{DEADLINE, settle, tcp_pair, turn, turn_until};

const SECOND: Duration = Duration::from_secs(1);

type Notes = Rc<RefCell<Vec<String>>>;

type Outcomes = Rc<RefCell<Vec<Result<Id<Client>, ConnectError>>>>;

/// Writes down what happens to it.
#[derive(Clone, Default)]
struct Client {
    notes: Notes,
}

impl Client {
    fn note(&self, what: impl Into<String>) {
        self.notes.borrow_mut().push(what.into());
    }
}

impl Dispatcher for Client {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let peer = cx.peer().expect("connected");
        self.note(format!("connect {}", peer.ip()));
        cx.send(b"hello")
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, _| {
            self.note(String::from_utf8_lossy(bytes));
            Ok(())
        })
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.note(format!("error {:?}: {error}", error.kind()));
        cx.close();
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        self.note("close");
    }
}

/// Who wants the connection.
#[derive(Default)]
struct Owner {
    outcomes: Outcomes,
}

impl Dispatcher for Owner {}

impl Owner {
    fn dialled(
        &mut self,
        _: &mut Context<'_>,
        outcome: Result<Id<Client>, ConnectError>,
    ) -> io::Result<()> {
        self.outcomes.borrow_mut().push(outcome);
        Ok(())
    }
}

struct Setting {
    reactor: Reactor,
    clock: SimClock,
    dns: DnsResolver,
    owner: Id<Owner>,
    outcomes: Outcomes,
    client: Client,
}

/// A name server that says `addresses` of every name, in the order that the resolver leaves them in: all are loopback
/// addresses, and IPv4.
fn setting(addresses: &[IpAddr]) -> Setting {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let addresses = addresses.to_vec();
    let server = NameServer::new(&mut reactor, move |asked| {
        if asked.name() == "none.test" {
            return vec![asked.reply(RCODE::NameError).bytes()];
        }
        if asked.name() == "silent.test" {
            return vec![];
        }
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        vec![asked.addresses(&texts, 60)]
    });
    let dns = DnsResolver::new(&mut reactor, server.config()).unwrap();
    let owner = Owner::default();
    let outcomes = Rc::clone(&owner.outcomes);
    let owner = reactor.add_service(owner).unwrap();
    Setting {
        reactor,
        clock,
        dns,
        owner,
        outcomes,
        client: Client::default(),
    }
}

impl Setting {
    fn dial(&mut self, name: &str, port: u16) -> Dialling {
        self.dial_with(Dial::new(name, port))
    }

    fn dial_with(&mut self, dial: Dial) -> Dialling {
        let client = self.client.clone();
        let mut cx = self.reactor.at(self.owner).unwrap();
        dial.start(&mut cx, &self.dns, self.owner, client, Owner::dialled)
    }

    #[track_caller]
    fn outcome(&mut self) -> Result<Id<Client>, ConnectError> {
        let outcomes = Rc::clone(&self.outcomes);
        turn_until(&mut self.reactor, "the outcome", |_| {
            !outcomes.borrow().is_empty()
        });
        let outcome = self.outcomes.borrow_mut().pop().unwrap();
        settle(&mut self.reactor);
        assert!(self.outcomes.borrow().is_empty(), "there is one outcome");
        outcome
    }

    fn notes(&self) -> Vec<String> {
        self.client.notes.borrow().clone()
    }

    /// What there is besides: the name server's two, the resolver and the owner.
    fn others(&self) -> usize {
        self.reactor.count() - 4
    }
}

fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

fn listen(address: IpAddr, port: u16) -> TcpListener {
    TcpListener::bind((address, port)).unwrap()
}

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

/// A listener whose queue is full: attempts get no answer.
struct Silent {
    _listener: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

impl Silent {
    fn new(address: IpAddr, port: u16) -> (Silent, u16) {
        let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&SocketAddr::new(address, port).into())
            .unwrap();
        listener.listen(1).unwrap();
        let bound = listener.local_addr().unwrap().as_socket().unwrap();
        let dialled = |_| {
            let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&bound.into());
            socket
        };
        let silent = Silent {
            _waiting: (0..4).map(dialled).collect(),
            _listener: listener,
        };
        (silent, bound.port())
    }
}

fn peer_of(listener: &TcpListener) -> TcpStream {
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer
}

#[test]
fn the_connection_goes_to_its_dispatcher_as_any_that_was_made() {
    let mut setting = setting(&[loopback(1)]);
    let listener = listen(loopback(1), free_port());
    let mut cx = setting.reactor.at(setting.owner).unwrap();
    let client = setting.client.clone();
    connect_host(
        &mut cx,
        &setting.dns,
        setting.owner,
        "host.test",
        port_of(&listener),
        client,
        Owner::dialled,
    );
    assert!(
        setting.outcomes.borrow().is_empty(),
        "nothing is called from inside"
    );
    let id = setting.outcome().unwrap();
    assert!(setting.reactor.with(id, |_, _| ()).is_some());
    let mut peer = peer_of(&listener);
    let mut hello = [0; 5];
    peer.read_exact(&mut hello).unwrap();
    peer.write_all(b"world").unwrap();
    let notes = Rc::clone(&setting.client.notes);
    turn_until(&mut setting.reactor, "the answer", |_| {
        notes.borrow().len() == 2
    });
    assert_eq!(setting.notes(), ["connect 127.0.0.1", "world"]);
    assert_eq!(setting.others(), 1, "the connection alone is left");
    assert_eq!(setting.reactor.timer_count(), 0);
    drop(peer);
    turn_until(&mut setting.reactor, "the end", |_| {
        notes.borrow().len() == 3
    });
    assert_eq!(setting.others(), 0);
}

#[test]
fn what_a_server_says_at_once_is_the_dispatchers() {
    let mut setting = setting(&[loopback(1)]);
    let listener = listen(loopback(1), free_port());
    let port = port_of(&listener);
    let greeting = std::thread::spawn(move || {
        let mut peer = peer_of(&listener);
        peer.write_all(b"220 welcome").unwrap();
        let mut all = Vec::new();
        let _ = peer.read_to_end(&mut all);
        all
    });
    setting.dial("host.test", port);
    setting.outcome().unwrap();
    let notes = Rc::clone(&setting.client.notes);
    turn_until(&mut setting.reactor, "the greeting", |_| {
        notes.borrow().len() == 2
    });
    assert_eq!(setting.notes(), ["connect 127.0.0.1", "220 welcome"]);
    drop(setting);
    assert_eq!(greeting.join().unwrap(), b"hello");
}

#[test]
fn an_address_that_refuses_gives_way_at_once() {
    let mut setting = setting(&[loopback(2), loopback(3), loopback(1)]);
    let listener = listen(loopback(1), free_port());
    setting.dial("host.test", port_of(&listener));
    // No time passes: the clock stands still.
    setting.outcome().unwrap();
    assert_eq!(setting.notes(), ["connect 127.0.0.1"]);
}

#[test]
fn an_address_that_is_silent_gets_company_after_the_stagger() {
    let (_silent, port) = Silent::new(loopback(2), free_port());
    let mut setting = setting(&[loopback(2), loopback(1)]);
    let listener = listen(loopback(1), port);
    let mut dial = Dial::new("host.test", port);
    dial.stagger(Duration::from_millis(300));
    setting.dial_with(dial);
    settle(&mut setting.reactor);
    assert_eq!(setting.others(), 2, "the race, and one attempt");
    setting.clock.advance(Duration::from_millis(299));
    settle(&mut setting.reactor);
    assert_eq!(setting.others(), 2);
    setting.clock.advance(Duration::from_millis(1));
    turn(&mut setting.reactor);
    setting.outcome().unwrap();
    assert_eq!(setting.notes(), ["connect 127.0.0.1"]);
    // The slower attempt has been closed.
    assert_eq!(setting.others(), 1);
    assert_eq!(setting.reactor.timer_count(), 0);
    drop(listener);
}

#[test]
fn the_usual_stagger_is_a_quarter_of_a_second_and_all_run_beside_each_other() {
    let port = {
        let (silent, port) = Silent::new(loopback(2), free_port());
        std::mem::forget(silent);
        port
    };
    let _silent = [3, 4].map(|last| Silent::new(loopback(last), port));
    let mut setting = setting(&[loopback(2), loopback(3), loopback(4)]);
    let dialling = setting.dial("host.test", port);
    for attempts in 1..=3 {
        settle(&mut setting.reactor);
        assert_eq!(setting.others(), 1 + attempts);
        setting.clock.advance(Duration::from_millis(249));
        settle(&mut setting.reactor);
        assert_eq!(setting.others(), 1 + attempts);
        setting.clock.advance(Duration::from_millis(1));
        turn(&mut setting.reactor);
    }
    let mut cx = setting.reactor.at(setting.owner).unwrap();
    assert!(dialling.cancel(&mut cx));
    assert!(!dialling.cancel(&mut cx));
    settle(&mut setting.reactor);
    assert_eq!(setting.others(), 0);
    assert!(setting.outcomes.borrow().is_empty());
    assert!(setting.notes().is_empty(), "it was never added");
    assert_eq!(setting.reactor.timer_count(), 0);
}

#[test]
fn if_all_fail_the_error_names_each_address_and_why() {
    let mut setting = setting(&[loopback(2), loopback(3)]);
    let port = free_port();
    setting.dial("host.test", port);
    let error = setting.outcome().unwrap_err();
    let text = error.to_string();
    for part in [
        "host.test",
        &format!("port {port}"),
        &format!("127.0.0.2:{port}: "),
        &format!("127.0.0.3:{port}: "),
        "refused",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let kinds: Vec<_> = error
        .attempts()
        .map(|(address, error)| (address.ip(), error.unwrap().kind()))
        .collect();
    assert_eq!(
        kinds,
        [
            (loopback(2), ErrorKind::ConnectionRefused),
            (loopback(3), ErrorKind::ConnectionRefused)
        ]
    );
    assert!(!error.is_timeout());
    assert_eq!(io::Error::from(error).kind(), ErrorKind::ConnectionRefused);
    assert!(setting.notes().is_empty(), "it was never added");
    assert_eq!(setting.others(), 0);
}

#[test]
fn a_name_that_cannot_be_looked_up_is_the_lookups_error() {
    let mut setting = setting(&[]);
    setting.dial("none.test", 80);
    let error = setting.outcome().unwrap_err();
    assert_eq!(error.lookup().unwrap().failure(), Failure::NoSuchName);
    assert!(error.to_string().contains("no such name"), "{error}");
    assert_eq!(io::Error::from(error).kind(), ErrorKind::NotFound);
    assert_eq!(setting.others(), 0);
}

#[test]
fn the_deadline_covers_the_lookup_and_the_attempts() {
    let (_silent, port) = Silent::new(loopback(2), free_port());
    let mut setting = setting(&[loopback(2), loopback(3), loopback(4)]);
    // Nobody listens at the second.
    let mut dial = Dial::new("silent.test", port);
    dial.deadline(SECOND);
    setting.dial_with(dial);
    settle(&mut setting.reactor);
    setting.clock.advance(SECOND);
    let error = setting.outcome().unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.attempts().count(), 0);
    assert_eq!(setting.others(), 0, "the lookup has ended as well");

    let mut dial = Dial::new("host.test", port);
    dial.deadline(Duration::from_millis(200));
    setting.dial_with(dial);
    settle(&mut setting.reactor);
    setting.clock.advance(Duration::from_millis(200));
    let error = setting.outcome().unwrap_err();
    assert!(error.is_timeout());
    let text = error.to_string();
    assert!(
        text.contains(&format!("127.0.0.2:{port}: no answer")),
        "{text}"
    );
    assert!(
        text.contains(&format!("127.0.0.4:{port}: not tried")),
        "{text}"
    );
    assert!(text.contains("200ms"), "{text}");
    assert_eq!(io::Error::from(error).kind(), ErrorKind::TimedOut);
    assert_eq!(setting.others(), 0);
    assert_eq!(setting.reactor.timer_count(), 0);
}

#[test]
fn the_only_attempt_has_its_own_timer_alone_if_there_is_no_deadline() {
    let (_silent, port) = Silent::new(loopback(2), free_port());
    let mut setting = setting(&[]);
    let mut dial = Dial::new("127.0.0.2", port);
    dial.deadline(Duration::MAX);
    let dialling = setting.dial_with(dial);
    settle(&mut setting.reactor);
    assert_eq!(setting.others(), 2, "the race, and one attempt");
    // That of every connection that is being opened.
    assert_eq!(setting.reactor.timer_count(), 1);
    assert!(dialling.cancel(&mut setting.reactor.at(setting.owner).unwrap()));
}

#[test]
fn an_attempt_that_somebody_else_closes_gives_way_at_once() {
    let (_silent, port) = Silent::new(loopback(2), free_port());
    let mut setting = setting(&[loopback(2), loopback(1)]);
    let _listener = listen(loopback(1), port);
    setting.dial("host.test", port);
    settle(&mut setting.reactor);
    assert_eq!(setting.others(), 2, "the race, and one attempt");
    for id in setting.reactor.ids() {
        let mut cx = setting.reactor.at(id).unwrap();
        if cx.label().to_string().contains("Attempt") {
            cx.abort();
        }
    }
    // No time passes: the clock stands still.
    setting.outcome().unwrap();
    assert_eq!(setting.notes(), ["connect 127.0.0.1"]);
}

#[test]
fn a_connection_that_is_cancelled_in_the_turn_of_its_success_is_closed() {
    let mut setting = setting(&[loopback(1)]);
    let listener = listen(loopback(1), free_port());
    let dialling = setting.dial("host.test", port_of(&listener));
    let mut peer = None;
    // Whenever it is cancelled: there is no outcome, and nothing is left.
    for turns in 0..12 {
        let dialling = if turns == 0 {
            dialling
        } else {
            setting.dial("host.test", port_of(&listener))
        };
        for _ in 0..turns {
            setting.reactor.turn(Duration::ZERO).unwrap();
        }
        let mut cx = setting.reactor.at(setting.owner).unwrap();
        let cancelled = dialling.cancel(&mut cx);
        settle(&mut setting.reactor);
        let outcomes = setting.outcomes.borrow_mut().pop();
        assert_ne!(cancelled, outcomes.is_some(), "after {turns} turns");
        if let Some(outcome) = outcomes {
            peer = Some(outcome.unwrap());
            setting.reactor.at(peer.unwrap()).unwrap().abort();
            settle(&mut setting.reactor);
        }
        assert_eq!(setting.others(), 0);
    }
    assert!(peer.is_some(), "at last it was too late to cancel");
}

#[test]
fn closing_everything_is_an_outcome_too() {
    let (_silent, port) = Silent::new(loopback(2), free_port());
    let mut setting = setting(&[loopback(2)]);
    setting.dial("host.test", port);
    settle(&mut setting.reactor);
    // The owner stays to hear of it.
    let ids = setting.reactor.ids();
    for id in ids {
        if id != setting.owner.any() {
            setting.reactor.at(id).unwrap().close();
        }
    }
    let error = setting.outcome().unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
}

#[test]
fn addresses_need_no_resolver_and_shutdown_no_wait() {
    let mut setting = setting(&[]);
    let listener = listen(loopback(1), free_port());
    setting.dial("127.0.0.1", port_of(&listener));
    let id = setting.outcome().unwrap();
    assert_eq!(setting.notes(), ["connect 127.0.0.1"]);
    setting.reactor.at(id).unwrap().abort();
    let (_silent, port) = Silent::new(loopback(2), free_port());
    setting.dial("127.0.0.2", port);
    settle(&mut setting.reactor);
    let aborted = setting.reactor.shutdown(DEADLINE).unwrap();
    assert!(aborted.is_empty(), "{aborted:?}");
    let outcome = setting.outcomes.borrow_mut().pop().unwrap();
    assert!(outcome.unwrap_err().to_string().contains("closed"));
}

#[test]
fn who_dials_while_the_reactor_shuts_down_is_told_that_nothing_can_be_added() {
    struct Late(DnsResolver, Notes);
    impl Dispatcher for Late {
        fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let me = cx.id::<Late>();
            let client = Client::default();
            let told = |late: &mut Late, cx: &mut Context<'_>, outcome: Result<_, ConnectError>| {
                let error = outcome.expect_err("nothing can be added");
                assert!(error.lookup().is_none() && !error.is_timeout());
                late.1.borrow_mut().push(error.to_string());
                cx.abort();
                Ok(())
            };
            let dialling = connect_host(cx, &self.0, me, "host.test", 80, client, told);
            assert!(!dialling.cancel(cx), "there is nothing to cancel");
            Ok(())
        }
    }
    let Setting {
        mut reactor, dns, ..
    } = setting(&[]);
    let told = Notes::default();
    // A connection, for which the shutdown waits.
    let (ours, _peer) = tcp_pair();
    reactor.add(ours, Late(dns, Rc::clone(&told))).unwrap();
    reactor.shutdown(DEADLINE).unwrap();
    let told = told.borrow();
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("cannot connect to host.test, port 80: "));
    assert!(told[0].contains("shutting down"), "{told:?}");
}

/// Certificate, key and the client's trust in it.
fn tls() -> (
    Arc<slabloop::tls::rustls::ServerConfig>,
    slabloop::tls::Connector,
) {
    use slabloop::tls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use slabloop::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
    let made = rcgen::generate_simple_self_signed(["host.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), slabloop::tls::Connector::new(client))
}

#[test]
fn a_layer_is_put_on_the_winner_alone() {
    use slabloop::tls::rustls::{ServerConnection, StreamOwned};
    let (server, connector) = tls();
    let mut setting = setting(&[loopback(2), loopback(1)]);
    let port = free_port();
    let listener = listen(loopback(1), port);
    let serving = std::thread::spawn(move || {
        let peer = peer_of(&listener);
        let session = ServerConnection::new(server).unwrap();
        let mut stream = StreamOwned::new(session, peer);
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(b"secret").unwrap();
        hello
    });
    let mut dial = Dial::new("host.test", port);
    dial.prepare(move |socket: Socket| Ok(socket.layered(connector.session("host.test")?)));
    setting.dial_with(dial);
    setting.outcome().unwrap();
    let notes = Rc::clone(&setting.client.notes);
    turn_until(&mut setting.reactor, "the answer", |_| {
        notes.borrow().len() >= 2
    });
    assert_eq!(setting.notes()[..2], ["connect 127.0.0.1", "secret"]);
    assert_eq!(&serving.join().unwrap(), b"hello");
}

#[test]
fn a_layer_that_cannot_be_made_is_the_outcome_and_a_handshake_that_fails_the_dispatchers() {
    let mut setting = setting(&[loopback(1)]);
    let listener = listen(loopback(1), free_port());
    let port = port_of(&listener);
    let mut dial = Dial::new("host.test", port);
    dial.prepare(|_| Err(io::Error::other("no certificate here")));
    setting.dial_with(dial);
    let error = setting.outcome().unwrap_err();
    assert!(error.to_string().contains("no certificate here"), "{error}");
    assert_eq!(setting.others(), 0);
    let mut gone = peer_of(&listener);
    assert_eq!(gone.read(&mut [0]).unwrap_or(0), 0, "it was closed");

    let (_, connector) = tls();
    let mut dial = Dial::new("host.test", port);
    dial.prepare(move |socket: Socket| Ok(socket.layered(connector.session("host.test")?)));
    setting.dial_with(dial);
    setting.outcome().unwrap();
    let mut peer = peer_of(&listener);
    peer.write_all(b"this is no TLS at all").unwrap();
    let notes = Rc::clone(&setting.client.notes);
    turn_until(&mut setting.reactor, "the end", |_| {
        notes.borrow().len() == 2
    });
    let notes = setting.notes();
    assert!(notes[0].contains("handshake"), "{notes:?}");
    assert_eq!(notes[1], "close");
}
