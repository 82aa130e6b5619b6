//! A trace of the next second: an observer of its own, from the request to the answer.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use crate::Context;
use crate::trace::Trace;

/// For how long is written down what happens.
pub(super) const LENGTH: Duration = Duration::from_secs(1);

/// What is written at most, in bytes; the trace says what it left out.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// The bytes of a trace that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracing(Rc<RefCell<Vec<u8>>>);

impl Write for Tracing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tracing {
    /// Begins to write. `None` if a trace is being written already, here or by the program.
    pub(super) fn begin(cx: &mut Context<'_>) -> Option<Tracing> {
        if cx.observer::<Trace>().is_some() {
            return None;
        }
        let tracing = Tracing::default();
        cx.observe(Trace::new(tracing.clone()).size_limit(MOST_BYTES));
        Some(tracing)
    }

    /// The whole trace.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub(super) fn end(&self, cx: &mut Context<'_>) -> io::Result<Rc<[u8]>> {
        let trace = cx.unobserve::<Trace>();
        let trace = trace.ok_or_else(|| io::Error::other("the trace is gone"))?;
        trace.finish()?;
        Ok(self.0.take().into())
    }
}
