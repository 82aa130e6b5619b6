//! The crate's own words with the kernel: epoll, and the socket calls that std does not offer.
//!
//! This is the only file with `unsafe` in it. Each block is one system call on descriptors that
//! stay owned by a Rust value throughout, and on memory that outlives the call. Only the raw-epoll
//! peers and the load generator use it: they are the floor that libraries are held against, and a
//! floor with a library in it would not be one.
#![expect(unsafe_code, reason = "raw system calls are what this file is for")]

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_void};

/// The kernel's answer of -1 as an error, anything else as it is.
fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// What a descriptor is registered for. All are edge-triggered: told once, then remembered by the
/// program.
#[derive(Debug, Clone, Copy)]
pub enum Interest {
    /// Bytes to read.
    Read,
    /// Bytes to read, room to write, and the other side's end of stream.
    Stream,
}

/// One event as epoll returned it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Event(libc::epoll_event);

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("key", &self.key())
            .finish_non_exhaustive()
    }
}

impl Event {
    /// The number that the descriptor was registered with.
    #[must_use]
    pub fn key(&self) -> usize {
        // Keys are indexes that came in as usize, so nothing is lost on the way back.
        self.0.u64 as usize
    }

    /// There is something to read, or an error that a read will surface.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.has(libc::EPOLLIN | libc::EPOLLERR | libc::EPOLLHUP | libc::EPOLLRDHUP)
    }

    /// The other side has ended its stream, or the connection is broken: read on until that is
    /// seen.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.has(libc::EPOLLERR | libc::EPOLLHUP | libc::EPOLLRDHUP)
    }

    fn has(&self, bits: c_int) -> bool {
        self.0.events & bits as u32 != 0
    }
}

/// An epoll descriptor with its buffer for events.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<Event>,
}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoll")
            .field("fd", &self.fd)
            .field("batch", &self.events.len())
            .finish()
    }
}

impl Epoll {
    /// A new epoll that returns up to `batch` events at once.
    ///
    /// # Errors
    ///
    /// The kernel's, for lack of descriptors or memory.
    pub fn new(batch: usize) -> io::Result<Self> {
        // SAFETY: no pointer goes in, and the descriptor that comes out belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        let empty = Event(libc::epoll_event { events: 0, u64: 0 });
        Ok(Epoll {
            fd,
            events: vec![empty; batch],
        })
    }

    /// Registers a descriptor; its events carry `key`. Closing the descriptor takes it out again.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn add(&self, fd: impl AsFd, interest: Interest, key: usize) -> io::Result<()> {
        let bits = match interest {
            Interest::Read => libc::EPOLLIN,
            Interest::Stream => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP,
        };
        let mut event = libc::epoll_event {
            events: (bits | libc::EPOLLET) as u32,
            u64: key as u64,
        };
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: both descriptors are open for the length of the call, and `event` is only read.
        check(unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event)
        })?;
        Ok(())
    }

    /// Waits for events; `None` waits for ever. A signal counts as no events.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<&[Event]> {
        let timeout = timeout.map_or(-1, |limit| {
            c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX)
        });
        let room = c_int::try_from(self.events.len()).unwrap_or(c_int::MAX);
        let list = self.events.as_mut_ptr().cast::<libc::epoll_event>();
        // SAFETY: `Event` has the layout of `epoll_event`, and the kernel writes at most `room` of
        // them.
        match check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), list, room, timeout) }) {
            Ok(count) => Ok(&self.events[..count as usize]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(error) => Err(error),
        }
    }
}

/// Reads from a socket by the bare call.
///
/// # Errors
///
/// The kernel's.
#[inline]
pub fn recv(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for the length of the call; the kernel writes at most the
    // buffer.
    let count = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Writes to a socket by the bare call.
///
/// # Errors
///
/// The kernel's.
#[inline]
pub fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for the length of the call; the kernel reads the bytes only.
    let count = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Lets a listener hold more finished handshakes than the 128 that std asks for.
///
/// Ten thousand clients that arrive at once overflow a short backlog; each one that is dropped
/// tries again after a second, and then it is the retry that is measured.
///
/// # Errors
///
/// The kernel's.
pub fn deepen_backlog(listener: &TcpListener, backlog: i32) -> io::Result<()> {
    // SAFETY: the listener owns the descriptor; a second `listen` only changes the length of the
    // queue.
    check(unsafe { libc::listen(listener.as_raw_fd(), backlog) })?;
    Ok(())
}

/// Connects over IPv4 loopback from an address of the caller's choice.
///
/// One source address has some 28,000 ports for one target, and used ports rest for a minute:
/// varying 127.0.0.x gives each address a supply of its own.
///
/// # Errors
///
/// The kernel's, from making, binding or connecting the socket.
pub fn connect_from(source: Ipv4Addr, target: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = tcp_socket(0)?;
    bind_without_port(&socket, source)?;
    connect(&socket, target)?;
    Ok(TcpStream::from(socket))
}

/// A socket that is ready to be connected by [`connect_at_once`] with nothing left to do before:
/// non-blocking, without delay, from a source as with [`connect_from`].
///
/// Closing it resets the connection, which leaves no port at rest: whoever makes ten thousand
/// connections a second would run out of them, and slow the search for a free one long before.
///
/// # Errors
///
/// The kernel's.
pub fn prepare(source: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = tcp_socket(libc::SOCK_NONBLOCK)?;
    bind_without_port(&socket, source)?;
    let reset = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set_option(&socket, libc::SOL_SOCKET, libc::SO_LINGER, &reset)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Starts to connect a socket of [`prepare`]; whether it worked shows at the first write or read.
///
/// # Errors
///
/// The kernel's.
#[inline]
pub fn connect_at_once(stream: &TcpStream, target: SocketAddrV4) -> io::Result<()> {
    match connect(stream, target) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        outcome => outcome,
    }
}

/// How many segments of a connection had to be sent again, its first one included.
///
/// # Errors
///
/// The kernel's.
pub fn retransmitted(stream: &TcpStream) -> io::Result<u32> {
    // SAFETY: `tcp_info` is made of plain numbers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is what `info` has.
    check(unsafe {
        let value = (&raw mut info).cast::<c_void>();
        let fd = stream.as_raw_fd();
        libc::getsockopt(fd, libc::SOL_TCP, libc::TCP_INFO, value, &mut length)
    })?;
    Ok(info.tcpi_total_retrans)
}

/// Starts to connect and comes back at once; whether it worked shows at the first read.
///
/// # Errors
///
/// The kernel's, and `Unsupported` for an IPv6 target, which no comparison here uses.
pub fn start_connect(target: SocketAddr) -> io::Result<TcpStream> {
    let SocketAddr::V4(target) = target else {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this peer connects over IPv4 only",
        ));
    };
    let stream = TcpStream::from(tcp_socket(libc::SOCK_NONBLOCK)?);
    connect_at_once(&stream, target)?;
    Ok(stream)
}

fn connect(socket: impl AsFd, target: SocketAddrV4) -> io::Result<()> {
    let (to, length) = raw_address(target);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the address is initialised, outlives the call and is only read.
    check(unsafe { libc::connect(fd, (&raw const to).cast(), length) })?;
    Ok(())
}

/// Fixes a socket's source address. The port is chosen at connect, when the target is known;
/// otherwise bind looks for one that is free towards everybody.
fn bind_without_port(socket: &OwnedFd, source: Ipv4Addr) -> io::Result<()> {
    let late: c_int = 1;
    set_option(socket, libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, &late)?;
    let (from, length) = raw_address(SocketAddrV4::new(source, 0));
    // SAFETY: the address is initialised, outlives the call and is only read.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const from).cast(), length) })?;
    Ok(())
}

fn set_option<T>(socket: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let value = (&raw const *value).cast::<c_void>();
    // SAFETY: `value` points to `length` bytes that are only read.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, length) })?;
    Ok(())
}

fn tcp_socket(flags: c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
    // SAFETY: no pointer goes in, and the descriptor that comes out belongs to nobody else.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::socket(
            libc::AF_INET,
            kind,
            0,
        ))?))
    }
}

/// The source for connection number `index`, or `None` where the target is not IPv4 loopback.
#[must_use]
pub fn loopback_source(index: usize, target: SocketAddr) -> Option<(Ipv4Addr, SocketAddrV4)> {
    // 100 sources of some 28,000 ports are far more than a process has descriptors.
    const SOURCES: usize = 100;
    match target {
        SocketAddr::V4(target) if target.ip().is_loopback() => Some((
            Ipv4Addr::new(127, 0, 0, 2 + (index % SOURCES) as u8),
            target,
        )),
        _ => None,
    }
}

fn raw_address(address: SocketAddrV4) -> (libc::sockaddr_in, libc::socklen_t) {
    let raw = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*address.ip()).to_be(),
        },
        sin_zero: [0; 8],
    };
    (raw, size_of::<libc::sockaddr_in>() as libc::socklen_t)
}

/// The CPU time that this process has had so far, all threads, in nanoseconds.
///
/// # Errors
///
/// The kernel's.
pub fn processor_time_ns() -> io::Result<u64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel fills in `time`, which outlives the call.
    check(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) })?;
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// The CPU time of all children that have ended and were waited for: in themselves, and in the kernel for them.
///
/// # Errors
///
/// The kernel's.
pub fn children_time() -> io::Result<(Duration, Duration)> {
    // SAFETY: `rusage` is made of plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills in `usage`, which outlives the call.
    check(unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) })?;
    let span = |time: libc::timeval| {
        let seconds = Duration::from_secs(time.tv_sec as u64);
        seconds + Duration::from_micros(time.tv_usec as u64)
    };
    Ok((span(usage.ru_utime), span(usage.ru_stime)))
}

/// Holds a process until [`resume`].
///
/// # Errors
///
/// A process that is gone or somebody else's.
pub fn suspend(pid: u32) -> io::Result<()> {
    signal(pid, libc::SIGSTOP)
}

/// Lets a process go on.
///
/// # Errors
///
/// As [`suspend`].
pub fn resume(pid: u32) -> io::Result<()> {
    signal(pid, libc::SIGCONT)
}

fn signal(pid: u32, signal: c_int) -> io::Result<()> {
    let Ok(pid) = libc::pid_t::try_from(pid) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if pid == 0 {
        // To the kernel that is the caller's whole group.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: no pointer goes in.
    check(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// Raises the soft limit on descriptors to the hard one.
///
/// # Errors
///
/// The kernel's.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills in `limit`, then reads it.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(())
}
