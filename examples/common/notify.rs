//! Telling whoever waits for it that this program is ready: systemd with `Type=notify`, and the predecessor of which this
//! program has its socket. The protocol is systemd's: a datagram of lines to the Unix socket of a name.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram;

/// Where systemd hears.
const SYSTEMD: &str = "NOTIFY_SOCKET";

/// Where the predecessor hears.
pub const PREDECESSOR: &str = "SLABLOOP_READY";

/// The listener is there: clients that connect from now on are served.
pub fn ready() {
    for name in [PREDECESSOR, SYSTEMD] {
        tell(name, "READY=1\n");
    }
}

/// The service goes on in another process.
pub fn main_pid(pid: u32) {
    tell(SYSTEMD, &format!("MAINPID={pid}\n"));
}

fn tell(name: &str, text: &str) {
    if let Some(address) = env::var_os(name) {
        if let Err(error) = send(&address, text.as_bytes()) {
            log::warn!("{name}={}: {error}", address.to_string_lossy());
        }
    }
}

fn send(address: &OsStr, text: &[u8]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::SocketAddr;

        if let Some(name) = address.as_bytes().strip_prefix(b"@") {
            let address = SocketAddr::from_abstract_name(name)?;
            return socket.send_to_addr(text, &address).map(drop);
        }
    }
    socket.send_to(text, address).map(drop)
}
