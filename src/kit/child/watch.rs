//! The event by which the exit of a child is detected.
//!
//! On Linux a process can be a descriptor, which becomes readable at its end. Elsewhere, and where that descriptor is
//! refused, there is `SIGCHLD`, which reports that the state of some child has changed: each watch has a pipe that
//! the signal handler writes to, and asks for its own child.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use signal_hook::SigId;
use signal_hook::consts::SIGCHLD;
use signal_hook::low_level::{pipe, unregister};

use crate::world::descriptor::Descriptor;
use crate::world::socket::Socket;
use crate::world::topics;

/// Readable when the child may have exited.
#[derive(Debug)]
pub(super) enum ExitWatch {
    /// The child itself.
    Pidfd(Descriptor),
    /// A pipe that the handler of `SIGCHLD` writes to.
    Sigchld { told: UnixStream, action: SigId },
}

impl ExitWatch {
    /// For a child that has not been waited for. An exit that was before this counts.
    pub(super) fn of(child: &Child) -> io::Result<ExitWatch> {
        match pidfd(child) {
            Ok(descriptor) => Ok(ExitWatch::Pidfd(descriptor)),
            Err(error) => {
                log::debug!(target: topics::CHILD, "child {}: no pidfd: {error}; by SIGCHLD", child.id());
                ExitWatch::by_signal()
            }
        }
    }

    fn by_signal() -> io::Result<ExitWatch> {
        let (told, teller) = UnixStream::pair()?;
        told.set_nonblocking(true)?;
        teller.set_nonblocking(true)?;
        // The child may be gone already: the first look needs no signal.
        (&teller).write_all(b"?")?;
        let action = pipe::register(SIGCHLD, teller)?;
        Ok(ExitWatch::Sigchld { told, action })
    }

    pub(super) fn into_socket(self) -> Socket {
        Socket::foreign_with(self, Interest::READABLE)
    }

    /// The child's status, or `WouldBlock` if it has not exited.
    pub(super) fn exit(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        // Before the look: what comes after it is another event.
        self.clear();
        let status = child.try_wait()?;
        status.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    fn clear(&mut self) {
        if let ExitWatch::Sigchld { told, .. } = self {
            // Any error ends it: what counts is what the child itself says.
            while matches!(told.read(&mut [0; 64]), Ok(1..)) {}
        }
    }

    fn fd(&self) -> RawFd {
        match self {
            ExitWatch::Pidfd(descriptor) => descriptor.as_raw_fd(),
            ExitWatch::Sigchld { told, .. } => told.as_raw_fd(),
        }
    }
}

impl Drop for ExitWatch {
    fn drop(&mut self) {
        if let ExitWatch::Sigchld { action, .. } = self {
            unregister(*action);
        }
    }
}

impl Source for ExitWatch {
    fn register(&mut self, registry: &Registry, token: Token, of: Interest) -> io::Result<()> {
        SourceFd(&self.fd()).register(registry, token, of)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, of: Interest) -> io::Result<()> {
        SourceFd(&self.fd()).reregister(registry, token, of)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.fd()).deregister(registry)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn pidfd(child: &Child) -> io::Result<Descriptor> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    #[cfg(feature = "testing")]
    if WITHOUT_PIDFD.get() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    Ok(Descriptor::new(pidfd))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn pidfd(_: &Child) -> io::Result<Descriptor> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(feature = "testing")]
thread_local! {
    /// For tests of the other way.
    pub(crate) static WITHOUT_PIDFD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}
