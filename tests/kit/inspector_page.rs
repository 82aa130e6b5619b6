//! The inspector's page in a real browser.
//!
//! Without a Chromium these tests say so and are skipped.

#![cfg(target_os = "linux")]

#[path = "util/browser.rs"]
mod browser;
#[path = "../util/programs.rs"]
mod programs;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use browser::{Browser, Tab, browser};
use programs::Server;
use serde_json::{Value, json};

/// The example `misbehave`, and a tab that shows it.
struct Page {
    tab: Tab,
    /// Ends in a slash.
    origin: String,
    server: Server,
}

impl Page {
    fn open(browser: &'static Browser, faults: &[&str]) -> Page {
        let arguments = [&["--inspect", "127.0.0.1:0", "--drain", "0"], faults].concat();
        let mut server = Server::start("misbehave_tested", &arguments);
        let line = server.stdout_says("inspector on ");
        let origin = line.strip_prefix("inspector on ").expect(&line).to_owned();
        Page {
            tab: browser.open(&origin),
            origin,
            server,
        }
    }

    /// The page did all that without a complaint, and asked nobody but its own program.
    #[track_caller]
    fn is_clean(&self) {
        let complaints = self.tab.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
        let requests = self.tab.requests();
        assert!(requests.contains(&self.origin), "{requests:#?}");
        for url in &requests {
            // An icon that is in the page itself is asked for as well.
            let is_own = url.starts_with(&self.origin) || url.starts_with("data:");
            assert!(is_own, "{url} of {requests:#?}");
        }
    }
}

/// A file that is removed with its value.
struct Recording(PathBuf);

impl Recording {
    fn of(program: &str, beats: &[Value]) -> Recording {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("slabloop-page-{}-{number}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        let recording = json!({"v": 1, "program": program, "beats": beats});
        std::fs::write(&path, recording.to_string()).unwrap();
        Recording(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Each is a tenth of a second and a turn.
fn beat(number: u32, slices: &Value, rows: &Value) -> Value {
    json!({
        "v": 1, "turn": number, "at": 1e5 * f64::from(number), "span": 1e5, "turns": 1, "events": 1, "callbacks": 1,
        "busy": 500, "steps": {"wait": 99_000, "dispatch": 1000}, "waits": [], "slices": slices, "rows": rows,
        "gauges": {"connections": 1}, "log": [], "lints": [], "threshold": 50_000,
    })
}

#[test]
fn the_page_is_live_and_has_nothing_to_complain_of() {
    let Some(browser) = browser() else { return };
    let page = Page::open(browser, &[]);
    page.tab.wait("document.documentElement.dataset.beats > 10");
    page.tab
        .wait("document.documentElement.dataset.state === 'live'");
    // Four clients, four served, the listener, and what waits for Ctrl-C.
    let ten = "document.querySelectorAll('#rows tr[data-id]').length === 10";
    page.tab.wait(ten);
    // One that comes while the page looks: of the others it may have been too late to be told.
    let client = page.server.client();
    page.tab
        .wait("document.querySelector('#log tr[data-kind=added]')");
    drop(client);
    page.tab.wait(ten);
    let empty = page.tab.get("document.querySelector('#empty').hidden");
    assert_eq!(empty, true);
    page.is_clean();
    // When the program ends the page says so, and keeps what it has.
    page.server.stop();
    page.tab
        .wait("document.documentElement.dataset.state === 'closed'");
    let text = page
        .tab
        .wait("document.querySelector('#notice-text').textContent");
    let text = text.as_str().unwrap();
    assert!(text.contains("is lost"), "{text}");
    let rows = page
        .tab
        .get("document.querySelectorAll('#rows tr[data-id]').length");
    assert_eq!(rows, 10);
}

/// What to start, the lint that it lights, and words of its sentence.
const FAULTS: [(&[&str], &str, &str); 8] = [
    (
        &["--block", "300"],
        "slow-callback",
        "Worker .* kept the loop for .* ms in handle_read",
    ),
    (&["--spin"], "idle-writer", "Spinner "),
    (&["--no-drain"], "unread-input", "Lazy "),
    (&["--greedy"], "turn-hog", "Hog "),
    (&["--slow-client"], "over-high-mark", "Feed "),
    (&["--leak"], "half-open", "Forgetful "),
    (&["--timers"], "timer-storm", "Ticker "),
    (&["--posts"], "post-pressure", "queue"),
];

/// They run side by side: one of them takes ten seconds before it is a fault.
#[test]
fn each_of_the_eight_lints_is_drawn() {
    let Some(browser) = browser() else { return };
    thread::scope(|scope| {
        for (fault, lint, words) in FAULTS {
            scope.spawn(move || {
                let page = Page::open(browser, fault);
                page.tab.wait(&format!(
                    "[...document.querySelectorAll('#lints li[data-lint={lint}]')]
                        .find(li => li.offsetHeight > 20 && /{words}/.test(li.innerText))"
                ));
                page.is_clean();
            });
        }
    });
}

#[test]
fn a_blocked_loop_is_seen_while_it_blocks_and_named_afterwards() {
    let Some(browser) = browser() else { return };
    let page = Page::open(browser, &["--block", "1500"]);
    // Looked at whenever something changes: whoever asks now and then is too late for it on a busy machine.
    page.tab.wait("document.querySelector('#freeze')");
    page.tab.get(
        "(() => {
            const look = () => {
                const { state } = document.documentElement.dataset, banner = document.querySelector('#freeze');
                const { phase, ms } = banner.dataset, text = banner.innerText;
                if (state === 'frozen' && phase === 'now' && !banner.hidden
                    && text.includes(`no heartbeat for ${ms} ms`)
                    && document.querySelector('#status-text').textContent.includes('no heartbeat')) window.frozenFor ||= +ms;
            };
            const all = { attributes: true, characterData: true, childList: true, subtree: true };
            new MutationObserver(look).observe(document.documentElement, all);
        })()",
    );
    let ms = page.tab.wait("window.frozenFor");
    assert!(ms.as_u64() >= Some(300), "{ms}");
    let over = page.tab.wait(
        "(() => {
            const banner = document.querySelector('#freeze');
            const { phase, callback, ms, id } = banner.dataset;
            return phase === 'over' && ms >= 1500 && !banner.hidden && id !== undefined
                && { callback, id, text: banner.innerText };
        })()",
    );
    assert_eq!(over["callback"], "handle_read");
    let text = over["text"].as_str().unwrap();
    let id = over["id"].as_str().unwrap();
    assert!(text.contains(&format!("Worker {id} kept the loop for ")));
    assert!(text.contains(" ms in handle_read"), "{text}");
    // It stays until it is dismissed.
    page.tab
        .wait("document.documentElement.dataset.state === 'live'");
    let hidden = page.tab.get(
        "(document.querySelector('#freeze-close').click(), document.querySelector('#freeze').hidden)",
    );
    assert_eq!(hidden, true);
    page.is_clean();
}

/// Markup that would be noticed, and characters that make a line look like another one.
const HOSTILE: &str =
    "<script>hit=1</script><img src=x onerror=hit=1>\u{202e}gpj.\u{200b}\u{7}\n<b>&amp;";
const SPELLED: &str =
    r"<script>hit=1</script><img src=x onerror=hit=1>\u{202e}gpj.\u{200b}\u{7}\u{a}<b>&amp;";

#[test]
fn hostile_names_are_shown_as_text() {
    let Some(browser) = browser() else { return };
    let quote = "'\"><i>7.1";
    let row = json!([{"id": "7.1", "type": HOSTILE, "address": HOSTILE, "kind": HOSTILE, "state": HOSTILE,
        "interest": HOSTILE, "held_by": HOSTILE, "callbacks": 1},
        {"id": quote, "type": HOSTILE, "address": "", "state": "open"}]);
    let slices = json!([
        ["7.1", HOSTILE, 110_000, 60_000, 0, 0, 0, HOSTILE],
        [quote, "constructor", 120_000, 10, 0, 0, 0, "ok"]
    ]);
    let mut one = beat(2, &slices, &row);
    one["log"] = json!([
        [110_000, HOSTILE, quote, HOSTILE],
        [110_001, "closed", "7.1", HOSTILE]
    ]);
    one["last_turn"] =
        json!({"turn": 2, "batch": [{"id": HOSTILE, "ready": HOSTILE, "again": true}]});
    one["lints"] = json!([{"lint": HOSTILE, "id": HOSTILE, "type": HOSTILE, "text": HOSTILE, "chapter": HOSTILE},
        {"lint": "constructor", "id": "__proto__", "text": "", "chapter": "valueOf"}]);
    let mut two = one.clone();
    two["turn"] = 3.into();
    two["at"] = 300_000.into();
    let recording = Recording::of(HOSTILE, &[beat(1, &json!([]), &row), one, two]);
    let page = Page::open(browser, &["--replay", recording.path()]);
    page.tab.wait(
        "document.querySelectorAll('#log tr').length === 4 && document.querySelector('#lints li')",
    );
    // Stand on the callback, so that its own line is shown, too.
    page.tab.press("Home", "");
    page.tab.press("ArrowRight", "");
    page.tab
        .wait("document.querySelector('#detail').textContent.includes('<script>hit=1')");
    let shown = page.tab.get("document.body.textContent");
    let shown = shown.as_str().unwrap();
    for character in ['\u{202e}', '\u{200b}', '\u{7}'] {
        assert!(!shown.contains(character), "{}", character.escape_unicode());
    }
    for place in [
        "#rows tr[data-id=\"7.1\"]",
        "#log",
        "#lints .say",
        "#program",
    ] {
        let quoted = json!(place);
        let text = page
            .tab
            .get(&format!("document.querySelector({quoted}).textContent"));
        let text = text.as_str().unwrap();
        // The name of the program may have fewer characters.
        assert!(text.contains(&SPELLED[..58]), "{place}: {text}");
        assert!(
            place == "#program" || text.contains(SPELLED),
            "{place}: {text}"
        );
    }
    assert!(!shown.contains("native code"), "{shown}");
    // Neither run nor made.
    let made = page.tab.get(
        "typeof hit + document.querySelectorAll('body img, main script, #rows b, #rows i, #log i, #log b, #lanes b, #lanes i').length",
    );
    assert_eq!(made, "undefined0");
    page.is_clean();
}

#[test]
fn a_recording_is_stepped_through_with_keys() {
    let Some(browser) = browser() else { return };
    let rows = json!([{"id": "1.1", "type": "First", "state": "open"}, {"id": "2.1", "type": "Second", "state": "open"}]);
    let mut beats: Vec<Value> = Vec::new();
    for number in 1..=30 {
        let end = 100_000 * number;
        let slices = match number {
            5 => {
                json!([
                    ["1.1", "handle_read", 450_000, 10, 1, 5, 0, "ok"],
                    ["2.1", "handle_write", 460_000, 20, 2, 0, 7, "ok"]
                ])
            }
            20 => json!([["1.1", "handle_timer", end - 1000, 30, 0, 0, 0, "ok"]]),
            _ => json!([]),
        };
        beats.push(beat(number, &slices, &rows));
    }
    let recording = Recording::of("recorded", &beats);
    let page = Page::open(browser, &["--replay", recording.path()]);
    let shows = |parts: &[&str]| {
        for part in parts {
            let part = json!(part);
            page.tab.wait(&format!(
                "document.querySelector('#detail').textContent.includes({part})"
            ));
        }
    };
    let is = |state: &str| {
        page.tab.wait(&format!(
            "document.documentElement.dataset.state === '{state}'"
        ))
    };
    page.tab.wait("document.documentElement.dataset.beats > 29");
    page.tab.press("Home", "");
    is("paused");
    page.tab.press("ArrowRight", "");
    shows(&["First 1.1", "handle_read", "5 B in"]);
    page.tab.press("ArrowRight", "");
    shows(&["Second 2.1", "handle_write", "7 B out"]);
    page.tab.press("ArrowRight", "");
    shows(&["First 1.1", "handle_timer"]);
    page.tab
        .wait("document.querySelector('#turn').dataset.turn === '20'");
    page.tab.press("ArrowLeft", "");
    shows(&["Second 2.1"]);
    page.tab
        .wait("document.querySelector('#turn').dataset.turn === '5'");
    page.tab.press(" ", " ");
    is("replay");
    page.tab.press("End", "");
    is("paused");
    page.tab
        .wait("document.querySelector('#turn').dataset.turn === '30'");
    page.is_clean();
}

const DESK: (u32, u32) = (1280, 800);
const TELEPHONE: (u32, u32) = (390, 844);

/// Writes `target/pictures/NAME.png`.
fn keep(tab: &Tab, name: &str) {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    let folder = target.join("pictures");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name).with_extension("png");
    let mut command = Command::new("base64");
    command.arg("-d").stdin(Stdio::piped());
    let mut child = command.stdout(File::create(file).unwrap()).spawn().unwrap();
    // The example has another name in the tests.
    tab.get("document.querySelector('#program').textContent = 'misbehave'");
    let picture = tab.picture();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(picture.as_bytes()).unwrap();
    drop(pipe);
    assert!(child.wait().unwrap().success());
}

/// Waits for so many more beats.
fn beats(tab: &Tab, more: u64) {
    let now = tab.get("+document.documentElement.dataset.beats");
    let then = now.as_u64().unwrap() + more;
    tab.wait(&format!("document.documentElement.dataset.beats >= {then}"));
}

/// One picture in each of the two schemes.
fn keep_both(tab: &Tab, size: (u32, u32), name: &str) {
    for scheme in ["light", "dark"] {
        tab.looks(size, scheme);
        // What it draws next is drawn in these colours and in this size.
        beats(tab, 8);
        keep(tab, &format!("{name}-{scheme}"));
    }
}

/// The pictures of the documentation (with at most 256 colours there), and more, to be looked at after a change to the
/// page:
///
/// ```text
/// cargo build -p slabloop-kit-tests --examples
/// cargo test -p slabloop-kit-tests --test inspector_page pictures -- --ignored
/// ```
#[test]
#[ignore = "takes pictures, to be looked at"]
fn pictures() {
    let Some(browser) = browser() else { return };
    let healthy = Page::open(browser, &[]);
    healthy
        .tab
        .wait("document.documentElement.dataset.beats > 40");
    keep_both(&healthy.tab, DESK, "healthy");
    for (screen, name) in ["telephone", "telephone-2", "telephone-3"]
        .into_iter()
        .enumerate()
    {
        healthy.tab.looks(TELEPHONE, "light");
        healthy.tab.get(&format!("scrollTo(0, {})", 700 * screen));
        keep_both(&healthy.tab, TELEPHONE, name);
    }
    drop(healthy);
    for (fault, lint, _) in FAULTS {
        let page = Page::open(browser, fault);
        page.tab.wait(&format!(
            "document.querySelector('#lints li[data-lint={lint}]')"
        ));
        page.tab.wait("document.documentElement.dataset.beats > 30");
        keep_both(&page.tab, DESK, lint);
    }
    let frozen = Page::open(browser, &["--block", "800"]);
    for scheme in ["light", "dark"] {
        frozen.tab.looks(DESK, scheme);
        frozen
            .tab
            .wait("document.querySelector('#freeze[data-phase=over]')");
        frozen
            .tab
            .wait("document.querySelector('#freeze[data-phase=now]')?.dataset.ms > 400");
        keep(&frozen.tab, &format!("frozen-{scheme}"));
        frozen
            .tab
            .wait("document.querySelector('#freeze[data-phase=over]')");
        frozen.tab.wait("document.documentElement.dataset.state === 'live' && document.querySelector('#freeze[data-phase=over]')");
        keep(&frozen.tab, &format!("frozen-after-{scheme}"));
    }
    frozen.tab.looks(DESK, "light");
    frozen
        .tab
        .get("document.querySelector('#freeze-show').click()");
    keep(&frozen.tab, "paused-light");
    let faults = [
        "--slow-client",
        "--leak",
        "--no-drain",
        "--block",
        "150",
        "--timers",
    ];
    let many = Page::open(browser, &faults);
    many.tab
        .wait("document.querySelectorAll('#lints li').length > 3");
    keep_both(&many.tab, DESK, "many");
    many.tab.looks(TELEPHONE, "light");
    many.tab.get("scrollTo(0, 0)");
    keep_both(&many.tab, TELEPHONE, "telephone-many");
}
