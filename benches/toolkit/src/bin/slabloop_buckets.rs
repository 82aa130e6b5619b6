//! A token bucket for each key by `kit::limits::Buckets`.

use std::io;

use slabloop::kit::limits::{Buckets, Quota};
use slabloop::{Context, Dispatcher, Reactor, TimerId};

struct Service<I> {
    buckets: Buckets<u64>,
    requests: I,
    granted: u64,
    refused: u64,
}

impl<I: Iterator<Item = u64> + 'static> Dispatcher for Service<I> {
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        for _ in 0..64 {
            let Some(key) = self.requests.next() else {
                return Ok(());
            };
            match self.buckets.take(cx.now(), key, 1) {
                Ok(()) => self.granted += 1,
                Err(_) => self.refused += 1,
            }
        }
        cx.set_timer(std::time::Duration::ZERO);
        Ok(())
    }
}

fn run(keys: usize, requests: impl Iterator<Item = u64> + 'static) -> io::Result<(u64, u64)> {
    let mut reactor = Reactor::new()?;
    let service = reactor.add_service(Service {
        buckets: Buckets::new(Quota::per_second(100), keys)?,
        requests,
        granted: 0,
        refused: 0,
    })?;
    reactor.with(service, |_, cx| cx.set_timer(std::time::Duration::ZERO));
    reactor.run()?;
    let end = reactor.with(service, |service, _| (service.granted, service.refused));
    end.ok_or_else(|| io::Error::other("the service has ended"))
}

// The measuring frame.

use std::process::ExitCode;

use slabloop_toolkit_costs::frame;

fn main() -> ExitCode {
    frame::measure(|work| run(work.shared, work.keys()).map(|(granted, refused)| granted + refused))
}
