//! The access log of the example `http_server`: the combined format, whatever clients send, and whoever reads it.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use http::*;
use programs::*;

/// Serves these requests, each on a connection of its own; the lines about them.
fn lines_for<'a>(requests: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let root = Root::new();
    let server = root.serve(&["--access-log", "--header-timeout", "0.2"]);
    let mut count = 0;
    for request in requests {
        let mut client = server.client();
        client.write_all(request).unwrap();
        client.read_exact(&mut [0; 12]).expect("an answer");
        count += 1;
    }
    server.process.signal("-INT");
    let ended = server.end();
    assert_eq!(ended.totals().of("connections"), count, "they come last");
    let is_of_log = |line: &String| line.starts_with("127.0.0.1 - - [");
    let lines: Vec<_> = ended.stdout.into_iter().filter(is_of_log).collect();
    assert_eq!(lines.len() as u64, count, "one each: {lines:#?}");
    lines
}

/// What a line has behind its time.
#[track_caller]
fn after_time(line: &str) -> &str {
    let (time, rest) = line["127.0.0.1 - - [".len()..]
        .split_once("] ")
        .expect("a time");
    let shape: String = time
        .chars()
        .map(|char| match char {
            '0'..='9' => '0',
            'a'..='z' | 'A'..='Z' => 'a',
            other => other,
        })
        .collect();
    assert_eq!(shape, "00/aaa/0000:00:00:00 +0000", "{line}");
    rest
}

#[test]
fn each_answer_has_a_line_in_the_combined_format() {
    let get = |fields: &str| format!("GET /small.txt HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let cases = [
        (
            get("Referer: http://r/\r\nUser-Agent: curl/8\r\n"),
            r#""GET /small.txt HTTP/1.1" 200 12 "http://r/" "curl/8""#,
        ),
        (
            "HEAD /small.txt?a=b HTTP/1.0\r\n\r\n".to_owned(),
            r#""HEAD /small.txt?a=b HTTP/1.0" 200 0 "-" "-""#,
        ),
        (
            get("Range: bytes=0-4\r\n"),
            r#""GET /small.txt HTTP/1.1" 206 5 "-" "-""#,
        ),
        (
            get("Range: bytes=12-\r\n"),
            r#""GET /small.txt HTTP/1.1" 416 26 "-" "-""#,
        ),
        (
            get("If-None-Match: *\r\n"),
            r#""GET /small.txt HTTP/1.1" 304 0 "-" "-""#,
        ),
        (
            get("If-Match: \"x\"\r\n"),
            r#""GET /small.txt HTTP/1.1" 412 24 "-" "-""#,
        ),
        (
            "GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            r#""GET /large.bin HTTP/1.1" 200 3145728 "-" "-""#,
        ),
        (
            "GET /missing HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            r#""GET /missing HTTP/1.1" 404 14 "-" "-""#,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
            r#""POST /echo HTTP/1.1" 200 2 "-" "-""#,
        ),
        (
            "POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(),
            r#""POST /upload HTTP/1.1" 200 8 "-" "-""#,
        ),
        (
            "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n".to_owned(),
            r#""POST /upload HTTP/1.1" 413 22 "-" "-""#,
        ),
        // What was not understood has no request that could be written.
        ("nonsense\r\n\r\n".to_owned(), r#""" 400 16 "-" "-""#),
        ("GET /slow".to_owned(), r#""" 408 20 "-" "-""#),
    ];
    let lines = lines_for(cases.iter().map(|(request, _)| request.as_bytes()));
    for ((_, expected), line) in cases.iter().zip(&lines) {
        assert_eq!(after_time(line), *expected, "{line}");
    }
}

#[test]
fn nothing_that_a_client_sends_can_end_a_line_or_a_quotation() {
    let get = |target: &[u8], agent: &[u8], referer: &[u8]| {
        let pieces: [&[u8]; 7] = [
            b"GET ",
            target,
            b" HTTP/1.1\r\nHost: x\r\nUser-Agent: ",
            agent,
            b"\r\nReferer: ",
            referer,
            b"\r\n\r\n",
        ];
        pieces.concat()
    };
    let forged = b"x\n127.0.0.1 - - [01/Jan/2000:00:00:00 +0000] \"GET /forged HTTP/1.1\" 200 1";
    let requests = [
        get(b"/\" 200 1 \"-\" \"-", b"\"", b"\\\""),
        get(b"/\"200\"", b"a\"b\\c", b"\" 999 \""),
        get(b"/%22%0a%0d", b"tab\there", b"-"),
        get("/\u{e9}".as_bytes(), b"\xff\xfe", "\u{9b}31m".as_bytes()),
        get(b"/", forged, b"-"),
        get(b"/", b"escape \x1b[2J", b"-"),
        get(b"/", b"delete \x7f", b"-"),
    ];
    let lines = lines_for(requests.iter().map(|request| &request[..]));
    let expected = [
        // A target has no blanks.
        r#""" 400 16 "-" "-""#,
        r#""GET /\x22200\x22 HTTP/1.1" 404 14 "\x22 999 \x22" "a\x22b\x5Cc""#,
        r#""GET /%22%0a%0d HTTP/1.1" 404 14 "-" "tab\x09here""#,
        r#""GET /\xC3\xA9 HTTP/1.1" 404 14 "\xC2\x9B31m" "\xFF\xFE""#,
        // These are no header fields at all.
        r#""" 400 16 "-" "-""#,
        r#""" 400 16 "-" "-""#,
        r#""" 400 16 "-" "-""#,
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert_eq!(after_time(line), expected, "{line}");
        assert!(
            line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{line}"
        );
    }
}

#[test]
fn a_reader_that_stops_does_not_stop_the_server_and_is_told_what_was_lost() {
    let root = Root::new();
    let mut command = Command::new(example("http_server_tested"));
    command
        .args([
            "--listen",
            "127.0.0.1:0",
            "--access-log",
            "--root",
            &root.path(),
        ])
        .args(["--max-requests", "0"])
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = Running(command.spawn().unwrap());
    let mut stdout = BufReader::new(process.0.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").expect(&line);
    // Nobody reads from here on. 4 MB of lines: the pipe and the server's memory take about 1.2.
    let mut client = client(address.parse().unwrap());
    let request = format!(
        "GET /small.txt?{} HTTP/1.1\r\nHost: x\r\n\r\n",
        "q".repeat(4000)
    );
    for _ in 0..1000 {
        client.write_all(request.as_bytes()).unwrap();
        assert_eq!(answer(&mut client).text(), "hello world\n");
    }
    drop(client);
    process.signal("-INT");
    assert_eq!(process.wait(), Some(0));
    let mut told = String::new();
    let mut stderr = process.0.stderr.take().unwrap();
    stderr.read_to_string(&mut told).unwrap();
    assert!(
        told.contains("access log: ") && told.contains("lost"),
        "{told}"
    );
    drop(stdout);
}

#[test]
fn lines_of_several_threads_do_not_mix_and_none_is_missing() {
    const CLIENTS: usize = 40;
    const REQUESTS: usize = 50;
    let root = Root::new();
    let server = root.serve(&["--access-log", "--threads", "3"]);
    let agent = "x".repeat(500);
    for number in 0..CLIENTS {
        let mut client = server.client();
        let request =
            format!("GET /small.txt?{number} HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\n\r\n");
        let mut answer = [0; 12];
        for _ in 0..REQUESTS {
            client.write_all(request.as_bytes()).unwrap();
        }
        client.shutdown(std::net::Shutdown::Write).unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        client.read_to_end(&mut Vec::new()).unwrap();
    }
    server.process.signal("-TERM");
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    assert_eq!(
        ended.totals().of("connections"),
        CLIENTS as u64,
        "they come last"
    );
    for number in 0..CLIENTS {
        let rest = format!("\"GET /small.txt?{number} HTTP/1.1\" 200 12 \"-\" \"{agent}\"");
        let is_whole =
            |line: &&String| line.starts_with("127.0.0.1 - - [") && line.ends_with(&rest);
        let lines = ended.stdout.iter().filter(is_whole).count();
        assert_eq!(lines, REQUESTS, "client {number}");
    }
}
