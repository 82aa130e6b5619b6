//! A child process as its handler sees it.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::reaper;
use super::streams::Which;
use crate::context::Context;
use crate::time::timer_id::TimerId;
use crate::world::errors::invalid;
use crate::world::ids::AnyId;

/// How long the streams may stay open after the exit, if nothing else is said.
const LINGER: Duration = Duration::from_secs(1);

/// More than a pipe holds, unless a privileged process has seen to that.
const MOST_IN_A_PIPE: usize = 1 << 20;

/// The child process, as its handler sees it.
#[derive(Debug)]
pub struct Process {
    /// `None` once it is detached, or cannot be waited for.
    pub(super) child: Option<std::process::Child>,
    pid: u32,
    pub(super) status: Option<ExitStatus>,
    pub(super) stdin: Option<AnyId>,
    pub(super) stdout: Option<Stream>,
    pub(super) stderr: Option<Stream>,
    /// `close_stdin` was called.
    pub(super) closing_stdin: bool,
    pub(super) linger: Duration,
    pub(super) linger_timer: Option<TimerId>,
}

/// An output stream that has not ended.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: AnyId,
    /// The last read filled its buffer, so there may be more.
    pub(super) backlog: bool,
    /// Bytes read since the child has exited.
    pub(super) since_exit: usize,
}

impl Stream {
    pub(super) fn new(id: AnyId) -> Stream {
        Stream {
            id,
            backlog: false,
            since_exit: 0,
        }
    }

    /// Whether all that the child had written before its exit has been handed out: the stream has been
    /// seen empty, or more has come than a pipe holds, which is another process's.
    fn is_handed_out(&self, cx: &mut Context<'_>) -> bool {
        let Some(stream) = cx.at(self.id) else {
            return true;
        };
        stream.is_reading() && (!self.backlog || self.since_exit >= MOST_IN_A_PIPE)
    }
}

impl Process {
    pub(super) fn new(child: std::process::Child) -> Process {
        Process {
            pid: child.id(),
            child: Some(child),
            status: None,
            stdin: None,
            stdout: None,
            stderr: None,
            closing_stdin: false,
            linger: LINGER,
            linger_timer: None,
        }
    }

    /// The process id. Another process may have it once this one has exited.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The exit status; `None` while the child runs. It is set before
    /// [`handle_exit`](super::ChildHandler::handle_exit) if the output has not ended yet.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// The pipe to the child's standard input. `None` if the input is no pipe, or if the pipe is closed because
    /// [`close_stdin`](Process::close_stdin) was called or the child has closed its end.
    ///
    /// The pipe is a dispatcher of its own: [`cx.at(id)`](Context::at) gives a context for it. A connection that
    /// [`feeds`](Context::feeds) it is not read while the child does not take its input. If the child takes nothing
    /// for the [stall timeout](crate::Builder::stall_timeout), `handle_error` is called.
    ///
    /// ```
    /// use slabloop::kit::child::Process;
    /// use slabloop::Context;
    /// use std::io;
    ///
    /// /// Has what this connection receives go to the child, at the speed of the child.
    /// fn pass_on(cx: &mut Context<'_>, process: &Process, bytes: &[u8]) -> io::Result<()> {
    ///     let stdin = process.stdin().ok_or(io::ErrorKind::BrokenPipe)?;
    ///     cx.feeds(stdin);
    ///     cx.at(stdin).ok_or(io::ErrorKind::BrokenPipe)?.send(bytes)
    /// }
    /// ```
    #[must_use]
    pub fn stdin(&self) -> Option<AnyId> {
        self.stdin
    }

    /// The pipe from the child's standard output. `None` if the output is no pipe, or if the stream has ended.
    ///
    /// The pipe is a dispatcher of its own: through [`cx.at(id)`](Context::at) it can be
    /// [paused](Context::pause_reading), and be declared to [feed](Context::feeds) another dispatcher.
    #[must_use]
    pub fn stdout(&self) -> Option<AnyId> {
        self.stdout.as_ref().map(|stream| stream.id)
    }

    /// The pipe from the child's standard error: see [`stdout`](Process::stdout).
    #[must_use]
    pub fn stderr(&self) -> Option<AnyId> {
        self.stderr.as_ref().map(|stream| stream.id)
    }

    /// Sends bytes to the child's standard input, like [`Context::send`]: they are queued, all or none, up to the
    /// hard cap.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the input is no pipe, or if the pipe is closed. Otherwise those of [`Context::send`].
    pub fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let stdin = self.stdin.filter(|_| !self.closing_stdin);
        match stdin.and_then(|id| cx.at(id)) {
            Some(mut stdin) => stdin.send(bytes),
            None => Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                format!("the standard input of child {} is not open", self.pid),
            )),
        }
    }

    /// Closes the child's standard input when all queued bytes have been sent; the child then reads end of file. The
    /// child may read slowly: unlike after [`close`](Context::close) on the pipe, the [stall
    /// timeout](crate::Builder::stall_timeout) applies, and not the close timeout.
    pub fn close_stdin(&mut self, cx: &mut Context<'_>) {
        self.closing_stdin = true;
        let Some(mut stdin) = self.stdin.and_then(|id| cx.at(id)) else {
            return;
        };
        if stdin.queued() == 0 {
            stdin.close();
        } else {
            // `handle_write` is called when little is left, and again when nothing is left.
            stdin.start_writing();
        }
    }

    /// Sends a signal to the child, such as [`SIGTERM`](super::SIGTERM). Nothing happens if the child has exited.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `signal` is not the number of a signal, or is a real-time signal. The system's error, for
    /// example if the child runs as another user.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::kit::child::{ChildHandler, Process, SIGTERM};
    /// use slabloop::Context;
    /// # use std::process::ExitStatus;
    /// use std::io;
    ///
    /// struct Server;
    ///
    /// impl ChildHandler for Server {
    ///     // Lets the child stop by itself; at the shutdown's deadline it is killed.
    ///     fn handle_shutdown(&mut self, _: &mut Context<'_>, process: &mut Process) -> io::Result<()> {
    ///         process.kill(SIGTERM)
    ///     }
    /// #   fn handle_exit(
    /// #       &mut self, _: &mut Context<'_>, _: &mut Process, _: ExitStatus,
    /// #   ) -> io::Result<()> {
    /// #       Ok(())
    /// #   }
    /// }
    /// ```
    pub fn kill(&mut self, signal: i32) -> io::Result<()> {
        let named = Signal::from_named_raw(signal)
            .ok_or_else(|| invalid(format!("kill: {signal} is not the number of a signal")))?;
        match &self.child {
            // It has not been waited for, so the number is still its own.
            Some(child) if self.status.is_none() => {
                kill_process(Pid::from_child(child), named)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// How long to wait, after the child has exited, for the end of its output streams; default 1 s. It applies when
    /// another process, such as a daemon that the child has started, keeps them open. After that time the streams are
    /// closed, and a process that still writes to them gets an error. What the child itself had written is delivered
    /// in any case, also if the output is paused or held by flow control.
    pub fn set_linger(&mut self, limit: Duration) {
        self.linger = limit;
    }

    /// Releases the child: its dispatcher closes without killing it. The caller must now wait for it; otherwise it
    /// becomes a zombie when it exits, until this process ends. Returns `None` if the child has exited already.
    ///
    /// The pipes are closed: bytes that are queued for its input are still sent, but what it writes from now on has
    /// no reader. A child that is to keep running should have files or the null device as standard streams.
    pub fn detach(&mut self, cx: &mut Context<'_>) -> Option<std::process::Child> {
        if self.status.is_some() {
            return None;
        }
        let child = self.child.take();
        cx.close();
        child
    }

    pub(super) fn stream_mut(&mut self, which: Which) -> &mut Option<Stream> {
        match which {
            Which::Stdout => &mut self.stdout,
            Which::Stderr => &mut self.stderr,
        }
    }

    /// An output stream was read: so many bytes, and whether there may be more.
    pub(super) fn note_read(&mut self, which: Which, bytes: usize, backlog: bool) {
        let exited = self.status.is_some();
        if let Some(stream) = self.stream_mut(which) {
            stream.backlog = backlog;
            if exited {
                stream.since_exit += bytes;
            }
        }
    }

    pub(super) fn is_handed_out(&self, cx: &mut Context<'_>) -> bool {
        let mut streams = self.stdout.iter().chain(&self.stderr);
        streams.all(|stream| stream.is_handed_out(cx))
    }

    pub(super) fn has_output(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }
}

/// For a child that was never added: its dispatcher's `handle_close` is not called.
impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            if self.status.is_none() {
                reaper::kill_and_wait(child);
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_was_never_added_is_killed_and_waited_for() {
        let mut sleep = std::process::Command::new("sleep");
        let process = Process::new(sleep.arg("1000").spawn().unwrap());
        let place = format!("/proc/{}", process.pid());
        assert!(std::fs::exists(&place).unwrap());
        drop(process);
        assert!(!std::fs::exists(&place).unwrap(), "not even a zombie");
    }
}
