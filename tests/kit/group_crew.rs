//! Connections that are handed over to other reactors: chosen evenly, bounded, and never lost on the way.

#[path = "util/group.rs"]
mod group_util;
#[path = "../util/log_lines.rs"]
mod log_lines;
#[path = "../util/mod.rs"]
mod util;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use group_util::*;
use log_lines::{keep_log, take_log};
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::kit::group::{Choice, Crew, Group, GroupHandle, Place, Refusal, Service};
use slabloop::{Accepted, AnyId, Context, Detached, Dispatcher, Id, Reactor};
use util::{DEADLINE, settle, tcp_pair, turn, turn_until};

/// A reactor that serves a crew's connections, and the clients that it has, by number.
struct Server {
    reactor: Reactor,
    service: Id<Service>,
    served: Rc<RefCell<Vec<AnyId>>>,
}

impl Server {
    fn new(crew: &Crew) -> Server {
        Server::with(crew, Reactor::new().expect("a poller"))
    }

    fn with(crew: &Crew, mut reactor: Reactor) -> Server {
        let served: Rc<RefCell<Vec<AnyId>>> = Rc::default();
        let noted = Rc::clone(&served);
        let service = crew.enroll(
            &mut reactor,
            move |cx: &mut Context<'_>, stream: Detached, place: Place| {
                noted
                    .borrow_mut()
                    .push(cx.add(stream, Echo(Some(place)))?.any());
                Ok(())
            },
        );
        Server {
            service: service.expect("room"),
            reactor,
            served,
        }
    }

    fn count(&self) -> usize {
        self.served.borrow().len()
    }

    #[track_caller]
    fn expect(&mut self, count: usize) {
        let served = Rc::clone(&self.served);
        turn_until(&mut self.reactor, "the connections", |_| {
            served.borrow().len() == count
        });
    }
}

fn crew(choice: Choice, most: usize) -> Crew {
    Crew::new(choice, most).expect("in range")
}

/// A connection to hand over, as a listener accepts it, and its client.
fn accepted(text: &[u8]) -> (Detached, TcpStream) {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut theirs) = tcp_pair();
    let id = reactor.add(ours, Echo(None)).expect("a stream");
    theirs.write_all(text).expect("room");
    theirs.set_read_timeout(Some(DEADLINE)).expect("a time");
    (reactor.detach(id).expect("open"), theirs)
}

/// Whether the server has closed a client.
fn is_closed(client: &mut TcpStream) -> bool {
    matches!(client.read(&mut [0; 8]), Ok(0) | Err(_))
}

#[test]
fn connections_go_round_and_each_is_served() {
    let crew = crew(Choice::RoundRobin, 100);
    let mut servers = [(); 3].map(|()| Server::new(&crew));
    let mut clients = Vec::new();
    for _ in 0..9 {
        let (connection, client) = accepted(b"hello");
        crew.hand_over(connection).expect("room");
        clients.push(client);
    }
    assert_eq!(
        crew.gauges().connections,
        [3, 3, 3],
        "those on their way count"
    );
    for server in &mut servers {
        server.expect(3);
        settle(&mut server.reactor);
    }
    for client in &mut clients {
        let mut echo = [0; 5];
        client.read_exact(&mut echo).expect("an echo");
        assert_eq!(&echo, b"hello");
    }
    let gauges = crew.gauges();
    assert_eq!(
        (
            gauges.handed_over,
            gauges.passed_on,
            gauges.refused,
            gauges.closed
        ),
        (9, 0, 0, 0)
    );
    drop(clients);
    for server in &mut servers {
        turn_until(&mut server.reactor, "the ends", |reactor| {
            reactor.count() == 1
        });
    }
    assert_eq!(crew.gauges().connections, [0, 0, 0]);
}

#[test]
fn the_reactor_with_the_fewest_connections_is_chosen() {
    let crew = crew(Choice::FewestConnections, 100);
    let mut servers = [Server::new(&crew), Server::new(&crew)];
    let mut clients = Vec::new();
    for _ in 0..6 {
        let (connection, client) = accepted(b"");
        crew.hand_over(connection).expect("room");
        clients.push(client);
    }
    for server in &mut servers {
        server.expect(3);
    }
    let ended = std::mem::take(&mut *servers[0].served.borrow_mut());
    for id in ended {
        servers[0].reactor.at(id).expect("open").abort();
    }
    turn(&mut servers[0].reactor);
    assert_eq!(crew.gauges().connections, [0, 3]);
    for expected in [[1, 3], [2, 3], [3, 3]] {
        let (connection, client) = accepted(b"");
        crew.hand_over(connection).expect("room");
        clients.push(client);
        assert_eq!(crew.gauges().connections, expected);
    }
}

/// A line at a time.
struct Lines;

impl Handler for Lines {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        cx.send(&[line, b"\n"].concat())
    }
}

#[test]
fn bytes_that_were_read_and_bytes_that_were_not_sent_go_along() {
    let crew = crew(Choice::RoundRobin, 100);
    let mut here = Reactor::new().expect("a poller");
    let (ours, mut client) = tcp_pair();
    let framed = Framed::new(Terminator::Line, Lines).expect("a terminator");
    let id = here.add(ours, framed).expect("a stream");
    client.write_all(b"one\nhal").expect("room");
    turn_until(&mut here, "the bytes", |reactor| {
        reactor.counters().bytes_in == 7
    });
    here.at(id).expect("open").send(b"two\n").expect("room");
    let mut there = Reactor::new().expect("a poller");
    let service = crew.enroll(
        &mut there,
        |cx: &mut Context<'_>, stream: Detached, _place: Place| {
            cx.add(stream, Framed::new(Terminator::Line, Lines)?)?;
            Ok(())
        },
    );
    service.expect("room");
    crew.hand_over(here.detach(id).expect("open"))
        .expect("room");
    client.write_all(b"f\n").expect("room");
    client.shutdown(std::net::Shutdown::Write).expect("open");
    turn_until(&mut there, "the end", |reactor| {
        reactor.counters().bytes_out > 0 && reactor.count() == 1
    });
    assert_eq!(read_to_the_end(&mut client), b"one\ntwo\nhalf\n");
}

#[test]
fn a_connection_that_no_reactor_has_room_for_comes_back_and_can_be_served_here() {
    let crew = crew(Choice::RoundRobin, 1);
    let (connection, _client) = accepted(b"");
    let refused = crew.hand_over(connection).expect_err("none has enrolled");
    assert_eq!(refused.refusal(), Refusal::NoReactor);
    assert!(
        io::Error::from(refused)
            .to_string()
            .ends_with("no reactor takes connections")
    );

    let mut servers = [Server::new(&crew), Server::new(&crew)];
    let mut clients = Vec::new();
    for _ in 0..2 {
        let (connection, client) = accepted(b"");
        crew.hand_over(connection).expect("room");
        clients.push(client);
    }
    let (connection, mut client) = accepted(b"here");
    let refused = crew.hand_over(connection).expect_err("each has one");
    assert_eq!(refused.refusal(), Refusal::Full);
    assert!(refused.to_string().contains("127.0.0.1:"), "{refused}");
    let mut here = Reactor::new().expect("a poller");
    here.add(refused.into_connection(), Echo(None))
        .expect("a stream");
    turn_until(&mut here, "the echo", |reactor| {
        reactor.counters().bytes_out == 4
    });
    let mut echo = [0; 4];
    client.read_exact(&mut echo).expect("an echo");
    assert_eq!(&echo, b"here");

    servers[1].expect(1);
    clients.pop();
    turn_until(&mut servers[1].reactor, "the end", |reactor| {
        reactor.count() == 1
    });
    let (connection, _client) = accepted(b"");
    crew.hand_over(connection).expect("there is room again");
    assert_eq!(crew.gauges().connections, [1, 1]);
    assert_eq!(crew.gauges().refused, 2);
    assert!(Crew::new(Choice::RoundRobin, 0).is_err(), "no room at all");
}

#[test]
fn a_reactor_whose_queue_is_full_is_passed_over() {
    let crew = crew(Choice::RoundRobin, 100);
    let small = Reactor::builder()
        .post_capacity(1)
        .build()
        .expect("a poller");
    let mut small = Server::with(&crew, small);
    let mut large = Server::new(&crew);
    for _ in 0..5 {
        let (connection, _client) = accepted(b"");
        crew.hand_over(connection).expect("room");
    }
    small.expect(1);
    large.expect(4);
}

#[test]
fn what_waits_for_a_reactor_that_ends_goes_to_another_and_the_last_tells_that_it_closes() {
    let crew = crew(Choice::RoundRobin, 100);
    let first = Server::new(&crew);
    let mut second = Server::new(&crew);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (connection, client) = accepted(b"moved");
        crew.hand_over(connection).expect("room");
        clients.push(client);
    }
    drop(first);
    second.expect(4);
    assert_eq!(crew.gauges().passed_on, 2);
    assert_eq!(
        crew.gauges().connections,
        [4],
        "a reactor that is gone is not in the list"
    );
    settle(&mut second.reactor);
    for client in &mut clients {
        let mut echo = [0; 5];
        client.read_exact(&mut echo).expect("an echo");
    }

    let (connection, mut client) = accepted(b"");
    crew.hand_over(connection).expect("room");
    drop(second);
    assert!(is_closed(&mut client), "there is no other");
    let gauges = crew.gauges();
    assert_eq!((gauges.handed_over, gauges.closed), (5, 1));
    let (connection, _client) = accepted(b"");
    let refused = crew.hand_over(connection).expect_err("none is left");
    assert_eq!(refused.refusal(), Refusal::NoReactor);
}

#[test]
fn a_reactor_that_is_shutting_down_passes_on_what_it_gets() {
    let crew = crew(Choice::RoundRobin, 100);
    let mut first = Server::new(&crew);
    let mut second = Server::new(&crew);
    // It keeps the shutdown going for some turns.
    let (ours, theirs) = tcp_pair();
    struct Stays;
    impl Dispatcher for Stays {
        fn handle_shutdown(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            Ok(())
        }
        fn handle_timer(&mut self, cx: &mut Context<'_>, _: slabloop::TimerId) -> io::Result<()> {
            cx.close();
            Ok(())
        }
    }
    let stays = first.reactor.add(ours, Stays).expect("a stream");
    drop(theirs);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (connection, client) = accepted(b"moved");
        crew.hand_over(connection).expect("room");
        clients.push(client);
    }
    first
        .reactor
        .at(stays)
        .expect("open")
        .set_timer(std::time::Duration::from_millis(20));
    let aborted = first.reactor.shutdown(DEADLINE).expect("no failure");
    assert!(aborted.is_empty(), "{aborted:?}");
    assert_eq!(first.count(), 0);
    second.expect(4);
    settle(&mut second.reactor);
    for client in &mut clients {
        let mut echo = [0; 5];
        client.read_exact(&mut echo).expect("an echo");
    }
    assert_eq!(crew.gauges().closed, 0);
    let (connection, _client) = accepted(b"");
    crew.hand_over(connection).expect("room");
    second.expect(5);
}

/// Its caller can still serve the connection elsewhere, or say what is wrong.
#[test]
fn a_connection_for_the_last_reactor_while_it_shuts_down_comes_back() {
    struct Late {
        crew: Crew,
        connection: Option<Detached>,
        refusal: Rc<RefCell<Option<Refusal>>>,
    }
    impl Dispatcher for Late {
        fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.set_timer(std::time::Duration::ZERO);
            Ok(())
        }
        fn handle_timer(&mut self, cx: &mut Context<'_>, _: slabloop::TimerId) -> io::Result<()> {
            let connection = self.connection.take().expect("one timer");
            let refused = self.crew.hand_over(connection).err();
            *self.refusal.borrow_mut() = refused.map(|refused| refused.refusal());
            cx.abort();
            Ok(())
        }
    }
    let crew = crew(Choice::RoundRobin, 100);
    let mut server = Server::new(&crew);
    let (connection, _client) = accepted(b"");
    let refusal = Rc::default();
    let late = Late {
        crew: crew.clone(),
        connection: Some(connection),
        refusal: Rc::clone(&refusal),
    };
    let (ours, _theirs) = tcp_pair();
    server.reactor.add(ours, late).expect("a stream");
    server.reactor.shutdown(DEADLINE).expect("no failure");
    assert_eq!(*refusal.borrow(), Some(Refusal::NoReactor));
    assert_eq!(crew.gauges().closed, 0);
}

#[test]
fn a_service_that_is_closed_gets_no_more() {
    let crew = crew(Choice::RoundRobin, 100);
    let mut first = Server::new(&crew);
    let mut second = Server::new(&crew);
    let (connection, _client) = accepted(b"");
    crew.hand_over(connection).expect("room");
    let service = first.service;
    first.reactor.at(service).expect("it is there").close();
    turn(&mut first.reactor);
    for _ in 0..3 {
        let (connection, _client) = accepted(b"");
        crew.hand_over(connection).expect("room");
    }
    second.expect(4);
    assert_eq!(first.count(), 0);
}

#[test]
fn a_panic_while_serving_takes_the_reactor_out_and_an_error_does_not() {
    let crew = crew(Choice::RoundRobin, 100);
    let mut fails = Reactor::new().expect("a poller");
    let calls = Rc::new(RefCell::new(0));
    let counted = Rc::clone(&calls);
    let service = crew.enroll(
        &mut fails,
        move |_: &mut Context<'_>, _: Detached, _: Place| {
            *counted.borrow_mut() += 1;
            if *counted.borrow() == 1 {
                return Err(io::Error::other("this one cannot be served"));
            }
            panic!("nor can this one");
        },
    );
    let service = service.expect("room");
    let (connection, mut client) = accepted(b"");
    crew.hand_over(connection).expect("room");
    keep_log();
    turn_until(&mut fails, "the error", |_| *calls.borrow() == 1);
    let log = take_log();
    let said = |text: &str| log.iter().any(|(_, line)| line.contains(text));
    assert!(said("this one cannot be served"), "{log:?}");
    assert!(is_closed(&mut client));
    assert!(fails.at(service).is_some(), "it goes on");
    assert_eq!(crew.gauges().connections, [0]);

    let mut other = Server::new(&crew);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (connection, client) = accepted(b"");
        crew.hand_over(connection).expect("room");
        clients.push(client);
    }
    turn_until(&mut fails, "the panic", |_| *calls.borrow() == 2);
    turn(&mut fails);
    assert!(fails.at(service).is_none(), "it is out");
    other.expect(3);
    assert_eq!(crew.gauges().connections, [3]);
}

/// Accepts for the crew.
struct Front(Crew);

impl Dispatcher for Front {
    fn handle_accept(&mut self, _: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let peer = accepted.peer();
        let connection = Detached::try_from(accepted)?;
        assert_eq!(connection.peer(), peer, "the address goes along");
        Ok(self.0.hand_over(connection)?)
    }
}

/// A group of two, in which the first accepts for both; a thread returns how many it served.
fn crew_group(crew: &Crew) -> (Group<u64>, SocketAddr) {
    let address = Arc::new(Mutex::new(None));
    let (crew, noted) = (crew.clone(), Arc::clone(&address));
    let builder = Group::builder().threads(2).name("crew").drain(DEADLINE);
    let group = builder.start(move |member| {
        let mut reactor = Reactor::new()?;
        let served = Rc::new(RefCell::new(0));
        let count = Rc::clone(&served);
        crew.enroll(
            &mut reactor,
            move |cx: &mut Context<'_>, stream: Detached, place: Place| {
                *count.borrow_mut() += 1;
                cx.add(stream, Echo(Some(place)))?;
                Ok(())
            },
        )?;
        if member.index() == 0 {
            let id = reactor.listen("127.0.0.1:0", Front(crew.clone()))?;
            *noted.lock().unwrap() = Some(reactor.local_addr(id)?);
        }
        member.run(&mut reactor)?;
        Ok(served.take())
    });
    let group = group.expect("threads");
    let address = address.lock().unwrap().expect("it listens");
    (group, address)
}

#[test]
fn a_thousand_connections_are_handed_over_and_every_echo_is_right() {
    const CLIENTS: usize = 1_000;
    let crew = crew(Choice::FewestConnections, 10_000);
    let (group, address) = crew_group(&crew);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| client(address)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        expect_echo(client, number);
    }
    assert_eq!(crew.gauges().connections, [CLIENTS / 2; 2], "exactly even");
    for client in clients {
        hang_up(client);
    }
    group.handle().shut_down();
    assert_eq!(group.join().expect("no failure"), [500, 500]);
    assert_eq!(crew.gauges().closed, 0);
}

/// The second of two reactors is busy until `go_on` says so; then what has been handed over to it still is to be served.
fn shut_down_with_connections_on_their_way(each: u64, go_on: impl FnOnce(&GroupHandle)) {
    let crew = crew(Choice::RoundRobin, 10_000);
    let (group, address) = crew_group(&crew);
    let handle = group.handle();
    let [first, second] = [0, 1].map(|index| block(&handle.reactor(index).expect("it runs")));
    let mut clients: Vec<_> = (0..2 * each).map(|_| client(address)).collect();
    for client in &mut clients {
        client.write_all(b"waited").expect("room");
    }
    handle.shut_down();
    drop(first);
    go_on(&handle);
    drop(second);
    for mut client in clients {
        assert_eq!(read_to_the_end(&mut client), b"waited");
    }
    assert_eq!(group.join().expect("no failure"), [each, each]);
}

#[test]
fn nothing_is_lost_in_a_shutdown_while_connections_are_on_their_way() {
    shut_down_with_connections_on_their_way(100, |_| ());
}

#[test]
fn nothing_is_lost_in_a_shutdown_by_a_reactor_that_is_the_last_to_know_of_it() {
    // So few that one turn takes them all.
    shut_down_with_connections_on_their_way(1, |group| {
        wait_until("the other to be done", || {
            format!("{group:?}").contains("Leaving")
        });
    });
}

/// What comes to it then is read in the turn after the one that took it.
#[test]
fn nothing_is_lost_in_a_shutdown_by_a_reactor_that_is_busy_while_it_waits_for_the_others() {
    let crew = crew(Choice::RoundRobin, 100);
    let (group, address) = crew_group(&crew);
    let handle = group.handle();
    let [first, second] = [0, 1].map(|index| handle.reactor(index).expect("it runs"));
    let held = block(&first);
    let mut clients = [(); 2].map(|()| client(address));
    for client in &mut clients {
        client.write_all(b"waited").expect("room");
    }
    handle.shut_down();
    wait_until("the second to wait", || {
        format!("{handle:?}").contains("Leaving")
    });
    let busy = block(&second);
    drop((first, second, held));
    wait_until("the first to be done", || {
        !format!("{handle:?}").contains("Ready")
    });
    drop(busy);
    for mut client in clients {
        assert_eq!(read_to_the_end(&mut client), b"waited");
    }
    assert_eq!(group.join().expect("no failure"), [1, 1]);
}

#[test]
fn connections_come_in_and_go_while_others_are_handed_over() {
    const ROUNDS: usize = 200;
    let crew = crew(Choice::FewestConnections, 10_000);
    let (group, address) = crew_group(&crew);
    let workers = [0, 1, 2, 3].map(|worker| {
        std::thread::spawn(move || {
            for round in 0..ROUNDS {
                let mut client = client(address);
                expect_echo(&mut client, worker * ROUNDS + round);
                hang_up(client);
            }
        })
    });
    for worker in workers {
        worker.join().expect("every echo is right");
    }
    group.handle().shut_down();
    let served: u64 = group.join().expect("no failure").iter().sum();
    assert_eq!(served, 4 * ROUNDS as u64);
}

#[test]
fn a_thread_without_a_reactor_hands_over_what_it_accepts() {
    let crew = crew(Choice::RoundRobin, 100);
    let (group, _) = crew_group(&crew);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut client = client(listener.local_addr().expect("it listens"));
    let (stream, _) = listener.accept().expect("a client");
    let mut reactor = Reactor::new().expect("a poller");
    let id = reactor.add(stream, Echo(None)).expect("a stream");
    crew.hand_over(reactor.detach(id).expect("open"))
        .expect("room");
    drop(reactor);
    expect_echo(&mut client, 1);
    hang_up(client);
    group.handle().shut_down();
    group.join().expect("no failure");
}
