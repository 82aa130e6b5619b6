//! SIGUSR2: the program starts its successor with its listening socket, waits until that is ready, and goes.
//!
//! Both have the socket for a moment, and with it one queue of connections, so that none is refused or lost. What is open
//! stays with the old one, which serves it for a while (`--linger`) and drains then. If the new one ends or is not ready in
//! time, the old one goes on as if nothing had happened. `docs/restart-without-downtime.md` is the guide.
//!
//! The socket goes by systemd's protocol, so that a program has one way of inheriting it. That wants descriptor 3 and the
//! number of the new process in its environment. A shell, as which the new process begins, does both; in Rust it would
//! take unsafe code between fork and exec.

use std::cell::Cell;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lexopt::Parser;
use signal_hook::consts::SIGUSR2;
use slabloop::{AnyId, Context, Dispatcher, Reactor, TimerId};
use socket2::SockRef;

use super::{Failure, Limit, notify, options};

/// Connections that wait to be accepted, as [`Reactor::listen`] has it.
const BACKLOG: i32 = 4096;

/// How often it is looked whether the new process has ended, or all connections have.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// So long the listener is only paused: clients whose PROXY header is to come need it.
const LAST_HEADERS: Duration = Duration::from_secs(5);

/// `$0` is the program, and the socket is standard input.
const BECOME: &str = "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 0</dev/null";

/// `--ready-timeout SECONDS` and `--linger SECONDS`, and how far it has come.
#[derive(Clone, Debug)]
pub struct HandOver {
    is_on: bool,
    ready: Duration,
    linger: Duration,
    /// The socket, once more: what the reactor has cannot be taken from it.
    listener: Kept,
    leaving: Arc<AtomicBool>,
}

/// What the options of a program have can go to another thread.
type Kept = Arc<Mutex<Option<TcpListener>>>;

impl Default for HandOver {
    fn default() -> HandOver {
        HandOver {
            is_on: false,
            ready: Duration::from_secs(10),
            linger: Duration::from_secs(10),
            listener: Kept::default(),
            leaving: Arc::default(),
        }
    }
}

impl HandOver {
    /// Takes one flag. False if it is none of these.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if its value is missing or wrong.
    pub fn take(&mut self, flag: &str, parser: &mut Parser) -> Result<bool, Failure> {
        match flag {
            "ready-timeout" => {
                self.ready = options::seconds("--ready-timeout", parser, Limit::AboveZero)?;
            }
            "linger" => self.linger = options::seconds("--linger", parser, Limit::Any)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// For a program that can be told to hand over.
    #[must_use]
    pub fn on_signal(mut self) -> HandOver {
        self.is_on = true;
        self
    }

    /// Says at the signal that there is no hand-over, in place of ending the program.
    ///
    /// # Errors
    ///
    /// As [`watch`](HandOver::watch).
    pub fn refuse(&self, reactor: &mut Reactor, why: &'static str) -> io::Result<()> {
        if self.is_on {
            reactor.signals([SIGUSR2], move |_: &mut Context<'_>, _: i32| {
                goes_on(&why);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Whether another process has taken over: no connection is to be kept longer than it has to.
    #[must_use]
    pub fn leaving(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.leaving)
    }

    /// The listener, if it has to be opened here so that it can be handed over.
    ///
    /// # Errors
    ///
    /// Those of listening.
    pub fn listener(&self, address: &str) -> io::Result<Option<TcpListener>> {
        if !self.is_on {
            return Ok(None);
        }
        let listener = TcpListener::bind(address)?;
        // The standard library's queue is short.
        SockRef::from(&listener).listen(BACKLOG)?;
        Ok(Some(listener))
    }

    /// Keeps the socket, to be handed over.
    ///
    /// # Errors
    ///
    /// No descriptor left.
    pub fn keep(&self, listener: &TcpListener) -> io::Result<()> {
        if self.is_on {
            *lock(&self.listener) = Some(listener.try_clone()?);
        }
        Ok(())
    }

    /// Begins to heed the signal.
    ///
    /// # Errors
    ///
    /// What the system says when a handler is installed, and that the program's own file is not known.
    pub fn watch(&self, reactor: &mut Reactor, listener: AnyId) -> io::Result<()> {
        if !self.is_on {
            return Ok(());
        }
        // Now: a new version may be put in its place, and then the system no longer knows its name.
        let program = env::current_exe()?;
        let is_busy = Rc::new(Cell::new(false));
        let (ready, leaving) = (self.ready, self.leaving());
        let kept = Arc::clone(&self.listener);
        reactor.signals([SIGUSR2], move |cx: &mut Context<'_>, _: i32| {
            if is_busy.get() {
                log::warn!("a new process is being started already");
                return Ok(());
            }
            let begun = begin(&program, &kept).and_then(|(socket, child, folder)| {
                let successor = Successor {
                    listener,
                    child,
                    until: cx.now() + ready,
                    ready,
                    look: None,
                    leaving: Arc::clone(&leaving),
                    is_busy: Rc::clone(&is_busy),
                    _folder: folder,
                };
                let id = cx.add(socket, successor)?;
                is_busy.set(true);
                cx.with(id, |successor, cx| {
                    successor.look = Some(cx.set_interval(LOOK_EVERY));
                });
                Ok(())
            });
            if let Err(error) = begun {
                goes_on(&error);
            }
            Ok(())
        })?;
        Ok(())
    }

    /// After the loop has been stopped: if another process has taken over, serves what is open until that is over, or for
    /// as long as it may linger.
    ///
    /// # Errors
    ///
    /// If the loop itself fails.
    pub fn linger(&self, reactor: &mut Reactor) -> io::Result<()> {
        // With it the port would stay open while what is left is drained.
        lock(&self.listener).take();
        if !self.leaving.load(Ordering::Relaxed) {
            return Ok(());
        }
        let open = reactor.gauges().connections;
        log::info!(
            "serving {open} open connections for up to {:?}",
            self.linger
        );
        let over = reactor.call_later(self.linger, Reactor::stop);
        let look = reactor.call_every(LOOK_EVERY, |reactor| {
            if reactor.gauges().connections == 0 {
                reactor.stop();
            }
        });
        let outcome = reactor.run();
        reactor.cancel_timer(over);
        reactor.cancel_timer(look);
        outcome
    }
}

/// Nothing panics under the lock.
fn lock(kept: &Mutex<Option<TcpListener>>) -> std::sync::MutexGuard<'_, Option<TcpListener>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn goes_on(why: &dyn std::fmt::Display) {
    log::error!("cannot hand over: {why}; going on");
}

/// Starts the new process. It tells on the socket that it is ready.
fn begin(
    program: &Path,
    kept: &Mutex<Option<TcpListener>>,
) -> io::Result<(UnixDatagram, Starting, Folder)> {
    let kept = lock(kept);
    let listener = kept.as_ref().ok_or(io::ErrorKind::NotConnected)?;
    let listener = OwnedFd::from(listener.try_clone()?);
    let folder = Folder::new()?;
    let path = folder.0.join("ready");
    let socket = UnixDatagram::bind(&path)?;
    let child = Command::new("/bin/sh")
        .arg("-c")
        .args([OsStr::new(BECOME), program.as_os_str()])
        .args(env::args_os().skip(1))
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "listen")
        .env(notify::PREDECESSOR, &path)
        .stdin(listener)
        .spawn()?;
    log::info!("process {} has been started, to take over", child.id());
    Ok((socket, Starting(Some(child)), folder))
}

/// A process that is killed unless it gets ready.
struct Starting(Option<Child>);

impl Starting {
    fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself. Killed, it ends soon.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The new process, seen from the old one.
struct Successor {
    listener: AnyId,
    child: Starting,
    until: Instant,
    ready: Duration,
    /// Whether the new process has ended is looked at by this timer.
    look: Option<TimerId>,
    leaving: Arc<AtomicBool>,
    is_busy: Rc<Cell<bool>>,
    _folder: Folder,
}

impl Successor {
    fn failed(&mut self, cx: &mut Context<'_>, why: &dyn std::fmt::Display) {
        self.child.kill();
        goes_on(why);
        cx.close();
    }

    /// From here on nothing is accepted: what is in the queue is the new process's.
    fn go(&mut self, cx: &mut Context<'_>, pid: u32) {
        // It is on its own.
        self.child.0 = None;
        if let Some(mut listener) = cx.at(self.listener) {
            listener.pause_reading();
        }
        self.leaving.store(true, Ordering::Relaxed);
        notify::main_pid(pid);
        if let Some(look) = self.look.take() {
            cx.cancel_timer(look);
        }
        cx.set_timer(LAST_HEADERS);
        cx.stop();
        log::info!("process {pid} is ready and takes over");
    }
}

impl Dispatcher for Successor {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut text = [0; 256];
        loop {
            let count = match cx.recv_from_path(&mut text) {
                Ok((count, _)) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut lines = text[..count].split(|byte| *byte == b'\n');
            let is_ready = lines.any(|line| line == b"READY=1");
            let pid = self.child.0.as_ref().map(Child::id);
            if let (true, Some(pid)) = (is_ready, pid) {
                self.go(cx, pid);
            }
        }
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        let Some(child) = &mut self.child.0 else {
            // The time of the last headers is over.
            if let Some(mut listener) = cx.at(self.listener) {
                listener.close();
            }
            cx.close();
            return Ok(());
        };
        match child.try_wait()? {
            Some(status) => self.failed(cx, &format_args!("the new process has ended: {status}")),
            None if cx.now() >= self.until => {
                let text = format!("the new process was not ready within {:?}", self.ready);
                self.failed(cx, &text);
            }
            None => {}
        }
        Ok(())
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        self.is_busy.set(false);
    }
}

/// A folder that nobody else can write to, removed with its value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Folder> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let moment = since.unwrap_or_default().as_nanos();
        let name = format!("slabloop-{}-{moment:x}", std::process::id());
        let folder = env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
