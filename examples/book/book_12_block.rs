//! A callback that takes 800 ms, and what it costs the other clients; then the same work on a thread.
//!
//! Chapter 12 of the book: `docs/book/12-never-block-the-loop.md`.
//!
//! ```text
//! cargo run --example book_12_block
//! cargo run --example book_12_block -- --where thread
//! cargo run --example book_12_block -- --ctrl-c
//! cargo run --example book_12_block -- --block 5000 --listen 127.0.0.1:7000     and nc 127.0.0.1 7000, twice
//! ```

mod shared;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use shared::{Failure, PATIENCE, QUIET, connect, hear, run, say};
use signal_hook::flag;
use slabloop::kit::signals::{SIGINT, SIGTERM};
use slabloop::kit::workers::Workers;
use slabloop::{Accepted, Context, Dispatcher, Id, Reactor};

/// A callback that takes longer is a line in the log. (100 ms, the default, would do: but on a busy machine innocent ones
/// take as long now and then, and would be named as well.)
const SLOW: Duration = Duration::from_millis(500);

/// Where the work is done.
#[derive(Clone)]
enum Place {
    Callback,
    Thread,
    Workers(Workers),
}

/// Stands for `getaddrinfo`, which sends a question over the network and sleeps until the answer comes. A name server
/// that takes exactly so long is hard to come by.
#[derive(Clone)]
struct LookUp {
    time: Duration,
    /// Hears when one begins. Without it the program keeps silent.
    began: Option<Sender<()>>,
    /// Whoever locks this keeps the answer back.
    answer: Arc<Mutex<()>>,
}

impl LookUp {
    fn run(&self) -> &'static str {
        if let Some(began) = &self.began {
            say("server: look_up begins");
            // The client may have left.
            let _ = began.send(());
        }
        thread::sleep(self.time);
        drop(self.answer.lock());
        if self.began.is_some() {
            say("server: look_up is over");
        }
        "it is 192.0.2.7\n"
    }
}

/// One connection. A request is what one read returns; a real server would look for the end of a line.
struct Client {
    place: Place,
    look_up: LookUp,
}

impl Dispatcher for Client {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut buffer = [0; 256];
        let count = cx.recv(&mut buffer)?;
        let request = &buffer[..count];
        if !request.starts_with(b"look up") {
            return cx.send(request);
        }
        match &self.place {
            Place::Callback => self.in_the_callback(cx),
            Place::Thread => self.on_a_thread(cx),
            Place::Workers(workers) => self.by_workers(cx, workers),
        }
    }
}

impl Client {
    fn in_the_callback(&self, cx: &mut Context<'_>) -> io::Result<()> {
        let answer = self.look_up.run();
        cx.send(answer.as_bytes())
    }

    fn on_a_thread(&self, cx: &mut Context<'_>) -> io::Result<()> {
        let (look_up, handle) = (self.look_up.clone(), cx.handle());
        let me: Id<Client> = cx.id();
        thread::Builder::new().spawn(move || {
            let answer = look_up.run();
            // Refused if the loop is gone, or its queue is full.
            let _ = handle.post(move |reactor| {
                if let Some(mut cx) = reactor.at(me) {
                    // A client that has just left is none of our business.
                    let _ = cx.send(answer.as_bytes());
                }
            });
        })?;
        Ok(())
    }

    fn by_workers(&self, cx: &mut Context<'_>, workers: &Workers) -> io::Result<()> {
        let (look_up, me) = (self.look_up.clone(), cx.id());
        let work = move || look_up.run();
        workers.spawn(cx, me, work, |_: &mut Client, cx, answer| {
            cx.send(answer?.as_bytes())
        })?;
        Ok(())
    }
}

struct Listener {
    place: Place,
    look_up: LookUp,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let (place, look_up) = (self.place.clone(), self.look_up.clone());
        cx.add(accepted, Client { place, look_up })?;
        Ok(())
    }
}

/// Lines of the log, on stdout, without what stands behind a semicolon: how long others waited differs from run to run.
struct Log;

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let (level, target) = (record.level(), record.target());
            let text = record.args().to_string();
            let text = text.split(';').next().unwrap_or_default();
            say(format!("{level} {target}: {text}"));
        }
    }

    fn flush(&self) {}
}

/// The first Ctrl-C is a callback, which stops the loop. The second ends the process, in the signal handler itself.
fn watch_signals(reactor: &mut Reactor) -> io::Result<()> {
    let second = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag clear, and sets it.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&second))?;
        flag::register(signal, Arc::clone(&second))?;
    }
    reactor.signals([SIGINT, SIGTERM], |cx: &mut Context<'_>, _: i32| {
        cx.stop();
        Ok(())
    })?;
    Ok(())
}

/// A reactor with a server in it, and the server's address.
fn server(
    place: &str,
    look_up: LookUp,
    address: SocketAddr,
) -> Result<(Reactor, SocketAddr), Failure> {
    let mut reactor = Reactor::builder().slow_callback(SLOW).build()?;
    let place = match place {
        "callback" => Place::Callback,
        "thread" => Place::Thread,
        _ => Place::Workers(Workers::builder().threads(4).build(&mut reactor)?),
    };
    let listener = Listener { place, look_up };
    let listener = reactor.listen(address, listener).map_err(|error| {
        let way_out = "--listen 127.0.0.1:0 takes any free port";
        Failure::Work(format!("cannot listen on {address}: {error}; {way_out}"))
    })?;
    let address = reactor.local_addr(listener)?;
    Ok((reactor, address))
}

/// Says what a client hears in so long.
fn listen_for(name: &str, client: &TcpStream, patience: Duration) -> io::Result<()> {
    match hear(client, patience)? {
        None => say(format!("{name} hears nothing within {patience:?}")),
        Some(text) => say(format!("{name} hears {:?}", text.trim_end())),
    }
    Ok(())
}

/// One client wants a name looked up. Another one is there, and a third one comes. `patience` is what these two have
/// meanwhile.
fn three_clients(
    address: SocketAddr,
    began: &Receiver<()>,
    answer: &Mutex<()>,
    patience: Duration,
) -> io::Result<()> {
    // Not before B and C have listened, be this thread ever so late.
    let kept_back = answer.lock();
    let (mut a, mut b) = (connect(address)?, connect(address)?);
    b.write_all(b"hello\n")?;
    listen_for("B", &b, PATIENCE)?;
    say("A asks for a name");
    a.write_all(b"look up example.org\n")?;
    let _ = began.recv();
    say("B sends \"hello?\"; C connects and sends \"hello\"");
    b.write_all(b"hello?\n")?;
    let mut c = connect(address)?;
    c.write_all(b"hello\n")?;
    if let Some(text) = hear(&b, patience)? {
        say(format!("B hears {:?}", text.trim_end()));
        listen_for("C", &c, PATIENCE)?;
        drop(kept_back);
        return listen_for("A", &a, PATIENCE);
    }
    say(format!("B and C hear nothing within {patience:?}"));
    drop(kept_back);
    listen_for("A", &a, PATIENCE)?;
    listen_for("B", &b, PATIENCE)?;
    listen_for("C", &c, PATIENCE)
}

/// Ctrl-C while a name is looked up, and once more if the program is still there.
fn impatience(
    address: SocketAddr,
    began: &Receiver<()>,
    answer: &Mutex<()>,
    patience: Duration,
) -> io::Result<()> {
    let _kept_back = answer.lock();
    let mut a = connect(address)?;
    say("A asks for a name");
    a.write_all(b"look up example.org\n")?;
    let _ = began.recv();
    say("Ctrl-C");
    kill_process(getpid(), Signal::INT)?;
    thread::sleep(patience);
    say(format!("still running after {patience:?}; Ctrl-C again"));
    kill_process(getpid(), Signal::INT)?;
    Ok(())
}

/// Runs the server here, and its clients on a thread.
fn demo(place: &str, block: Duration, ctrl_c: bool) -> Result<(), Failure> {
    let (sender, began) = channel();
    let look_up = LookUp {
        time: block,
        began: Some(sender),
        answer: Arc::default(),
    };
    let answer = Arc::clone(&look_up.answer);
    // What a blocked loop does not do, it will not do later either. What a free one does, it does at once, or when a busy
    // machine lets it.
    let patience = if place == "callback" { QUIET } else { PATIENCE };
    let (mut reactor, address) = server(place, look_up, ([127, 0, 0, 1], 0).into())?;
    if ctrl_c {
        watch_signals(&mut reactor)?;
        // It does not end by itself.
        thread::spawn(move || impatience(address, &began, &answer, patience));
        reactor.run()?;
        say("the loop has stopped");
        return Ok(());
    }
    let handle = reactor.handle();
    let clients = thread::spawn(move || {
        let result = three_clients(address, &began, &answer, patience);
        handle.stop();
        result
    });
    reactor.run()?;
    let result = clients.join().expect("it does not panic");
    Ok(result?)
}

/// How long `what` takes: the median of so many times.
fn median(times: usize, mut what: impl FnMut() -> io::Result<()>) -> io::Result<Duration> {
    let mut all = Vec::new();
    for _ in 0..times {
        let start = Instant::now();
        what()?;
        all.push(start.elapsed());
    }
    all.sort();
    Ok(all[times / 2])
}

/// What some calls that block take when all goes well, and what it costs to have them elsewhere.
fn measure() -> Result<(), Failure> {
    let us = |time: Duration| format!("{:8.1} us", time.as_secs_f64() * 1e6);
    let time = median(101, || {
        let found = ("localhost", 80).to_socket_addrs()?.next();
        found
            .map(|_| ())
            .ok_or_else(|| io::Error::other("localhost has no address"))
    })?;
    say(format!("looking up localhost:             {}", us(time)));

    let path = std::env::temp_dir().join(format!("book_12_block-{}", std::process::id()));
    let result = files(&path, us);
    let _ = fs::remove_file(&path);
    result?;

    for (place, name) in [
        ("callback", "a callback:  "),
        ("thread", "a new thread:"),
        ("workers", "a pool:      "),
    ] {
        let look_up = LookUp {
            time: Duration::ZERO,
            began: None,
            answer: Arc::default(),
        };
        let (mut reactor, address) = server(place, look_up, ([127, 0, 0, 1], 0).into())?;
        let handle = reactor.handle();
        let client = thread::spawn(move || {
            let time = round_trip(address);
            handle.stop();
            time
        });
        reactor.run()?;
        let time = client.join().expect("it does not panic")?;
        say(format!("an answer by way of {name} {}", us(time)));
    }
    Ok(())
}

fn files(path: &std::path::Path, us: impl Fn(Duration) -> String) -> io::Result<()> {
    fs::write(path, vec![b'x'; 1 << 20])?;
    let time = median(101, || fs::read(path).map(drop))?;
    say(format!("reading 1 MiB that is in memory:  {}", us(time)));
    let mut file = File::create(path)?;
    let time = median(101, || {
        file.write_all(&[b'x'; 4096])?;
        file.sync_all()
    })?;
    say(format!("writing 4 KiB, down to the disk:  {}", us(time)));
    Ok(())
}

/// A request whose work is nothing, and its answer: the median.
fn round_trip(address: SocketAddr) -> io::Result<Duration> {
    let mut client = connect(address)?;
    let mut answer = [0; 16];
    median(2001, || {
        client.write_all(b"look up")?;
        client.read_exact(&mut answer)
    })
}

fn serve(place: &str, block: Duration, address: SocketAddr) -> Result<(), Failure> {
    let (began, _) = channel();
    let look_up = LookUp {
        time: block,
        began: Some(began),
        answer: Arc::default(),
    };
    let (mut reactor, address) = server(place, look_up, address)?;
    watch_signals(&mut reactor)?;
    say(format!("listening on {address}"));
    say(format!("try: nc {} {}", address.ip(), address.port()));
    reactor.run()?;
    say("the loop has stopped");
    Ok(())
}

const HELP: &str = "\
A server that echoes, and looks up a name if it is sent \"look up\". That takes a while.

Usage: book_12_block [OPTIONS]

  --block MS                       how long looking up takes at least [800]
  --where callback|thread|workers  where it is done [callback]
  --ctrl-c                         somebody presses Ctrl-C meanwhile, twice if need be
  --listen HOST:PORT               serves you, in place of clients of its own
  --measure                        what some calls take that block, and what a thread costs, and ends
  -h, --help                       this text

Examples:
  book_12_block --block 2000
  book_12_block --where workers
  book_12_block --ctrl-c --where thread
";

fn main() -> ExitCode {
    run(HELP, |mut flags| {
        let what = "a whole number of milliseconds, such as 800";
        let block = flags.value::<u32>("--block", what)?.unwrap_or(800);
        let block = Duration::from_millis(block.into());
        let place = flags.one_of("--where", &["callback", "thread", "workers"])?;
        let ctrl_c = flags.has("--ctrl-c");
        let costs = flags.has("--measure");
        let address = flags.value::<SocketAddr>("--listen", "an address such as 127.0.0.1:0")?;
        flags.end()?;
        if log::set_logger(&Log).is_ok() {
            log::set_max_level(log::LevelFilter::Warn);
        }
        match address {
            _ if costs => measure(),
            Some(address) => serve(place, block, address),
            None => demo(place, block, ctrl_c),
        }
    })
}
