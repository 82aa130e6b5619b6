//! A name server that says what a test has it say, right or wrong, over UDP and TCP; and a client that writes down
//! outcomes.

#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;

use simple_dns::rdata::{A, AAAA, CNAME, RData, SOA};
use simple_dns::{CLASS, Name, Packet, PacketFlag, RCODE, ResourceRecord};
use slabloop::kit::resolver::{
    Addresses, DnsConfig, DnsResolver, DnsStats, Lookup, LookupError, Resolve,
};
use slabloop::testing::SimClock;
use slabloop::{Accepted, AnyId, Context, Dispatcher, Id, Reactor};

pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_AAAA: u16 = 28;

/// A query as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) raw: Vec<u8>,
    pub(crate) from: Option<SocketAddr>,
    pub(crate) over_tcp: bool,
}

impl Asked {
    /// The name in the letters in which it came.
    pub(crate) fn spelled(&self) -> String {
        Packet::parse(&self.raw).expect("a query").questions[0]
            .qname
            .to_string()
    }

    pub(crate) fn name(&self) -> String {
        self.spelled().to_ascii_lowercase()
    }

    /// Behind the name.
    pub(crate) fn kind(&self) -> u16 {
        let end = self.question_end();
        u16::from_be_bytes([self.raw[end - 4], self.raw[end - 3]])
    }

    fn question_end(&self) -> usize {
        let mut place = 12;
        while self.raw[place] != 0 {
            place += 1 + usize::from(self.raw[place]);
        }
        place + 5
    }

    pub(crate) fn is_a(&self) -> bool {
        self.kind() == TYPE_A
    }

    pub(crate) fn has_edns(&self) -> bool {
        self.raw[11] == 1
    }

    pub(crate) fn is_mixed(&self) -> bool {
        self.spelled() != self.name()
    }

    /// An answer without records.
    pub(crate) fn reply(&self, code: RCODE) -> Reply<'static> {
        let query = Packet::parse(&self.raw).expect("a query");
        let mut packet = Packet::new_reply(query.id());
        packet.set_flags(PacketFlag::RECURSION_AVAILABLE | PacketFlag::RECURSION_DESIRED);
        *packet.rcode_mut() = code;
        packet.questions = query
            .questions
            .iter()
            .map(|question| question.clone().into_owned())
            .collect();
        Reply(packet)
    }

    pub(crate) fn good(&self) -> Reply<'static> {
        self.reply(RCODE::NoError)
    }

    /// `address` if it is of the family asked for, else an answer without any.
    pub(crate) fn address(&self, address: &str) -> Vec<u8> {
        self.addresses(&[address], 300)
    }

    /// Those of `addresses` that are of the family asked for.
    pub(crate) fn addresses(&self, addresses: &[&str], ttl: u32) -> Vec<u8> {
        let mut reply = self.good();
        let name = self.spelled();
        for address in addresses {
            let address: IpAddr = address.parse().expect("an address");
            if address.is_ipv4() == self.is_a() {
                reply = reply.record(&name, ttl, address);
            }
        }
        if reply.0.answers.is_empty() {
            reply = reply.soa("test", ttl, ttl);
        }
        reply.bytes()
    }
}

#[derive(Clone)]
pub(crate) struct Reply<'a>(pub(crate) Packet<'a>);

impl Reply<'static> {
    pub(crate) fn record(mut self, name: &str, ttl: u32, address: IpAddr) -> Reply<'static> {
        let data = match address {
            IpAddr::V4(address) => RData::A(A::from(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA::from(address)),
        };
        self.0
            .answers
            .push(ResourceRecord::new(name_of(name), CLASS::IN, ttl, data));
        self
    }

    pub(crate) fn alias(mut self, name: &str, ttl: u32, target: &str) -> Reply<'static> {
        let data = RData::CNAME(CNAME(name_of(target)));
        self.0
            .answers
            .push(ResourceRecord::new(name_of(name), CLASS::IN, ttl, data));
        self
    }

    pub(crate) fn soa(mut self, zone: &str, ttl: u32, minimum: u32) -> Reply<'static> {
        let data = RData::SOA(SOA {
            mname: name_of("ns.test"),
            rname: name_of("admin.test"),
            serial: 1,
            refresh: 3600,
            retry: 600,
            expire: 86400,
            minimum,
        });
        self.0
            .name_servers
            .push(ResourceRecord::new(name_of(zone), CLASS::IN, ttl, data));
        self
    }

    /// With compressed names, as servers send them.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.build_bytes_vec_compressed().expect("a message")
    }

    /// Cut, as over UDP: without records.
    pub(crate) fn cut(mut self) -> Vec<u8> {
        self.0.answers.clear();
        self.0.set_flags(PacketFlag::TRUNCATION);
        self.bytes()
    }
}

pub(crate) fn name_of(text: &str) -> Name<'static> {
    Name::new_unchecked(text).into_owned()
}

/// In small letters, whatever was asked.
pub(crate) fn lowered(mut message: Vec<u8>) -> Vec<u8> {
    message[12..].make_ascii_lowercase();
    message
}

type Script = Rc<RefCell<dyn FnMut(&Asked) -> Vec<Vec<u8>>>>;

/// A server in the reactor under test.
#[derive(Clone)]
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Rc<RefCell<Vec<Asked>>>,
    pub(crate) ids: [AnyId; 2],
}

struct OverUdp {
    script: Script,
    asked: Rc<RefCell<Vec<Asked>>>,
}

impl Dispatcher for OverUdp {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut buffer = [0; 2048];
        let (length, from) = cx.recv_from(&mut buffer)?;
        let asked = Asked {
            raw: buffer[..length].to_vec(),
            from: Some(from),
            over_tcp: false,
        };
        self.asked.borrow_mut().push(asked.clone());
        let replies = (self.script.borrow_mut())(&asked);
        for reply in replies {
            cx.send_to(&reply, from)?;
        }
        Ok(())
    }

    fn handle_error(&mut self, _: &mut Context<'_>, _: io::Error) {}
}

struct Door {
    script: Script,
    asked: Rc<RefCell<Vec<Asked>>>,
}

impl Dispatcher for Door {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let over_tcp = OverTcp {
            script: Rc::clone(&self.script),
            asked: Rc::clone(&self.asked),
            received: Vec::new(),
        };
        cx.add(accepted, over_tcp)?;
        Ok(())
    }
}

struct OverTcp {
    script: Script,
    asked: Rc<RefCell<Vec<Asked>>>,
    received: Vec<u8>,
}

impl Dispatcher for OverTcp {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut buffer = [0; 2048];
        let length = cx.recv(&mut buffer)?;
        self.received.extend_from_slice(&buffer[..length]);
        let Some(prefix) = self.received.first_chunk::<2>() else {
            return Ok(());
        };
        let end = 2 + usize::from(u16::from_be_bytes(*prefix));
        if self.received.len() < end {
            return Ok(());
        }
        let asked = Asked {
            raw: self.received[2..end].to_vec(),
            from: cx.peer(),
            over_tcp: true,
        };
        self.received.drain(..end);
        self.asked.borrow_mut().push(asked.clone());
        let replies = (self.script.borrow_mut())(&asked);
        if replies.is_empty() {
            cx.close();
        }
        for reply in replies {
            let length = u16::try_from(reply.len()).expect("short");
            cx.send(&length.to_be_bytes())?;
            cx.send(&reply)?;
        }
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, _: io::Error) {
        cx.abort();
    }
}

impl NameServer {
    /// One that answers each query with what `script` says: any number of messages, over TCP none is the end of the
    /// connection.
    pub(crate) fn new(
        reactor: &mut Reactor,
        script: impl FnMut(&Asked) -> Vec<Vec<u8>> + 'static,
    ) -> NameServer {
        let script: Script = Rc::new(RefCell::new(script));
        let asked = Rc::default();
        // The same port for both.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
            let address = udp.local_addr().expect("bound");
            if let Ok(tcp) = TcpListener::bind(address) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("bound");
        let over_udp = OverUdp {
            script: Rc::clone(&script),
            asked: Rc::clone(&asked),
        };
        let door = Door {
            script,
            asked: Rc::clone(&asked),
        };
        let udp = reactor.add(udp, over_udp).expect("a socket").any();
        let tcp = reactor.add(tcp, door).expect("a listener").any();
        NameServer {
            address,
            asked,
            ids: [udp, tcp],
        }
    }

    pub(crate) fn config(&self) -> DnsConfig {
        DnsConfig::new([self.address])
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.borrow().len()
    }

    pub(crate) fn over_tcp(&self) -> usize {
        let asked = self.asked.borrow();
        asked.iter().filter(|asked| asked.over_tcp).count()
    }

    /// The names asked for, IPv4 alone.
    pub(crate) fn names(&self) -> Vec<String> {
        let asked = self.asked.borrow();
        let asked = asked.iter().filter(|asked| asked.is_a());
        asked.map(Asked::name).collect()
    }
}

pub(crate) type Outcome = Result<Addresses, LookupError>;

/// Looks up, and writes down what comes.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) id: Id<Asking>,
    pub(crate) outcomes: Rc<RefCell<Vec<Outcome>>>,
}

#[derive(Default)]
pub(crate) struct Asking {
    outcomes: Rc<RefCell<Vec<Outcome>>>,
}

impl Dispatcher for Asking {}

impl Client {
    pub(crate) fn new(reactor: &mut Reactor) -> Client {
        let asking = Asking::default();
        let outcomes = Rc::clone(&asking.outcomes);
        let id = reactor.add_service(asking).expect("a service");
        Client { id, outcomes }
    }

    pub(crate) fn ask(&self, reactor: &mut Reactor, resolver: &impl Resolve, name: &str) -> Lookup {
        let mut cx = reactor.at(self.id).expect("it stays");
        resolver.lookup(&mut cx, self.id, name, |asking: &mut Asking, _, outcome| {
            asking.outcomes.borrow_mut().push(outcome);
            Ok(())
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.outcomes.borrow().len()
    }

    /// The outcome of one lookup, waited for.
    #[track_caller]
    pub(crate) fn outcome(
        &self,
        reactor: &mut Reactor,
        resolver: &impl Resolve,
        name: &str,
    ) -> Outcome {
        let before = self.len();
        self.ask(reactor, resolver, name);
        super::util::turn_until(reactor, name, |_| self.len() > before);
        assert_eq!(self.len(), before + 1, "one outcome");
        self.outcomes.borrow_mut().pop().expect("just counted")
    }
}

pub(crate) fn stats(reactor: &mut Reactor, client: &Client, resolver: &DnsResolver) -> DnsStats {
    resolver.stats(&mut reactor.at(client.id).expect("it stays"))
}

/// The addresses as text, in their order.
pub(crate) fn texts(outcome: &Outcome) -> Vec<String> {
    let addresses = outcome.as_ref().expect("addresses");
    addresses.iter().map(ToString::to_string).collect()
}

pub(crate) fn counter() -> (Rc<Cell<usize>>, Rc<Cell<usize>>) {
    let count = Rc::new(Cell::new(0));
    (Rc::clone(&count), count)
}

/// A reactor with a clock of the test's, and a client in it.
pub(crate) struct Setting {
    pub(crate) reactor: Reactor,
    pub(crate) clock: SimClock,
    pub(crate) client: Client,
}

pub(crate) fn setting() -> Setting {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let client = Client::new(&mut reactor);
    Setting {
        reactor,
        clock,
        client,
    }
}

pub(crate) fn resolver(reactor: &mut Reactor, config: &DnsConfig) -> DnsResolver {
    DnsResolver::new(reactor, config.clone()).unwrap()
}
