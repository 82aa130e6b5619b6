//! The example `resolve`, as its users start it.

#![cfg(target_os = "linux")]

#[path = "../util/programs.rs"]
mod programs;

use std::net::TcpListener;
use std::process::Output;

fn resolve(arguments: &[&str]) -> Output {
    programs::run("resolve_tested", arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn addresses_are_printed_with_where_they_come_from() {
    for arguments in [["-4", "localhost"], ["--system", "127.0.0.1"]] {
        let output = resolve(&arguments);
        assert!(output.status.success(), "{output:?}");
        let line = text(&output.stdout);
        let name = arguments[1];
        assert!(
            line.starts_with(&format!("{name} 127.0.0.1  (literal, ")),
            "{line}"
        );
    }
}

#[test]
fn it_connects_to_a_name() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    let output = resolve(&["--connect", &port, "localhost"]);
    assert!(output.status.success(), "{output:?}");
    let line = text(&output.stdout);
    let expected = format!("localhost connected to 127.0.0.1:{port}");
    assert!(line.starts_with(&expected), "{line}");
}

#[test]
fn what_fails_is_named_and_the_exit_code_says_so() {
    let output = resolve(&["--server", "127.0.0.1:1", "host.test", "a..b", "127.0.0.1"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(
        errors.contains("\"host.test\": no name server answered"),
        "{errors}"
    );
    assert!(
        errors.contains("\"a..b\": not a valid host name"),
        "{errors}"
    );
    assert!(errors.contains("2 of 3 failed"), "{errors}");
    assert!(text(&output.stdout).contains("127.0.0.1 127.0.0.1"));
}

#[test]
fn wrong_usage_says_what_would_be_right() {
    for (arguments, right) in [
        (vec![], "no name was given"),
        (vec!["--server", "nonsense", "x"], "expected an address"),
        (vec!["--connect", "70000", "x"], "expected a port"),
        (
            vec!["--system", "--server", "127.0.0.1", "x"],
            "leave out --server",
        ),
        (vec!["--wrong"], "--help"),
    ] {
        let output = resolve(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let errors = text(&output.stderr);
        assert!(errors.contains(right), "{errors}");
    }
    assert!(resolve(&["--help"]).status.success());
}
