//! STARTTLS by `start_layer`: a mail server and its client in a few lines, with programs that speak it.

#[path = "../util/noting.rs"]
mod noting;
#[path = "util/tls.rs"]
mod tls_util;
#[path = "../util/mod.rs"]
mod util;
#[path = "../util/wire.rs"]
mod wire;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::StreamOwned;
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::tls::{Acceptor, Connector, rustls};
use slabloop::{Accepted, Context, Dispatcher, Reactor};
use tls_util::*;
use util::*;

/// A mail server: what it is told it notes, with `tls` or `plain` before it.
struct Mail {
    acceptor: Acceptor,
    notes: Notes,
    in_message: bool,
}

impl Mail {
    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        line: &str,
    ) -> io::Result<()> {
        if self.in_message {
            self.in_message = line != ".";
            return if self.in_message {
                Ok(())
            } else {
                framing.push(cx, b"250 taken\r\n")
            };
        }
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" if cx.tls().is_some() => framing.push(cx, b"250 localhost\r\n"),
            "EHLO" => framing.push(cx, b"250-localhost\r\n250 STARTTLS\r\n"),
            "STARTTLS" if cx.tls().is_none() => {
                let session = self.acceptor.session()?;
                framing.push(cx, b"220 go ahead\r\n")?;
                cx.start_layer(session)
            }
            "MAIL" | "RCPT" | "RSET" | "NOOP" => framing.push(cx, b"250 fine\r\n"),
            "DATA" => {
                self.in_message = true;
                framing.push(cx, b"354 go on\r\n")
            }
            "QUIT" => {
                framing.push(cx, b"221 bye\r\n")?;
                framing.close_when_done(cx);
                Ok(())
            }
            _ => framing.push(cx, b"502 what?\r\n"),
        }
    }
}

impl Handler for Mail {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        let line = String::from_utf8_lossy(line).into_owned();
        let how = if cx.tls().is_some() { "tls" } else { "plain" };
        self.notes.borrow_mut().push(format!("{how}: {line}"));
        self.answer(cx, framing, &line)
    }

    fn handle_handshake(&mut self, cx: &mut Context<'_>, _: &mut Framing) -> io::Result<()> {
        let version = cx
            .tls()
            .and_then(|session| session.connection().protocol_version());
        self.notes
            .borrow_mut()
            .push(format!("handshake: {version:?}"));
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let cause = cx.end_cause().expect("it has ended");
        self.notes.borrow_mut().push(format!("{cause:?}"));
    }
}

struct Post {
    acceptor: Acceptor,
    notes: Notes,
}

impl Dispatcher for Post {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let mail = Mail {
            acceptor: self.acceptor.clone(),
            notes: Rc::clone(&self.notes),
            in_message: false,
        };
        let id = cx.add(accepted, Framed::new(Terminator::Line, mail)?)?;
        cx.at(id)
            .map_or(Ok(()), |mut cx| cx.send(b"220 localhost\r\n"))
    }
}

fn serve(reactor: &mut Reactor, configs: &Configs) -> (SocketAddr, Notes) {
    let notes = Notes::default();
    let post = Post {
        acceptor: Acceptor::new(Arc::clone(&configs.server)),
        notes: Rc::clone(&notes),
    };
    let id = reactor.listen("127.0.0.1:0", post).expect("a port");
    (reactor.local_addr(id).expect("a listener has one"), notes)
}

fn until_gone(reactor: &mut Reactor) {
    turn_until(reactor, "the client is gone", |reactor| {
        reactor.count() == 1
    });
}

#[test]
fn pythons_smtplib_sends_a_mail_over_starttls() {
    let configs = configs_of(&BOTH);
    let mut reactor = Reactor::new().expect("a reactor");
    let (address, notes) = serve(&mut reactor, &configs);
    let folder = Folder::new(&configs.identity);
    let script = "
import smtplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
with smtplib.SMTP('localhost', int(sys.argv[1]), timeout=20) as smtp:
    smtp.starttls(context=context)
    smtp.sendmail('ada@here', ['bob@there'], 'Subject: hello\\n\\nhello\\n')
print('sent')
";
    let port = address.port().to_string();
    let arguments = ["-c", script, &port, &folder.path("cert.pem")];
    let Some(said) = run_client(&mut reactor, "python3", &arguments, "") else {
        return;
    };
    assert_eq!(said, "sent\n");
    // It says no close_notify, and may reset what it has not read: how this ends is not the point.
    until_gone(&mut reactor);
    let notes = notes.borrow();
    let begun = notes.iter().position(|note| note == "plain: STARTTLS");
    let begun = begun.unwrap_or_else(|| panic!("{notes:?}"));
    assert_eq!(notes[begun + 1], "handshake: Some(TLSv1_3)");
    assert!(
        notes[..begun]
            .iter()
            .all(|note| note.starts_with("plain: ")),
        "{notes:?}"
    );
    assert!(
        notes.contains(&"tls: Subject: hello".to_owned()),
        "{notes:?}"
    );
}

#[test]
fn openssl_s_client_begins_in_plaintext_in_both_versions() {
    let configs = configs_of(&BOTH);
    let mut reactor = Reactor::new().expect("a reactor");
    let (address, notes) = serve(&mut reactor, &configs);
    let folder = Folder::new(&configs.identity);
    let (address, certificate) = (address.to_string(), folder.path("cert.pem"));
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = [
            "s_client",
            "-starttls",
            "smtp",
            "-connect",
            &address,
            "-CAfile",
            &certificate,
            "-servername",
            "localhost",
            version,
            "-verify_return_error",
            "-ign_eof",
        ];
        let Some(said) = run_client(&mut reactor, "openssl", &arguments, "NOOP\nquit\n") else {
            return;
        };
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(
            said.contains("250 fine") && said.contains("221 bye"),
            "{said}"
        );
        until_gone(&mut reactor);
        let hidden = |line: &str| notes.borrow().contains(&format!("tls: {line}"));
        assert!(hidden("NOOP") && hidden("quit"), "{notes:?}");
        notes.borrow_mut().clear();
    }
}

/// A command that is sent together with STARTTLS, in plaintext, and was to be carried out as if it had come encrypted
/// (CVE-2011-0411).
#[test]
fn a_command_injected_before_the_handshake_breaks_it_and_is_not_carried_out() {
    let configs = configs_of(&BOTH);
    let mut reactor = Reactor::new().expect("a reactor");
    let (address, notes) = serve(&mut reactor, &configs);
    let mut client = client(&configs, address);
    client
        .sock
        .write_all(b"EHLO me\r\nSTARTTLS\r\nMAIL FROM:<mallory>\r\n")
        .expect("room");
    turn_with(&mut reactor, move || {
        let greeting = b"220 localhost\r\n250-localhost\r\n250 STARTTLS\r\n220 go ahead\r\n";
        let mut said = vec![0; greeting.len()];
        client.sock.read_exact(&mut said).expect("the answers");
        assert_eq!(said, greeting);
        client.write_all(b"NOOP\r\n").expect_err("no handshake")
    });
    until_noted(&mut reactor, &notes, "HandshakeFailed");
    let told: Vec<_> = notes.borrow().clone();
    assert_eq!(told[..2], ["plain: EHLO me", "plain: STARTTLS"]);
    assert_eq!(told.len(), 3, "{told:?}");
}

/// What the peer says at once behind its STARTTLS may be its handshake: nothing of it is lost, wherever it is cut.
#[test]
fn a_handshake_that_comes_together_with_the_command_is_taken() {
    let configs = configs_of(&BOTH);
    let mut peer = Peer::new(&configs);
    let mut hello = Vec::new();
    peer.connection
        .write_tls(&mut hello)
        .expect("memory has room");
    let said = [&b"STARTTLS\r\n"[..], &hello].concat();
    for cut in [1, 8, 9, 10, 11, 14, 15, 16, 60, said.len() - 1, said.len()] {
        let mut reactor = Reactor::new().expect("a reactor");
        let wire = wire::Wire::open();
        let notes = Notes::default();
        let mail = Mail {
            acceptor: Acceptor::new(Arc::clone(&configs.server)),
            notes: Rc::clone(&notes),
            in_message: false,
        };
        let framed = Framed::new(Terminator::Line, mail).expect("a terminator");
        let id = reactor.add(wire.socket(), framed).expect("a stream");
        for piece in [&said[..cut], &said[cut..]] {
            wire.input(&mut reactor, id, piece);
            settle(&mut reactor);
        }
        let output = wire.output();
        let answer = output
            .strip_prefix(b"220 go ahead\r\n")
            .expect("first of all");
        // A handshake record: the server's hello.
        assert_eq!(answer.first(), Some(&22), "{cut}: {notes:?}");
        assert_eq!(*notes.borrow(), ["plain: STARTTLS"], "{cut}");
    }
}

/// Asks a server whether it speaks TLS, as PostgreSQL's clients do: one byte is the answer.
struct Asks {
    connector: Connector,
    got: Rc<RefCell<Vec<String>>>,
}

impl Dispatcher for Asks {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.send(&[0, 0, 0, 8, 4, 210, 22, 47])
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if cx.tls().is_none() {
            // One byte and no more: what comes behind it is not for this side of the layer.
            let mut answer = [0];
            cx.recv(&mut answer)?;
            self.got.borrow_mut().push(format!("{}", answer[0] as char));
            return cx.start_layer(self.connector.session("localhost")?);
        }
        let mut buffer = [0; 100];
        let count = cx.recv(&mut buffer)?;
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        self.got.borrow_mut().push(text);
        cx.close();
        Ok(())
    }

    fn handle_handshake(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.got.borrow_mut().push("handshake".to_owned());
        cx.send(b"user ada")
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.got.borrow_mut().push(format!("{error}"));
        cx.close();
    }
}

#[test]
fn a_client_asks_and_goes_on_with_tls_and_a_handshake_that_fails_is_its_own_fault_to_tell() {
    let trusted = configs_of(&BOTH);
    let strange = configs_of(&BOTH);
    for trusts in [true, false] {
        let mut reactor = Reactor::new().expect("a reactor");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let got = Rc::default();
        let configs = if trusts { &trusted } else { &strange };
        let asks = Asks {
            connector: Connector::new(Arc::clone(&configs.client)),
            got: Rc::clone(&got),
        };
        reactor.connect(address, asks).expect("it begins");
        let server = Arc::clone(&trusted.server);
        let told = turn_with(&mut reactor, move || {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.read_exact(&mut [0; 8])?;
            stream.write_all(b"S")?;
            let connection = rustls::ServerConnection::new(server).expect("a config");
            let mut stream = StreamOwned::new(connection, stream);
            let mut request = [0; 8];
            stream.read_exact(&mut request)?;
            stream.write_all(b"welcome")?;
            Ok::<_, io::Error>(request)
        });
        turn_until(&mut reactor, "its end", |reactor| reactor.count() == 0);
        let got: Vec<String> = got.take();
        if trusts {
            assert_eq!(told.expect("it is a good one"), *b"user ada");
            assert_eq!(got, ["S", "handshake", "welcome"]);
        } else {
            let alert = told.expect_err("the client does not go on").to_string();
            assert!(alert.contains("fatal alert"), "{alert}");
            assert!(
                got[1].contains("the handshake failed: invalid peer certificate"),
                "{got:?}"
            );
        }
    }
}
