//! The example `jobs` with a real redis-server, while workers, fronts and the server are killed: what was confirmed is
//! done, and recorded once.
//!
//! Without redis-server the tests say so and are skipped. The large case prints a report:
//!
//! ```text
//! cargo test --release -p slabloop-kit-tests --test jobs_chaos -- --ignored --nocapture
//! ```

#![cfg(target_os = "linux")]

#[path = "util/jobs.rs"]
mod jobs;
#[path = "../util/programs.rs"]
mod programs;
#[path = "util/redis_server.rs"]
mod redis_server;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jobs::*;
use programs::{PATIENCE, Running, Server};
use redis_server::Redis;

#[test]
fn a_job_whose_worker_is_killed_is_done_by_another() {
    let Some(redis) = Redis::start("jobs-killed") else {
        return;
    };
    let front = front(redis.address(), &[]);
    let first = worker(redis.address(), &["--visibility", "0.5"]);
    let id = post(front.address, "", r#"{"do": "sleep", "ms": 1000}"#).id();
    until_it_is(front.address, &id, "state", "running");
    // By SIGKILL.
    drop(first);
    let second = worker(redis.address(), &["--visibility", "0.5"]);
    let job = until_it_is(front.address, &id, "state", "done");
    assert_eq!(job["tries"], 2, "{job}");
    assert_eq!(count(redis.address(), "work_done"), 1);
    assert_eq!(
        last_words(second),
        "jobs: done=1 failed=0 dead=0 claimed=1 lost=0 left=0"
    );
}

#[test]
fn a_job_that_ends_every_worker_is_put_aside() {
    let Some(redis) = Redis::start("jobs-deadly") else {
        return;
    };
    let front = front(redis.address(), &[]);
    let start = || worker(redis.address(), &["--visibility", "0.3", "--tries", "2"]);
    let id = post(front.address, "", r#"{"do": "sleep", "ms": 600000}"#).id();
    for tries in 1..=2 {
        let worker = start();
        until("its attempt", || {
            let job = get(front.address, &format!("/jobs/{id}")).json();
            match job["tries"] == tries {
                true => Ok(()),
                false => Err(job.to_string()),
            }
        });
        drop(worker);
    }
    let _last = start();
    let job = until_it_is(front.address, &id, "state", "dead");
    assert_eq!(job["tries"], 2, "{job}");
    assert!(
        job["error"].as_str().unwrap().contains("the worker ended"),
        "{job}"
    );
    assert_eq!(cli(redis.address(), &["XLEN", "jobs:work"]), "0");
}

#[test]
fn a_long_job_stays_with_its_worker() {
    let Some(redis) = Redis::start("jobs-long") else {
        return;
    };
    let front = front(redis.address(), &[]);
    // Others look for what is lost all the time, and find nothing.
    let arguments = ["--visibility", "2.4", "--jobs", "2"];
    let workers = [
        worker(redis.address(), &arguments),
        worker(redis.address(), &arguments),
    ];
    let id = post(front.address, "", r#"{"do": "sleep", "ms": 4000}"#).id();
    let job = until_it_is(front.address, &id, "state", "done");
    assert_eq!(job["tries"], 1, "{job}");
    for worker in workers {
        let said = last_words(worker);
        assert!(said.contains("claimed=0 lost=0"), "{said}");
    }
}

#[test]
fn a_worker_that_was_stopped_for_too_long_does_no_harm() {
    let Some(redis) = Redis::start("jobs-stopped") else {
        return;
    };
    let front = front(redis.address(), &[]);
    let arguments = ["--visibility", "1", "--jobs", "2"];
    let first = worker(redis.address(), &arguments);
    // Its attempts are the first ones: one with a result, one that fails.
    let jobs = [
        r#"{"do": "sleep", "ms": 1500}"#,
        r#"{"do": "fail", "ms": 1500, "times": 1}"#,
    ];
    let ids = jobs.map(|job| post(front.address, "", job).id());
    for id in &ids {
        until_it_is(front.address, id, "state", "running");
    }
    first.signal("-STOP");
    let second = worker(redis.address(), &arguments);
    for id in &ids {
        until("another attempt", || {
            let job = get(front.address, &format!("/jobs/{id}")).json();
            match job["tries"] == 2 {
                true => Ok(()),
                false => Err(job.to_string()),
            }
        });
    }
    // What it has to say comes while others are at it.
    first.signal("-CONT");
    for id in &ids {
        let job = until_it_is(front.address, id, "state", "done");
        assert_eq!(job["tries"], 2, "{job}");
    }
    last_words(first);
    last_words(second);
    assert_eq!(count(redis.address(), "work_done"), 2);
    assert_eq!(count(redis.address(), "work_failed"), 0);
    assert_eq!(cli(redis.address(), &["XLEN", "jobs:work"]), "0");
}

#[test]
fn an_entry_whose_delivery_was_lost_is_taken_at_once() {
    let Some(redis) = Redis::start("jobs-delivery") else {
        return;
    };
    let address = redis.address();
    let front = front(address, &[]);
    let mut worker = worker(address, &["--visibility", "3600"]);
    let name = name_of(&mut worker);
    let first = post(front.address, "", r#"{"do": "sleep", "ms": 1}"#).id();
    until_it_is(front.address, &first, "state", "done");
    // It sleeps while its connections end and Redis delivers something to it.
    worker.signal("-STOP");
    cli(address, &["CLIENT", "KILL", "TYPE", "normal"]);
    let id = until("a connection of the front", || {
        match post(front.address, "key", r#"{"do": "sleep", "ms": 2}"#) {
            answer if answer.status == 202 => Ok(answer.id()),
            answer => Err(answer.body),
        }
    });
    let read = [
        "XREADGROUP",
        "GROUP",
        "workers",
        &name,
        "STREAMS",
        "jobs:work",
        ">",
    ];
    assert!(cli(address, &read).contains(&id));
    worker.signal("-CONT");
    let job = until_it_is(front.address, &id, "state", "done");
    assert_eq!(job["tries"], 1, "{job}");
    assert_eq!(
        last_words(worker),
        "jobs: done=2 failed=0 dead=0 claimed=0 lost=0 left=0"
    );
}

/// What a client knows of its jobs.
#[derive(Default)]
struct Posted {
    /// By key.
    ids: Mutex<Vec<String>>,
    /// Answers that were no confirmation, and requests without an answer.
    refused: AtomicUsize,
    unanswered: AtomicUsize,
}

/// Posts so many jobs on some threads, each again with its key until it is confirmed, at one front or the other.
fn post_all(
    fronts: [SocketAddr; 2],
    jobs: usize,
    threads: usize,
    job: &'static str,
) -> Arc<Posted> {
    let posted = Arc::new(Posted::default());
    let posting: Vec<_> = (0..threads)
        .map(|thread| {
            let posted = Arc::clone(&posted);
            thread::spawn(move || {
                for number in (thread..jobs).step_by(threads) {
                    post_one(&posted, fronts, number, job);
                }
            })
        })
        .collect();
    for thread in posting {
        thread.join().expect("no panic");
    }
    posted
}

fn post_one(posted: &Posted, fronts: [SocketAddr; 2], number: usize, job: &str) {
    let deadline = Instant::now() + PATIENCE;
    for attempt in number.. {
        assert!(Instant::now() < deadline, "job {number} is not confirmed");
        match try_post(fronts[attempt % 2], &format!("job-{number}"), job) {
            Ok(answer) if answer.status == 202 => {
                posted.ids.lock().unwrap().push(answer.id());
                return;
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{answer:?}");
                posted.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                posted.unanswered.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn memory_kib(process: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let digits = line.and_then(|line| line.split_whitespace().next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_millis()).expect("before the end")
}

/// The jobs that a worker had in hand, by the number of its process; none while Redis is away.
fn in_hand(redis: SocketAddr, process: u32) -> Vec<String> {
    let pending = cli(
        redis,
        &["XPENDING", "jobs:work", "workers", "-", "+", "100"],
    );
    let lines: Vec<_> = pending.lines().collect();
    let consumer = format!("worker-{process}-");
    let of_it = lines
        .windows(2)
        .filter(|pair| pair[1].starts_with(&consumer));
    let id = |pair: &[&str]| {
        let entry = cli(redis, &["XRANGE", "jobs:work", pair[0], pair[0]]);
        // (Or Redis says that it loads its data.)
        let id = entry.lines().last().filter(|id| id.len() == 32);
        id.map(str::to_owned)
    };
    of_it.filter_map(id).collect()
}

/// What is to be killed while jobs are posted and done.
struct Plan {
    jobs: usize,
    job: &'static str,
    workers: usize,
    server_kills: u32,
    worker_kills: usize,
    /// Between two kills.
    pace: Duration,
    visibility: &'static str,
}

fn play(name: &str, plan: &Plan) {
    let Some(redis) = Redis::start(name) else {
        return;
    };
    let address = redis.address();
    let arguments = ["--visibility", plan.visibility, "--tries", "50"];
    let start = || worker(address, &arguments);
    let mut workers: Vec<_> = (0..plan.workers).map(|_| start()).collect();
    let fronts = ["5", "5"].map(|timeout| front(address, &["--redis-timeout", timeout]));
    let addresses = fronts.each_ref().map(|front| front.address);
    let [kept, mortal]: [Server; 2] = fronts;
    let (began, began_ms) = (Instant::now(), now_ms());
    let (jobs, job) = (plan.jobs, plan.job);
    let posting = thread::spawn(move || post_all(addresses, jobs, 4, job));
    let span = plan.pace * plan.server_kills;
    // At any moment, whether anything is on its way or not.
    let looks = Arc::new(AtomicU32::new(u32::MAX));
    let (killer, told) = redis.killed_again_and_again(plan.server_kills, span, looks);
    let mut mortal = Some(mortal);
    let mut killed = Vec::new();
    for kill in 0..plan.worker_kills {
        // (The pace of the play; nothing is waited for.)
        thread::sleep(plan.pace);
        let worker = workers.swap_remove(kill % workers.len());
        let number = worker.0.id();
        drop(worker);
        killed.push((Instant::now(), in_hand(address, number)));
        workers.push(start());
        mortal = mortal.filter(|_| kill != 0);
    }
    let redis = killer.join().expect("the killer does not panic");
    let posted = posting.join().expect("all are confirmed");
    let confirmed_after = began.elapsed();
    let done = |address| count(address, "work_done");
    until("all jobs to be done", || match done(address) {
        count if count >= jobs as u64 => Ok(()),
        count => Err(format!("{count} of {jobs}")),
    });
    let done_after = began.elapsed();

    let ids = posted.ids.lock().unwrap();
    let different: BTreeSet<_> = ids.iter().collect();
    assert_eq!(
        (ids.len(), different.len()),
        (jobs, jobs),
        "each key has one id"
    );
    let (mut tries, mut finished) = (0, Vec::new());
    for id in different {
        let job = get(kept.address, &format!("/jobs/{id}")).json();
        assert_eq!(job["state"], "done", "{job}");
        tries += job["tries"].as_u64().unwrap();
        finished.push(job["finished_ms"].as_u64().unwrap());
    }
    assert_eq!(count(address, "added"), jobs as u64, "none was added twice");
    assert_eq!(done(address), jobs as u64, "none was recorded twice");
    assert_eq!(count(address, "work_dead"), 0);
    assert_eq!(cli(address, &["XLEN", "jobs:work"]), "0");
    println!(
        "{jobs} jobs, {} workers: confirmed={} (503: {}, no answer: {}) after {confirmed_after:?}, done={} after \
         {done_after:?}, attempts={tries}",
        plan.workers,
        ids.len(),
        posted.refused.load(Ordering::Relaxed),
        posted.unanswered.load(Ordering::Relaxed),
        done(address),
    );
    // Milliseconds, by the clock that Redis has as well.
    let at = |instant: Instant| began_ms + u64::try_from((instant - began).as_millis()).unwrap();
    for (killed, up) in told.try_iter() {
        let first = finished
            .iter()
            .filter(|&&finished| finished >= at(up))
            .min();
        let after = first.map(|first| first - at(up));
        let (start, away) = (killed - began, up - killed);
        println!(
            "  redis killed at {start:?}, away for {away:?}; the next job was done {after:?} ms later"
        );
    }
    for (killed, ids) in killed {
        println!(
            "  a worker killed at {:?}, with {} jobs in hand",
            killed - began,
            ids.len()
        );
        for id in ids {
            let job = get(kept.address, &format!("/jobs/{id}")).json();
            let after = job["finished_ms"].as_u64().unwrap() - at(killed);
            println!(
                "    one was done {after} ms later, at attempt {}",
                job["tries"]
            );
        }
    }
    let most = workers.iter().map(memory_kib).max();
    println!(
        "  memory at most, KiB: front {}, worker {}; redis {}",
        memory_kib(&kept.process),
        most.unwrap_or(0),
        cli(address, &["INFO", "memory"])
            .lines()
            .find(|line| line.starts_with("used_memory_peak:"))
            .unwrap_or_default(),
    );
    for worker in workers {
        println!("  {}", last_words(worker));
    }
    kept.stop();
    drop(redis);
}

#[test]
fn what_was_confirmed_is_done_once_when_redis_workers_and_a_front_are_killed() {
    let plan = Plan {
        jobs: 200,
        job: r#"{"do": "sleep", "ms": 5}"#,
        workers: 3,
        server_kills: 2,
        worker_kills: 2,
        pace: Duration::from_millis(500),
        visibility: "1",
    };
    play("jobs-chaos", &plan);
}

#[test]
#[ignore = "takes half a minute, and prints a report"]
fn the_report() {
    let plan = Plan {
        jobs: 2000,
        job: r#"{"do": "sleep", "ms": 15}"#,
        workers: 3,
        server_kills: 3,
        worker_kills: 4,
        pace: Duration::from_secs(2),
        visibility: "2",
    };
    play("jobs-report", &plan);
}
