//! A deadline that is put off with each byte, by one timer that is set once in a while.

use std::time::{Duration, Instant};

use slabloop::{Context, TimerId};

/// Putting the deadline off is an assignment; when the timer fires, it is set to what is left.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    timer: Option<(TimerId, Instant)>,
    due: Option<Instant>,
}

impl Watchdog {
    /// From now so long, or none.
    #[inline]
    pub(crate) fn set(&mut self, cx: &mut Context<'_>, limit: Option<Duration>) {
        self.due = limit.map(|limit| cx.now() + limit);
        match (self.due, self.timer) {
            (Some(due), Some((_, fires))) if due >= fires => {}
            (None, _) => {}
            (Some(due), _) => self.arm(cx, due),
        }
    }

    /// Its timer has fired: whether the deadline has passed.
    pub(crate) fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        self.timer = None;
        match self.due {
            Some(due) if due <= cx.now() => true,
            Some(due) => {
                self.arm(cx, due);
                false
            }
            None => false,
        }
    }

    fn arm(&mut self, cx: &mut Context<'_>, due: Instant) {
        let left = due.saturating_duration_since(cx.now());
        let timer = match self.timer {
            Some((timer, _)) if cx.reset_timer(timer, left) => timer,
            _ => cx.set_timer(left),
        };
        self.timer = Some((timer, due));
    }
}
