//! The heads that the inspector reads.
//!
//! Holds: what is found whole is found at no earlier byte and is not changed by what follows; a head is refused or found
//! before it has 8 KiB; whoever comes by a name that is not this machine's, or from another site, is refused.

#[path = "../../src/inspector/request.rs"]
mod request;

use std::net::IpAddr;

use self::request::{MOST_BYTES, Refused, Request};

pub(crate) fn target(data: &[u8]) {
    let mut end = 0;
    let mut first = Ok(None);
    while end < data.len() && matches!(first, Ok(None)) {
        end += 1;
        first = Request::parse(&data[..end]);
    }
    assert!(end <= MOST_BYTES, "a head of {end} bytes is waited for");
    match first {
        Ok(None) => {}
        Err(refused) => {
            // A method may be told apart before the rest is looked at, or something be missing; it is refused.
            let whole = Request::parse(data);
            assert!(
                whole.is_err(),
                "refused ({refused:?}) at {end}, and in one piece found: {whole:?}"
            );
        }
        Ok(Some(request)) => {
            assert!(data[..end].ends_with(b"\n"));
            assert!(!request.path.contains('?'));
            assert_eq!(
                Request::parse(data),
                Ok(Some(request)),
                "what follows changes it"
            );
            look_at_names(&data[..end]);
        }
    }
}

/// Its host, as another reads it.
fn look_at_names(head: &[u8]) {
    let request = Request::parse(head)
        .expect("it was read")
        .expect("as a whole");
    let local: IpAddr = [192, 0, 2, 7].into();
    let is_let_in = request
        .check(Some(local), &["inspector.test".to_owned()])
        .is_ok();
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut again = httparse::Request::new(&mut headers);
    again.parse(head).expect("it was read");
    let of = |name: &str| {
        let field = again
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| String::from_utf8_lossy(field.value).to_ascii_lowercase())
    };
    let host = of("host").expect("a head without one is refused");
    let usual = [
        "localhost",
        "inspector.test",
        "127.",
        "192.0.2.7",
        "[",
        ":",
        "::1",
        "::ffff:",
    ];
    if is_let_in {
        assert!(usual.iter().any(|usual| host.starts_with(usual)), "{host}");
        let site = of("sec-fetch-site");
        assert!(site.is_none_or(|site| site == "none" || site == "same-origin"));
    }
    let refused = request.check(None, &[]) == Err(Refused::Foreign);
    assert!(
        refused || is_let_in,
        "who is let in with fewer names is with more"
    );
}
