//! The echo server on tokio's current-thread runtime: a task and a buffer of 4 KiB per connection.
//!
//! That is the loop that tokio's own documentation teaches; reading 4 KiB and getting less tells
//! tokio that the socket is empty, so a message costs one read and one write.

use std::process::ExitCode;

use slabloop_peers::cli::{self, Result};
use slabloop_peers::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;

fn main() -> ExitCode {
    cli::run(|| {
        runtime::Builder::new_current_thread()
            .enable_io()
            .build()?
            .block_on(serve())
    })
}

async fn serve() -> Result<()> {
    let listener = TcpListener::from_std(serve::listen(serve::echo_address()?)?)?;
    serve::announce(listener.local_addr())?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(echo(stream))),
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}
