//! When a beat is due: what wakes the hub ten times a second while a page is there.
//!
//! On Linux it is a timer of the kernel's that is a descriptor, which the loop watches like a socket (`timerfd_create(2)`).
//! It is no timer of the loop's: an armed one gives every wait a limit, for which the kernel sets up a timer of its own and
//! takes it down again. With 20,000 turns a second that costs each turn more than all that the inspector does in it. Nor is
//! it a thread that wakes the loop: in a process with two threads each system call on a descriptor costs more, because
//! another thread might close it meanwhile.
//!
//! While the loop is blocked the times add up in the descriptor, and are read at once: no beat is made up for.
//!
//! A timer of the loop's it is on a clock that a test moves, on other systems, and if there is no descriptor left.

#[cfg(target_os = "linux")]
mod descriptor;

use std::time::Duration;

use crate::{AnyId, Context, Id, TimerId};

use super::hub::Hub;

/// From one beat to the next.
const PERIOD: Duration = Duration::from_millis(100);

/// What has beats made.
#[derive(Debug)]
pub(super) enum Pulse {
    Timer(TimerId),
    #[cfg(target_os = "linux")]
    Descriptor(AnyId),
}

impl Pulse {
    /// Called for the hub, in its name.
    pub(super) fn start(cx: &mut Context<'_>, hub: Id<Hub>) -> Pulse {
        #[cfg(target_os = "linux")]
        if cx.time_passes() {
            match descriptor::add(cx, hub, PERIOD) {
                Ok(id) => return Pulse::Descriptor(id),
                Err(error) => log::debug!("the inspector beats by a timer of the loop: {error}"),
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = hub;
        let timer = cx.set_interval(PERIOD);
        cx.unref_timer(timer);
        Pulse::Timer(timer)
    }

    pub(super) fn stop(self, cx: &mut Context<'_>) {
        match self {
            Pulse::Timer(timer) => {
                cx.cancel_timer(timer);
            }
            #[cfg(target_os = "linux")]
            Pulse::Descriptor(id) => {
                if let Some(mut descriptor) = cx.at(id) {
                    descriptor.close();
                }
            }
        }
    }
}
