//! The end of step 7: reports that came up where no callback could run, and are delivered now.

use crate::reactor::Reactor;
use crate::turn::errands;

impl Reactor {
    /// By now every outbox has been written, so no callback runs between two writes.
    #[inline(never)]
    pub(super) fn run_errands(&mut self) {
        self.errands_left = self.core.state.agenda.errands.len();
        self.contain(|reactor| {
            // Not those that a callback adds: they could go on for ever.
            while reactor.errands_left > 0 {
                reactor.errands_left -= 1;
                if let Some(errand) = reactor.core.state.agenda.errands.pop_front() {
                    errands::run_errand(&mut reactor.core, errand);
                }
            }
        });
    }
}
