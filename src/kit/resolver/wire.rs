//! Messages of DNS, as far as a client for addresses needs them: one question, and what an answer tells of it. The
//! crate `domain` reads and writes them; what is made of them is here.
//!
//! What comes in is a stranger's. Nothing is kept that was not asked for: no record of another name, type or class,
//! nothing of the additional section. `domain` follows a pointer of a compressed name only if it leads to before
//! itself, and a name for no more than 255 bytes; the rest is bounded by the constants here, whatever a message says of
//! itself.
//!
//! A message that is broken anywhere up to where it is read counts as no answer, and nothing of it is taken: its
//! meaning is unknown, and the right answer may still come. A record of a type or class that is not asked for breaks
//! nothing, whatever its data.

use std::net::IpAddr;

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::message::RecordSection;
use domain::base::message_builder::PushError;
use domain::base::record::ParsedRecord;
use domain::base::{Message, MessageBuilder, ParseRecordData, Question, Ttl};
use domain::rdata::{A, Aaaa, Cname, Soa};

use super::name::{Name, Wire};
use super::random::Random;

/// Most bytes of an answer over UDP that is asked for: fits into a datagram on every path, unfragmented (DNS flag
/// day 2020).
const EDNS_BYTES: u16 = 1232;

/// Most aliases (CNAME) on the way from a name to its addresses, over all answers.
pub(super) const MOST_ALIASES: usize = 16;

/// Most addresses of one family that are kept of an answer.
const MOST_ADDRESSES: usize = 64;

/// Most records of one section that are looked at. Each may have a name of thousands of pointers.
const MOST_RECORDS: usize = 128;

const HEADER_BYTES: usize = 12;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    A,
    Aaaa,
}

impl Kind {
    fn rtype(self) -> Rtype {
        match self {
            Kind::A => Rtype::A,
            Kind::Aaaa => Rtype::AAAA,
        }
    }

    fn address(self, record: &Record<'_>) -> Option<IpAddr> {
        match self {
            Kind::A => data::<A>(record).map(|data| data.addr().into()),
            Kind::Aaaa => data::<Aaaa>(record).map(|data| data.addr().into()),
        }
    }
}

/// A question on its way.
#[derive(Debug)]
pub(super) struct Query {
    bytes: Vec<u8>,
    id: u16,
    name: Name,
    /// The name in the letters that were sent.
    spelled: Wire,
    kind: Kind,
}

impl Query {
    /// With a random id. With `mixed` the case of each letter is random as well (0x20): an answer has to repeat it.
    pub(super) fn new(
        name: &Name,
        kind: Kind,
        edns: bool,
        mixed: bool,
        random: &mut Random,
    ) -> Query {
        let [high, low, ..] = random.next().to_be_bytes();
        let id = u16::from_be_bytes([high, low]);
        let spelled = if mixed {
            name.mixed(random)
        } else {
            name.to_wire()
        };
        Query {
            // To a vector there is room.
            bytes: compose(id, &spelled, kind, edns).unwrap_or_default(),
            id,
            name: name.clone(),
            spelled,
            kind,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `reply` can be the answer to this. Looks at the header and the question alone.
    pub(super) fn check(&self, reply: &[u8]) -> Match {
        let Ok(message) = Message::from_slice(reply) else {
            return Match::Garbage;
        };
        let header = message.header();
        if header.id() != self.id {
            return Match::OtherId;
        }
        if !header.qr() || header.opcode() != Opcode::QUERY {
            return Match::Garbage;
        }
        let Ok(theirs) = message.sole_question() else {
            return check_without_question(message);
        };
        let is_ours = theirs.qtype() == self.kind.rtype()
            && theirs.qclass() == Class::IN
            && *theirs.qname() == self.spelled;
        if !is_ours {
            return Match::OtherQuestion;
        }
        // Names are equal in any case of theirs, labels' bytes are not.
        let mut labels = theirs.qname().iter().zip(self.spelled.iter());
        if labels.all(|(theirs, ours)| theirs.as_slice() == ours.as_slice()) {
            Match::Ours
        } else {
            Match::OtherCase
        }
    }

    /// What an answer that [`check`](Query::check) found to be one tells. `None` if it cannot be read.
    pub(super) fn read(&self, reply: &[u8]) -> Option<Answer> {
        let message = Message::from_slice(reply).ok()?;
        let header = message.header();
        let code = header.rcode();
        if code != Rcode::NOERROR && code != Rcode::NXDOMAIN {
            return Some(Answer::Failed(code));
        }
        let answers = message.answer().ok()?;
        let records = of_types(answers, &[Rtype::CNAME, self.kind.rtype()])?;
        let (target, mut ttl) = match aliases(&records, &self.name)? {
            Chain::To(target, ttl) => (target, ttl),
            Chain::Endless => return Some(Answer::Endless),
        };
        let addresses = addresses(&records, &target, self.kind, &mut ttl)?;
        if !addresses.is_empty() {
            return Some(Answer::Addresses { addresses, ttl });
        }
        let denied = if usize::from(message.header_counts().ancount()) > MOST_RECORDS {
            None
        } else {
            denial(answers.next_section().ok()??)?
        };
        // No longer than the aliases that lead to it.
        let denied = denied.map(|denial| denial.min(ttl));
        let is_alias = *target != self.name;
        Some(match denied {
            _ if code == Rcode::NXDOMAIN => Answer::NoSuchName { ttl: denied },
            None if is_alias => Answer::Alias { target, ttl },
            None if !header.aa() && !header.ra() => Answer::Referral,
            _ => Answer::NoAddress { ttl: denied },
        })
    }
}

/// One question, recursion desired.
fn compose(id: u16, name: &Wire, kind: Kind, edns: bool) -> Result<Vec<u8>, PushError> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push(Question::new_in(name, kind.rtype()))?;
    let mut builder = builder.additional();
    if edns {
        builder.opt(|opt| {
            opt.set_udp_payload_size(EDNS_BYTES);
            Ok(())
        })?;
    }
    Ok(builder.finish())
}

/// Some servers refuse without repeating the question.
fn check_without_question(reply: &Message<[u8]>) -> Match {
    let refuses = matches!(
        reply.header().rcode(),
        Rcode::FORMERR | Rcode::SERVFAIL | Rcode::NOTIMP | Rcode::REFUSED
    );
    let is_header_alone = reply.as_slice().len() == HEADER_BYTES;
    if refuses && is_header_alone && reply.header_counts().qdcount() == 0 {
        Match::Ours
    } else {
        Match::OtherQuestion
    }
}

/// What a datagram is to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Ours,
    /// The same question in another letter case: from a server that does not preserve it, or from an attacker who
    /// guesses.
    OtherCase,
    OtherId,
    OtherQuestion,
    Garbage,
}

/// What an answer tells. Times to live are in seconds.
#[derive(Debug)]
pub(super) enum Answer {
    Addresses {
        addresses: Vec<IpAddr>,
        ttl: u32,
    },
    /// The name stands for another, of which the answer tells nothing.
    Alias {
        target: Box<Name>,
        ttl: u32,
    },
    /// Without a time it must not be kept (RFC 2308).
    NoSuchName {
        ttl: Option<u32>,
    },
    NoAddress {
        ttl: Option<u32>,
    },
    /// The server neither knows nor asks others.
    Referral,
    /// Aliases that lead round in a circle, or on and on.
    Endless,
    Failed(Rcode),
}

/// Whether an answer over UDP was cut.
pub(super) fn is_cut(reply: &[u8]) -> bool {
    Message::from_slice(reply).is_ok_and(|message| message.header().tc())
}

type Records<'a> = RecordSection<'a, [u8]>;
type Record<'a> = ParsedRecord<'a, [u8]>;

enum Chain {
    /// Where the aliases lead, and the shortest time to live on the way.
    To(Box<Name>, u32),
    Endless,
}

/// Those of a section's first records that are of class IN and of one of these types.
fn of_types<'a>(records: Records<'a>, types: &[Rtype]) -> Option<Vec<Record<'a>>> {
    let mut wanted = Vec::new();
    for record in records.take(MOST_RECORDS) {
        let record = record.ok()?;
        if record.class() == Class::IN && types.contains(&record.rtype()) {
            wanted.push(record);
        }
    }
    Some(wanted)
}

/// `None` if the record is broken, or of another type.
fn data<'a, D: ParseRecordData<'a, [u8]>>(record: &Record<'a>) -> Option<D> {
    Some(record.to_record().ok()??.into_data())
}

/// The highest bit has no meaning, and the time is 0 then (RFC 2181).
fn seconds(ttl: Ttl) -> u32 {
    let seconds = ttl.as_secs();
    if seconds > i32::MAX.unsigned_abs() {
        0
    } else {
        seconds
    }
}

/// Where the aliases among the records lead from `name`. They may come in any order.
fn aliases(records: &[Record<'_>], name: &Name) -> Option<Chain> {
    let mut aliases: Vec<(Name, Name, u32)> = Vec::new();
    for record in records {
        if record.rtype() != Rtype::CNAME {
            continue;
        }
        if aliases.len() > MOST_ALIASES {
            return Some(Chain::Endless);
        }
        let owner = Name::of(&record.owner())?;
        let target = data::<Cname<_>>(record)?.into_cname();
        aliases.push((owner, Name::of(&target)?, seconds(record.ttl())));
    }
    let (mut target, mut ttl) = (name, u32::MAX);
    for _ in 0..=MOST_ALIASES {
        let Some(next) = aliases.iter().find(|alias| alias.0 == *target) else {
            return Some(Chain::To(Box::new(target.clone()), ttl));
        };
        target = &next.1;
        ttl = ttl.min(next.2);
    }
    Some(Chain::Endless)
}

/// The addresses of `name` among the records.
fn addresses(
    records: &[Record<'_>],
    name: &Name,
    kind: Kind,
    ttl: &mut u32,
) -> Option<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for record in records {
        if record.rtype() != kind.rtype() || !name.is(&record.owner()) {
            continue;
        }
        let address = kind.address(record)?;
        *ttl = seconds(record.ttl()).min(*ttl);
        if addresses.len() < MOST_ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Some(addresses)
}

/// How long a denial may be kept, from the zone's SOA record among the records (RFC 2308).
fn denial(records: Records<'_>) -> Option<Option<u32>> {
    let records = of_types(records, &[Rtype::SOA])?;
    let Some(record) = records.first() else {
        return Some(None);
    };
    let minimum = data::<Soa<_>>(record)?.minimum();
    Some(Some(seconds(record.ttl()).min(minimum.as_secs())))
}
