//! The hosts file: addresses of names that no server is asked for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use super::config::Family;
use super::name::Name;
use super::order;

/// Names with their addresses, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    by_name: HashMap<Box<[u8]>, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    addresses: Vec<IpAddr>,
    /// As they are handed out: made at the first lookup, because the order costs system calls.
    ordered: Option<Rc<[IpAddr]>>,
}

impl Hosts {
    /// Lines of an address and its names. What cannot be read is left out, as the C library does.
    pub(super) fn parse(text: &str) -> Hosts {
        let mut hosts = Hosts::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            for name in words.filter_map(|word| Name::of_domain(word).ok()) {
                let entry = hosts.by_name.entry(name.as_bytes().into()).or_default();
                if !entry.addresses.contains(&address) {
                    entry.addresses.push(address);
                }
            }
        }
        hosts
    }

    /// The addresses of `name` of that family; `None` if it has none here.
    pub(super) fn get(&mut self, name: &Name, family: Family) -> Option<Rc<[IpAddr]>> {
        if self.by_name.is_empty() {
            return None;
        }
        let entry = self.by_name.get_mut(name.as_bytes())?;
        let ordered = entry.ordered.get_or_insert_with(|| {
            let wanted = entry.addresses.iter().copied();
            let mut wanted: Vec<_> = wanted.filter(|address| family.takes(*address)).collect();
            order::sort(&mut wanted);
            wanted.into()
        });
        (!ordered.is_empty()).then(|| Rc::clone(ordered))
    }
}
