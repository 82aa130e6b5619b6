//! What a message has to be to count as an answer: strange records that are none of ours, broken ones, names that lead
//! round in a circle, and more of everything than is looked at. Made byte by byte, as no library would make them.

#[path = "../util/mod.rs"]
mod util;

mod name_server;

use name_server::{Asked, Client, NameServer, stats, texts};
use simple_dns::{CLASS, Packet, PacketFlag, QCLASS};
use slabloop::Reactor;
use slabloop::kit::resolver::{DnsResolver, Failure, Family};

/// The name of the question, as a pointer.
const QUESTION: [u8; 2] = [0xc0, 12];

const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const TXT: u16 = 16;
const OPT: u16 = 41;
const UNKNOWN: u16 = 65_280;
const IN: u16 = 1;
const CHAOS: u16 = 3;

/// A message that is written record by record.
struct Message {
    bytes: Vec<u8>,
    /// Where the number of records of the section that is being written is.
    count_at: usize,
}

impl Message {
    fn answer(asked: &Asked) -> Message {
        Message {
            bytes: asked.good().bytes(),
            count_at: 6,
        }
    }

    fn authority(mut self) -> Message {
        self.count_at = 8;
        self
    }

    fn place(&self) -> u16 {
        u16::try_from(self.bytes.len()).unwrap()
    }

    fn count(&mut self, more: u16) {
        let count = &mut self.bytes[self.count_at..][..2];
        let sum = u16::from_be_bytes([count[0], count[1]]) + more;
        count.copy_from_slice(&sum.to_be_bytes());
    }

    fn record(mut self, owner: &[u8], kind: u16, class: u16, data: &[u8]) -> Message {
        self.bytes.extend_from_slice(owner);
        for word in [kind, class, 0, 60, u16::try_from(data.len()).unwrap()] {
            self.bytes.extend_from_slice(&word.to_be_bytes());
        }
        self.bytes.extend_from_slice(data);
        self.count(1);
        self
    }

    fn good(self) -> Message {
        self.record(&QUESTION, A, IN, &[192, 0, 2, 1])
    }
}

fn pointer(to: u16) -> [u8; 2] {
    (0xc000 | to).to_be_bytes()
}

/// What comes of a message: the addresses, and how many datagrams were garbage. After each the right answer follows,
/// with an address of its own.
#[track_caller]
fn taken(make: impl Fn(&Asked) -> Vec<u8> + 'static) -> (Vec<String>, u64) {
    let mut reactor = Reactor::new().unwrap();
    let client = Client::new(&mut reactor);
    let server = NameServer::new(&mut reactor, move |asked| {
        vec![make(asked), asked.address("192.0.2.99")]
    });
    let mut config = server.config();
    config.family(Family::V4);
    let dns = DnsResolver::new(&mut reactor, config).unwrap();
    let outcome = client.outcome(&mut reactor, &dns, "host.test");
    let garbage = stats(&mut reactor, &client, &dns).garbage;
    (texts(&outcome), garbage)
}

#[test]
fn records_that_were_not_asked_for_break_nothing() {
    let strange = |message: Message| {
        message
            .record(&QUESTION, UNKNOWN, IN, &[])
            .record(&QUESTION, UNKNOWN, IN, &[0xff; 300])
            .record(&QUESTION, TXT, IN, &[200, 1])
            .record(&QUESTION, SOA, IN, &[1])
            .record(&QUESTION, A, CHAOS, &[1, 2, 3])
            .record(&QUESTION, CNAME, 65_280, &[0x80])
            .record(&[0], OPT, 4096, &[])
            .record(b"\x03\x00.\xff\x00", A, IN, &[1])
    };
    let before = taken(move |asked| strange(Message::answer(asked)).good().bytes);
    assert_eq!(before, (vec!["192.0.2.1".to_owned()], 0));
    let after = taken(move |asked| strange(Message::answer(asked).good()).bytes);
    assert_eq!(after, (vec!["192.0.2.1".to_owned()], 0));
    // What follows the addresses is not looked at.
    let authority = taken(|asked| {
        let message = Message::answer(asked).good().authority();
        message.record(&pointer(0x3fff), SOA, IN, &[]).bytes
    });
    assert_eq!(authority, (vec!["192.0.2.1".to_owned()], 0));
}

/// The good record before it is not taken: what the rest of such a message is worth nobody knows.
#[test]
fn one_broken_record_makes_garbage_of_the_whole_message() {
    type Break = fn(Message) -> Message;
    let cases: [(&str, Break); 9] = [
        ("three bytes of an address", |message| {
            message.record(&QUESTION, A, IN, &[192, 0, 2])
        }),
        ("five bytes of an address", |message| {
            message.record(&QUESTION, A, IN, &[192, 0, 2, 1, 0])
        }),
        ("an alias for nothing", |message| {
            message.record(&QUESTION, CNAME, IN, &[])
        }),
        ("an alias with more behind it", |message| {
            message.record(&QUESTION, CNAME, IN, &[1, b'x', 0, 0])
        }),
        ("an alias that goes on behind its record", |message| {
            message.record(&QUESTION, CNAME, IN, &[63, b'x'])
        }),
        ("an owner that is nowhere", |message| {
            message.record(&pointer(0x3fff), UNKNOWN, IN, &[])
        }),
        ("a label of no known kind", |message| {
            message.record(&[0x40, 0], UNKNOWN, IN, &[])
        }),
        ("a record less than there should be", |mut message| {
            message.count(1);
            message
        }),
        ("a record's data cut off", |message| {
            let mut message = message.record(&QUESTION, UNKNOWN, IN, &[1; 9]);
            message.bytes.pop();
            message
        }),
    ];
    for (what, broken) in cases {
        let outcome = taken(move |asked| broken(Message::answer(asked).good()).bytes);
        assert_eq!(outcome, (vec!["192.0.2.99".to_owned()], 1), "{what}");
    }
}

#[test]
fn names_that_lead_round_in_a_circle_end_as_garbage() {
    type Owner = fn(u16) -> Vec<u8>;
    let cases: [(&str, Owner); 4] = [
        ("to itself", |place| pointer(place).to_vec()),
        ("to the next, and back", |place| {
            [pointer(place + 2), pointer(place)].concat()
        }),
        // Each round the name grows.
        ("by a label", |place| {
            [&[1, b'x'][..], &pointer(place)].concat()
        }),
        ("by a label of another name", |place| {
            // The question's first label, then the second, then what follows: the header of the record before.
            [&[3, b'a', b'b', b'c', 1, b'd'][..], &pointer(place + 4)].concat()
        }),
    ];
    for (what, owner) in cases {
        for kind in [A, CNAME, UNKNOWN] {
            let outcome = taken(move |asked| {
                let message = Message::answer(asked);
                let owner = owner(message.place());
                message.record(&owner, kind, IN, &[1, 2, 3, 4]).good().bytes
            });
            let expected = (vec!["192.0.2.99".to_owned()], 1);
            assert_eq!(outcome, expected, "{what}, {kind}");
        }
    }
    // In an alias's data as well.
    let outcome = taken(|asked| {
        let message = Message::answer(asked);
        let data_at = message.place() + 12;
        message
            .record(&QUESTION, CNAME, IN, &pointer(data_at))
            .bytes
    });
    assert_eq!(outcome, (vec!["192.0.2.99".to_owned()], 1));
}

/// As long as a message can make it: it leads to the name in the end, and so it is one.
#[test]
fn a_long_way_of_pointers_is_gone_to_its_end() {
    let outcome = taken(|asked| {
        let mut message = Message::answer(asked);
        let mut data = pointer(12).to_vec();
        let data_at = message.place() + 12;
        for step in 0..1500 {
            data.extend_from_slice(&pointer(data_at + 2 * step));
        }
        let last = data_at + 2 * 1500;
        message = message.record(&QUESTION, UNKNOWN, IN, &data);
        message.record(&pointer(last), A, IN, &[192, 0, 2, 1]).bytes
    });
    assert_eq!(outcome, (vec!["192.0.2.1".to_owned()], 0));
}

#[test]
fn no_more_than_128_records_of_a_section_are_looked_at() {
    for (others, is_found) in [(127, true), (128, false)] {
        let mut reactor = Reactor::new().unwrap();
        let client = Client::new(&mut reactor);
        let server = NameServer::new(&mut reactor, move |asked| {
            let mut message = Message::answer(asked);
            for _ in 0..others {
                message = message.record(&[0], A, IN, &[192, 0, 2, 66]);
            }
            vec![message.good().bytes]
        });
        let mut config = server.config();
        config.family(Family::V4);
        let dns = DnsResolver::new(&mut reactor, config).unwrap();
        let outcome = client.outcome(&mut reactor, &dns, "host.test");
        if is_found {
            assert_eq!(texts(&outcome), ["192.0.2.1"]);
        } else {
            assert_eq!(outcome.unwrap_err().failure(), Failure::NoAddress);
        }
    }
}

/// As another's code reads it.
#[test]
fn a_query_is_one_question_that_wants_recursion_and_up_to_1232_bytes() {
    let mut reactor = Reactor::new().unwrap();
    let client = Client::new(&mut reactor);
    let server = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let dns = DnsResolver::new(&mut reactor, server.config()).unwrap();
    client.outcome(&mut reactor, &dns, "host.test").unwrap();
    for asked in server.asked.borrow().iter() {
        let query = Packet::parse(&asked.raw).unwrap();
        assert!(query.has_flags(PacketFlag::RECURSION_DESIRED));
        assert!(!query.has_flags(PacketFlag::RESPONSE));
        assert_eq!(query.questions.len(), 1);
        let question = &query.questions[0];
        assert_eq!(asked.name(), "host.test");
        assert_eq!(question.qclass, QCLASS::CLASS(CLASS::IN));
        let records = [
            &query.answers,
            &query.name_servers,
            &query.additional_records,
        ];
        assert!(records.iter().all(|section| section.is_empty()));
        let edns = query.opt().expect("there is one");
        assert_eq!((edns.udp_packet_size, edns.version), (1232, 0));
        assert!(edns.opt_codes.is_empty());
    }
}
