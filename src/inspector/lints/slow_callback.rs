//! `slow-callback`: one callback kept the loop for longer than the inspector's threshold,
//! [`Options::slow_callback`](crate::inspector::Options::slow_callback). Found at once, not at the end of the second.

use crate::observe::CallbackEnd;

use super::{Lint, lint, micros};

pub(super) fn found(end: &CallbackEnd<'_>, name: &str) -> Lint {
    let (id, callback) = (end.begin.id, end.begin.callback);
    let millis = end.took.as_millis();
    let text = if name.is_empty() {
        format!("{callback} kept the loop for {millis} ms")
    } else {
        format!("{name} {id} kept the loop for {millis} ms in {callback}")
    };
    lint(("slow-callback", "12"), (name, id), micros(end.took), text)
}
