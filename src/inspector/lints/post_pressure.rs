//! `post-pressure`: other threads post faster than the loop can run.

use std::time::Duration;

use crate::AnyId;

use super::{Grouped, Lint, Second, lint};

/// So many hundredths of the places are taken when turns end,
const PER_CENT: usize = 90;
/// for so long.
const FOR: Duration = Duration::from_secs(2);

/// Whether the queue of posts is all but full.
pub(in super::super) fn is_pressed(posts: usize, capacity: usize) -> bool {
    capacity > 0 && posts.saturating_mul(100) >= capacity.saturating_mul(PER_CENT)
}

pub(super) fn look(second: &Second, at: Duration) -> Option<Lint> {
    let pressed = at.saturating_sub(second.pressed?);
    if pressed < FOR {
        return None;
    }
    let seconds = pressed.as_secs();
    let (posts, places) = (
        Grouped(second.posts.min(second.post_capacity) as u64),
        Grouped(second.post_capacity as u64),
    );
    let refused = match second.posts_refused {
        0 => String::new(),
        refused => format!("; {} posts were refused", Grouped(refused)),
    };
    let text = format!(
        "The post queue stood above {PER_CENT} % for {seconds} s ({posts} of {places} places){refused}"
    );
    Some(lint(
        ("post-pressure", "12"),
        ("", AnyId::NONE),
        pressed.as_secs_f64(),
        text,
    ))
}
