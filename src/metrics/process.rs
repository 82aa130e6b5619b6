//! The system's figures of this process. Five numbers do not need a crate: procfs would bring six.

use std::fs;
use std::time::Duration;

use rustix::param;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The system's figures of this process, for all of its threads together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Bytes of memory in use.
    pub resident_bytes: u64,
    /// Bytes of address space in use.
    pub virtual_bytes: u64,
    /// CPU time used, in user mode and in the kernel.
    pub cpu: Duration,
    /// Open descriptors.
    pub open_descriptors: u64,
    /// The limit of open descriptors; `None` if there is none.
    pub max_descriptors: Option<u64>,
    /// The start time of the process, since the beginning of 1970 (UTC).
    pub started: Duration,
}

impl Process {
    /// Asks the system; `None` where it does not provide this. Takes about ten microseconds, and on Linux before 6.2
    /// a look at each open descriptor.
    pub(super) fn read() -> Option<Process> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let (virtual_bytes, pages, start) = sizes_and_start(&stat)?;
        let second = Duration::from_secs(1);
        let since_boot = second.mul_f64(start as f64 / param::clock_ticks_per_second() as f64);
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Some(Process {
            resident_bytes: pages * param::page_size() as u64,
            virtual_bytes,
            cpu: Duration::try_from(cpu).ok()?,
            open_descriptors: open_descriptors()?,
            max_descriptors: getrlimit(Resource::Nofile).current,
            started: Duration::from_secs(boot_time(&boot)?) + since_boot,
        })
    }
}

/// From `/proc/self/stat`: bytes of address space, pages in memory, and the start in ticks since the system's.
fn sizes_and_start(stat: &str) -> Option<(u64, u64, u64)> {
    // The second field is the program's name in parentheses, which may hold spaces and parentheses of its own.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(19);
    let mut number = || fields.next()?.parse().ok();
    let (start, virtual_bytes, pages) = (number()?, number()?, number()?);
    Some((virtual_bytes, pages, start))
}

/// From `/proc/stat`: when the system was started, in seconds since 1970.
fn boot_time(stat: &str) -> Option<u64> {
    let mut lines = stat.lines();
    lines
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

fn open_descriptors() -> Option<u64> {
    let folder = "/proc/self/fd";
    match fs::metadata(folder).ok()?.len() {
        // An old kernel: the folder's size is not the number of its entries. One of these is the look itself.
        0 => Some((fs::read_dir(folder).ok()?.count() as u64).saturating_sub(1)),
        open => Some(open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_moves_no_field() {
        let stat = "1 (a) (b c)) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 2200 2300 24 25";
        assert_eq!(sizes_and_start(stat), Some((2300, 24, 2200)));
    }

    #[test]
    fn half_a_file_is_no_figure() {
        assert_eq!(sizes_and_start("1 (a) S 4 5"), None);
        assert_eq!(boot_time("cpu 1 2 3\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_time_and_descriptors() {
        let before = Process::read().expect("there is /proc");
        let files: Vec<_> = (0..20)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        let process = Process::read().expect("there is /proc");
        assert!(
            process.resident_bytes > 100_000 && process.virtual_bytes >= process.resident_bytes
        );
        assert!(process.cpu > Duration::ZERO);
        // Other tests open and close descriptors meanwhile.
        assert!(process.open_descriptors >= 20, "{} {before:?}", files.len());
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        // The system's own start is known to the second.
        let soon = now + Duration::from_secs(2);
        let age = soon.checked_sub(process.started).expect("it has begun");
        assert!(age < Duration::from_secs(600), "{age:?}");
    }
}
