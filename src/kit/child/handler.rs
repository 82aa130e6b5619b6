//! What is called when a child has something to say.

use std::io;
use std::process::ExitStatus;

use super::Process;
use crate::context::Context;
use crate::time::timers::TimerId;

/// The callbacks of a child process.
///
/// All have defaults, but for the one that every program needs. `cx` is the context of the child's dispatcher,
/// a [`Child`](super::Child): timers that are set on it come back here, and [`close`](Context::close) and
/// [`abort`](Context::abort) kill the child. `process` is the child: its streams, its number, its status.
///
/// # What a returned error does
///
/// As in any [dispatcher](crate::Dispatcher#what-a-returned-error-does), "not now" and errors about other
/// dispatchers are no errors. A disconnect is none, either: a child that does not want all of its input has
/// closed its end, and goes on. Anything else goes to `handle_error`, whose default kills the child.
#[expect(unused_variables, reason = "the names are documentation")]
pub trait ChildHandler: Sized + 'static {
    /// The child has exited.
    ///
    /// *When:* at most once: when the child has exited, and the output streams that are pipes have ended and
    /// been handed out. If another process keeps one of them open, it is after the
    /// [linger time](Process::set_linger) at the latest, with everything handed out that the child itself had
    /// written. It comes exactly once, unless the child is closed, [detached](Process::detach), or taken down with
    /// the reactor before. *After:* `handle_close`.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see [above](ChildHandler#what-a-returned-error-does).
    fn handle_exit(
        &mut self,
        cx: &mut Context<'_>,
        process: &mut Process,
        status: ExitStatus,
    ) -> io::Result<()>;

    /// The child has written to its standard output, which is a pipe.
    ///
    /// *When:* once a turn, as long as there is more, with up to 64 KiB, never with nothing. Cut anywhere,
    /// as a stream is. Not while the stream is paused, or held because it
    /// [feeds](Context::feeds) something full: see [`Process::stdout`]. *Default:* throws it away.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see [above](ChildHandler#what-a-returned-error-does).
    fn handle_stdout(
        &mut self,
        cx: &mut Context<'_>,
        process: &mut Process,
        bytes: &[u8],
    ) -> io::Result<()> {
        Ok(())
    }

    /// The child has written to its standard error, which is a pipe. Otherwise as `handle_stdout`.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see [above](ChildHandler#what-a-returned-error-does).
    fn handle_stderr(
        &mut self,
        cx: &mut Context<'_>,
        process: &mut Process,
        bytes: &[u8],
    ) -> io::Result<()> {
        Ok(())
    }

    /// The child takes more input: a producer's turn.
    ///
    /// *When:* as [`Dispatcher::handle_write`](crate::Dispatcher::handle_write), while
    /// [`start_writing`](Context::start_writing) asks for it on [`Process::stdin`]. *Inside:*
    /// [`Process::send`] the next piece, or [`Process::close_stdin`]. *Default:* stops asking.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see [above](ChildHandler#what-a-returned-error-does).
    fn handle_stdin(&mut self, cx: &mut Context<'_>, process: &mut Process) -> io::Result<()> {
        if let Some(mut stdin) = process.stdin().and_then(|id| cx.at(id)) {
            stdin.stop_writing();
        }
        Ok(())
    }

    /// As [`Dispatcher::handle_timer`](crate::Dispatcher::handle_timer).
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see [above](ChildHandler#what-a-returned-error-does).
    fn handle_timer(
        &mut self,
        cx: &mut Context<'_>,
        process: &mut Process,
        timer: TimerId,
    ) -> io::Result<()> {
        Ok(())
    }

    /// The reactor shuts down gracefully, as
    /// [`Dispatcher::handle_shutdown`](crate::Dispatcher::handle_shutdown) says.
    ///
    /// *Inside:* [`kill`](Process::kill) with a signal that the child understands, for example. *After:* the
    /// shutdown waits, up to its deadline, as long as one of the child's pipes is open; then the child is
    /// killed if it has not exited. *Default:* ends the child's input once everything queued has been sent.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see [above](ChildHandler#what-a-returned-error-does).
    fn handle_shutdown(&mut self, cx: &mut Context<'_>, process: &mut Process) -> io::Result<()> {
        process.close_stdin(cx);
        Ok(())
    }

    /// Something failed: a callback returned a fault, the child's input went over its hard cap or stalled,
    /// reading failed, or somebody else has waited for the child (then it closes whatever this
    /// does). *Default:* logs and closes, which kills the child.
    fn handle_error(&mut self, cx: &mut Context<'_>, process: &mut Process, error: io::Error) {
        cx.log_fault(&error);
        cx.close();
    }

    /// It is over: as [`Dispatcher::handle_close`](crate::Dispatcher::handle_close). The child has exited, or
    /// has been killed, or was detached.
    fn handle_close(&mut self, cx: &mut Context<'_>) {}
}
