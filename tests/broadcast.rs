//! One message to many: one write each, nobody waits long for somebody who reads nothing, and whoever
//! reads slowly but honestly slows the sender instead of being cut off.
//!
//! Most of it runs on simulated streams, which take exactly what the test lets them take, and on a
//! simulated clock.

mod util;
#[path = "util/wire.rs"]
mod wire;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use slabloop::testing::{Bits, SimClock};
use slabloop::{AnyId, Context, Dispatcher, Id, Reactor, TimerId};
use util::*;
use wire::Wire;

const PATIENCE: Duration = Duration::from_millis(250);
const NANOSECOND: Duration = Duration::from_nanos(1);
const HIGH: usize = 64 * 1024;
const CAP: usize = 1024 * 1024;

/// Who is in the room.
type Members = Rc<RefCell<Vec<AnyId>>>;

/// What each member's errors said, and who closed.
type Ends = Rc<RefCell<Vec<(AnyId, String)>>>;

/// Passes on what it reads to all members, in messages of up to `chunk` bytes, `copies` of each.
struct Speaker {
    members: Members,
    chunk: usize,
    copies: usize,
}

impl Dispatcher for Speaker {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = vec![0; self.chunk];
        let count = cx.recv(&mut chunk)?;
        for _ in 0..self.copies {
            cx.broadcast(self.members.borrow().iter().copied(), &chunk[..count]);
        }
        Ok(())
    }
}

struct Member {
    ends: Ends,
}

impl Dispatcher for Member {
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        let text = format!("{:?}: {error}", error.kind());
        self.ends.borrow_mut().push((cx.any_id(), text));
        cx.close();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let end = (cx.any_id(), "close".to_owned());
        self.ends.borrow_mut().push(end);
    }
}

struct Room {
    reactor: Reactor,
    clock: SimClock,
    members: Members,
    ends: Ends,
}

impl Room {
    fn new() -> Room {
        let clock = SimClock::new();
        let reactor = Reactor::builder()
            .clock(clock.clone())
            .broadcast_patience(PATIENCE)
            .build()
            .expect("a poller");
        Room {
            reactor,
            clock,
            members: Members::default(),
            ends: Ends::default(),
        }
    }

    fn member(&mut self, wire: &Wire) -> Id<Member> {
        let member = Member {
            ends: Rc::clone(&self.ends),
        };
        let id = self.reactor.add(wire.socket(), member).expect("a stream");
        self.members.borrow_mut().push(id.any());
        id
    }

    /// One whose own outbox never holds it: it hears none of what it says.
    fn speaker(&mut self, chunk: usize, copies: usize) -> (Id<Speaker>, Wire) {
        let wire = Wire::open();
        let speaker = Speaker {
            members: Rc::clone(&self.members),
            chunk,
            copies,
        };
        let id = self.reactor.add(wire.socket(), speaker).expect("a stream");
        (id, wire)
    }

    fn turn(&mut self) {
        turn_for(&mut self.reactor, Duration::ZERO);
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    fn queued(&mut self, id: Id<Member>) -> usize {
        self.reactor.at(id).map_or(0, |member| member.queued())
    }
}

#[test]
fn a_hundred_lines_in_one_turn_to_a_thousand_members_cost_one_write_each() {
    for length in [11, 600] {
        let mut room = Room::new();
        let wires: Vec<Wire> = (0..1000).map(|_| Wire::open()).collect();
        for wire in &wires {
            room.member(wire);
        }
        let (speaker, wire) = room.speaker(length, 100);
        wire.input(&mut room.reactor, speaker, &pattern(1, length));
        let before = room.reactor.counters();
        room.turn();
        let after = room.reactor.counters();
        assert_eq!(after.writes - before.writes, 1000);
        assert_eq!(after.turns - before.turns, 1);
        let expected = pattern(1, length).repeat(100);
        for wire in &wires {
            assert_eq!(wire.writes(), 1, "however many lines it carried");
            assert!(wire.output() == expected, "every line, in order");
        }
    }
}

#[test]
fn broadcast_tells_how_many_it_reached_and_passes_over_those_who_are_gone() {
    let mut room = Room::new();
    let wires: Vec<Wire> = (0..4).map(|_| Wire::open()).collect();
    let ids: Vec<_> = wires.iter().map(|wire| room.member(wire)).collect();
    let (speaker, _) = room.speaker(10, 1);
    room.reactor.at(ids[1]).expect("open").abort();
    room.turn();
    room.reactor.at(ids[2]).expect("open").close();
    let all: Vec<AnyId> = ids.iter().map(|id| id.any()).collect();
    let reached = room
        .reactor
        .at(speaker)
        .expect("open")
        .broadcast(all, b"hello");
    assert_eq!(reached, 2);
    room.turn();
    let outputs: Vec<usize> = wires.iter().map(Wire::taken).collect();
    assert_eq!(outputs, [5, 0, 0, 5]);
}

/// The members share one copy of what is sent: neither what one of them got before or after it, nor what its
/// kernel takes of it, reaches the others.
#[test]
fn each_member_gets_its_own_bytes_whatever_came_before_and_after_a_broadcast() {
    for room_in_the_kernel in [0, 1, 4, 5, 9, 100] {
        let mut room = Room::new();
        let wires: Vec<Wire> = (0..5)
            .map(|i| match i {
                2 => Wire::new(room_in_the_kernel),
                _ => Wire::open(),
            })
            .collect();
        let ids: Vec<_> = wires.iter().map(|wire| room.member(wire)).collect();
        let send = |room: &mut Room, to: usize, bytes: &[u8]| {
            let mut cx = room.reactor.at(ids[to]).expect("open");
            cx.send(bytes).expect("room");
        };
        let all = room.members.borrow().clone();
        send(&mut room, 1, b"before ");
        let mut cx = room.reactor.at(ids[0]).expect("open");
        assert_eq!(cx.broadcast(all.iter().copied(), b"hello"), 5);
        send(&mut room, 2, b" two");
        send(&mut room, 4, b" four");
        send(&mut room, 3, b" three");
        let mut cx = room.reactor.at(ids[0]).expect("open");
        assert_eq!(cx.broadcast(all, b"!"), 5);
        room.turn();
        let outputs: Vec<Vec<u8>> = wires.iter().map(Wire::output).collect();
        assert_eq!(outputs[0], b"hello!");
        assert_eq!(outputs[1], b"before hello!");
        assert_eq!(outputs[3], b"hello three!");
        assert_eq!(outputs[4], b"hello four!");
        let taken = room_in_the_kernel.min(10);
        assert_eq!(
            outputs[2],
            b"hello two!"[..taken],
            "what there was room for"
        );
        assert_eq!(room.reactor.at(ids[2]).expect("open").queued(), 10 - taken);
    }
}

/// The cap is the offender's affair alone. With no back-pressure to lean on (whoever sends here is no
/// connection) the one that reads nothing goes over it, by name, and the others have every message.
#[test]
fn a_slow_member_over_its_cap_is_closed_by_name_and_the_others_have_everything_in_order() {
    let mut room = Room::new();
    let wires: Vec<Wire> = (0..20)
        .map(|i| if i == 7 { Wire::new(5) } else { Wire::open() })
        .collect();
    let ids: Vec<_> = wires.iter().map(|wire| room.member(wire)).collect();
    let mut expected = Vec::new();
    for round in 0..200u8 {
        let message = pattern(round, 10_000);
        expected.extend_from_slice(&message);
        let all = room.members.borrow().clone();
        let reached = room
            .reactor
            .at(ids[0])
            .expect("open")
            .broadcast(all, &message);
        room.turn();
        let slow_is_there = room.reactor.at(ids[7]).is_some();
        assert!(reached >= 19, "{reached} were reached");
        // Invariants hold each outbox to its cap after each turn; this is the same in numbers.
        assert!(room.reactor.memory().0 <= CAP);
        assert_eq!(slow_is_there, expected.len() <= CAP + 5);
    }
    for (i, wire) in wires.iter().enumerate().filter(|(i, _)| *i != 7) {
        assert!(wire.output() == expected, "member {i} has everything");
    }
    let ends = room.ends.borrow();
    let [(failed, error), (closed, close)] = &ends[..] else {
        panic!("one error and one close: {ends:?}");
    };
    assert_eq!((*failed, *closed), (ids[7].any(), ids[7].any()));
    assert!(error.starts_with("QuotaExceeded"), "{error}");
    assert!(error.contains(&format!("Member {}", ids[7])), "{error}");
    assert_eq!(close, "close");
    assert_eq!(room.reactor.counters().over_cap, 1);
}

#[test]
fn a_slow_but_honest_receiver_holds_the_sender_and_is_never_cut_off() {
    const TOTAL: usize = 4_000_000;
    let mut room = Room::new();
    let (slow, fast) = (Wire::new(0), Wire::open());
    let slow_id = room.member(&slow);
    room.member(&fast);
    let (speaker, wire) = room.speaker(16 * 1024, 1);
    let sent = pattern(3, TOTAL);
    wire.input(&mut room.reactor, speaker, &sent);
    let mut turns = 0;
    while slow.taken() < TOTAL {
        // It takes a little in each turn: more slowly than the speaker could speak.
        slow.make_room(&mut room.reactor, slow_id, 5000);
        room.turn();
        turns += 1;
        let queued = room.queued(slow_id);
        assert!(queued <= HIGH + 16 * 1024, "{queued} bytes queued");
        assert!(turns < 2000, "it makes progress");
        room.clock.advance(PATIENCE / 2);
    }
    assert!(slow.output() == sent && fast.output() == sent);
    assert_eq!(room.reactor.counters().over_cap, 0);
    assert!(room.ends.borrow().is_empty());
    assert_eq!(wire.unread(), 0);
}

#[test]
fn a_receiver_that_takes_nothing_holds_the_sender_for_the_patience_and_no_longer() {
    let mut room = Room::new();
    let (dead, alive) = (Wire::new(0), Wire::open());
    let dead_id = room.member(&dead);
    room.member(&alive);
    let (speaker, wire) = room.speaker(16 * 1024, 1);
    wire.input(&mut room.reactor, speaker, &pattern(4, 3_000_000));
    room.turns(20);
    let held_at = alive.taken();
    assert!(held_at <= HIGH + 16 * 1024, "{held_at} bytes went out");
    assert!(held_at > HIGH);
    room.clock.advance(PATIENCE - NANOSECOND);
    room.turns(3);
    assert_eq!(alive.taken(), held_at, "held to the last moment");
    room.clock.advance(NANOSECOND);
    room.turns(3);
    assert!(alive.taken() > held_at, "and let go then");
    // From here on it holds nobody: in as many turns as that takes the cap is reached, and ends it.
    room.turns(200);
    assert_eq!(alive.taken(), 3_000_000);
    assert!(alive.output() == pattern(4, 3_000_000));
    let ends = room.ends.borrow().clone();
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert!(ends[0].1.contains(&format!("Member {dead_id}")));
    assert_eq!(dead.taken(), 0);
}

#[test]
fn a_receiver_that_takes_something_again_is_waited_for_again() {
    let mut room = Room::new();
    let (slow, fast) = (Wire::new(0), Wire::open());
    let slow_id = room.member(&slow);
    room.member(&fast);
    let (speaker, wire) = room.speaker(16 * 1024, 1);
    wire.input(&mut room.reactor, speaker, &pattern(4, 200_000));
    room.turns(20);
    room.clock.advance(PATIENCE);
    room.turns(30);
    assert_eq!(fast.taken(), 200_000, "nobody is held any more");
    // It takes a byte. That makes it somebody to wait for.
    slow.make_room(&mut room.reactor, slow_id, 1);
    room.turns(2);
    wire.input(&mut room.reactor, speaker, &pattern(5, 200_000));
    room.turns(20);
    let heard = fast.taken();
    assert!(heard <= 200_000 + 16 * 1024, "held by its next message");
    slow.make_room(&mut room.reactor, slow_id, usize::MAX);
    room.turns(40);
    assert_eq!((fast.taken(), slow.taken()), (400_000, 400_000));
    assert!(fast.output() == slow.output());
}

#[test]
fn a_sender_held_for_several_goes_on_when_the_last_of_them_has_drained_or_died() {
    for last_dies in [false, true] {
        let mut room = Room::new();
        let wires = [Wire::new(0), Wire::new(0), Wire::open()];
        let ids: Vec<_> = wires.iter().map(|wire| room.member(wire)).collect();
        let (speaker, wire) = room.speaker(16 * 1024, 1);
        wire.input(&mut room.reactor, speaker, &pattern(4, 500_000));
        room.turns(20);
        let held_at = wires[2].taken();
        wires[0].make_room(&mut room.reactor, ids[0], usize::MAX);
        room.turns(20);
        assert_eq!(wires[2].taken(), held_at, "the other still holds it");
        if last_dies {
            room.reactor.at(ids[1]).expect("open").abort();
        } else {
            wires[1].make_room(&mut room.reactor, ids[1], usize::MAX);
        }
        room.turns(60);
        assert_eq!(wires[2].taken(), 500_000);
        assert!(wires[0].output() == wires[2].output());
        assert_eq!(wires[1].taken(), if last_dies { 0 } else { 500_000 });
    }
}

/// The sender leaves while receivers still hold it, and somebody else gets its slot. When they drain,
/// the newcomer must not be released from what never held it (invariants count the holds).
#[test]
fn a_held_sender_may_leave_and_its_successor_is_not_mistaken_for_it() {
    let mut room = Room::new();
    let slow = Wire::new(0);
    let slow_id = room.member(&slow);
    let (speaker, wire) = room.speaker(16 * 1024, 1);
    wire.input(&mut room.reactor, speaker, &pattern(4, 500_000));
    room.turns(20);
    room.reactor.at(speaker).expect("open").abort();
    room.turn();
    let (successor, its_wire) = room.speaker(16 * 1024, 1);
    assert_eq!(
        successor.to_string().split('.').next(),
        speaker.to_string().split('.').next(),
        "it has the slot of the one that left"
    );
    its_wire.input(&mut room.reactor, successor, &pattern(5, 500_000));
    room.turns(5);
    slow.make_room(&mut room.reactor, slow_id, usize::MAX);
    room.turns(60);
    assert_eq!(its_wire.unread(), 0, "all of it was read in the end");
}

#[test]
fn a_member_that_hears_itself_is_held_once_and_goes_on() {
    let mut room = Room::new();
    let (speaker, wire) = {
        let wire = Wire::new(0);
        let speaker = Speaker {
            members: Rc::clone(&room.members),
            chunk: 16 * 1024,
            copies: 1,
        };
        let id = room.reactor.add(wire.socket(), speaker).expect("a stream");
        room.members.borrow_mut().push(id.any());
        (id, wire)
    };
    wire.input(&mut room.reactor, speaker, &pattern(6, 300_000));
    room.turns(20);
    assert!(wire.unread() > 200_000, "held by its own outbox");
    wire.make_room(&mut room.reactor, speaker, usize::MAX);
    room.turns(40);
    assert!(wire.output() == pattern(6, 300_000));
    room.reactor.inject(speaker, Bits::READABLE);
    room.turn();
}

/// It reads nothing of which less would help.
#[test]
fn a_service_that_broadcasts_is_held_for_nobody() {
    struct Announcer(Members);
    impl Dispatcher for Announcer {
        fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
            cx.broadcast(self.0.borrow().iter().copied(), &[b'!'; HIGH + 1]);
            Ok(())
        }
    }
    let mut room = Room::new();
    let slow = Wire::new(0);
    let slow_id = room.member(&slow);
    let announcer = Announcer(Rc::clone(&room.members));
    let announcer = room.reactor.add_service(announcer).expect("room");
    let mut cx = room.reactor.at(announcer).expect("there");
    cx.set_timer(Duration::ZERO);
    room.turns(2);
    assert_eq!(room.queued(slow_id), HIGH + 1);
    assert_eq!(room.reactor.gauges().held, 1, "the member itself");
    let known = room.reactor.describe(announcer).expect("there");
    assert_eq!(known.held_by, AnyId::NONE);
}

/// The many that it waits for have no common name, and what it feeds is not to blame.
#[test]
fn a_sender_that_waits_for_receivers_is_described_as_held_by_itself() {
    let mut room = Room::new();
    let (slow, fast) = (Wire::new(0), Wire::open());
    room.member(&slow);
    let fast_id = room.member(&fast);
    let (speaker, wire) = room.speaker(16 * 1024, 1);
    room.reactor.at(speaker).expect("open").feeds(fast_id);
    wire.input(&mut room.reactor, speaker, &pattern(4, 500_000));
    room.turns(20);
    assert!(wire.unread() > 0, "it is held");
    let known = room.reactor.describe(speaker).expect("open");
    assert_eq!(known.held_by, speaker.any());
}
