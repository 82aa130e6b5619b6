//! The address of a socket or its peer, as far as it is known.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::world::ids::short_type_name;

/// An address as far as it is known without asking the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Address {
    /// Unnamed, or not known.
    #[default]
    None,
    Inet(SocketAddr),
    Unix(Box<Path>),
    /// It has none, so this is what it is: a pipe's end, or the type of a foreign source.
    What(&'static str),
}

impl Address {
    pub(crate) fn inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(address) => Some(*address),
            Address::None | Address::Unix(_) | Address::What(_) => None,
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Address::Unix(path) => Some(path),
            Address::None | Address::Inet(_) | Address::What(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Inet(address)
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Address {
        Address::Unix(path.into_boxed_path())
    }
}

impl From<socket2::SockAddr> for Address {
    fn from(address: socket2::SockAddr) -> Address {
        if let Some(address) = address.as_socket() {
            return Address::Inet(address);
        }
        address
            .as_pathname()
            .map_or(Address::None, |path| Address::Unix(path.into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::None => f.write_str("unnamed"),
            Address::Inet(address) => address.fmt(f),
            // A client chooses it, and it goes into log lines.
            Address::Unix(path) => {
                write!(f, "unix:{}", path.to_string_lossy().escape_debug())
            }
            Address::What(what) => f.write_str(&short_type_name(what)),
        }
    }
}
