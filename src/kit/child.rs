//! Child processes as dispatchers.
//!
//! A child is spawned from a [`Command`] with a [`ChildHandler`], which gets its output and its exit. The
//! streams that the command makes pipes of are read and written by the loop, bounded like any connection; nothing
//! blocks, and no child is left a zombie.
//!
//! ```
//! use std::io;
//! use std::process::{Command, ExitStatus, Stdio};
//!
//! use slabloop::kit::child::{ChildHandler, Process};
//! use slabloop::{Context, Reactor};
//!
//! /// Collects what the child says, and stops the loop when it has exited.
//! struct Collect(Vec<u8>);
//!
//! impl ChildHandler for Collect {
//!     fn handle_stdout(
//!         &mut self,
//!         _: &mut Context<'_>,
//!         _: &mut Process,
//!         bytes: &[u8],
//!     ) -> io::Result<()> {
//!         self.0.extend_from_slice(bytes);
//!         Ok(())
//!     }
//!
//!     fn handle_exit(
//!         &mut self,
//!         _: &mut Context<'_>,
//!         _: &mut Process,
//!         status: ExitStatus,
//!     ) -> io::Result<()> {
//!         assert!(status.success());
//!         assert_eq!(self.0, b"HELLO");
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> io::Result<()> {
//!     let mut reactor = Reactor::new()?;
//!     let mut command = Command::new("tr");
//!     command.args(["a-z", "A-Z"]).stdin(Stdio::piped()).stdout(Stdio::piped());
//!     let child = reactor.spawn_child(&mut command, Collect(Vec::new()))?;
//!     reactor.with(child, |child, cx| {
//!         let process = child.process();
//!         process.send(cx, b"hello")?;
//!         process.close_stdin(cx);
//!         io::Result::Ok(())
//!     });
//!     // Returns when nothing is left: the child has exited.
//!     reactor.run()
//! }
//! ```
//!
//! # Four dispatchers
//!
//! The child's own dispatcher is a [`Child`], which owns the handler and waits for the exit. Each pipe is a
//! dispatcher as well, whose ids [`Process`] gives: so a client's connection can
//! [feed](crate::Context::feeds) the child's input, and the child's output a connection.
//!
//! # How it ends
//!
//! | what happens | what follows |
//! |---|---|
//! | the child exits, by itself or by a signal | its output is handed out, `handle_exit`, `handle_close` |
//! | `close` or `abort` on the child's context, a panic in a callback, `close_all` | it is killed; `handle_close` |
//! | the reactor is dropped, or shut down | the same; see [`handle_shutdown`](ChildHandler::handle_shutdown) |
//! | [`Process::detach`] | it runs on; `handle_close` |
//!
//! A killed child is waited for by the loop: until the system has taken it down, which is soon, a dispatcher
//! more exists. While a reactor is being dropped or shut down nothing can be added, so there the wait is made on
//! the spot; it takes a moment, and a second at most.
//!
//! # How the exit is noticed
//!
//! On Linux by a descriptor of the process (`pidfd_open`, since 5.3). Elsewhere, and where that is refused, by a
//! handler of `SIGCHLD`, and then each child costs a look at all others' exits. The program must not ignore
//! `SIGCHLD` nor wait for children that it has not started: the status would be lost, and `handle_error` says
//! so.

mod handler;
mod process;
mod reaper;
mod streams;
pub(crate) mod watch;

use std::fmt;
use std::io;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command};

use self::process::Stream;
use self::streams::{Input, Output, Which};
use self::watch::ExitWatch;
use crate::context::Context;
use crate::dispatcher::Dispatcher;
use crate::reactor::Reactor;
use crate::time::timers::TimerId;
use crate::world::errors::is_would_block;
use crate::world::ids::{AnyId, Id};

pub use self::handler::ChildHandler;
pub use self::process::Process;
pub use super::numbers::*;

/// The dispatcher of a child process, made by [`Reactor::spawn_child`].
pub struct Child<H> {
    handler: H,
    process: Process,
    /// Its pipes have been added as well: from here on the handler is told of everything.
    started: bool,
    /// Somebody else has waited for it, and nobody knows how it exited.
    lost: bool,
}

impl<H: ChildHandler> Child<H> {
    /// The handler, for whoever reaches this through [`Context::with`].
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The child, likewise.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The handler and the child at once.
    pub fn parts(&mut self) -> (&mut H, &mut Process) {
        (&mut self.handler, &mut self.process)
    }

    /// An output stream gave something.
    fn output(&mut self, cx: &mut Context<'_>, which: Which, bytes: &[u8], backlog: bool) {
        let Child {
            handler, process, ..
        } = self;
        process.note_read(which, bytes.len(), backlog);
        let result = match which {
            Which::Stdout => handler.handle_stdout(cx, process, bytes),
            Which::Stderr => handler.handle_stderr(cx, process, bytes),
        };
        self.settle(cx, result);
    }

    /// An output stream has ended.
    fn output_ended(&mut self, cx: &mut Context<'_>, which: Which) {
        *self.process.stream_mut(which) = None;
        self.review(cx);
    }

    /// The input has little queued, and takes more.
    fn input_has_room(&mut self, cx: &mut Context<'_>) {
        let result = if self.process.closing_stdin {
            self.process.close_stdin(cx);
            Ok(())
        } else {
            self.handler.handle_stdin(cx, &mut self.process)
        };
        self.settle(cx, result);
    }

    /// What follows from what a callback returned.
    fn settle(&mut self, cx: &mut Context<'_>, result: io::Result<()>) {
        if let Err(error) = result {
            if cx.is_fault(&error) {
                self.fail(cx, error);
            }
        }
    }

    fn fail(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.handler.handle_error(cx, &mut self.process, error);
    }

    /// Whether it is time for `handle_exit`; if the output has not ended, sets a time for it.
    fn review(&mut self, cx: &mut Context<'_>) {
        if self.process.status.is_none() || cx.is_closing() {
            return;
        }
        if !self.process.has_output() {
            self.finish(cx);
        } else if self.process.linger_timer.is_none() {
            self.process.linger_timer = Some(cx.set_timer(self.process.linger));
        }
    }

    /// The time is over in which the streams of an exited child may end by themselves.
    fn stop_lingering(&mut self, cx: &mut Context<'_>) {
        self.process.linger_timer = None;
        if self.process.is_handed_out(cx) {
            self.finish(cx);
        } else {
            self.review(cx);
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        let Some(status) = self.process.status else {
            return;
        };
        let result = self.handler.handle_exit(cx, &mut self.process, status);
        self.settle(cx, result);
        cx.close();
    }
}

impl<H> fmt::Debug for Child<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl<H: ChildHandler> Dispatcher for Child<H> {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(child) = &mut self.process.child else {
            return Ok(());
        };
        match cx.read_with(|watch: &mut ExitWatch| watch.exit(child)) {
            Ok(status) => {
                // It stays readable, and has nothing more to say.
                cx.pause_reading();
                self.process.status = Some(status);
                self.review(cx);
                Ok(())
            }
            Err(error) if is_would_block(&error) => Ok(()),
            Err(error) => {
                // The number may be another's by now: nothing must be sent to it.
                let pid = self.process.pid();
                self.process.child = None;
                self.lost = true;
                let text = format!("child {pid} was waited for by somebody else: {error}");
                Err(io::Error::other(text))
            }
        }
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        if self.process.linger_timer == Some(timer) {
            self.stop_lingering(cx);
            return Ok(());
        }
        let result = self.handler.handle_timer(cx, &mut self.process, timer);
        self.settle(cx, result);
        Ok(())
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let result = self.handler.handle_shutdown(cx, &mut self.process);
        self.settle(cx, result);
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.fail(cx, error);
        if self.lost {
            cx.close();
        }
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let outputs = [self.process.stdout(), self.process.stderr()];
        for output in outputs.into_iter().flatten() {
            if let Some(mut output) = cx.at(output) {
                output.abort();
            }
        }
        let detached = self.process.child.is_none() && !self.lost;
        if let Some(mut stdin) = self.process.stdin.and_then(|id| cx.at(id)) {
            if detached {
                stdin.close();
            } else {
                stdin.abort();
            }
        }
        if let Some(child) = self.process.child.take() {
            if self.process.status.is_none() {
                reaper::kill_and_reap(cx, child);
            }
        }
        if self.started {
            self.handler.handle_close(cx);
        }
    }
}

impl Reactor {
    /// Starts a child process, and has `handler` called with its output and its exit. (Feature `process`.)
    ///
    /// The streams that `command` makes pipes of ([`Stdio::piped`](std::process::Stdio::piped)) are
    /// read and written by the loop. Those it does not mention are inherited, as with
    /// [`Command::spawn`]: then there is no output to be called with. Each pipe counts as a connection
    /// ([`Builder::max_connections`](crate::Builder::max_connections)).
    ///
    /// No callback comes from inside this call. `fork` and `exec` are made by the standard library, which
    /// waits until the program has been started.
    ///
    /// # Errors
    ///
    /// What the system says, naming the program: not found, not executable, no more processes; out of descriptors
    /// for the pipes. If the child ran already it is killed. Nothing was added then, and no callback comes.
    pub fn spawn_child<H: ChildHandler>(
        &mut self,
        command: &mut Command,
        handler: H,
    ) -> io::Result<Id<Child<H>>> {
        self.outside().spawn_child(command, handler)
    }
}

impl Context<'_> {
    /// As [`Reactor::spawn_child`].
    ///
    /// # Errors
    ///
    /// As [`Reactor::spawn_child`], and if the reactor is shutting down.
    pub fn spawn_child<H: ChildHandler>(
        &mut self,
        command: &mut Command,
        handler: H,
    ) -> io::Result<Id<Child<H>>> {
        spawn(self, command, handler).map_err(|error| {
            let program = command.get_program();
            let text = match command.get_current_dir() {
                Some(folder) => format!("cannot start {program:?} in {folder:?}: {error}"),
                None => format!("cannot start {program:?}: {error}"),
            };
            io::Error::new(error.kind(), text)
        })
    }
}

fn spawn<H: ChildHandler>(
    cx: &mut Context<'_>,
    command: &mut Command,
    handler: H,
) -> io::Result<Id<Child<H>>> {
    if cx.is_shutting_down() {
        return Err(io::Error::other("the reactor is shutting down"));
    }
    let mut spawned = command.spawn()?;
    let (stdin, stdout, stderr) = (
        spawned.stdin.take(),
        spawned.stdout.take(),
        spawned.stderr.take(),
    );
    let watch = match ExitWatch::of(&spawned) {
        Ok(watch) => watch,
        Err(error) => {
            reaper::kill_and_reap(cx, spawned);
            return Err(error);
        }
    };
    let child = Child {
        handler,
        process: Process::new(spawned),
        started: false,
        lost: false,
    };
    let id = cx.add(watch.into_socket(), child)?;
    let pipes = add_pipes(cx, id, (stdin, stdout, stderr));
    let set_up = cx.with(id, |child, cx| match pipes {
        Ok((stdin, stdout, stderr)) => {
            child.process.stdin = stdin;
            child.process.stdout = stdout;
            child.process.stderr = stderr;
            child.started = true;
            Ok(id)
        }
        Err(error) => {
            if let Some(spawned) = child.process.child.take() {
                reaper::kill_and_reap(cx, spawned);
            }
            cx.abort();
            Err(error)
        }
    });
    set_up.unwrap_or_else(|| Err(io::Error::other("its dispatcher is gone")))
}

/// The ids of the three pipes, as far as there are any.
type Pipes = (Option<AnyId>, Option<Stream>, Option<Stream>);

/// Adds those streams of a child that are pipes; all of them or none.
fn add_pipes<H: ChildHandler>(
    cx: &mut Context<'_>,
    child: Id<Child<H>>,
    (stdin, stdout, stderr): (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>),
) -> io::Result<Pipes> {
    let mut added = Vec::new();
    let mut add = |cx: &mut Context<'_>, id: io::Result<AnyId>| match id {
        Ok(id) => {
            added.push(id);
            Ok(id)
        }
        Err(error) => {
            for &id in &added {
                if let Some(mut pipe) = cx.at(id) {
                    pipe.abort();
                }
            }
            Err(error)
        }
    };
    let mut pipes: Pipes = (None, None, None);
    if let Some(stdin) = stdin {
        let id = cx.add(stdin, Input { child }).map(Id::any);
        pipes.0 = Some(add(cx, id)?);
    }
    if let Some(stdout) = stdout {
        let which = Which::Stdout;
        let id = cx.add(stdout, Output { child, which }).map(Id::any);
        pipes.1 = Some(Stream::new(add(cx, id)?));
    }
    if let Some(stderr) = stderr {
        let which = Which::Stderr;
        let id = cx.add(stderr, Output { child, which }).map(Id::any);
        pipes.2 = Some(Stream::new(add(cx, id)?));
    }
    Ok(pipes)
}
