//! What is told of a dispatcher to those who show a reactor.

mod util;

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use slabloop::observe::{Kind, Observer, Stage, TurnEnd};
use slabloop::testing::SimClock;
use slabloop::{AnyId, Cause, Context, Dispatcher, End, Reactor, Timeout};
use util::*;

#[test]
fn a_description_tells_type_kind_address_and_stage() {
    let mut reactor = Reactor::new().unwrap();
    let (listener, address) = serve(&mut reactor, || Echo);
    let known = reactor.describe(listener).unwrap();
    assert_eq!(
        (known.kind, known.stage),
        (Kind::Listener, Stage::Listening)
    );
    assert_eq!(known.address.to_string(), address.to_string());
    assert!(known.type_name.contains("::Accepting<"), "{known:?}");
    assert!(known.short_name().starts_with("Accepting<"), "{known:?}");

    let (id, peer) = spied_pair(&mut reactor, Spy::new("a", &Diary::default()));
    let known = reactor.describe(id).unwrap();
    assert_eq!((known.kind, known.stage), (Kind::Stream, Stage::Open));
    assert_eq!(
        known.address.to_string(),
        peer.local_addr().unwrap().to_string()
    );
    assert_eq!(known.short_name(), "Spy");
    assert_eq!(known.id, id.any());

    let dialled = reactor.connect(address, Echo).unwrap();
    assert_eq!(reactor.describe(dialled).unwrap().stage, Stage::Connecting);

    struct Nothing;
    impl Dispatcher for Nothing {}
    let service = reactor.add_service(Nothing).unwrap();
    assert_eq!(reactor.describe(service).unwrap().kind, Kind::Service);
}

#[test]
fn one_who_is_closing_is_described_until_it_is_gone() {
    let mut reactor = Reactor::new().unwrap();
    let (id, peer) = spied_pair(&mut reactor, Spy::new("a", &Diary::default()));
    settle(&mut reactor);
    reactor.at(id).unwrap().close();
    assert_eq!(reactor.describe(id).unwrap().stage, Stage::Closing);
    drop(peer);
    settle(&mut reactor);
    assert!(reactor.describe(id).is_none());
    assert!(reactor.describe(AnyId::NONE).is_none());
}

#[test]
fn what_it_asks_for_and_what_is_queued_follow_its_calls() {
    let mut reactor = Reactor::new().unwrap();
    let (id, _peer) = spied_pair(&mut reactor, Spy::new("a", &Diary::default()));
    settle(&mut reactor);
    let mut cx = reactor.at(id).unwrap();
    cx.pause_reading();
    cx.start_writing();
    cx.send(b"four").unwrap();
    cx.set_marks(1, 2, 3_000).unwrap();
    let known = cx.describe(id).unwrap();
    assert!(!known.interest.reading && known.interest.writing);
    assert!(known.is_ready, "its handle_write is due");
    assert_eq!(known.queued, 4);
    let marks = (known.low_mark, known.high_mark, known.hard_cap);
    assert_eq!(marks, (1, 2, 3_000));
    cx.shutdown_write();
    let known = cx.describe(id).unwrap();
    assert!(!known.interest.writing, "there is nothing more to write");
}

#[test]
fn one_who_is_held_tells_for_whom() {
    let mut reactor = Reactor::new().unwrap();
    let (sink, _sinks_peer) = spied_pair(&mut reactor, Spy::new("sink", &Diary::default()));
    let (source, mut peer) = spied_pair(&mut reactor, Spy::new("source", &Diary::default()));
    settle(&mut reactor);
    reactor.at(source).unwrap().feeds(sink);
    assert_eq!(reactor.describe(source).unwrap().held_by, AnyId::NONE);
    let mut cx = reactor.at(sink).unwrap();
    cx.set_marks(1, 2, 3_000).unwrap();
    cx.send(b"over the mark").unwrap();
    let known = |id: AnyId| reactor.describe(id).unwrap().held_by;
    assert_eq!(known(source.any()), sink.any());
    assert_eq!(known(sink.any()), sink.any(), "it feeds itself");
    peer.write_all(b"x").unwrap();
    settle(&mut reactor);
    assert_eq!(reactor.describe(source).unwrap().held_by, AnyId::NONE);
}

/// How many posts waited at the end of each turn.
struct Posts(Rc<RefCell<Vec<usize>>>);

impl Observer for Posts {
    fn turn_ended(&mut self, _: Duration, end: &TurnEnd) {
        self.0.borrow_mut().push(end.posts);
    }
}

#[test]
fn the_end_of_a_turn_tells_how_many_posts_wait() {
    let mut reactor = Reactor::builder()
        .post_capacity(10)
        .posts_per_turn(2)
        .posts_time(DEADLINE)
        .build()
        .unwrap();
    let seen = Rc::default();
    reactor.observe(Posts(Rc::clone(&seen)));
    let handle = reactor.handle();
    assert_eq!(handle.capacity(), 10);
    for _ in 0..5 {
        handle.post(|_| {}).unwrap();
    }
    for _ in 0..3 {
        reactor.turn(Duration::ZERO).unwrap();
    }
    assert_eq!(*seen.borrow(), [3, 1, 0]);
}

/// Some of those that wait were taken off the queue already, in a turn that had no time to run them.
#[test]
fn posts_for_which_a_turn_had_no_time_wait_like_the_others() {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder.posts_time(Duration::from_millis(1));
    let mut reactor = builder.clock(clock.clone()).build().unwrap();
    let seen = Rc::default();
    reactor.observe(Posts(Rc::clone(&seen)));
    let handle = reactor.handle();
    for _ in 0..100 {
        let clock = clock.clone();
        handle
            .post(move |_| clock.advance(Duration::from_millis(1)))
            .unwrap();
    }
    let mut left = 100;
    while left > 0 {
        reactor.turn(Duration::ZERO).unwrap();
        let ended = seen.borrow_mut().pop().unwrap();
        assert!(ended < left, "some have run");
        left = ended;
        assert_eq!(reactor.gauges().posts_waiting, left);
        // The queue counts, too.
        handle.post(|_| {}).unwrap();
        assert_eq!(reactor.gauges().posts_waiting, left + 1);
        if left > 0 {
            left += 1;
        }
    }
}

#[test]
fn gauges_count_each_listener_that_has_paused() {
    let mut builder = Reactor::builder();
    let mut reactor = builder.max_connections(1).build().unwrap();
    let (_, first) = serve(&mut reactor, || Echo);
    let (_, second) = serve(&mut reactor, || Echo);
    let _clients = [first, second, first].map(|address| TcpStream::connect(address).unwrap());
    turn_until(&mut reactor, "both have paused", |reactor| {
        reactor.gauges().accept_paused == 2
    });
}

#[test]
fn gauges_count_who_is_ready_and_each_post_that_waits() {
    let mut builder = Reactor::builder();
    let builder = builder.posts_per_turn(1).posts_time(DEADLINE);
    let mut reactor = builder.build().unwrap();
    let handle = reactor.handle();
    for _ in 0..5 {
        handle.post(|_| {}).unwrap();
    }
    for left in [4, 3] {
        reactor.turn(Duration::ZERO).unwrap();
        assert_eq!(reactor.gauges().posts_waiting, left);
    }
    // Who leaves its input unread is called in the next turn, too.
    struct Idle;
    impl Dispatcher for Idle {
        fn handle_read(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            Ok(())
        }
    }
    let mut pairs = Vec::new();
    for count in 1..=3 {
        let (ours, mut peer) = tcp_pair();
        reactor.add(ours, Idle).unwrap();
        peer.write_all(b"x").unwrap();
        pairs.push(peer);
        turn_until(&mut reactor, "all are ready", |reactor| {
            reactor.gauges().ready == count
        });
    }
}

#[test]
fn a_stage_has_a_name_and_a_dispatcher_of_any_type_is_shown_as_one() {
    for stage in [
        Stage::Connecting,
        Stage::Listening,
        Stage::Open,
        Stage::Closing,
        Stage::Closed,
    ] {
        assert_eq!(stage.name(), format!("{stage:?}").to_lowercase());
    }
    let dispatcher: Box<dyn Dispatcher> = Box::new(Echo);
    assert_eq!(format!("{dispatcher:?}"), "Dispatcher");
}

#[test]
fn an_id_is_a_slot_and_a_generation() {
    let mut reactor = Reactor::new().unwrap();
    let (id, peer) = spied_pair(&mut reactor, Spy::new("a", &Diary::default()));
    let before = id.any();
    assert_eq!(
        before.to_string(),
        format!("{}.{}", before.index(), before.generation())
    );
    drop(peer);
    turn_until(&mut reactor, "it is gone", |reactor| reactor.count() == 0);
    let (id, _peer) = spied_pair(&mut reactor, Spy::new("b", &Diary::default()));
    let after = id.any();
    assert_eq!(after.index(), before.index());
    assert_eq!(after.generation(), before.generation() + 1);
}

#[test]
fn what_ended_and_why_is_told_in_words() {
    let causes = [
        (Cause::RequestTimeout, "request timeout"),
        (
            Cause::Stalled { unsent: 3 },
            "stalled with 3 bytes not sent",
        ),
        (Cause::HandshakeTimeout, "handshake timeout"),
        (Cause::ConnectTimeout, "connecting timed out"),
    ];
    for (cause, text) in causes {
        assert_eq!(cause.to_string(), text);
        assert_eq!(cause.end(), End::Failed);
    }
    let ends = [End::Closed, End::Lost, End::Failed, End::Aborted].map(|end| end.to_string());
    assert_eq!(ends, ["closed", "lost", "failed", "aborted"]);
    for timeout in [
        Timeout::Connect,
        Timeout::Handshake,
        Timeout::Idle,
        Timeout::Stall,
        Timeout::Close,
        Timeout::Request,
    ] {
        let name = format!("{timeout:?} timeout").to_lowercase();
        assert_eq!(timeout.to_string(), name);
    }
}
