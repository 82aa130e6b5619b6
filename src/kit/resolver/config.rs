//! What a resolver is told: servers, search list, times and bounds; and how `resolv.conf` says it.

mod resolv_conf;

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::name::Name;

/// Longest file that is read.
const LONGEST_FILE: u64 = 16 * 1024 * 1024;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Both.
    #[default]
    Any,
    /// IPv4 alone: no AAAA record is asked for.
    V4,
    /// IPv6 alone: no A record is asked for.
    V6,
}

impl Family {
    pub(super) fn takes(self, address: IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

/// What a [`DnsResolver`](super::DnsResolver) is told. [`system`](DnsConfig::system) reads it from the system's
/// files, [`new`](DnsConfig::new) begins with nothing but servers.
///
/// ```
/// use slabloop::kit::resolver::DnsConfig;
/// use std::time::Duration;
///
/// let mut config = DnsConfig::new(["192.0.2.53:53".parse().expect("an address")]);
/// config.timeout(Duration::from_secs(1)).attempts(3).cache_entries(500);
/// ```
#[derive(Clone, Debug)]
pub struct DnsConfig {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<Name>,
    pub(super) ndots: usize,
    pub(super) timeout: Duration,
    pub(super) attempts: u32,
    pub(super) rotate: bool,
    pub(super) use_tcp: bool,
    pub(super) mixed_case: bool,
    pub(super) family: Family,
    pub(super) deadline: Duration,
    pub(super) resolution_delay: Duration,
    pub(super) cache_entries: usize,
    pub(super) min_ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) max_negative_ttl: Duration,
    pub(super) failure_ttl: Duration,
    pub(super) max_lookups: usize,
    pub(super) max_in_flight: usize,
    pub(super) resolv_conf: Option<PathBuf>,
    pub(super) hosts: Option<PathBuf>,
    ignored: Vec<String>,
}

impl DnsConfig {
    /// These servers, no search list, no hosts file, and the defaults that each method names. Without any server
    /// each lookup that wants one fails.
    pub fn new(servers: impl IntoIterator<Item = SocketAddr>) -> DnsConfig {
        DnsConfig {
            servers: servers.into_iter().collect(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            use_tcp: false,
            mixed_case: true,
            family: Family::Any,
            deadline: Duration::from_secs(30),
            resolution_delay: Duration::from_millis(50),
            cache_entries: 4096,
            min_ttl: Duration::ZERO,
            max_ttl: Duration::from_secs(24 * 60 * 60),
            max_negative_ttl: Duration::from_secs(15 * 60),
            failure_ttl: Duration::from_secs(1),
            max_lookups: 4096,
            max_in_flight: 128,
            resolv_conf: None,
            hosts: None,
            ignored: Vec::new(),
        }
    }

    /// As the system has it: `/etc/resolv.conf` and `/etc/hosts`. The files are looked at again when they change.
    /// Without a `resolv.conf` the server is the one on this machine, as with the C library.
    ///
    /// # Errors
    ///
    /// What the system says of a file that is there and cannot be read; the error names it.
    pub fn system() -> io::Result<DnsConfig> {
        let mut config = DnsConfig::from_file("/etc/resolv.conf")?;
        config.hosts_file("/etc/hosts");
        Ok(config)
    }

    /// From a file in the format of `resolv.conf`, which is looked at again when it changes: then its servers, search
    /// list and `ndots` are taken anew; its other options hold as they were. No hosts file.
    ///
    /// # Errors
    ///
    /// As [`system`](DnsConfig::system).
    pub fn from_file(path: impl AsRef<Path>) -> io::Result<DnsConfig> {
        let path = path.as_ref();
        let text = read(path)?.unwrap_or_default();
        let mut config = DnsConfig::from_text(&text);
        config.resolv_conf = Some(path.to_owned());
        Ok(config)
    }

    /// The lines of `resolv.conf` that were not understood, the first few of them.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The name servers, in the order in which they are asked.
    #[must_use]
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// The domains that are appended to short names.
    #[must_use]
    pub fn search_list(&self) -> Vec<String> {
        self.search.iter().map(ToString::to_string).collect()
    }

    /// The domains that are appended to short names, in this order. None at first.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is no domain, by name.
    pub fn search<'a>(
        &mut self,
        domains: impl IntoIterator<Item = &'a str>,
    ) -> io::Result<&mut Self> {
        let domains = domains.into_iter().map(|domain| {
            Name::of_domain(domain).map_err(|why| {
                let text = format!("the search domain {domain:?} is wrong: {why}");
                io::Error::new(io::ErrorKind::InvalidInput, text)
            })
        });
        self.search = domains.collect::<io::Result<_>>()?;
        Ok(self)
    }

    /// A name with fewer dots is first looked up below the search domains. 1 at first.
    pub fn ndots(&mut self, dots: usize) -> &mut Self {
        self.ndots = dots;
        self
    }

    /// How long a server may take to answer one query, before the next is asked. 5 s at first; at least 1 ms.
    pub fn timeout(&mut self, limit: Duration) -> &mut Self {
        self.timeout = limit.max(Duration::from_millis(1));
        self
    }

    /// How often the list of servers is gone through. 2 at first; at least 1.
    pub fn attempts(&mut self, rounds: u32) -> &mut Self {
        self.attempts = rounds.max(1);
        self
    }

    /// Has each lookup begin with another server. Off at first.
    pub fn rotate(&mut self, on: bool) -> &mut Self {
        self.rotate = on;
        self
    }

    /// Asks over TCP from the start. Off at first.
    pub fn use_tcp(&mut self, on: bool) -> &mut Self {
        self.use_tcp = on;
        self
    }

    /// Gives the letters of each question random case, which an answer has to repeat: 0x20, one bit more for each
    /// letter that somebody who sends false answers has to guess. On at first. A server that does not keep the case is
    /// found out over TCP, where nobody can guess, and is then believed without.
    pub fn mixed_case(&mut self, on: bool) -> &mut Self {
        self.mixed_case = on;
        self
    }

    /// Which addresses are looked up. Both families at first.
    pub fn family(&mut self, family: Family) -> &mut Self {
        self.family = family;
        self
    }

    /// How long a lookup may take in all, if the call does not say. 30 s at first; `Duration::MAX` is no limit.
    pub fn deadline(&mut self, limit: Duration) -> &mut Self {
        self.deadline = limit;
        self
    }

    /// How long the answer of the second family is waited for when the first has given addresses (RFC 8305). 50 ms at
    /// first. What comes later goes to the cache alone.
    pub fn resolution_delay(&mut self, limit: Duration) -> &mut Self {
        self.resolution_delay = limit;
        self
    }

    /// Most names in the cache; 4,096 at first. 0 turns it off. A name takes 0.2 to 2 KiB.
    pub fn cache_entries(&mut self, names: usize) -> &mut Self {
        self.cache_entries = names;
        self
    }

    /// Bounds of how long an answer with addresses is kept, whatever its time to live says. 0 and 1 day at first.
    /// An answer whose time is 0 is not kept.
    ///
    /// # Panics
    ///
    /// If `least` is more than `most`.
    pub fn ttl(&mut self, least: Duration, most: Duration) -> &mut Self {
        assert!(least <= most, "ttl: {least:?} is more than {most:?}");
        (self.min_ttl, self.max_ttl) = (least, most);
        self
    }

    /// How long it may be kept that a name or its addresses do not exist. The zone says so in its SOA record
    /// (RFC 2308); this is the most. 15 min at first.
    pub fn max_negative_ttl(&mut self, most: Duration) -> &mut Self {
        self.max_negative_ttl = most;
        self
    }

    /// How long a failure of all servers is kept, so that a name that cannot be looked up is not asked for again and
    /// again (RFC 9520). 1 s at first.
    pub fn failure_ttl(&mut self, time: Duration) -> &mut Self {
        self.failure_ttl = time;
        self
    }

    /// Most lookups that wait at a time; more are refused. 4,096 at first; at least 1.
    pub fn max_lookups(&mut self, lookups: usize) -> &mut Self {
        self.max_lookups = lookups.max(1);
        self
    }

    /// Most names that servers are asked for at a time; others wait in a queue. Each has two sockets at most. 128 at
    /// first; at least 1.
    pub fn max_in_flight(&mut self, names: usize) -> &mut Self {
        self.max_in_flight = names.max(1);
        self
    }

    /// A hosts file, which comes before all servers. It is looked at again when it changes. None at first. It need
    /// not exist.
    pub fn hosts_file(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.hosts = Some(path.into());
        self
    }
}

/// A file's text; `None` if there is no such file. What is no text in it is replaced.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("cannot read {}: {error}", path.display()),
        )
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(error)),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(named)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(named(io::Error::other("it is longer than 16 MiB")));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
