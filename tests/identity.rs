//! Who is who: ids that outlive their dispatchers, closing and adding in the middle of a batch, calls
//! that would run inside one another, descriptors that outlive their slots.
//!
//! Nothing here looks at time. A test that replays a failure of another library names it.

mod util;

#[path = "util/scripted.rs"]
mod scripted;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use scripted::{OnAccept, Script, Seeded, add_scripted};
use slabloop::testing::{Bits, SimClock};
use slabloop::{Accepted, AnyId, Context, Dispatcher, Id, Reactor, TimerId};
use util::{Diary, Echo, Spy, settle, spied_pair, tcp_pair, turn, turn_until, unix_pair};

/// The slot that an id names: what its display says before the point.
fn index_of(id: impl Into<AnyId>) -> String {
    let shown = id.into().to_string();
    let (index, _) = shown.split_once('.').expect("shown as index.generation");
    index.to_owned()
}

// ---- Stale events ----

/// asyncore (CPython issue 75114) and libuv #826 delivered the event of a closed socket to whoever
/// had been given its descriptor number since. One loop read from a stranger's connection, the other
/// ran the callback of a freed watcher.
#[test]
fn event_of_a_closed_neighbour_does_not_reach_the_newcomer() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let pair: Rc<RefCell<Vec<Id<Spy>>>> = Rc::default();
    let newcomer = Rc::new(RefCell::new(None));
    let mut peers = Vec::new();
    for who in ["first", "second"] {
        let (pair_of, slot, notes) = (Rc::clone(&pair), Rc::clone(&newcomer), diary.clone());
        // Which of the two the kernel names first is its affair: that one closes the other.
        let spy = Spy::new(who, &diary).on_read(move |cx| {
            cx.recv(&mut [0; 16])?;
            let own = cx.any_id();
            let other = *pair_of.borrow().iter().find(|id| id.any() != own).unwrap();
            cx.at(other).expect("nobody has closed it").abort();
            let (ours, peer) = tcp_pair();
            let id = cx.add(ours, Spy::new("c", &notes))?;
            *slot.borrow_mut() = Some((id, peer, other));
            Ok(())
        });
        let (id, peer) = spied_pair(&mut reactor, spy);
        pair.borrow_mut().push(id);
        peers.push(peer);
    }
    settle(&mut reactor);
    for peer in &mut peers {
        peer.write_all(b"in one batch").unwrap();
    }
    turn_until(&mut reactor, "one to close the other", |_| {
        newcomer.borrow().is_some()
    });
    settle(&mut reactor);
    let (c, mut c_peer, b) = newcomer.borrow_mut().take().expect("c was added");
    let closed = if b == pair.borrow()[0] {
        "first"
    } else {
        "second"
    };
    let d = {
        let (ours, peer) = tcp_pair();
        let id = reactor.add(ours, Spy::new("d", &diary)).unwrap();
        (id, peer)
    };
    assert_eq!(index_of(d.0), index_of(b), "d sits where b sat");
    assert_ne!(d.0.any(), b.any());
    assert_ne!(c.any(), b.any());

    let before = reactor.counters();
    for bits in [
        Bits::READABLE | Bits::WRITABLE,
        Bits::READ_CLOSED,
        Bits::ERROR | Bits::HUNG_UP,
    ] {
        reactor.inject(b, bits);
    }
    settle(&mut reactor);
    let after = reactor.counters();
    assert_eq!(
        after.stale - before.stale,
        3,
        "each of b's events is counted"
    );
    assert_eq!(after.callbacks, before.callbacks);
    assert_eq!(diary.of(closed), ["close"], "closed before its read");
    assert!(diary.of("c").is_empty() && diary.of("d").is_empty());

    c_peer.write_all(b"own").unwrap();
    turn_until(&mut reactor, "c's own data", |_| {
        diary.count("c", "read") > 0
    });
    assert!(diary.of("d").is_empty());
}

/// In a kernel that hands a freed token on, each of these would reach a stranger: what is kept by
/// users outlives the dispatcher as an event does.
#[test]
fn ids_and_timers_of_the_dead_reach_nobody() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (old, _script) = add_scripted(&mut reactor, Spy::new("old", &diary));
    let timer = reactor.at(old).unwrap().set_timer(Duration::MAX);
    reactor.at(old).unwrap().abort();
    turn(&mut reactor);
    let (new, script) = add_scripted(&mut reactor, Spy::new("new", &diary));
    let new_timer = reactor.at(new).unwrap().set_timer(Duration::MAX);
    assert_eq!(index_of(new), index_of(old), "the slot is reused");

    assert!(reactor.at(old).is_none());
    assert!(reactor.with(old, |_, _| ()).is_none());
    assert_eq!(
        reactor.local_addr(old).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert!(!reactor.cancel_timer(timer), "it died with its owner");
    reactor
        .handle()
        .post(move |reactor| {
            assert!(reactor.at(old).is_none());
            assert!(reactor.with(old, |_, _| ()).is_none());
        })
        .unwrap();
    reactor.at(new).unwrap().feeds(old);
    turn(&mut reactor);
    assert_eq!(reactor.counters().panics, 0);
    assert_eq!(reactor.timer_count(), 1, "new's timer is untouched");
    assert!(reactor.cancel_timer(new_timer));
    assert_eq!(script.with(|state| state.dropped), 0);
    assert_eq!(diary.all(), ["old close"]);
}

/// Reads what its own peer wrote, and nothing else may ever be there. What it does next is the seed's.
struct Churner {
    number: usize,
    world: Rc<RefCell<World>>,
}

#[derive(Default)]
struct World {
    random: Option<Seeded>,
    next_number: usize,
    /// The living, with their peers.
    members: BTreeMap<usize, (Id<Churner>, UnixStream)>,
    /// Members whose peer has written a byte that they have not read.
    owed: BTreeSet<usize>,
    dead: Vec<AnyId>,
    closes: usize,
    added: usize,
}

impl World {
    fn take_part(&mut self, world: &Rc<RefCell<World>>) -> (UnixStream, UnixStream, Churner) {
        let (ours, peer) = unix_pair();
        self.next_number += 1;
        let member = Churner {
            number: self.next_number,
            world: Rc::clone(world),
        };
        (ours, peer, member)
    }
}

impl Dispatcher for Churner {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        assert!(
            world.owed.remove(&self.number),
            "{} is called for a byte that was not written to it",
            self.number
        );
        let mut byte = [0; 8];
        assert_eq!(cx.recv(&mut byte)?, 1, "the own byte is there");
        let random = world.random.as_mut().expect("a seed");
        if random.below(8) != 0 {
            return Ok(());
        }
        let alive: Vec<usize> = world.members.keys().copied().collect();
        let victim = alive[world.random.as_mut().expect("a seed").below(alive.len())];
        let (id, _peer) = world.members.remove(&victim).expect("it is alive");
        world.owed.remove(&victim);
        cx.at(id).expect("a member is alive").abort();
        let (ours, peer, newcomer) = world.take_part(&self.world);
        let number = newcomer.number;
        let id = cx.add(ours, newcomer)?;
        world.members.insert(number, (id, peer));
        world.added += 1;
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let mut world = self.world.borrow_mut();
        assert!(!world.members.contains_key(&self.number));
        world.closes += 1;
        world.dead.push(cx.any_id());
    }
}

/// HAProxy counted, once it began to, 5,541 events for the just closed and 42 for those who had been
/// given their descriptors, in minutes. Here the seed closes and adds in the middle of the batch, and
/// every dead id's event comes once more.
#[test]
fn seeded_churn_of_64_pairs_never_hands_an_event_to_a_stranger() {
    const ROUNDS: usize = 10_000;
    let mut reactor = Reactor::new().unwrap();
    let world = Rc::new(RefCell::new(World {
        random: Some(Seeded(42)),
        ..World::default()
    }));
    for _ in 0..64 {
        let (ours, peer, member) = world.borrow_mut().take_part(&world);
        let number = member.number;
        let id = reactor.add(ours, member).unwrap();
        world.borrow_mut().members.insert(number, (id, peer));
    }
    let mut injected = 0;
    for round in 0..ROUNDS {
        {
            let mut world = world.borrow_mut();
            let World { members, owed, .. } = &mut *world;
            for (number, (_, peer)) in members.iter_mut() {
                if owed.insert(*number) {
                    peer.write_all(b"x").unwrap();
                }
            }
            // Some rounds late, so that most of their slots have new tenants by now.
            if round % 4 == 0 {
                for dead in world.dead.drain(..) {
                    reactor.inject(dead, Bits::READABLE | Bits::WRITABLE | Bits::ERROR);
                    injected += 1;
                }
            }
        }
        reactor.turn(Duration::ZERO).unwrap();
        if round % 16 == 0 {
            reactor.check_invariants();
        }
    }
    let counters = reactor.counters();
    assert_eq!(counters.panics, 0, "a panic is a callback for a stranger");
    assert_eq!(counters.stale, injected, "each stale event was suppressed");
    let world = world.borrow();
    assert!(injected > 10_000, "only {injected} were closed");
    assert_eq!(world.closes, world.added, "as many came as went");
    assert_eq!(reactor.count(), 64);
}

// ---- Closing inside the batch ----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Close,
    Abort,
}

impl Verb {
    fn to(self, cx: &mut Context<'_>) {
        match self {
            Verb::Close => cx.close(),
            Verb::Abort => cx.abort(),
        }
    }
}

/// Closes itself, twice, in one of its callbacks, and tries again in `handle_close`.
struct Closer {
    at: &'static str,
    verb: Verb,
    diary: Diary,
}

impl Closer {
    fn called(&self, cx: &mut Context<'_>, callback: &'static str) {
        self.diary.note("closer", cx.any_id(), callback);
        if callback == self.at {
            // Refused on a listener, of no interest on the others: it is there to be flushed.
            let _ = cx.send(b"queued");
            self.verb.to(cx);
            self.verb.to(cx);
        }
    }
}

impl Dispatcher for Closer {
    fn handle_accept(&mut self, cx: &mut Context<'_>, _: Accepted) -> io::Result<()> {
        self.called(cx, "accept");
        Ok(())
    }
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.called(cx, "connect");
        Ok(())
    }
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let read = cx.recv(&mut [0; 64]);
        self.called(cx, "read");
        if self.at == "error" {
            return Err(io::Error::other("wanted"));
        }
        read.map(|_| ())
    }
    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.called(cx, "eof");
        Ok(())
    }
    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.called(cx, "write");
        Ok(())
    }
    fn handle_priority(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.called(cx, "priority");
        Ok(())
    }
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.called(cx, "timer");
        Ok(())
    }
    fn handle_error(&mut self, cx: &mut Context<'_>, _: io::Error) {
        self.called(cx, "error");
    }
    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.called(cx, "close");
        cx.close();
        cx.abort();
        self.verb.to(cx);
    }
}

/// supervisor's daemon died of the second close, libuv (#5030) ran into the freed handle: both went on
/// with the event's other half after the callback for the first had closed.
#[test]
fn closing_in_any_callback_is_followed_by_handle_close_alone() {
    let everything = Bits::READABLE | Bits::WRITABLE | Bits::URGENT;
    for at in [
        "accept", "connect", "read", "eof", "write", "priority", "timer", "error",
    ] {
        for verb in [Verb::Close, Verb::Abort] {
            let clock = SimClock::new();
            let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
            let diary = Diary::default();
            let closer = Closer {
                at,
                verb,
                diary: diary.clone(),
            };
            let (_, bystander) = add_scripted(&mut reactor, Spy::new("bystander", &diary));
            let script = Script::receiving([Ok(b"input"), Ok(b"more")]);
            let id = match at {
                "accept" => {
                    let queue = Script::accepting((0..3).map(|_| Ok(Script::default())));
                    reactor.add(queue.listener(), closer).unwrap()
                }
                "connect" => {
                    let socket = script.boxed(slabloop::testing::SimKind::Stream);
                    reactor.connect_simulated(socket, closer).unwrap()
                }
                _ => reactor.add(script.stream(), closer).unwrap(),
            };
            if at == "eof" {
                script.with(|state| state.recv[0] = Ok(Vec::new()));
            }
            let mut cx = reactor.at(id).unwrap();
            cx.set_timer(Duration::ZERO);
            cx.start_writing();
            cx.watch_priority();
            reactor.inject(id, everything);
            turn(&mut reactor);
            // What may be left is the drain: the peer finishes, later events come, timers are due.
            script.with(|state| state.recv.push_back(Ok(Vec::new())));
            clock.advance(Duration::from_secs(1));
            for _ in 0..4 {
                reactor.inject(id, everything | Bits::READ_CLOSED);
                turn(&mut reactor);
            }
            let told = diary.of("closer");
            let place = told
                .iter()
                .position(|callback| callback == at)
                .unwrap_or_else(|| panic!("{at} was never called: {told:?}"));
            assert_eq!(told[place + 1..], ["close"], "{verb:?} in {at}: {told:?}");
            let counters = reactor.counters();
            assert_eq!(counters.panics, 0, "{verb:?} in {at}");
            assert_eq!((counters.added, counters.closed), (2, 1));
            assert!(diary.of("bystander").is_empty());
            assert_eq!(bystander.with(|s| (s.deregistered, s.dropped)), (0, 0));
            if at != "accept" {
                assert_eq!(script.with(|s| (s.deregistered, s.dropped)), (1, 1));
            }
        }
    }
}

#[test]
fn first_of_a_thousand_ready_aborts_all_and_no_other_is_read() {
    const MEMBERS: usize = 1_000;
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let all: Rc<RefCell<Vec<Id<Spy>>>> = Rc::default();
    let mut peers = Vec::new();
    for _ in 0..MEMBERS {
        let all_of_them = Rc::clone(&all);
        let spy = Spy::new("member", &diary).on_read(move |cx| {
            for &id in all_of_them.borrow().iter() {
                if let Some(mut member) = cx.at(id) {
                    member.abort();
                }
            }
            Ok(())
        });
        let (ours, mut peer) = unix_pair();
        all.borrow_mut().push(reactor.add(ours, spy).unwrap());
        peer.write_all(b"x").unwrap();
        peers.push(peer);
    }
    turn(&mut reactor);
    assert_eq!(diary.count("member", "read"), 1);
    assert_eq!(diary.count("member", "close"), MEMBERS);
    assert_eq!(diary.of("member").len(), MEMBERS + 1, "and nothing else");
    assert_eq!(reactor.count(), 0);
    for mut peer in peers {
        // Unread input makes it a reset. Either way our end is gone.
        let outcome = peer.read(&mut [0; 1]);
        assert!(
            matches!(&outcome, Ok(0))
                || outcome
                    .as_ref()
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset),
            "the socket is closed: {outcome:?}"
        );
    }
}

#[test]
fn two_that_close_each_other_get_one_handle_close_each() {
    for verb in [Verb::Close, Verb::Abort] {
        let mut reactor = Reactor::new().unwrap();
        let diary = Diary::default();
        let other: Rc<RefCell<Vec<AnyId>>> = Rc::default();
        let mut scripts = Vec::new();
        for who in ["a", "b"] {
            let others = Rc::clone(&other);
            let close_all = move |cx: &mut Context<'_>| {
                for &id in others.borrow().iter() {
                    if let Some(mut one) = cx.at(id) {
                        verb.to(&mut one);
                    }
                }
                Ok(())
            };
            let again = close_all.clone();
            let spy = Spy::new(who, &diary).on_read(close_all).on_close(again);
            let (id, script) = add_scripted(&mut reactor, spy);
            other.borrow_mut().push(id.any());
            scripts.push(script);
        }
        for &id in other.borrow().iter() {
            reactor.inject(id, Bits::READABLE | Bits::WRITABLE);
        }
        turn(&mut reactor);
        for script in &scripts {
            script.with(|state| state.recv.push_back(Ok(Vec::new())));
        }
        for &id in other.borrow().iter() {
            reactor.inject(id, Bits::READABLE | Bits::READ_CLOSED);
        }
        turn(&mut reactor);
        assert_eq!(diary.all(), ["a read", "a close", "b close"], "{verb:?}");
        for script in scripts {
            assert_eq!(script.with(|s| (s.deregistered, s.dropped)), (1, 1));
        }
    }
}

/// asyncore closed by descriptor number: the second close of one object hit whatever had been opened
/// in between (CPython issue 75168 asked for a guard and was turned down).
#[test]
fn descriptor_opened_right_after_a_close_is_its_owners_alone() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let canaries: Rc<RefCell<Vec<(UnixStream, UnixStream)>>> = Rc::default();
    let nest = Rc::clone(&canaries);
    let spy = Spy::new("a", &diary)
        .on_read(|cx| {
            cx.abort();
            cx.abort();
            Ok(())
        })
        .on_close(move |cx| {
            nest.borrow_mut().push(UnixStream::pair()?);
            cx.abort();
            cx.close();
            Ok(())
        });
    let (id, mut peer) = spied_pair(&mut reactor, spy);
    peer.write_all(b"x").unwrap();
    turn_until(&mut reactor, "the close", |_| diary.count("a", "close") > 0);
    canaries.borrow_mut().push(UnixStream::pair().unwrap());
    let before = reactor.counters();
    assert!(reactor.at(id).is_none(), "there is no way to close again");
    reactor.close_all();
    for (left, right) in canaries.borrow_mut().iter_mut() {
        left.write_all(b"sings").unwrap();
        let mut heard = [0; 5];
        right.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"sings");
    }
    settle(&mut reactor);
    let after = reactor.counters();
    assert_eq!(after.events, before.events, "nobody watches a canary");
    assert_eq!(diary.of("a"), ["read", "close"]);
    drop(reactor);
    for (left, right) in canaries.borrow_mut().iter_mut() {
        right.write_all(b"still").unwrap();
        let mut heard = [0; 5];
        left.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"still");
    }
}

// ---- Adding inside the batch ----

#[test]
fn ten_thousand_added_in_one_callback_are_registered_once_and_wait_for_a_later_turn() {
    const NEWCOMERS: usize = 10_000;
    type Made = Vec<(Id<Spy>, Script)>;
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let made = Rc::new(RefCell::new(Made::new()));
    let nest = Rc::clone(&made);
    let inner = diary.clone();
    let listener = OnAccept(move |cx: &mut Context<'_>, _| {
        for _ in 0..NEWCOMERS {
            let script = Script::receiving([Ok(b"x")]);
            let id = cx.add(script.stream(), Spy::new("newcomer", &inner))?;
            nest.borrow_mut().push((id, script));
        }
        Ok(())
    });
    let queue = Script::accepting([Ok(Script::default())]);
    let listener = reactor.add(queue.listener(), listener).unwrap();
    reactor.inject(listener, Bits::READABLE);
    turn(&mut reactor);
    assert_eq!(made.borrow().len(), NEWCOMERS);
    assert!(diary.all().is_empty(), "not in the turn that added them");
    for (id, script) in made.borrow().iter() {
        assert_eq!(script.with(|state| (state.registered, state.calls)), (1, 0));
        reactor.inject(*id, Bits::READABLE);
    }
    turn(&mut reactor);
    assert_eq!(diary.count("newcomer", "read"), NEWCOMERS);
    let distinct: BTreeSet<AnyId> = made.borrow().iter().map(|(id, _)| id.any()).collect();
    assert_eq!(distinct.len(), NEWCOMERS);
}

/// What the room learns of each callback: who, and the turn in which it came.
struct Dated {
    added_in: u64,
    turn: Rc<Cell<u64>>,
    calls: Rc<Cell<usize>>,
}

impl Dated {
    fn check(&self) {
        self.calls.set(self.calls.get() + 1);
        assert!(self.turn.get() > self.added_in, "called in its first turn");
    }
}

impl Dispatcher for Dated {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.check();
        cx.recv(&mut [0; 8]).map(|_| ())
    }
    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.check();
        cx.stop_writing();
        Ok(())
    }
    fn handle_timer(&mut self, _: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.check();
        Ok(())
    }
}

#[test]
fn newcomer_is_never_served_in_the_turn_that_added_it() {
    // On a clock that stands still a timer for zero is due in the very turn that sets it.
    let mut reactor = Reactor::builder().clock(SimClock::new()).build().unwrap();
    let turn_number = Rc::new(Cell::new(0));
    let calls = Rc::new(Cell::new(0));
    let now = Rc::clone(&turn_number);
    let counted = Rc::clone(&calls);
    let diary = Diary::default();
    let mut grown: Vec<Id<Dated>> = Vec::new();
    let mut random = Seeded(7);
    let grower = Spy::new("grower", &diary).on_read(move |cx| {
        cx.recv(&mut [0; 8])?;
        for _ in 0..=random.below(30) {
            let script = Script::receiving([Ok(b"x")]);
            let newcomer = Dated {
                added_in: now.get(),
                turn: Rc::clone(&now),
                calls: Rc::clone(&counted),
            };
            let id = cx.add(script.stream(), newcomer)?;
            let mut its = cx.at(id).expect("just added");
            its.start_writing();
            its.set_timer(Duration::ZERO);
            grown.push(id);
        }
        while grown.len() > 40 {
            let old = grown.swap_remove(random.below(grown.len()));
            cx.at(old).expect("nobody else closes it").abort();
        }
        Ok(())
    });
    let (grower, script) = add_scripted(&mut reactor, grower);
    for round in 1..=500 {
        turn_number.set(round);
        script.with(|state| state.recv.push_back(Ok(b"x".to_vec())));
        reactor.inject(grower, Bits::READABLE);
        turn(&mut reactor);
    }
    assert_eq!(reactor.counters().panics, 0);
    assert_eq!(diary.count("grower", "read"), 500);
    assert!(calls.get() > 1_000, "{} calls", calls.get());
    assert!(reactor.count() <= 41);
}

// ---- Loops and borrows inside one another ----

/// calloop panicked on a second borrow of what was running (#109, #110, #115). Here the answer is
/// `None`, and the closure does not run.
#[test]
fn with_on_oneself_on_ones_caller_and_on_the_gone_is_none() {
    struct Probe {
        runs: usize,
        others: Rc<RefCell<Vec<Id<Probe>>>>,
    }
    impl Dispatcher for Probe {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            self.runs += 1;
            let own = cx.id::<Probe>();
            let others = self.others.borrow().clone();
            let [_, b, gone] = others[..] else {
                unreachable!("three were added")
            };
            assert!(cx.with(own, |_, _| ()).is_none(), "itself");
            assert!(cx.with(gone, |_, _| ()).is_none(), "a removed one");
            let nested = cx.with(b, |sibling, cx| {
                sibling.runs += 1;
                assert_eq!(cx.any_id(), b.any(), "the context is the sibling's");
                assert!(cx.with(own, |_, _| ()).is_none(), "the caller");
                assert!(cx.with(b, |_, _| ()).is_none(), "the one that runs");
                assert!(cx.at(own).is_some(), "its socket can be reached");
                "ran"
            });
            assert_eq!(nested, Some("ran"));
            // After that it is back in its place.
            assert_eq!(cx.with(b, |sibling, _| sibling.runs), Some(1));
            Ok(())
        }
        fn handle_close(&mut self, cx: &mut Context<'_>) {
            assert!(cx.with(cx.id::<Probe>(), |_, _| ()).is_none());
            assert!(cx.at(cx.any_id()).is_none());
        }
    }

    let mut reactor = Reactor::new().unwrap();
    let others: Rc<RefCell<Vec<Id<Probe>>>> = Rc::default();
    for _ in 0..3 {
        let probe = Probe {
            runs: 0,
            others: Rc::clone(&others),
        };
        let (id, _) = add_scripted(&mut reactor, probe);
        others.borrow_mut().push(id);
    }
    let (a, gone) = (others.borrow()[0], others.borrow()[2]);
    reactor.at(gone).unwrap().abort();
    turn(&mut reactor);
    reactor.inject(a, Bits::READABLE);
    turn(&mut reactor);
    assert_eq!(reactor.with(a, |probe, _| probe.runs), Some(1));
    reactor.close_all();
    assert_eq!(reactor.counters().panics, 0);
}

#[test]
fn an_id_under_a_wrong_type_is_refused_in_debug_builds_and_reaches_none_in_others() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, _script) = add_scripted(&mut reactor, Spy::new("a", &diary));
    let wrong = catch_unwind(AssertUnwindSafe(|| reactor.at(id).unwrap().id::<Echo>()));
    if cfg!(debug_assertions) {
        let payload = wrong.expect_err("a wrong type is a mistake, and named");
        let text = payload.downcast_ref::<String>().expect("a sentence");
        assert!(text.contains("Echo") && text.contains("Spy"), "{text}");
    } else {
        let wrong = wrong.expect("only debug builds look");
        assert!(reactor.with(wrong, |_, _| ()).is_none());
    }
    reactor.check_invariants();
    assert_eq!(reactor.with(id, |spy, _| spy.who), Some("a"));
}

/// libevent finds out at run time that a callback runs its own loop, and refuses. A callback has no way
/// to here; closures, which hold the reactor, are refused with an error.
#[test]
fn posted_and_timed_closures_cannot_turn_the_loop_they_run_in() {
    fn probe(reactor: &mut Reactor) -> usize {
        let refused = [
            reactor.turn(Duration::ZERO).is_err(),
            reactor.run().is_err(),
            reactor.shutdown(Duration::ZERO).is_err(),
        ];
        refused.into_iter().filter(|refused| *refused).count()
    }
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, script) = add_scripted(&mut reactor, Spy::new("bystander", &diary));
    let refused = Rc::new(Cell::new(0));
    let (once, every) = (Rc::clone(&refused), Rc::clone(&refused));
    reactor.call_later(Duration::ZERO, move |reactor| {
        once.set(once.get() + probe(reactor));
    });
    let timer = reactor.call_every(Duration::ZERO, move |reactor| {
        every.set(every.get() + probe(reactor));
    });
    let (tell, told) = std::sync::mpsc::channel();
    reactor
        .handle()
        .post(move |reactor| tell.send(probe(reactor)).expect("the test listens"))
        .unwrap();
    turn(&mut reactor);
    assert_eq!(told.try_recv(), Ok(3));
    assert_eq!(refused.get(), 6);
    reactor.cancel_timer(timer);
    assert_eq!(reactor.counters().panics, 0);
    assert_eq!(reactor.counters().turns, 1, "none ran inside another");
    script.with(|state| state.recv.push_back(Ok(b"x".to_vec())));
    reactor.inject(id, Bits::READABLE);
    turn(&mut reactor);
    assert_eq!(diary.of("bystander"), ["read"], "and the loop goes on");
}

// ---- The stack is not the queue ----

/// Runs a test on a small stack: recursion whose depth grows with the number of dispatchers overflows.
fn on_a_small_stack(body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(body)
        .expect("a thread")
        .join()
        .expect("the body does not panic");
}

/// asynchat sent from inside `send` (CPython issue 74516), and libevent invented deferred callbacks
/// because two buffers kept calling each other.
#[test]
fn token_round_a_ring_of_100_000_needs_no_deep_stack() {
    const MEMBERS: usize = 100_000;
    struct Member {
        next: Option<AnyId>,
        passed: Rc<Cell<usize>>,
    }
    impl Dispatcher for Member {
        fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.stop_writing();
            self.passed.set(self.passed.get() + 1);
            let next = self.next.expect("the ring is closed");
            let mut neighbour = cx.at(next).expect("nobody closes");
            neighbour.send(b"token")?;
            neighbour.start_writing();
            Ok(())
        }
    }
    on_a_small_stack(|| {
        let mut reactor = Reactor::new().unwrap();
        let passed = Rc::new(Cell::new(0));
        let mut ids = Vec::new();
        for _ in 0..MEMBERS {
            let member = Member {
                next: None,
                passed: Rc::clone(&passed),
            };
            ids.push(add_scripted(&mut reactor, member).0);
        }
        for (place, &id) in ids.iter().enumerate() {
            let next = ids[(place + 1) % MEMBERS].any();
            reactor.with(id, |member, _| member.next = Some(next));
        }
        reactor.at(ids[0]).unwrap().start_writing();
        for _ in 0..MEMBERS {
            reactor.turn(Duration::ZERO).unwrap();
        }
        reactor.check_invariants();
        assert_eq!(passed.get(), MEMBERS, "one hop a turn");
        assert_eq!(reactor.counters().bytes_out, 5 * MEMBERS as u64);
    });
}

#[test]
fn room_of_10_000_that_answers_every_message_needs_no_deep_stack() {
    const MEMBERS: usize = 10_000;
    #[derive(Default)]
    struct Room {
        members: Vec<AnyId>,
        messages: usize,
    }
    impl Dispatcher for Room {}
    struct Member {
        room: Id<Room>,
    }
    impl Dispatcher for Member {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let mut message = [0; 8];
            let length = cx.recv(&mut message)?;
            // The answer goes by way of the room to the next three, who are provoked by theirs.
            cx.with(self.room, |room, cx| {
                room.messages += 1;
                for step in 1..=3 {
                    let place = (room.messages * step) % room.members.len();
                    let mut member = cx.at(room.members[place]).expect("nobody leaves");
                    member.send(&message[..length])?;
                }
                Ok(())
            })
            .expect("the room is not running")
        }
    }
    on_a_small_stack(|| {
        let mut reactor = Reactor::new().unwrap();
        let queue = Script::default();
        let room = reactor.add(queue.listener(), Room::default()).unwrap();
        for _ in 0..MEMBERS {
            let script = Script::receiving([Ok(b"hello"), Ok(b"again")]);
            let id = reactor.add(script.stream(), Member { room }).unwrap();
            reactor.with(room, |room, _| room.members.push(id.any()));
            reactor.inject(id, Bits::READABLE);
        }
        turn(&mut reactor);
        turn(&mut reactor);
        for id in reactor.with(room, |room, _| room.members.clone()).unwrap() {
            reactor.inject(id, Bits::READABLE);
        }
        turn(&mut reactor);
        let messages = reactor.with(room, |room, _| room.messages);
        assert_eq!(messages, Some(2 * MEMBERS));
        assert_eq!(reactor.counters().bytes_out, 2 * 3 * 5 * MEMBERS as u64);
    });
}

#[test]
fn chain_of_closes_through_handle_close_needs_no_deep_stack() {
    const MEMBERS: usize = 50_000;
    struct Link {
        next: Option<AnyId>,
        closed: Rc<Cell<usize>>,
    }
    impl Dispatcher for Link {
        fn handle_close(&mut self, cx: &mut Context<'_>) {
            self.closed.set(self.closed.get() + 1);
            if let Some(mut next) = self.next.and_then(|next| cx.at(next)) {
                next.abort();
            }
        }
    }
    on_a_small_stack(|| {
        let mut reactor = Reactor::new().unwrap();
        let closed = Rc::new(Cell::new(0));
        let mut next = None;
        for _ in 0..MEMBERS {
            let link = Link {
                next,
                closed: Rc::clone(&closed),
            };
            next = Some(add_scripted(&mut reactor, link).0.any());
        }
        reactor.at(next.expect("some")).unwrap().abort();
        turn(&mut reactor);
        assert_eq!(closed.get(), MEMBERS, "all in the same step");
        assert_eq!(reactor.count(), 0);
    });
}

// ---- Descriptors that outlive their slots ----

/// The descriptors that a freshly started child holds, its own directory handle left out.
fn descriptors_of_a_child() -> BTreeSet<RawFd> {
    // `ls` opens the directory on the lowest free number; it shows, and its link leads to itself.
    let output = Command::new("ls")
        .args(["-l", "/proc/self/fd"])
        .output()
        .expect("ls can be started");
    let listing = String::from_utf8(output.stdout).expect("numbers and paths");
    let mut held = BTreeSet::new();
    for line in listing.lines() {
        let Some((left, target)) = line.split_once(" -> ") else {
            continue;
        };
        if target.starts_with("/proc/") && target.ends_with("/fd") {
            continue;
        }
        let number = left.rsplit(' ').next().expect("a name before the arrow");
        held.insert(number.parse().expect("a descriptor's number"));
    }
    held
}

/// pyftpdlib (#429) and supervisor (#807) handed their sockets to every child they started: ports
/// stayed taken after the daemon had gone, and clients waited for an end of stream that did not come.
#[test]
fn child_process_inherits_none_of_a_hundred_connections() {
    let inherited = descriptors_of_a_child();
    let mut reactor = Reactor::new().unwrap();
    let (_, address) = util::serve(&mut reactor, || Echo);
    let peers: Vec<_> = (0..50)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    turn_until(&mut reactor, "all to be accepted", |reactor| {
        reactor.count() == 51
    });
    for _ in 0..50 {
        reactor.connect(address, Echo).unwrap();
    }
    turn_until(&mut reactor, "both ends of all", |reactor| {
        reactor.count() == 151
    });
    reactor.bind_udp("127.0.0.1:0", Echo).unwrap();
    let path = std::env::temp_dir().join(format!("slabloop-cloexec-{}", std::process::id()));
    reactor.listen_unix(&path, Echo).unwrap();
    reactor.connect_unix(&path, Echo).unwrap();
    let held = descriptors_of_a_child();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(held, inherited, "with and without live connections");
    assert!(
        inherited.is_superset(&BTreeSet::from([1, 2])),
        "the listing works: {inherited:?}"
    );
    drop(peers);
}

/// tokio-core #172, mio #361, redis and gnet (#743): a duplicate keeps a closed descriptor registered,
/// epoll goes on reporting it, and the loop spins or serves a ghost. Deregistering first is the cure.
#[test]
fn closed_socket_whose_duplicate_lives_is_not_heard_of_again() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (stream, mut peer) = tcp_pair();
    let ghost = stream.try_clone().unwrap();
    let stream = reactor.add(stream, Spy::new("a", &diary)).unwrap();
    let (datagram, datagram_peer) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let datagram_ghost = datagram.try_clone().unwrap();
    let datagram = reactor.add(datagram, Spy::new("a", &diary)).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener_ghost = listener.try_clone().unwrap();
    let listener = reactor.add(listener, Spy::new("a", &diary)).unwrap();
    settle(&mut reactor);

    for id in [stream.any(), datagram.any(), listener.any()] {
        reactor.at(id).unwrap().abort();
    }
    turn(&mut reactor);
    assert_eq!(reactor.count(), 0);
    diary.clear();
    let before = reactor.counters();
    peer.write_all(b"to a ghost").unwrap();
    datagram_peer.send(b"to a ghost").unwrap();
    let client = std::net::TcpStream::connect(address).unwrap();
    drop(peer);
    for _ in 0..5 {
        turn(&mut reactor);
    }
    let after = reactor.counters();
    assert_eq!((after.events, after.stale), (before.events, before.stale));
    assert!(diary.all().is_empty());
    drop((ghost, datagram_ghost, listener_ghost, client));
}

/// mio #351: deregistering can fail, and a loop that unwraps it dies of a descriptor that somebody else
/// has closed.
#[test]
fn failing_deregistration_closes_all_the_same() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    for errno in [2, 9, 22] {
        let (id, script) = add_scripted(&mut reactor, Spy::new("a", &diary));
        script.with(|state| state.deregister = Some(errno));
        reactor.at(id).unwrap().abort();
        turn(&mut reactor);
        assert_eq!(script.with(|s| (s.deregistered, s.dropped)), (1, 1));
    }
    assert_eq!(diary.all(), ["a close"; 3]);
    assert_eq!(reactor.count(), 0);
}

#[test]
fn token_that_nobody_was_ever_given_is_counted_and_dropped() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (_, _script) = add_scripted(&mut reactor, Spy::new("a", &diary));
    for token in [1, 77, 1 << 40, usize::MAX - 1] {
        reactor.inject_token(mio::Token(token), Bits::READABLE | Bits::ERROR);
    }
    turn(&mut reactor);
    assert_eq!(reactor.counters().stale, 4);
    assert!(diary.all().is_empty());
    assert!(reactor.as_raw_fd() > 2);
}
