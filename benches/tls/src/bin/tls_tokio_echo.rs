//! The echo server on tokio's current-thread runtime and tokio-rustls: a task and a buffer per connection.

use std::process::ExitCode;

use slabloop_peers::cli::{self, Result};
use slabloop_peers::serve;
use slabloop_tls_costs::config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio_rustls::TlsAcceptor;

fn main() -> ExitCode {
    cli::run(|| {
        runtime::Builder::new_current_thread()
            .enable_io()
            .build()?
            .block_on(serve())
    })
}

async fn serve() -> Result<()> {
    let config::Server { tls, buffer } = config::server_from_args()?;
    let acceptor = TlsAcceptor::from(tls);
    let listener = TcpListener::from_std(serve::listen(([127, 0, 0, 1], 0).into())?)?;
    serve::announce(listener.local_addr())?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(echo(stream, acceptor.clone(), buffer))),
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

async fn echo(stream: TcpStream, acceptor: TlsAcceptor, buffer: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let mut buffer = vec![0; buffer];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..n]).await?;
        // Without it, what the kernel does not take at once may stay.
        stream.flush().await?;
    }
}
