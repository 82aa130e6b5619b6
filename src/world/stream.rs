//! The system calls of a stream socket.

use std::fs::File;
use std::io::{self, IoSlice};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::num::NonZeroUsize;

use mio::Interest;

/// Writes to a stream socket.
#[inline]
pub(crate) fn send(socket: &socket2::Socket, bytes: &[u8]) -> io::Result<usize> {
    socket.send_with_flags(bytes, MSG_NOSIGNAL)
}

/// Writes several pieces to a stream socket.
pub(crate) fn send_vectored(socket: &socket2::Socket, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    socket.send_vectored_with_flags(pieces, MSG_NOSIGNAL)
}

/// Has the kernel copy `length` bytes, at least one, from a file to a stream socket. `Ok(0)` if the file ends
/// before `offset`; `Unsupported` where there is no such call.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn send_file(
    socket: &socket2::Socket,
    file: &File,
    offset: u64,
    length: usize,
) -> io::Result<usize> {
    // Where a pointer has 32 bits the call's offset has no more.
    match isize::try_from(offset) {
        Ok(offset) => socket.sendfile(file, offset.unsigned_abs(), NonZeroUsize::new(length)),
        Err(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The other systems that have the call report `WouldBlock` after they have sent a part, and socket2 does not
/// pass on how much.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn send_file(_: &socket2::Socket, _: &File, _: u64, _: usize) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn stream_interest() -> Interest {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Interest::READABLE | Interest::PRIORITY;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return Interest::READABLE;
}

/// A write to a peer that has gone must be an error, not a signal that ends the process. Rust programs
/// ignore SIGPIPE, but a C program that embeds the reactor need not. (Pipes and
/// `sendfile` know no such flag.)
#[cfg(any(target_os = "linux", target_os = "android"))]
const MSG_NOSIGNAL: i32 = 0x4000;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const MSG_NOSIGNAL: i32 = 0;
