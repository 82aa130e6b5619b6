//! The example `http_proxy` with the clients and servers that everybody uses: curl, Python, nginx, openssl, and `http_server`.
//!
//! A test whose program is missing says so and is skipped.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;
#[path = "util/proxied.rs"]
mod proxied;

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use http::*;
use programs::*;
use proxied::*;

/// Runs a program to its end; what it printed on both outputs.
#[track_caller]
fn said(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    let output = command
        .args(["20", program])
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let output = output.expect("there is a timeout");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn curl_gets_what_it_asks_for() {
    if !is_here("curl") {
        return;
    }
    let root = Root::new();
    let server = root.serve(&[]);
    let proxy = proxy_to(&[server.address], &[]);
    let via = format!("http://{}", proxy.address);
    let large = format!("@{}", root.file("large.bin").display());
    // The options, the path, and what has to be in the output.
    let cases: &[(&[&str], &str, &[&str])] = &[
        (
            &["-i"],
            "/small.txt",
            &["HTTP/1.1 200 OK", "Via: 1.1 slabloop", "hello world\n"],
        ),
        (&["-i", "-0"], "/small.txt", &["200 OK", "hello world\n"]),
        (
            &["-i", "-0", "-H", "Connection: keep-alive"],
            "/small.txt",
            &["Connection: keep-alive", "hello world\n"],
        ),
        (
            &["-i", "-H", "Connection: close"],
            "/small.txt",
            &["Connection: close", "hello world\n"],
        ),
        (&["-I"], "/small.txt", &["200 OK", "Content-Length: 12"]),
        (
            &["-i", "-r", "6-"],
            "/small.txt",
            &["206", "Content-Range: bytes 6-11/12", "\r\n\r\nworld\n"],
        ),
        (&["-i", "-H", "If-None-Match: *"], "/small.txt", &["304"]),
        (&["-i"], "/nowhere", &["404"]),
        (&["-i"], "/sub", &["301", "Location: /sub/"]),
        (&["-i", "-L"], "/sub", &["200", "index\n"]),
        (
            &["-i", "-d", "to and fro"],
            "/echo",
            &["200", "Content-Length: 10", "to and fro"],
        ),
        (
            &["-i", "-d", "in pieces", "-H", "Transfer-Encoding: chunked"],
            "/echo",
            &["chunked", "in pieces"],
        ),
        (&["-i", "-0", "-d", "old"], "/echo", &["200", "old"]),
        (
            &["-i", "-d", "", "-H", "Content-Length: 0"],
            "/upload",
            &["0 bytes\n"],
        ),
        (&["-i", "-X", "POST"], "/upload", &["411"]),
        (
            &["-i", "-d", "x", "-H", "Expect: 100-continue"],
            "/upload",
            &["100 Continue\r\n", "200 OK", "1 bytes"],
        ),
        (
            &["-T", large.strip_prefix('@').unwrap(), "-X", "POST"],
            "/upload",
            &["3145728 bytes\n"],
        ),
        (
            &["--data-binary", &large, "-H", "Transfer-Encoding: chunked"],
            "/upload",
            &["3145728 bytes\n"],
        ),
        (
            &["-i", "-X", "DELETE"],
            "/small.txt",
            &["405", "Allow: GET, HEAD"],
        ),
        (
            &["-i", "-X", "TRACE"],
            "/small.txt",
            &["405", "Allow: CONNECT"],
        ),
        (
            &["-i", "-p"],
            "/small.txt",
            &["200 Connection established", "hello world\n"],
        ),
        (
            &["-i", "-p", "--proxy1.0"],
            "/small.txt",
            &["200 Connection established", "hello world\n"],
        ),
        (&["-i", "-p", "-d", "tunnel"], "/echo", &["tunnel"]),
        (
            &["-v", "-i"],
            "/small.txt",
            &["Connection #0 to host", "left intact"],
        ),
        (
            &[
                "-i",
                "-H",
                "Upgrade: h2c",
                "-H",
                "Connection: Upgrade, HTTP2-Settings",
                "-H",
                "HTTP2-Settings: A",
            ],
            "/small.txt",
            &["200", "hello world\n"],
        ),
        (
            &["-i", "-H", "Proxy-Authorization: Basic eDp5"],
            "/small.txt",
            &["200"],
        ),
        (&["-i", "-H", "Host: elsewhere"], "/small.txt", &["200"]),
        (&["-i", "-H", "Host:"], "/small.txt", &["400"]),
        (&["-i", "-H", "Via: 1.1 slabloop"], "/small.txt", &["508"]),
        (
            &[
                "-i",
                "-H",
                "Content-Length: 5",
                "-H",
                "Transfer-Encoding: chunked",
            ],
            "/small.txt",
            &["400"],
        ),
    ];
    for (arguments, path, parts) in cases {
        let mut all = vec!["-s", "--max-time", "15", "-o", "-"];
        // (curl takes the last way to a proxy that is named.)
        let old = format!("{}", proxy.address);
        match arguments.contains(&"--proxy1.0") {
            true => all.extend(["--proxy1.0", &old]),
            false => all.extend(["-x", &via]),
        }
        all.extend(
            arguments
                .iter()
                .filter(|argument| **argument != "--proxy1.0"),
        );
        let url = format!("http://{}{path}", server.address);
        all.push(&url);
        let text = said("curl", &all);
        for part in *parts {
            assert!(
                text.contains(part),
                "curl {arguments:?} {path}: no {part:?} in:\n{text}"
            );
        }
    }
    // One connection to the server was enough for each of several requests at a time.
    let one = format!("http://{}/small.txt", server.address);
    let text = said("curl", &["-s", "-v", "-x", &via, &one, &one, &one]);
    assert_eq!(text.matches("hello world").count(), 3);
    assert_eq!(
        text.matches("Re-using existing").count() + text.matches("Reusing existing").count(),
        2,
        "{text}"
    );
    proxy.stop();
    server.stop();
}

#[test]
fn twenty_megabytes_come_whole_in_every_way() {
    if !is_here("curl") {
        return;
    }
    let root = Root::new();
    let content = pattern(20 << 20);
    fs::write(root.file("twenty"), &content).unwrap();
    let server = root.serve(&[]);
    let proxy = proxy_to(&[server.address], &[]);
    let via = format!("http://{}", proxy.address);
    let upload = format!("@{}", root.file("twenty").display());
    let ways: [(&str, &[&str]); 5] = [
        ("/twenty", &[]),
        ("/twenty", &["-p"]),
        ("/twenty", &["-0"]),
        ("/echo", &["--data-binary", &upload]),
        (
            "/echo",
            &["--data-binary", &upload, "-H", "Transfer-Encoding: chunked"],
        ),
    ];
    for (path, way) in ways {
        let url = format!("http://{}{path}", server.address);
        let mut command = Command::new("curl");
        command
            .args(["-s", "-m", "20", "-x", &via, "-H", "Expect:"])
            .args(way)
            .arg(&url);
        let output = command.output().unwrap().stdout;
        assert!(output == content, "{way:?}: {} bytes", output.len());
    }
    let most = status_of(&proxy, "VmHWM");
    assert!(most < 32 * 1024, "{most} KiB");
    proxy.stop();
    server.stop();
}

#[test]
fn curl_reaches_a_server_of_tls_through_a_tunnel() {
    if !is_here("curl") || !is_here("openssl") {
        return;
    }
    let root = Root::new();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| root.file(name).display().to_string());
    let subject = [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
    ];
    let made = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &cert,
    ];
    said("openssl", &[&made[..], &subject].concat());
    let port = free_port().to_string();
    let mut command = Command::new("openssl");
    command.args([
        "s_server", "-accept", &port, "-cert", &cert, "-key", &key, "-www", "-quiet",
    ]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _server = Running(command.spawn().unwrap());
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    until_it_listens(address);
    let proxy = proxy_to(&[address], &[]);
    let via = format!("http://{}", proxy.address);
    let url = format!("https://localhost:{port}/");
    let arguments = ["-s", "-m", "15", "--cacert", &cert, "-x", &via, &url];
    let text = said("curl", &arguments);
    assert!(text.contains("s_server"), "{text}");
    proxy.stop();
}

#[test]
fn python_is_served() {
    if !is_here("python3") {
        return;
    }
    let root = Root::new();
    let server = root.serve(&[]);
    let proxy = proxy_to(&[server.address], &[]);
    let script = r#"
import http.client, sys, urllib.request
proxy, server = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": "http://" + proxy}))
assert opener.open(f"http://{server}/small.txt", timeout=10).read() == b"hello world\n"
assert opener.open(f"http://{server}/echo", data=b"x" * 100000, timeout=10).read() == b"x" * 100000
c = http.client.HTTPConnection(proxy, timeout=10)
for number in range(50):
    c.request("GET", f"http://{server}/small.txt")
    assert c.getresponse().read() == b"hello world\n"
c.request("POST", f"http://{server}/echo", body=(b"y" * 1000 for _ in range(100)), encode_chunked=True,
          headers={"Transfer-Encoding": "chunked"})
assert c.getresponse().read() == b"y" * 100000
t = http.client.HTTPConnection(proxy, timeout=10)
host, port = server.split(":")
t.set_tunnel(host, int(port))
t.request("GET", "/small.txt")
assert t.getresponse().read() == b"hello world\n"
print("well")
"#;
    let arguments = [
        "-c",
        script,
        &proxy.address.to_string(),
        &server.address.to_string(),
    ];
    let text = said("python3", &arguments);
    assert_eq!(text, "well\n");
    proxy.stop();
    server.stop();
}

#[test]
fn a_chain_of_proxies_passes_on_and_a_circle_is_found() {
    let server = answering(OK);
    let last = proxy_to(&[server], &["--name", "last"]);
    // The client of the first speaks to the second through it: one is the other's server.
    let first = proxy_to(&[last.address, server], &["--name", "first"]);
    let through = format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n", last.address);
    let inner = String::from_utf8(get(server, "/", "Via: 1.1 first\r\n")).unwrap();
    let (text, _) = exchange(&first, format!("{through}{inner}").as_bytes());
    assert!(
        text.ends_with("ok") && text.contains("Via: 1.1 last\r\n"),
        "{text}"
    );
    let circle = String::from_utf8(get(server, "/", "Via: 1.1 first, 1.1 last\r\n")).unwrap();
    let (text, _) = exchange(&first, format!("{through}{circle}").as_bytes());
    assert!(text.contains("HTTP/1.1 508 "), "{text}");
    first.stop();
    last.stop();
}

#[test]
fn nginx_is_a_server_like_any_other() {
    if !is_here("nginx") || !is_here("curl") {
        return;
    }
    let root = Root::new();
    let folder = root.file("");
    let folder = folder.display();
    let port = free_port();
    let config = format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
         events {{ worker_connections 256; }}
         http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
                 uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; gzip on; gzip_proxied any; gzip_types *; gzip_min_length 1;
                 server {{ listen 127.0.0.1:{port}; root {folder}; }} }}"
    );
    fs::write(root.file("nginx.conf"), config).unwrap();
    let file = root.file("nginx.conf").display().to_string();
    let mut command = Command::new("nginx");
    command.args(["-c", &file, "-e", "stderr"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _nginx = Running(command.spawn().unwrap());
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    until_it_listens(address);
    let proxy = proxy_to(&[address], &[]);
    let via = format!("http://{}", proxy.address);
    let url = |name: &str| format!("http://{address}/{name}");
    let waits = ["-s", "-m", "15", "-x", &via];
    let text = said("curl", &[&waits[..], &[&url("small.txt")]].concat());
    assert_eq!(text, "hello world\n");
    // Compressed on the fly, and so by chunks.
    let text = said(
        "curl",
        &[&waits[..], &["-i", "--compressed", &url("small.txt")]].concat(),
    );
    assert!(
        text.contains("Transfer-Encoding: chunked") && text.ends_with("hello world\n"),
        "{text}"
    );
    let output = Command::new("curl")
        .args(waits)
        .arg(url("large.bin"))
        .output()
        .unwrap();
    assert!(output.stdout == pattern(3 << 20));
    proxy.stop();
}

#[test]
fn wrong_usage_names_what_would_be_right() {
    for (arguments, part) in [
        (["--allow", "host"], "--allow host: expected HOST:PORT"),
        (["--allow", "::1:80"], "--allow ::1:80: expected HOST:PORT"),
        (["--name", "a b"], "--name a b: expected letters"),
        (
            ["--name-server", "localhost:53"],
            "--name-server localhost:53: expected ADDRESS:PORT",
        ),
        (["--max-headers", "129"], "at most 128"),
        (["--max-per-peer", "0"], "connections per peer: at most 0"),
        (["--rate", "x"], "a whole number"),
    ] {
        let ended = run("http_proxy_tested", &arguments);
        let text = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(
            ended.status.code() == Some(2) && text.contains(part),
            "{text}"
        );
    }
}

#[test]
fn the_access_log_has_a_line_for_each_request() {
    let server = answering(OK);
    let mut proxy = proxy_to(&[server], &["--access-log"]);
    exchange(&proxy, &get(server, "/a?b", ""));
    let line = proxy.stderr_says("access]");
    assert!(
        line.contains("127.0.0.1:") && line.ends_with(&format!(" {server} \"GET /a?b\" 200 2")),
        "{line}"
    );
    exchange(&proxy, &get("127.0.0.1:1".parse().unwrap(), "/", ""));
    proxy.stderr_says(" 127.0.0.1:1 \"GET /\" 403 0");
    proxy.stop();
}
