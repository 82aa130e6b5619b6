//! Where a server is and how to log in there, as the command line and the environment say it. The password is shown
//! nowhere: not by `Debug`, not in an error.

use std::ffi::OsString;
use std::fmt;
use std::io;

use super::resp::{Reply, encode};

/// Has the password, as for redis-cli. Other users of the machine can read a command line, and cannot read this.
const PASSWORD: &str = "REDISCLI_AUTH";

const DEFAULT_PORT: u16 = 6379;

#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// `HOST:PORT`, to be looked up.
    pub(crate) name: String,
    pub(crate) login: Option<Login>,
}

impl Server {
    /// Of `redis://[[USER]:PASSWORD@]HOST[:PORT]`. A password that it does not have is taken from the environment.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for people, without anything that may be the password.
    pub(crate) fn of(url: OsString) -> Result<Server, String> {
        // (The error has the text.)
        let url = url.into_string();
        let url = url.map_err(|_| "expected UTF-8, and other bytes as %XX".to_owned())?;
        Server::parse(&url, from_environment())
    }

    /// The same, but `HOST[:PORT]` is enough.
    pub(crate) fn of_short(text: OsString) -> Result<Server, String> {
        if text.to_string_lossy().contains("://") {
            return Server::of(text);
        }
        let mut url = OsString::from("redis://");
        url.push(text);
        Server::of(url)
    }

    /// The one of this machine.
    pub(crate) fn local() -> Server {
        Server {
            name: format!("127.0.0.1:{DEFAULT_PORT}"),
            login: from_environment().map(Login::of_default_user),
        }
    }

    /// Of a URL; without a password there, it is `password`.
    pub(crate) fn parse(url: &str, password: Option<Vec<u8>>) -> Result<Server, String> {
        let wrong = |why: &str| Err(format!("expected redis://HOST:PORT{why}"));
        if url.starts_with("rediss://") {
            return wrong("; TLS is not possible");
        }
        let Some(rest) = url.strip_prefix("redis://") else {
            return wrong(", or redis://USER:PASSWORD@HOST:PORT");
        };
        // At the last one: a password may have been given as it is.
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains(['/', '?', '#']) {
            return wrong(", without a database: it is number 0");
        }
        let is_bracketed = place.starts_with('[');
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !is_bracketed || host.ends_with(']') => match port.parse() {
                Ok(port) if port > 0 => (host, port),
                _ => return wrong(", with a port from 1 to 65535"),
            },
            _ => (place, DEFAULT_PORT),
        };
        let is_address = !host.contains(':') || is_bracketed && host.ends_with(']');
        if host.is_empty() || !is_address {
            return wrong(", such as redis://192.0.2.7:6379 or redis://[2001:db8::7]:6379");
        }
        Ok(Server {
            name: format!("{host}:{port}"),
            login: match login {
                Some(login) => Some(Login::parse(login, password)?),
                None => password.map(Login::of_default_user),
            },
        })
    }
}

fn from_environment() -> Option<Vec<u8>> {
    let password = std::env::var_os(PASSWORD)?.into_encoded_bytes();
    Some(password).filter(|password| !password.is_empty())
}

/// A password, and whose it is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// Without one it is the server's default user, whose password `requirepass` is.
    user: Option<Vec<u8>>,
    password: Vec<u8>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

impl Login {
    pub(crate) fn of_default_user(password: Vec<u8>) -> Login {
        let user = None;
        Login { user, password }
    }

    /// Of what is before the `@`; without a password there, it is `password`.
    fn parse(text: &str, password: Option<Vec<u8>>) -> Result<Login, String> {
        let (user, written) = text.split_once(':').unwrap_or((text, ""));
        let (Some(user), Some(written)) = (decoded(user), decoded(written)) else {
            let rule = "% is followed by two hexadecimal digits, and %25 is the sign itself";
            return Err(format!("in the user and the password {rule}"));
        };
        let written = Some(written).filter(|written| !written.is_empty());
        let Some(password) = written.or(password) else {
            let right = "USER:PASSWORD, or :PASSWORD";
            let or = format!("or USER alone if {PASSWORD} has the password");
            return Err(format!("before the @ expected {right}, {or}"));
        };
        let user = Some(user).filter(|user| !user.is_empty());
        Ok(Login { user, password })
    }

    /// What is sent before everything else.
    pub(crate) fn command(&self) -> Vec<u8> {
        match &self.user {
            Some(user) => encode(&[b"AUTH", &user[..], &self.password]),
            None => encode(&[b"AUTH", &self.password[..]]),
        }
    }

    /// Looks at the answer to that.
    ///
    /// # Errors
    ///
    /// Why it is refused. The server's text is not in it: a server that does not know a command quotes its arguments.
    pub(crate) fn answered(reply: &Reply) -> io::Result<()> {
        let text = match reply {
            Reply::Simple(text) if text == b"OK" => return Ok(()),
            Reply::Error(text) => text,
            _ => {
                let none = "an answer to AUTH that is none of Redis";
                return Err(io::Error::new(io::ErrorKind::InvalidData, none));
            }
        };
        let is = |part: &str| text.contains(part);
        if is("max number of clients") {
            // It says so before it is asked anything.
            let many = "the server has as many clients as it takes";
            return Err(io::Error::other(many));
        }
        let code = text.split(' ').next().unwrap_or_default();
        let code = Some(code).filter(|code| code.bytes().all(|byte| byte.is_ascii_uppercase()));
        // (The second and the fourth are those of Redis 5.)
        let why = if code == Some("WRONGPASS") {
            "the server refuses the password, or the user: WRONGPASS".to_owned()
        } else if is("invalid password") {
            "the server refuses the password".to_owned()
        } else if is("without any password configured") || is("no password is set") {
            "the server has no password, and this client was given one".to_owned()
        } else {
            let code = code.unwrap_or("an error");
            format!("the server does not let this client log in: {code}")
        };
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    }
}

/// `None` if that is no percent-encoding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(16 * digit()? + digit()?).ok()?
            }
            other => other,
        });
    }
    Some(decoded)
}
