//! The format of `resolv.conf`(5).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use super::super::name::Name;
use super::{DnsConfig, Family};

/// The port of name servers.
const DNS_PORT: u16 = 53;

/// Most name servers and search domains that are taken from a file; further lines are ignored.
const MOST_SERVERS: usize = 8;
const MOST_DOMAINS: usize = 16;

impl DnsConfig {
    /// Reads text in the format of `resolv.conf`: `nameserver`, `search`, `domain`, and of `options` `ndots`,
    /// `timeout`, `attempts`, `rotate`, `use-vc` and `no-aaaa`. Everything else is [`ignored`](DnsConfig::ignored),
    /// as the C library does. Without a search list the domain of this machine's name is used, without a server the
    /// local host.
    #[must_use]
    pub fn from_text(text: &str) -> DnsConfig {
        DnsConfig::on_machine(own_name().as_deref(), text)
    }

    /// The same on a machine with another name.
    fn on_machine(machine: Option<&str>, text: &str) -> DnsConfig {
        let mut config = DnsConfig::new([]);
        let mut has_search = false;
        for line in text.lines() {
            let line = line.trim();
            let mut words = line.split_ascii_whitespace();
            let understood = match words.next() {
                None => true,
                Some(word) if word.starts_with(['#', ';']) => true,
                Some("nameserver") => config.add_server(words.next()),
                Some("search" | "domain") => {
                    has_search = true;
                    config.set_search(words)
                }
                Some("options") => {
                    // All of them, also after one that is not understood.
                    let unknown = words.filter(|word| !config.set_option(word)).count();
                    unknown == 0
                }
                Some(_) => false,
            };
            if !understood && config.ignored.len() < MOST_DOMAINS {
                config.ignored.push(line.to_owned());
            }
        }
        if config.servers.is_empty() {
            config.servers.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
        }
        if !has_search {
            config.search.extend(machine.and_then(domain_of));
        }
        config
    }

    /// Takes what a changed `resolv.conf` says of the network. All else may be the program's choice by now.
    pub(in super::super) fn update(&mut self, text: &str) {
        let new = DnsConfig::from_text(text);
        self.servers = new.servers;
        self.search = new.search;
        self.ndots = new.ndots;
    }

    fn add_server(&mut self, word: Option<&str>) -> bool {
        let Some(server) = word.and_then(server_address) else {
            return false;
        };
        let has_room = self.servers.len() < MOST_SERVERS;
        if has_room && !self.servers.contains(&server) {
            self.servers.push(server);
        }
        has_room
    }

    /// The last such line counts.
    fn set_search<'a>(&mut self, words: impl Iterator<Item = &'a str>) -> bool {
        self.search.clear();
        let mut good = true;
        for word in words {
            // The root: names are looked up as they are.
            if word == "." {
                continue;
            }
            match Name::of_domain(word) {
                Ok(domain) if self.search.len() < MOST_DOMAINS => self.search.push(domain),
                _ => good = false,
            }
        }
        good
    }

    fn set_option(&mut self, word: &str) -> bool {
        let (option, value) = word.split_once(':').unwrap_or((word, ""));
        let number = value.parse::<u32>();
        // The bounds are the C library's.
        match (option, number) {
            ("ndots", Ok(number)) => self.ndots = number.min(15) as usize,
            ("timeout", Ok(number)) => {
                self.timeout = Duration::from_secs(u64::from(number.clamp(1, 30)));
            }
            ("attempts", Ok(number)) => self.attempts = number.clamp(1, 5),
            ("rotate", _) => self.rotate = true,
            ("use-vc", _) => self.use_tcp = true,
            ("no-aaaa", _) => self.family = Family::V4,
            // What is done anyway, or makes no difference here.
            (
                "edns0" | "single-request" | "single-request-reopen" | "trust-ad" | "no-reload",
                _,
            ) => {}
            _ => return false,
        }
        true
    }
}

/// An address as `resolv.conf` has it: an IPv6 one may name its interface, by name or by number.
fn server_address(word: &str) -> Option<SocketAddr> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some((address, DNS_PORT).into());
    }
    let (address, interface) = word.split_once('%')?;
    let address = address.parse().ok()?;
    let scope = match interface.parse() {
        Ok(number) => number,
        Err(_) => interface_index(interface)?,
    };
    Some(SocketAddrV6::new(address, DNS_PORT, 0, scope).into())
}

fn interface_index(name: &str) -> Option<u32> {
    if name.contains('/') || name.starts_with('.') {
        return None;
    }
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?;
    text.trim().parse().ok()
}

/// This machine's name.
fn own_name() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/hostname").ok()
}

/// What follows the first dot of a machine's name.
fn domain_of(machine: &str) -> Option<Name> {
    let (_, domain) = machine.trim().split_once('.')?;
    Name::of_domain(domain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search_list(machine: &str, text: &str) -> Vec<String> {
        DnsConfig::on_machine(Some(machine), text).search_list()
    }

    #[test]
    fn without_a_search_list_it_is_the_domain_of_the_machine() {
        assert_eq!(search_list("box.one.test\n", ""), ["one.test"]);
        assert_eq!(search_list("box.one.test", "domain two.test"), ["two.test"]);
        for (machine, text) in [("box", ""), ("box.", ""), ("box.one.test", "search .")] {
            assert!(search_list(machine, text).is_empty(), "{machine}, {text}");
        }
        let nameless = DnsConfig::on_machine(None, "");
        assert!(nameless.search_list().is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_machine_is_known_by_the_name_that_it_says() {
        let said = std::process::Command::new("uname").arg("-n").output();
        let said = String::from_utf8(said.unwrap().stdout).unwrap();
        assert_eq!(own_name(), Some(said));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_interface_of_a_server_is_found_by_its_name() {
        let server = |word: &str| server_address(word).map(|server| server.to_string());
        // It has this number on every machine.
        assert_eq!(server("fe80::1%lo").as_deref(), Some("[fe80::1%1]:53"));
        assert_eq!(server("fe80::1%7").as_deref(), Some("[fe80::1%7]:53"));
        // None has this name; and what is a path is no name, wherever it leads.
        for interface in ["nosuchone", "", "lo/../lo", "../net/lo"] {
            assert_eq!(server(&format!("fe80::1%{interface}")), None, "{interface}");
        }
    }
}
