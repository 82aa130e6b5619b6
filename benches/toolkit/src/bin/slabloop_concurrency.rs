//! A limit on what is done at once by `kit::limits::Concurrency`.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use slabloop::kit::limits::{Concurrency, Shed, Slot};
use slabloop::{Context, Dispatcher, Reactor};

#[derive(Default)]
struct Tally {
    left: Cell<u64>,
    done: Cell<u64>,
    failure: RefCell<Option<io::Error>>,
}

struct Holder {
    limit: Concurrency,
    tally: Rc<Tally>,
    slot: Option<Slot>,
}

impl Holder {
    fn next(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.tally.left.get() {
            0 => cx.close(),
            left => {
                self.tally.left.set(left - 1);
                self.limit.acquire(cx, cx.id(), Holder::granted);
            }
        }
        Ok(())
    }

    fn granted(&mut self, cx: &mut Context<'_>, slot: Result<Slot, Shed>) -> io::Result<()> {
        self.slot = Some(slot?);
        let me = cx.id();
        cx.defer(move |reactor| {
            let _ = reactor.call(me, Holder::worked);
        });
        Ok(())
    }

    fn worked(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.slot = None;
        self.tally.done.set(self.tally.done.get() + 1);
        self.next(cx)
    }
}

impl Dispatcher for Holder {
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.tally.failure.borrow_mut().get_or_insert(error);
        cx.close();
    }
}

fn run(count: u64, holders: usize, slots: usize) -> io::Result<u64> {
    let mut reactor = Reactor::new()?;
    let limit = Concurrency::builder()
        .limit(slots)
        .queue(holders)
        .deadline(Duration::from_secs(5))
        .build(&mut reactor)?;
    let tally = Rc::new(Tally::default());
    tally.left.set(count);
    for _ in 0..holders {
        let holder = reactor.add_service(Holder {
            limit: limit.clone(),
            tally: Rc::clone(&tally),
            slot: None,
        })?;
        let _ = reactor.call(holder, Holder::next);
    }
    reactor.run()?;
    match tally.failure.take() {
        Some(failure) => Err(failure),
        None => Ok(tally.done.get()),
    }
}

// The measuring frame.

use std::process::ExitCode;

use slabloop_toolkit_costs::frame;

fn main() -> ExitCode {
    frame::measure(|work| run(work.count, work.holders, work.shared))
}
