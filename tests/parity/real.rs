//! The system's kernel: TCP on loopback, Unix pairs, pipes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use mio::unix::pipe;
use slabloop::testing::SimClock;
use slabloop::{Id, Reactor, Socket, SocketOptions};
use socket2::{Domain, SockRef, Type};

use super::actor::Cast;
use super::scene::Kind;
use super::world::{Input, Play, World, builder};

/// Both sides' buffers in the direction from the reactor to the peer.
const BUFFER: usize = 32 * 1024;

enum Peer {
    Tcp(TcpStream),
    Unix(UnixStream),
    Writer(pipe::Sender),
    Reader(pipe::Receiver),
    Udp(UdpSocket),
    /// Who is dialled, and has not accepted yet.
    Dialled(TcpListener),
    None,
}

pub(crate) struct Real {
    peers: Vec<Peer>,
    listener: Option<SocketAddr>,
    /// Bound, and nobody listens there.
    deaf: socket2::Socket,
}

pub(crate) fn play() -> Play<Real> {
    let clock = SimClock::new();
    let deaf = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    deaf.bind(&any_port().into()).expect("a port");
    let world = Real {
        peers: Vec::new(),
        listener: None,
        deaf,
    };
    let reactor = builder(&clock).build().expect("a poller");
    Play::new(world, reactor, clock)
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A listener whose connections have small buffers for what they receive, or for what they send.
fn listener(receives: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if receives {
        socket.set_recv_buffer_size(BUFFER)?;
    } else {
        socket.set_send_buffer_size(BUFFER)?;
    }
    socket.bind(&any_port().into())?;
    socket.listen(64)?;
    Ok(socket.into())
}

/// A client with small buffers for what it receives.
fn client(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.connect(&to.into())?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

impl Real {
    fn pair(kind: Kind) -> io::Result<(Socket, Peer)> {
        Ok(match kind {
            Kind::Tcp => {
                let listener = listener(true)?;
                let ours = TcpStream::connect(listener.local_addr()?)?;
                SockRef::from(&ours).set_send_buffer_size(BUFFER)?;
                ours.set_nodelay(true)?;
                let (peer, _) = listener.accept()?;
                peer.set_nodelay(true)?;
                peer.set_nonblocking(true)?;
                (ours.into(), Peer::Tcp(peer))
            }
            Kind::Unix => {
                let (ours, peer) = UnixStream::pair()?;
                SockRef::from(&ours).set_send_buffer_size(BUFFER)?;
                peer.set_nonblocking(true)?;
                (ours.into(), Peer::Unix(peer))
            }
            Kind::PipeReader => {
                let (writer, reader) = pipe::new()?;
                writer.set_nonblocking(true)?;
                (reader.into(), Peer::Writer(writer))
            }
            Kind::PipeWriter => {
                let (writer, reader) = pipe::new()?;
                reader.set_nonblocking(true)?;
                (writer.into(), Peer::Reader(reader))
            }
            Kind::Datagram => {
                let (ours, peer) = (UdpSocket::bind(any_port())?, UdpSocket::bind(any_port())?);
                ours.connect(peer.local_addr()?)?;
                peer.connect(ours.local_addr()?)?;
                peer.set_nonblocking(true)?;
                (ours.into(), Peer::Udp(peer))
            }
            Kind::Listener | Kind::Accepted | Kind::Dialled | Kind::Refused => {
                unreachable!("no pair")
            }
        })
    }

    fn dial(&mut self, reactor: &mut Reactor, cast: &Rc<Cast>, conn: usize) -> io::Result<()> {
        let listener = listener(true)?;
        listener.set_nonblocking(true)?;
        let mut options = SocketOptions::new();
        options.send_buffer(BUFFER);
        let added = reactor.connect_with(listener.local_addr()?, &options, cast.actor(conn));
        cast.added(conn, added.map(Id::any));
        self.peers.push(Peer::Dialled(listener));
        Ok(())
    }
}

impl World for Real {
    fn open(&mut self, reactor: &mut Reactor, cast: &Rc<Cast>, conn: usize, kind: Kind) {
        match kind {
            Kind::Listener => {
                let listener = listener(false).expect("a listener");
                self.listener = Some(listener.local_addr().expect("it is bound"));
                self.peers.push(Peer::None);
                cast.add(reactor, conn, listener.into());
            }
            Kind::Accepted => {
                let client = client(self.listener.expect("a scene begins with it"));
                if client.is_ok() {
                    cast.waiting.borrow_mut().push_back(conn);
                }
                self.peers.push(client.map_or(Peer::None, Peer::Tcp));
            }
            Kind::Dialled => self.dial(reactor, cast, conn).expect("a listener"),
            Kind::Refused => {
                let address = self.deaf.local_addr().expect("it is bound");
                let address = address.as_socket().expect("IPv4");
                let added = reactor.connect(address, cast.actor(conn));
                cast.added(conn, added.map(Id::any));
                self.peers.push(Peer::None);
            }
            _ => {
                let (socket, peer) = Real::pair(kind).expect("descriptors");
                self.peers.push(peer);
                cast.add(reactor, conn, socket);
            }
        }
    }

    fn peer_sends(&mut self, conn: usize, bytes: &[u8]) -> Result<usize, String> {
        let sent = match &mut self.peers[conn] {
            Peer::Tcp(stream) => stream.write(bytes),
            Peer::Unix(stream) => stream.write(bytes),
            Peer::Writer(pipe) => pipe.write(bytes),
            // (One that was refused before is not sent.)
            Peer::Udp(socket) => Ok(socket.send(bytes).unwrap_or(0)),
            Peer::Reader(_) | Peer::Dialled(_) | Peer::None => Ok(0),
        };
        sent.map_err(|error| format!("{:?}", error.kind()))
    }

    fn peer_shuts(&mut self, conn: usize) {
        match &self.peers[conn] {
            Peer::Tcp(stream) => {
                let _ = stream.shutdown(std::net::Shutdown::Write);
            }
            Peer::Unix(stream) => {
                let _ = stream.shutdown(std::net::Shutdown::Write);
            }
            Peer::Writer(_) => self.peers[conn] = Peer::None,
            Peer::Reader(_) | Peer::Udp(_) | Peer::Dialled(_) | Peer::None => {}
        }
    }

    fn peer_closes(&mut self, conn: usize, resets: bool) {
        match &self.peers[conn] {
            Peer::Tcp(stream) => {
                if resets {
                    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
                }
                self.peers[conn] = Peer::None;
            }
            Peer::Dialled(_) => {}
            _ => self.peers[conn] = Peer::None,
        }
    }

    fn peer_reads(&mut self, conn: usize) -> Input {
        let mut buffer = [0; 64 * 1024];
        let read = match &mut self.peers[conn] {
            Peer::Tcp(stream) => stream.read(&mut buffer),
            Peer::Unix(stream) => stream.read(&mut buffer),
            Peer::Reader(pipe) => pipe.read(&mut buffer),
            Peer::Udp(socket) => {
                let received = socket.recv(&mut buffer).is_ok();
                return if received {
                    Input::Datagram
                } else {
                    Input::Nothing
                };
            }
            Peer::Writer(_) | Peer::Dialled(_) | Peer::None => return Input::Nothing,
        };
        match read {
            Ok(0) => Input::End("end".to_owned()),
            Ok(count) => Input::Bytes(buffer[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Input::Nothing,
            Err(error) => Input::End(format!("{:?}", error.kind())),
        }
    }

    fn goes_on(&mut self) {
        for peer in &mut self.peers {
            let Peer::Dialled(listener) = peer else {
                continue;
            };
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nodelay(true).expect("a socket");
                stream.set_nonblocking(true).expect("a socket");
                *peer = Peer::Tcp(stream);
            }
        }
    }
}
