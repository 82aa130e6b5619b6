//! Memory and descriptors of the process, once a second.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::time::Duration;

use slabloop::Counters;

/// Open descriptors, that of the listing left out.
pub(crate) fn descriptors() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count() - 1)
}

/// Memory of the process in KiB. The file is open from the start: at times there is no descriptor for it.
fn resident(statm: &File) -> io::Result<f64> {
    use std::os::unix::fs::FileExt;
    let mut text = [0; 128];
    let length = statm.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(&text[..length]);
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    Ok(4.0 * pages.ok_or_else(|| io::Error::other("not a statm"))?)
}

/// What was measured.
pub(crate) struct Measured {
    statm: File,
    record: Option<File>,
    /// Minutes since the start, and KiB.
    memory: Vec<(f64, f64)>,
    next: Duration,
}

/// Growth that needs no explanation: an allocator keeps what it once had.
const TOLERATED_KIB: f64 = 8.0 * 1024.0;

impl Measured {
    pub(crate) fn new(record: Option<&str>) -> io::Result<Measured> {
        let mut record = record.map(File::create).transpose()?;
        if let Some(record) = &mut record {
            writeln!(
                record,
                "seconds,memory_kib,descriptors,connections,turns,callbacks,bytes_in,bytes_out"
            )?;
        }
        Ok(Measured {
            statm: File::open("/proc/self/statm")?,
            record,
            memory: Vec::new(),
            next: Duration::from_secs(1),
        })
    }

    /// Takes a sample if a second has passed since the last.
    pub(crate) fn look(&mut self, elapsed: Duration, counters: &Counters, connections: usize) {
        if elapsed < self.next {
            return;
        }
        self.next += Duration::from_secs(1);
        // Without a free descriptor there is nothing to count; the next second has some again.
        let (Ok(memory), Ok(descriptors)) = (resident(&self.statm), descriptors()) else {
            return;
        };
        self.memory.push((elapsed.as_secs_f64() / 60.0, memory));
        let seconds = elapsed.as_secs();
        let Counters {
            turns,
            callbacks,
            bytes_in,
            bytes_out,
            ..
        } = counters;
        if let Some(record) = &mut self.record {
            let mut line = String::new();
            let _ = write!(
                line,
                "{seconds},{memory},{descriptors},{connections},{turns},{callbacks},{bytes_in},{bytes_out}"
            );
            if let Err(error) = writeln!(record, "{line}") {
                eprintln!("soak: the record ends here: {error}");
                self.record = None;
            }
        }
        if seconds % 10 == 0 {
            println!(
                "{seconds:>5} s  memory {:>6.1} MiB  descriptors {descriptors:>5}  connections {connections:>5}  \
                 turns {turns:>9}  echoed {:>7.1} MiB",
                memory / 1024.0,
                *bytes_out as f64 / f64::from(1 << 20),
            );
        }
    }

    /// KiB a minute, over the second half of the run; the first is for warming up.
    fn slope(&self) -> Option<f64> {
        let later = &self.memory[self.memory.len() / 2..];
        if later.len() < 10 {
            return None;
        }
        let count = later.len() as f64;
        let (x, y) = later
            .iter()
            .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let (x, y) = (x / count, y / count);
        let (up, down) = later.iter().fold((0.0, 0.0), |(up, down), point| {
            (
                up + (point.0 - x) * (point.1 - y),
                down + (point.0 - x).powi(2),
            )
        });
        Some(up / down)
    }

    /// By how much memory grew from the second quarter to the last.
    fn growth(&self) -> f64 {
        let quarter = self.memory.len() / 4;
        let most = |part: &[(f64, f64)]| part.iter().fold(0.0_f64, |most, point| most.max(point.1));
        most(&self.memory[3 * quarter..]) - most(&self.memory[quarter..2 * quarter])
    }

    pub(crate) fn summary(&self) -> String {
        match self.slope() {
            Some(slope) => format!(
                "memory: {slope:+.1} KiB a minute in the second half; {:+.0} KiB from the second quarter to the last",
                self.growth()
            ),
            None => "memory: too short a run to say".to_owned(),
        }
    }

    pub(crate) fn faults(&self) -> Option<String> {
        let slope = self.slope()?;
        let grows = self.growth() > TOLERATED_KIB && slope > 0.0;
        grows.then(|| format!("memory grows: {}", self.summary()))
    }
}
