//! The recordings of the book, in `docs/book/recordings`: they are what they are said to be, the crate takes them, and the
//! inspector's page plays them, opened as a file, with no server.
//!
//! They were made, and are made anew, by
//!
//! ```text
//! cargo build -p slabloop-kit-tests --examples && cargo test -p slabloop-kit-tests --test recordings made_anew -- --ignored
//! ```
//!
//! after which the answers of the exercise are to be looked at: `cargo test -p exercises --features solution --test 13_what_is_wrong`.

#![cfg(target_os = "linux")]

#[path = "util/browser.rs"]
mod browser;
#[path = "../util/programs.rs"]
mod programs;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use browser::{Tab, browser};
use programs::{PATIENCE, Server};
use serde_json::{Value, json};
use slabloop::Reactor;
use slabloop::inspector::{self, Options};

/// A recording of the example `misbehave`.
struct Made {
    name: &'static str,
    faults: &'static [&'static str],
    /// The one lint in it, if any.
    lint: &'static str,
    /// How many beats of it are kept.
    beats: usize,
    /// For the exercise, so many names are moved on: neither they nor lints say what is wrong.
    riddle: Option<usize>,
}

const MADE: [Made; 8] = [
    made("healthy", &[], "", 20),
    made("blocked", &["--block", "800"], "slow-callback", 26),
    made("greedy", &["--greedy"], "turn-hog", 22),
    made("unread", &["--no-drain"], "unread-input", 20),
    made("stale", &["--ghost"], "", 24),
    riddle("what-is-wrong-1", &["--spin"], 3, 20),
    riddle("what-is-wrong-2", &["--slow-client"], 0, 22),
    riddle("what-is-wrong-3", &["--block", "90"], 5, 26),
];

const fn made(
    name: &'static str,
    faults: &'static [&'static str],
    lint: &'static str,
    beats: usize,
) -> Made {
    Made {
        name,
        faults,
        lint,
        beats,
        riddle: None,
    }
}

const fn riddle(
    name: &'static str,
    faults: &'static [&'static str],
    moved: usize,
    beats: usize,
) -> Made {
    let mut made = made(name, faults, "", beats);
    made.riddle = Some(moved);
    made
}

/// A page of the book is opened by people with slow lines as well.
const MOST_BYTES: u64 = 80_000;

/// Few and calm clients, so that there is little beside the fault.
const CALM: [&str; 4] = ["--clients", "2", "--every", "200"];

fn root() -> PathBuf {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR"));
    kit.ancestors().nth(2).expect("tests/kit").to_owned()
}

fn folder() -> PathBuf {
    root().join("docs/book/recordings")
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).expect("the recordings");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    assert_eq!(files.len(), MADE.len(), "{files:?}");
    files
}

fn read(name: &str) -> Value {
    let path = folder().join(name).with_extension("json");
    let text = fs::read_to_string(&path).expect(name);
    serde_json::from_str(&text).expect(name)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The names of the lints in it.
fn lints(recording: &Value) -> BTreeSet<&str> {
    let beats = list(&recording["beats"]).iter();
    let lints = beats.flat_map(|beat| list(&beat["lints"]));
    lints.filter_map(|lint| lint["lint"].as_str()).collect()
}

#[test]
fn the_crate_takes_each_recording_and_none_is_large() {
    for path in files() {
        let name = path.display();
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() as u64 <= MOST_BYTES, "{name}: {}", bytes.len());
        let mut reactor = Reactor::new().unwrap();
        let replay = inspector::replay(&mut reactor, "127.0.0.1:0", &Options::new(), &bytes);
        assert!(replay.is_ok(), "{name}: {replay:?}");
    }
}

#[test]
fn each_recording_has_its_one_fault_and_no_other() {
    for made in &MADE {
        let recording = read(made.name);
        let beats = list(&recording["beats"]);
        assert_eq!(beats.len(), made.beats, "{}", made.name);
        let turns: Vec<u64> = beats.iter().map(|b| b["turn"].as_u64().unwrap()).collect();
        assert!(turns.is_sorted_by(|a, b| a < b), "{}", made.name);
        let expected: BTreeSet<&str> = [made.lint].into_iter().filter(|l| !l.is_empty()).collect();
        assert_eq!(lints(&recording), expected, "{}", made.name);
    }
    for (number, lint) in [
        (1, "idle-writer"),
        (2, "over-high-mark"),
        (3, "slow-callback"),
    ] {
        let recording = read(&format!("what-is-wrong-{number}"));
        let rows = list(&recording["beats"][0]["rows"]);
        // The faults speak to themselves, over a pair of sockets without a name.
        let culprit = rows.iter().find(|row| row["address"] == "unnamed");
        let culprit = culprit.expect("it is there")["type"].as_str().unwrap();
        let solution = root().join("exercises/13_what_is_wrong/solution.rs");
        let answers = fs::read_to_string(solution).unwrap();
        let answer = format!("(\"{lint}\", \"{culprit}\")");
        assert!(answers.contains(&answer), "{number}: {answer}");
    }
    let stale = read("stale");
    let batches = list(&stale["beats"]).iter();
    let chips = batches.flat_map(|beat| list(&beat["last_turn"]["batch"]));
    let crossed = chips.filter(|chip| chip["stale"] == true).count();
    assert!(crossed > 0, "a batch with a stale event is shown");
}

/// The page as a file, with its keys' help closed.
fn page_as_a_file(browser: &'static browser::Browser) -> Tab {
    let page = root().join("src/inspector/page.html");
    let tab = browser.open(&format!("file://{}", page.display()));
    tab.wait("!document.querySelector('#empty').hidden");
    tab
}

/// All beats are in it, and the page has nothing to complain of.
#[track_caller]
fn plays(tab: &Tab, path: &Path) {
    let name = path.file_stem().unwrap().to_str().unwrap();
    tab.wait("document.documentElement.dataset.source === 'replay'");
    let beats = list(&read(name)["beats"]).len();
    let taken = tab.wait("document.documentElement.dataset.beats");
    assert_eq!(taken, beats.to_string(), "{name}");
    let notice = tab.get(
        "document.querySelector('#notice').hidden || document.querySelector('#notice').innerText",
    );
    assert_eq!(notice, true, "{name}");
    tab.press("End", "");
    tab.wait("document.querySelectorAll('#rows tr[data-id]').length > 4");
    let complaints = tab.complaints();
    assert!(complaints.is_empty(), "{name}: {complaints:#?}");
}

/// Chooses a file, as *Open…* does.
fn choose(tab: &Tab, path: &Path) {
    let document = tab.call("DOM.getDocument", &json!({}));
    let root = &document["root"]["nodeId"];
    let input = tab.call(
        "DOM.querySelector",
        &json!({"nodeId": root, "selector": "#file"}),
    );
    tab.call(
        "DOM.setFileInputFiles",
        &json!({"nodeId": input["nodeId"], "files": [path]}),
    );
}

/// Drags a file over the page and lets go.
fn drop_on(tab: &Tab, path: &Path) {
    for what in ["dragEnter", "dragOver", "drop"] {
        tab.call(
            "Input.dispatchDragEvent",
            &json!({"type": what, "x": 400, "y": 300,
                "data": {"items": [], "files": [path], "dragOperationsMask": 1}}),
        );
    }
}

#[test]
fn the_page_opened_as_a_file_plays_each_recording_that_is_chosen() {
    let Some(browser) = browser() else { return };
    for path in files() {
        let tab = page_as_a_file(browser);
        choose(&tab, &path);
        plays(&tab, &path);
    }
}

#[test]
fn the_page_opened_as_a_file_plays_a_recording_that_is_dropped_on_it() {
    let Some(browser) = browser() else { return };
    let path = folder().join("blocked.json");
    let tab = page_as_a_file(browser);
    drop_on(&tab, &path);
    plays(&tab, &path);
    tab.wait("document.querySelector('#lints li[data-lint=slow-callback]')");
    // It plays as it was: the heartbeat is missed, and then the culprit is named.
    tab.press("Home", "");
    tab.press(" ", " ");
    tab.wait(
        "document.querySelector('#freeze[data-phase=now]')?.innerText.includes('no heartbeat')",
    );
    tab.wait(
        "document.querySelector('#freeze[data-phase=over]')?.innerText.includes('Worker 6.1')",
    );
}

/// `target/pictures/recording-NAME.png`, to be looked at: as it stands at the end, or at a stale event.
#[test]
#[ignore = "takes pictures, to be looked at"]
fn pictures_of_recordings() {
    let Some(browser) = browser() else { return };
    for path in files() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let tab = page_as_a_file(browser);
        choose(&tab, &path);
        plays(&tab, &path);
        tab.looks((1280, 1000), "light");
        if name == "stale" {
            // The page goes there, and has the batch of that turn.
            tab.wait("document.querySelector('#log tr[data-kind=stale]')");
            tab.get("document.querySelector('#log tr[data-kind=stale]').click()");
            tab.wait("document.querySelector('#batch .stale')");
        }
        tab.picture();
        keep(&tab, name);
    }
}

fn keep(tab: &Tab, name: &str) {
    let test = std::env::current_exe().unwrap();
    let pictures = test.ancestors().nth(3).unwrap().join("pictures");
    fs::create_dir_all(&pictures).unwrap();
    let file = pictures.join(format!("recording-{name}.png"));
    let mut command = std::process::Command::new("base64");
    command.arg("-d").stdin(std::process::Stdio::piped());
    command.stdout(fs::File::create(file).unwrap());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(tab.picture().as_bytes()).unwrap();
    drop(pipe);
    assert!(child.wait().unwrap().success());
}

/// Writes all recordings anew. Wants a machine with little else to do: a callback that was kept waiting by another program is
/// a fault of its own, and then this fails.
#[test]
#[ignore = "makes the recordings anew"]
fn recordings_are_made_anew() {
    for made in &MADE {
        let mut recording = record(made);
        recording["beats"]
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .for_each(shorten);
        let found = lints(&recording);
        let is_known = |lint: &&str| *lint == made.lint;
        if made.riddle.is_none() {
            assert!(found.iter().all(is_known), "{}: {found:?}", made.name);
        }
        let mut text = one_beat_a_line(&recording);
        if let Some(moved) = made.riddle {
            text = one_beat_a_line(&veiled(recording, made.name, moved));
        }
        fs::write(folder().join(made.name).with_extension("json"), text).unwrap();
    }
}

/// Runs the program with a page that looks until the fault is seen, and some beats longer.
fn record(made: &Made) -> Value {
    let arguments = [
        &["--inspect", "127.0.0.1:0", "--drain", "0"],
        &CALM[..],
        made.faults,
    ]
    .concat();
    let mut server = Server::start("misbehave_tested", &arguments);
    let line = server.stdout_says("inspector on ");
    let address = line.strip_prefix("inspector on http://").expect(&line);
    let address = address.trim_end_matches('/');
    let get = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let (mut seen, mut beats) = (made.lint.is_empty(), 0);
    for line in BufReader::new(get("/events")).lines() {
        let line = line.unwrap();
        let Some(beat) = line.strip_prefix("data: ") else {
            continue;
        };
        let beat: Value = serde_json::from_str(beat).unwrap();
        seen |= list(&beat["lints"])
            .iter()
            .any(|lint| lint["lint"] == made.lint);
        beats += usize::from(seen || beats < made.beats / 2);
        // The first beats are of the start.
        if seen && beats > made.beats + 5 {
            break;
        }
    }
    let mut answer = String::new();
    get("/recording.json").read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").expect(&answer);
    let mut recording: Value = serde_json::from_str(body).expect(&answer);
    recording["program"] = "misbehave".into();
    let all = recording["beats"].as_array_mut().unwrap();
    // It was made for the asking, and is of a millisecond.
    all.pop();
    all.drain(..all.len() - made.beats);
    recording
}

/// Callbacks of a beat that are kept, and waits.
const SLICES: usize = 20;
const WAITS: usize = 8;

/// Leaves out of a beat what is nothing, fractions of microseconds, and what is many, which is counted as left out.
fn shorten(beat: &mut Value) {
    let threshold = beat["threshold"].as_f64().unwrap_or(1e5);
    if let Some(slices) = beat["slices"].as_array_mut() {
        let many = slices.len().saturating_sub(SLICES);
        let (old, _) = slices.split_at(many);
        let slow: Vec<Value> = old
            .iter()
            .filter(|s| s[3].as_f64() > Some(threshold / 2.0))
            .cloned()
            .collect();
        let left_out = many - slow.len();
        slices.splice(..many, slow);
        let dropped = beat["slices_dropped"].as_u64().unwrap_or(0);
        beat["slices_dropped"] = (dropped + left_out as u64).into();
    }
    if let Some(waits) = beat["waits"].as_array_mut() {
        waits.retain(|wait| wait[1].as_f64() > Some(1000.0));
        waits.truncate(WAITS);
    }
    for row in beat["rows"].as_array_mut().into_iter().flatten() {
        let fields = row.as_object_mut().unwrap();
        // The page shows the address in its place; and nobody looks at the inspector's own outboxes.
        fields.remove("kind");
        if fields["internal"] == true {
            fields.retain(|name, _| !["low", "high", "cap"].contains(&name.as_str()));
        }
    }
    round(beat);
}

fn round(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(round);
            let is_nothing = |value: &Value| {
                [
                    json!(0),
                    json!(""),
                    json!(false),
                    json!([]),
                    json!({}),
                    json!(null),
                ]
                .contains(value)
            };
            fields.retain(|name, value| {
                ["turn", "at"].contains(&name.as_str()) || !is_nothing(value)
            });
        }
        Value::Array(values) => values.iter_mut().for_each(round),
        Value::Number(number) if number.is_f64() => {
            let exact = number.as_f64().unwrap();
            *value = match exact {
                ..10.0 => exact.into(),
                _ => format!("{exact:.0}").parse::<i64>().unwrap().into(),
            };
        }
        _ => {}
    }
}

/// No lint says what is wrong, and no name.
fn veiled(mut recording: Value, name: &str, moved: usize) -> Value {
    const TREES: [&str; 7] = ["Alder", "Birch", "Cedar", "Elm", "Hazel", "Maple", "Willow"];
    let mut types = BTreeSet::new();
    for beat in recording["beats"].as_array_mut().unwrap() {
        beat.as_object_mut().unwrap().remove("lints");
        if let Some(log) = beat["log"].as_array_mut() {
            log.retain(|line| line[1] != "slow");
        }
        let rows = list(&beat["rows"])
            .iter()
            .filter(|row| row["internal"] != true);
        types.extend(
            rows.filter_map(|row| row["type"].as_str())
                .map(str::to_owned),
        );
    }
    recording["program"] = name.into();
    let mut text = recording.to_string();
    for (number, old) in types.iter().enumerate() {
        let tree = TREES[(number + moved) % TREES.len()];
        // As a type, and in lines of the log.
        text = text.replace(&format!("\"{old}\""), &format!("\"{tree}\""));
        text = text.replace(&format!("\"{old} "), &format!("\"{tree} "));
    }
    serde_json::from_str(&text).unwrap()
}

/// So that a difference between two versions can be read.
fn one_beat_a_line(recording: &Value) -> String {
    let beats = list(&recording["beats"]).iter().map(Value::to_string);
    let beats: Vec<String> = beats.collect();
    format!(
        "{{\"v\":1,\"program\":{},\"beats\":[\n{}\n]}}\n",
        recording["program"],
        beats.join(",\n")
    )
}
