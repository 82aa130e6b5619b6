//! The example `http_server` with the clients that everybody uses: wrk, ab, h2load, Python's `http.client`, openssl, Chromium.
//! (curl is in `http_server.rs`.)
//!
//! A test whose program is missing says so and is skipped.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;

use std::fs;
use std::process::Command;

use http::*;
use programs::*;

/// A browser asks for a page and for what is in it, on several connections, and says by the page's own script whether all
/// came.
#[test]
fn chromium_loads_a_page_with_twenty_images() {
    const IMAGES: usize = 20;
    let browsers = ["chromium", "chromium-headless-shell", "google-chrome"];
    let Some(browser) = browsers.into_iter().find(|name| is_here(name)) else {
        return;
    };
    let root = Root::new();
    let mut page = "<!DOCTYPE html><title>loading</title>\n".to_owned();
    for number in 0..IMAGES {
        // A width of its own each, so that none is taken for another; and more than is kept in memory, by a comment behind.
        let width = number + 1;
        let image = format!("<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='1'/>");
        let comment = format!("<!--{}-->", "x".repeat(number * 10_000));
        fs::write(root.file(&format!("{number}.svg")), image + &comment).unwrap();
        page += &format!("<img src='/{number}.svg'>\n");
    }
    page += "<script>onload = () => {\n\
             const widths = [...document.images].map(image => image.naturalWidth);\n\
             document.title = 'widths ' + widths.reduce((sum, width) => sum + width);\n\
             }</script>\n";
    fs::write(root.file("index.html"), page).unwrap();
    let server = root.serve(&["--access-log"]);
    let url = format!("http://{}/", server.address);
    let profile = root.file("../profile").display().to_string();
    let profile = format!("--user-data-dir={profile}");
    let flags = ["--headless", "--no-sandbox", "--disable-gpu", &profile];
    let text = said(browser, &[&flags[..], &["--dump-dom", &url]].concat());
    let sum = IMAGES * (IMAGES + 1) / 2;
    assert!(
        text.contains(&format!("<title>widths {sum}</title>")),
        "{text}"
    );
    server.process.signal("-INT");
    let log = server.end().stdout;
    let answered = |target: &str| {
        let request = format!("\"GET {target} HTTP/1.1\" 200 ");
        log.iter().filter(|line| line.contains(&request)).count()
    };
    assert_eq!(answered("/"), 1, "{log:#?}");
    for number in 0..IMAGES {
        assert_eq!(answered(&format!("/{number}.svg")), 1, "{log:#?}");
    }
}

#[test]
fn wrk_sees_no_errors() {
    if !is_here("wrk") {
        return;
    }
    let root = Root::new();
    let server = root.serve(&["--max-requests", "0"]);
    let url = format!("http://{}/small.txt", server.address);
    let text = said("wrk", &["-t1", "-c100", "-d1s", &url]);
    assert!(
        text.contains("requests in") && !text.contains("Socket errors"),
        "{text}"
    );
    assert!(!text.contains("Non-2xx"), "{text}");
    server.stop();
}

#[test]
fn ab_is_served_with_kept_connections_and_without() {
    if !is_here("ab") {
        return;
    }
    let root = Root::new();
    let server = root.serve(&[]);
    let url = format!("http://{}/small.txt", server.address);
    for (flags, kept) in [
        (&["-q", "-k"][..], "Keep-Alive requests:    2000"),
        (&["-q"], "Complete requests:      2000"),
    ] {
        let text = said("ab", &[flags, &["-c20", "-n2000", &url]].concat());
        assert!(text.contains("Failed requests:        0"), "{text}");
        assert!(text.contains(kept) && !text.contains("Non-2xx"), "{text}");
    }
    server.stop();
}

#[test]
fn h2load_pipelines() {
    if !is_here("h2load") {
        return;
    }
    let root = Root::new();
    let server = root.serve(&["--max-requests", "0"]);
    let url = format!("http://{}/small.txt", server.address);
    let text = said("h2load", &["--h1", "-n2000", "-c10", "-m16", &url]);
    assert!(
        text.contains("2000 succeeded, 0 failed, 0 errored"),
        "{text}"
    );
    server.stop();
}

#[test]
fn pythons_client_keeps_its_connection() {
    if !is_here("python3") {
        return;
    }
    let root = Root::new();
    let server = root.serve(&[]);
    let script = format!(
        "import http.client\n\
         c = http.client.HTTPConnection('127.0.0.1', {}, timeout=10)\n\
         c.request('GET', '/small.txt'); r = c.getresponse(); assert r.read() == b'hello world\\n', r.status\n\
         s = c.sock\n\
         c.request('POST', '/echo', body=iter([b'one', b'two']), encode_chunked=True, headers={{'Transfer-Encoding': 'chunked'}})\n\
         r = c.getresponse(); assert r.read() == b'onetwo', r.status\n\
         c.request('HEAD', '/large.bin'); r = c.getresponse(); assert r.read() == b'' and r.getheader('Content-Length') == '3145728'\n\
         c.request('GET', '/large.bin'); r = c.getresponse(); assert len(r.read()) == 3145728\n\
         assert c.sock is s\n\
         print('well')\n",
        server.port()
    );
    assert_eq!(said("python3", &["-c", &script]), "well\n");
    server.stop();
}

#[test]
fn over_tls_all_is_as_without() {
    if !is_here("curl") {
        return;
    }
    let root = Root::new();
    let folder = root.file("../tls").display().to_string();
    assert_eq!(run("self_signed", &[&folder]).status.code(), Some(0));
    let (cert, key) = (format!("{folder}/cert.pem"), format!("{folder}/key.pem"));
    let server = root.serve(&["--tls-cert", &cert, "--tls-key", &key]);
    let url = format!("https://{}/large.bin", server.address);
    let output = Command::new("curl")
        .args(["-s", "-m", "20", "--cacert", &cert, &url])
        .output();
    assert!(output.unwrap().stdout == pattern(3 << 20));
    let url = format!("https://{}/echo", server.address);
    let body = "@".to_owned() + &root.file("large.bin").display().to_string();
    let arguments = [
        "-s",
        "-m",
        "20",
        "--cacert",
        &cert,
        "--data-binary",
        &body,
        &url,
    ];
    let output = Command::new("curl").args(arguments).output();
    assert!(output.unwrap().stdout == pattern(3 << 20));
    if is_here("openssl") {
        let script = format!(
            "printf 'GET /small.txt HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' | \
             timeout 10 openssl s_client -quiet -CAfile {cert} -verify_return_error -connect {} 2>&1",
            server.address
        );
        let text = said("sh", &["-c", &script]);
        assert!(
            text.contains("HTTP/1.1 200 OK") && text.contains("hello world"),
            "{text}"
        );
    }
    server.stop();
}
