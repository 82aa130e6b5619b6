//! A way for clients that speak no TLS to a server that does: what a test does to its end of a connection, the server
//! sees at the other, through TLS. So tests of whole programs are the same with TLS and without.

#[path = "../../examples/proxy.rs"]
#[allow(dead_code, reason = "its main and its command line")]
mod proxy;
#[path = "tls.rs"]
pub(crate) mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use proxy::common::Dialer;
use proxy::{Front, Upstream};
use slabloop::{Handle, Reactor};

/// What tells an example to speak TLS.
pub(crate) fn arguments() -> [String; 4] {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let name = format!("slabloop-tunnel-{}", std::process::id());
        // Nobody removes it: it is cargo's to clean.
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let identity = tls::identity();
        std::fs::write(folder.join("cert.pem"), &identity.certificate_pem).expect("room");
        std::fs::write(folder.join("key.pem"), &identity.key_pem).expect("room");
        folder
    });
    let path = |name: &str| folder.join(name).display().to_string();
    [
        "--tls-cert".to_owned(),
        path("cert.pem"),
        "--tls-key".to_owned(),
        path("key.pem"),
    ]
}

/// The tunnel to one server: the example proxy, with TLS on its far side. It ends with this.
pub(crate) struct Tunnel {
    pub(crate) address: SocketAddr,
    /// Where it leads to.
    #[allow(dead_code, reason = "each test file uses a part")]
    pub(crate) server: SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Tunnel {
    pub(crate) fn to(server: SocketAddr) -> Tunnel {
        let (sender, begun) = channel();
        let thread = std::thread::spawn(move || {
            let dialer = Dialer::tls(tls::connector(), tls::NAME).expect("a name");
            let front = Front {
                upstreams: vec![Upstream {
                    addresses: vec![server],
                    dialer,
                }],
                ..Front::default()
            };
            let mut reactor = Reactor::new().expect("a reactor");
            let id = reactor.listen("127.0.0.1:0", front).expect("a port");
            let address = reactor.local_addr(id).expect("a listener has one");
            sender
                .send((address, reactor.handle()))
                .expect("it is waited for");
            reactor.run().expect("it polls");
        });
        let (address, handle) = begun.recv().expect("it begins");
        Tunnel {
            address,
            server,
            handle,
            thread: Some(thread),
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
