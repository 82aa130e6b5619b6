//! What can be chosen about an inspector.

use std::time::Duration;

/// Options of an inspector, each with its default.
///
/// ```
/// use slabloop::inspector::Options;
/// use std::time::Duration;
///
/// let mut options = Options::new();
/// options.program("chat").slow_callback(Duration::from_millis(20));
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) program: String,
    pub(super) allow_remote: bool,
    pub(super) hosts: Vec<String>,
    pub(super) slow_callback: Duration,
}

impl Options {
    /// Only this machine may look, and a callback over 50 ms is a slow one.
    #[must_use]
    pub fn new() -> Options {
        Options {
            program: program(),
            allow_remote: false,
            hosts: Vec::new(),
            slow_callback: Duration::from_millis(50),
        }
    }

    /// The program's name, as the page shows it; default what it was started by.
    pub fn program(&mut self, name: impl Into<String>) -> &mut Self {
        self.program = name.into();
        self
    }

    /// Whether it may listen where other machines reach it; default no.
    ///
    /// There is no password and no encryption. Who reaches the port sees the addresses of all peers, the names of
    /// all types, the texts of errors and how busy the program is, and can take a little of the loop's time. What
    /// was sent and received is not shown, and nothing can be changed. Rather than allowing this, forward a port:
    /// `ssh -L 9000:127.0.0.1:9000 HOST`.
    pub fn allow_remote(&mut self, on: bool) -> &mut Self {
        self.allow_remote = on;
        self
    }

    /// A further name by which the page may be asked for, without a port.
    ///
    /// A request is answered only if its `Host` is an address of this machine that it came in by, `localhost`,
    /// or a name that was given here. So no page of the internet can have a browser read the inspector by
    /// giving its own name this machine's address (DNS rebinding).
    pub fn host(&mut self, name: impl Into<String>) -> &mut Self {
        self.hosts.push(name.into());
        self
    }

    /// A callback that takes longer is shown as slow; default 50 ms. It has nothing to do with the threshold
    /// of the log, [`Builder::slow_callback`](crate::Builder::slow_callback).
    pub fn slow_callback(&mut self, threshold: Duration) -> &mut Self {
        self.slow_callback = threshold;
        self
    }
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

fn program() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&path).file_stem();
    name.unwrap_or_default().to_string_lossy().into_owned()
}
