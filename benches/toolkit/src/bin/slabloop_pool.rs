//! Requests over pooled connections by `kit::pool`.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::kit::pool::{Acquired, Lease, Pool, PoolOptions, Refused, ReusableHandler, Seat};
use slabloop::{AnyId, Cause, Context, Dispatcher, Id, Reactor};

type Connection = Framed<Line>;

#[derive(Default)]
struct Line {
    asker: Option<Id<Holder>>,
}

impl Handler for Line {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        let asker = self.asker.take();
        let asker = asker.ok_or_else(|| io::Error::other("an answer that nobody asked for"))?;
        let _ = cx.call(asker, |holder, cx| holder.answered(cx, line));
        Ok(())
    }
}

impl ReusableHandler for Line {
    fn is_reusable(&mut self, _: &mut Context<'_>, _: &mut Framing) -> bool {
        self.asker.is_none()
    }
}

struct Tally {
    pool: Id<Pool<SocketAddr, Connection>>,
    server: SocketAddr,
    left: Cell<u64>,
    answered: Cell<u64>,
    failure: RefCell<Option<io::Error>>,
}

struct Holder {
    tally: Rc<Tally>,
    line: String,
    lease: Option<Lease<SocketAddr, Connection>>,
}

impl Holder {
    fn next(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let left = self.tally.left.get();
        if left == 0 {
            cx.close();
            return Ok(());
        }
        self.tally.left.set(left - 1);
        self.line = format!("request {left}");
        let (pool, server) = (self.tally.pool, self.tally.server);
        match Pool::acquire(cx, pool, &server, cx.id(), Holder::acquired) {
            Acquired::Now(outcome) => self.acquired(cx, outcome),
            Acquired::Later(_) => Ok(()),
        }
    }

    fn acquired(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Result<Lease<SocketAddr, Connection>, Refused>,
    ) -> io::Result<()> {
        let (lease, me) = (outcome?, cx.id());
        cx.watch(lease.id());
        let asked = lease.with(cx, |connection, cx| {
            let (line, framing) = connection.parts();
            line.asker = Some(me);
            framing.push_record(cx, self.line.as_bytes())
        });
        self.lease = Some(lease);
        asked.map_err(io::Error::other)?
    }

    fn answered(&mut self, cx: &mut Context<'_>, line: &[u8]) -> io::Result<()> {
        if line != self.line.as_bytes() {
            return Err(io::Error::other("the answer is another's"));
        }
        if let Some(lease) = self.lease.take() {
            cx.unwatch(lease.id());
            lease.release(cx);
        }
        self.tally.answered.set(self.tally.answered.get() + 1);
        self.next(cx)
    }
}

impl Dispatcher for Holder {
    fn handle_gone(&mut self, _: &mut Context<'_>, _: AnyId, cause: Cause) -> io::Result<()> {
        Err(io::Error::other(format!("no answer: {cause:?}")))
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.tally.failure.borrow_mut().get_or_insert(error);
        cx.close();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        // The last one.
        if Rc::strong_count(&self.tally) == 2 {
            Pool::shut_down(cx, self.tally.pool);
        }
    }
}

fn run(
    count: u64,
    holders: usize,
    connections: usize,
    server: SocketAddr,
    probe: bool,
) -> io::Result<u64> {
    let mut reactor = Reactor::new()?;
    let mut options = PoolOptions::new();
    options.max_per_destination(connections).probe(probe);
    let pool = Pool::new(
        &options,
        |cx: &mut Context<'_>, server, seat: Seat<_, _>| {
            let connection = Framed::new(Terminator::Line, Line::default())?;
            cx.connect(*server, seat.hold(connection))
        },
    )?;
    let tally = Rc::new(Tally {
        pool: reactor.add_service(pool)?,
        server,
        left: Cell::new(count),
        answered: Cell::new(0),
        failure: RefCell::new(None),
    });
    for _ in 0..holders {
        let holder = reactor.add_service(Holder {
            tally: Rc::clone(&tally),
            line: String::new(),
            lease: None,
        })?;
        let _ = reactor.call(holder, Holder::next);
    }
    reactor.run()?;
    match tally.failure.take() {
        Some(failure) => Err(failure),
        None => Ok(tally.answered.get()),
    }
}

// The measuring frame.

use std::process::ExitCode;

use slabloop_toolkit_costs::frame;

fn main() -> ExitCode {
    frame::measure(|work| {
        run(
            work.count,
            work.holders,
            work.shared,
            work.server,
            work.probe,
        )
    })
}
