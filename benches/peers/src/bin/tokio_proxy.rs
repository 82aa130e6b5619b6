//! The proxy on tokio's current-thread runtime: `copy_bidirectional`, a task per connection.
//!
//! The buffers are tokio's own choice of size, 8 KiB each way.

use std::net::SocketAddr;
use std::process::ExitCode;

use slabloop_peers::cli::{self, Result};
use slabloop_peers::serve::{self, ProxyOptions};
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
    let options = ProxyOptions::from_args()?;
    let listener = TcpListener::from_std(serve::listen(options.listen)?)?;
    serve::announce(listener.local_addr())?;
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(relay(client, options.upstream))),
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

async fn relay(mut client: TcpStream, upstream: SocketAddr) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}
