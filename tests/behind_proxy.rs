//! The proxy example in front of servers that others wrote, driven by their own load generators: nginx
//! with `wrk`, redis with `redis-benchmark` and `redis-cli`. Where a program is missing the test says
//! so and is skipped.

#[path = "util/programs.rs"]
mod programs;
#[cfg(feature = "tls")]
mod util;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use programs::{Running, free_port, until_it_listens};

/// Whether all of `programs` can be started; says which cannot.
fn have(programs: &[&str]) -> bool {
    programs.iter().all(|program| {
        let started = Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if started.is_err() {
            eprintln!("skipped: {program} is not installed");
        }
        started.is_ok()
    })
}

/// A directory of the test's own, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("slabloop-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory can be written");
        Scratch(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("the temporary directory can be written");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The proxy in front of a port; its own address.
fn proxy(upstream: u16) -> (Running, String) {
    let here = std::env::current_exe().expect("a test has a path");
    let profile = here
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps");
    let mut child = Command::new(profile.join("examples/proxy"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            &format!("127.0.0.1:{upstream}"),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the example has been built");
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut first).expect("text");
    let address = first
        .trim()
        .strip_prefix("listening on ")
        .expect("it says where")
        .to_owned();
    (Running(child), address)
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("it has been found before");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

#[test]
fn nginx_behind_the_proxy_answers_wrk_without_an_error() {
    if !have(&["nginx", "wrk", "curl"]) {
        return;
    }
    let port = free_port();
    let scratch = Scratch::new("nginx");
    let page: String = (0..100_000)
        .map(|line| format!("line {line} of a longer page\n"))
        .collect();
    scratch.write("page.txt", &page);
    let root = scratch.0.display().to_string();
    let config = scratch.write(
        "nginx.conf",
        &format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p;\n\
             fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             server {{ listen 127.0.0.1:{port}; location = /hello {{ return 200 'hello, world'; }}\n\
             location / {{ root {root}; }} }} }}\n"
        ),
    );
    let nginx = Command::new("nginx")
        .args(["-p", &root, "-e", &format!("{root}/start.log"), "-c"])
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _nginx = Running(nginx.expect("it has been found before"));
    until_it_listens(([127, 0, 0, 1], port).into());
    let (_proxy, address) = proxy(port);

    let fetched = output(Command::new("curl").args(["-sS", &format!("http://{address}/page.txt")]));
    assert!(
        fetched == page,
        "{} of {} bytes, or others",
        fetched.len(),
        page.len()
    );
    for (connections, path) in [("64", "hello"), ("16", "page.txt")] {
        let url = format!("http://{address}/{path}");
        let report = output(Command::new("wrk").args(["-t1", "-c", connections, "-d1s", &url]));
        assert!(report.contains("requests in"), "{report}");
        assert!(!report.contains("Socket errors"), "{report}");
        assert!(!report.contains("Non-2xx"), "{report}");
    }
}

#[test]
fn redis_behind_the_proxy_loses_no_byte() {
    if !have(&["redis-server", "redis-benchmark", "redis-cli"]) {
        return;
    }
    let port = free_port();
    let scratch = Scratch::new("redis");
    let redis = Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ])
        .args(["--appendonly", "no", "--dir"])
        .arg(&scratch.0)
        .stdout(Stdio::null())
        .spawn();
    let _redis = Running(redis.expect("it has been found before"));
    until_it_listens(([127, 0, 0, 1], port).into());
    let (_proxy, address) = proxy(port);
    let (_, proxied) = address.rsplit_once(':').expect("HOST:PORT");

    // -P: pipelined, so that many commands and replies share a segment.
    let report = output(Command::new("redis-benchmark").args([
        "-p",
        proxied,
        "-q",
        "-n",
        "20000",
        "-c",
        "50",
        "-P",
        "16",
        "-d",
        "512",
        "-t",
        "set,get,lpush",
    ]));
    for test in ["SET", "GET", "LPUSH"] {
        assert!(report.contains(&format!("{test}: ")), "{report}");
    }
    assert!(!report.to_lowercase().contains("error"), "{report}");

    let value: String = (0..1_000_000)
        .map(|i| char::from(b'a' + (i % 23) as u8))
        .collect();
    let file = scratch.write("value", &value);
    let set = Command::new("redis-cli")
        .args(["-p", proxied, "-x", "SET", "large"])
        .stdin(std::fs::File::open(file).expect("just written"))
        .output()
        .expect("it has been found before");
    assert_eq!(String::from_utf8_lossy(&set.stdout).trim(), "OK");
    let back = output(Command::new("redis-cli").args(["-p", proxied, "GET", "large"]));
    assert!(
        back.trim_end() == value,
        "a value of a megabyte comes back as it was sent"
    );
}
