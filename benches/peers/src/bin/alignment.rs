//! What it costs the kernel to copy to and from a buffer, by where in a page that begins.
//!
//! ```text
//! taskset -c 0 target/bench-peers/alignment
//! ```
//!
//! A TCP connection over loopback in one thread: a piece is sent and received whole, again and again, and
//! either call is timed by itself. One of the two buffers begins at the offset that is shown, the other at
//! the start of a page. On processors whose `rep movsb` dislikes an offset it shows as a factor of three to
//! five; on others all lines are alike.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use slabloop_peers::cli;

const PAGE: usize = 4_096;

/// Less than what a new connection takes without anybody reading.
const PIECE: usize = 32 * 1024;

const ROUNDS: u32 = 2_000;

fn main() -> ExitCode {
    cli::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut sender = TcpStream::connect(listener.local_addr()?)?;
        let (mut receiver, _) = listener.accept()?;
        sender.set_nodelay(true)?;
        for offset in [0, 8, 16, 32, 64, 1024, 4032, 4080] {
            // The first time is for the caches and the connection.
            transfer(&mut sender, &mut receiver, (0, offset))?;
            let (_, received) = transfer(&mut sender, &mut receiver, (0, offset))?;
            let (sent, _) = transfer(&mut sender, &mut receiver, (offset, 0))?;
            println!(
                "page + {offset:4}: sending {:5.1} us, receiving {:5.1} us",
                us(sent),
                us(received)
            );
        }
        Ok(())
    })
}

/// The time that sending and receiving took, all rounds together.
fn transfer(
    sender: &mut TcpStream,
    receiver: &mut TcpStream,
    (from, to): (usize, usize),
) -> io::Result<(Duration, Duration)> {
    let mut source = vec![7; PIECE + 2 * PAGE];
    let mut target = vec![0; PIECE + 2 * PAGE];
    let source = at(&mut source, from);
    let target = at(&mut target, to);
    let (mut sending, mut receiving) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        sender.write_all(source)?;
        let sent = Instant::now();
        receiver.read_exact(target)?;
        sending += sent - start;
        receiving += sent.elapsed();
    }
    Ok((sending, receiving))
}

/// A piece of `memory` that begins so many bytes behind the start of a page.
fn at(memory: &mut [u8], offset: usize) -> &mut [u8] {
    let start = memory.as_ptr().align_offset(PAGE) + offset;
    &mut memory[start..][..PIECE]
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(ROUNDS)
}
