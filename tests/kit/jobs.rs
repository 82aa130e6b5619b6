//! The example `jobs` with a real redis-server: what clients are told, what is tried again, what is put aside, and how
//! outcomes are told. `jobs_chaos.rs` kills things.
//!
//! Without redis-server the tests say so and are skipped.

#![cfg(target_os = "linux")]

#[path = "util/jobs.rs"]
mod jobs;
#[path = "../util/programs.rs"]
mod programs;
#[path = "util/redis_server.rs"]
mod redis_server;
#[allow(dead_code, reason = "a test uses a part")]
#[path = "../../examples/jobs/scripts.rs"]
mod scripts;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use jobs::*;
use programs::{Server, example, with_deadline};
use redis_server::Redis;
use socket2::{Domain, Socket, Type};

#[test]
fn a_job_is_confirmed_done_and_shown() {
    let Some(redis) = Redis::start("jobs-done") else {
        return;
    };
    let front = front(redis.address(), &[]);
    let worker = worker(redis.address(), &[]);
    let id = post(front.address, "", r#"{"do": "primes", "below": 1000}"#).id();
    let job = until_it_is(front.address, &id, "state", "done");
    assert_eq!(job["result"]["primes"], 168);
    assert_eq!(job["tries"], 1);
    assert_eq!(job["job"]["below"], 1000);
    assert!(
        job["finished_ms"].as_u64() >= job["added_ms"].as_u64(),
        "{job}"
    );
    // What is done is kept for a day.
    let left: u64 = cli(redis.address(), &["TTL", &format!("jobs:job:{id}")])
        .parse()
        .unwrap();
    assert!((86_000..=86_400).contains(&left), "{left}");
    assert_eq!(
        last_words(worker),
        "jobs: done=1 failed=0 dead=0 claimed=0 lost=0 left=0"
    );
    // It has said goodbye.
    assert_eq!(
        cli(
            redis.address(),
            &["XINFO", "CONSUMERS", "jobs:work", "workers"]
        ),
        ""
    );
    front.stop();
}

#[test]
fn the_same_key_is_the_same_job_also_at_the_same_time() {
    let Some(redis) = Redis::start("jobs-keys") else {
        return;
    };
    let fronts = [front(redis.address(), &[]), front(redis.address(), &[])];
    let job = r#"{"do": "sleep", "ms": 1}"#;
    let posting: Vec<_> = (0..16)
        .map(|number| {
            let address = fronts[number % 2].address;
            std::thread::spawn(move || post(address, "one", job))
        })
        .collect();
    let answers: Vec<_> = posting
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    let new = answers
        .iter()
        .filter(|answer| answer.json()["is_new"] == true);
    assert_eq!(new.count(), 1);
    let id = answers[0].id();
    assert!(
        answers.iter().all(|answer| answer.id() == id),
        "{answers:?}"
    );
    assert_eq!(count(redis.address(), "added"), 1);
    // Nor is it done again when it was done.
    let worker = worker(redis.address(), &[]);
    until_it_is(fronts[0].address, &id, "state", "done");
    assert_eq!(post(fronts[1].address, "one", job).id(), id);
    assert_eq!(count(redis.address(), "added"), 1);
    let other = post(fronts[0].address, "one", r#"{"do": "sleep", "ms": 2}"#);
    assert_eq!(other.status, 422, "{other:?}");
    assert_ne!(post(fronts[0].address, "two", job).id(), id);
    drop(worker);
}

#[test]
fn with_too_many_jobs_no_more_are_taken() {
    let Some(redis) = Redis::start("jobs-backlog") else {
        return;
    };
    let front = front(
        redis.address(),
        &["--max-backlog", "3", "--retry-after", "7"],
    );
    let job = r#"{"do": "sleep", "ms": 1}"#;
    let ids: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|key| post(front.address, key, job).id())
        .collect();
    let refused = post(front.address, "d", job);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(
        refused.head.contains("\r\nRetry-After: 7\r\n"),
        "{refused:?}"
    );
    // One that is there is confirmed all the same.
    assert_eq!(post(front.address, "b", job).id(), ids[1]);
    let _worker = worker(redis.address(), &[]);
    for id in &ids {
        until_it_is(front.address, id, "state", "done");
    }
    post(front.address, "d", job).id();
    assert_eq!(count(redis.address(), "refused"), 1);
}

#[test]
fn what_fails_is_tried_again_and_put_aside_in_the_end() {
    let Some(redis) = Redis::start("jobs-dead") else {
        return;
    };
    let front = front(redis.address(), &[]);
    let _worker = worker(redis.address(), &["--tries", "3"]);
    let at_last = post(front.address, "", r#"{"do": "fail", "times": 2}"#).id();
    let never = post(front.address, "", r#"{"do": "fail"}"#).id();
    let panics = post(front.address, "", r#"{"do": "panic"}"#).id();
    let job = until_it_is(front.address, &at_last, "state", "done");
    assert_eq!(
        (&job["tries"], &job["result"]["tries"]),
        (&3.into(), &3.into())
    );
    let job = until_it_is(front.address, &never, "state", "dead");
    assert_eq!(
        (&job["tries"], &job["error"]),
        (&3.into(), &"it was to fail, at attempt 3".into())
    );
    let job = until_it_is(front.address, &panics, "state", "dead");
    assert!(
        job["error"]
            .as_str()
            .unwrap()
            .contains("the job was to panic"),
        "{job}"
    );
    let dead = cli(redis.address(), &["XRANGE", "jobs:dead", "-", "+"]);
    assert!(
        dead.contains(&never) && dead.contains(&panics) && !dead.contains(&at_last),
        "{dead}"
    );
    assert_eq!(count(redis.address(), "work_failed"), 8);
    assert_eq!(count(redis.address(), "work_dead"), 2);
    assert_eq!(cli(redis.address(), &["XLEN", "jobs:work"]), "0");
}

#[test]
fn what_is_in_the_queue_and_no_job_is_put_aside() {
    let Some(redis) = Redis::start("jobs-poison") else {
        return;
    };
    let address = redis.address();
    let front = front(address, &[]);
    cli(address, &["XADD", "jobs:work", "*", "foo", "bar"]);
    cli(address, &["XADD", "jobs:work", "*", "id", "nosuch"]);
    cli(address, &["SET", "jobs:job:text", "x"]);
    cli(address, &["XADD", "jobs:work", "*", "id", "text"]);
    cli(
        address,
        &[
            "HSET",
            "jobs:job:odd",
            "body",
            "{\"do\": \"rm\"}",
            "work_state",
            "queued",
        ],
    );
    cli(address, &["XADD", "jobs:work", "*", "id", "odd"]);
    cli(address, &["XADD", "jobs:callback", "*", "id", "odd"]);
    let good = post(front.address, "", r#"{"do": "sleep", "ms": 1}"#).id();
    let worker = worker(address, &[]);
    until_it_is(front.address, &good, "state", "done");
    until("the letters", || {
        match cli(address, &["XLEN", "jobs:dead"]).as_str() {
            "5" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    let dead = cli(address, &["XRANGE", "jobs:dead", "-", "+"]);
    for part in [
        "nosuch",
        "there is no such job",
        "WRONGTYPE",
        "do: expected",
    ] {
        assert!(dead.contains(part), "{part}: {dead}");
    }
    assert_eq!(cli(address, &["XLEN", "jobs:work"]), "0");
    assert_eq!(
        last_words(worker),
        "jobs: done=1 failed=0 dead=5 claimed=0 lost=0 left=0"
    );
}

/// An address at which nobody listens, and which nobody else gets.
fn reserved() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Takes callbacks, and answers each by the next of these statuses; what was posted.
fn receiver(socket: Socket, statuses: &[u16]) -> std::thread::JoinHandle<Vec<String>> {
    socket.listen(16).unwrap();
    let listener = TcpListener::from(socket);
    let statuses = statuses.to_vec();
    std::thread::spawn(move || {
        let take = |status| {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = with_deadline(stream);
            let mut request = String::new();
            while !request.ends_with('}') {
                let mut piece = [0; 4096];
                let count = stream.read(&mut piece).unwrap();
                assert!(count > 0, "{request}");
                request.push_str(std::str::from_utf8(&piece[..count]).unwrap());
            }
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            request
        };
        statuses.into_iter().map(take).collect()
    })
}

#[test]
fn outcomes_are_told_also_when_the_receiver_was_down() {
    let Some(redis) = Redis::start("jobs-callbacks") else {
        return;
    };
    let (socket, address) = reserved();
    let allowed = ["--callback-to", &address.to_string()];
    let front = front(redis.address(), &allowed);
    let _worker = worker(
        redis.address(),
        &[&allowed[..], &["--callback-tries", "1000"]].concat(),
    );
    let job =
        format!(r#"{{"do": "primes", "below": 10, "callback": "http://{address}/told?a=b"}}"#);
    let id = post(front.address, "", &job).id();
    // The job is done, whoever wants to hear of it.
    until_it_is(front.address, &id, "state", "done");
    until("an attempt that fails", || {
        let job = get(front.address, &format!("/jobs/{id}")).json();
        match job["callback_error"].as_str() {
            Some(error) if error.contains("refused") => Ok(()),
            _ => Err(job.to_string()),
        }
    });
    let receiver = receiver(socket, &[500, 204]);
    let job = until_it_is(front.address, &id, "callback", "done");
    assert!(job["callback_tries"].as_u64() >= Some(3), "{job}");
    let told = receiver.join().unwrap();
    for request in &told {
        assert!(
            request.starts_with("POST /told?a=b HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains(&format!("\r\nHost: {address}\r\n")),
            "{request}"
        );
        assert!(
            request.contains(&format!("\r\nIdempotency-Key: {id}\r\n")),
            "{request}"
        );
        let body = format!(r#"{{"id":"{id}","result":{{"primes":4}},"state":"done"}}"#);
        assert!(request.ends_with(&body), "{request}");
    }
}

#[test]
fn an_outcome_that_cannot_be_told_is_put_aside_and_others_are_refused_before() {
    let Some(redis) = Redis::start("jobs-untold") else {
        return;
    };
    let (_socket, address) = reserved();
    let allowed = ["--callback-to", &address.to_string()];
    let front = front(redis.address(), &allowed);
    let _worker = worker(
        redis.address(),
        &[&allowed[..], &["--tries", "1", "--callback-tries", "2"]].concat(),
    );
    let job = format!(r#"{{"do": "fail", "callback": "http://{address}"}}"#);
    let id = post(front.address, "key", &job).id();
    let told = until_it_is(front.address, &id, "callback", "dead");
    assert_eq!(
        (&told["state"], &told["callback_tries"]),
        (&"dead".into(), &2.into())
    );
    let dead = cli(redis.address(), &["XRANGE", "jobs:dead", "-", "+"]);
    assert!(dead.contains("work") && dead.contains("callback"), "{dead}");
    // Now nothing more is to be done for it, and it may go.
    let left: i64 = cli(redis.address(), &["TTL", "jobs:key:key"])
        .parse()
        .unwrap();
    assert!(left > 0, "{left}");
    let elsewhere = format!("http://127.0.0.1:{}/", address.port() - 1);
    for url in [
        &elsewhere,
        "http://localhost/",
        "https://x",
        "http://",
        "file:///etc/passwd",
        "http://a@b/\r\nX: y",
    ] {
        let job = serde_json::json!({"do": "sleep", "ms": 1, "callback": url});
        let refused = post(front.address, "", &job.to_string());
        assert_eq!(refused.status, 400, "{url}: {refused:?}");
    }
}

#[test]
fn requests_that_are_none_are_refused() {
    let Some(redis) = Redis::start("jobs-requests") else {
        return;
    };
    let front = front(redis.address(), &["--max-body", "100"]);
    let long = "x".repeat(20_000);
    let post =
        |fields: &str, body: &str| format!("POST /jobs HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let json = |body: &str| {
        post(
            &format!("Connection: close\r\nContent-Length: {}\r\n", body.len()),
            body,
        )
    };
    let cases = [
        // No HTTP, or such as can be read in two ways.
        (400, "nonsense\r\n\r\n".to_owned()),
        (400, "GET /metrics HTTP/1.1\r\n\r\n".to_owned()),
        (400, "GET /metrics HTTP/1.1\nHost: x\n\n".to_owned()),
        (505, "GET /metrics HTTP/2.0\r\nHost: x\r\n\r\n".to_owned()),
        (400, post("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        (400, post("Content-Length: 2\r\nContent-Length: 2\r\n", "{}")),
        (400, post("Content-Length: +2\r\n", "{}")),
        (400, post("Transfer-Encoding: chunked\r\n", "x\r\n")),
        (501, post("Transfer-Encoding: gzip\r\n", "")),
        (417, post("Expect: more\r\nContent-Length: 2\r\n", "{}")),
        // Too much.
        (414, format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n")),
        (431, format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n")),
        (413, post("Content-Length: 101\r\n", "")),
        (413, post("Transfer-Encoding: chunked\r\n", &format!("65\r\n{}", &long[..101]))),
        (413, "GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}".to_owned()),
        (411, post("", "")),
        // Keys.
        (400, post("Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 2\r\n", "{}")),
        (400, post("Idempotency-Key: \r\nContent-Length: 2\r\n", "{}")),
        (400, post("Idempotency-Key: a b\r\nContent-Length: 2\r\n", "{}")),
        (400, post(&format!("Idempotency-Key: {}\r\nContent-Length: 2\r\n", &long[..129]), "{}")),
        // No jobs.
        (400, json("")),
        (400, json("{")),
        (400, json("[]")),
        (400, json("{}")),
        (400, json(r#"{"do": "rm"}"#)),
        (400, json(r#"{"do": "primes"}"#)),
        (400, json(r#"{"do": "primes", "below": -1}"#)),
        (400, json(r#"{"do": "primes", "below": 99999999999}"#)),
        (400, json(r#"{"do": "sleep", "ms": 1, "more": 1}"#)),
        (400, json(r#"{"do": "sleep", "ms": 1, "callback": 7}"#)),
        (400, json(&"[".repeat(100))),
        // No such thing.
        (404, get("/")),
        (404, get("/jobs/")),
        (404, get("/jobs/0123")),
        (404, get("/jobs/0123456789abcdef0123456789ABCDEF")),
        (404, get("/jobs/0123456789abcdef0123456789abcdef")),
        (405, get("/jobs")),
        (501, get("/jobs").replace("GET", "BREW")),
        (405, "DELETE /jobs/0123456789abcdef0123456789abcdef HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned()),
    ];
    for (status, request) in cases {
        let answer = ask(front.address, request.as_bytes()).unwrap();
        let shown: String = request.chars().take(200).collect();
        assert_eq!(answer.status, status, "{shown}: {answer:?}");
    }
    assert_eq!(count(redis.address(), "added"), 0);

    // Several in one piece, one in chunks, one of HTTP/1.0; a client that waits for a 100.
    let mut client = front.client();
    let chunked = "18\r\n{\"do\": \"sleep\", \"ms\": 1}\r\n0\r\n\r\n";
    let several = [
        post("Transfer-Encoding: chunked\r\n", chunked),
        "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /jobs/x HTTP/1.0\r\n\r\n".to_owned(),
    ];
    client.write_all(several.concat().as_bytes()).unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).unwrap();
    // (The front would wait for its end.)
    drop(client);
    let statuses: Vec<_> = answers
        .lines()
        .filter(|line| line.starts_with("HTTP/1.1 "))
        .collect();
    assert_eq!(
        statuses,
        [
            "HTTP/1.1 202 Accepted",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 404 Not Found"
        ]
    );
    let mut client = front.client();
    let body = r#"{"do": "sleep", "ms": 1}"#;
    let fields = format!(
        "Expect: 100-continue\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    client.write_all(post(&fields, "").as_bytes()).unwrap();
    let mut go_on = [0; 25];
    client.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    drop(client);
    front.stop();
}

#[test]
fn a_client_that_takes_too_long_is_told() {
    let Some(redis) = Redis::start("jobs-slow") else {
        return;
    };
    let limits = ["--header-timeout", "0.2", "--body-timeout", "0.2"];
    let front = front(redis.address(), &limits);
    for part in [
        "GET /jo",
        "POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let mut client = front.client();
        client.write_all(part.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{part}: {answer}");
    }
}

/// Has Redis do a script of the example about the job `id`.
fn eval(redis: SocketAddr, script: &str, entry: &str, arguments: &[&str]) -> String {
    let keys = ["job:id", "work", "work:later", "dead", "counts", "callback"];
    let keys = keys.map(|key| format!("jobs:{key}"));
    let mut words = vec!["EVAL", script, "6"];
    words.extend(keys.iter().map(String::as_str));
    words.extend(["work", "workers", entry, "id", "60", "100"]);
    words.extend(arguments);
    cli(redis, &words)
}

#[test]
fn what_redis_is_told_twice_it_does_once() {
    let Some(redis) = Redis::start("jobs-twice") else {
        return;
    };
    let address = redis.address();
    let cli = |words: &[&str]| cli(address, words);
    let add = |id: &str| {
        let job = format!("jobs:job:{id}");
        let keys = [
            &job,
            "jobs:work",
            "jobs:work:later",
            "jobs:counts",
            "jobs:key:k",
        ];
        cli(&[
            &["EVAL", scripts::ADD, "5"],
            &keys[..],
            &[id, "{}", "", "9", "1"],
        ]
        .concat())
    };
    assert_eq!(add("id"), "added\nid");
    assert_eq!(add("other"), "known\nid");
    cli(&["XGROUP", "CREATE", "jobs:work", "workers", "0"]);
    let take = || {
        let read = [
            "XREADGROUP",
            "GROUP",
            "workers",
            "me",
            "STREAMS",
            "jobs:work",
            ">",
        ];
        cli(&read).lines().nth(1).expect("an entry").to_owned()
    };
    let of = |field: &str| cli(&["HGET", "jobs:job:id", field]);

    let entry = take();
    for _ in 0..2 {
        let told = eval(address, scripts::BEGIN, &entry, &["first", "3"]);
        assert!(told.starts_with("do\n1\n"), "{told}");
    }
    assert_eq!(
        eval(
            address,
            scripts::FAIL,
            &entry,
            &["another", "why", "3", "0"]
        ),
        "stale"
    );
    assert_eq!(
        eval(address, scripts::FAIL, &entry, &["first", "why", "3", "0"]),
        "later"
    );
    assert_eq!(
        eval(address, scripts::FAIL, &entry, &["first", "why", "3", "0"]),
        "stale"
    );
    assert_eq!(
        (of("work_state"), count(address, "work_failed")),
        ("waiting".to_owned(), 1)
    );
    assert_eq!(cli(&["XLEN", "jobs:work"]), "0");
    for moved in ["1", "0"] {
        let due = [
            "EVAL",
            scripts::DUE,
            "2",
            "jobs:work:later",
            "jobs:work",
            "100",
        ];
        assert_eq!(cli(&due), moved);
    }

    // Left and taken again, it is still the second attempt.
    let entry = take();
    let extend = |consumer: &str| {
        cli(&[
            "EVAL",
            scripts::EXTEND,
            "1",
            "jobs:work",
            "workers",
            consumer,
            &entry,
        ])
    };
    for attempt in ["second", "third"] {
        let told = eval(address, scripts::BEGIN, &entry, &[attempt, "3"]);
        assert!(told.starts_with("do\n2\n"), "{told}");
        if attempt == "second" {
            for _ in 0..2 {
                assert_eq!(
                    eval(address, scripts::LEAVE, &entry, &["second", "me"]),
                    "left"
                );
            }
            assert_eq!(
                (of("work_state"), of("work_tries")),
                ("queued".to_owned(), "1".to_owned())
            );
            // An extension that comes late does not keep it from others.
            assert_eq!(extend("me"), "");
            let claim = [
                "XAUTOCLAIM",
                "jobs:work",
                "workers",
                "me",
                "3600000",
                "0",
                "JUSTID",
            ];
            assert!(cli(&claim).contains(&entry));
        }
    }
    assert_eq!(
        (extend("me"), extend("you")),
        (String::new(), entry.clone())
    );
    // A consumer that has something in hand is not forgotten.
    let tidy = || {
        let words = ["EVAL", scripts::TIDY, "1", "jobs:work", "workers", "-1", ""];
        cli(&words)
    };
    assert_eq!(tidy(), "0");
    for told in ["done", "over"] {
        assert_eq!(eval(address, scripts::FINISH, &entry, &["7"]), told);
    }
    assert_eq!(eval(address, scripts::FINISH, &entry, &["8"]), "over");
    assert_eq!(
        eval(address, scripts::FAIL, &entry, &["third", "why", "3", "0"]),
        "over"
    );
    assert_eq!(
        eval(address, scripts::BEGIN, &entry, &["fourth", "3"]),
        "over"
    );
    assert_eq!(
        eval(address, scripts::LEAVE, &entry, &["third", "me"]),
        "left"
    );
    assert_eq!(
        (of("work_state"), of("result")),
        ("done".to_owned(), "7".to_owned())
    );
    assert_eq!(
        (count(address, "work_done"), count(address, "work_failed")),
        (1, 1)
    );
    assert_eq!(tidy(), "1");
    assert_eq!(cli(&["XLEN", "jobs:work"]), "0");
}

/// The value of a figure.
#[track_caller]
fn figure(figures: &str, name: &str) -> f64 {
    let line = figures
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {figures}"))
}

#[test]
fn the_figures_tell_backlog_delay_and_counts() {
    let Some(mut redis) = Redis::start("jobs-figures") else {
        return;
    };
    let patient = front(redis.address(), &[]);
    let of = |name: &str| figure(&get(patient.address, "/metrics").body, name);
    assert_eq!(of("jobs_entries{lane=\"work\"}"), 0.0);
    post(patient.address, "", r#"{"do": "sleep", "ms": 1}"#).id();
    post(patient.address, "", r#"{"do": "fail"}"#).id();
    assert_eq!(of("jobs_entries{lane=\"work\"}"), 2.0);
    until("a delay", || {
        match of("jobs_delay_seconds{lane=\"work\"}") {
            delay if delay > 0.02 => Ok(()),
            delay => Err(delay.to_string()),
        }
    });
    let worker = worker(redis.address(), &["--tries", "2"]);
    until("the end of both", || match of("jobs_dead_letters") {
        1.0 => Ok(()),
        other => Err(other.to_string()),
    });
    until("the entries to go", || {
        match of("jobs_entries{lane=\"work\"}") {
            0.0 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    let figures = get(patient.address, "/metrics").body;
    for (name, value) in [
        ("jobs_added_total", 2.0),
        ("jobs_done_total{lane=\"work\"}", 1.0),
        ("jobs_failed_total{lane=\"work\"}", 2.0),
        ("jobs_dead_total{lane=\"work\"}", 1.0),
        ("jobs_done_total{lane=\"callback\"}", 0.0),
        ("jobs_delay_seconds{lane=\"work\"}", 0.0),
        ("jobs_running{lane=\"work\"}", 0.0),
        ("jobs_queue_up", 1.0),
    ] {
        assert_eq!(figure(&figures, name), value, "{name}");
    }
    assert!(figure(&figures, "slabloop_turns_total") > 0.0);
    drop(worker);
    redis.end();
    let impatient = front(redis.address(), &["--redis-timeout", "0.2"]);
    let without = get(impatient.address, "/metrics").body;
    assert_eq!(figure(&without, "jobs_queue_up"), 0.0);
    assert!(!without.contains("jobs_entries"), "{without}");

    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: there is no promtool");
        return;
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(figures.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success(), "{figures}");
}

#[test]
fn the_alerts_come_when_they_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring");
    let rules = std::fs::read_to_string(folder.join("jobs_alerts.yml")).unwrap();
    let page = std::fs::read_to_string(folder.join("../jobs.md")).unwrap();
    let runbooks: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook: "))
        .collect();
    assert!(!runbooks.is_empty());
    for runbook in runbooks {
        let heading = runbook.trim_matches('"');
        assert!(
            page.contains(&format!("# {heading}\n")),
            "no heading {heading} in jobs.md"
        );
    }
    let mut command = Command::new("promtool");
    command
        .args(["test", "rules", "jobs_alerts_test.yml"])
        .current_dir(folder);
    let Ok(output) = command.output() else {
        eprintln!("skipped: there is no promtool");
        return;
    };
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_worker_that_is_told_to_end_finishes_what_it_has_or_leaves_it_to_others() {
    let Some(redis) = Redis::start("jobs-leaving") else {
        return;
    };
    let front = front(redis.address(), &[]);
    let start = |drain: &str| worker(redis.address(), &["--drain", drain, "--visibility", "2"]);
    let finishing = start("60");
    let id = post(front.address, "", r#"{"do": "sleep", "ms": 300}"#).id();
    until_it_is(front.address, &id, "state", "running");
    assert_eq!(
        last_words(finishing),
        "jobs: done=1 failed=0 dead=0 claimed=0 lost=0 left=0"
    );
    assert_eq!(
        get(front.address, &format!("/jobs/{id}")).json()["state"],
        "done"
    );

    // It is there for others as soon as they look, and nobody's attempt was spent.
    let leaving = start("0");
    let id = post(front.address, "", r#"{"do": "sleep", "ms": 1000}"#).id();
    until_it_is(front.address, &id, "state", "running");
    assert_eq!(
        last_words(leaving),
        "jobs: done=0 failed=0 dead=0 claimed=0 lost=0 left=1"
    );
    assert_eq!(
        get(front.address, &format!("/jobs/{id}")).json()["state"],
        "queued"
    );
    let other = worker(redis.address(), &["--visibility", "3600"]);
    let job = until_it_is(front.address, &id, "state", "done");
    assert_eq!(job["tries"], 1, "{job}");
    assert_eq!(
        last_words(other),
        "jobs: done=1 failed=0 dead=0 claimed=1 lost=0 left=0"
    );
}

#[test]
fn what_is_not_known_is_said_and_the_same_key_may_be_posted_again() {
    let Some(redis) = Redis::start("jobs-unknown") else {
        return;
    };
    let front = front(redis.address(), &["--redis-timeout", "1"]);
    let job = r#"{"do": "sleep", "ms": 1}"#;
    until("a connection", || match post(front.address, "first", job) {
        answer if answer.status == 202 => Ok(()),
        answer => Err(answer.body),
    });
    let info = cli(redis.address(), &["INFO", "server"]);
    let process = info
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"));
    let process = process.expect("it has a number").trim().to_owned();
    let signal = |name: &str| {
        assert!(
            Command::new("kill")
                .args([name, &process])
                .status()
                .unwrap()
                .success()
        )
    };
    // It has the request in its socket, and does not answer.
    signal("-STOP");
    let with_key = post(front.address, "key", job);
    let without = post(front.address, "", job);
    signal("-CONT");
    assert_eq!(with_key.status, 503, "{with_key:?}");
    assert!(
        with_key
            .body
            .contains("post it again with the same Idempotency-Key"),
        "{with_key:?}"
    );
    // (Its connection has just been given up, and the next may be waiting for its greeting.)
    assert!(
        without.status == 500 || without.status == 503,
        "{without:?}"
    );
    let id = until("Redis to be reached again", || {
        match post(front.address, "key", job) {
            answer if answer.status == 202 => Ok(answer.id()),
            answer => Err(answer.body),
        }
    });
    assert_eq!(post(front.address, "key", job).id(), id);
    assert_eq!(
        cli(redis.address(), &["GET", "jobs:key:key"])
            .split(' ')
            .nth(1),
        Some(&id[..])
    );
}

#[test]
fn a_front_that_is_told_to_end_answers_the_request_in_hand() {
    let Some(redis) = Redis::start("jobs-front") else {
        return;
    };
    let mut front = front(redis.address(), &[]);
    let mut client = front.client();
    let (head, body) = (
        "POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 24\r\n",
        r#"{"do": "sleep", "ms": 1}"#,
    );
    client
        .write_all(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes())
        .unwrap();
    let mut go_on = [0; 25];
    client.read_exact(&mut go_on).unwrap();
    front.process.signal("-TERM");
    front.stderr_says("draining");
    client.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    // Nothing more is given to Redis then, and that is what the client is told.
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("the job is not queued"), "{answer}");
    assert_eq!(count(redis.address(), "added"), 0);
    drop(client);
    let ended = front.end();
    assert_eq!((ended.code, ended.totals().of("aborted")), (Some(0), 0));
}

#[test]
fn a_redis_that_wants_a_password_is_given_it_and_a_wrong_one_is_told() {
    let Some(redis) = Redis::start_with_password("jobs-password", "s:cret@1") else {
        return;
    };
    let user = "ACL SETUSER jobs on >secret ~jobs:* +@all -@admin -@dangerous";
    assert!(redis_server::has(include_str!("../../docs/jobs.md"), user));
    redis.is_told("s:cret@1", &[user]);
    let address = redis.address();
    let job = r#"{"do": "primes", "below": 1000}"#;
    let from_environment = |password: &str| {
        let mut command = Command::new(example("jobs_tested"));
        let redis = address.to_string();
        command.args(["front", "--listen", "127.0.0.1:0", "--redis", &redis]);
        command.args(["--redis-timeout", "10"]);
        Server::spawn({
            command.env("REDISCLI_AUTH", password);
            command
        })
    };
    let front = from_environment("s:cret@1");
    let of_user = format!("redis://jobs:secret@{address}");
    let worker = worker(address, &["--redis", &of_user]);
    let id = post(front.address, "", job).id();
    until_it_is(front.address, &id, "state", "done");
    assert_eq!(
        last_words(worker),
        "jobs: done=1 failed=0 dead=0 claimed=0 lost=0 left=0"
    );
    let metrics = get(front.address, "/metrics").body;
    assert!(metrics.contains("\njobs_queue_up 1\n"), "{metrics}");
    front.stop();

    let mut front = from_environment("another-secret");
    let answer = post(front.address, "", job);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.body.contains("secret"), "{answer:?}");
    let said = format!("redis at {address}: the server refuses the password");
    let said = front.stderr_says(&said);
    assert!(!said.contains("secret"), "{said}");
    // The server takes the password that it was not.
    redis.is_told("s:cret@1", &["CONFIG SET requirepass another-secret"]);
    let id = until("the login", || match post(front.address, "", job) {
        answer if answer.status == 202 => Ok(answer.id()),
        answer => Err(answer.body),
    });
    assert_eq!(get(front.address, &format!("/jobs/{id}")).status, 200);
    front.stop();
}

#[test]
fn an_address_of_redis_that_is_none_is_refused() {
    for role in ["front", "worker"] {
        for (server, said) in [
            ("redis://secret@x:1", "before the @ expected"),
            (":secret@x:0", "a port from 1 to 65535"),
            ("rediss://:secret@x:1", "TLS is not possible"),
        ] {
            let output = programs::run("jobs_tested", &[role, "--redis", server]);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(
                stderr.contains("--redis: ") && stderr.contains(said),
                "{stderr}"
            );
            assert!(!stderr.contains("secret"), "{stderr}");
        }
    }
}
