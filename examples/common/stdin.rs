//! Standard input as a socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

/// Standard input as a stream that the loop can wait for, whatever it is: a pipe, a terminal, a file, `/dev/null`.
///
/// The system refuses to wait for a regular file (epoll says `EPERM`), and a terminal that is made non-blocking
/// is so for the shell as well. So a thread reads, which may block, and writes what it gets to a socket. When the loop
/// does not read the socket, the thread waits in its write, and holds one buffer: backpressure reaches stdin.
///
/// # Errors
///
/// No descriptors left for the socket, or no thread.
pub fn stdin_stream() -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            if let Err(error) = copy(&mut io::stdin().lock(), theirs) {
                log::error!("stdin: {error}; what has not been read of it is left out");
            }
        })?;
    Ok(ours)
}

/// Copies until the input ends or no more of it is read. The end of `to` is the end of the stream.
fn copy(from: &mut impl Read, mut to: UnixStream) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let bytes = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if to.write_all(bytes).is_err() {
            return Ok(());
        }
    }
}
