//! An echo server that serves one client at a time, without meaning to.
//!
//! Chapter 1 of the book: `docs/book/01-one-socket-at-a-time.md`.
//!
//! ```text
//! cargo run --example book_01_blocking_echo
//! nc 127.0.0.1 7000        in a second terminal, and the same in a third
//! ```

mod shared;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::{fs, thread};

use shared::{Failure, PATIENCE, QUIET, connect, hear, listen, listen_quietly, run, say};

fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        serve_one(listener)?;
    }
}

fn serve_one(listener: &TcpListener) -> io::Result<()> {
    let (client, address) = listener.accept()?;
    say(format!("server: accepted {address}"));
    echo(client)?;
    say(format!("server: {address} is done"));
    Ok(())
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

/// The cure that comes to mind first.
fn serve_with_threads(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept()?;
        thread::spawn(move || echo(client));
    }
}

/// Two clients: the first says nothing for a while.
fn demo() -> Result<(), Failure> {
    let listener = listen_quietly()?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || serve_one(&listener).and_then(|()| serve_one(&listener)));

    let mut first = connect(address)?;
    first.write_all(b"one")?;
    say(format!(
        "first client receives: {:?}",
        hear(&first, PATIENCE)?
    ));

    let mut second = connect(address)?;
    say("second client: connected");
    second.write_all(b"two")?;
    say("second client: sent 3 bytes");
    say(format!(
        "second client receives: {:?}",
        hear(&second, QUIET)?
    ));

    say("first client: leaves");
    drop(first);
    say(format!(
        "second client receives: {:?}",
        hear(&second, PATIENCE)?
    ));
    drop(second);
    // Its last line comes before the program's end, always.
    server.join().expect("the server does not panic")?;
    Ok(())
}

/// What `count` clients cost that have a thread each.
fn measure(count: usize) -> Result<(), Failure> {
    let listener = listen_quietly()?;
    let address = listener.local_addr()?;
    thread::spawn(move || serve_with_threads(&listener));
    let before = memory();
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = connect(address)?;
        client.write_all(b"x")?;
        if hear(&client, PATIENCE)?.is_none() {
            return Err(Failure::Work("the server does not answer".to_owned()));
        }
        clients.push(client);
    }
    let after = memory();
    let each = |kib: usize| kib as f64 / count as f64;
    say(format!("clients, and threads for them: {count}"));
    say(format!(
        "address space: {:.0} KiB a client; memory in use: {:.1} KiB a client",
        each(after.0 - before.0),
        each(after.1 - before.1)
    ));
    Ok(())
}

/// Address space and memory in use of this process, in KiB, where the system has `/proc`.
fn memory() -> (usize, usize) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    (field("VmSize:"), field("VmRSS:"))
}

const HELP: &str = "\
An echo server that blocks in read, and so serves one client at a time.

Usage: book_01_blocking_echo [OPTIONS]

  --listen HOST:PORT   where to listen; port 0 takes any free one [127.0.0.1:7000]
  --threads            a thread for each client
  --demo               brings two clients of its own and ends
  --measure N          what N clients with a thread each cost, then ends
  -h, --help           this text

Examples:
  book_01_blocking_echo --listen 127.0.0.1:0
  book_01_blocking_echo --demo
";

fn main() -> ExitCode {
    run(HELP, |mut flags| {
        let address = flags.value("--listen", "an address such as 127.0.0.1:0")?;
        let threads = flags.has("--threads");
        let alone = flags.has("--demo");
        let count = flags.value("--measure", "a number of clients")?;
        flags.end()?;
        if alone {
            return demo();
        }
        if let Some(count) = count {
            return measure(count);
        }
        let listener = listen(address.unwrap_or(([127, 0, 0, 1], 7000).into()))?;
        if threads {
            serve_with_threads(&listener)?;
        } else {
            serve(&listener)?;
        }
        Ok(())
    })
}
