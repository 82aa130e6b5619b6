//! A child that has been killed and still has to be waited for: until then it is a zombie.
//!
//! SIGKILL takes effect soon, but not at once, and the loop does not wait. So what is left of the child gets
//! a dispatcher of its own until it is gone. Only where none can be added any more, because the reactor is being
//! shut down or dropped, is there a short wait.

use std::io;
use std::process::Child;
use std::thread;
use std::time::Duration;

use super::watch::ExitWatch;
use crate::context::Context;
use crate::dispatcher::Dispatcher;
use crate::world::topics;

/// Kills a child and has it waited for.
pub(super) fn kill_and_reap(cx: &mut Context<'_>, child: Child) {
    // From here on its drop waits, if nothing else does.
    let Some(mut reaper) = kill(child) else {
        return;
    };
    if reaper.has_exited() || cx.is_shutting_down() {
        return;
    }
    match ExitWatch::of(&reaper.child) {
        Ok(watch) => {
            let _ = cx.add(watch.into_socket(), reaper);
        }
        Err(error) => {
            log::debug!(target: topics::CHILD, "child {}: not watched: {error}", reaper.child.id())
        }
    }
}

/// Kills a child and waits for it on the spot.
pub(super) fn kill_and_wait(child: Child) {
    drop(kill(child));
}

fn kill(mut child: Child) -> Option<Reaper> {
    match child.kill() {
        Ok(()) => Some(Reaper {
            child,
            reaped: false,
        }),
        Err(error) => {
            log::warn!(target: topics::CHILD, "child {}: cannot be killed: {error}", child.id());
            None
        }
    }
}

struct Reaper {
    child: Child,
    reaped: bool,
}

impl Reaper {
    fn has_exited(&mut self) -> bool {
        self.reaped = !matches!(self.child.try_wait(), Ok(None));
        self.reaped
    }
}

impl Dispatcher for Reaper {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let status = cx.read_with(|watch: &mut ExitWatch| watch.exit(&mut self.child));
        if status
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        {
            return Ok(());
        }
        // Any other error: other code has waited for it.
        self.reaped = true;
        cx.close();
        Ok(())
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        const LOOKS: u32 = 1000;
        const BETWEEN: Duration = Duration::from_millis(1);
        if self.reaped {
            return;
        }
        for _ in 0..LOOKS {
            if self.has_exited() {
                return;
            }
            thread::sleep(BETWEEN);
        }
        log::warn!(target: topics::CHILD,
            "child {}: was killed and has not exited; left as it is",
            self.child.id()
        );
    }
}
