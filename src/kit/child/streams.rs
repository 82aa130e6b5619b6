//! The dispatchers of a child's pipes. Each has the child's id, and reaches the handler through it.

use std::io;

use super::{Child, ChildHandler};
use crate::context::Context;
use crate::dispatcher::Dispatcher;
use crate::world::ids::Id;

/// As much as a pipe holds by default.
const READ_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Stdout,
    Stderr,
}

/// Reads one of the output streams.
pub(super) struct Output<H> {
    pub(super) child: Id<Child<H>>,
    pub(super) which: Which,
}

impl<H: ChildHandler> Dispatcher for Output<H> {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Output { child, which } = *self;
        cx.with_scratch(READ_BYTES, |cx, scratch| {
            let outcome = cx.recv(scratch);
            match &outcome {
                Ok(0) => {}
                Ok(count) => {
                    let (bytes, backlog) = (&scratch[..*count], *count == scratch.len());
                    cx.with(child, |child, cx| child.output(cx, which, bytes, backlog));
                }
                // It is empty, or it ends with this error.
                Err(_) => {
                    cx.with(child, |child, _| child.process().note_read(which, 0, false));
                }
            }
            outcome.map(|_| ())
        })
    }

    /// The child may write until it exits.
    fn handle_shutdown(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        let child = self.child;
        cx.with(child, |child, cx| child.fail(cx, error));
        cx.close();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let Output { child, which } = *self;
        cx.with(child, |child, cx| child.output_ended(cx, which));
    }
}

/// Writes to the standard input.
pub(super) struct Input<H> {
    pub(super) child: Id<Child<H>>,
}

impl<H: ChildHandler> Dispatcher for Input<H> {
    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let child = self.child;
        cx.with(child, |child, cx| child.input_has_room(cx));
        Ok(())
    }

    /// The handler decides.
    fn handle_shutdown(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        let child = self.child;
        cx.with(child, |child, cx| child.fail(cx, error));
        cx.close();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let child = self.child;
        cx.with(child, |child, _| child.process().stdin = None);
    }
}
