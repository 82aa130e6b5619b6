//! What a panic in a program's code leaves behind: a payload, which is a value of the program's.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the panic said.
pub(crate) fn text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(no message)"
    }
}

/// Drops a value of the program's, whose destructor may panic as well.
pub(crate) fn drop_contained<T>(value: T) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        std::mem::forget(second);
    }
}
