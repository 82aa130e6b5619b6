//! The example `http_server`: what curl gets, files of all sizes and such as change, the command line.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;

use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::Instant;

use http::*;
use programs::*;

#[test]
fn curl_gets_what_it_asks_for() {
    if !is_here("curl") {
        return;
    }
    let root = Root::new();
    let server = root.serve(&["--max-body", "100000"]);
    let at = |path: &str| format!("http://{}{path}", server.address);
    let mut client = server.client();
    client
        .write_all(b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let known = answer(&mut client);
    let (etag, date) = (
        known.field("ETag").unwrap(),
        known.field("Last-Modified").unwrap(),
    );
    let has = |name: &str, value: &str| format!("{name}: {value}");
    let (none_match, since) = (has("If-None-Match", etag), has("If-Modified-Since", date));
    let weak = format!("If-None-Match: \"x\", W/{etag}");
    let range_of = has("If-Range", etag);
    let long = format!("/{}", "a".repeat(9000));
    let large = format!("x: {}", "a".repeat(17_000));
    let path = root.file("large.bin").display().to_string();
    let upload = format!("@{path}");

    // Arguments, path, and what the answer has in it, all of it.
    let cases: &[(&[&str], &str, &[&str])] = &[
        (
            &[],
            "/small.txt",
            &[
                "HTTP/1.1 200",
                "Content-Type: text/plain; charset=utf-8",
                "Content-Length: 12",
                "hello world\n",
            ],
        ),
        (&[], "/small.txt?query=1", &["200", "hello world\n"]),
        (&["-I"], "/small.txt", &["200", "Content-Length: 12"]),
        (
            &[],
            "/page.html",
            &[
                "200",
                "Content-Type: text/html; charset=utf-8",
                "<p>page</p>",
            ],
        ),
        (
            &["-I"],
            "/large.bin",
            &[
                "200",
                "Content-Type: application/octet-stream",
                "Content-Length: 3145728",
            ],
        ),
        (&[], "/nothing", &["200", "Content-Length: 0"]),
        (&[], "/with%20space.txt", &["200", "space\n"]),
        (&[], "/sub/", &["200", "Content-Type: text/html", "index\n"]),
        (&[], "/sub", &["301", "Location: /sub/\r\n"]),
        (&[], "/sub?a=b", &["301", "Location: /sub/?a=b\r\n"]),
        (&["--path-as-is"], "//sub", &["301", "Location: /sub/\r\n"]),
        (&["-L"], "/sub", &["200", "index\n"]),
        (&[], "/empty/", &["404"]),
        (&[], "/", &["404"]),
        (&[], "/missing", &["404", "404 Not Found\n"]),
        (&[], "/small.txt/", &["404"]),
        (&[], "/inside", &["200", "hello world\n"]),
        (&[], "/outside", &["404"]),
        (&[], "/etc/passwd", &["404"]),
        (&[], "/circle", &["404"]),
        (&[], "/pipe", &["404"]),
        (&["--path-as-is"], "/../secret.txt", &["400"]),
        (&["--path-as-is"], "/sub/%2e%2e/%2e%2E/secret.txt", &["400"]),
        (&["--path-as-is"], "/sub%2f..%2f..%2fsecret.txt", &["404"]),
        (&["--path-as-is"], "/sub/./index.html", &["200", "index\n"]),
        (&[], "/small.txt%00.html", &["400"]),
        (&[], "/small%2", &["400"]),
        (&[], &long, &["414", "Connection: close"]),
        (&["-H", &large], "/small.txt", &["431", "Connection: close"]),
        (&["-H", &none_match], "/small.txt", &["304", "ETag: "]),
        (&["-H", &weak], "/small.txt", &["304"]),
        (&["-H", "If-None-Match: *"], "/small.txt", &["304"]),
        (
            &["-H", "If-None-Match: \"x\"", "-H", &since],
            "/small.txt",
            &["200", "hello world\n"],
        ),
        (&["-H", &since], "/small.txt", &["304"]),
        (
            &["-H", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"],
            "/small.txt",
            &["200"],
        ),
        (
            &["-r", "6-"],
            "/small.txt",
            &["206", "Content-Range: bytes 6-11/12", "\r\n\r\nworld\n"],
        ),
        (
            &["-r", "0-4"],
            "/small.txt",
            &["206", "Content-Range: bytes 0-4/12", "\r\n\r\nhello"],
        ),
        (
            &["-r", "-3"],
            "/small.txt",
            &["206", "Content-Range: bytes 9-11/12", "\r\n\r\nld\n"],
        ),
        (
            &["-r", "0-99999999999999999999999"],
            "/small.txt",
            &["206", "bytes 0-11/12"],
        ),
        (
            &["-r", "12-"],
            "/small.txt",
            &["416", "Content-Range: bytes */12"],
        ),
        (&["-r", "0-1,3-4"], "/small.txt", &["200", "hello world\n"]),
        (&["-r", "0-4", "-H", &range_of], "/small.txt", &["206"]),
        (
            &["-r", "0-4", "-H", "If-Range: \"x\""],
            "/small.txt",
            &["200"],
        ),
        (
            &["-X", "PUT", "-d", "x"],
            "/small.txt",
            &["405", "Allow: GET, HEAD", "Connection: close"],
        ),
        (
            &["-X", "DELETE"],
            "/small.txt",
            &["405", "Allow: GET, HEAD"],
        ),
        (&[], "/echo", &["405", "Allow: POST"]),
        (&["-X", "BREW"], "/small.txt", &["501"]),
        (
            &["-d", "x", "-X", "GET"],
            "/small.txt",
            &["413", "Connection: close"],
        ),
        (
            &["-d", "to and fro"],
            "/echo",
            &["200", "Content-Length: 10", "to and fro"],
        ),
        (
            &["-d", "in pieces", "-H", "Transfer-Encoding: chunked"],
            "/echo",
            &["200", "Transfer-Encoding: chunked", "in pieces"],
        ),
        (&["-d", "counted"], "/upload", &["200", "7 bytes\n"]),
        (
            &["-d", "counted", "-H", "Transfer-Encoding: chunked"],
            "/upload",
            &["200", "7 bytes\n"],
        ),
        (&["-X", "POST"], "/upload", &["411"]),
        (
            &["-d", "", "-H", "Content-Length: 0"],
            "/upload",
            &["200", "0 bytes\n"],
        ),
        (
            &["-d", "x", "-H", "Expect: 100-continue"],
            "/upload",
            &["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200", "1 bytes"],
        ),
        (&["-d", "x", "-H", "Expect: wonders"], "/upload", &["417"]),
        (
            &["--data-binary", &upload],
            "/upload",
            &["413", "Connection: close"],
        ),
        (
            &["-0"],
            "/small.txt",
            &["200", "Connection: close", "hello world\n"],
        ),
        (
            &["-0", "-H", "Connection: keep-alive"],
            "/small.txt",
            &["200", "Connection: keep-alive"],
        ),
        (
            &["-H", "Connection: close"],
            "/small.txt",
            &["200", "Connection: close"],
        ),
    ];
    for (arguments, path, parts) in cases {
        let mut all = vec!["-s", "-i", "--max-time", "10", "-o", "-"];
        all.extend_from_slice(arguments);
        let url = at(path);
        all.push(&url);
        let text = said("curl", &all);
        for part in *parts {
            assert!(
                text.contains(part),
                "curl {arguments:?} {path}: no {part:?} in:\n{text}"
            );
        }
        if let Some(code) = parts[0].strip_prefix("HTTP/1.1 ").or(Some(parts[0])) {
            assert!(
                text.contains(&format!("HTTP/1.1 {code}")) || code.starts_with("100"),
                "{path}: {text}"
            );
        }
    }
    server.stop();
}

#[test]
fn a_large_file_comes_whole_and_in_parts() {
    if !is_here("curl") {
        return;
    }
    let root = Root::new();
    let whole = pattern(3 << 20);
    for arguments in [
        &[][..],
        &["--cache-files", "0"],
        &["--small-file", "524288"],
        &["--file-threads", "0"],
    ] {
        let server = root.serve(arguments);
        let url = format!("http://{}/large.bin", server.address);
        for (range, expected) in [
            ("0-", &whole[..]),
            ("1000000-2000000", &whole[1_000_000..=2_000_000]),
        ] {
            let output = Command::new("curl")
                .args(["-s", "-m", "20", "-r", range, &url])
                .output()
                .unwrap();
            assert!(
                output.stdout == expected,
                "{arguments:?} {range}: {} bytes",
                output.stdout.len()
            );
        }
        server.stop();
    }
}

#[test]
fn a_file_of_any_size_is_the_same_from_memory_and_from_the_disk() {
    let root = Root::new();
    for arguments in [&["--small-file", "524288"], &["--small-file", "0"]] {
        let server = root.serve(arguments);
        let mut client = server.client();
        for size in [1, 16_383, 16_384, 65_537, 524_288, 524_289] {
            let name = format!("file-{size}");
            fs::write(root.file(&name), pattern(size)).unwrap();
            let request = format!("GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n");
            client.write_all(request.repeat(3).as_bytes()).unwrap();
            for _ in 0..3 {
                assert!(answer(&mut client).body == pattern(size), "{size}");
            }
        }
        drop(client);
        server.stop();
    }
}

#[test]
fn wrong_usage_names_what_would_be_right() {
    for (arguments, part) in [
        (["--small-file", "600000"], "at most 524288"),
        (["--max-headers", "129"], "at most 128"),
        (
            ["--root", "/no/such/folder"],
            "--root /no/such/folder: No such file",
        ),
        (["--max-body", "x"], "a whole number"),
    ] {
        let ended = run("http_server_tested", &arguments);
        let text = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(
            ended.status.code() != Some(0) && text.contains(part),
            "{text}"
        );
    }
}

#[test]
fn without_a_root_there_is_one_page() {
    let server = Server::start("http_server_tested", &[]);
    let mut client = server.client();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let page = answer(&mut client);
    assert_eq!(page.text(), "hello world\n");
    let date = page.field("Date").expect("a date");
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    assert_eq!(answer(&mut client).status(), 404);
    drop(client);
    server.stop();
}

#[test]
fn a_file_that_changes_is_sent_as_it_is_now() {
    let root = Root::new();
    let server = root.serve(&["--cache-time", "0.01", "--max-requests", "0"]);
    is_well(&server);
    let other = root.file("other");
    fs::write(&other, "changed\n").unwrap();
    fs::rename(&other, root.file("small.txt")).unwrap();
    let mut client = server.client();
    let deadline = Instant::now() + PATIENCE;
    loop {
        client
            .write_all(b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let answer = answer(&mut client);
        if answer.text() == "changed\n" {
            break;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
    }
    fs::remove_file(root.file("small.txt")).unwrap();
    loop {
        client
            .write_all(b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        if answer(&mut client).status() == 404 {
            break;
        }
        assert!(Instant::now() < deadline, "it is gone");
    }
    drop(client);
    server.stop();
}

/// A file that is looked at anew may be driven out of the cache meanwhile, and is unchanged for all that.
#[test]
fn a_cache_that_is_too_small_costs_time_and_nothing_else() {
    let root = Root::new();
    for number in 0..8 {
        let name = format!("file-{number}");
        fs::write(root.file(&name), name.as_bytes()).unwrap();
    }
    let arguments = ["--cache-files", "2", "--cache-time", "0.001"];
    let server = root.serve(&[&arguments[..], &["--max-requests", "0"]].concat());
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for round in 0..500 {
        for (number, client) in clients.iter_mut().enumerate() {
            let name = (round + number * number) % 8;
            let request = format!("GET /file-{name} HTTP/1.1\r\nHost: x\r\n\r\n");
            client.write_all(request.as_bytes()).unwrap();
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let name = (round + number * number) % 8;
            let answer = answer(client);
            assert_eq!(answer.text(), format!("file-{name}"), "{answer:?}");
        }
    }
    drop(clients);
    server.stop();
}
