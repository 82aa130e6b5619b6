//! A listening socket that another has opened: systemd, or this program's predecessor (`hand_over.rs`). The protocol is
//! systemd's: `LISTEN_FDS` sockets from descriptor 3 on, for the process `LISTEN_PID`, with names in `LISTEN_FDNAMES`.
//!
//! Built without the feature `restart`, such a socket is refused, and not passed over.

use std::env;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use super::Failure;

/// The socket, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    listener: Arc<Mutex<Option<TcpListener>>>,
    /// Where it listens.
    pub address: Option<SocketAddr>,
}

impl Inherited {
    /// Takes the socket that the environment tells of. To be called before there are threads.
    ///
    /// # Errors
    ///
    /// [`Failure::Work`] with what is wrong about it.
    pub fn from_env() -> Result<Inherited, Failure> {
        let value = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let (pid, count) = (value("LISTEN_PID"), value("LISTEN_FDS"));
        match announced(pid.as_deref(), count.as_deref(), std::process::id()) {
            Ok(0) => Ok(Inherited::default()),
            Ok(1) => take(),
            Ok(count) => {
                let names = value("LISTEN_FDNAMES").unwrap_or_default();
                let text = format!("LISTEN_FDS={count} ({names}): this program has one listener");
                Err(Failure::Work(text))
            }
            Err(text) => Err(Failure::Work(text)),
        }
    }

    /// The socket itself, once.
    pub fn take(&self) -> Option<TcpListener> {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        listener.take()
    }
}

/// How many sockets there are for the process `own`.
fn announced(pid: Option<&str>, count: Option<&str>, own: u32) -> Result<u32, String> {
    let (Some(pid), Some(count)) = (pid, count) else {
        return Ok(0);
    };
    let is_pid = pid.parse::<u32>();
    match is_pid.map_err(|_| format!("LISTEN_PID={pid}: expected the number of a process"))? {
        // For one from which this process has its environment.
        other if other != own => Ok(0),
        _ => match count.parse() {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(format!("LISTEN_FDS={count}: expected a number of sockets")),
        },
    }
}

#[cfg(feature = "restart")]
fn take() -> Result<Inherited, Failure> {
    use socket2::SockRef;

    let wrong = |why: &dyn std::fmt::Display| Failure::Work(format!("LISTEN_FDS: {why}"));
    // It closes the socket to programs that this one starts.
    let taken = listenfd::ListenFd::from_env().take_tcp_listener(0);
    let listener = taken.map_err(|error| wrong(&error))?;
    let listener = listener.ok_or_else(|| wrong(&"there is no socket"))?;
    let listens = SockRef::from(&listener).is_listener();
    if !listens.map_err(|error| wrong(&error))? {
        return Err(wrong(&"the socket does not listen"));
    }
    let address = listener.local_addr().map_err(|error| wrong(&error))?;
    Ok(Inherited {
        listener: Arc::new(Mutex::new(Some(listener))),
        address: Some(address),
    })
}

#[cfg(not(feature = "restart"))]
fn take() -> Result<Inherited, Failure> {
    Err(Failure::Usage(
        "LISTEN_FDS: built without restart; use cargo run --features restart".to_owned(),
    ))
}
