//! The same interpreter as `harness.py`, on slabloop. Words mean there what they mean here.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::unix::pipe;
use serde_json::Value;
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::{Accepted, AnyId, Context, Dispatcher, Id, Reactor, SocketOptions};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::util::{DEADLINE, pattern, turn_for};
use crate::{Outcome, Wire, text_of};

const PASS: Duration = Duration::from_millis(2);

/// The notation that both sides write bytes in.
fn quote(data: &[u8]) -> String {
    if data.len() > 80 {
        return format!("{} bytes", data.len());
    }
    let mut text = String::from("'");
    for &byte in data {
        match byte {
            b'\'' | b'\\' => text += &format!("\\x{byte:02x}"),
            32..127 => text.push(byte as char),
            _ => text += &format!("\\x{byte:02x}"),
        }
    }
    text + "'"
}

/// JSON has no bytes: each character is one.
fn bytes_of(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("the scenario has a text here");
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).expect("one byte a character"))
        .collect()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("the scenario has a number here")).expect("a small one")
}

fn name_of(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "ECONNREFUSED".into(),
        io::ErrorKind::ConnectionReset => "ECONNRESET".into(),
        io::ErrorKind::BrokenPipe => "EPIPE".into(),
        io::ErrorKind::NotConnected => "ENOTCONN".into(),
        io::ErrorKind::NotFound => "ENOENT".into(),
        io::ErrorKind::WouldBlock => "EAGAIN".into(),
        _ => error.to_string(),
    }
}

fn terminator_of(value: &Value) -> Terminator {
    match value {
        Value::Null => Terminator::None,
        Value::String(_) => Terminator::Bytes(bytes_of(value)),
        length => Terminator::Length(number(length)),
    }
}

#[derive(Clone, Copy)]
enum Member {
    Plain(Id<Plain>),
    Chat(Id<Framed<Gathering>>),
    Pieces(Id<Framed<Pieces>>),
}

impl Member {
    fn id(self) -> AnyId {
        match self {
            Member::Plain(id) => id.any(),
            Member::Chat(id) => id.any(),
            Member::Pieces(id) => id.any(),
        }
    }
}

/// What the dispatchers of one scenario share with each other and with its driver.
#[derive(Default)]
struct Shared {
    scenario: Value,
    trace: Vec<String>,
    members: BTreeMap<String, Member>,
    peers: BTreeMap<String, Peer>,
    accepted: usize,
}

type Common = Rc<RefCell<Shared>>;

/// A plain socket or the end of a pipe, not in the loop: what it is told to send and take is pumped
/// between two turns.
struct Peer {
    socket: Option<End>,
    unsent: Vec<u8>,
    got: Vec<u8>,
    reading: bool,
    end: Option<String>,
}

enum End {
    Socket(Socket),
    PipeReader(pipe::Receiver),
    PipeWriter(pipe::Sender),
}

impl End {
    fn socket(&self) -> &Socket {
        match self {
            End::Socket(socket) => socket,
            End::PipeReader(_) | End::PipeWriter(_) => panic!("this step is for sockets"),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            End::Socket(socket) => socket.write(bytes),
            End::PipeWriter(pipe) => pipe.write(bytes),
            End::PipeReader(_) => panic!("this end is for reading"),
        }
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            End::Socket(socket) => socket.read(buffer),
            End::PipeReader(pipe) => pipe.read(buffer),
            End::PipeWriter(_) => panic!("this end is for writing"),
        }
    }
}

impl Peer {
    fn new(socket: Socket) -> Peer {
        socket.set_nonblocking(true).expect("a socket");
        // Means nothing on a Unix socket.
        let _ = socket.set_tcp_nodelay(true);
        Peer::at(End::Socket(socket))
    }

    /// `mio` makes both ends of a pipe non-blocking.
    fn at(end: End) -> Peer {
        Peer {
            socket: Some(end),
            unsent: Vec::new(),
            got: Vec::new(),
            reading: false,
            end: None,
        }
    }

    fn pump(&mut self) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        while !self.unsent.is_empty() {
            match socket.send(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.unsent.clear(),
            }
        }
        let mut chunk = [0; 65536];
        while self.reading && self.end.is_none() {
            match socket.recv(&mut chunk) {
                Ok(0) => self.end = Some("eof".into()),
                Ok(count) => self.got.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    self.end = Some("reset".into());
                }
                Err(error) => self.end = Some(error.to_string()),
            }
        }
    }
}

/// What all dispatchers have: the log, and the script.
struct Script {
    who: String,
    spec: Value,
    calls: HashMap<&'static str, usize>,
    last: Vec<u8>,
    common: Common,
}

impl Script {
    fn new(who: &str, spec: &Value, common: &Common) -> Script {
        Script {
            who: who.to_owned(),
            spec: spec.clone(),
            calls: HashMap::new(),
            last: Vec::new(),
            common: Rc::clone(common),
        }
    }

    fn note(&self, text: &str) {
        let word = text.split(' ').next().unwrap_or_default();
        let quiet = self.spec["quiet"].as_array();
        if !quiet.is_some_and(|quiet| quiet.iter().any(|q| q == word)) {
            let line = format!("{} {text}", self.who);
            self.common.borrow_mut().trace.push(line);
        }
    }

    /// Runs the script of a callback, if there is one.
    fn run(
        &mut self,
        callback: &'static str,
        cx: &mut Context<'_>,
        mut framing: Option<&mut Framing>,
    ) -> Option<io::Result<()>> {
        let lines = self.spec["on"].get(callback)?.as_array()?.clone();
        let call = self.calls.entry(callback).or_default();
        let line = lines.get((*call).min(lines.len().saturating_sub(1)));
        *call += 1;
        for verb in line.and_then(Value::as_array).into_iter().flatten() {
            if let Err(error) = self.perform(verb, cx, framing.as_deref_mut()) {
                return Some(Err(error));
            }
        }
        Some(Ok(()))
    }

    fn perform(
        &mut self,
        verb: &Value,
        cx: &mut Context<'_>,
        framing: Option<&mut Framing>,
    ) -> io::Result<()> {
        let word = verb[0].as_str().expect("a verb");
        match (word, framing) {
            ("recv", _) => {
                let mut buffer = vec![0; number(&verb[1])];
                let count = cx
                    .recv(&mut buffer)
                    .inspect_err(|error| self.note(&format!("got {}", name_of(error))))?;
                buffer.truncate(count);
                self.note(&format!("got {}", quote(&buffer)));
                self.last = buffer;
            }
            ("send", _) => cx.send(&bytes_of(&verb[1]))?,
            ("send_pattern", _) => cx.send(&pattern(1, number(&verb[1])))?,
            ("echo", None) => cx.send(&self.last)?,
            ("echo", Some(framing)) => framing.push(cx, &self.last)?,
            ("close", _) => {
                self.note("close()");
                cx.close();
            }
            ("fail", _) => return Err(io::Error::other("failure")),
            ("exit", _) => cx.stop(),
            ("pause", _) => cx.pause_reading(),
            ("resume", _) => cx.resume_reading(),
            ("start_writing", _) => cx.start_writing(),
            ("stop_writing", _) => cx.stop_writing(),
            ("close_other" | "replace", _) => {
                let other = self.common.borrow().members[text_of(&verb[1])].id();
                if let Some(mut other) = cx.at(other) {
                    other.close();
                }
                if word == "replace" {
                    let (ours, theirs) = UnixStream::pair()?;
                    let spec = self.common.borrow().scenario["newcomer"].clone();
                    let theirs = Peer::new(Socket::from(theirs));
                    self.common.borrow_mut().peers.insert("pn".into(), theirs);
                    add(cx, "n1", &spec, ours, &self.common)?;
                }
            }
            ("terminator", Some(framing)) => framing.set_terminator(terminator_of(&verb[1]))?,
            ("report_terminator", Some(framing)) => {
                let text = match framing.terminator() {
                    Terminator::Bytes(bytes) => quote(&bytes),
                    Terminator::Length(length) => length.to_string(),
                    other => format!("{other:?}"),
                };
                self.note(&format!("terminator {text}"));
            }
            ("unfinished", Some(framing)) => {
                self.note(&format!("unfinished {}", quote(framing.unfinished())));
            }
            ("push", Some(framing)) => framing.push(cx, &bytes_of(&verb[1]))?,
            ("push_pattern", Some(framing)) => framing.push(cx, &pattern(1, number(&verb[1])))?,
            ("push_producer", Some(framing)) => {
                let producer = io::Cursor::new(pattern(2, number(&verb[1])));
                framing.push_producer(cx, InPieces(producer, number(&verb[2])));
            }
            ("close_when_done", Some(framing)) => framing.close_when_done(cx),
            (other, _) => panic!("no such verb: {other}"),
        }
        Ok(())
    }

    fn connected(&mut self, cx: &mut Context<'_>, framing: Option<&mut Framing>) -> io::Result<()> {
        self.note("connect");
        self.run("connect", cx, framing).unwrap_or(Ok(()))
    }

    fn failed(&mut self, cx: &mut Context<'_>, error: &io::Error) {
        self.note(&format!("error {}", name_of(error)));
        match self.run("error", cx, None) {
            Some(result) => result.expect("the script for an error does not fail"),
            None => cx.close(),
        }
    }

    fn closed(&mut self, cx: &mut Context<'_>) {
        self.note("close");
        if let Some(result) = self.run("close", cx, None) {
            result.expect("the script for a close does not fail");
        }
    }
}

/// A producer that gives so many bytes at a time.
struct InPieces(io::Cursor<Vec<u8>>, usize);

impl Read for InPieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.1.min(buffer.len());
        self.0.read(&mut buffer[..size])
    }
}

/// `dispatcher` and `dispatcher_with_send`: here every dispatcher has an outbox.
struct Plain(Script);

impl Dispatcher for Plain {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.0.connected(cx, None)
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.0.note("read");
        match self.0.run("read", cx, None) {
            Some(result) => result,
            None => self.0.perform(&serde_json::json!(["recv", 4096]), cx, None),
        }
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.0.note("eof");
        cx.close();
        Ok(())
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.0.note("write");
        self.0.run("write", cx, None).unwrap_or(Ok(()))
    }

    fn handle_priority(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.0.note("priority");
        self.0.run("priority", cx, None).unwrap_or(Ok(()))
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.0.failed(cx, &error);
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.0.closed(cx);
    }
}

/// The callbacks that both kinds of `async_chat` have.
macro_rules! chat_callbacks {
    () => {
        fn handle_connect(
            &mut self,
            cx: &mut Context<'_>,
            framing: &mut Framing,
        ) -> io::Result<()> {
            self.0.connected(cx, Some(framing))
        }

        fn handle_eof(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
            self.0.note("eof");
            framing.close_when_done(cx);
            Ok(())
        }

        fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
            self.0.failed(cx, &error);
        }

        fn handle_close(&mut self, cx: &mut Context<'_>) {
            self.0.closed(cx);
        }
    };
}

/// `async_chat` that leaves the gathering to the layer.
struct Gathering(Script);

impl Handler for Gathering {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        self.0.last = record.to_vec();
        self.0.note(&format!("found {}", quote(record)));
        self.0.run("found", cx, Some(framing)).unwrap_or(Ok(()))
    }

    chat_callbacks!();
}

/// `async_chat` that takes the pieces itself.
struct Pieces(Script);

impl Handler for Pieces {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        assert!(
            record.is_empty(),
            "who takes the pieces has no record gathered"
        );
        self.0.note("found");
        self.0.run("found", cx, Some(framing)).unwrap_or(Ok(()))
    }

    fn collect_incoming(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Framing,
        piece: &[u8],
    ) -> io::Result<()> {
        assert!(!piece.is_empty(), "no piece is empty");
        self.0.note(&format!("piece {}", quote(piece)));
        Ok(())
    }

    chat_callbacks!();
}

/// Where a dispatcher can be added: the reactor from outside, a context from inside.
trait Place {
    fn put<D: Dispatcher>(&mut self, socket: slabloop::Socket, dispatcher: D) -> io::Result<Id<D>>;
    fn reach<D: Dispatcher, R>(
        &mut self,
        id: Id<D>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
    ) -> Option<R>;
}

macro_rules! place {
    ($place:ty) => {
        impl Place for $place {
            fn put<D: Dispatcher>(
                &mut self,
                socket: slabloop::Socket,
                dispatcher: D,
            ) -> io::Result<Id<D>> {
                self.add(socket, dispatcher)
            }

            fn reach<D: Dispatcher, R>(
                &mut self,
                id: Id<D>,
                body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
            ) -> Option<R> {
                self.with(id, body)
            }
        }
    };
}

place!(Reactor);
place!(Context<'_>);

/// Enters a new member under its name and runs the script of its start.
fn enter(place: &mut impl Place, who: &str, member: Member, spec: &Value, common: &Common) {
    common.borrow_mut().members.insert(who.to_owned(), member);
    if spec["watch_priority"] == true {
        if let Member::Plain(id) = member {
            place.reach(id, |_, cx| cx.watch_priority());
        }
    }
    let _ = match member {
        Member::Plain(id) => place.reach(id, |d, cx| d.0.run("start", cx, None)),
        Member::Chat(id) => place.reach(id, |d, cx| {
            let (handler, framing) = d.parts();
            handler.0.run("start", cx, Some(framing))
        }),
        Member::Pieces(id) => place.reach(id, |d, cx| {
            let (handler, framing) = d.parts();
            handler.0.run("start", cx, Some(framing))
        }),
    };
}

fn add(
    place: &mut impl Place,
    who: &str,
    spec: &Value,
    socket: impl Into<slabloop::Socket>,
    common: &Common,
) -> io::Result<()> {
    let script = Script::new(who, spec, common);
    let socket = socket.into();
    let member = if spec["kind"] != "chat" {
        Member::Plain(place.put(socket, Plain(script))?)
    } else {
        let terminator = terminator_of(&spec["terminator"]);
        if spec["pieces"] == true {
            Member::Pieces(place.put(socket, Framed::new(terminator, Pieces(script))?)?)
        } else {
            Member::Chat(place.put(socket, Framed::new(terminator, Gathering(script))?)?)
        }
    };
    enter(place, who, member, spec, common);
    Ok(())
}

struct Listener(Common);

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let (who, spec) = {
            let mut common = self.0.borrow_mut();
            common.accepted += 1;
            let nth = common.accepted;
            let mut spec = common.scenario["server"].clone();
            if spec.is_array() {
                spec = spec[nth - 1].take();
            }
            let who = format!("s{nth}");
            common.trace.push(format!("L accepted {who}"));
            (who, spec)
        };
        if spec["refuse"] == true {
            return Ok(());
        }
        add(cx, &who, &spec, accepted, &self.0)
    }
}

/// One scenario being played.
struct World {
    reactor: Reactor,
    common: Common,
    scenario: Value,
    unix: bool,
    directory: PathBuf,
    server: Option<SockAddr>,
    plain: Option<(Socket, SockAddr)>,
    fed: u64,
}

impl World {
    fn note(&self, text: impl Into<String>) {
        self.common.borrow_mut().trace.push(text.into());
    }

    fn one_turn(&mut self) {
        turn_for(&mut self.reactor, PASS);
        self.pump();
    }

    fn pump(&mut self) {
        for peer in self.common.borrow_mut().peers.values_mut() {
            peer.pump();
        }
    }

    fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        self.pump();
        while !done(self) {
            if Instant::now() > deadline {
                return self.note(format!("!! gave up waiting for {what}"));
            }
            self.one_turn();
        }
    }

    fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..40 {
            let look = |world: &World| {
                let lines = world.common.borrow().trace.len();
                (lines, world.reactor.counters().bytes_in)
            };
            let before = look(self);
            self.one_turn();
            quiet = if before == look(self) { quiet + 1 } else { 0 };
            if quiet == 3 {
                return;
            }
        }
    }

    fn with_peer<R>(&self, name: &Value, body: impl FnOnce(&mut Peer) -> R) -> R {
        let mut common = self.common.borrow_mut();
        body(
            common
                .peers
                .get_mut(text_of(name))
                .expect("a peer of that name"),
        )
    }

    fn socket(&self) -> Socket {
        let domain = if self.unix {
            Domain::UNIX
        } else {
            Domain::IPV4
        };
        Socket::new(domain, Type::STREAM, None).expect("a socket")
    }

    fn options(small: bool) -> SocketOptions {
        let mut options = SocketOptions::new();
        if small {
            options.send_buffer(4096);
        }
        options
    }

    fn listen(&mut self) -> SockAddr {
        if let Some(address) = &self.server {
            return address.clone();
        }
        let listener = Listener(Rc::clone(&self.common));
        let small = self.scenario["server"]["small_buffers"] == true;
        let address = if self.unix {
            let path = self.directory.join("server");
            self.reactor
                .listen_unix(&path, listener)
                .expect("a fresh path");
            SockAddr::unix(&path).expect("a short path")
        } else {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let id = self
                .reactor
                .listen_with(any, &Self::options(small), listener);
            let id = id.expect("a free port");
            self.reactor.local_addr(id).expect("it listens").into()
        };
        self.server = Some(address.clone());
        address
    }

    fn connect_peer(&mut self, name: &Value) {
        let address = self.listen();
        let socket = self.socket();
        if self.scenario["small_peer"] == true {
            socket.set_recv_buffer_size(4096).expect("a socket");
        }
        socket.connect(&address).expect("it listens");
        let mut common = self.common.borrow_mut();
        common
            .peers
            .insert(text_of(name).to_owned(), Peer::new(socket));
    }

    fn start_client(&mut self, who: &str) {
        let spec = self.scenario["client"].clone();
        if self.plain.is_none() {
            let socket = self.socket();
            if spec["small_buffers"] == true {
                socket.set_recv_buffer_size(4096).expect("a socket");
            }
            let address: SockAddr = if self.unix {
                SockAddr::unix(self.directory.join("plain")).expect("a short path")
            } else {
                SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()
            };
            socket.bind(&address).expect("a free address");
            if spec["refused"] != true {
                socket.listen(16).expect("bound");
            }
            let bound = socket.local_addr().expect("bound");
            self.plain = Some((socket, bound));
        }
        let (_, address) = self.plain.as_ref().expect("made just now");
        let script = Script::new(who, &spec, &self.common);
        let options = Self::options(spec["small_buffers"] == true);
        let member = if spec["kind"] == "chat" {
            let terminator = terminator_of(&spec["terminator"]);
            let chat = Framed::new(terminator, Gathering(script)).expect("a good terminator");
            let address = address.as_socket().expect("such scenarios run on TCP");
            self.reactor
                .connect_with(address, &options, chat)
                .map(Member::Chat)
        } else if self.unix {
            let mut path = address.as_pathname().expect("bound to a path").to_owned();
            if spec["no_such_path"] == true {
                path.set_file_name("nowhere");
            }
            self.reactor
                .connect_unix(path, Plain(script))
                .map(Member::Plain)
        } else {
            let address = address.as_socket().expect("TCP");
            let client = self.reactor.connect_with(address, &options, Plain(script));
            client.map(Member::Plain)
        };
        match member {
            Ok(member) => {
                self.note(format!("{who} connect()"));
                enter(&mut self.reactor, who, member, &spec, &self.common);
            }
            Err(error) => self.note(format!("{who} connect() {}", name_of(&error))),
        }
    }

    fn act_from_outside(&mut self, who: &str, verb: &Value) {
        let Some(member) = self.common.borrow().members.get(who).copied() else {
            return;
        };
        let result = match member {
            Member::Plain(id) => self.reactor.with(id, |d, cx| d.0.perform(verb, cx, None)),
            Member::Chat(id) => self.reactor.with(id, |d, cx| {
                let (handler, framing) = d.parts();
                handler.0.perform(verb, cx, Some(framing))
            }),
            Member::Pieces(id) => self.reactor.with(id, |d, cx| {
                let (handler, framing) = d.parts();
                handler.0.perform(verb, cx, Some(framing))
            }),
        };
        match result {
            Some(Ok(())) => {}
            Some(Err(error)) => self.note(format!("{who} refused: {}", name_of(&error))),
            None => self.note(format!("{who} is gone")),
        }
    }

    fn feed(&mut self, name: &Value, bytes: &[u8], wait: bool) {
        self.fed += bytes.len() as u64;
        self.with_peer(name, |peer| {
            peer.unsent.extend_from_slice(bytes);
            peer.pump();
        });
        if wait {
            self.until_received();
        }
    }

    fn until_received(&mut self) {
        let fed = self.fed;
        self.until(&format!("{fed} bytes"), |world| {
            world.reactor.counters().bytes_in >= fed
        });
    }

    fn close_peer(&mut self, name: &Value, linger: bool) {
        self.with_peer(name, |peer| {
            let socket = peer.socket.take();
            if let (Some(socket), true) = (&socket, linger) {
                let socket = socket.socket();
                socket.set_linger(Some(Duration::ZERO)).expect("TCP");
            }
            peer.end.get_or_insert("own close".into());
        });
    }

    fn step(&mut self, step: &Value) {
        let word = step[0].as_str().expect("a step's name");
        match word {
            "connect" => {
                for name in &step.as_array().expect("a step")[1..] {
                    self.connect_peer(name);
                }
            }
            "accepted" => {
                let count = number(&step[1]);
                self.until(&format!("{count} accepted"), |world| {
                    world.common.borrow().accepted >= count
                });
            }
            "start" => self.start_client(text_of(&step[1])),
            "accept" => {
                let (listener, _) = self.plain.as_ref().expect("a plain listener");
                listener.set_nonblocking(false).expect("a socket");
                let (socket, _) = listener.accept().expect("somebody connects");
                let mut common = self.common.borrow_mut();
                common
                    .peers
                    .insert(text_of(&step[1]).to_owned(), Peer::new(socket));
            }
            "pipe" => {
                let (writer, reader) = pipe::new().expect("descriptors");
                let (who, name) = (text_of(&step[1]), text_of(&step[2]));
                let spec = self.scenario["server"].clone();
                let (added, peer) = if step[3] == "reading" {
                    let added = add(&mut self.reactor, who, &spec, reader, &self.common);
                    (added, End::PipeWriter(writer))
                } else {
                    let added = add(&mut self.reactor, who, &spec, writer, &self.common);
                    (added, End::PipeReader(reader))
                };
                added.expect("a pipe can be added");
                let mut common = self.common.borrow_mut();
                common.peers.insert(name.to_owned(), Peer::at(peer));
            }
            "send" => self.feed(&step[1], &bytes_of(&step[2]), false),
            "feed" => self.feed(&step[1], &bytes_of(&step[2]), true),
            "feed_each" => {
                for piece in step[2].as_array().expect("pieces") {
                    self.feed(&step[1], &bytes_of(piece), true);
                }
            }
            "send_pattern" => {
                self.with_peer(&step[1], |peer| peer.reading = true);
                self.feed(&step[1], &pattern(3, number(&step[2])), false);
            }
            "received" => self.until_received(),
            "urgent" => self.with_peer(&step[1], |peer| {
                let socket = peer.socket.as_ref().expect("open").socket();
                socket.send_out_of_band(&bytes_of(&step[2])).expect("TCP");
            }),
            "shut" => self.with_peer(&step[1], |peer| {
                let socket = peer.socket.as_ref().expect("open").socket();
                socket.shutdown(Shutdown::Write).expect("connected");
            }),
            "close" => self.close_peer(&step[1], false),
            "reset" => self.close_peer(&step[1], true),
            "peer_got" => {
                let (name, count) = (&step[1], number(&step[2]));
                self.with_peer(name, |peer| peer.reading = true);
                self.until(&format!("{name} to get {count}"), |world| {
                    world.with_peer(name, |peer| peer.got.len() >= count)
                });
            }
            "peer_end" => {
                let name = &step[1];
                self.with_peer(name, |peer| peer.reading = true);
                self.until(&format!("the end of {name}"), |world| {
                    world.with_peer(name, |peer| peer.end.is_some())
                });
                let end = self.with_peer(name, |peer| peer.end.clone().unwrap_or_default());
                self.note(format!("{} {end}", text_of(name)));
            }
            "until" => {
                let line = text_of(&step[1]);
                let count = step.get(2).map_or(1, number);
                self.until(line, |world| {
                    let common = world.common.borrow();
                    common.trace.iter().filter(|&noted| noted == line).count() >= count
                });
            }
            "gone" => {
                let who = text_of(&step[1]);
                let id = self.common.borrow().members[who].id();
                let deadline = Instant::now() + DEADLINE;
                while self.reactor.local_addr(id).is_ok() || self.reactor.at(id).is_some() {
                    if Instant::now() > deadline {
                        return self.note(format!("!! gave up waiting for the end of {who}"));
                    }
                    self.one_turn();
                }
            }
            "do" => {
                let verb = Value::from(&step.as_array().expect("a step")[2..]);
                self.act_from_outside(text_of(&step[1]), &verb);
            }
            "settle" => self.settle(),
            "run" => {
                let guard = self.reactor.call_later(DEADLINE, Reactor::stop);
                self.reactor.run().expect("the wait does not fail");
                self.reactor.cancel_timer(guard);
                self.note("run returned");
            }
            other => panic!("no such step: {other}"),
        }
    }
}

/// Plays a scenario; its name is used for a directory if it needs one.
pub(crate) fn play(scenario: &Value, number: usize) -> Outcome {
    let unix = scenario["family"] == "unix";
    let directory = std::env::temp_dir().join(format!("slabloop-{}-{number}", std::process::id()));
    if unix {
        std::fs::create_dir_all(&directory).expect("a directory for sockets");
    }
    let common: Common = Rc::default();
    common.borrow_mut().scenario = scenario.clone();
    let mut world = World {
        reactor: Reactor::new().expect("a poller"),
        common: Rc::clone(&common),
        scenario: scenario.clone(),
        unix,
        directory: directory.clone(),
        server: None,
        plain: None,
        fed: 0,
    };
    for (number, step) in scenario["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .enumerate()
    {
        world.note(format!("-- {number} {}", text_of(&step[0])));
        world.step(step);
    }
    let mut common = common.borrow_mut();
    let outcome = Outcome {
        trace: std::mem::take(&mut common.trace),
        wire: common
            .peers
            .iter()
            .map(|(name, peer)| {
                let wire = Wire {
                    bytes: peer.got.iter().map(|&byte| char::from(byte)).collect(),
                    end: peer.end.clone().unwrap_or("open".into()),
                };
                (name.clone(), wire)
            })
            .collect(),
    };
    drop(common);
    drop(world);
    if unix {
        let _ = std::fs::remove_dir_all(&directory);
    }
    outcome
}
