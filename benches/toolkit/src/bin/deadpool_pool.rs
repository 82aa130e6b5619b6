//! Requests over pooled connections by deadpool's managed pool, on tokio.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

struct Connection {
    stream: BufStream<TcpStream>,
    is_asked: bool,
    answer: Vec<u8>,
}

impl Connection {
    async fn ask(&mut self, line: &str) -> io::Result<&[u8]> {
        self.is_asked = true;
        self.stream.write_all(line.as_bytes()).await?;
        self.stream.flush().await?;
        self.answer.clear();
        self.stream.read_until(b'\n', &mut self.answer).await?;
        if !self.answer.ends_with(b"\n") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.is_asked = false;
        Ok(&self.answer)
    }

    fn is_reusable(&self) -> bool {
        let input = self.stream.get_ref().try_read(&mut [0]);
        !self.is_asked && input.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

struct Manager(SocketAddr);

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = io::Error;

    async fn create(&self) -> io::Result<Connection> {
        Ok(Connection {
            stream: BufStream::new(TcpStream::connect(self.0).await?),
            is_asked: false,
            answer: Vec::new(),
        })
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<io::Error> {
        match connection.is_reusable() {
            true => Ok(()),
            false => Err(RecycleError::message("not reusable")),
        }
    }
}

async fn hold(pool: managed::Pool<Manager>, left: Arc<AtomicU64>) -> Result<u64, Failure> {
    let mut answered = 0;
    let next = |left: u64| left.checked_sub(1);
    while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
        let line = format!("request {number}\n");
        let mut connection = pool.get().await?;
        if connection.ask(&line).await? != line.as_bytes() {
            return Err("the answer is another's".into());
        }
        answered += 1;
    }
    Ok(answered)
}

async fn work(
    count: u64,
    holders: usize,
    connections: usize,
    server: SocketAddr,
) -> Result<u64, Failure> {
    let pool = managed::Pool::builder(Manager(server))
        .max_size(connections)
        .wait_timeout(Some(Duration::from_secs(30)))
        .runtime(Runtime::Tokio1)
        .build()?;
    let left = Arc::new(AtomicU64::new(count));
    let mut tasks = JoinSet::new();
    for _ in 0..holders {
        tasks.spawn(hold(pool.clone(), Arc::clone(&left)));
    }
    let mut answered = 0;
    while let Some(outcome) = tasks.join_next().await {
        answered += outcome??;
    }
    Ok(answered)
}

fn run(count: u64, holders: usize, connections: usize, server: SocketAddr) -> Result<u64, Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work(count, holders, connections, server))
}

// The measuring frame.

use std::process::ExitCode;

use slabloop_toolkit_costs::frame;

fn main() -> ExitCode {
    frame::measure(|work| run(work.count, work.holders, work.shared, work.server))
}
