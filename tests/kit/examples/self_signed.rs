//! Makes a self-signed certificate for `localhost` and 127.0.0.1, to try TLS with.
//!
//! ```text
//! cargo run -p slabloop-kit-tests --example self_signed -- /tmp/tls
//! cargo run --features tls --example echo_server -- --tls-cert /tmp/tls/cert.pem --tls-key /tmp/tls/key.pem
//! openssl s_client -connect 127.0.0.1:7000 -CAfile /tmp/tls/cert.pem -verify_return_error -quiet
//! ```
//!
//! Not an example of the crate's own: these are built with all dev-dependencies, and `rcgen` would make every one
//! of them slower to build.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use rcgen::{CertifiedKey, generate_simple_self_signed};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or("usage: self_signed FOLDER, where cert.pem and key.pem are to be")?;
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("cert.pem"), cert.pem())?;
    fs::write(folder.join("key.pem"), signing_key.serialize_pem())?;
    println!("{0}/cert.pem and {0}/key.pem", folder.display());
    Ok(())
}
