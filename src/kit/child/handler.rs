//! The callbacks of a child process.

use std::io;
use std::process::ExitStatus;

use super::Process;
use crate::context::Context;
use crate::time::timer_id::TimerId;

/// The callbacks of a child process.
///
/// All but [`handle_exit`](ChildHandler::handle_exit) have a default. `cx` is the context of the child's dispatcher,
/// a [`Child`](super::Child): timers that are set on it call this handler's `handle_timer`, and
/// [`close`](Context::close) and [`abort`](Context::abort) kill the child. `process` is the child: its streams, its
/// process id, its exit status.
///
/// ```
/// use slabloop::kit::child::{ChildHandler, Process};
/// use slabloop::Context;
/// use std::io;
/// use std::process::ExitStatus;
///
/// /// Prints what a build writes to its standard error, and how it ended.
/// struct Build;
///
/// impl ChildHandler for Build {
///     fn handle_stderr(
///         &mut self, _: &mut Context<'_>, _: &mut Process, bytes: &[u8],
///     ) -> io::Result<()> {
///         print!("{}", String::from_utf8_lossy(bytes));
///         Ok(())
///     }
///
///     fn handle_exit(
///         &mut self, _: &mut Context<'_>, process: &mut Process, status: ExitStatus,
///     ) -> io::Result<()> {
///         println!("build {}: {status}", process.pid());
///         Ok(())
///     }
/// }
/// ```
///
/// # What a returned error does
///
/// As in any [dispatcher](crate::Dispatcher#what-a-returned-error-does), `WouldBlock` and errors about other
/// dispatchers have no effect. A disconnect has no effect either: a child that does not read all of its input has
/// closed the pipe, and keeps running. Any other error is passed to `handle_error`, whose default kills the child.
#[expect(unused_variables, reason = "the names are documentation")]
pub trait ChildHandler: Sized + 'static {
    /// The child has exited.
    ///
    /// *When:* once: when the child has exited, and those output streams that are pipes have ended and have been
    /// delivered. If another process keeps one of them open, it is called at the latest after the [linger
    /// time](Process::set_linger), and after everything that the child itself had written was delivered. It is not
    /// called if the child is closed, [detached](Process::detach), or killed with the reactor before. *After:*
    /// `handle_close`.
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
    /// *When:* once a turn while there is output, with 1 byte to 64 KiB. The pieces of a stream can end anywhere. It
    /// is not called while the stream is paused, or held because it [feeds](Context::feeds) a dispatcher whose output
    /// is over its high watermark: see [`Process::stdout`]. *Default:* discards the bytes.
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

    /// The child has written to its standard error, which is a pipe. See
    /// [`handle_stdout`](ChildHandler::handle_stdout).
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

    /// The child takes more input, and the next piece can be sent.
    ///
    /// *When:* like [`Dispatcher::handle_write`](crate::Dispatcher::handle_write), after
    /// [`start_writing`](Context::start_writing) was called on [`Process::stdin`]. *Inside:* call [`Process::send`]
    /// with the next piece, or [`Process::close_stdin`]. *Default:* stops writing.
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

    /// A timer has fired: see [`Dispatcher::handle_timer`](crate::Dispatcher::handle_timer).
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

    /// The reactor shuts down gracefully: see [`Dispatcher::handle_shutdown`](crate::Dispatcher::handle_shutdown).
    ///
    /// *Inside:* for example, [`kill`](Process::kill) with a signal that the child handles. *After:* the shutdown
    /// waits, up to its deadline, while one of the child's pipes is open. Then the child is killed if it has not
    /// exited. *Default:* closes the child's input when all queued bytes have been sent.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see [above](ChildHandler#what-a-returned-error-does).
    fn handle_shutdown(&mut self, cx: &mut Context<'_>, process: &mut Process) -> io::Result<()> {
        process.close_stdin(cx);
        Ok(())
    }

    /// Something failed: a callback returned an error, the child's input went over its hard cap or stalled, reading
    /// failed, or other code has waited for the child (the dispatcher then closes in any case). *Default:* logs the
    /// error and closes, which kills the child.
    fn handle_error(&mut self, cx: &mut Context<'_>, process: &mut Process, error: io::Error) {
        cx.log_fault(&error);
        cx.close();
    }

    /// The dispatcher has ended: see [`Dispatcher::handle_close`](crate::Dispatcher::handle_close). The child has
    /// exited, was killed, or was detached.
    fn handle_close(&mut self, cx: &mut Context<'_>) {}
}
