//! What disturbs the whole process: signals, and moments without a free descriptor.

use std::fmt;
use std::fs::File;
use std::io;
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const BETWEEN: Duration = Duration::from_millis(500);
/// A signal comes every second, a shortage every ten, for as long as `BETWEEN`.
const ROUNDS: (u64, u64) = (2, 20);

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Disturbed {
    signals: u64,
    shortages: u64,
}

impl fmt::Display for Disturbed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} signals, {} moments without a descriptor",
            self.signals, self.shortages
        )
    }
}

/// Disturbs until `ended`.
pub(crate) fn start(ended: &Arc<AtomicBool>) -> io::Result<JoinHandle<Disturbed>> {
    // A handler, so that the signal interrupts the wait and does not end the process.
    signal_hook::flag::register(
        signal_hook::consts::SIGUSR1,
        Arc::new(AtomicBool::new(false)),
    )?;
    let ended = Arc::clone(ended);
    Ok(thread::spawn(move || disturb(&ended)))
}

fn disturb(ended: &AtomicBool) -> Disturbed {
    let mut done = Disturbed::default();
    for round in 1_u64.. {
        thread::sleep(BETWEEN);
        if ended.load(Ordering::Relaxed) {
            break;
        }
        if round % ROUNDS.0 == 0 {
            let pid = process::id().to_string();
            let sent = Command::new("kill")
                .args(["-USR1", &pid])
                .stderr(Stdio::null())
                .status();
            done.signals += u64::from(sent.is_ok_and(|status| status.success()));
        }
        if round % ROUNDS.1 == 0 {
            let mut all = Vec::new();
            while let Ok(file) = File::open("/dev/null") {
                all.push(file);
            }
            done.shortages += 1;
            thread::sleep(BETWEEN);
        }
    }
    done
}
