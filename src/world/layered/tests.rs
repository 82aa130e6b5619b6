//! A layer between a scripted stream below and what calls it from above.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;

use super::*;

/// A stream that answers as a test wants, and notes what else it is asked.
#[derive(Default)]
struct Wire {
    recv: VecDeque<io::Result<&'static [u8]>>,
    /// The last answer holds for all that follow.
    send: VecDeque<io::Result<usize>>,
    capped: bool,
    #[cfg(feature = "test")]
    is_attempt: bool,
    asked: Rc<RefCell<Vec<&'static str>>>,
}

impl Wire {
    fn receiving(answers: impl IntoIterator<Item = io::Result<&'static [u8]>>) -> Wire {
        Wire {
            recv: answers.into_iter().collect(),
            ..Wire::default()
        }
    }

    fn sending(answers: impl IntoIterator<Item = io::Result<usize>>) -> Wire {
        Wire {
            send: answers.into_iter().collect(),
            ..Wire::default()
        }
    }

    fn below(self, layer: impl Layer) -> Layered {
        let nothing = (Vec::new(), Vec::new());
        let below = Io::Other(Box::new(self));
        Layered::new(below, Box::new(layer), Stage::Established, nothing)
    }

    fn note(&self, asked: &'static str) {
        self.asked.borrow_mut().push(asked);
    }
}

impl Endpoint for Wire {
    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn name(&self) -> &'static str {
        "a wire"
    }

    fn register(&mut self, _: &Registry, _: Token) -> io::Result<()> {
        self.note("register");
        Ok(())
    }

    #[cfg(feature = "test")]
    fn report_to(&mut self, _: &crate::world::simulated::news::News) {
        self.note("report_to");
    }

    #[cfg(feature = "test")]
    fn is_simulated_attempt(&self) -> bool {
        self.is_attempt
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        self.note("deregister");
        Ok(())
    }

    fn watch_room(&mut self, _: &Registry, _: Token) -> io::Result<()> {
        self.note("watch_room");
        Ok(())
    }

    fn reset_when_closed(&self) {
        self.note("reset_when_closed");
    }

    fn urgent_inline(&self, _: bool) -> Option<io::Result<()>> {
        self.note("urgent_inline");
        None
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let answer = self.recv.pop_front();
        let bytes = answer.unwrap_or(Err(io::ErrorKind::WouldBlock.into()))?;
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn was_capped(&self) -> bool {
        self.capped
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let answer = self.send.pop_front();
        Ok(answer.unwrap_or(Ok(bytes.len()))?.min(bytes.len()))
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.note("send_vectored");
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        self.send(&all)
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        self.note("take_error");
        Ok(Some(io::ErrorKind::TimedOut.into()))
    }
}

/// Changes nothing, and reads and writes as often as it is asked to.
#[derive(Default)]
struct Plain {
    /// What it hands out before it reads.
    stock: VecDeque<u8>,
    holds_input: bool,
    /// It says of no byte that it has left.
    reports_nothing: bool,
    /// It hands out one byte of what it reads, and forgets the others.
    shortens: bool,
    /// For each read: whether it left nothing in the kernel, as the reactor said.
    drained: Rc<RefCell<Vec<bool>>>,
}

impl Layer for Plain {
    fn handshake(&mut self, _: &mut Below<'_>) -> io::Result<()> {
        Ok(())
    }

    fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.stock.is_empty() {
            return self.stock.read(buffer);
        }
        let outcome = below.read(buffer);
        self.drained.borrow_mut().push(below.is_drained());
        Ok(if self.shortens {
            outcome?.min(1)
        } else {
            outcome?
        })
    }

    fn holds_input(&self) -> bool {
        self.holds_input
    }

    fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
        let sent = below.write_vectored(&[IoSlice::new(bytes)])?;
        if self.reports_nothing {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(sent)
    }

    fn finish(&mut self, _: &mut Below<'_>) -> io::Result<()> {
        Ok(())
    }
}

fn would_block<T>() -> io::Result<T> {
    Err(io::ErrorKind::WouldBlock.into())
}

#[test]
fn what_concerns_the_socket_is_asked_of_the_stream_below() {
    let wire = Wire::default();
    let asked = Rc::clone(&wire.asked);
    let mut layered = wire.below(Plain::default());
    let poll = mio::Poll::new().expect("a poller");
    let token = Token(1);
    layered.register(poll.registry(), token).expect("it can");
    layered.watch_room(poll.registry(), token).expect("it can");
    layered.deregister(poll.registry()).expect("it can");
    layered.reset_when_closed();
    assert!(layered.urgent_inline(true).is_none(), "nor is it asked");
    let error = layered
        .take_error()
        .expect("it can")
        .map(|error| error.kind());
    assert_eq!(error, Some(io::ErrorKind::TimedOut));
    assert_eq!(
        asked.take(),
        [
            "register",
            "watch_room",
            "deregister",
            "reset_when_closed",
            "take_error",
        ]
    );
    #[cfg(feature = "test")]
    {
        layered.report_to(&crate::world::simulated::news::News::default());
        assert_eq!(asked.take(), ["report_to"]);
    }
}

#[test]
#[cfg(feature = "test")]
fn an_attempt_that_no_system_knows_of_is_one_below_a_layer_too() {
    for is_attempt in [true, false] {
        let wire = Wire {
            is_attempt,
            ..Wire::default()
        };
        let layered = wire.below(Plain::default());
        assert_eq!(layered.is_simulated_attempt(), is_attempt);
    }
}

#[test]
fn it_connects_then_shakes_hands_and_then_is_established() {
    for stage in [Stage::Connecting, Stage::Handshaking] {
        let wire = Io::Other(Box::new(Wire::default()));
        let nothing = (Vec::new(), Vec::new());
        let mut layered = Layered::new(wire, Box::new(Plain::default()), stage, nothing);
        let is_outgoing = stage == Stage::Connecting;
        assert_eq!(layered.name(), "a stream with a layer");
        assert_eq!(layered.is_outgoing(), is_outgoing);
        assert_eq!(layered.is_handshaking(), !is_outgoing);
        layered.connected();
        assert!(layered.is_handshaking());
        layered.handshake().expect("it is done at once");
        assert!(!layered.is_handshaking());
        assert_eq!(layered.is_outgoing(), is_outgoing, "it stays what it was");
    }
}

#[test]
fn a_layer_learns_whether_its_read_has_drained_the_kernel() {
    let drained = |wire: Wire, read: usize| {
        let told = Rc::default();
        let mut layered = wire.below(Plain {
            drained: Rc::clone(&told),
            ..Plain::default()
        });
        let _ = layered.recv(&mut [0; 8][..read]);
        told.take()
    };
    assert_eq!(drained(Wire::receiving([Ok(&b"some"[..])]), 8), [true]);
    assert_eq!(drained(Wire::receiving([Ok(&b"some"[..])]), 4), [false]);
    assert_eq!(drained(Wire::receiving([would_block()]), 8), [true]);
    let mut limited = Wire::receiving([Ok(&b"some"[..])]);
    limited.capped = true;
    assert_eq!(drained(limited, 8), [false], "no more was allowed");
}

#[test]
fn there_may_be_more_unless_kernel_buffer_and_layer_say_that_there_is_not() {
    let may_have_more = |wire: Wire, layer: Plain| {
        let mut layered = wire.below(layer);
        layered.recv(&mut [0; 4]).expect("there is something");
        layered.was_capped()
    };
    let short = || Wire::receiving([Ok(&b"abc"[..])]);
    assert!(!may_have_more(short(), Plain::default()));
    let holding = Plain {
        holds_input: true,
        ..Plain::default()
    };
    assert!(may_have_more(short(), holding), "the layer has more");
    let shortening = Plain {
        shortens: true,
        ..Plain::default()
    };
    let full = Wire::receiving([Ok(&b"abcd"[..])]);
    assert!(may_have_more(full, shortening), "the kernel may have more");

    // The kernel has no more, and what the layer has read before fills the buffer.
    struct Stocking;
    impl Layer for Stocking {
        fn handshake(&mut self, _: &mut Below<'_>) -> io::Result<()> {
            Ok(())
        }
        fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
            let mut record = [0; 16];
            let _ = below.read(&mut record)?;
            Ok(buffer.len())
        }
        fn holds_input(&self) -> bool {
            false
        }
        fn send(&mut self, _: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn finish(&mut self, _: &mut Below<'_>) -> io::Result<()> {
            Ok(())
        }
    }
    let mut layered = short().below(Stocking);
    layered.recv(&mut [0; 4]).expect("there is something");
    assert!(layered.was_capped(), "the buffer is full");
}

#[test]
fn bytes_that_come_are_told_once_also_where_the_layer_has_nothing_to_show() {
    let mut layered = Wire::receiving([Ok(&b"some"[..]), would_block()]).below(Plain::default());
    assert!(!layered.has_got(), "nothing has come yet");
    layered.recv(&mut [0; 8]).expect("there is something");
    let nothing = layered.recv(&mut [0; 8]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(io::ErrorKind::WouldBlock));
    assert!(layered.has_got(), "some came in the first read");
    assert!(!layered.has_got(), "it was asked for");
    layered.recv(&mut [0; 8]).expect_err("nothing comes");
    assert!(!layered.has_got());
}

#[test]
fn bytes_that_leave_are_told_once_if_no_outcome_tells_of_them() {
    let silent = || Plain {
        reports_nothing: true,
        ..Plain::default()
    };
    let wire = Wire::sending([Ok(3), would_block(), would_block()]);
    let asked = Rc::clone(&wire.asked);
    let mut layered = wire.below(silent());
    assert!(!layered.has_given(), "nothing has left yet");
    layered.send(b"abc").expect_err("the layer reports nothing");
    assert!(!layered.is_full());
    layered.send(b"abc").expect_err("no room");
    assert!(layered.is_full());
    assert!(layered.has_given(), "three have left in the first write");
    assert!(!layered.has_given(), "it was asked for");
    layered.send(b"abc").expect_err("no room");
    assert!(!layered.has_given());
    assert_eq!(asked.take(), ["send_vectored"; 3]);

    let mut layered = Wire::default().below(Plain::default());
    assert_eq!(layered.send(b"abc").ok(), Some(3));
    assert!(!layered.has_given(), "the outcome has told it");
}

#[test]
fn several_pieces_leave_in_one_call_up_to_the_first_that_leaves_in_part() {
    let pieces = [b"ab", b"cd", b"ef"].map(|piece| IoSlice::new(piece));
    let sent = |answers: Vec<io::Result<usize>>| {
        let mut layered = Wire::sending(answers).below(Plain::default());
        layered.send_vectored(&pieces).map_err(|error| error.kind())
    };
    assert_eq!(sent(vec![]), Ok(6));
    assert_eq!(sent(vec![Ok(2), Ok(1)]), Ok(3));
    assert_eq!(sent(vec![Ok(2), would_block()]), Ok(2));
    assert_eq!(sent(vec![would_block()]), Err(io::ErrorKind::WouldBlock));
}

/// Finds that nothing that comes is what it understands, and says so to the peer or does not.
struct Refusing(Option<bool>);

impl Layer for Refusing {
    fn handshake(&mut self, _: &mut Below<'_>) -> io::Result<()> {
        Ok(())
    }

    fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = below.read(buffer)?;
        Err(io::ErrorKind::InvalidData.into())
    }

    fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
        below.write(bytes)
    }

    fn finish(&mut self, _: &mut Below<'_>) -> io::Result<()> {
        Ok(())
    }

    fn has_told_failure(&self) -> bool {
        self.0
            .unwrap_or_else(|| Plain::default().has_told_failure())
    }
}

#[test]
fn a_refusal_is_told_of_what_came_and_only_if_the_layer_has_told_the_peer() {
    for (tells, told) in [(Some(true), true), (Some(false), false), (None, false)] {
        let answers = [would_block(), Ok(&b"rubbish"[..]), would_block()];
        let mut layered = Wire::receiving(answers).below(Refusing(tells));
        layered.recv(&mut [0; 8]).expect_err("nothing is there");
        assert!(!layered.has_refused(), "that is no refusal");
        assert!(!layered.has_told_failure(), "there is none");
        layered.recv(&mut [0; 8]).expect_err("it is not understood");
        layered.recv(&mut [0; 8]).expect_err("nothing is there");
        assert!(layered.has_refused(), "and it stays one");
        assert_eq!(layered.has_told_failure(), told);
    }
}
