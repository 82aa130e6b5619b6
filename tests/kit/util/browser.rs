//! Chromium without a window, driven over its DevTools protocol.
//!
//! The protocol is spoken over two pipes (`--remote-debugging-pipe`): messages of JSON, each ended by a zero byte. A
//! websocket would do as well and would need a library; and with pipes the browser ends by itself when the test program
//! does, however that ends.
//!
//! There is one browser for all tests of a file, for its start takes as long as most of them. Each tab has a context of
//! its own: no storage or cache is shared.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// Guards against a hang; nothing is measured with it. What a page waits for has so long, and its answer twice that.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the browser, its commands on descriptor 3 and its answers on 4, and removes its profile afterwards.
const RUN: &str = "
profile=$(mktemp -d) || exit
\"$@\" --user-data-dir=\"$profile\" 3<&0 4>&1 </dev/null >/dev/null 2>&1
rm -rf \"$profile\"";

const FLAGS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    // Nothing of its own over the network, and nothing that would slow down a tab that another one is in front of.
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--remote-debugging-pipe",
];

/// `None`, and a line that says so, where there is no browser.
pub(crate) fn browser() -> Option<&'static Browser> {
    static BROWSER: OnceLock<Option<Browser>> = OnceLock::new();
    let browser = BROWSER.get_or_init(Browser::start).as_ref();
    if browser.is_none() {
        eprintln!("skipped: there is no chromium");
    }
    browser
}

pub(crate) struct Browser {
    commands: Mutex<ChildStdin>,
    heard: Arc<Mutex<Heard>>,
}

/// What the browser has said.
#[derive(Default)]
struct Heard {
    last_id: u64,
    /// Who waits for the answer with that number.
    answers: HashMap<u64, Sender<Value>>,
    /// The events of each tab.
    events: HashMap<String, Vec<Value>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Browser {
    fn start() -> Option<Browser> {
        let names = ["chromium", "chromium-headless-shell", "google-chrome"];
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let is_here = |name: &&str| std::env::split_paths(&paths).any(|at| at.join(name).is_file());
        let name = names.into_iter().find(is_here)?;
        let mut command = Command::new("sh");
        command.args(["-c", RUN, "sh", name]).args(FLAGS);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("there is a shell");
        let commands = child.stdin.take().expect("piped");
        let mut messages = BufReader::new(child.stdout.take().expect("piped"));
        let heard = Arc::<Mutex<Heard>>::default();
        let hearing = heard.clone();
        thread::spawn(move || {
            let mut message = Vec::new();
            while messages.read_until(0, &mut message).is_ok_and(|n| n > 0) {
                message.pop();
                let value = serde_json::from_slice(&message).expect("JSON");
                locked(&hearing).take(value);
                message.clear();
            }
            // Nobody gets an answer any more.
            locked(&hearing).answers.clear();
            let _ = child.wait();
        });
        Some(Browser {
            commands: Mutex::new(commands),
            heard,
        })
    }

    /// Gives a command and waits for its answer.
    #[track_caller]
    fn call(&self, session: Option<&str>, method: &str, parameters: &Value) -> Value {
        let (sender, answer) = channel();
        let mut heard = locked(&self.heard);
        heard.last_id += 1;
        let id = heard.last_id;
        heard.answers.insert(id, sender);
        drop(heard);
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let sent = locked(&self.commands).write_all(format!("{message}\0").as_bytes());
        sent.expect("the browser runs");
        let answer = answer.recv_timeout(2 * PATIENCE);
        let answer = answer.unwrap_or_else(|error| panic!("{message}: {error}"));
        assert!(answer.get("error").is_none(), "{message}: {answer}");
        answer["result"].clone()
    }

    /// A tab that shows `url`. Everything it does is noted from the start.
    #[track_caller]
    pub(crate) fn open(&'static self, url: &str) -> Tab {
        let tab = self.tab();
        tab.go(url);
        tab
    }

    /// A tab of 1280 by 800 that is empty yet.
    #[track_caller]
    pub(crate) fn tab(&'static self) -> Tab {
        let made = self.call(None, "Target.createBrowserContext", &json!({}));
        let context = made["browserContextId"].as_str().expect("an id").to_owned();
        // In a window of its own, or only the newest tab would be drawn.
        let target = json!({"url": "about:blank", "browserContextId": context, "newWindow": true,
            "width": 1280, "height": 800});
        let target = self.call(None, "Target.createTarget", &target)["targetId"].clone();
        let attach = json!({"targetId": target, "flatten": true});
        let attached = self.call(None, "Target.attachToTarget", &attach);
        let session = attached["sessionId"].as_str().expect("an id").to_owned();
        let tab = Tab {
            browser: self,
            context,
            session,
        };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), &json!({}));
        }
        tab
    }
}

impl Heard {
    fn take(&mut self, message: Value) {
        if let Some(id) = message["id"].as_u64() {
            if let Some(sender) = self.answers.remove(&id) {
                // It may have lost its patience.
                let _ = sender.send(message);
            }
        } else if let Some(session) = message["sessionId"].as_str() {
            let events = self.events.entry(session.to_owned()).or_default();
            events.push(message);
        }
    }
}

/// A tab, which is closed with its value.
pub(crate) struct Tab {
    browser: &'static Browser,
    context: String,
    session: String,
}

impl Tab {
    #[track_caller]
    pub(crate) fn call(&self, method: &str, parameters: &Value) -> Value {
        self.browser.call(Some(&self.session), method, parameters)
    }

    #[track_caller]
    pub(crate) fn go(&self, url: &str) {
        let answer = self.call("Page.navigate", &json!({"url": url}));
        assert!(answer.get("errorText").is_none(), "{answer}");
    }

    /// What an expression of JavaScript comes to; of a promise, what it is kept with.
    #[track_caller]
    pub(crate) fn get(&self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", &parameters);
        let failed = answer.get("exceptionDetails");
        assert!(failed.is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until the page has loaded and an expression comes to something other than nothing, false, 0 or an empty
    /// text, and has it. The page itself looks, fifty times a second.
    #[track_caller]
    pub(crate) fn wait(&self, expression: &str) -> Value {
        let answer = self.get(&format!(
            "new Promise(done => {{ const end = performance.now() + {};
                const look = () => {{
                    const value = document.readyState === 'complete' && ({expression});
                    if (value || performance.now() > end) done(value || null); else setTimeout(look, 20);
                }};
                look(); }})",
            PATIENCE.as_millis(),
        ));
        if answer.is_null() {
            let text = self.get("document.body.innerText.slice(0, 2000)");
            let complaints = self.complaints();
            panic!("waited for {expression}; {complaints:#?}; the page: {text}");
        }
        answer
    }

    /// Presses a key, which types `text` (nothing for keys like the arrows).
    #[track_caller]
    pub(crate) fn press(&self, key: &str, text: &str) {
        let down = json!({"type": "keyDown", "key": key, "text": text});
        self.call("Input.dispatchKeyEvent", &down);
        let up = json!({"type": "keyUp", "key": key});
        self.call("Input.dispatchKeyEvent", &up);
    }

    /// The events of one kind so far.
    fn events(&self, method: &str) -> Vec<Value> {
        let heard = locked(&self.browser.heard);
        let events = heard.events.get(&self.session);
        let events = events.into_iter().flatten();
        let events = events.filter(|event| event["method"] == method);
        events.map(|event| event["params"].clone()).collect()
    }

    /// What a developer would find in the console: what was thrown or printed, and the browser's own errors and
    /// warnings, among them what the content policy refused.
    pub(crate) fn complaints(&self) -> Vec<Value> {
        let mut all = self.events("Runtime.exceptionThrown");
        all.extend(self.events("Runtime.consoleAPICalled"));
        all.extend(self.events("Log.entryAdded"));
        all
    }

    /// The addresses of everything that was asked for.
    pub(crate) fn requests(&self) -> Vec<String> {
        let requests = self.events("Network.requestWillBeSent");
        let requests = requests.iter().map(|event| &event["request"]["url"]);
        requests
            .map(|url| url.as_str().expect("an address").to_owned())
            .collect()
    }

    /// The size of the window, and `light` or `dark`, which is what the system is said to prefer.
    #[track_caller]
    pub(crate) fn looks(&self, (width, height): (u32, u32), scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &media);
    }

    /// A picture of what is seen: a PNG, in base64.
    #[track_caller]
    pub(crate) fn picture(&self) -> String {
        let picture = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        picture["data"].as_str().expect("a picture").to_owned()
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        if !thread::panicking() {
            let context = json!({"browserContextId": self.context});
            let browser = self.browser;
            browser.call(None, "Target.disposeBrowserContext", &context);
        }
    }
}
