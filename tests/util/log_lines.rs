//! The lines that a test's reactor logs.

#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    /// The lines logged on this thread. A reactor logs on its own, and each test has one to itself.
    static LINES: RefCell<Vec<(log::Level, String)>> = const { RefCell::new(Vec::new()) };
}

struct ByThread;

impl log::Log for ByThread {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("slabloop")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.with_borrow_mut(|lines| lines.push((record.level(), record.args().to_string())));
        }
    }

    fn flush(&self) {}
}

/// From here on the lines of this thread are kept; what was kept is forgotten.
pub(crate) fn keep_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&ByThread).expect("nobody else sets one");
        log::set_max_level(log::LevelFilter::Debug);
    });
    let _ = take_log();
}

/// The lines of this thread since they were last taken.
pub(crate) fn take_log() -> Vec<(log::Level, String)> {
    LINES.with_borrow_mut(std::mem::take)
}
