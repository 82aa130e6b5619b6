use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Serves every client that connects, but no more than `limit` of them at the same time.
///
/// There is no counter and no lock: `limit` threads call `accept` on the same listener, and the kernel
/// gives each connection to one of them.
pub fn serve(listener: TcpListener, limit: usize) -> io::Result<()> {
    let workers: Vec<_> = (0..limit)
        .map(|_| {
            let listener = listener.try_clone()?;
            Ok(thread::spawn(move || work(&listener)))
        })
        .collect::<io::Result<_>>()?;
    for worker in workers {
        worker.join().expect("a worker does not panic")?;
    }
    Ok(())
}

fn work(listener: &TcpListener) -> io::Result<()> {
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
