//! A connection is a descriptor, and a process may have so many.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::common::Failure;

/// What the program has besides connections: three standard streams, the poller, its waker, signals, and room.
const OTHERS: u64 = 32;

/// Raises the soft limit as far as `connections` need it.
///
/// # Errors
///
/// If the hard limit, which only root raises, is too low.
pub(crate) fn provide_for(connections: usize) -> Result<(), Failure> {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX);
    let wanted = wanted.saturating_add(OTHERS);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|most| most < wanted) {
        let most = maximum.unwrap_or_default();
        let text = format!(
            "--connections {connections}: takes {wanted} descriptors, and this process may have {most}; ask for at most \
             {}, or have root raise the hard limit (ulimit -Hn {wanted}; LimitNOFILE= in a service of systemd)",
            most.saturating_sub(OTHERS)
        );
        return Err(Failure::Work(text));
    }
    if current.is_none_or(|now| now >= wanted) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        Failure::Work(format!(
            "--connections {connections}: cannot raise the limit of descriptors to {wanted}: {error}"
        ))
    })
}
