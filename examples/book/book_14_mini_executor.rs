//! An executor for `async fn` on this crate's public API, and what becomes of a waker that is not kept.
//!
//! Chapter 14 of the book: `docs/book/14-from-callbacks-to-futures.md`.
//!
//! ```text
//! cargo run --example book_14_mini_executor -- --demo
//! cargo run --example book_14_mini_executor -- --demo --waker once
//! cargo run --example book_14_mini_executor -- --demo --by callbacks
//! ```
//!
//! In order: the echo server by callbacks; the same as an `async fn`; the executor (tasks and wakers; sockets; time);
//! the demonstration.

mod shared;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use shared::{Failure, Flags, PATIENCE, QUIET, connect, hear, listen, listen_quietly, run, say};
use slab::Slab;
use slabloop::test::Clock;
use slabloop::{Accepted, Context, Dispatcher, Handle, Id, Reactor, TimerId};

const GREETING: &[u8] = b"hello\n";
const REMINDER: &[u8] = b"still there?\n";

// ---------------------------------------------------------------------------------------------------------------
// The server, by callbacks.

struct Door {
    idle: Duration,
    /// Closes the listener after this many connections.
    left: usize,
}

impl Dispatcher for Door {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let idle = self.idle;
        let echo = Echo {
            lines: 0,
            idle,
            timer: None,
        };
        let id = cx.add(accepted, echo)?;
        self.left -= 1;
        if self.left == 0 {
            cx.close();
        }
        cx.with(id, Echo::start).unwrap_or(Ok(()))
    }
}

struct Echo {
    lines: usize,
    idle: Duration,
    timer: Option<TimerId>,
}

impl Echo {
    fn start(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.timer = Some(cx.set_timer(self.idle));
        cx.send(GREETING)
    }
}

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut buffer = [0; 64];
        let count = cx.recv(&mut buffer)?;
        if count == 0 {
            note(|| format!("  the end, after {} lines", self.lines));
            return Ok(());
        }
        self.lines += 1;
        note(|| format!("  read {:?}", text(&buffer[..count])));
        if let Some(timer) = self.timer {
            cx.reset_timer(timer, self.idle);
        }
        cx.send(&buffer[..count])
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.timer = Some(cx.set_timer(self.idle));
        cx.send(REMINDER)
    }
}

// ---------------------------------------------------------------------------------------------------------------
// The server, as futures.

async fn serve(executor: Executor, listener: Listener, connections: usize, idle: Duration) {
    for _ in 0..connections {
        let socket = listener.accept().await;
        let executor_of_it = executor.clone();
        executor.spawn("echo", async move {
            let outcome = echo(executor_of_it, socket, idle).await;
            outcome.unwrap_or_else(|error| note(|| format!("  echo failed: {error}")));
        });
    }
}

async fn echo(executor: Executor, socket: Stream, idle: Duration) -> io::Result<()> {
    let mut lines = 0;
    let mut buffer = [0; 64];
    socket.write(GREETING).await?;
    loop {
        match executor.timeout(idle, socket.read(&mut buffer)).await {
            None => socket.write(REMINDER).await?,
            Some(Ok(0)) => break,
            Some(count) => {
                let bytes = &buffer[..count?];
                lines += 1;
                note(|| format!("  read {:?}", text(bytes)));
                socket.write(bytes).await?;
            }
        }
    }
    note(|| format!("  the end, after {lines} lines"));
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------------
// The executor: tasks, and how they are woken.

/// Polls the tasks that were woken, then has the reactor wait for what wakes the next.
#[derive(Clone)]
struct Executor(Rc<Inner>);

struct Inner {
    reactor: RefCell<Reactor>,
    /// `None` while the task is being polled.
    tasks: RefCell<Slab<Option<Task>>>,
    woken: Arc<Woken>,
    keep: Keep,
}

struct Task {
    name: &'static str,
    future: Pin<Box<dyn Future<Output = ()>>>,
    waker: Arc<TaskWaker>,
}

/// The tasks to be polled, by index.
struct Woken {
    queue: Mutex<VecDeque<usize>>,
    home: ThreadId,
    handle: Handle,
}

/// All that is behind a `Waker`: which task, and where to say so.
struct TaskWaker {
    index: usize,
    queued: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.woken.lock().push_back(self.index);
        if thread::current().id() != self.woken.home {
            // The loop may be asleep. Any post ends its wait, and a refused one is behind others that do.
            let _ = self.woken.handle.post(|_| ());
        }
    }
}

impl Executor {
    fn new(reactor: Reactor, keep: Keep) -> Executor {
        let woken = Arc::new(Woken {
            queue: Mutex::default(),
            home: thread::current().id(),
            handle: reactor.handle().unref(),
        });
        Executor(Rc::new(Inner {
            reactor: RefCell::new(reactor),
            tasks: RefCell::default(),
            woken,
            keep,
        }))
    }

    /// Adds a task. It is polled for the first time after the task that is running now.
    fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + 'static) {
        let mut tasks = self.0.tasks.borrow_mut();
        let entry = tasks.vacant_entry();
        let waker = Arc::new(TaskWaker {
            index: entry.key(),
            queued: AtomicBool::new(false),
            woken: Arc::clone(&self.0.woken),
        });
        let future = Box::pin(future);
        Arc::clone(&waker).wake();
        entry.insert(Some(Task {
            name,
            future,
            waker,
        }));
    }

    /// Runs until no task is left, and the reactor has sent what they sent.
    fn run(&self) -> io::Result<()> {
        loop {
            while let Some(index) = self.0.woken.next() {
                self.poll(index);
            }
            if self.0.tasks.borrow().is_empty() {
                return self.0.reactor.borrow_mut().run();
            }
            self.0.reactor.borrow_mut().turn(None)?;
        }
    }

    fn poll(&self, index: usize) {
        let taken = self.0.tasks.borrow_mut().get_mut(index).map(Option::take);
        let Some(Some(mut task)) = taken else {
            return; // It has ended; an old waker was left over.
        };
        task.waker.queued.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&task.waker));
        note(|| format!("  poll {}", task.name));
        match task
            .future
            .as_mut()
            .poll(&mut task::Context::from_waker(&waker))
        {
            Poll::Pending => self.0.tasks.borrow_mut()[index] = Some(task),
            Poll::Ready(()) => {
                self.0.tasks.borrow_mut().remove(index);
                note(|| format!("  {} is done", task.name));
            }
        }
    }
}

impl Woken {
    fn lock(&self) -> MutexGuard<'_, VecDeque<usize>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<usize> {
        self.lock().pop_front()
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Sockets: the one dispatcher behind all of them, and the futures that wait for it.

/// When a source takes the waker of a task that has to wait.
#[derive(Clone, Copy, PartialEq)]
enum Keep {
    Always,
    /// "It is the same task as before, so why take its waker again?" This is the mistake.
    Once,
}

/// The dispatcher of every socket. It does nothing but wake.
struct Source {
    accepted: VecDeque<Accepted>,
    waker: Option<Waker>,
    keep: Keep,
    has_waited: bool,
}

impl Source {
    fn new(keep: Keep) -> Source {
        Source {
            accepted: VecDeque::new(),
            waker: None,
            keep,
            has_waited: false,
        }
    }

    fn wait(&mut self, task: &task::Context<'_>) {
        if self.has_waited && self.keep == Keep::Once {
            return;
        }
        self.has_waited = true;
        self.waker = Some(task.waker().clone());
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Dispatcher for Source {
    fn handle_accept(&mut self, _: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        self.accepted.push_back(accepted);
        self.wake();
        Ok(())
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // Not again before a task has found it empty.
        cx.pause_reading();
        self.wake();
        Ok(())
    }

    fn handle_eof(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(()) // The task has seen it, and may have more to say.
    }

    fn handle_sent(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.wake();
        Ok(())
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        self.wake();
    }
}

/// A connection. To drop it is to close it.
struct Stream {
    executor: Executor,
    id: Id<Source>,
}

/// A task that writes waits while more than this is queued.
const QUEUED: usize = 64 * 1024;

impl Stream {
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|task| {
            self.reach(|source, cx| match cx.recv(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    source.wait(task);
                    cx.resume_reading();
                    Poll::Pending
                }
                outcome => Poll::Ready(outcome),
            })
        })
        .await
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = Some(bytes);
        poll_fn(|task| {
            self.reach(|source, cx| {
                if let Some(bytes) = rest.take() {
                    cx.send(bytes)?;
                }
                if cx.queued() <= QUEUED {
                    return Poll::Ready(Ok(()));
                }
                source.wait(task);
                cx.notify_when_sent()?;
                Poll::Pending
            })
        })
        .await
    }

    fn reach<T>(
        &self,
        body: impl FnOnce(&mut Source, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut reactor = self.executor.0.reactor.borrow_mut();
        let gone = || Poll::Ready(Err(ErrorKind::NotConnected.into()));
        reactor.with(self.id, body).unwrap_or_else(gone)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(mut cx) = self.executor.0.reactor.borrow_mut().at(self.id) {
            cx.close();
        }
    }
}

struct Listener(Stream);

impl Listener {
    fn new(executor: &Executor, listener: std::net::TcpListener) -> io::Result<Listener> {
        let source = Source::new(executor.0.keep);
        let mut reactor = executor.0.reactor.borrow_mut();
        let id = reactor.add(listener, source)?;
        let executor = executor.clone();
        Ok(Listener(Stream { executor, id }))
    }

    async fn accept(&self) -> Stream {
        let Listener(Stream { executor, id }) = self;
        poll_fn(|task| {
            let mut reactor = executor.0.reactor.borrow_mut();
            loop {
                let next = reactor.with(*id, |source, _| {
                    source.wait(task);
                    source.accepted.pop_front()
                });
                let Some(accepted) = next.flatten() else {
                    return Poll::Pending;
                };
                if let Ok(id) = reactor.add(accepted, Source::new(executor.0.keep)) {
                    let executor = executor.clone();
                    return Poll::Ready(Stream { executor, id });
                }
            }
        })
        .await
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Time.

/// Ready when its time has come. To drop it before is to cancel the timer.
struct Sleep {
    executor: Executor,
    timer: TimerId,
    alarm: Rc<Alarm>,
}

#[derive(Default)]
struct Alarm {
    has_rung: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<()> {
        if self.alarm.has_rung.get() {
            return Poll::Ready(());
        }
        self.alarm.waker.set(Some(task.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let mut reactor = self.executor.0.reactor.borrow_mut();
        reactor.cancel_timer(self.timer);
    }
}

impl Executor {
    fn sleep(&self, time: Duration) -> Sleep {
        let alarm = Rc::new(Alarm::default());
        let rings = Rc::clone(&alarm);
        let ring = move |_: &mut Reactor| {
            rings.has_rung.set(true);
            if let Some(waker) = rings.waker.take() {
                waker.wake();
            }
        };
        let timer = self.0.reactor.borrow_mut().call_later(time, ring);
        let executor = self.clone();
        Sleep {
            executor,
            timer,
            alarm,
        }
    }

    /// What the future gives, or `None` if that takes longer than `limit`.
    async fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let mut sleep = pin!(self.sleep(limit));
        poll_fn(|task| {
            if let Poll::Ready(outcome) = future.as_mut().poll(task) {
                return Poll::Ready(Some(outcome));
            }
            sleep.as_mut().poll(task).map(|()| None)
        })
        .await
    }
}

// ---------------------------------------------------------------------------------------------------------------
// The demonstration.

/// Whether `--measure` was given.
static MEASURES: AtomicBool = AtomicBool::new(false);

/// What the server says, unless it is being measured.
fn note(line: impl FnOnce() -> String) {
    if !MEASURES.load(Ordering::Relaxed) {
        say(line());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// The server's time in the demonstration: it passes when the client says so, and not while a busy machine keeps the client
/// waiting.
struct Time {
    clock: Clock,
    handle: Handle,
    idle: Duration,
}

impl Time {
    fn passes(&self) {
        self.clock.advance(self.idle);
        // The loop is asleep, and looks at its clock when it wakes.
        let _ = self.handle.post(|_| ());
    }
}

/// What the client does, and prints.
fn client(address: SocketAddr, time: &Time, keep: Keep) -> io::Result<()> {
    let mut stream = connect(address)?;
    let heard = |stream: &std::net::TcpStream, patience| -> io::Result<bool> {
        let answer = hear(stream, patience)?;
        match &answer {
            Some(answer) => say(format!("client hears {:?}", answer.trim_end())),
            None => say("client hears nothing"),
        }
        Ok(answer.is_some())
    };
    heard(&stream, PATIENCE)?;
    // What a lost wake-up would have to bring does not come.
    let patience_for_two = if keep == Keep::Once { QUIET } else { PATIENCE };
    for (line, patience) in [("one\n", PATIENCE), ("two\n", patience_for_two)] {
        say(format!("client sends {:?}", line.trim_end()));
        stream.write_all(line.as_bytes())?;
        if !heard(&stream, patience)? {
            say("client waits");
            time.passes();
            heard(&stream, PATIENCE)?;
        }
    }
    say("client waits");
    time.passes();
    heard(&stream, PATIENCE)?;
    say("client closes");
    drop(stream);
    if keep == Keep::Once {
        // Nothing else wakes the task that is to see it.
        time.passes();
    }
    Ok(())
}

/// A client that sends so many bytes one by one, each when the last has come back.
fn many(address: SocketAddr, count: usize) -> io::Result<()> {
    let mut stream = connect(address)?;
    stream.read_exact(&mut [0; GREETING.len()])?;
    for _ in 0..count {
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
    }
    Ok(())
}

/// What a connection takes in memory, in either way of writing it.
fn sizes() -> io::Result<()> {
    let executor = Executor::new(Reactor::new()?, Keep::Always);
    let mut reactor = executor.0.reactor.borrow_mut();
    let id = reactor.add_service(Source::new(Keep::Always))?;
    drop(reactor);
    let socket = || Stream {
        executor: executor.clone(),
        id,
    };
    let limit = Duration::from_secs(1);
    let mut buffer = [0; 64];
    let stream = socket();
    let read = size_of_val(&stream.read(&mut buffer));
    let sleep = size_of::<Sleep>();
    let whole = size_of_val(&echo(executor.clone(), socket(), limit));
    say(format!(
        "`Echo`, the struct by hand:        {:4} bytes",
        size_of::<Echo>()
    ));
    say(format!(
        "`Source`, of every socket:         {:4} bytes",
        size_of::<Source>()
    ));
    say(format!("the future of `read`:              {read:4} bytes"));
    say(format!(
        "`Sleep`:                           {sleep:4} bytes"
    ));
    say(format!(
        "the future of `echo`, all in all:  {whole:4} bytes"
    ));
    Ok(())
}

fn by_callbacks(
    mut reactor: Reactor,
    listener: std::net::TcpListener,
    left: usize,
    idle: Duration,
) -> io::Result<()> {
    reactor.add(listener, Door { idle, left })?;
    reactor.run()
}

fn by_futures(
    reactor: Reactor,
    listener: std::net::TcpListener,
    connections: usize,
    idle: Duration,
    keep: Keep,
) -> io::Result<()> {
    let executor = Executor::new(reactor, keep);
    let listener = Listener::new(&executor, listener)?;
    let server = serve(executor.clone(), listener, connections, idle);
    executor.spawn("serve", server);
    executor.run()
}

fn program(mut flags: Flags) -> Result<(), Failure> {
    if flags.has("--sizes") {
        flags.end()?;
        return Ok(sizes()?);
    }
    let messages = flags.value("--measure", "a number of messages")?;
    MEASURES.store(messages.is_some(), Ordering::Relaxed);
    let demo = flags.has("--demo") || messages.is_some();
    let address = flags.value("--listen", "an address, such as 127.0.0.1:7000")?;
    let idle = flags.value("--idle", "a number of milliseconds")?;
    let callbacks = flags.one_of("--by", &["futures", "callbacks"])? == "callbacks";
    let keep = match flags.one_of("--waker", &["always", "once"])? {
        "always" => Keep::Always,
        _ => Keep::Once,
    };
    flags.end()?;
    let idle = Duration::from_millis(idle.unwrap_or(10_000));
    let (listener, connections) = if demo {
        (listen_quietly()?, 1)
    } else {
        let address = address.unwrap_or_else(|| ([127, 0, 0, 1], 7000).into());
        (listen(address)?, usize::MAX)
    };
    let address = listener.local_addr()?;
    let (mut builder, clock) = (Reactor::builder(), Clock::new());
    if demo && messages.is_none() {
        builder.clock(clock.clone());
    }
    let reactor = builder.build()?;
    let client = demo.then(|| {
        let handle = reactor.handle().unref();
        let time = Time {
            clock,
            handle,
            idle,
        };
        thread::spawn(move || match messages {
            Some(count) => many(address, count),
            None => client(address, &time, keep),
        })
    });
    if callbacks {
        by_callbacks(reactor, listener, connections, idle)?;
    } else {
        by_futures(reactor, listener, connections, idle, keep)?;
    }
    if let Some(client) = client {
        client.join().expect("the client does not panic")?;
    }
    Ok(())
}

const HELP: &str = "\
An echo server as `async fn`, with the executor that runs it; or the same server by callbacks. It says hello, and
asks when it has heard nothing for a while.

Usage: book_14_mini_executor [OPTIONS]

  --demo                     brings its own client, and ends
  --listen HOST:PORT         where to listen [127.0.0.1:7000]
  --idle MS                  how long it waits before it asks [10000]; with --demo its client makes that time pass
  --by futures|callbacks     how the server is written [futures]
  --waker always|once        when a socket keeps the waker of a task that waits; once loses wake-ups [always]
  --measure COUNT            has a client of its own send so many messages, and prints nothing
  --sizes                    what a connection takes in memory, and ends
  -h, --help                 this text

Examples:
  book_14_mini_executor --demo
  book_14_mini_executor --demo --waker once
";

fn main() -> ExitCode {
    run(HELP, program)
}
