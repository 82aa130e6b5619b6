//! A line for each request, in the log.

use slabloop::Context;

use crate::policy::Way;
use crate::request::Request;

/// Who, what, where, the status of the answer, and how many bytes its body had.
pub(crate) fn line(cx: &Context<'_>, request: &Request, status: u16, bytes: u64) {
    let client = cx.peer().map(|peer| peer.to_string()).unwrap_or_default();
    let (host, port) = (&request.host, request.port);
    let line = request.head.split(|byte| *byte == b'\r').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let line = match request.way {
        Way::Http => line.trim_end_matches(" HTTP/1.1"),
        Way::Tunnel => "CONNECT",
    };
    log::info!(target: "access", "{client} {host}:{port} \"{line}\" {status} {bytes}");
}
