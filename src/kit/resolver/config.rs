//! The configuration of a resolver: servers, search list, times and bounds; and its form in `resolv.conf`.

mod resolv_conf;

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::name::Name;

/// Longest file that is read.
const LONGEST_FILE: u64 = 16 * 1024 * 1024;

/// The address families that are queried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Both.
    #[default]
    Any,
    /// Only IPv4: AAAA records are not queried.
    V4,
    /// Only IPv6: A records are not queried.
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

/// The configuration of a [`DnsResolver`](super::DnsResolver). [`system`](DnsConfig::system) reads it from the
/// system's files; [`new`](DnsConfig::new) starts with a list of servers only.
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
    pub(super) seed: Option<u64>,
}

impl DnsConfig {
    /// These servers, no search list, no hosts file, and for the rest the defaults that each method names. Without
    /// any server each lookup that needs one fails.
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
            seed: None,
        }
    }

    /// The system's configuration: `/etc/resolv.conf` and `/etc/hosts`. The files are read again when they change.
    /// Without a `resolv.conf` the name server is the local host, as with the C library.
    ///
    /// # Errors
    ///
    /// The system's error, with the name of the file, if a file exists and cannot be read.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use slabloop::kit::resolver::{DnsConfig, DnsResolver};
    /// use slabloop::Reactor;
    /// use std::time::Duration;
    ///
    /// let mut config = DnsConfig::system()?;
    /// config.deadline(Duration::from_secs(5));
    /// let mut reactor = Reactor::new()?;
    /// let resolver = DnsResolver::new(&mut reactor, config)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn system() -> io::Result<DnsConfig> {
        let mut config = DnsConfig::from_file("/etc/resolv.conf")?;
        config.hosts_file("/etc/hosts");
        Ok(config)
    }

    /// Reads a file in the format of `resolv.conf`. The file is read again when it changes: then its servers, search
    /// list and `ndots` are applied, and its other options remain as they were. There is no hosts file.
    ///
    /// # Errors
    ///
    /// Those of [`system`](DnsConfig::system).
    pub fn from_file(path: impl AsRef<Path>) -> io::Result<DnsConfig> {
        let path = path.as_ref();
        let text = read(path)?.unwrap_or_default();
        let mut config = DnsConfig::from_text(&text);
        config.resolv_conf = Some(path.to_owned());
        Ok(config)
    }

    /// The lines of `resolv.conf` that were not understood; only the first few of them.
    ///
    /// ```
    /// use slabloop::kit::resolver::DnsConfig;
    ///
    /// let config = DnsConfig::from_text("nameserver 192.0.2.53\nsortlist 192.0.2.0\n");
    /// assert_eq!(config.servers(), ["192.0.2.53:53".parse().unwrap()]);
    /// for line in config.ignored() {
    ///     eprintln!("resolv.conf: ignored: {line}");
    /// }
    /// ```
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The name servers, in the order in which they are queried.
    #[must_use]
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// The domains that are appended to short names.
    #[must_use]
    pub fn search_list(&self) -> Vec<String> {
        self.search.iter().map(ToString::to_string).collect()
    }

    /// The domains that are appended to short names, in this order. Default: none.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, with the text, if one of them is not a domain.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::kit::resolver::DnsConfig;
    ///
    /// let mut config = DnsConfig::new(["192.0.2.53:53".parse().unwrap()]);
    /// config.search(["example.org", "example.net"])?.ndots(2);
    /// assert_eq!(config.search_list(), ["example.org", "example.net"]);
    /// assert!(config.search(["not a domain"]).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn search<'a>(
        &mut self,
        domains: impl IntoIterator<Item = &'a str>,
    ) -> io::Result<&mut Self> {
        let domains = domains.into_iter().map(|domain| {
            Name::of_domain(domain).map_err(|why| {
                let text = format!("the search domain {domain:?} is invalid: {why}");
                io::Error::new(io::ErrorKind::InvalidInput, text)
            })
        });
        self.search = domains.collect::<io::Result<_>>()?;
        Ok(self)
    }

    /// A name with fewer dots than this is first looked up below the search domains. Default: 1.
    pub fn ndots(&mut self, dots: usize) -> &mut Self {
        self.ndots = dots;
        self
    }

    /// The timeout of one query to one server; after it the next server is queried. Default: 5 s; at least 1 ms.
    pub fn timeout(&mut self, limit: Duration) -> &mut Self {
        self.timeout = limit.max(Duration::from_millis(1));
        self
    }

    /// How many times the list of servers is tried. Default: 2; at least 1.
    pub fn attempts(&mut self, rounds: u32) -> &mut Self {
        self.attempts = rounds.max(1);
        self
    }

    /// Whether each lookup starts with the next server of the list. Default: off.
    pub fn rotate(&mut self, on: bool) -> &mut Self {
        self.rotate = on;
        self
    }

    /// Whether all queries use TCP. Default: off.
    pub fn use_tcp(&mut self, on: bool) -> &mut Self {
        self.use_tcp = on;
        self
    }

    /// Whether the letters of each question get a random case, which the answer has to repeat ("0x20"). For each
    /// letter, an attacker who sends false answers has to guess one more bit. Default: on. If a server does not
    /// preserve the case, a query over TCP, which cannot be guessed, confirms that; the check is then off for this
    /// server.
    pub fn mixed_case(&mut self, on: bool) -> &mut Self {
        self.mixed_case = on;
        self
    }

    /// Which address families are looked up. Default: both.
    ///
    /// ```
    /// use slabloop::kit::resolver::{DnsConfig, Family};
    ///
    /// let mut config = DnsConfig::new(["192.0.2.53:53".parse().unwrap()]);
    /// config.family(Family::V4); // this machine has no IPv6
    /// ```
    pub fn family(&mut self, family: Family) -> &mut Self {
        self.family = family;
        self
    }

    /// The deadline of a whole lookup, if the call has none of its own. Default: 30 s; `Duration::MAX` means no
    /// limit.
    pub fn deadline(&mut self, limit: Duration) -> &mut Self {
        self.deadline = limit;
        self
    }

    /// How long to wait for the answer of the second family when the first has addresses (RFC 8305). Default: 50 ms.
    /// A later answer is only stored in the cache.
    pub fn resolution_delay(&mut self, limit: Duration) -> &mut Self {
        self.resolution_delay = limit;
        self
    }

    /// The most names in the cache. Default: 4,096; 0 turns the cache off. A name takes 0.2 to 2 KiB.
    pub fn cache_entries(&mut self, names: usize) -> &mut Self {
        self.cache_entries = names;
        self
    }

    /// Bounds for how long an answer with addresses is cached, whatever its time to live is. Default: 0 and 1 day. An
    /// answer with a time to live of 0 is not cached.
    ///
    /// # Panics
    ///
    /// If `least` is more than `most`.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::kit::resolver::DnsConfig;
    /// use std::time::Duration;
    ///
    /// let mut config = DnsConfig::new(["192.0.2.53:53".parse().unwrap()]);
    /// config
    ///     .ttl(Duration::from_secs(5), Duration::from_secs(300))
    ///     .max_negative_ttl(Duration::from_secs(30));
    /// ```
    pub fn ttl(&mut self, least: Duration, most: Duration) -> &mut Self {
        assert!(least <= most, "ttl: {least:?} is more than {most:?}");
        (self.min_ttl, self.max_ttl) = (least, most);
        self
    }

    /// How long to cache that a name or its addresses do not exist. The time is in the SOA record of the zone (RFC
    /// 2308); this is the upper bound. Default: 15 min.
    pub fn max_negative_ttl(&mut self, most: Duration) -> &mut Self {
        self.max_negative_ttl = most;
        self
    }

    /// How long to cache a failure of all servers, so that a name that cannot be looked up is not queried again and
    /// again (RFC 9520). Default: 1 s.
    pub fn failure_ttl(&mut self, time: Duration) -> &mut Self {
        self.failure_ttl = time;
        self
    }

    /// The most lookups that wait at a time; further ones are refused. Default: 4,096; at least 1.
    pub fn max_lookups(&mut self, lookups: usize) -> &mut Self {
        self.max_lookups = lookups.max(1);
        self
    }

    /// The most names that are queried at a time; others wait in a queue. Each uses up to two sockets. Default: 128;
    /// at least 1.
    pub fn max_in_flight(&mut self, names: usize) -> &mut Self {
        self.max_in_flight = names.max(1);
        self
    }

    /// A hosts file, which is used before all servers. It is read again when it changes, and need not exist. Default:
    /// none.
    pub fn hosts_file(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.hosts = Some(path.into());
        self
    }

    /// Has ids and letters follow from a seed, for a run that can be repeated. An attacker could guess them.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn seed(&mut self, seed: u64) -> &mut Self {
        self.seed = Some(seed);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with nothing but holes, so many bytes long.
    fn file_of(length: u64) -> PathBuf {
        let name = format!("slabloop-read-{}-{length}", std::process::id());
        let path = std::env::temp_dir().join(name);
        File::create(&path).unwrap().set_len(length).unwrap();
        path
    }

    #[test]
    fn a_file_is_read_up_to_its_end_and_none_of_more_than_16_mib() {
        let length = |path: &Path| read(path).map(|text| text.map(|text| text.len()));
        let [whole, too_long] = [16 << 20, (16 << 20) + 1].map(file_of);
        assert_eq!(length(&whole).unwrap(), Some(16 << 20));
        let error = length(&too_long).unwrap_err().to_string();
        assert!(error.ends_with("it is longer than 16 MiB"), "{error}");
        // That there is no file is no error; anything else is.
        std::fs::remove_file(&too_long).unwrap();
        assert_eq!(length(&too_long).unwrap(), None);
        let inside = whole.join("inside");
        let error = length(&inside).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        assert!(error.to_string().contains("inside"), "{error}");
        std::fs::remove_file(&whole).unwrap();
    }
}
