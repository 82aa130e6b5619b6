//! Load: SET, GET and INCR in turn, at a rate or as fast as answers come.

use std::io;
use std::time::{Duration, Instant};

use slabloop::{Context, Dispatcher, Id, TimerId};

use crate::common;
use crate::latency::Latencies;
use crate::redis::{Client, Gauges, Outcome, Reply};

/// The counter that every third request increments.
pub(crate) const COUNTER: &str = "slabloop:counter";

/// Values are stored under so many names.
const KEYS: u64 = 1000;

const VALUE: &str = "a value of thirty-two characters";

/// How often requests are made that are due by the rate.
const TICK: Duration = Duration::from_millis(1);

const SECOND: Duration = Duration::from_secs(1);

/// What is wanted of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Requests a second. Without it there are so many at a time as the connections can take.
    pub(crate) rate: Option<u32>,
    pub(crate) at_a_time: u64,
    pub(crate) duration: Option<Duration>,
}

pub(crate) struct Load {
    client: Id<Client>,
    plan: Plan,
    began: Instant,
    is_ending: bool,
    issued: u64,
    open: u64,
    /// Of those that were done: how many the server refused.
    errors: u64,
    increments: Increments,
    latencies: Latencies,
    of_this_second: Latencies,
    outage: Outage,
    seconds: u64,
    before: Gauges,
    tick: Option<TimerId>,
    end: Option<TimerId>,
}

/// What is known about the counter: it has grown by at least `done`, and by at most `unknown` more.
#[derive(Clone, Copy, Debug, Default)]
struct Increments {
    done: u64,
    unknown: u64,
}

/// Times in which nothing was done.
#[derive(Clone, Copy, Debug, Default)]
struct Outage {
    since: Option<Instant>,
    count: u64,
    longest: Duration,
}

impl Load {
    pub(crate) fn new(client: Id<Client>, plan: Plan, now: Instant) -> Load {
        Load {
            client,
            plan,
            began: now,
            is_ending: false,
            issued: 0,
            open: 0,
            errors: 0,
            increments: Increments::default(),
            latencies: Latencies::new(),
            of_this_second: Latencies::new(),
            outage: Outage::default(),
            seconds: 0,
            before: Gauges::default(),
            tick: None,
            end: None,
        }
    }

    pub(crate) fn begin(&mut self, cx: &mut Context<'_>) {
        self.began = cx.now();
        cx.set_interval(SECOND);
        if self.plan.rate.is_some() {
            self.tick = Some(cx.set_interval(TICK));
        }
        self.end = self.plan.duration.map(|duration| cx.set_timer(duration));
        self.issue_what_is_due(cx);
    }

    /// Makes no more requests, and waits for the answers to the others. True if there are none.
    pub(crate) fn finish(&mut self) -> bool {
        self.is_ending = true;
        self.open == 0
    }

    fn issue_what_is_due(&mut self, cx: &mut Context<'_>) {
        if self.is_ending {
            return;
        }
        match self.plan.rate {
            Some(rate) => {
                let elapsed = cx.now().saturating_duration_since(self.began).as_nanos();
                let due = elapsed * u128::from(rate) / SECOND.as_nanos();
                while u128::from(self.issued) < due {
                    self.issue(cx);
                }
            }
            None => {
                while self.open < self.plan.at_a_time {
                    self.issue(cx);
                }
            }
        }
    }

    fn issue(&mut self, cx: &mut Context<'_>) {
        let number = self.issued;
        self.issued += 1;
        self.open += 1;
        let issued_at = Instant::now();
        let key = format!("slabloop:{}", number / 3 % KEYS);
        let is_increment = number % 3 == 2;
        let deliver = move |load: &mut Load, cx: &mut Context<'_>, outcome: Outcome| {
            load.answered(cx, &outcome, issued_at, is_increment);
            Ok(())
        };
        let (client, me) = (self.client, cx.id::<Load>());
        match number % 3 {
            0 => Client::request(cx, client, me, &["SET", &key, VALUE], deliver),
            1 => Client::request(cx, client, me, &["GET", &key], deliver),
            _ => Client::request(cx, client, me, &["INCR", COUNTER], deliver),
        }
    }

    fn answered(
        &mut self,
        cx: &mut Context<'_>,
        outcome: &Outcome,
        issued_at: Instant,
        is_increment: bool,
    ) {
        self.open -= 1;
        match outcome {
            Outcome::Done(Reply::Error(text)) => {
                if self.errors == 0 {
                    common::complain(&format!("the first error of the server: {text}"));
                }
                self.errors += 1;
            }
            Outcome::Done(_) => {
                let latency = issued_at.elapsed();
                self.latencies.note(latency);
                self.of_this_second.note(latency);
                self.increments.done += u64::from(is_increment);
                self.outage.is_over(cx.now());
            }
            Outcome::NotSent(why) => self.outage.is_there(cx.now(), why),
            Outcome::Unknown(why) => {
                self.increments.unknown += u64::from(is_increment);
                self.outage.is_there(cx.now(), why);
            }
        }
        if self.is_ending {
            if self.open == 0 {
                cx.stop();
            }
        } else if self.plan.rate.is_none() {
            if let Outcome::Done(_) = outcome {
                self.issue(cx);
            } else if self.tick.is_none() {
                // Asking again at once would only be refused again.
                self.tick = Some(cx.set_timer(TICK));
            }
        }
    }

    fn report_second(&mut self, cx: &mut Context<'_>) {
        self.seconds += 1;
        let gauges = Client::gauges(cx, self.client);
        let (now, before) = (gauges.answered, self.before.answered);
        common::say(&format!(
            "second={} done={} not_sent={} unknown={} in_flight={} waiting={} {} open={} connecting={} failed={}",
            self.seconds,
            now.done - before.done,
            now.not_sent - before.not_sent,
            now.unknown - before.unknown,
            gauges.in_flight(),
            gauges.waiting,
            self.of_this_second,
            gauges.pool.open,
            gauges.pool.connecting,
            gauges.pool.failed,
        ));
        self.of_this_second = Latencies::new();
        self.before = gauges;
    }

    /// The sums.
    pub(crate) fn report(&self, cx: &mut Context<'_>) {
        let gauges = Client::gauges(cx, self.client);
        let answered = gauges.answered;
        common::say(&format!(
            "requests: issued={} done={} not_sent={} unknown={} errors={} seconds={:.3}",
            self.issued,
            answered.done,
            answered.not_sent,
            answered.unknown,
            self.errors,
            cx.now().saturating_duration_since(self.began).as_secs_f64(),
        ));
        let Increments { done, unknown } = self.increments;
        common::say(&format!("increments: done={done} unknown={unknown}"));
        common::say(&format!(
            "outages: count={} longest_ms={}",
            self.outage.count,
            self.outage.longest.as_millis()
        ));
        common::say(&format!("latency: {}", self.latencies));
        let pool = gauges.pool;
        common::say(&format!(
            "pool: open={} idle={} leased={} connecting={} waiting={} longest_wait_ms={} made={} reused={} \
             discarded={} failed={} refused={}",
            pool.open,
            pool.idle,
            pool.leased,
            pool.connecting,
            pool.waiting,
            pool.longest_wait.as_millis(),
            pool.made,
            pool.reused,
            pool.discarded.total(),
            pool.failed,
            pool.refused.total(),
        ));
    }
}

impl Outage {
    fn is_there(&mut self, now: Instant, why: &str) {
        if self.since.is_none() {
            self.since = Some(now);
            self.count += 1;
            log::info!("a request was not done: {why}");
        }
    }

    fn is_over(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            let lasted = now.saturating_duration_since(since);
            log::info!("requests are done again, after {lasted:?}");
            self.longest = self.longest.max(lasted);
        }
    }
}

impl Dispatcher for Load {
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        if self.end == Some(timer) {
            cx.stop();
        } else if self.tick == Some(timer) {
            if self.plan.rate.is_none() {
                self.tick = None;
            }
            self.issue_what_is_due(cx);
        } else {
            self.report_second(cx);
        }
        Ok(())
    }
}
