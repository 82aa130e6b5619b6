//! The proxy on tokio's current-thread runtime: `copy_bidirectional`, a task per connection.
//!
//! The buffers are tokio's own choice of size, 8 KiB each way.

use std::net::SocketAddr;
use std::process::ExitCode;

use slabloop_peers::cli::{self, Doing, Result};
use slabloop_peers::serve::{self, BACKLOG, ProxyOptions};
use tokio::net::{TcpSocket, TcpStream};
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
    let address = options.listen;
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket
        .bind(address)
        .doing(format!("listening on {address}"))?;
    let listener = socket.listen(BACKLOG.unsigned_abs())?;
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
