//! Exercise 8: what is queued for one member of a chat is bounded, by either of two policies.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::io::{self, ErrorKind, Write};

use code::{LIMIT, Member, Policy};

/// A socket that takes a number of bytes, and then no more until it is given room.
#[derive(Default)]
struct Socket {
    room: usize,
    received: Vec<u8>,
}

impl Socket {
    /// What the member has received, in lines. The last one may not be complete yet.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.received.clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.received.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line of this number, of 100 bytes with its newline.
fn line(number: usize) -> String {
    format!("{number:099}")
}

/// Members of both policies.
fn both() -> [Member; 2] {
    [Policy::DropOldest, Policy::DropMember].map(Member::new)
}

#[test]
fn who_does_not_read_costs_no_more_than_the_limit() {
    for mut member in both() {
        for number in 0..1000 {
            member.push(&line(number));
            let (queued, policy) = (member.queued(), member.policy());
            assert!(queued <= LIMIT, "{policy:?}: {queued} bytes are queued");
        }
    }
}

#[test]
fn who_keeps_up_loses_nothing() {
    for mut member in both() {
        let mut socket = Socket::default();
        for number in 0..1000 {
            member.push(&line(number));
            socket.room = 100;
            member.flush(&mut socket).unwrap();
        }
        let all: Vec<String> = (0..1000).map(line).collect();
        assert_eq!(socket.lines(), all);
        assert!(!member.is_dropped());
    }
}

#[test]
fn limit_can_be_used_up() {
    for mut member in both() {
        let mut socket = Socket::default();
        for number in 0..LIMIT / 100 {
            member.push(&line(number));
        }
        socket.room = 2 * LIMIT;
        member.flush(&mut socket).unwrap();
        assert_eq!(socket.lines().len(), LIMIT / 100);
        assert!(!member.is_dropped(), "it was below the limit all the time");
    }
}

#[test]
fn the_oldest_are_dropped_and_the_newest_arrive() {
    let mut member = Member::new(Policy::DropOldest);
    for number in 0..1000 {
        member.push(&line(number));
    }
    let mut socket = Socket {
        room: 2 * LIMIT,
        ..Socket::default()
    };
    member.flush(&mut socket).unwrap();
    let newest: Vec<String> = (1000 - LIMIT / 100..1000).map(line).collect();
    assert_eq!(socket.lines(), newest);
    assert!(!member.is_dropped(), "the member stays");
}

#[test]
fn line_of_which_a_part_is_written_arrives_whole() {
    let mut member = Member::new(Policy::DropOldest);
    let mut socket = Socket::default();
    for number in 0..200 {
        member.push(&line(number));
        socket.room = 30;
        member.flush(&mut socket).unwrap();
    }
    socket.room = 100 * LIMIT;
    member.flush(&mut socket).unwrap();
    let mut numbers = Vec::new();
    for received in socket.lines() {
        let length = received.len();
        assert_eq!(
            length, 99,
            "{length} bytes in one line: two have become one"
        );
        numbers.push(received.parse::<usize>().unwrap());
    }
    assert!(numbers.is_sorted(), "not in order: {numbers:?}");
    assert_eq!(numbers.last(), Some(&199));
}

#[test]
fn who_is_dropped_gets_nothing_more_and_costs_nothing() {
    let mut member = Member::new(Policy::DropMember);
    let mut socket = Socket::default();
    for number in 0..100 {
        member.push(&line(number));
    }
    assert!(member.is_dropped(), "10,000 bytes, and still a member");
    assert_eq!(member.queued(), 0);
    socket.room = 2 * LIMIT;
    member.push(&line(100));
    member.flush(&mut socket).unwrap();
    assert_eq!(socket.received, b"");
    assert!(member.is_dropped());
}
