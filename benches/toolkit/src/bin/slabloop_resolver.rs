//! Names looked up by `kit::resolver`.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use slabloop::kit::resolver::{Addresses, DnsConfig, DnsResolver, Family, LookupError, Resolve};
use slabloop::{Context, Dispatcher, Reactor};

struct Tally {
    resolver: DnsResolver,
    names: u64,
    left: Cell<u64>,
    found: Cell<u64>,
    failure: RefCell<Option<io::Error>>,
}

struct Holder(Rc<Tally>);

impl Holder {
    fn next(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let left = self.0.left.get();
        if left == 0 {
            cx.close();
            return Ok(());
        }
        self.0.left.set(left - 1);
        let (me, name) = (cx.id(), format!("n{}.test", left % self.0.names));
        self.0.resolver.lookup(cx, me, &name, Holder::found);
        Ok(())
    }

    fn found(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Result<Addresses, LookupError>,
    ) -> io::Result<()> {
        if outcome?[0] != Ipv4Addr::new(192, 0, 2, 1) {
            return Err(io::Error::other("another address"));
        }
        self.0.found.set(self.0.found.get() + 1);
        self.next(cx)
    }
}

impl Dispatcher for Holder {
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.0.failure.borrow_mut().get_or_insert(error);
        cx.close();
    }
}

fn run(count: u64, holders: usize, names: u64, server: SocketAddr) -> io::Result<u64> {
    let mut reactor = Reactor::new()?;
    let mut config = DnsConfig::new([server]);
    config.family(Family::V4);
    let tally = Rc::new(Tally {
        resolver: DnsResolver::new(&mut reactor, config)?,
        names,
        left: Cell::new(count),
        found: Cell::new(0),
        failure: RefCell::new(None),
    });
    for _ in 0..holders {
        let holder = reactor.add_service(Holder(Rc::clone(&tally)))?;
        let _ = reactor.call(holder, Holder::next);
    }
    reactor.run()?;
    match tally.failure.take() {
        Some(failure) => Err(failure),
        None => Ok(tally.found.get()),
    }
}

// The measuring frame.

use std::process::ExitCode;

use slabloop_toolkit_costs::frame;

fn main() -> ExitCode {
    frame::measure(|work| run(work.count, work.holders, work.shared as u64, work.server))
}
