//! What the kernel tells of another process: CPU time and memory.
//!
//! `/proc/PID/task/*/schedstat` holds the nanoseconds that each thread ran, counted by the
//! scheduler at every switch; `/proc/PID/stat` splits time into user and system, but in ticks of 10
//! ms and partly by sampling, so it only shows proportions.

use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::cli::{Doing, Error, Result};
use crate::sys;

/// The kernel counts user and system time in hundredths of a second on every Linux that is met.
const MS_PER_TICK: u64 = 10;

/// Who does not run for so long has nothing to do; a server that waits for its turn on a busy
/// processor gets it sooner.
const QUIET: Duration = Duration::from_millis(50);

/// A process that is watched.
#[derive(Debug)]
pub struct Process {
    pid: u32,
}

/// A process that is held, and goes on when this is dropped: no error on the way leaves it stopped.
#[derive(Debug)]
pub struct Suspended {
    pid: u32,
}

impl Drop for Suspended {
    fn drop(&mut self) {
        // It can only have ended.
        let _ = sys::resume(self.pid);
    }
}

/// CPU time since a process started, or between two looks.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// On the processor, all threads.
    pub run_ns: u64,
    /// In the program itself.
    pub user_ms: u64,
    /// In the kernel, on the program's behalf.
    pub system_ms: u64,
}

impl Cpu {
    /// What was spent since an earlier look.
    #[must_use]
    pub fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            run_ns: self.run_ns.saturating_sub(earlier.run_ns),
            user_ms: self.user_ms.saturating_sub(earlier.user_ms),
            system_ms: self.system_ms.saturating_sub(earlier.system_ms),
        }
    }
}

impl Process {
    /// A process by its number; whether it exists shows at the first look.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Process { pid }
    }

    /// Holds it until the guard goes.
    ///
    /// # Errors
    ///
    /// A process that is gone or somebody else's.
    pub fn suspend(&self) -> Result<Suspended> {
        sys::suspend(self.pid).doing(format!("--pid {}: stopping it", self.pid))?;
        Ok(Suspended { pid: self.pid })
    }

    /// Its CPU time so far.
    ///
    /// # Errors
    ///
    /// A process that is gone, or a kernel that does not tell.
    pub fn cpu(&self) -> Result<Cpu> {
        let tasks = format!("/proc/{}/task", self.pid);
        let mut run_ns = 0;
        for task in fs::read_dir(&tasks).doing(format!("--pid {}: {tasks}", self.pid))? {
            let path = task?.path().join("schedstat");
            // A thread may end between the listing and the look; its time is lost to both looks
            // alike.
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            run_ns += number(text.split_whitespace().next(), "schedstat")?;
        }
        let stat = self.read("stat")?;
        // The second field is the program's name in brackets and may hold spaces: count after the
        // last one.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut fields = fields.split_whitespace().skip(11);
        let user_ms = number(fields.next(), "stat")? * MS_PER_TICK;
        let system_ms = number(fields.next(), "stat")? * MS_PER_TICK;
        Ok(Cpu {
            run_ns,
            user_ms,
            system_ms,
        })
    }

    /// Waits until it no longer runs: it has taken in what it was sent. Gives up after `limit`, for
    /// there are servers that always have something to do.
    ///
    /// # Errors
    ///
    /// A process that is gone.
    pub fn wait_until_idle(&self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let before = self.cpu()?.run_ns;
            thread::sleep(QUIET);
            if self.cpu()?.run_ns == before || start.elapsed() > limit {
                return Ok(());
            }
        }
    }

    /// Its resident memory.
    ///
    /// # Errors
    ///
    /// A process that is gone.
    pub fn rss_kib(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory that has been resident.
    ///
    /// # Errors
    ///
    /// As [`rss_kib`](Process::rss_kib).
    pub fn peak_kib(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, key: &str) -> Result<u64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        number(
            line.and_then(|line| line.split_whitespace().next()),
            "status",
        )
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).doing(format!("--pid {}: {path}", self.pid))
    }
}

fn number(field: Option<&str>, file: &str) -> Result<u64> {
    let parsed = field.and_then(|field| field.parse().ok());
    parsed.ok_or_else(|| Error::Failed(format!("the process's {file} file is not as expected")))
}
