//! Child processes as dispatchers.
//!
//! A child is spawned from a [`Command`] with a [`ChildHandler`], whose methods are called with the child's output
//! and its exit status. If the command makes a pipe of a standard stream, the loop reads or writes it with the same
//! limits as any connection. Nothing blocks, and no child remains as a zombie.
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
//! # Dispatchers of a child
//!
//! The child's own dispatcher is a [`Child`], which owns the handler and waits for the exit. Each of the up to three
//! pipes is a dispatcher as well. [`Process`] has their ids, so a client's connection can
//! [feed](crate::Context::feeds) the child's input, and the child's output can feed a connection.
//!
//! # How a child ends
//!
//! | what happens | what follows |
//! |---|---|
//! | the child exits, by itself or by a signal | the rest of its output is delivered, then `handle_exit` and `handle_close` are called |
//! | `close` or `abort` is called on the child's context, a callback panics, `close_all` is called | the child is killed, then `handle_close` is called |
//! | the reactor is dropped or shut down | the child is killed, then `handle_close` is called; see [`handle_shutdown`](ChildHandler::handle_shutdown) |
//! | [`Process::detach`] is called | the child keeps running, and `handle_close` is called |
//!
//! The loop also waits for a child that it has killed: until the system has removed the process, which takes a
//! moment, one more dispatcher exists. While a reactor is being dropped or shut down no dispatcher can be added, so
//! the wait then blocks, for at most a second.
//!
//! # How the exit is detected
//!
//! On Linux the exit is detected by a descriptor of the process (`pidfd_open`, since Linux 5.3). On other systems,
//! and where the system refuses that descriptor, a handler of `SIGCHLD` is used, and each exit then costs one check
//! of every child. The program must not ignore `SIGCHLD`, and must not wait for children that it has not started: the
//! status would be lost, and `handle_error` is called with an error that says so.

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
use crate::time::timer_id::TimerId;
use crate::world::errors::is_would_block;
use crate::world::ids::{AnyId, Id};

pub use self::handler::ChildHandler;
pub use self::process::Process;
pub use super::numbers::*;

/// The dispatcher of a child process, made by [`Reactor::spawn_child`].
pub struct Child<H> {
    handler: H,
    process: Process,
    /// Its pipes have been added as well: from here on the handler's callbacks are called.
    started: bool,
    /// Other code has waited for it, so its exit status is unknown.
    lost: bool,
}

impl<H: ChildHandler> Child<H> {
    /// The handler, for code that reaches this dispatcher through [`Context::with`].
    ///
    /// ```
    /// # use std::process::{Command, ExitStatus};
    /// # use slabloop::kit::child::{ChildHandler, Process};
    /// # use slabloop::{Context, Reactor};
    /// struct Counter { lines: usize }
    /// # impl ChildHandler for Counter {
    /// #     fn handle_exit(
    /// #         &mut self, _: &mut Context<'_>, _: &mut Process, _: ExitStatus,
    /// #     ) -> std::io::Result<()> {
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let mut reactor = Reactor::new()?;
    /// let child = reactor.spawn_child(&mut Command::new("true"), Counter { lines: 0 })?;
    /// let lines = reactor.with(child, |child, _| child.handler().lines);
    /// assert_eq!(lines, Some(0));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The child process: its streams, its process id, its exit status.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The handler and the child process, both at the same time.
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

    /// Handles the result of a callback.
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
                let text = format!(
                    "child {pid}: other code has waited for it, its exit status is lost: {error}"
                );
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
    /// Starts a child process, and has `handler` called with its output and its exit status. (Feature `process`.)
    ///
    /// The loop reads and writes those standard streams that `command` makes pipes of
    /// ([`Stdio::piped`](std::process::Stdio::piped)). A stream that the command does not mention is inherited, as
    /// with [`Command::spawn`]: its callback is then never called. Each pipe counts as a connection
    /// ([`Builder::max_connections`](crate::Builder::max_connections)).
    ///
    /// No callback is called from inside this call. The standard library calls `fork` and `exec`, and waits until the
    /// program has been started.
    ///
    /// # Errors
    ///
    /// The system's error, with the name of the program: it is not found, is not executable, or there are too many
    /// processes or descriptors. If the child was running already, it is killed. Nothing was added, and no callback
    /// follows.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::kit::child::{ChildHandler, Process};
    /// use slabloop::{Context, Reactor};
    /// use std::process::{Command, ExitStatus};
    ///
    /// struct Quiet;
    ///
    /// impl ChildHandler for Quiet {
    ///     fn handle_exit(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         _: &mut Process,
    ///         status: ExitStatus,
    ///     ) -> std::io::Result<()> {
    ///         assert!(status.success());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut reactor = Reactor::new()?;
    /// reactor.spawn_child(&mut Command::new("true"), Quiet)?;
    /// reactor.run()?; // returns when the child has exited
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn_child<H: ChildHandler>(
        &mut self,
        command: &mut Command,
        handler: H,
    ) -> io::Result<Id<Child<H>>> {
        self.outside().spawn_child(command, handler)
    }
}

impl Context<'_> {
    /// Starts a child process from inside a callback: see [`Reactor::spawn_child`].
    ///
    /// # Errors
    ///
    /// Those of [`Reactor::spawn_child`]; also if the reactor is shutting down.
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

/// The ids of those of the three streams that are pipes.
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
