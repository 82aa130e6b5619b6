//! The example `http_server` and the letter of RFC 9110 and RFC 9112: one request, one status.
//!
//! Targets and heads are of the kinds that the tests of the crate httparse have (`tests/uri.rs`, whose addresses are those of the
//! WHATWG's URL tests, and `src/lib.rs`): what a parser has to understand there has to have the right answer here.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;

use std::fs;
use std::io::{Read, Write};

use http::*;
use programs::Server;

/// Asks on a connection of its own.
#[track_caller]
fn ask(server: &Server, request: &[u8]) -> Answer {
    let mut client = server.client();
    client.write_all(request).unwrap();
    let method = if request.starts_with(b"HEAD ") {
        "HEAD"
    } else {
        "GET"
    };
    let answer = answer_to(&mut client, method);
    assert!(answer.field("Date").is_some(), "{answer:?}");
    assert!(answer.field("Server").is_some(), "{answer:?}");
    answer
}

#[test]
fn targets_of_every_kind_have_their_status() {
    let root = Root::new();
    fs::write(root.file("%"), "percent\n").unwrap();
    fs::write(root.file("a&b;c=d,e@f:g"), "signs\n").unwrap();
    fs::create_dir(root.file("C:")).unwrap();
    fs::write(root.file("C:/中.txt"), "letters\n").unwrap();
    let server = root.serve(&[]);
    let found = [
        "/small.txt?a=b&c=d",
        "/small.txt??",
        "/small.txt?%GH",
        "/small.txt?%00",
        "/small.txt?/../../",
        "/small.txt?http://x/",
        "/small.txt?'`{}|^\"<>\\",
        "/%73mall.t%78t",
        "/sm%61ll%2Etxt",
        "/./small.txt",
        "/%2e/small.txt",
        "//small.txt",
        "///////small.txt",
        "/sub//index.html",
        "/sub/.",
        "/sub/%2E",
        "/%25",
        "/a&b;c=d,e@f:g",
        "/a%26b%3Bc%3Dd%2Ce%40f%3Ag",
        "/C:/%E4%B8%AD.txt",
        "/C%3A/\u{4e2d}.txt",
        "http://example.com/small.txt",
        "HTTP://example.com/small.txt",
        "https://example.com:443/small.txt",
        "http://user:password@[::1]:80/small.txt",
    ];
    let missing = [
        "/",
        "/?",
        "/?chai",
        "/?foo=%7B%22abc%22",
        "//",
        "//@",
        "/...",
        "/foo/..bar",
        "/%2e.bar",
        "/(%28:%3A%29)",
        "/foo/:@c:29",
        "/foo/[61:27]/:foo",
        "/C%7C/",
        "/%60%7B%7D?`{}",
        "/%EF%BB%BF/foo",
        "/foo%C2%91%91",
        "/path;a??e",
        "/a%2fc",
        "/a/%2f/c",
        "/sub%2findex.html",
        "/sub%5Cindex.html",
        "/sub\\index.html",
        "/small.txt/",
        "/small.txt/x",
        "/jqueryui@1.2.3",
        "/localhost//cat",
        "//:///////bar.com/",
        "http://example.com",
        "http://example.com/",
        "http://example.com?q",
        "http://example.com/?small.txt",
    ];
    let bad = [
        "/foo%",
        "/foo%2",
        "/foo%2zbar",
        "/%1G",
        "/foo%2%C2%A9zbar",
        "/foo%00%51",
        "/small.txt%00",
        "/..",
        "/../small.txt",
        "/sub/../small.txt",
        "/sub/..",
        "/%2e%2e/small.txt",
        "/.%2E/small.txt",
        "/sub/%2e%2",
        ",",
        "%NBD",
        "*",
        "?x",
        "#",
        "\\.\\./",
        ":a@example.net",
        "example.com/",
        "small.txt",
        "x@x.com",
        "ietf:rfc:2648",
        "mailto:x@x.com",
        "example.com:80",
        "ftp://example.com/small.txt",
        "file:///etc/passwd",
        "http:/small.txt",
        "http:///small.txt",
        "http://",
        "://x/small.txt",
    ];
    for (targets, status) in [(&found[..], 200), (&missing, 404), (&bad, 400)] {
        for target in targets {
            let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            let answer = ask(&server, request.as_bytes());
            assert_eq!(answer.status(), status, "{target}: {answer:?}");
        }
    }
    server.stop();
}

#[test]
fn heads_of_every_kind_have_their_status() {
    let root = Root::new();
    let server = root.serve(&[]);
    let agents = format!("User-Agent: {}\r\n", "some\tagent ".repeat(20));
    let line = "GET /small.txt HTTP/1.1\r\n";
    for (request, status) in [
        ("GET /small.txt HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("{line}Host: foo.com\r\nCookie: \r\n\r\n"), 200),
        (
            format!("{line}Host: \tfoo.com\t \r\nCookie: \t \r\n\r\n"),
            200,
        ),
        (format!("{line}Host:\r\n\r\n"), 200),
        (format!("{line}hOsT:x\r\n\r\n"), 200),
        (format!("{line}Host: x\r\n{agents}\r\n"), 200),
        (
            format!("{line}Host: x\r\nUser-Agent:omg-no-space1234567890\r\n\r\n"),
            200,
        ),
        (
            format!("{line}Host: x\r\nUser-Agent: \u{3072}/1.0\r\n\r\n"),
            200,
        ),
        (
            format!("{line}A: A\r\nB: B\r\nC: C\r\nHost: x\r\n\r\n"),
            200,
        ),
        (format!("\r\n\r\n{line}Host: x\r\n\r\n"), 200),
        ("\n\nGET / HTTP/1.1\n\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: foo.bar\n\n".to_owned(), 400),
        ("GET\n/ HTTP/1.1\r\nHost: foo.bar\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1!".to_owned(), 400),
        ("GET / HTTP/1.1 \r\nHost: x\r\n\r\n".to_owned(), 400),
        ("GET / http/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/0.9\r\n\r\n".to_owned(), 505),
        ("GET / HTTP/11\r\n\r\n".to_owned(), 400),
        (" / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET  HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("  HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET  foo.com HTTP/1.1\r\nHost: \r\n\r\n".to_owned(), 400),
        ("GET x x HTTP/1.1\r\nHost: \r\n\r\n".to_owned(), 400),
        ("get /small.txt HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 501),
        ("G@T /small.txt HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        // Hosts.
        (format!("{line}Host: [::1]:80\r\n\r\n"), 200),
        (
            format!("{line}Host: xn--bcher-kva.example:8080\r\n\r\n"),
            200,
        ),
        (format!("{line}Host: a/b\r\n\r\n"), 400),
        (format!("{line}Host: a b\r\n\r\n"), 400),
        (format!("{line}Host: user@x\r\n\r\n"), 400),
        (format!("{line}Host: x\r\nHost: x\r\n\r\n"), 400),
        (format!("{line}Host: \u{e4}.example\r\n\r\n"), 400),
        // Methods, and targets that are for one alone.
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 405),
        ("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 405),
        ("CONNECT x HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        (
            "TRACE /small.txt HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            405,
        ),
        // Bodies that are announced for nothing.
        (format!("{line}Host: x\r\nContent-Length: 0\r\n\r\n"), 200),
        (
            format!("{line}Host: x\r\nExpect: 100-Continue\r\n\r\n"),
            200,
        ),
        // HTTP/1.0 has no host, and no expectations.
        ("GET /small.txt HTTP/1.0\r\n\r\n".to_owned(), 200),
        (
            "POST /upload HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"
                .to_owned(),
            200,
        ),
    ] {
        let answer = ask(&server, request.as_bytes());
        assert_eq!(answer.status(), status, "{request:?}: {answer:?}");
    }
    server.stop();
}

#[test]
fn heads_that_stop_at_any_byte_are_waited_for_until_their_deadline() {
    let root = Root::new();
    let server = root.serve(&["--header-timeout", "0.2"]);
    let whole = b"GET /small.txt HTTP/1.1\r\nHost: yolo\r\n\r\n";
    let mut clients: Vec<_> = (1..whole.len()).map(|_| server.client()).collect();
    for (client, length) in clients.iter_mut().zip(1..) {
        client.write_all(&whole[..length]).unwrap();
    }
    for (client, length) in clients.iter_mut().zip(1..) {
        let text = rest(client);
        assert!(text.starts_with("HTTP/1.1 408 "), "{length}: {text}");
    }
    drop(clients);
    server.stop();
}

#[test]
fn conditions_and_ranges_are_looked_at_in_their_order() {
    let root = Root::new();
    let server = root.serve(&[]);
    let known = ask(&server, b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    let (etag, date) = (
        known.field("ETag").unwrap(),
        known.field("Last-Modified").unwrap(),
    );
    let old = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (fields, status) in [
        (format!("If-Match: {etag}"), 200),
        (format!("If-Match: \"x\", {etag}"), 200),
        ("If-Match: *".to_owned(), 200),
        ("If-Match: \"x\"".to_owned(), 412),
        // Whoever asks for this very file is not served one that is only like it.
        (format!("If-Match: W/{etag}"), 412),
        (format!("If-Unmodified-Since: {date}"), 200),
        (format!("If-Unmodified-Since: {old}"), 412),
        ("If-Unmodified-Since: yesterday".to_owned(), 200),
        // A tag says more than a date, which is not looked at then.
        (
            format!("If-Match: {etag}\r\nIf-Unmodified-Since: {old}"),
            200,
        ),
        (
            format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}"),
            200,
        ),
        (
            format!("If-None-Match: {etag}\r\nIf-Modified-Since: {old}"),
            304,
        ),
        (format!("If-Match: \"x\"\r\nIf-None-Match: {etag}"), 412),
        (format!("If-None-Match: {etag}\r\nRange: bytes=0-0"), 304),
        ("If-Modified-Since: yesterday".to_owned(), 200),
        (
            "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT".to_owned(),
            200,
        ),
        (format!("If-Range: {etag}\r\nRange: bytes=0-0"), 206),
        (format!("If-Range: W/{etag}\r\nRange: bytes=0-0"), 200),
        (format!("If-Range: {date}\r\nRange: bytes=0-0"), 206),
        (format!("If-Range: {old}\r\nRange: bytes=0-0"), 200),
        ("Range: bytes=0-0".to_owned(), 206),
        ("Range: BYTES=0-0".to_owned(), 206),
        ("Range: bytes=11-11".to_owned(), 206),
        ("Range: bytes=0-99999999999999999999999".to_owned(), 206),
        ("Range: bytes=-99".to_owned(), 206),
        ("Range: bytes=12-12".to_owned(), 416),
        ("Range: bytes=-0".to_owned(), 416),
        ("Range: bytes=99999999999999999999999-".to_owned(), 416),
        // What is no range of bytes is as if it were not there; several are answered with the whole.
        ("Range: bytes=2-1".to_owned(), 200),
        ("Range: bytes=-".to_owned(), 200),
        ("Range: bytes=x-1".to_owned(), 200),
        ("Range: lines=0-0".to_owned(), 200),
        ("Range: bytes".to_owned(), 200),
        ("Range: bytes=0-0,2-2".to_owned(), 200),
    ] {
        for method in ["GET", "HEAD"] {
            let request = format!("{method} /small.txt HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
            let answer = ask(&server, request.as_bytes());
            // A HEAD has no range.
            let status = match (method, status) {
                ("HEAD", 206 | 416) => 200,
                _ => status,
            };
            assert_eq!(answer.status(), status, "{method} {fields}: {answer:?}");
            if status == 304 {
                assert_eq!(answer.field("ETag"), Some(etag), "{answer:?}");
                assert_eq!(answer.field("Content-Length"), None, "{answer:?}");
            }
        }
    }
    let empty = b"GET /nothing HTTP/1.1\r\nHost: x\r\nRange: bytes=0-\r\n\r\n";
    assert_eq!(ask(&server, empty).status(), 416);
    server.stop();
}

#[test]
fn an_answer_to_head_says_what_that_to_get_says() {
    let root = Root::new();
    let server = root.serve(&[]);
    for target in [
        "/small.txt",
        "/large.bin",
        "/missing",
        "/sub",
        "/%",
        "/echo",
    ] {
        let [get, head] = ["GET", "HEAD"].map(|method| {
            let fields = "Host: x\r\nConnection: close\r\n";
            let request = format!("{method} {target} HTTP/1.1\r\n{fields}\r\n");
            let text = until_closed(&server, request.as_bytes());
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            let lines = head.lines().filter(|line| !line.starts_with("Date: "));
            let lines: Vec<_> = lines.map(str::to_owned).collect();
            (lines, body.len())
        });
        assert_eq!(get.0, head.0, "{target}");
        assert!(get.1 > 0 && head.1 == 0, "{target}");
    }
    server.stop();
}

#[test]
fn whether_the_connection_is_kept_is_said_as_its_version_wants() {
    let root = Root::new();
    let server = root.serve(&[]);
    for (version, field, said) in [
        ("1.1", "", None),
        ("1.1", "Connection: keep-alive\r\n", None),
        ("1.1", "Connection: close\r\n", Some("close")),
        ("1.1", "Connection: Keep-Alive, CLOSE\r\n", Some("close")),
        (
            "1.1",
            "Connection: TE\r\nConnection: close\r\n",
            Some("close"),
        ),
        ("1.0", "", Some("close")),
        ("1.0", "Connection: Keep-Alive\r\n", Some("keep-alive")),
        ("1.0", "Connection: keep-alive, close\r\n", Some("close")),
    ] {
        for target in ["/small.txt", "/large.bin", "/missing"] {
            let request = format!("GET {target} HTTP/{version}\r\nHost: x\r\n{field}\r\n");
            let mut client = server.client();
            client.write_all(request.as_bytes()).unwrap();
            let answer = answer(&mut client);
            assert_eq!(answer.field("Connection"), said, "{version} {field:?}");
            if said == Some("close") {
                assert_eq!(rest(&mut client), "", "{target}");
                continue;
            }
            client.write_all(request.as_bytes()).unwrap();
            answer_to(&mut client, "GET");
        }
    }
    server.stop();
}

#[test]
fn a_file_that_becomes_shorter_while_it_is_sent_ends_in_a_reset() {
    let root = Root::new();
    let path = root.file("shrinking");
    let server = root.serve(&["--cache-time", "1000"]);
    let ask = |client: &mut std::net::TcpStream| {
        client
            .write_all(b"GET /shrinking HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
    };
    // More than the kernel's buffers hold, so that not all of it has left.
    let long = 256 << 20;
    let file = fs::File::create(&path).unwrap();
    file.set_len(long).unwrap();
    let mut client = server.client();
    ask(&mut client);
    client.read_exact(&mut [0; 1000]).unwrap();
    file.set_len(1 << 20).unwrap();
    let end = client.read_to_end(&mut Vec::new());
    assert!(end.is_err(), "not taken for whole: {end:?}");
    // And one that is shorter already than what is known of it.
    let mut client = server.client();
    ask(&mut client);
    let mut text = Vec::new();
    let end = client.read_to_end(&mut text);
    assert!(end.is_err(), "{end:?}: {} bytes", text.len());
    is_well(&server);
    server.stop();
}

#[test]
fn a_file_that_becomes_longer_while_it_is_sent_is_sent_as_long_as_was_said() {
    let root = Root::new();
    let path = root.file("growing");
    let server = root.serve(&[]);
    let long = 64 << 20;
    let file = fs::File::create(&path).unwrap();
    file.set_len(long).unwrap();
    let mut client = server.client();
    let request = "GET /growing HTTP/1.1\r\nHost: x\r\n\r\nGET /sub/ HTTP/1.1\r\nHost: x\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    file.set_len(2 * long).unwrap();
    let mut head = vec![b'H'];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(
        head.contains(&format!("Content-Length: {long}\r\n")),
        "{head}"
    );
    let read = std::io::copy(&mut (&mut client).take(long), &mut std::io::sink());
    assert_eq!(read.unwrap(), long);
    assert_eq!(answer(&mut client).text(), "index\n");
    drop(client);
    server.stop();
}
