//! The echo server or the twelve bytes over HTTP, on tokio's multi-thread runtime with `--threads N`.
//!
//! One task accepts, and the runtime's threads share all tasks, as its documentation has it.

use std::process::ExitCode;

use slabloop_peers::cli::{self, Result};
use slabloop_peers::http::{RESPONSE, Requests};
use slabloop_peers::serve::{self, Job, ThreadsOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;

fn main() -> ExitCode {
    cli::run(|| {
        let options = serve::threads_options()?;
        runtime::Builder::new_multi_thread()
            .worker_threads(options.threads)
            .enable_io()
            .build()?
            .block_on(async move { tokio::spawn(serve(options)).await })
            .map_err(|error| cli::Error::Failed(error.to_string()))?
    })
}

async fn serve(options: ThreadsOptions) -> Result<()> {
    let listener = TcpListener::from_std(serve::listen(options.listen)?)?;
    serve::announce(listener.local_addr())?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(talk(stream, options.job))),
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

async fn talk(mut stream: TcpStream, job: Job) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    let mut requests = Requests::default();
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        match job {
            Job::Echo => stream.write_all(&buffer[..n]).await?,
            Job::Http => {
                let answers = RESPONSE.repeat(requests.feed(&buffer[..n]));
                stream.write_all(&answers).await?;
            }
        }
    }
}
