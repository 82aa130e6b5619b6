//! How dispatchers come in: sockets of all kinds, attempts, posts; and what is done from outside of all of them.

use std::io;
use std::rc::Rc;

use slabloop::testing::SimKind;
use slabloop::{AnyId, Context, Id, Reactor};

use super::subject::{Host, Leaving, Subject};
use super::{Run, running};
use crate::sim::kernel::{Kernel, address_of};

/// A way to add a dispatcher: from inside a callback, or from outside.
pub(crate) trait Adds {
    fn add_subject(&mut self, socket: slabloop::Socket, subject: Subject) -> io::Result<AnyId>;
    fn add_host(&mut self, socket: slabloop::Socket, host: Host) -> io::Result<AnyId>;
}

impl Adds for Reactor {
    fn add_subject(&mut self, socket: slabloop::Socket, subject: Subject) -> io::Result<AnyId> {
        self.add(socket, subject).map(Id::any)
    }

    fn add_host(&mut self, socket: slabloop::Socket, host: Host) -> io::Result<AnyId> {
        self.add(socket, host).map(Id::any)
    }
}

impl Adds for Context<'_> {
    fn add_subject(&mut self, socket: slabloop::Socket, subject: Subject) -> io::Result<AnyId> {
        self.add(socket, subject).map(Id::any)
    }

    fn add_host(&mut self, socket: slabloop::Socket, host: Host) -> io::Result<AnyId> {
        self.add(socket, host).map(Id::any)
    }
}

impl Run {
    /// Adds a dispatcher for an end.
    pub(crate) fn add(self: &Rc<Run>, to: &mut impl Adds, end: usize, peer: Option<usize>) {
        if let Some(peer) = peer {
            self.add_peer(peer);
        }
        let conn = self.note(end, false);
        let socket = self.net.socket(end);
        let added = match self.kind(end) {
            SimKind::Listener => to.add_host(socket, Host(Subject::new(self, conn))),
            _ => to.add_subject(socket, Subject::new(self, conn)),
        };
        self.added(conn, added);
    }

    pub(super) fn note(&self, end: usize, connecting: bool) -> usize {
        let kind = self.kind(end);
        let turn = self.turn();
        self.book.borrow_mut().add(end, kind, connecting, turn)
    }

    pub(super) fn added(&self, conn: usize, added: io::Result<AnyId>) {
        if let Ok(id) = added {
            self.check(|book, _| book.name(conn, id));
        }
    }

    /// Adds something of a drawn kind.
    pub(crate) fn add_any(self: &Rc<Run>, to: &mut impl Adds) {
        let which = self.below(8);
        let (end, peer) = self.net.with(|kernel| match which {
            0 => kernel.pipe(true),
            1 => kernel.pipe(false),
            2 => kernel.datagram_pair(),
            3 => kernel.unix_pair(),
            _ => kernel.stream_pair(),
        });
        self.add(to, end, Some(peer));
    }

    pub(crate) fn listen(self: &Rc<Run>, to: &mut impl Adds) {
        let end = self.net.with(Kernel::listener);
        self.add(to, end, None);
    }

    /// Connects: to a peer, or to a listener of the reactor's own.
    pub(crate) fn dial(self: &Rc<Run>, cx: &mut Context<'_>) {
        let listener = {
            let book = self.book.borrow();
            let listeners = book
                .conns
                .iter()
                .filter(|conn| conn.kind == SimKind::Listener);
            let listeners: Vec<usize> = listeners.map(|conn| conn.end).collect();
            match self.below(listeners.len() + 1) {
                0 => None,
                place => Some(listeners[place - 1]),
            }
        };
        // The end that the kernel makes next is the attempt's.
        let end = self.net.with(|kernel| kernel.ends.len());
        let address = address_of(listener.unwrap_or(60_000));
        let turn = self.turn();
        let conn = self.book.borrow_mut().add(end, SimKind::Stream, true, turn);
        let dialled = cx.connect(address, Subject::new(self, conn));
        if self.net.with(|kernel| kernel.ends.len()) == end {
            // It failed before there was a socket.
            self.book.borrow_mut().conns.pop();
            return;
        }
        let heard = listener.is_some_and(|listener| {
            self.net
                .with(|kernel| kernel.is_in_backlog(listener, end + 1))
        });
        if !heard {
            self.add_peer(end + 1);
        }
        self.added(conn, dialled.map(Id::any));
    }

    /// Another thread posts.
    pub(crate) fn post(&self) {
        let handle = self.handle.borrow();
        let Some(handle) = &*handle else { return };
        let job = |reactor: &mut Reactor| {
            let Some(run) = running() else { return };
            {
                let mut book = run.book.borrow_mut();
                book.posts_run += 1;
                book.posts_in_turn += 1;
            }
            run.outside(reactor);
        };
        if handle.post(job).is_ok() {
            self.book.borrow_mut().posts += 1;
        }
    }

    /// Something is done from outside of all dispatchers.
    pub(crate) fn outside(self: &Rc<Run>, reactor: &mut Reactor) {
        if self.quiet.get() {
            return;
        }
        let Some(id) = self.somebody() else { return };
        match self.below(12) {
            0 => self.add_any(reactor),
            1 => {
                let subject: Id<Subject> = match self.typed(reactor, id) {
                    Some(subject) => subject,
                    None => return,
                };
                let conn = self.book.borrow().conn_of(id);
                let run = Rc::clone(self);
                reactor.with(subject, |subject, cx| {
                    if Some(subject.conn) != conn {
                        run.check(|_, _| Err(format!("4: with({id}) runs on another")));
                    }
                    run.book.borrow_mut().visit(subject.conn);
                    let _leaving = Leaving(Rc::clone(&run), subject.conn, true);
                    run.act(cx);
                });
            }
            _ => {
                if let Some(mut cx) = reactor.at(id) {
                    self.act(&mut cx);
                }
            }
        }
    }

    pub(super) fn typed(&self, reactor: &mut Reactor, id: AnyId) -> Option<Id<Subject>> {
        reactor.at(id)?.typed()
    }
}
