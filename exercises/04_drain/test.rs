//! Exercise 4: everything is read, at most 16 KiB in a turn, and the loop neither stalls nor spins.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};

use code::{BUDGET, Reader};

/// A socket under an edge-triggered poller.
#[derive(Default)]
struct Edge {
    arrived: VecDeque<u8>,
    closed: bool,
    event: bool,
}

impl Edge {
    fn arrive(&mut self, count: usize) {
        self.arrived.extend((0..count).map(|at| (at % 251) as u8));
        self.event = true;
    }

    fn close(&mut self) {
        self.closed = true;
        self.event = true;
    }
}

impl Read for Edge {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.arrived.is_empty() && !self.closed {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.arrived.read(buffer)
    }
}

/// One turn of a loop; `false` if the loop would sleep for ever now.
fn turn(socket: &mut Edge, reader: &mut Reader, input: &mut Vec<u8>) -> bool {
    if std::mem::take(&mut socket.event) {
        reader.on_event();
    }
    if !reader.is_ready() {
        return false;
    }
    let before = input.len();
    reader.turn(socket, input).unwrap();
    let read = input.len() - before;
    assert!(read <= BUDGET, "{read} bytes in one turn");
    true
}

/// Turns until the loop would sleep; how many it took.
fn run(socket: &mut Edge, reader: &mut Reader, input: &mut Vec<u8>) -> usize {
    for turns in 0..1000 {
        if !turn(socket, reader, input) {
            return turns;
        }
    }
    panic!("1,000 turns, and it is still ready: the loop never sleeps");
}

#[test]
fn one_event_is_enough_for_all_that_has_arrived() {
    for count in [1, 4096, 4097, BUDGET - 1, BUDGET, BUDGET + 1, 100_000] {
        let (mut socket, mut reader, mut input) = (Edge::default(), Reader::default(), Vec::new());
        socket.arrive(count);
        run(&mut socket, &mut reader, &mut input);
        assert_eq!(input.len(), count, "the rest waits in the kernel for ever");
    }
}

#[test]
fn the_whole_budget_is_used() {
    let (mut socket, mut reader, mut input) = (Edge::default(), Reader::default(), Vec::new());
    socket.arrive(10 * BUDGET);
    let turns = run(&mut socket, &mut reader, &mut input);
    assert!(turns <= 11, "{turns} turns for ten times the budget");
}

#[test]
fn what_arrives_between_two_turns_is_read_in_order() {
    let (mut socket, mut reader, mut input) = (Edge::default(), Reader::default(), Vec::new());
    for _ in 0..20 {
        socket.arrive(251 * 100);
        turn(&mut socket, &mut reader, &mut input);
    }
    run(&mut socket, &mut reader, &mut input);
    assert_eq!(input.len(), 20 * 251 * 100);
    assert!(
        input
            .iter()
            .enumerate()
            .all(|(at, byte)| *byte == (at % 251) as u8)
    );
}

#[test]
fn data_and_end_in_one_event_are_both_seen() {
    for count in [3, BUDGET, 50_000] {
        let (mut socket, mut reader, mut input) = (Edge::default(), Reader::default(), Vec::new());
        socket.arrive(count);
        socket.close();
        run(&mut socket, &mut reader, &mut input);
        assert_eq!(input.len(), count);
        assert!(
            reader.is_finished(),
            "no other event says that the peer has closed"
        );
    }
}

#[test]
fn an_event_for_nothing_is_no_harm() {
    let (mut socket, mut reader, mut input) = (Edge::default(), Reader::default(), Vec::new());
    socket.event = true;
    run(&mut socket, &mut reader, &mut input);
    assert!(input.is_empty() && !reader.is_finished());
}
