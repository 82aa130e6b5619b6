//! What the example `http_server` refuses, byte by byte: what could be read in two ways, what is too much, what is too slow.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;

use std::io::Write;
use std::net::Shutdown;

use http::*;
use programs::Server;

/// A request with these header lines, and what follows them.
fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /echo HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}").into_bytes()
}

/// What is refused is answered once and then closed, and what stands behind it is never taken for a request.
#[track_caller]
fn is_refused(server: &Server, request: &[u8], status: u16) {
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    let behind = b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    let text = until_closed(server, &[request, behind].concat());
    let begin = format!("HTTP/1.1 {status} ");
    let answer = text
        .strip_prefix("HTTP/1.1 100 Continue\r\n\r\n")
        .unwrap_or(&text);
    assert!(
        answer.starts_with(&begin),
        "{shown:?} is {status}, not:\n{text}"
    );
    assert!(
        answer.contains("Connection: close\r\n"),
        "{shown:?}: {text}"
    );
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown:?}: {text}");
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let root = Root::new();
    let server = root.serve(&[]);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let bad: Vec<Vec<u8>> = vec![
        // Lengths.
        post(
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        post(
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "0\r\n\r\n",
        ),
        post("Content-Length: 4\r\nContent-Length: 5\r\n", "12345"),
        post("Content-Length: 4\r\nContent-Length: 4\r\n", "1234"),
        post("Content-Length: 4, 4\r\n", "1234"),
        post("Content-Length: +4\r\n", "1234"),
        post("Content-Length: -4\r\n", "1234"),
        post("Content-Length: 0x4\r\n", "1234"),
        post("Content-Length: 4 4\r\n", "1234"),
        post("Content-Length:\r\n", "1234"),
        post("Content-Length: 18446744073709551616\r\n", "1234"),
        post(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        b"POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        // Lines.
        post("Content-Length : 4\r\n", "1234"),
        post("X: a\r\n b\r\nContent-Length: 4\r\n", "1234"),
        post(
            "X: a\r\n\tContent-Length: 9\r\nContent-Length: 4\r\n",
            "1234",
        ),
        post("X: a\rContent-Length: 4\r\n", "1234"),
        post("X: a\nContent-Length: 4\r\n", "1234"),
        post("X: a\0b\r\nContent-Length: 4\r\n", "1234"),
        post("Content\x0b-Length: 4\r\n", "1234"),
        post(": empty\r\n", ""),
        post("no colon\r\n", ""),
        b"GET /small.txt HTTP/1.1\nHost: x\n\n".to_vec(),
        b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\n".to_vec(),
        b"GET  /small.txt HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /small.txt  HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /small.txt\r\n\r\n".to_vec(),
        b" GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"G\0T / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        // Hosts and targets.
        b"GET /small.txt HTTP/1.1\r\n\r\n".to_vec(),
        b"GET /small.txt HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_vec(),
        b"GET small.txt HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        // Chunks.
        post(chunked, "g\r\n"),
        post(chunked, "\r\n"),
        post(chunked, " 4\r\n1234\r\n0\r\n\r\n"),
        post(chunked, "4 \r\n1234\r\n0\r\n\r\n"),
        post(chunked, "0x4\r\n1234\r\n0\r\n\r\n"),
        post(chunked, "-4\r\n1234\r\n0\r\n\r\n"),
        post(chunked, "+4\r\n1234\r\n0\r\n\r\n"),
        post(chunked, "4\n1234\r\n0\r\n\r\n"),
        post(chunked, "4\r1234\r\n0\r\n\r\n"),
        post(chunked, ";x\r\n"),
        post(chunked, "4;x\n1234\r\n0\r\n\r\n"),
        post(chunked, "4;\0\r\n1234\r\n0\r\n\r\n"),
        post(chunked, "11111111111111111\r\n1\r\n"),
        post(chunked, "0\r\nX: a\n\r\n"),
        post(chunked, "0\r\n X: a\r\n\r\n"),
        post(chunked, "0\r\n\rGET"),
    ];
    for request in &bad {
        is_refused(&server, request, 400);
    }
    is_well(&server);
    server.stop();
}

#[test]
fn a_body_that_turns_out_bad_when_its_echo_has_begun_ends_in_a_reset() {
    let root = Root::new();
    let server = root.serve(&[]);
    for bad in ["4\r\n12345\r\n", "4\r\n1234\r\nx\r\n", "4\r\n1234\n"] {
        let mut client = server.client();
        client
            .write_all(&post("Transfer-Encoding: chunked\r\n", bad))
            .unwrap();
        let mut text = Vec::new();
        let end = std::io::Read::read_to_end(&mut client, &mut text);
        let text = String::from_utf8_lossy(&text);
        assert!(end.is_err(), "{bad:?}: not taken for whole: {text}");
        assert!(!text.contains("0\r\n\r\n"), "{bad:?}: {text}");
    }
    is_well(&server);
    server.stop();
}

#[test]
fn what_is_not_known_or_too_much_has_its_own_status() {
    let root = Root::new();
    let limits = [
        "--max-head",
        "1000",
        "--max-target",
        "100",
        "--max-headers",
        "10",
        "--max-body",
        "1000",
    ];
    let server = root.serve(&limits);
    let get = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").into_bytes()
    };
    let long = format!("/{}", "a".repeat(100));
    let huge = format!("/{}", "a".repeat(100_000));
    let chunks = "3e8\r\n".to_owned() + &"a".repeat(1000) + "\r\n1\r\na\r\n0\r\n\r\n";
    let upload = |fields: &str, body: &str| {
        format!("POST /upload HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}").into_bytes()
    };
    for (request, status) in [
        (get(&long, ""), 414),
        (get(&huge, ""), 414),
        (huge.as_bytes()[1..].to_vec(), 414),
        (get("/", &format!("X: {}\r\n", "a".repeat(1000))), 431),
        (get("/", &"X: y\r\n".repeat(10)), 431),
        (upload("Content-Length: 1001\r\n", ""), 413),
        (upload("Content-Length: 18446744073709551615\r\n", ""), 413),
        (
            upload("Expect: 100-continue\r\nContent-Length: 1001\r\n", ""),
            413,
        ),
        (upload("Transfer-Encoding: chunked\r\n", &chunks), 413),
        (get("/small.txt", "Content-Length: 3\r\n"), 413),
        (
            upload("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            501,
        ),
        (upload("Transfer-Encoding: identity\r\n", ""), 501),
        (upload("Transfer-Encoding: xchunked\r\n", ""), 501),
        (upload("Transfer-Encoding: chunked;q=1\r\n", ""), 501),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 501),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_vec(), 505),
        (b"GET / HTTP/1.2\r\nHost: x\r\n\r\n".to_vec(), 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 505),
        (
            b"PUT /small.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".to_vec(),
            405,
        ),
    ] {
        is_refused(&server, &request, status);
    }
    // At the limit nothing is refused.
    let at_limit = upload(
        "Content-Length: 1000\r\nConnection: close\r\n",
        &"a".repeat(1000),
    );
    assert!(until_closed(&server, &at_limit).contains("1000 bytes\n"));
    is_well(&server);
    server.stop();
}

#[test]
fn refusals_that_leave_no_doubt_keep_the_connection() {
    let root = Root::new();
    let server = root.serve(&[]);
    let mut client = server.client();
    for (request, status) in [
        ("GET /missing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("DELETE /small.txt HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("POST /echo HTTP/1.1\r\nHost: x\r\n\r\n", 411),
        (
            "GET /small.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=99-\r\n\r\n",
            416,
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("GET http://x/small.txt HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("\r\nGET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (
            "POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED\r\n\r\n4;a=\"b\"\r\n1234\r\n00\r\nX: y\r\n\r\n",
            200,
        ),
    ] {
        client.write_all(request.as_bytes()).unwrap();
        assert_eq!(answer(&mut client).status(), status, "{request:?}");
    }
    client
        .write_all(
            b"HEAD /missing HTTP/1.1\r\nHost: x\r\n\r\nGET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        )
        .unwrap();
    assert_eq!(answer_to(&mut client, "HEAD").status(), 404);
    assert_eq!(answer(&mut client).text(), "hello world\n");
    drop(client);
    server.stop();
}

#[test]
fn requests_that_come_byte_by_byte_or_all_at_once_are_answered_in_order() {
    let root = Root::new();
    let server = root.serve(&[]);
    let requests = b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                     3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nHEAD /small.txt HTTP/1.1\r\nHost: x\r\n\r\n\
                     POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n\
                     GET /sub/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    for piece in [1, 7, requests.len()] {
        let mut client = server.client();
        client.set_nodelay(true).unwrap();
        for piece in requests.chunks(piece) {
            client.write_all(piece).unwrap();
        }
        assert_eq!(answer(&mut client).text(), "hello world\n");
        assert_eq!(
            answer(&mut client).field("Transfer-Encoding"),
            Some("chunked")
        );
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut client, &mut all).unwrap();
        let text = String::from_utf8_lossy(&all);
        let echo = text.find("0\r\n\r\n").expect("the end of the echo") + 5;
        let data: String = text[..echo].split("\r\n").skip(1).step_by(2).collect();
        assert_eq!(data, "abcde", "{}", &text[..echo]);
        let order = [
            "Content-Length: 12\r\n",
            "5 bytes\n",
            "Content-Length: 3145728\r\n",
            "index\n",
        ];
        let places: Vec<_> = order
            .iter()
            .map(|part| text.find(part).expect(part))
            .collect();
        assert!(places.is_sorted(), "{places:?}");
        // What follows a request that closes is not answered.
        assert!(
            text.ends_with("index\n"),
            "{piece}: {}",
            &text[text.len() - 100..]
        );
    }
    server.stop();
}

#[test]
fn many_requests_in_one_piece_are_all_answered_however_much_that_is() {
    let root = Root::new();
    std::fs::write(root.file("medium"), pattern(60_000)).unwrap();
    let server = root.serve(&[]);
    let mut client = server.client();
    let request = "GET /medium HTTP/1.1\r\nHost: x\r\n\r\n";
    client.write_all(request.repeat(300).as_bytes()).unwrap();
    for number in 0..300 {
        assert!(answer(&mut client).body == pattern(60_000), "{number}");
    }
    drop(client);
    server.stop();
}

#[test]
fn a_connection_has_so_many_requests_and_the_last_answer_says_so() {
    let root = Root::new();
    let server = root.serve(&["--max-requests", "3"]);
    let request = "GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5);
    let text = until_closed(&server, request.as_bytes());
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    assert_eq!(text.matches("Connection: close").count(), 1, "{text}");
    server.stop();
}

#[test]
fn whoever_is_too_slow_is_told_so() {
    let root = Root::new();
    let times = [
        "--header-timeout",
        "0.1",
        "--body-timeout",
        "0.1",
        "--idle-timeout",
        "0.3",
    ];
    let server = root.serve(&times);
    for request in [
        "G",
        "GET / HTTP/1.1\r\n",
        "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n123",
        "POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5",
    ] {
        let mut client = server.client();
        client.write_all(request.as_bytes()).unwrap();
        let text = rest(&mut client);
        assert!(text.starts_with("HTTP/1.1 408 "), "{request:?}: {text}");
    }
    // One that says nothing is closed, and one that has been answered.
    assert_eq!(rest(&mut server.client()), "");
    let mut client = server.client();
    client
        .write_all(b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert!(rest(&mut client).ends_with("hello world\n"));
    server.stop();
}

#[test]
fn the_whole_request_has_a_deadline_of_its_own() {
    let root = Root::new();
    let server = root.serve(&["--request-timeout", "0.1"]);
    let mut client = server.client();
    client
        .write_all(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n123")
        .unwrap();
    assert!(rest(&mut client).starts_with("HTTP/1.1 408 "));
    drop(client);
    // A file that is not fetched in time is cut off, and not ended as if it were whole.
    let mut client = server.client();
    let many = "GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
    client.write_all(many.as_bytes()).unwrap();
    while client.write(b"x").is_ok() {
        is_well(&server);
    }
    let mut text = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client, &mut text);
    assert!(text.len() < 20 * (3 << 20), "{} bytes", text.len());
    server.stop();
}

#[test]
fn a_client_that_has_finished_sending_gets_all_answers() {
    let root = Root::new();
    let server = root.serve(&[]);
    let mut client = server.client();
    client
        .write_all(
            b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\nGET /sub/ HTTP/1.1\r\nHost: x\r\n\r\n",
        )
        .unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let text = rest(&mut client);
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2);
    assert!(text.ends_with("index\n"));
    server.stop();
}

#[test]
fn a_shutdown_finishes_the_answers_in_hand() {
    let root = Root::new();
    let server = root.serve(&["--drain", "10"]);
    let mut idle = server.client();
    idle.write_all(b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    answer(&mut idle);
    // A body that is on its way.
    let mut uploading = server.client();
    uploading.write_all(b"POST /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").unwrap();
    assert_eq!(answer(&mut uploading).status(), 100);
    // And a file: more than the kernel holds.
    let mut downloading = server.client();
    downloading
        .write_all(
            "GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n"
                .repeat(5)
                .as_bytes(),
        )
        .unwrap();
    let mut first = [0; 1];
    std::io::Read::read_exact(&mut downloading, &mut first).unwrap();
    let mut asking = server.client();
    asking.write_all(b"GET /small.txt HTTP/1.1\r\n").unwrap();
    is_well(&server);
    server.process.signal("-TERM");
    assert_eq!(rest(&mut idle), "", "it was idle");
    asking.write_all(b"Host: x\r\n\r\n").unwrap();
    let text = rest(&mut asking);
    assert!(
        text.contains("Connection: close") && text.ends_with("hello world\n"),
        "{text}"
    );
    uploading.write_all(b"1234").unwrap();
    let text = rest(&mut uploading);
    assert!(
        text.contains("Connection: close") && text.ends_with("4 bytes\n"),
        "{text}"
    );
    let mut file = Vec::new();
    std::io::Read::read_to_end(&mut downloading, &mut file).expect("no reset");
    assert!(
        file.ends_with(&pattern(3 << 20)),
        "the last answer is whole"
    );
    drop((idle, asking, uploading, downloading));
    let ended = server.end();
    assert_eq!((ended.code, ended.totals().of("aborted")), (Some(0), 0));
}
