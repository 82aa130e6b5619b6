//! A rate for each client, in this process or over all processes that use the same Redis.
//!
//! Without `--shared-limit` it is `kit::limits::Buckets`: each process has buckets of its own. With it the buckets are in
//! Redis, where one script takes a token in one round trip. The caller waits for the answer in bounded time; while
//! Redis does not answer, the process decides by buckets of its own. `docs/shared-rate-limit.md` describes it.
//!
//! | what | where |
//! |---|---|
//! | the command line | `flags.rs` |
//! | what is asked, and what the answer means | `script.rs`, `take.lua` |
//! | who waits for an answer, and until when | `waiting.rs` |
//! | who was refused lately, and need not be asked for | `refusals.rs` |
//! | Redis is asked, or not while it does not answer | `shared.rs` |

#![allow(dead_code, reason = "each example uses a part")]

mod counts;
mod flags;
#[path = "../redis/mod.rs"]
mod redis;
mod refusals;
mod script;
mod shared;
mod waiting;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(crate) use slabloop::kit::limits::Exhausted;
use slabloop::kit::limits::{Buckets, Prefix, PrefixLengths, Quota};
use slabloop::{Context, Dispatcher, Id};

pub(crate) use counts::Counts;
#[allow(unused_imports, reason = "each example uses a part")]
pub(crate) use flags::RateFlags;

use super::common;
use shared::Shared;
use waiting::Then;

/// Clients whose rates are known at once in this process.
const MOST_CLIENTS: usize = 100_000;

/// Whether a client may go on; if not, when.
pub(crate) type Verdict = Result<(), Exhausted>;

/// A limit that is asked for each request, or for each connection. Clones are the same limit.
#[derive(Clone)]
pub(crate) struct RateLimit(Rc<Limit>);

struct Limit {
    own: RefCell<Buckets<Prefix>>,
    counts: Cell<Counts>,
    shared: Option<Shared>,
}

impl RateLimit {
    /// Takes a token for a client. With `None` it is not known yet: `then` is called once, as a callback of `holder`, in
    /// bounded time and never before this has returned; not if the holder has ended.
    pub(crate) fn take<H: Dispatcher>(
        &self,
        cx: &mut Context<'_>,
        client: IpAddr,
        holder: Id<H>,
        then: impl FnOnce(&mut H, &mut Context<'_>, Verdict) -> io::Result<()> + 'static,
    ) -> Option<Verdict> {
        let client = Prefix::of(client, PrefixLengths::default());
        if self.0.shared.is_none() {
            return Some(self.0.decide(cx.now(), client));
        }
        let then: Then = Box::new(move |cx, verdict| {
            // A client that has disconnected needs no answer.
            let _ = cx.call(holder, |holder, cx| then(holder, cx, verdict));
        });
        shared::take(&self.0, cx, client, then)
    }

    /// What was decided, and by whom.
    pub(crate) fn counts(&self) -> Counts {
        self.0.counts.get()
    }
}

impl Limit {
    /// By the buckets of this process.
    fn decide(&self, now: Instant, client: Prefix) -> Verdict {
        let verdict = self.own.borrow_mut().take(now, client, 1);
        self.count(|counts| counts.own(verdict.is_ok()));
        verdict
    }

    fn count(&self, note: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        note(&mut counts);
        self.counts.set(counts);
    }
}

/// What `Retry-After` says: whole seconds, and not fewer than it takes.
pub(crate) fn whole_seconds(wait: Duration) -> Duration {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Duration::from_secs(seconds.max(1))
}

/// A limit as [`RateFlags`] describe it.
fn limit_of(quota: Quota, shared: Option<Shared>) -> io::Result<RateLimit> {
    Ok(RateLimit(Rc::new(Limit {
        own: RefCell::new(Buckets::new(quota, MOST_CLIENTS)?),
        counts: Cell::new(Counts::default()),
        shared,
    })))
}
