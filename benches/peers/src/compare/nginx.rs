//! nginx as one process, configured for nothing but the experiment at hand.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::process::{self, Core, Server};
use crate::cli::{Doing, Result};

/// Starts nginx as one process with `body` as its main block, in the server's place.
///
/// # Errors
///
/// An nginx that does not start: most likely it lacks the module.
pub fn start(folder: &Path, body: &str, address: SocketAddr) -> Result<Server> {
    start_on(Core::Server, 9000, folder, body, address)
}

/// The same on another processor, with room for so many connections.
///
/// # Errors
///
/// As [`start`].
pub fn start_on(
    core: Core,
    connections: usize,
    folder: &Path,
    body: &str,
    address: SocketAddr,
) -> Result<Server> {
    // Debian keeps stream in a module of its own; elsewhere it is built in.
    const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let module = if body.starts_with("stream") && Path::new(STREAM).is_file() {
        format!("load_module {STREAM};\n")
    } else {
        String::new()
    };
    let file = folder.join("nginx.conf");
    let text = format!(
        "{module}daemon off;\nmaster_process off;\nworker_processes 1;\npid nginx.pid;\n\
         error_log stderr crit;\nworker_rlimit_nofile 20000;\n\
         events {{ worker_connections {connections}; }}\n{body}"
    );
    fs::write(&file, text).doing("writing nginx's configuration")?;
    let words = [
        "nginx".into(),
        "-p".into(),
        folder.as_os_str().to_owned(),
        "-c".into(),
        file.into_os_string(),
    ];
    Server::start_silent(&mut process::command(core, &[], &words), "nginx", address)
}
