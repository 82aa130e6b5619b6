//! The script by which processes share a rate limit, in a real Redis: against the crate's own bucket, which counts the same
//! way, at times that the test chooses, and then with Redis' own clock, from several connections at once.
//!
//! Without redis-server the tests say so and are skipped.

#[path = "../util/programs.rs"]
mod programs;
#[path = "util/redis_server.rs"]
mod redis_server;
#[allow(dead_code, reason = "a part is used")]
#[path = "../../examples/common/redis/resp.rs"]
mod resp;

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use programs::client;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis_server::Redis;
use resp::{Input, Reply, encode};
use slabloop::kit::bucket::{Quota, TokenBucket};

const SCRIPT: &str = include_str!("../../examples/common/rate_limit/take.lua");
const MICROS: u64 = 1_000_000;

/// A connection that asks and waits.
struct Asker {
    stream: TcpStream,
    input: Input,
}

impl Asker {
    fn to(address: SocketAddr) -> Asker {
        let mut asker = Asker {
            stream: client(address),
            input: Input::new(1 << 20),
        };
        // Each take would wait for the disk.
        asker.ask(&["CONFIG", "SET", "appendonly", "no"]);
        asker
    }

    fn ask(&mut self, words: &[&str]) -> Reply {
        self.stream.write_all(&encode(words)).expect("it is there");
        loop {
            if let Some(reply) = self.input.next().expect("RESP") {
                return reply;
            }
            let mut bytes = [0; 4096];
            let count = match self.stream.read(&mut bytes) {
                // A call with a deadline is not made again by itself.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.expect("an answer"),
            };
            assert!(count > 0, "the server has hung up");
            self.input.extend(&bytes[..count]);
        }
    }

    fn number(&mut self, words: &[&str]) -> u64 {
        match self.ask(words) {
            Reply::Integer(number) => u64::try_from(number).expect("none is negative"),
            other => panic!("{other:?}"),
        }
    }

    fn load(&mut self, script: &str) -> String {
        match self.ask(&["SCRIPT", "LOAD", script]) {
            Reply::Bulk(sha) => String::from_utf8(sha).expect("hexadecimal"),
            other => panic!("{other:?}"),
        }
    }
}

/// The script with a clock that the test sets, in its last two arguments.
fn with_own_clock() -> String {
    let changed = SCRIPT.replace("redis.call('TIME')", "{ARGV[5], ARGV[6]}");
    assert_ne!(changed, SCRIPT, "the script asks for the time");
    changed
}

/// A bucket in Redis whose clock the test sets.
struct Bucket<'a> {
    asker: &'a mut Asker,
    script: &'a str,
    key: String,
    quota: (u32, u64, u32),
}

impl Bucket<'_> {
    /// 0, or how long to wait.
    fn take(&mut self, at: u64, wanted: u32) -> u64 {
        let (count, period, burst) = self.quota;
        let numbers = [
            u64::from(count),
            period,
            u64::from(burst),
            u64::from(wanted),
            at / MICROS,
            at % MICROS,
        ];
        let numbers = numbers.map(|number| number.to_string());
        let mut words = vec!["EVALSHA", self.script, "1", &self.key];
        words.extend(numbers.iter().map(String::as_str));
        self.asker.number(&words)
    }
}

/// Some time in 2026.
const EPOCH: u64 = 1_790_000_000_123_456;

/// So long that no key expires while the test's clock stands still: real time passes there, too.
const SHORTEST_TOKEN: u64 = 60 * MICROS;

/// A quota, and the steps of time between takes, in thousandths of the time that a token takes; negative is back.
type Case = ((u32, u64, u32), Vec<(i64, u32)>);

fn cases() -> impl Strategy<Value = Case> {
    let quota = (1..2000_u32, 0..MICROS, 1..30_u32).prop_map(|(count, more, burst)| {
        let period = u64::from(count) * SHORTEST_TOKEN + more;
        (count, period, burst)
    });
    let step = prop_oneof![
        4 => 0..1500_i64,
        1 => 0..40_000_i64,
        1 => Just(0_i64),
        1 => -3000..0_i64,
    ];
    let wanted = prop_oneof![8 => Just(1_u32), 1 => 1..5_u32];
    (quota, prop::collection::vec((step, wanted), 1..60))
}

#[test]
fn the_script_admits_what_the_crates_bucket_admits() {
    let Some(redis) = Redis::start("rate-model") else {
        return;
    };
    let mut asker = Asker::to(redis.address());
    let script = asker.load(&with_own_clock());
    let (asker, number) = (RefCell::new(asker), Cell::new(0));
    let config = Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&cases(), |((count, period, burst), steps)| {
        number.set(number.get() + 1);
        let mut bucket = Bucket {
            asker: &mut asker.borrow_mut(),
            script: &script,
            key: format!("model:{}", number.get()),
            quota: (count, period, burst),
        };
        let quota = Quota::per(count, Duration::from_micros(period)).burst(burst);
        let mut model = TokenBucket::new(quota).expect("a quota");
        let start = Instant::now();
        // What the clock shows, and how much time has really passed: a step back is a clock that is set.
        let (mut clock, mut passed) = (0_i64, 0_i64);
        let mut was_set_back = false;
        let token = i64::try_from(period / u64::from(count)).expect("days");
        for (step, wanted) in steps {
            let step = step * token / 1000;
            clock += step;
            passed += step.max(0);
            was_set_back |= step < 0;
            let taken = bucket.take(EPOCH.saturating_add_signed(clock), wanted);
            // Whatever the clock does, nobody waits longer than for an empty bucket.
            let longest = (u64::from(wanted) * period).div_ceil(u64::from(count));
            prop_assert!(
                wanted > burst || taken <= longest,
                "{} > {}",
                taken,
                longest
            );
            let at = start + Duration::from_micros(passed.unsigned_abs());
            if was_set_back {
                // A clock that was set back makes it stricter, until the bucket is full again.
                prop_assert!(taken > 0 || model.take(at, wanted).is_ok(), "more");
                continue;
            }
            match model.take(at, wanted) {
                Ok(()) => prop_assert_eq!(taken, 0),
                Err(_) if wanted > burst => prop_assert!(taken > 0),
                Err(exhausted) => {
                    // Whole microseconds, rounded up.
                    let wait = exhausted.retry_after.as_nanos().div_ceil(1000);
                    prop_assert_eq!(u128::from(taken), wait);
                }
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn whoever_waits_as_long_as_told_is_admitted_and_no_microsecond_earlier() {
    let Some(redis) = Redis::start("rate-wait") else {
        return;
    };
    let mut asker = Asker::to(redis.address());
    let script = asker.load(&with_own_clock());
    // Thirds and sevenths of a microsecond, which may not be lost.
    for (count, burst) in [(3, 2), (7, 4), (333, 2), (1, 2)] {
        let mut bucket = Bucket {
            asker: &mut asker,
            script: &script,
            key: format!("wait:{count}:{burst}"),
            quota: (count, u64::from(count) * SHORTEST_TOKEN + 1, burst),
        };
        let mut now = EPOCH;
        for _ in 0..burst {
            assert_eq!(bucket.take(now, 1), 0);
        }
        for number in 1..100 {
            let wait = bucket.take(now, 1);
            assert!(wait > 0, "the burst is used up");
            assert_eq!(bucket.take(now + wait - 1, 1), 1, "a microsecond is left");
            now += wait;
            assert_eq!(bucket.take(now, 1), 0, "as it said");
            // In the long run nothing is lost and nothing is won. (Of a burst of 1, what comes back before the next take.)
            let (_, period, _) = bucket.quota;
            let exact = (number * period).div_ceil(u64::from(count));
            assert_eq!(now - EPOCH, exact, "{count} and {burst}");
        }
    }
}

#[test]
fn a_clock_that_is_set_back_costs_a_client_one_filling_at_most() {
    let Some(redis) = Redis::start("rate-back") else {
        return;
    };
    let mut asker = Asker::to(redis.address());
    let script = asker.load(&with_own_clock());
    let mut bucket = Bucket {
        asker: &mut asker,
        script: &script,
        key: "back".to_owned(),
        quota: (1, SHORTEST_TOKEN, 5),
    };
    assert_eq!(bucket.take(EPOCH, 1), 0);
    // A day back.
    let now = EPOCH - 24 * 3600 * MICROS;
    assert_eq!(bucket.take(now, 1), SHORTEST_TOKEN, "an empty bucket");
    assert_eq!(bucket.take(now + SHORTEST_TOKEN, 1), 0, "as it said");
}

#[test]
fn a_limit_that_is_lowered_holds_from_the_next_take_on() {
    let Some(redis) = Redis::start("rate-lowered") else {
        return;
    };
    let mut asker = Asker::to(redis.address());
    let script = asker.load(&with_own_clock());
    let mut bucket = Bucket {
        asker: &mut asker,
        script: &script,
        key: "lowered".to_owned(),
        quota: (1, SHORTEST_TOKEN, 50),
    };
    for _ in 0..50 {
        assert_eq!(bucket.take(EPOCH, 1), 0);
    }
    bucket.quota = (1, SHORTEST_TOKEN, 5);
    assert_eq!(bucket.take(EPOCH, 1), SHORTEST_TOKEN, "an empty bucket");
    assert_eq!(
        bucket.take(EPOCH + 5 * SHORTEST_TOKEN, 5),
        0,
        "five tokens later"
    );
}

/// One take of a thread: when it was sent, when its answer was there, and whether it was admitted.
type Take = (Instant, Instant, bool);

/// Takes at random times from several connections, as the program does.
fn takes(address: SocketAddr, key: &'static str, words: [&'static str; 4]) -> Vec<Take> {
    const SPAN: Duration = Duration::from_millis(1500);
    let began = Instant::now();
    let threads = (0..4).map(|number| {
        thread::spawn(move || {
            let mut asker = Asker::to(address);
            let script = asker.load(SCRIPT);
            let mut random = fastrand::Rng::with_seed(number);
            let mut takes = Vec::new();
            while began.elapsed() < SPAN {
                let mut question = vec!["EVALSHA", &script, "1", key];
                question.extend(words);
                let sent = Instant::now();
                let wait = asker.number(&question);
                takes.push((sent, Instant::now(), wait == 0));
                thread::sleep(Duration::from_micros(random.u64(0..8000)));
            }
            takes
        })
    });
    let threads: Vec<_> = threads.collect();
    let takes = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("no panic"));
    takes.collect()
}

#[test]
fn over_any_span_there_are_no_more_than_the_burst_and_what_the_rate_adds() {
    let Some(redis) = Redis::start("rate-spans") else {
        return;
    };
    const RATE: f64 = 150.0;
    const BURST: f64 = 20.0;
    let all = takes(redis.address(), "spans", ["150", "1000000", "20", "1"]);
    let mut admitted: Vec<_> = all.iter().filter(|take| take.2).collect();
    admitted.sort_by_key(|take| take.0);
    // Of those that were sent in a span, the last answer ends it.
    for first in 0..admitted.len() {
        let mut end = admitted[first].1;
        for (count, take) in (1_u32..).zip(&admitted[first..]) {
            end = end.max(take.1);
            let span = end.duration_since(admitted[first].0).as_secs_f64();
            let most = BURST + RATE * span;
            assert!(
                f64::from(count) <= most + 0.001,
                "{count} in {span} s: at most {most}"
            );
        }
    }
    // And no fewer: they asked all the time.
    let answers = all.iter().map(|take| take.1);
    let span = answers.max().unwrap() - all.iter().map(|take| take.0).min().unwrap();
    let refused = all.len() - admitted.len();
    println!("{} admitted, {refused} refused in {span:?}", admitted.len());
    assert!(admitted.len() >= 20, "the burst at least");
}

#[test]
fn a_bucket_that_is_full_again_is_no_longer_stored() {
    let Some(redis) = Redis::start("rate-expiry") else {
        return;
    };
    let mut asker = Asker::to(redis.address());
    let script = asker.load(SCRIPT);
    let question = ["EVALSHA", &script, "1", "expiry", "20", "1000000", "5", "1"];
    assert_eq!(asker.number(&question), 0);
    let left = asker.number(&["PTTL", "expiry"]);
    assert!((1..=52).contains(&left), "{left} ms");
    let deadline = Instant::now() + programs::PATIENCE;
    while asker.number(&["DBSIZE"]) > 0 {
        assert!(Instant::now() < deadline, "it stays");
        // Redis looks for what has expired from time to time.
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_program_knows_the_script_by_its_name() {
    let Some(redis) = Redis::start("rate-name") else {
        return;
    };
    let source = include_str!("../../examples/common/rate_limit/script.rs");
    let name = Asker::to(redis.address()).load(SCRIPT);
    assert!(
        source.contains(&format!("SHA1: &str = \"{name}\"")),
        "it is {name}"
    );
}
