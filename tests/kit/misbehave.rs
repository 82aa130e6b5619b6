//! The example `misbehave`: each fault lights its own lint and no other, and without one there is none.

#![cfg(target_os = "linux")]

#[path = "../util/programs.rs"]
mod programs;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use programs::{PATIENCE, Server};
use serde_json::Value;

/// What burns the processor does so alone: others would have slow callbacks for want of it.
static ALONE: Mutex<()> = Mutex::new(());

/// Asks so often. (What is waited for is another program's lint; nothing here could wake us.)
const PAUSE: Duration = Duration::from_millis(100);

struct Misbehaving {
    server: Server,
    inspector: SocketAddr,
}

impl Misbehaving {
    fn start(faults: &[&str]) -> Misbehaving {
        let arguments = [&["--inspect", "127.0.0.1:0", "--drain", "0"], faults].concat();
        let mut server = Server::start("misbehave_tested", &arguments);
        let line = server.stdout_says("inspector on ");
        let address = line
            .strip_prefix("inspector on http://")
            .and_then(|rest| rest.strip_suffix('/'));
        let inspector = address.expect(&line).parse().expect(&line);
        Misbehaving { server, inspector }
    }

    fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.inspector).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").expect(&answer);
        serde_json::from_str(body).expect(&answer)
    }

    fn lints(&self) -> Vec<Value> {
        let lints = &self.get("/lints.json")["lints"];
        let mut lints = lints.as_array().expect("a list").clone();
        lints.retain(|lint| !is_from_a_busy_machine(lint));
        lints
    }

    /// Asks until the lint is there, and a few times more. No other may come up.
    #[track_caller]
    fn lights(&self, name: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = BTreeSet::new();
        let mut last = Value::Null;
        let mut after = 0;
        while after < 10 {
            assert!(Instant::now() < deadline, "{name} does not come up");
            let lints = self.lints();
            seen.extend(lints.iter().map(|lint| lint["text"].to_string()));
            for lint in lints {
                assert_eq!(lint["lint"], name, "{seen:?}");
                last = lint;
            }
            after += u32::from(!last.is_null());
            thread::sleep(PAUSE);
        }
        last
    }
}

/// Others may keep a callback off the processor, and then it is slow through no fault of its own. The one whose fault it is
/// is a worker's.
fn is_from_a_busy_machine(lint: &Value) -> bool {
    lint["lint"] == "slow-callback" && lint["type"] != "Worker"
}

/// `fault` lights `name` in a sentence that has these parts.
#[track_caller]
fn lights(fault: &[&str], name: &str, chapter: &str, parts: &[&str]) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let program = Misbehaving::start(fault);
    let lint = program.lights(name);
    let text = lint["text"].as_str().unwrap();
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(lint["chapter"], chapter);
    assert!(lint["value"].as_f64().unwrap() > 0.0);
    // The healthy part is served all the while.
    let mut client = program.server.client();
    client.write_all(b"well?").unwrap();
    let mut back = [0; 5];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"well?");
}

#[test]
fn block_lights_slow_callback() {
    // On a busy machine it takes longer than it says.
    let parts = ["Worker ", "kept the loop for ", " ms in handle_read"];
    lights(&["--block", "300"], "slow-callback", "12", &parts);
}

#[test]
fn spin_lights_idle_writer() {
    let parts = ["Spinner ", "empty outbox", " callbacks, 0 bytes"];
    lights(&["--spin"], "idle-writer", "7", &parts);
}

#[test]
fn no_drain_lights_unread_input() {
    let parts = ["Lazy ", "times in a row and took no byte"];
    lights(&["--no-drain"], "unread-input", "4", &parts);
}

#[test]
fn greedy_lights_turn_hog() {
    let parts = ["Hog ", " % of the busy time of the last second"];
    lights(&["--greedy"], "turn-hog", "11", &parts);
}

#[test]
fn slow_client_lights_over_high_mark() {
    let parts = ["Feed ", "over its high mark for ", " of 1,024 KiB"];
    lights(&["--slow-client"], "over-high-mark", "8", &parts);
}

#[test]
fn leak_lights_half_open() {
    let parts = ["120 dispatchers", "over 10 s", "Forgetful "];
    lights(&["--leak"], "half-open", "9", &parts);
}

#[test]
fn timers_light_timer_storm() {
    let parts = [" % of turns were woken by timers alone", "Ticker "];
    lights(&["--timers"], "timer-storm", "10", &parts);
}

#[test]
fn posts_light_post_pressure() {
    let parts = ["above 90 %", " of 65,536 places", " posts were refused"];
    lights(&["--posts"], "post-pressure", "12", &parts);
}

#[test]
fn nothing_lights_without_a_fault() {
    let program = Misbehaving::start(&[]);
    // Longer than any lint needs but the one about leaks.
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        assert_eq!(program.lints(), Vec::<Value>::new());
        thread::sleep(PAUSE);
    }
    let beat = &program.get("/snapshot.json")["beats"][0];
    assert!(beat["callbacks"].as_u64().unwrap() > 100, "{beat}");
    program.server.stop();
}

#[test]
fn events_for_a_ghost_are_dropped_and_shown_and_light_nothing() {
    let program = Misbehaving::start(&["--ghost"]);
    let deadline = Instant::now() + PATIENCE;
    let is_dropped = |beat: &Value| {
        let log = beat["log"].as_array().expect("a list");
        log.iter().any(|line| line[1] == "stale")
    };
    while !is_dropped(&program.get("/snapshot.json")["beats"][0]) {
        assert!(Instant::now() < deadline, "no stale event");
        assert_eq!(program.lints(), Vec::<Value>::new());
        thread::sleep(PAUSE / 10);
    }
    program.server.stop();
}

#[test]
fn slow_motion_is_no_fault() {
    let program = Misbehaving::start(&["--turn-delay", "30"]);
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        assert_eq!(program.lints(), Vec::<Value>::new());
        thread::sleep(PAUSE);
    }
    program.server.stop();
}

#[test]
fn wrong_usage_names_what_would_be_right() {
    for (arguments, part) in [
        (["--block", "long"], "a whole number of milliseconds"),
        (["--clients", "-1"], "a whole number of at least 0"),
        (["--inspect", "here"], "HOST:PORT"),
        (["--replay", "run.json"], "--replay wants --inspect"),
    ] {
        let ended = programs::run("misbehave_tested", &arguments);
        assert_eq!(ended.status.code(), Some(2));
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn the_example_inspector_shows_its_room() {
    let mut server = Server::start("inspector_tested", &["--page", "127.0.0.1:0"]);
    let line = server.stdout_says("inspector on ");
    let address = line.strip_prefix("inspector on http://").expect(&line);
    let inspector = address.trim_end_matches('/').parse().expect(&line);
    let mut client = server.client();
    let mut tick = [0; 5];
    client.read_exact(&mut tick).unwrap();
    assert_eq!(&tick, b"tick ");
    let program = Misbehaving { server, inspector };
    let snapshot = program.get("/snapshot.json");
    let rows = snapshot["beats"][0]["rows"].as_array().unwrap();
    for name in ["Room", "Door", "Member"] {
        assert!(rows.iter().any(|row| row["type"] == name), "{name}");
    }
    program.server.stop();
}

#[test]
fn a_recording_is_replayed_from_a_file() {
    let program = Misbehaving::start(&[]);
    let recording = program.get("/recording.json");
    let file = std::env::temp_dir().join(format!("slabloop-replay-{}.json", std::process::id()));
    std::fs::write(&file, recording.to_string()).unwrap();
    let replay = Misbehaving::start(&["--replay", file.to_str().unwrap()]);
    assert_eq!(replay.get("/recording.json"), recording);
    std::fs::write(&file, "not JSON").unwrap();
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--inspect",
        "127.0.0.1:0",
        "--replay",
        file.to_str().unwrap(),
    ];
    let ended = programs::run("misbehave_tested", &arguments);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(text.contains("not a recording of the inspector"), "{text}");
}
