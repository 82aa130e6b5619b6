//! A child process as its handler sees it.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::reaper;
use super::streams::Which;
use crate::context::Context;
use crate::time::timers::TimerId;
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

    /// The number that the system knows it by. Another process may have it once this one has exited.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it exited; `None` while it runs. It is known before
    /// [`handle_exit`](super::ChildHandler::handle_exit) if the output has not ended yet.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// The pipe to its standard input; `None` if it has none, or the pipe is closed, because
    /// [`close_stdin`](Process::close_stdin) was called or the child has closed its end.
    ///
    /// It is a dispatcher of its own: [`cx.at(id)`](Context::at) gives its verbs. A connection that
    /// [`feeds`](Context::feeds) it is not read while the child does not take its input. A child that takes
    /// nothing for the [stall timeout](crate::Builder::stall_timeout) ends in `handle_error`.
    #[must_use]
    pub fn stdin(&self) -> Option<AnyId> {
        self.stdin
    }

    /// The pipe from its standard output; `None` if it has none, or the stream has ended.
    ///
    /// It is a dispatcher of its own: with [`cx.at(id)`](Context::at) it can be
    /// [paused](Context::pause_reading), and be told what it [feeds](Context::feeds).
    #[must_use]
    pub fn stdout(&self) -> Option<AnyId> {
        self.stdout.as_ref().map(|stream| stream.id)
    }

    /// The pipe from its standard error, as [`stdout`](Process::stdout).
    #[must_use]
    pub fn stderr(&self) -> Option<AnyId> {
        self.stderr.as_ref().map(|stream| stream.id)
    }

    /// Sends bytes to its standard input, as [`Context::send`] does: queued, all or none, bounded by the
    /// hard cap.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if there is no pipe, or it is closed. Otherwise as [`Context::send`].
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

    /// Ends its input once everything queued has been sent; the child then reads the end of the stream. It may
    /// take its time: unlike after [`close`](Context::close) on the pipe, the
    /// [stall timeout](crate::Builder::stall_timeout) applies, and not the close timeout.
    pub fn close_stdin(&mut self, cx: &mut Context<'_>) {
        self.closing_stdin = true;
        let Some(mut stdin) = self.stdin.and_then(|id| cx.at(id)) else {
            return;
        };
        if stdin.queued() == 0 {
            stdin.close();
        } else {
            // `handle_write` comes when little is left, and again when nothing is.
            stdin.start_writing();
        }
    }

    /// Sends it a signal, such as [`SIGTERM`](super::SIGTERM). Nothing happens if it has exited.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a number that names no signal, and for the real-time signals. What the system
    /// says: a child that runs under another user's name may not be signalled.
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

    /// How long to wait, after the child has exited, for the end of its output streams; default 1 s. It
    /// matters when another process, a daemon that the child has started, keeps them open. After that time they
    /// are closed, and whoever still writes to them gets an error. What the child itself had written is handed
    /// out in any case: output that is paused, or held by the flow control, is waited for.
    pub fn set_linger(&mut self, limit: Duration) {
        self.linger = limit;
    }

    /// Lets the child go: the dispatcher closes, and does not kill it. To have it waited for is now the
    /// caller's; one that nobody waits for is a zombie from its exit on until this process ends.
    /// `None` if it has exited already.
    ///
    /// Pipes to it are closed: what is queued for its input is still sent, what it writes from now on finds
    /// no reader. A child that is to go on should have files in their places, or nothing.
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

/// For one that was never added: its dispatcher has no `handle_close` then.
impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            if self.status.is_none() {
                reaper::kill_and_wait(child);
            }
        }
    }
}
