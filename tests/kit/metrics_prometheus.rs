//! Prometheus itself reads what the loop says of itself: its linter, its server, its alerts. And what `docs/monitoring`
//! names exists. Where Prometheus' programs are missing, the tests that want them say so and are skipped.

#![cfg(target_os = "linux")]

#[path = "../util/programs.rs"]
mod programs;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use programs::*;
use serde_json::Value;
use slabloop::Reactor;
use slabloop::metrics::Metrics;

/// Runs `program`, with something on its standard input; `None`, and a word, if there is no such program.
fn tool(program: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: there is no {program}");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    Some(child.wait_with_output().unwrap())
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring")
}

/// The answer to `GET path`, head and body.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut client = client(address);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
    (head.to_owned(), body.to_owned())
}

/// The example, with a client that has been served, and where its figures are.
fn served() -> (Server, SocketAddr) {
    let mut server = Server::start("metrics_tested", &["--metrics", "127.0.0.1:0"]);
    let line = server.stdout_says("metrics on http://");
    let address = line.trim_start_matches("metrics on http://");
    let address = address.trim_end_matches("/metrics").parse().expect(&line);
    let mut client = server.client();
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    drop(client);
    (server, address)
}

/// Everything that the crate can say, from a loop that has had each kind of work that has figures of its own.
fn exposition() -> String {
    let mut reactor = Reactor::builder().observer(Metrics::new).build().unwrap();
    reactor.handle().post(|_| {}).unwrap();
    reactor.call_later(Duration::ZERO, |_| {});
    reactor.turn(Duration::from_millis(10)).unwrap();
    reactor.metrics().to_prometheus()
}

/// The names of all series of an exposition.
fn series(exposition: &str) -> BTreeSet<String> {
    let lines = exposition.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split(['{', ' ']).next().unwrap().to_owned())
        .collect()
}

/// All words of a text that are names of metrics of this crate or of the process.
fn names(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_word(c));
    words
        .filter(|word| word.starts_with("slabloop_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_linter_has_no_complaint() {
    let text = exposition();
    for part in [
        "# HELP slabloop_turns_total Turns of the loop.\n# TYPE slabloop_turns_total counter\nslabloop_turns_total 1\n",
        "# TYPE slabloop_callback_duration_seconds histogram\n",
        "slabloop_callback_duration_seconds_bucket{callback=\"post\",le=\"0.001\"} ",
        "slabloop_callback_duration_seconds_count{callback=\"post\"} 1\n",
        "slabloop_dispatchers_closed_total{cause=\"reset\"} 0\n",
        "# TYPE process_resident_memory_bytes gauge\n",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let Some(output) = tool("promtool", &["check", "metrics"], &text) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn every_name_has_a_help_and_a_type_and_a_prefix() {
    let text = exposition();
    for name in series(&text) {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(&name);
        assert!(text.contains(&format!("# HELP {family} ")), "{name}");
        assert!(text.contains(&format!("# TYPE {family} ")), "{name}");
        assert!(names(&name).contains(&name), "{name}");
    }
}

#[test]
fn buckets_rise_and_end_with_all() {
    let text = exposition();
    let (mut before, mut checked) = (0, 0);
    for line in text.lines().filter(|line| line.contains("_bucket{")) {
        let (series, count) = line.rsplit_once(' ').unwrap();
        let count: u64 = count.parse().unwrap();
        assert!(count >= before, "{line}");
        before = count;
        if series.contains("le=\"+Inf\"") {
            before = 0;
            let total = series
                .replace("_bucket{", "_count{")
                .replace("le=\"+Inf\"", "");
            let total = total.replace(",}", "}").replace("{}", "");
            assert!(text.contains(&format!("\n{total} {count}\n")), "{line}");
        }
        checked += 1;
    }
    assert!(checked > 100, "{checked} buckets");
}

#[test]
fn what_alerts_and_dashboard_name_exists() {
    let exposed = series(&exposition());
    for file in ["alerts.yml", "alerts_test.yml", "dashboard.json"] {
        let text = fs::read_to_string(docs().join(file)).unwrap();
        let named = names(&text);
        assert!(named.len() >= 10, "{file} names metrics: {named:?}");
        let unknown: Vec<_> = named.difference(&exposed).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
}

#[test]
fn the_guide_goes_through_every_figure() {
    let guide = fs::read_to_string(docs().with_extension("md")).unwrap();
    let text = exposition();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let missing: Vec<_> = types
        .map(|line| line.split(' ').next().unwrap())
        .filter(|name| !guide.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/monitoring.md says nothing of {missing:#?}"
    );
    let families = series(&text);
    let unknown: Vec<_> = names(&guide)
        .into_iter()
        .filter(|name| {
            !families
                .iter()
                .any(|series| series.starts_with(name.as_str()))
        })
        .collect();
    assert!(
        unknown.is_empty(),
        "it names {unknown:?}, which there are not"
    );
    for alert in fs::read_to_string(docs().join("alerts.yml"))
        .unwrap()
        .lines()
    {
        if let Some(heading) = alert.trim().strip_prefix("runbook: ") {
            let heading = heading.trim_matches('"');
            let is_there = guide
                .lines()
                .any(|line| line.trim_start_matches('#').trim() == heading);
            assert!(is_there, "no heading {heading:?}");
        }
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_can_read() {
    let text = fs::read_to_string(docs().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$__rate_interval", "1m");
            // The parser of PromQL is in promtool, as a part of its rules.
            let rules = format!(
                "groups: [{{name: a, rules: [{{record: a, expr: {}}}]}}]",
                serde_json::to_string(&query).unwrap()
            );
            let file = std::env::temp_dir().join(format!("slabloop-query-{}", std::process::id()));
            fs::write(&file, rules).unwrap();
            let checked = tool("promtool", &["check", "rules", file.to_str().unwrap()], "");
            fs::remove_file(&file).unwrap();
            let Some(output) = checked else {
                return;
            };
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{query}: {said}");
        }
    }
}

#[test]
fn the_alerts_come_when_they_should() {
    let rules = docs().join("alerts.yml");
    let Some(output) = tool("promtool", &["check", "rules", rules.to_str().unwrap()], "") else {
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let tests = docs().join("alerts_test.yml");
    let output = tool("promtool", &["test", "rules", tests.to_str().unwrap()], "").unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_example_answers_for_its_figures_and_for_nothing_else() {
    let (server, address) = served();
    let (head, body) = get(address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    assert!(body.contains("slabloop_received_bytes_total "), "{body}");
    assert!(
        body.contains("slabloop_callback_duration_seconds_count{callback=\"handle_read\"} "),
        "{body}"
    );
    let (head, _) = get(address, "/other");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    server.stop();
}

#[test]
fn prometheus_scrapes_it() {
    let (server, address) = served();
    let folder = std::env::temp_dir().join(format!("slabloop-prometheus-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n  - {{job_name: slabloop, static_configs: [{{targets: ['{address}']}}]}}\n",
        docs().join("alerts.yml").display()
    );
    fs::write(folder.join("prometheus.yml"), config).unwrap();
    let web = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let started = Command::new("prometheus")
        .arg(format!(
            "--config.file={}",
            folder.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg(format!("--web.listen-address={web}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(prometheus) = started else {
        eprintln!("skipped: there is no prometheus");
        return;
    };
    let prometheus = Running(prometheus);
    let ask = |query: &str| -> Option<Value> {
        std::net::TcpStream::connect(web).ok()?;
        let (_, body) = get(web, &format!("/api/v1/query?query={query}"));
        let answer: Value = serde_json::from_str(&body).ok()?;
        let value = answer["data"]["result"][0]["value"][1].clone();
        value.is_string().then_some(value)
    };
    let deadline = Instant::now() + PATIENCE;
    // The echo's five bytes came before the first scrape; the scrapes' own come on top.
    for (query, expected) in [
        ("up", "1"),
        ("slabloop_received_bytes_total%20>=bool%205", "1"),
        (
            "slabloop_callback_duration_seconds_count{callback=\"handle_read\"}%20>=bool%201",
            "1",
        ),
        ("slabloop_listeners", "2"),
        ("process_open_fds%20>bool%203", "1"),
    ] {
        let query = query
            .replace('"', "%22")
            .replace('{', "%7B")
            .replace('}', "%7D");
        loop {
            let value = ask(&query.replace('>', "%3E"));
            if value.as_ref().and_then(Value::as_str) == Some(expected) {
                break;
            }
            assert!(Instant::now() < deadline, "{query} is {value:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let (_, rules) = get(web, "/api/v1/rules");
    assert!(
        rules.contains("SlabloopSaturated"),
        "it has read the alerts: {rules}"
    );
    drop(prometheus);
    server.stop();
    fs::remove_dir_all(&folder).unwrap();
}
