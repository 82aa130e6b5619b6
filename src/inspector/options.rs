//! The settings of an inspector.

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
    /// The defaults: the inspector can be reached from this machine only, and a callback over 50 ms is a slow one.
    #[must_use]
    pub fn new() -> Options {
        Options {
            program: program(),
            allow_remote: false,
            hosts: Vec::new(),
            slow_callback: Duration::from_millis(50),
        }
    }

    /// The program's name on the page; default: the name of the executable.
    pub fn program(&mut self, name: impl Into<String>) -> &mut Self {
        self.program = name.into();
        self
    }

    /// Whether the inspector may listen on an address that other machines can reach; default `false`.
    ///
    /// There is no password and no encryption. Anyone who reaches the port sees the addresses of all peers, the names
    /// of all types, the texts of errors and the load of the program, and can use a little of the loop's time. Sent
    /// and received bytes are not shown, and nothing can be changed. In place of allowing this, you can forward a
    /// port: `ssh -L 9000:127.0.0.1:9000 HOST`.
    pub fn allow_remote(&mut self, on: bool) -> &mut Self {
        self.allow_remote = on;
        self
    }

    /// A further host name for requests, without a port.
    ///
    /// A request is answered only if its `Host` header has an address of this machine, `localhost`, or a name that
    /// was given here. So a page of another site cannot read the inspector by giving its own name this machine's
    /// address (DNS rebinding).
    ///
    /// ```
    /// use slabloop::inspector::Options;
    ///
    /// // The page is opened as http://build7.example:9000/, through a reverse proxy on this machine.
    /// let mut options = Options::new();
    /// options.host("build7.example");
    /// ```
    pub fn host(&mut self, name: impl Into<String>) -> &mut Self {
        self.hosts.push(name.into());
        self
    }

    /// The duration from which a callback is shown as slow; default 50 ms. It is independent of the threshold of the
    /// log, [`Builder::slow_callback`](crate::Builder::slow_callback).
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
