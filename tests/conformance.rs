//! The original as the judge: the same scenario is played on Python's asyncore and asynchat and on
//! slabloop, and the order of callbacks, what they read, and the bytes on the wire are compared.
//!
//! A scenario (`conformance/scenarios.json`) is a list of steps: what plain peers do, what is waited for.
//! Its dispatchers follow a script of verbs for each callback. `conformance/harness.py` plays it in
//! Python, twice, once with each of asyncore's pollers; `conformance/world.rs` plays it here. Both write
//! down the same words.
//!
//! Where slabloop differs on purpose, the scenario says so: a difference names its reason, which is one of
//! [`DIFFERENCES`], and edits asyncore's trace into what slabloop's must be. An edit that finds nothing to
//! edit is a failure as well, so that no difference stays declared that is none. All else must be equal.
//!
//! Python 3.12 and later have no asyncore. Without an older one the tests say so and check nothing.

#[path = "conformance/python.rs"]
mod python;
mod util;
#[path = "conformance/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Why slabloop differs from asyncore, where it does. Each is used by at least one scenario.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "end is a callback",
        "asyncore's recv calls handle_close from inside itself at the end of the stream; here recv calls \
         nothing, handle_eof follows, and only its default closes",
    ),
    (
        "reset is a value",
        "asyncore's recv calls handle_close from inside itself and answers as at the end of the stream; \
         here it returns the error, and handle_close follows the callback",
    ),
    (
        "input before the hang-up",
        "asyncore's poll variant reads once and then closes for the hang-up, whatever input is left; here \
         all of it is delivered first",
    ),
    (
        "closed once",
        "asyncore's poll variant calls handle_close for the hang-up although the read has just called it; \
         here it is called once",
    ),
    (
        "close is told",
        "asyncore's close() calls nothing; here handle_close follows every close, as the last callback",
    ),
    (
        "close is orderly",
        "asyncore closes the descriptor at once; here what is queued leaves, and the connection is over \
         when the peer has finished too",
    ),
    (
        "close does not reset",
        "closing a descriptor with unread input makes the kernel send a reset, which can take the reply \
         with it; here what the peer still sends is read and thrown away first",
    ),
    (
        "queued output is sent",
        "asyncore and asynchat lose what is queued when the peer has finished sending; here it leaves \
         before the connection closes",
    ),
    (
        "slow readers are not read",
        "asyncore reads on while output piles up; here a connection whose own outbox is over its high mark \
         is not read, its end included, until the peer has taken enough",
    ),
    (
        "nothing after close",
        "asyncore and asynchat go on with the event and with the input they hold after close(); here \
         handle_close is the only callback that follows",
    ),
    (
        "verbs after close are quiet",
        "recv and send on a closed asyncore dispatcher call handle_close again; here they return \
         NotConnected and call nothing",
    ),
    (
        "writing is asked for",
        "asyncore follows handle_connect by handle_write, since a socket is writable when it connects; \
         here handle_write comes only to those who ask for it",
    ),
    (
        "connect never calls back",
        "asyncore's connect calls handle_connect from inside itself if the kernel connects at once; here \
         it comes in a later turn",
    ),
    (
        "failed connect is the end",
        "an asyncore dispatcher whose handle_error does not close stays after a refusal, and the next \
         pass takes it for connected; here handle_close follows, whatever handle_error does",
    ),
    (
        "urgent data is told once",
        "asyncore calls handle_expt in every pass until the byte is read, and only while reading is \
         wanted; here handle_priority comes once an event, to those who watch for it",
    ),
    (
        "read for nothing",
        "handle_read may find nothing, which is no error: after a read that filled its buffer exactly, and \
         with urgent data, which the poller reports as readable too",
    ),
    (
        "stale events are dropped",
        "a dispatcher that gets the descriptor of one closed in the same pass gets its event in asyncore; \
         here ids have a generation, and it gets nothing",
    ),
    (
        "stop finishes the turn",
        "ExitNow leaves asyncore's loop in the middle of a pass; here the others who were ready are \
         served before run returns",
    ),
    (
        "a broken connection ends while paused",
        "asyncore doesn't look at a dispatcher that wants neither to read nor to write; here a reset ends \
         the connection all the same",
    ),
    (
        "length zero is a record",
        "asynchat takes a length of zero for no terminator; here it is an empty record, since protocols \
         have bodies of length zero, and a length used up becomes Terminator::None by name",
    ),
    (
        "records after an error",
        "after an error in found_terminator that handle_error survives, asynchat keeps the records it \
         holds until more input comes; here they follow in the next turn",
    ),
];

/// What one play of a scenario left.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    trace: Vec<String>,
    wire: BTreeMap<String, Wire>,
}

/// What one peer got.
#[derive(Clone, Debug, PartialEq)]
struct Wire {
    bytes: String,
    end: String,
}

fn text_of(value: &Value) -> &str {
    value.as_str().expect("the scenario has a text here")
}

fn outcome_of(value: &Value) -> Outcome {
    let trace = value["trace"].as_array().expect("a trace");
    let wire = value["wire"].as_object().expect("peers");
    Outcome {
        trace: trace.iter().map(|line| text_of(line).to_owned()).collect(),
        wire: wire
            .iter()
            .map(|(name, wire)| {
                let bytes = text_of(&wire["bytes"]).to_owned();
                let end = text_of(&wire["end"]).to_owned();
                (name.clone(), Wire { bytes, end })
            })
            .collect(),
    }
}

fn lines_of(value: &Value) -> Vec<String> {
    let lines = value.as_array().expect("lines of a trace");
    lines.iter().map(|line| text_of(line).to_owned()).collect()
}

/// How the bytes of one record are cut into pieces is nobody's promise: pieces that follow each other
/// without a callback or a step between them are one.
fn join_pieces(trace: &mut Vec<String>) {
    let mut joined: Vec<String> = Vec::new();
    for line in trace.drain(..) {
        if let (Some(last), Some((who, piece))) = (joined.last_mut(), line.split_once(" piece '")) {
            if last.starts_with(&format!("{who} piece '")) {
                last.pop();
                *last += piece;
                continue;
            }
        }
        joined.push(line);
    }
    *trace = joined;
}

/// Replaces `from` by `to` at its first place, or everywhere; false if it is nowhere.
fn replace(trace: &mut Vec<String>, from: &[String], to: &[String], everywhere: bool) -> bool {
    let (mut at, mut found) = (0, false);
    while at + from.len() <= trace.len() {
        if trace[at..at + from.len()] == *from {
            trace.splice(at..at + from.len(), to.iter().cloned());
            found = true;
            if !everywhere {
                break;
            }
            at += to.len();
        } else {
            at += 1;
        }
    }
    found
}

/// Turns what asyncore did into what slabloop must do; what went wrong with the difference itself.
fn apply(difference: &Value, theirs: &mut Outcome, ours: &Outcome) -> Result<(), String> {
    let why = text_of(&difference["why"]);
    assert!(
        DIFFERENCES.iter().any(|(known, _)| *known == why),
        "no such difference: {why}"
    );
    let found = if let Some(peer) = difference["wire"].as_str() {
        let (theirs, ours) = (theirs.wire.get_mut(peer), &ours.wire[peer]);
        let theirs = theirs.expect("both have the same peers");
        let differs = *theirs != *ours && ours.bytes.starts_with(&theirs.bytes);
        *theirs = ours.clone();
        differs
    } else if let Some(who) = difference["who"].as_str() {
        // The end of the stream, the commonest by far: of a dispatcher that reads, or of a chat.
        let line = |text: &str| format!("{who} {text}");
        let after = [line("got ''"), line("eof"), line("close")];
        let trace = &mut theirs.trace;
        replace(trace, &[line("close"), line("got ''")], &after, false)
            || replace(trace, &[line("close")], &after[1..], false)
    } else {
        let (from, to) = (lines_of(&difference["from"]), lines_of(&difference["to"]));
        replace(&mut theirs.trace, &from, &to, difference["all"] == true)
    };
    if found {
        return Ok(());
    }
    Err(format!("declared, but not seen: {difference}"))
}

/// Compares; what differs, or nothing.
fn compare(scenario: &Value, poller: &str, theirs: &Value, ours: &Outcome) -> Option<String> {
    let mut theirs = outcome_of(theirs);
    let mut ours = ours.clone();
    let as_they_did = theirs.clone();
    let mut wrong = Vec::new();
    for difference in scenario["differences"].as_array().into_iter().flatten() {
        let only = difference["only"].as_str();
        if only.is_none_or(|only| only == poller) {
            if let Err(error) = apply(difference, &mut theirs, &ours) {
                wrong.push(error);
            }
        }
    }
    join_pieces(&mut theirs.trace);
    join_pieces(&mut ours.trace);
    if theirs.trace != ours.trace {
        let place = theirs
            .trace
            .iter()
            .zip(&ours.trace)
            .position(|(a, b)| a != b);
        let place = place.unwrap_or(theirs.trace.len().min(ours.trace.len()));
        wrong.push(format!(
            "traces differ from line {place} on\n  asyncore ({poller}): {:#?}\n  after the declared \
             differences: {:?}\n  slabloop: {:#?}",
            as_they_did.trace, theirs.trace, ours.trace
        ));
    }
    if theirs.wire != ours.wire {
        let lengths = |outcome: &Outcome| -> Vec<_> {
            let wire = outcome.wire.iter();
            wire.map(|(name, w)| format!("{name}: {} bytes, {}", w.bytes.chars().count(), w.end))
                .collect()
        };
        wrong.push(format!(
            "wires differ: asyncore ({poller}) {:?}, slabloop {:?}",
            lengths(&theirs),
            lengths(&ours)
        ));
    }
    if ours.trace.iter().any(|line| line.starts_with("!!")) {
        wrong.push("something did not happen".to_owned());
    }
    let name = text_of(&scenario["name"]);
    (!wrong.is_empty()).then(|| format!("{name}: {}", wrong.join("\n")))
}

/// Plays the scenarios on both sides and compares.
fn check(scenarios: &[Value]) {
    let Some(python) = python::with_asyncore() else {
        return;
    };
    let input = Value::from(scenarios).to_string();
    let output = python::run(&python, "harness.py", &[], Some(&input));
    let theirs: Value = serde_json::from_str(&output).expect("the harness prints JSON");
    let mut wrong = Vec::new();
    for (number, scenario) in scenarios.iter().enumerate() {
        let ours = world::play(scenario, number);
        for poller in ["select", "poll"] {
            wrong.extend(compare(scenario, poller, &theirs[number][poller], &ours));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

fn scenarios() -> Vec<Value> {
    let text = include_str!("conformance/scenarios.json");
    let all: Value = serde_json::from_str(text).expect("scenarios.json is JSON");
    all.as_array().expect("a list").clone()
}

fn check_those_of(theme: &str) {
    let chosen: Vec<Value> = scenarios()
        .into_iter()
        .filter(|s| s["theme"] == theme)
        .collect();
    assert!(!chosen.is_empty(), "no scenario of the theme {theme}");
    check(&chosen);
}

#[test]
fn dispatchers_of_a_server_behave_as_in_asyncore() {
    check_those_of("server");
}

#[test]
fn dispatchers_of_a_client_behave_as_in_asyncore() {
    check_those_of("client");
}

#[test]
fn buffered_sending_behaves_as_in_asyncore() {
    check_those_of("with_send");
}

#[test]
fn ends_of_pipes_behave_as_asyncores_file_dispatchers() {
    check_those_of("file");
}

#[test]
fn framing_behaves_as_in_asynchat() {
    check_those_of("chat");
}

/// A stream with a terminator, cut in two at every place: what has been gathered, what is held back as the
/// possible beginning of the terminator, and which records were found is the same after every piece.
#[test]
fn input_cut_at_every_place_is_framed_as_by_asynchat() {
    let mut generated = Vec::new();
    for (terminator, stream) in [
        ("\r\n", "\r\r\nab\r\n\r\n\rc\r"),
        ("aab", "aaabaaaabab"),
        ("qqq", "qaqqbqqqqqcqqqqqq"),
        ("\r\n\r\n", "x\r\n\r\r\n\r\ny\r\n\r\n\r\n\r\n"),
    ] {
        let cuts = 1..stream.len();
        let pairs = cuts.map(|cut| vec![&stream[..cut], &stream[cut..]]);
        let all_single = stream.split("").filter(|piece| !piece.is_empty()).collect();
        for pieces in pairs.chain([all_single]) {
            generated.push(framing_scenario(terminator, &pieces));
        }
    }
    check(&generated);
}

/// The same with random streams over few letters, so that false beginnings abound, cut at random.
#[test]
fn input_cut_at_random_is_framed_as_by_asynchat() {
    let mut random = Random(0x5eed);
    let mut generated = Vec::new();
    for _ in 0..150 {
        let terminator = random.letters(1, 4);
        let mut stream = String::new();
        for _ in 0..random.below(6) {
            stream += &random.letters(0, 12);
            stream += &terminator;
        }
        stream += &random.letters(1, 9);
        let mut pieces = Vec::new();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(1 + random.below(rest.len().min(7)));
            pieces.push(piece);
            rest = left;
        }
        generated.push(framing_scenario(&terminator, &pieces));
    }
    check(&generated);
}

fn framing_scenario(terminator: &str, pieces: &[&str]) -> Value {
    let steps: Vec<Value> = [json!(["connect", "p1"]), json!(["accepted", 1])]
        .into_iter()
        .chain(pieces.iter().map(|piece| json!(["feed", "p1", piece])))
        .collect();
    json!({
        "name": format!("{terminator:?} in {pieces:?}"),
        "family": "unix",
        "server": {"kind": "chat", "terminator": terminator, "pieces": true},
        "steps": steps,
    })
}

/// A generator that needs no crate, and gives the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    fn letters(&mut self, least: usize, most: usize) -> String {
        let length = least + self.below(most - least + 1);
        (0..length)
            .map(|_| ['a', 'b', '\r'][self.below(3)])
            .collect()
    }
}

#[test]
fn every_difference_is_used_and_every_name_is_there_once() {
    let all = scenarios();
    let names: BTreeSet<&str> = all.iter().map(|s| text_of(&s["name"])).collect();
    assert_eq!(names.len(), all.len(), "two scenarios of one name");
    let used: BTreeSet<&str> = all
        .iter()
        .flat_map(|s| s["differences"].as_array().into_iter().flatten())
        .map(|difference| text_of(&difference["why"]))
        .collect();
    let known: BTreeSet<&str> = DIFFERENCES.iter().map(|(name, _)| *name).collect();
    assert_eq!(used, known);
}

#[test]
fn porting_guide_states_every_difference_and_the_counts() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/asyncore.md");
    let guide = std::fs::read_to_string(path).expect("the guide is part of the package");
    let all = scenarios();
    let count = all.len();
    let equal = all
        .iter()
        .filter(|scenario| scenario["differences"].as_array().is_none_or(Vec::is_empty))
        .count();
    for sentence in [
        format!("plays {count} scenarios twice"),
        format!("\n{equal} of the {count} scenarios are equal"),
        format!("\n{} reasons", DIFFERENCES.len()),
    ] {
        assert!(
            guide.contains(&sentence),
            "the guide does not say: {sentence}"
        );
    }
    for (name, _) in DIFFERENCES {
        let row = format!("\n| {name} |");
        assert!(guide.contains(&row), "the guide has no row for: {name}");
    }
}
