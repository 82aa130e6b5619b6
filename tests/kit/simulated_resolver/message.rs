//! DNS messages, byte by byte: queries as they come, and answers as a server may put them, right or wrong.

use std::net::{Ipv4Addr, Ipv6Addr};

const HEADER: usize = 12;
/// A pointer to the name of the question.
const QUESTION: [u8; 2] = [0xc0, 12];
const CNAME: u16 = 5;
const SOA: u16 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    A,
    Aaaa,
}

#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) id: [u8; 2],
    /// In lower case.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Name, type and class as they came.
    pub(crate) question: Vec<u8>,
    pub(crate) has_edns: bool,
}

pub(crate) fn parse(bytes: &[u8]) -> Query {
    let (mut place, mut labels) = (HEADER, Vec::new());
    while bytes[place] != 0 {
        let end = place + 1 + usize::from(bytes[place]);
        labels.push(String::from_utf8_lossy(&bytes[place + 1..end]).to_ascii_lowercase());
        place = end;
    }
    let kind = match u16::from_be_bytes([bytes[place + 1], bytes[place + 2]]) {
        1 => Kind::A,
        28 => Kind::Aaaa,
        other => panic!("a query of type {other}"),
    };
    Query {
        id: [bytes[0], bytes[1]],
        name: labels.join("."),
        kind,
        question: bytes[HEADER..place + 5].to_vec(),
        has_edns: bytes[11] > 0,
    }
}

fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).expect("short"));
        wire.extend(label.bytes());
    }
    wire.push(0);
    wire
}

/// An answer that is being put together.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) id: [u8; 2],
    pub(crate) question: Vec<u8>,
    pub(crate) code: u8,
    pub(crate) is_cut: bool,
    answers: Vec<Vec<u8>>,
    authority: Vec<Vec<u8>>,
}

impl Reply {
    pub(crate) fn to(query: &Query) -> Reply {
        Reply {
            id: query.id,
            question: query.question.clone(),
            code: 0,
            is_cut: false,
            answers: Vec::new(),
            authority: Vec::new(),
        }
    }

    /// The address that a serial number stands for, of the question's name or of another's.
    pub(crate) fn address(&mut self, owner: Option<&str>, kind: Kind, serial: u32, ttl: u32) {
        let [_, one, two, three] = serial.to_be_bytes();
        let data = match kind {
            Kind::A => Ipv4Addr::new(10, one, two, three).octets().to_vec(),
            Kind::Aaaa => {
                let mut octets = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0).octets();
                octets[13..].copy_from_slice(&[one, two, three]);
                octets.to_vec()
            }
        };
        let rtype = if kind == Kind::A { 1 } else { 28 };
        self.answers.push(record(owner, rtype, ttl, &data));
    }

    pub(crate) fn alias(&mut self, target: &str, ttl: u32) {
        self.answers.push(record(None, CNAME, ttl, &wire(target)));
    }

    /// How long that there is nothing may be kept.
    pub(crate) fn denial(&mut self, ttl: u32) {
        let mut data = vec![0; 2 + 16];
        data.extend(ttl.to_be_bytes());
        self.authority.push(record(None, SOA, ttl, &data));
    }

    pub(crate) fn lower(&mut self) {
        self.question.make_ascii_lowercase();
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let count = |records: &[Vec<u8>]| u8::try_from(records.len()).expect("few");
        let mut bytes = self.id.to_vec();
        bytes.extend([0x81 | u8::from(self.is_cut) << 1, 0x80 | self.code]);
        bytes.extend([
            0,
            1,
            0,
            count(&self.answers),
            0,
            count(&self.authority),
            0,
            0,
        ]);
        bytes.extend(&self.question);
        bytes.extend(self.answers.iter().flatten());
        bytes.extend(self.authority.iter().flatten());
        bytes
    }
}

fn record(owner: Option<&str>, rtype: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut record = owner.map_or_else(|| QUESTION.to_vec(), wire);
    record.extend(rtype.to_be_bytes());
    record.extend([0, 1]);
    record.extend(ttl.to_be_bytes());
    record.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
    record.extend(data);
    record
}

/// The serial number that an address stands for.
pub(crate) fn serial_of(address: std::net::IpAddr) -> u32 {
    let [one, two, three] = match address {
        std::net::IpAddr::V4(address) => [1, 2, 3].map(|place| address.octets()[place]),
        std::net::IpAddr::V6(address) => [13, 14, 15].map(|place| address.octets()[place]),
    };
    u32::from_be_bytes([0, one, two, three])
}
