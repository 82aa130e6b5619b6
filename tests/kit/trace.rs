//! Traces: what a viewer needs of them, read back with another's JSON library. Slices nest, every callback lies in a step
//! and every step in a turn; a limit holds; and no name that a peer or a program chooses can break out of its quotes.

#![cfg(target_os = "linux")]

#[path = "../util/programs.rs"]
mod programs;
#[path = "../util/mod.rs"]
mod util;
#[path = "../util/wire.rs"]
mod wire;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::time::Duration;

use programs::Server;
use serde_json::Value;
use slabloop::metrics::Metrics;
use slabloop::testing::{Bits, SimClock, SimKind, SimSocket};
use slabloop::trace::{Trace, Written};
use slabloop::{Context, Dispatcher, Reactor, Socket};
use util::*;
use wire::Wire;

const MILLISECOND: Duration = Duration::from_millis(1);

/// Where a trace is written, to be read by the test.
#[derive(Clone, Default)]
struct Paper {
    bytes: Rc<RefCell<Vec<u8>>>,
    /// What is written after so many bytes fails.
    breaks_at: Option<usize>,
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.bytes.borrow_mut();
        if self.breaks_at.is_some_and(|limit| written.len() > limit) {
            return Err(io::Error::other("the disk is full"));
        }
        written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    #[track_caller]
    fn read(&self) -> Records {
        Records::parse(&String::from_utf8(self.bytes.borrow().clone()).unwrap())
    }
}

/// A slice: begin and end in nanoseconds.
#[derive(Clone, Debug)]
struct Slice {
    name: String,
    began: u64,
    ended: u64,
    args: Value,
}

impl Slice {
    fn holds(&self, other: &Slice) -> bool {
        self.began <= other.began && other.ended <= self.ended
    }
}

/// A trace that was read.
#[derive(Debug)]
struct Records(Vec<Value>);

const STEPS: [&str; 7] = [
    "wait", "merge", "dispatch", "timers", "posts", "flush", "close",
];
const BETWEEN: &str = "between turns";

fn nanos(value: &Value) -> u64 {
    let micros = value.as_f64().expect("a number");
    let nanos = Duration::from_secs_f64(micros / 1e6).as_nanos();
    nanos.try_into().expect("a trace is no century")
}

impl Records {
    #[track_caller]
    fn parse(text: &str) -> Records {
        let trace: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}"));
        Records(trace["traceEvents"].as_array().expect("records").clone())
    }

    fn of(&self, phase: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |record| record["ph"] == phase)
    }

    fn named(&self, phase: &str, name: &str) -> Vec<&Value> {
        self.of(phase)
            .filter(|record| record["name"] == name)
            .collect()
    }

    /// The slices of each track, in the order in which they begin, the longest first.
    fn tracks(&self) -> BTreeMap<(u64, u64), Vec<Slice>> {
        let mut tracks: BTreeMap<_, Vec<Slice>> = BTreeMap::new();
        for record in self.of("X") {
            let began = nanos(&record["ts"]);
            let slice = Slice {
                name: record["name"].as_str().unwrap().to_owned(),
                began,
                ended: began + nanos(&record["dur"]),
                args: record["args"].clone(),
            };
            let track = (
                record["pid"].as_u64().unwrap(),
                record["tid"].as_u64().unwrap(),
            );
            tracks.entry(track).or_default().push(slice);
        }
        for slices in tracks.values_mut() {
            slices.sort_by_key(|slice| (slice.began, std::cmp::Reverse(slice.ended)));
        }
        tracks
    }

    fn callbacks(&self) -> Vec<Slice> {
        let loops = self.tracks().remove(&(1, 1)).unwrap_or_default();
        loops
            .into_iter()
            .filter(|slice| !is_turn(slice) && !is_step(slice))
            .collect()
    }

    /// What every trace has to keep to, for a viewer to show it as it was.
    #[track_caller]
    fn check(&self) {
        let tracks = self.tracks();
        for (track, slices) in &tracks {
            let mut open: Vec<&Slice> = Vec::new();
            for slice in slices {
                open.retain(|outer| outer.ended > slice.began || outer.holds(slice));
                let crossing = open.iter().find(|outer| !outer.holds(slice));
                assert!(
                    crossing.is_none(),
                    "{track:?}: {slice:?} crosses {crossing:?}"
                );
                open.push(slice);
            }
        }
        let empty = Vec::new();
        let loops = tracks.get(&(1, 1)).unwrap_or(&empty);
        let turns: Vec<_> = loops.iter().filter(|slice| is_turn(slice)).collect();
        let steps: Vec<_> = loops.iter().filter(|slice| is_step(slice)).collect();
        for pair in turns.windows(2) {
            assert!(pair[0].ended <= pair[1].began, "{pair:?}");
        }
        for step in &steps {
            assert!(
                turns.iter().any(|turn| turn.holds(step)),
                "{step:?} is in no turn"
            );
        }
        for (_, slices) in tracks.iter().filter(|(track, _)| track.0 == 2) {
            let mut lives = slices.iter().filter(|slice| is_life(slice));
            if let Some(life) = lives.next() {
                assert!(slices.iter().all(|slice| life.holds(slice)), "{slices:?}");
            }
            assert_eq!(lives.next().map(|life| &life.name), None);
        }
        let mut in_lanes: Vec<_> = tracks
            .iter()
            .filter(|(track, _)| track.0 == 2)
            .flat_map(|(_, slices)| slices)
            .filter(|slice| !is_life(slice))
            .map(|slice| (slice.began, slice.name.clone()))
            .collect();
        for callback in self.callbacks() {
            assert!(
                steps.iter().any(|step| step.holds(&callback)),
                "{callback:?} is in no step"
            );
            let in_lane = (callback.began, callback.name.clone());
            if callback.name.contains(' ') {
                let place = in_lanes.iter().position(|other| *other == in_lane);
                in_lanes.swap_remove(place.unwrap_or_else(|| panic!("{callback:?} is in no lane")));
            }
        }
        assert!(
            in_lanes.is_empty(),
            "lanes have what the loop has not: {in_lanes:?}"
        );
        self.check_names_and_arrows(&tracks);
    }

    #[track_caller]
    fn check_names_and_arrows(&self, tracks: &BTreeMap<(u64, u64), Vec<Slice>>) {
        let threads: BTreeSet<_> = self
            .named("M", "thread_name")
            .iter()
            .map(|record| {
                (
                    record["pid"].as_u64().unwrap(),
                    record["tid"].as_u64().unwrap(),
                )
            })
            .collect();
        for track in tracks.keys() {
            assert!(threads.contains(track), "{track:?} has no name");
        }
        let begun: BTreeSet<_> = self.of("s").map(|record| record["id"].as_u64()).collect();
        assert_eq!(
            begun.len(),
            self.of("s").count(),
            "each arrow has a number of its own"
        );
        for end in self.of("f") {
            assert!(
                begun.contains(&end["id"].as_u64()),
                "{end} has no beginning"
            );
            let track = (end["pid"].as_u64().unwrap(), end["tid"].as_u64().unwrap());
            let at = nanos(&end["ts"]);
            let holds = |slice: &Slice| slice.began <= at && at <= slice.ended;
            assert!(tracks[&track].iter().any(holds), "{end} points at nothing");
        }
    }
}

fn is_turn(slice: &Slice) -> bool {
    slice.name.starts_with("turn ") || slice.name == BETWEEN
}

fn is_life(slice: &Slice) -> bool {
    slice.name.starts_with("life of ")
}

fn is_step(slice: &Slice) -> bool {
    STEPS.contains(&slice.name.as_str()) || slice.name == "no step"
}

#[track_caller]
fn finish(reactor: &mut Reactor) -> Written {
    let trace = reactor.unobserve::<Trace>().expect("it is there");
    trace.finish().expect("the paper takes it")
}

// ---------------------------------------------------------------------------------------------------
// What is in it.

#[test]
fn an_echo_is_seen_from_its_accept_to_its_end() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()));
    let (_, address) = serve(&mut reactor, || Echo);
    turn_for(&mut reactor, Duration::ZERO);
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.write_all(b"hello").unwrap();
    turn_until(&mut reactor, "the echo", |reactor| {
        reactor.counters().bytes_out == 5
    });
    client.read_exact(&mut [0; 5]).unwrap();
    drop(client);
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 1);
    let written = finish(&mut reactor);

    let records = paper.read();
    records.check();
    assert_eq!(written.records, records.0.len() as u64);
    assert_eq!(
        (written.bytes, written.dropped),
        (paper.bytes.borrow().len() as u64, 0)
    );
    let callbacks = records.callbacks();
    let names: Vec<_> = callbacks.iter().map(|slice| slice.name.as_str()).collect();
    assert!(
        names[0].starts_with("handle_accept Accepting<"),
        "{names:?}"
    );
    let read = callbacks
        .iter()
        .find(|slice| slice.name == "handle_read Echo 1.1");
    let args = &read.expect("a read").args;
    assert_eq!(
        (&args["bytes_in"], &args["bytes_out"]),
        (&5.into(), &5.into())
    );
    assert_eq!(args["outcome"], "ok");
    assert_eq!(*names.last().unwrap(), "handle_close Echo 1.1");
    let tracks = records.tracks();
    let lives: Vec<_> = tracks.values().flatten().filter(|it| is_life(it)).collect();
    let [listener, echo] = lives[..] else {
        panic!("{lives:?}");
    };
    assert!(
        listener.name.starts_with("life of Accepting<"),
        "{listener:?}"
    );
    assert_eq!(echo.name, "life of Echo 1.1");
    assert!(listener.holds(echo), "it was there before and after");
    assert_eq!(echo.ended, callbacks.last().unwrap().ended);
    assert_eq!(records.named("i", "closed: finished").len(), 1);
    assert_eq!(
        records.named("s", "added").len(),
        1,
        "an arrow from the listener"
    );
    let to = records.named("f", "added");
    assert_eq!(to.len(), 1, "to the first callback");
    let is_echo = |(_, slices): &(_, &Vec<Slice>)| slices.iter().any(|it| it.name == echo.name);
    let ((_, lane), _) = tracks.iter().find(is_echo).expect("it is there");
    assert_eq!(to[0]["tid"], *lane, "of the connection");
    let titles: Vec<_> = records
        .named("M", "thread_name")
        .into_iter()
        .map(|record| record["args"]["name"].as_str().unwrap())
        .collect();
    let local = client_of(&titles);
    assert!(local.starts_with("Echo 1.1 127.0.0.1:"), "{titles:?}");
    let levels: Vec<_> = records
        .named("C", "connections")
        .into_iter()
        .map(|record| record["args"]["value"].as_u64().unwrap())
        .collect();
    assert_eq!(levels, [0, 1, 0], "told when it changes");
}

#[test]
fn a_post_has_an_arrow_from_where_it_was_made_to_its_run() {
    let mut reactor = Reactor::new().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()));
    let handle = reactor.handle();
    turn_for(&mut reactor, Duration::ZERO);
    let poster = std::thread::spawn(move || handle.post(|_| {}).is_ok());
    assert!(poster.join().unwrap());
    turn_until(&mut reactor, "the post", |reactor| {
        reactor.counters().posts == 1
    });
    finish(&mut reactor);

    let records = paper.read();
    records.check();
    let (from, to) = (records.named("s", "posted"), records.named("f", "posted"));
    let ([from], [to]) = (&from[..], &to[..]) else {
        panic!("{from:?} {to:?}");
    };
    assert_eq!(from["id"], to["id"]);
    // It points into the slice that is there, not at the next one.
    assert_eq!((&to["bp"], &from["bp"]), (&"e".into(), &Value::Null));
    let callbacks = records.callbacks();
    let run = callbacks.iter().find(|slice| slice.name == "post");
    let waited = run.expect("it ran").args["queued_us"].as_f64().unwrap();
    let time = |record: &Value| record["ts"].as_f64().unwrap();
    assert!(waited > 0.0);
    assert!((time(to) - time(from) - waited).abs() < 0.01);
}

fn client_of<'a>(titles: &[&'a str]) -> &'a str {
    titles
        .iter()
        .find(|title| title.starts_with("Echo"))
        .expect("its lane is named")
}

#[test]
fn times_are_those_of_the_clock() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()).slow_callback(5 * MILLISECOND));
    let diary = Diary::default();
    let in_timer = clock.clone();
    let spy = Spy::new("spy", &diary).on_timer(move |_| {
        in_timer.advance(7 * MILLISECOND);
        Ok(())
    });
    let (id, _peer) = spied_pair(&mut reactor, spy);
    reactor.at(id).unwrap().set_timer(10 * MILLISECOND);
    clock.advance(12 * MILLISECOND);
    turn_until(&mut reactor, "the timer", |_| {
        diary.count("spy", "timer") == 1
    });
    finish(&mut reactor);
    let records = paper.read();
    records.check();
    let timer = &records.callbacks()[0];
    assert_eq!((timer.began, timer.ended), (12_000_000, 19_000_000));
    assert_eq!(timer.args["late_us"], 2000.0);
    assert_eq!(records.named("i", "slow: 7ms").len(), 1);
    let work: Vec<_> = records
        .named("C", "work of a turn in µs")
        .into_iter()
        .map(|record| record["args"]["value"].as_u64().unwrap())
        .collect();
    assert!(work.contains(&7_000), "from the wait's end: {work:?}");
}

#[test]
fn an_event_that_waits_for_others_has_no_arrow_of_a_post() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()));
    let diary = Diary::default();
    let mut peers = ["one", "other"].map(|name| {
        let clock = clock.clone();
        let spy = Spy::new(name, &diary).on_read(move |cx| {
            clock.advance(MILLISECOND);
            cx.recv(&mut [0; 8]).map(|_| ())
        });
        spied_pair(&mut reactor, spy).1
    });
    for peer in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    turn_until(&mut reactor, "both have read", |_| {
        diary.count("one", "read") + diary.count("other", "read") == 2
    });
    finish(&mut reactor);
    let records = paper.read();
    let waited: Vec<_> = records
        .callbacks()
        .iter()
        .filter_map(|slice| slice.args["queued_us"].as_f64())
        .collect();
    assert!(waited.contains(&1000.0), "{waited:?}");
    assert!(records.named("s", "posted").is_empty());
}

#[test]
fn what_becomes_of_a_dispatcher_is_a_mark_on_its_lane() {
    let mut reactor = Reactor::builder().max_connections(2).build().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()));
    let diary = Diary::default();
    // One is replaced.
    let becomes_echo = Spy::new("old", &diary).on_read(|cx| cx.replace(Echo).map(|_| ()));
    let (_, mut first) = spied_pair(&mut reactor, becomes_echo);
    first.write_all(b"x").unwrap();
    turn_until(&mut reactor, "an answer", |reactor| {
        reactor.counters().bytes_out == 1
    });
    // One has more to send than its marks allow.
    let (sender, mut second) = spied_pair(&mut reactor, Spy::new("sender", &diary));
    reactor.narrow(sender, 4096).unwrap();
    let mut at = reactor.at(sender).unwrap();
    at.set_marks(1_000, 2_000, 1 << 20).unwrap();
    at.send(&vec![0; 1 << 19]).unwrap();
    assert!(at.queued() > 2_000);
    second.set_nonblocking(true).unwrap();
    turn_until(&mut reactor, "all is sent", |reactor| {
        let _ = second.read(&mut [0; 1 << 16]);
        reactor.gauges().queued_bytes == 0
    });
    // There is no room for a third, until one leaves; and an event comes too late for that one.
    let (_, address) = serve(&mut reactor, || Echo);
    let _third = std::net::TcpStream::connect(address).unwrap();
    settle(&mut reactor);
    assert_eq!(reactor.counters().accepted, 0);
    drop(second);
    turn_until(&mut reactor, "the third is there", |reactor| {
        reactor.counters().accepted == 1
    });
    reactor.inject(sender, Bits::READABLE);
    turn(&mut reactor);
    finish(&mut reactor);

    let records = paper.read();
    records.check();
    let marks: Vec<_> = records.of("i").map(|record| &record["name"]).collect();
    for (expected, times) in [
        ("replaced by Echo", 1),
        ("accepting paused: connection limit", 2),
        ("accepting resumed", 1),
        ("stale event", 1),
    ] {
        let count = marks.iter().filter(|mark| **mark == expected).count();
        assert_eq!(count, times, "{expected}: {marks:?}");
    }
    for beginning in ["over the high mark: ", "below the low mark: "] {
        let begins = |mark: &&&Value| mark.as_str().unwrap().starts_with(beginning);
        assert_eq!(marks.iter().filter(begins).count(), 1, "{marks:?}");
    }
    let of_the_first: Vec<_> = records
        .callbacks()
        .into_iter()
        .map(|slice| slice.name)
        .filter(|name| name.starts_with("handle_read") && name.ends_with(" 0.1"))
        .collect();
    assert_eq!(
        of_the_first,
        ["handle_read Spy 0.1", "handle_read Echo 0.1"]
    );
}

/// A listener whose calls of `accept` fail with these, the last of them first, and then have nothing.
struct Failing(Vec<i32>);

impl SimSocket for Failing {
    fn kind(&self) -> SimKind {
        SimKind::Listener
    }

    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn accept(&mut self) -> io::Result<Box<dyn SimSocket>> {
        let errno = self.0.pop().map(io::Error::from_raw_os_error);
        Err(errno.unwrap_or_else(|| io::ErrorKind::WouldBlock.into()))
    }
}

#[test]
fn why_a_listener_pauses_is_a_mark_and_is_counted() {
    const EIO: i32 = 5;
    const EMFILE: i32 = 24;
    const RETRY: Duration = Duration::from_millis(100);
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    let builder = builder.clock(clock.clone()).observer(Metrics::new);
    let builder = builder.accept_retry(RETRY).max_queued(4_096);
    let mut reactor = builder.build().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()));
    let failing: Box<dyn SimSocket> = Box::new(Failing(vec![EIO, EMFILE]));
    let listener = reactor.add(Socket::from(failing), Echo).unwrap();
    reactor.inject(listener, Bits::READABLE);
    let pauses = |reactor: &mut Reactor, count: u64| {
        turn_until(reactor, "a pause", |reactor| {
            let pauses = reactor.metrics().accept_pauses;
            pauses.shortage + pauses.fault + pauses.over_total == count
        });
    };
    pauses(&mut reactor, 1);
    clock.advance(RETRY);
    pauses(&mut reactor, 2);
    // A peer that takes nothing.
    let wire = Wire::new(0);
    let sender = reactor.add(wire.socket(), Echo).unwrap();
    reactor.at(sender).unwrap().send(&[0; 8_192]).unwrap();
    turn(&mut reactor);
    clock.advance(RETRY);
    pauses(&mut reactor, 3);
    let counted = reactor.metrics().accept_pauses;
    assert_eq!(
        (
            counted.limit,
            counted.shortage,
            counted.fault,
            counted.over_total
        ),
        (0, 1, 1, 1)
    );
    finish(&mut reactor);
    let records = paper.read();
    records.check();
    let marks = records.of("i").filter_map(|record| record["name"].as_str());
    let pauses = marks.filter_map(|mark| mark.strip_prefix("accepting paused: "));
    let expected = [EMFILE, EIO].map(|errno| io::Error::from_raw_os_error(errno).to_string());
    let expected = expected.iter().map(String::as_str);
    let expected = expected.chain(["outboxes over their bound"]);
    assert_eq!(pauses.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[test]
fn a_slot_that_is_used_again_is_another_lane() {
    let mut reactor = Reactor::new().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()));
    let diary = Diary::default();
    for _ in 0..2 {
        let (_, peer) = spied_pair(&mut reactor, Spy::new("spy", &diary));
        drop(peer);
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    }
    finish(&mut reactor);
    let records = paper.read();
    records.check();
    let lanes: BTreeSet<_> = records
        .named("M", "thread_name")
        .iter()
        .map(|record| record["tid"].as_u64())
        .collect();
    assert_eq!(
        lanes.len(),
        records.named("M", "thread_name").len() - 1,
        "one is the loop's"
    );
    let spies: Vec<_> = records
        .callbacks()
        .into_iter()
        .map(|slice| slice.name)
        .filter(|name| name.starts_with("handle_close"))
        .collect();
    assert_eq!(spies, ["handle_close Spy 0.1", "handle_close Spy 0.2"]);
}

#[test]
fn a_write_that_is_cut_short_points_at_the_one_that_goes_on() {
    let mut reactor = Reactor::new().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()));
    let diary = Diary::default();
    let (sink, mut reads_late) = spied_pair(&mut reactor, Spy::new("sink", &diary));
    let (source, mut peer) = spied_pair(&mut reactor, Spy::new("source", &diary));
    reactor.at(source).unwrap().feeds(sink);
    reactor.narrow(sink, 4096).unwrap();
    reactor
        .at(sink)
        .unwrap()
        .send(&vec![0; 512 * 1024])
        .unwrap();
    peer.write_all(b"more").unwrap();
    turn_until(&mut reactor, "nothing moves", |reactor| {
        reactor.gauges().held > 0
    });
    settle(&mut reactor);
    // A look that finds no room is no write.
    for _ in 0..50 {
        reactor.inject(sink, Bits::WRITABLE);
        turn(&mut reactor);
    }
    let reading = std::thread::spawn(move || reads_late.read_exact(&mut vec![0; 512 * 1024]));
    turn_until(&mut reactor, "all is sent", |reactor| {
        reactor.gauges().queued_bytes == 0
    });
    reading.join().unwrap().unwrap();
    finish(&mut reactor);
    let records = paper.read();
    records.check();
    let (begun, ended) = (
        records.named("s", "write blocked"),
        records.named("f", "write blocked"),
    );
    assert!(
        !begun.is_empty() && begun.len() == ended.len(),
        "{begun:?} {ended:?}"
    );
    let writes = records.named("X", "flush").len();
    assert!(begun.len() < writes - 49, "{} of {writes}", begun.len());
    let held: Vec<_> = records.named("f", "held");
    assert_eq!(held.len(), records.named("s", "held").len());
    assert!(!held.is_empty());
}

#[test]
fn a_panic_a_failure_and_what_comes_between_turns_are_told() {
    let mut reactor = Reactor::new().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()));
    let diary = Diary::default();
    let panics = Spy::new("panics", &diary).on_read(|_| panic!("on purpose"));
    let fails = Spy::new("fails", &diary).on_read(|_| Err(io::Error::other("\"no\"")));
    let (_, mut one) = spied_pair(&mut reactor, panics);
    let (_, mut other) = spied_pair(&mut reactor, fails);
    let (_, _stays) = spied_pair(&mut reactor, Spy::new("stays", &diary));
    one.write_all(b"x").unwrap();
    other.write_all(b"x").unwrap();
    drop((one, other));
    turn_until(&mut reactor, "both ends", |reactor| reactor.count() == 1);
    reactor.close_all();
    finish(&mut reactor);
    let records = paper.read();
    records.check();
    let outcomes: BTreeSet<_> = records
        .callbacks()
        .iter()
        .map(|slice| slice.args["outcome"].as_str().unwrap().to_owned())
        .collect();
    for outcome in ["panicked", "failed: \"no\"", "ok"] {
        assert!(outcomes.contains(outcome), "{outcomes:?}");
    }
    assert!(
        !records.named("X", BETWEEN).is_empty(),
        "the last handle_close came outside of a turn"
    );
    assert_eq!(records.named("i", "closed: panic in a callback").len(), 1);
}

#[test]
fn a_trace_that_a_callback_ends_is_in_order() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()));
    let handle = reactor.handle();
    handle
        .post(move |_| clock.advance(5 * MILLISECOND))
        .unwrap();
    handle
        .post(|reactor| {
            finish(reactor);
        })
        .unwrap();
    turn(&mut reactor);
    let records = paper.read();
    records.check();
    assert_eq!(
        records.callbacks().len(),
        1,
        "the one that ended it has not ended"
    );
}

// ---------------------------------------------------------------------------------------------------
// Bounds.

/// Posts until a trace of this size must be over; the trace, and what became of it.
fn overfilled(limit: u64) -> (String, Written) {
    let mut reactor = Reactor::new().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()).size_limit(limit));
    for _ in 0..limit / 500 + 50 {
        reactor.handle().post(|_| {}).unwrap();
        reactor.turn(Duration::ZERO).unwrap();
    }
    let shown = format!("{:?}", reactor.observer::<Trace>());
    assert!(
        shown.contains(&format!("bytes: {}", paper.bytes.borrow().len())),
        "{shown}"
    );
    let written = finish(&mut reactor);
    let text = String::from_utf8(paper.bytes.borrow().clone()).unwrap();
    (text, written)
}

#[test]
fn it_stops_at_its_limit_and_says_what_it_left_out() {
    for limit in [4 * 1024, 10_000, 100_000] {
        let (text, written) = overfilled(limit);
        assert!(
            text.len() as u64 <= limit,
            "{} bytes of {limit}",
            text.len()
        );
        assert!(
            text.len() as u64 > limit / 2,
            "{} bytes of {limit}",
            text.len()
        );
        let records = Records::parse(&text);
        records.check();
        let last = records.0.last().unwrap();
        assert_eq!(last["name"], "end of trace");
        assert_eq!(last["args"]["dropped_records"], written.dropped);
        assert!(written.dropped > 0);
        assert_eq!(written.bytes, text.len() as u64);
    }
}

#[test]
fn a_limit_of_nothing_still_gives_a_whole_file() {
    let (text, written) = overfilled(0);
    assert!(text.len() <= 4 * 1024);
    Records::parse(&text).check();
    assert!(written.dropped > 0);
}

#[test]
fn one_turn_of_any_size_takes_bounded_memory_and_stays_in_order() {
    let mut reactor = Reactor::new().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()));
    for _ in 0..30_000 {
        reactor.call_later(Duration::ZERO, |_| {});
    }
    turn_until(&mut reactor, "the timers", |reactor| {
        reactor.counters().timers == 30_000
    });
    settle(&mut reactor);
    let written = finish(&mut reactor);
    let records = paper.read();
    assert!(written.dropped > 0, "{written:?}");
    assert!(written.records > 5_000, "{written:?}");
    records.check();
    assert_eq!(
        records.0.last().unwrap()["args"]["dropped_records"],
        written.dropped
    );
}

#[test]
fn a_file_that_breaks_off_is_an_error_and_the_loop_goes_on() {
    let mut reactor = Reactor::new().unwrap();
    let paper = Paper {
        breaks_at: Some(2_000),
        ..Paper::default()
    };
    reactor.observe(Trace::new(paper));
    for _ in 0..100 {
        reactor.handle().post(|_| {}).unwrap();
        reactor.turn(Duration::ZERO).unwrap();
    }
    assert_eq!(reactor.counters().posts, 100);
    let trace = reactor.unobserve::<Trace>().unwrap();
    assert_eq!(trace.finish().unwrap_err().to_string(), "the disk is full");
}

#[test]
fn dropping_it_finishes_it() {
    let paper = Paper::default();
    let mut reactor = Reactor::new().unwrap();
    reactor.observe(Trace::new(paper.clone()));
    reactor.handle().post(|_| {}).unwrap();
    reactor.turn(Duration::ZERO).unwrap();
    drop(reactor);
    let records = paper.read();
    records.check();
    assert_eq!(records.0.last().unwrap()["name"], "end of trace");
}

// ---------------------------------------------------------------------------------------------------
// Names that somebody else has chosen.

/// Fails with what it was sent.
struct Parrot;

impl Dispatcher for Parrot {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, _| {
            Err(io::Error::other(
                String::from_utf8_lossy(bytes).into_owned(),
            ))
        })
    }
}

#[test]
fn what_peers_say_stays_text() {
    let said = "\"}],\"traceEvents\":[{\"name\":\"</script>\\\u{1}\u{2028}\n";
    let mut reactor = Reactor::new().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()));
    let (ours, mut peer) = unix_pair();
    reactor.add(ours, Parrot).unwrap();
    peer.write_all(said.as_bytes()).unwrap();
    turn_until(&mut reactor, "the end", |reactor| {
        reactor.counters().errors == 1
    });
    let (ours, mut peer) = unix_pair();
    reactor.add(ours, Parrot).unwrap();
    peer.write_all(&[b'a'; 10_000]).unwrap();
    turn_until(&mut reactor, "the end", |reactor| {
        reactor.counters().errors == 2
    });
    finish(&mut reactor);
    let records = paper.read();
    records.check();
    let outcomes: Vec<_> = records
        .callbacks()
        .iter()
        .map(|slice| slice.args["outcome"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        outcomes.contains(&format!("failed: {said}")),
        "{outcomes:?}"
    );
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.chars().count() <= 201),
        "and it is not long"
    );
    let text = String::from_utf8(paper.bytes.borrow().clone()).unwrap();
    assert!(!text.contains("</script>"), "nor markup");
}

#[test]
fn a_socket_with_a_hostile_name_is_one_lane() {
    let folder = std::env::temp_dir().join(format!("slabloop-trace-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("a\"},{\"b\\\n<i>");
    let listener = UnixListener::bind(&path).unwrap();
    let mut reactor = Reactor::new().unwrap();
    let paper = Paper::default();
    reactor.observe(Trace::new(paper.clone()));
    let diary = Diary::default();
    reactor
        .add(UnixStream::connect(&path).unwrap(), Spy::new("spy", &diary))
        .unwrap();
    drop(listener);
    turn_until(&mut reactor, "the end", |reactor| {
        reactor.counters().ends.total() == 1
    });
    finish(&mut reactor);
    std::fs::remove_dir_all(&folder).unwrap();
    let records = paper.read();
    records.check();
    let titles: Vec<_> = records
        .named("M", "thread_name")
        .into_iter()
        .map(|record| record["args"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(titles.len(), 2, "{titles:?}");
    assert!(titles[1].starts_with("Spy 0.1"), "{titles:?}");
}

// ---------------------------------------------------------------------------------------------------
// A real program under load.

#[test]
fn chat_under_load_is_in_order() {
    let path = std::env::temp_dir().join(format!("slabloop-chat-{}.json", std::process::id()));
    let server = Server::start("chat_tested", &["--trace", path.to_str().unwrap()]);
    let address = server.address;
    let talkers: Vec<_> = (0..8)
        .map(|talker| {
            std::thread::spawn(move || {
                let mut client = programs::client(address);
                let mut lines = BufReader::new(client.try_clone().unwrap());
                let mut line = String::new();
                lines.read_line(&mut line).expect("a greeting");
                for number in 0..200 {
                    writeln!(client, "{talker} says {number}").unwrap();
                }
                client.shutdown(std::net::Shutdown::Write).unwrap();
                let mut rest = String::new();
                lines.read_to_string(&mut rest).expect("the end");
            })
        })
        .collect();
    for talker in talkers {
        talker.join().unwrap();
    }
    let mut server = server;
    server.process.signal("-INT");
    let line = server.stdout_says("trace: ");
    assert!(line.contains(" 0 dropped"), "{line}");
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    let totals = ended.totals();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();

    let records = Records::parse(&text);
    records.check();
    let callbacks = records.callbacks();
    let reads: u64 = callbacks
        .iter()
        .map(|slice| slice.args["bytes_in"].as_u64().unwrap())
        .sum();
    assert_eq!(reads, totals.of("in"), "every byte is in some callback");
    let of_dispatchers = callbacks
        .iter()
        .filter(|slice| slice.name.starts_with("handle_"))
        .count();
    assert!(
        of_dispatchers as u64 >= totals.of("callbacks"),
        "{of_dispatchers} {totals:?}"
    );
    assert_eq!(records.named("s", "added").len(), 8);
    let turns = records
        .of("X")
        .filter(|record| record["name"].as_str().unwrap().starts_with("turn "))
        .count();
    assert_eq!(turns as u64, totals.of("turns"));
}

#[test]
fn a_file_that_cannot_be_made_is_named() {
    let ended = programs::run(
        "chat_tested",
        &["--listen", "127.0.0.1:0", "--trace", "/nowhere/a.json"],
    );
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(
        said.contains("--trace /nowhere/a.json: No such file"),
        "{said}"
    );
}
