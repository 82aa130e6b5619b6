//! A parser that passed all its tests, and a peer that sends one byte a turn; then a search for what is left.
//!
//! Chapter 15 of the book: `docs/book/15-testing-a-reactor.md`.
//!
//! ```text
//! cargo run --example book_15_pieces
//! cargo run --example book_15_pieces -- --parser careful
//! cargo run --example book_15_pieces -- --parser careful --search 1000
//! ```

mod shared;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use shared::{Failure, Flags, PATIENCE, connect, hear, run, say};
use slabloop::test::{connection, run_until_quiet};
use slabloop::{Accepted, Context, Dispatcher, Reactor};

const HELP: &str = "\
A server answers each line with its length. It is tested over a real socket, and by a peer that cuts its lines.

Usage: book_15_pieces [OPTIONS]

  --parser NAME   hasty: one read is one line; careful: collects lines; right [hasty]
  --search N      tries N random cases, of the seeds 0 to N-1, and shrinks the first that fails
  --seed N        plays the random case of this seed alone
  -h, --help      this text

Examples:
  book_15_pieces --parser careful
  book_15_pieces --parser careful --search 1000
";

fn main() -> ExitCode {
    run(HELP, program)
}

fn program(mut flags: Flags) -> Result<(), Failure> {
    let parser = match flags.one_of("--parser", &["hasty", "careful", "right"])? {
        "careful" => Parser::Careful,
        "right" => Parser::Right,
        _ => Parser::Hasty,
    };
    let search = flags.value::<u64>("--search", "a number of cases")?;
    let seed = flags.value::<u64>("--seed", "a number")?;
    flags.end()?;
    if search == Some(0) {
        let text = "--search wants a number of cases, at least 1, not 0";
        return Err(Failure::Usage(text.to_owned()));
    }
    match (seed, search) {
        (Some(seed), _) => Ok(play(parser, seed)?),
        (None, Some(cases)) => Ok(search_for_a_fault(parser, cases)?),
        (None, None) => Ok(show(parser)?),
    }
}

/// Which of the three parsers a connection has.
#[derive(Clone, Copy)]
enum Parser {
    Hasty,
    Careful,
    Right,
}

/// Answers each line with its length.
struct Lengths {
    parser: Parser,
    /// What has come of a line that is not complete.
    line: Vec<u8>,
}

impl Lengths {
    fn new(parser: Parser) -> Lengths {
        let line = Vec::new();
        Lengths { parser, line }
    }

    fn hasty(bytes: &[u8], cx: &mut Context<'_>) -> io::Result<()> {
        answer(bytes.trim_ascii_end(), cx)
    }

    fn careful(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> io::Result<()> {
        self.line.extend_from_slice(bytes);
        if self.line.contains(&b'\n') {
            let text = std::mem::take(&mut self.line);
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                if let Some(line) = line.strip_suffix(b"\n") {
                    answer(line, cx)?;
                }
            }
        }
        Ok(())
    }

    fn right(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> io::Result<()> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            answer(&self.line[..end], cx)?;
            self.line.drain(..=end);
        }
        Ok(())
    }
}

fn answer(line: &[u8], cx: &mut Context<'_>) -> io::Result<()> {
    cx.send(format!("{}\n", line.len()).as_bytes())
}

impl Dispatcher for Lengths {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let count = cx.recv(&mut chunk)?;
        match self.parser {
            Parser::Hasty => Lengths::hasty(&chunk[..count], cx),
            Parser::Careful => self.careful(&chunk[..count], cx),
            Parser::Right => self.right(&chunk[..count], cx),
        }
    }
}

struct Listener(Parser);

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(accepted, Lengths::new(self.0))?;
        Ok(())
    }
}

/// What the answers have to be, whatever the pieces.
fn expected(bytes: &[u8]) -> String {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let complete = lines.filter_map(|line| line.strip_suffix(b"\n"));
    complete.map(|line| format!("{}\n", line.len())).collect()
}

/// What a parser answers if the bytes come in these pieces.
fn answers(parser: Parser, pieces: &[Vec<u8>]) -> io::Result<String> {
    let mut reactor = Reactor::new()?;
    let (peer, socket) = connection();
    reactor.add(socket, Lengths::new(parser))?;
    for piece in pieces {
        peer.send(piece);
    }
    run_until_quiet(&mut reactor, pieces.len() + 10);
    Ok(String::from_utf8_lossy(&peer.take_received()).into_owned())
}

fn show(parser: Parser) -> io::Result<()> {
    let right = over_a_socket(parser)?;
    say(format!("over a socket, 1,000 lines: {right} right answers"));
    let text = b"hello\nhow are you\nbye\n";
    let lines: Vec<Vec<u8>> = text
        .split_inclusive(|b| *b == b'\n')
        .map(Vec::from)
        .collect();
    tell("simulated, a line a turn", parser, &lines)?;
    let bytes: Vec<Vec<u8>> = text.chunks(1).map(Vec::from).collect();
    tell("simulated, a byte a turn", parser, &bytes)
}

fn tell(what: &str, parser: Parser, pieces: &[Vec<u8>]) -> io::Result<()> {
    let (wanted, given) = (expected(&pieces.concat()), answers(parser, pieces)?);
    if given == wanted {
        say(format!("{what}: right"));
    } else {
        say(format!("{what}: wrong"));
        say(format!("  expected {wanted:?}"));
        say(format!("  answered {given:?}"));
    }
    Ok(())
}

/// Asks a thousand times, and waits for each answer; how many were right.
fn over_a_socket(parser: Parser) -> io::Result<usize> {
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen("127.0.0.1:0", Listener(parser))?;
    let address = reactor.local_addr(listener)?;
    let handle = reactor.handle();
    let client = std::thread::spawn(move || {
        let right = ask_a_thousand_times(address);
        handle.stop();
        right
    });
    reactor.run()?;
    let client = client.join();
    client.unwrap_or_else(|_| Err(io::Error::other("the client panicked")))
}

fn ask_a_thousand_times(server: SocketAddr) -> io::Result<usize> {
    let mut stream = connect(server)?;
    let mut right = 0;
    for length in 0..1_000 {
        let mut line = vec![b'x'; length];
        line.push(b'\n');
        stream.write_all(&line)?;
        right += usize::from(hear(&stream, PATIENCE)? == Some(expected(&line)));
    }
    Ok(right)
}

/// Numbers that follow from a seed (splitmix64).
struct Random(u64);

impl Random {
    /// Below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let below = (mixed ^ (mixed >> 31)) % bound as u64;
        usize::try_from(below).expect("below a usize")
    }
}

/// A few short lines, cut anywhere.
fn case(seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random(seed);
    let mut pieces = vec![Vec::new()];
    for _ in 0..1 + random.below(12) {
        let byte = [b'a', b'b', b'c', b'\n'][random.below(4)];
        if random.below(3) == 0 {
            pieces.push(Vec::new());
        }
        pieces.last_mut().expect("there is one").push(byte);
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn fails(parser: Parser, pieces: &[Vec<u8>]) -> io::Result<bool> {
    Ok(answers(parser, pieces)? != expected(&pieces.concat()))
}

fn play(parser: Parser, seed: u64) -> io::Result<()> {
    let pieces = case(seed);
    say(format!("seed {seed}: {}", shown(&pieces)));
    tell("in these pieces", parser, &pieces)
}

fn search_for_a_fault(parser: Parser, cases: u64) -> io::Result<()> {
    for seed in 0..cases {
        if fails(parser, &case(seed))? {
            play(parser, seed)?;
            let smallest = shrink(parser, case(seed))?;
            say(format!("the smallest like it: {}", shown(&smallest)));
            return tell("in these pieces", parser, &smallest);
        }
    }
    say(format!("{cases} cases, all right"));
    Ok(())
}

/// Makes a case that fails smaller as long as it still fails.
fn shrink(parser: Parser, mut pieces: Vec<Vec<u8>>) -> io::Result<Vec<Vec<u8>>> {
    loop {
        let mut smaller = None;
        for candidate in smaller_than(&pieces) {
            if fails(parser, &candidate)? {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(smaller) => pieces = smaller,
            None => return Ok(pieces),
        }
    }
}

/// All cases that have one piece less, or one byte less.
fn smaller_than(pieces: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for at in 0..pieces.len() {
        let mut without = pieces.to_vec();
        let piece = without.remove(at);
        found.push(without.clone());
        if at > 0 {
            let mut joined = without.clone();
            joined[at - 1].extend(&piece);
            found.push(joined);
        }
        for byte in 0..piece.len() {
            let mut shorter = pieces.to_vec();
            shorter[at].remove(byte);
            shorter.retain(|piece| !piece.is_empty());
            found.push(shorter);
        }
    }
    found
}

fn shown(pieces: &[Vec<u8>]) -> String {
    let texts = pieces
        .iter()
        .map(|piece| format!("{:?}", String::from_utf8_lossy(piece)));
    texts.collect::<Vec<_>>().join(", ")
}
