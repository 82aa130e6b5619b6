//! Servers that are wrong, slow, silent or hostile, and strangers that send false answers.

#[path = "../util/mod.rs"]
mod util;

mod name_server;

use std::cell::{Cell, RefCell};
use std::fs;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use name_server::{Asked, NameServer, Setting, lowered, resolver, setting, stats, texts};
use simple_dns::RCODE;
use slabloop::kit::resolver::{DnsConfig, Failure, Family};
use util::{reset, settle, turn, turn_until};

const SECOND: Duration = Duration::from_secs(1);

/// IPv4 alone, so that each query counts once.
fn v4(server: &NameServer) -> DnsConfig {
    let mut config = server.config();
    config.family(Family::V4);
    config
}

fn of_servers(servers: &[&NameServer]) -> DnsConfig {
    let mut config = DnsConfig::new(servers.iter().map(|server| server.address));
    config.family(Family::V4);
    config
}

/// Each alone, and then the right answer: the wrong ones are dropped and counted.
#[test]
fn false_answers_are_dropped_and_counted() {
    type Change = fn(&Asked, Vec<u8>) -> Vec<u8>;
    let cases: [(&str, Change); 8] = [
        ("other_id: 1", |_, mut reply| {
            reply[0] ^= 1;
            reply
        }),
        ("other_question: 1", |asked, _| {
            let other = Asked {
                raw: {
                    let mut raw = asked.raw.clone();
                    raw[13] = b'x';
                    raw
                },
                ..asked.clone()
            };
            other.address("192.0.2.66")
        }),
        // The same name, another type.
        ("other_question: 1", |asked, mut reply| {
            let end = 12 + asked.spelled().len() + 2;
            reply[end + 1] = 16;
            reply
        }),
        // No question at all.
        ("other_question: 1", |asked, _| {
            let mut reply = asked.good();
            reply.0.questions.clear();
            reply.bytes()
        }),
        // A query, not a response.
        ("garbage: 1", |asked, _| asked.raw.clone()),
        ("garbage: 1", |_, reply| reply[..11].to_vec()),
        ("garbage: 1", |_, _| Vec::new()),
        // It breaks off within a record.
        ("garbage: 1", |_, mut reply| {
            reply.truncate(reply.len() - 2);
            reply
        }),
    ];
    for (counted, change) in cases {
        let Setting {
            mut reactor,
            client,
            ..
        } = setting();
        let server = NameServer::new(&mut reactor, move |asked| {
            let wrong = change(asked, asked.address("192.0.2.66"));
            vec![wrong, asked.address("192.0.2.1")]
        });
        let dns = resolver(&mut reactor, &v4(&server));
        let outcome = client.outcome(&mut reactor, &dns, "host.test");
        assert_eq!(texts(&outcome), ["192.0.2.1"], "{counted}");
        let text = format!("{:?}", stats(&mut reactor, &client, &dns));
        assert!(text.contains(counted), "{counted} in {text}");
        assert_eq!(server.count(), 1, "nothing is asked again");
    }
}

#[test]
fn an_answer_from_another_address_never_arrives() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ready = Rc::new(Cell::new(false));
    let told = Rc::clone(&ready);
    let late: Rc<RefCell<Vec<Asked>>> = Rc::default();
    let kept = Rc::clone(&late);
    let server = NameServer::new(&mut reactor, move |asked| {
        // All is right with it, but where it comes from.
        stranger
            .send_to(&asked.address("192.0.2.66"), asked.from.unwrap())
            .unwrap();
        told.set(true);
        kept.borrow_mut().push(asked.clone());
        vec![]
    });
    let dns = resolver(&mut reactor, &v4(&server));
    client.ask(&mut reactor, &dns, "host.test");
    turn_until(&mut reactor, "the query", |_| ready.get());
    settle(&mut reactor);
    assert_eq!(client.len(), 0);
    let asked = late.borrow_mut().pop().unwrap();
    let mut cx = reactor.at(server.ids[0]).unwrap();
    let reply = asked.address("192.0.2.1");
    cx.send_to(&reply, asked.from.unwrap()).unwrap();
    turn_until(&mut reactor, "the answer", |_| client.len() == 1);
    assert_eq!(texts(&client.outcomes.borrow()[0]), ["192.0.2.1"]);
}

#[test]
fn a_flood_of_false_answers_has_the_question_asked_over_tcp() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        if asked.over_tcp {
            return vec![asked.address("192.0.2.1")];
        }
        let mut wrong = asked.address("192.0.2.66");
        wrong[0] ^= 1;
        vec![wrong; 200]
    });
    let dns = resolver(&mut reactor, &v4(&server));
    let outcome = client.outcome(&mut reactor, &dns, "host.test");
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
    assert_eq!(server.over_tcp(), 1);
    let stats = stats(&mut reactor, &client, &dns);
    assert_eq!(stats.other_id, 64, "no more are looked at");
    assert_eq!(reactor.timer_count(), 0);
}

#[test]
fn a_server_that_does_not_keep_case_is_found_out_over_tcp_and_believed_from_then_on() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        vec![lowered(asked.address("192.0.2.1"))]
    });
    let dns = resolver(&mut reactor, &v4(&server));
    let outcome = client.outcome(&mut reactor, &dns, "a-name-of-many-letters.test");
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
    assert!(server.asked.borrow()[0].is_mixed());
    assert_eq!((server.count(), server.over_tcp()), (2, 1));
    assert_eq!(stats(&mut reactor, &client, &dns).other_case, 1);
    client
        .outcome(&mut reactor, &dns, "another-name-of-many-letters.test")
        .unwrap();
    assert_eq!((server.count(), server.over_tcp()), (3, 1));
    assert!(!server.asked.borrow()[2].is_mixed());
}

#[test]
fn a_server_that_does_not_keep_case_and_does_not_speak_tcp_is_believed_as_well() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        if asked.over_tcp {
            return vec![];
        }
        vec![lowered(asked.address("192.0.2.1"))]
    });
    let dns = resolver(&mut reactor, &v4(&server));
    let outcome = client.outcome(&mut reactor, &dns, "a-name-of-many-letters.test");
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
    assert_eq!((server.count(), server.over_tcp()), (3, 1));
}

#[test]
fn a_false_answer_in_other_letters_is_not_believed() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        if asked.over_tcp {
            return vec![asked.address("192.0.2.1")];
        }
        vec![lowered(asked.address("192.0.2.66"))]
    });
    let dns = resolver(&mut reactor, &v4(&server));
    let outcome = client.outcome(&mut reactor, &dns, "a-name-of-many-letters.test");
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
    // The server keeps the case, as TCP has shown: it has to go on to.
    client
        .outcome(&mut reactor, &dns, "another-name-of-many-letters.test")
        .unwrap();
    assert!(server.asked.borrow()[2].is_mixed());
}

#[test]
fn an_answer_that_does_not_fit_is_fetched_over_tcp() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let many: Vec<String> = (0..60).map(|n| format!("192.0.2.{n}")).collect();
    let server = NameServer::new(&mut reactor, move |asked| {
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let whole = asked.addresses(&many, 60);
        vec![if asked.over_tcp {
            whole
        } else {
            asked.good().cut()
        }]
    });
    let dns = resolver(&mut reactor, &v4(&server));
    let outcome = client.outcome(&mut reactor, &dns, "many.test");
    assert_eq!(texts(&outcome).len(), 60);
    assert_eq!((server.count(), server.over_tcp()), (2, 1));
    assert_eq!(stats(&mut reactor, &client, &dns).tcp_queries, 1);
}

#[test]
fn a_datagram_that_is_longer_than_any_should_be_counts_as_cut() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        if asked.over_tcp {
            return vec![asked.address("192.0.2.1")];
        }
        let mut huge = asked.address("192.0.2.66");
        huge.resize(60_000, 0);
        vec![huge]
    });
    let dns = resolver(&mut reactor, &v4(&server));
    let outcome = client.outcome(&mut reactor, &dns, "huge.test");
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
}

#[test]
fn a_huge_answer_over_tcp_is_read_and_cut_to_the_most_addresses() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        if !asked.over_tcp {
            return vec![asked.good().cut()];
        }
        let mut reply = asked.good();
        for number in 0..3000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            reply = reply.record(&asked.spelled(), 60, address);
        }
        vec![reply.bytes()]
    });
    let dns = resolver(&mut reactor, &v4(&server));
    let outcome = client.outcome(&mut reactor, &dns, "huge.test");
    assert_eq!(texts(&outcome).len(), 64);
}

#[test]
fn a_silent_server_is_asked_as_often_as_it_may_be_and_then_the_next() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let silent = NameServer::new(&mut reactor, |_| vec![]);
    let good = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let mut config = of_servers(&[&silent, &good]);
    config.timeout(3 * SECOND);
    let dns = resolver(&mut reactor, &config);
    client.ask(&mut reactor, &dns, "host.test");
    settle(&mut reactor);
    clock.advance(3 * SECOND - Duration::from_millis(1));
    settle(&mut reactor);
    assert_eq!((silent.count(), good.count()), (1, 0));
    clock.advance(Duration::from_millis(1));
    turn_until(&mut reactor, "the answer", |_| client.len() == 1);
    assert_eq!((silent.count(), good.count()), (1, 1));
    assert_eq!(stats(&mut reactor, &client, &dns).timeouts, 1);

    let mut config = of_servers(&[&silent]);
    config.timeout(3 * SECOND).attempts(4);
    let dns = resolver(&mut reactor, &config);
    silent.asked.borrow_mut().clear();
    client.ask(&mut reactor, &dns, "host.test");
    for round in 1..=4 {
        settle(&mut reactor);
        assert_eq!(silent.count(), round);
        clock.advance(3 * SECOND);
    }
    turn_until(&mut reactor, "the failure", |_| client.len() == 2);
    let error = client.outcomes.borrow_mut().pop().unwrap().unwrap_err();
    assert_eq!(error.failure(), Failure::Unanswered);
    let text = error.to_string();
    assert!(
        text.contains(&silent.address.to_string()) && text.contains("3s"),
        "{text}"
    );
    // Each query was another one.
    let asked = silent.asked.borrow();
    assert!(
        asked
            .windows(2)
            .all(|pair| pair[0].raw[..2] != pair[1].raw[..2])
    );
    assert_eq!(reactor.timer_count(), 0);
}

#[test]
fn an_answer_that_comes_too_late_is_not_taken() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let late: Rc<RefCell<Vec<Asked>>> = Rc::default();
    let kept = Rc::clone(&late);
    let server = NameServer::new(&mut reactor, move |asked| {
        kept.borrow_mut().push(asked.clone());
        vec![]
    });
    let mut config = v4(&server);
    config.timeout(SECOND).attempts(2);
    let dns = resolver(&mut reactor, &config);
    client.ask(&mut reactor, &dns, "host.test");
    settle(&mut reactor);
    clock.advance(SECOND);
    settle(&mut reactor);
    let asked = late.borrow().clone();
    assert_eq!(asked.len(), 2);
    let udp = server.ids[0];
    let mut cx = reactor.at(udp).unwrap();
    // Its socket is closed; the kernel says so at most.
    let _ = cx.send_to(&asked[0].address("192.0.2.66"), asked[0].from.unwrap());
    settle(&mut reactor);
    assert_eq!(client.len(), 0);
    let mut cx = reactor.at(udp).unwrap();
    let _ = cx.send_to(&asked[1].address("192.0.2.1"), asked[1].from.unwrap());
    turn_until(&mut reactor, "the answer", |_| client.len() == 1);
    assert_eq!(texts(&client.outcomes.borrow()[0]), ["192.0.2.1"]);
}

#[test]
fn a_server_that_fails_refuses_or_is_not_there_gives_way_to_the_next_at_once() {
    for code in [
        RCODE::ServerFailure,
        RCODE::Refused,
        RCODE::NotImplemented,
        RCODE::FormatError,
    ] {
        let Setting {
            mut reactor,
            client,
            ..
        } = setting();
        let bad = NameServer::new(&mut reactor, move |asked| vec![asked.reply(code).bytes()]);
        let good = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
        let dns = resolver(&mut reactor, &of_servers(&[&bad, &good]));
        let outcome = client.outcome(&mut reactor, &dns, "host.test");
        assert_eq!(texts(&outcome), ["192.0.2.1"]);
        assert_eq!(good.count(), 1);
        // And alone it is the error.
        let dns = resolver(&mut reactor, &of_servers(&[&bad]));
        let error = client.outcome(&mut reactor, &dns, "host.test").unwrap_err();
        assert_eq!(error.failure(), Failure::ServerFailed);
        assert!(error.is_temporary());
        assert!(
            error.to_string().contains(&bad.address.to_string()),
            "{error}"
        );
    }
    // Nobody listens: the kernel says so, and no time passes.
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap();
    // It keeps its port from everybody else, and takes nothing from anybody but itself.
    closed.connect(nobody).unwrap();
    let good = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let dns = resolver(&mut reactor, &DnsConfig::new([nobody, good.address]));
    let outcome = client.outcome(&mut reactor, &dns, "host.test");
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
    let dns = resolver(&mut reactor, &DnsConfig::new([nobody]));
    let error = client.outcome(&mut reactor, &dns, "host.test").unwrap_err();
    assert_eq!(error.failure(), Failure::Unanswered);
    let dns = resolver(&mut reactor, &DnsConfig::new([]));
    let error = client.outcome(&mut reactor, &dns, "host.test").unwrap_err();
    assert!(error.to_string().contains("there is none"), "{error}");
}

#[test]
fn rotation_begins_with_another_server_each_time() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let one = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let two = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let mut config = of_servers(&[&one, &two]);
    config.rotate(true);
    let dns = resolver(&mut reactor, &config);
    for number in 0..10 {
        let name = format!("host{number}.test");
        client.outcome(&mut reactor, &dns, &name).unwrap();
    }
    assert_eq!((one.count(), two.count()), (5, 5));
}

#[test]
fn a_server_without_edns_is_asked_without_it_from_then_on() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        vec![if asked.has_edns() {
            // The header alone, as some do.
            let mut reply = asked.reply(RCODE::FormatError);
            reply.0.questions.clear();
            reply.bytes()
        } else {
            asked.address("192.0.2.1")
        }]
    });
    let dns = resolver(&mut reactor, &v4(&server));
    client.outcome(&mut reactor, &dns, "one.test").unwrap();
    assert_eq!(server.count(), 2);
    client.outcome(&mut reactor, &dns, "two.test").unwrap();
    assert_eq!(server.count(), 3);
}

#[test]
fn a_server_with_edns_is_asked_with_it_each_time() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let dns = resolver(&mut reactor, &v4(&server));
    for name in ["one.test", "two.test", "three.test"] {
        client.outcome(&mut reactor, &dns, name).unwrap();
    }
    assert_eq!(server.count(), 3);
    assert!(server.asked.borrow().iter().all(Asked::has_edns));
}

/// What it has said of EDNS holds, whether or not the next query is answered.
#[test]
fn a_server_without_edns_that_then_is_silent_is_asked_again_without_it() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| match asked.has_edns() {
        true => vec![asked.reply(RCODE::FormatError).bytes()],
        false => vec![],
    });
    let mut config = v4(&server);
    config.timeout(SECOND).attempts(2);
    let dns = resolver(&mut reactor, &config);
    client.ask(&mut reactor, &dns, "host.test");
    settle(&mut reactor);
    clock.advance(SECOND);
    settle(&mut reactor);
    let asked = server.asked.borrow();
    let edns: Vec<_> = asked.iter().map(Asked::has_edns).collect();
    assert_eq!(edns, [true, false, false]);
}

#[test]
fn without_mixed_case_an_answer_may_be_in_any_letters() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        let mut loud = asked.address("192.0.2.1");
        let end = 12 + asked.spelled().len() + 1;
        loud[12..end].make_ascii_uppercase();
        vec![loud]
    });
    let mut config = v4(&server);
    config.mixed_case(false);
    let dns = resolver(&mut reactor, &config);
    let outcome = client.outcome(&mut reactor, &dns, "host.test");
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
    assert_eq!((server.count(), server.over_tcp()), (1, 0));
    assert_eq!(stats(&mut reactor, &client, &dns).other_case, 0);
}

/// No time passes in these: the clock stands still.
#[test]
fn a_query_over_tcp_that_is_refused_or_reset_ends_at_once_and_says_why() {
    let refuses = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = refuses.local_addr().unwrap();
    drop(refuses);
    let resets = TcpListener::bind("127.0.0.1:0").unwrap();
    for (server, why) in [(nobody, "refused"), (resets.local_addr().unwrap(), "reset")] {
        let Setting {
            mut reactor,
            client,
            ..
        } = setting();
        let mut config = DnsConfig::new([server]);
        config.family(Family::V4).use_tcp(true).attempts(1);
        let dns = resolver(&mut reactor, &config);
        client.ask(&mut reactor, &dns, "host.test");
        if why == "reset" {
            let (peer, _) = resets.accept().unwrap();
            peer.set_nonblocking(true).unwrap();
            turn_until(&mut reactor, "the query", |_| peer.peek(&mut [0]).is_ok());
            reset(peer);
        }
        turn_until(&mut reactor, "the outcome", |_| client.len() == 1);
        let error = client.outcomes.borrow_mut().pop().unwrap().unwrap_err();
        assert_eq!(error.failure(), Failure::Unanswered);
        assert!(error.to_string().contains(why), "{error}");
        settle(&mut reactor);
        assert_eq!(reactor.timer_count(), 0);
    }
}

#[test]
fn a_query_whose_socket_fails_ends_at_once_and_says_why() {
    for use_tcp in [false, true] {
        let Setting {
            mut reactor,
            client,
            ..
        } = setting();
        let server = NameServer::new(&mut reactor, |_| vec![]);
        let mut config = v4(&server);
        config.use_tcp(use_tcp).attempts(1);
        let dns = resolver(&mut reactor, &config);
        let before = reactor.ids();
        client.ask(&mut reactor, &dns, "host.test");
        let after = reactor.ids();
        let socket = after.into_iter().find(|id| !before.contains(id)).unwrap();
        let mut socket = reactor.at(socket).unwrap();
        socket.fail(std::io::Error::other("the card was pulled"));
        turn_until(&mut reactor, "the outcome", |_| client.len() == 1);
        let error = client.outcomes.borrow_mut().pop().unwrap().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the card was pulled"), "{text}");
        settle(&mut reactor);
        assert_eq!(reactor.timer_count(), 0);
    }
}

#[test]
fn aliases_in_a_circle_end() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let mut number = 0;
    let server = NameServer::new(&mut reactor, move |asked| {
        let spelled = asked.spelled();
        let reply = match asked.name().as_str() {
            // Within one answer.
            "a.test" => asked
                .good()
                .alias(&spelled, 60, "b.test")
                .alias("b.test", 60, "a.test"),
            "self.test" => asked.good().alias(&spelled, 60, "self.test"),
            // From answer to answer: on and on.
            _ => {
                number += 1;
                asked.good().alias(&spelled, 60, &format!("x{number}.test"))
            }
        };
        vec![reply.bytes()]
    });
    let mut config = v4(&server);
    config.attempts(1);
    let dns = resolver(&mut reactor, &config);
    for (name, most) in [("a.test", 1), ("self.test", 1), ("far.test", 17)] {
        server.asked.borrow_mut().clear();
        let error = client.outcome(&mut reactor, &dns, name).unwrap_err();
        assert_eq!(error.failure(), Failure::ServerFailed);
        assert!(error.to_string().contains("aliases without end"), "{error}");
        assert_eq!(server.count(), most, "{name}");
    }
}

#[test]
fn records_of_other_names_are_not_taken() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        let evil: IpAddr = "192.0.2.66".parse().unwrap();
        let reply = asked
            .good()
            .record("bank.test", 60, evil)
            .alias("bank.test", 60, "evil.test")
            .soa("test", 60, 60);
        vec![reply.bytes()]
    });
    let dns = resolver(&mut reactor, &v4(&server));
    let error = client.outcome(&mut reactor, &dns, "host.test").unwrap_err();
    assert_eq!(error.failure(), Failure::NoAddress);
    let mut cx = reactor.at(client.id).unwrap();
    assert!(dns.known(&mut cx, "bank.test").is_none());
}

#[test]
fn compressed_names_that_jump_forward_or_in_circles_are_no_answers() {
    for pointer in [
        // To itself, to what follows, beyond the end.
        |place: u16| place,
        |place: u16| place + 2,
        |_: u16| 0x3fff,
    ] {
        let Setting {
            mut reactor,
            client,
            ..
        } = setting();
        let server = NameServer::new(&mut reactor, move |asked| {
            let mut wrong = asked.good().bytes();
            wrong[7] = 1;
            let target = pointer(u16::try_from(wrong.len()).unwrap()) | 0xc000;
            wrong.extend_from_slice(&target.to_be_bytes());
            wrong.extend_from_slice(&[0, 5, 0, 1, 0, 0, 0, 60, 0, 2]);
            wrong.extend_from_slice(&target.to_be_bytes());
            vec![wrong, asked.address("192.0.2.1")]
        });
        let dns = resolver(&mut reactor, &v4(&server));
        let outcome = client.outcome(&mut reactor, &dns, "host.test");
        assert_eq!(texts(&outcome), ["192.0.2.1"]);
        assert_eq!(stats(&mut reactor, &client, &dns).garbage, 1);
    }
}

/// Whatever bytes come, each lookup has one outcome, and what is taken for an answer reads the same by another's code.
#[test]
fn whatever_a_server_sends_a_lookup_has_one_outcome() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let mut seed = 12345_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let sent: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
    let kept = Rc::clone(&sent);
    let server = NameServer::new(&mut reactor, move |asked| {
        let spelled = asked.spelled();
        let mut message = asked
            .good()
            .alias(&spelled, 300, "www.host.example")
            .record("www.host.example", 60, "192.0.2.1".parse().unwrap())
            .record("www.host.example", 60, "192.0.2.2".parse().unwrap())
            .soa("host.example", 60, 60)
            .bytes();
        // The header's id and the question stay, or it would be dropped unread.
        let start = 12 + spelled.len() + 6;
        for _ in 0..1 + random(4) {
            let place = start + random(message.len() - start);
            match random(3) {
                0 => message[place] ^= 1 << random(8),
                1 => message[place] = [0, 0xc0, 0xff, 63, 64, 12][random(6)],
                _ => message.truncate(place.max(start + 1)),
            }
        }
        if random(4) == 0 {
            message[5 + 2 * random(3)] = u8::try_from(random(256)).unwrap();
        }
        kept.borrow_mut().push(message.clone());
        vec![message]
    });
    let mut config = v4(&server);
    config.timeout(SECOND).attempts(1).cache_entries(0);
    let dns = resolver(&mut reactor, &config);
    let mut good = 0;
    for number in 0..3000 {
        client.ask(&mut reactor, &dns, "host.example");
        turn_until(&mut reactor, "an outcome", |_| {
            clock.advance(Duration::from_millis(300));
            client.len() == 1
        });
        let outcome = client.outcomes.borrow_mut().pop().unwrap();
        let last = sent.borrow().last().cloned();
        if let (Ok(addresses), Some(message)) = (&outcome, last) {
            good += 1;
            if let Ok(packet) = simple_dns::Packet::parse(&message) {
                for address in addresses.iter() {
                    let IpAddr::V4(address) = address else {
                        panic!("{address} was not asked for");
                    };
                    let is_there = packet.answers.iter().any(|record| {
                        matches!(&record.rdata, simple_dns::rdata::RData::A(found)
                            if found.address == u32::from(*address))
                    });
                    assert!(is_there, "{number}: {address} in {packet:?}");
                }
            }
        }
    }
    assert!(good > 300, "{good} were still answers");
    assert_eq!(reactor.timer_count(), 0);
}

#[test]
fn a_tcp_server_that_lies_trickles_or_hangs_up_is_an_error_in_time() {
    type Script = fn(&Asked) -> Vec<Vec<u8>>;
    let cases: [Script; 5] = [
        |asked| {
            let mut wrong = asked.address("192.0.2.66");
            wrong[0] ^= 1;
            vec![wrong]
        },
        |_| vec![vec![]],
        |_| vec![vec![7; 3]],
        // Hangs up.
        |_| vec![],
        // No end of it.
        |asked| {
            let mut cut = asked.address("192.0.2.66");
            let length = cut.len();
            cut[length - 1] = 1;
            cut.truncate(length - 3);
            vec![cut]
        },
    ];
    for script in cases {
        let Setting {
            mut reactor,
            client,
            ..
        } = setting();
        let server = NameServer::new(&mut reactor, script);
        let mut config = v4(&server);
        config.use_tcp(true);
        let dns = resolver(&mut reactor, &config);
        let error = client.outcome(&mut reactor, &dns, "host.test").unwrap_err();
        assert_eq!(error.failure(), Failure::Unanswered);
        assert_eq!(server.over_tcp(), 2, "two attempts");
        settle(&mut reactor);
        assert_eq!(reactor.timer_count(), 0);
    }
}

#[test]
fn a_failure_is_kept_for_a_moment() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        vec![asked.reply(RCODE::ServerFailure).bytes()]
    });
    let mut config = v4(&server);
    config.attempts(1);
    let dns = resolver(&mut reactor, &config);
    for _ in 0..5 {
        client.outcome(&mut reactor, &dns, "host.test").unwrap_err();
    }
    assert_eq!(server.count(), 1);
    clock.advance(SECOND);
    turn(&mut reactor);
    client.outcome(&mut reactor, &dns, "host.test").unwrap_err();
    assert_eq!(server.count(), 2);

    // Or as long as the program says, which may be not at all.
    for (kept, asked) in [(10 * SECOND, 1), (Duration::ZERO, 3)] {
        let before = server.count();
        config.failure_ttl(kept);
        let dns = resolver(&mut reactor, &config);
        for _ in 0..3 {
            client.outcome(&mut reactor, &dns, "host.test").unwrap_err();
            clock.advance(3 * SECOND);
            turn(&mut reactor);
        }
        assert_eq!(server.count() - before, asked, "{kept:?}");
    }
}

#[test]
fn one_family_that_fails_does_not_hide_the_other() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        vec![if asked.is_a() {
            asked.addresses(&["192.0.2.1"], 3600)
        } else {
            asked.reply(RCODE::ServerFailure).bytes()
        }]
    });
    let dns = resolver(&mut reactor, &server.config());
    let outcome = client.outcome(&mut reactor, &dns, "host.test");
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
    // And it is soon asked for again.
    clock.advance(SECOND);
    turn(&mut reactor);
    let before = server.count();
    client.outcome(&mut reactor, &dns, "host.test").unwrap();
    assert!(server.count() > before);
}

#[test]
fn many_names_that_fail_at_once_end_without_a_deep_stack() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let path = std::env::temp_dir().join(format!("slabloop-many-{}", std::process::id()));
    fs::write(&path, "nameserver 127.0.0.1\nsearch .\n").unwrap();
    let mut config = DnsConfig::from_file(&path).unwrap();
    config.max_in_flight(1).max_lookups(30_000);
    let dns = resolver(&mut reactor, &config);
    client.ask(&mut reactor, &dns, "first.test");
    for number in 0..20_000 {
        client.ask(&mut reactor, &dns, &format!("host{number}.test"));
    }
    // To everybody: what the kernel refuses at once. From here on no name takes any time.
    fs::write(&path, "nameserver 255.255.255.255\nsearch .\n").unwrap();
    clock.advance(5 * SECOND);
    turn(&mut reactor);
    client.ask(&mut reactor, &dns, "last.test");
    clock.advance(5 * SECOND);
    turn_until(&mut reactor, "all", |_| client.len() == 20_002);
    let now = stats(&mut reactor, &client, &dns);
    assert_eq!((now.waiting, now.in_flight, now.queued), (0, 0, 0));
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_server_that_is_silent_over_tcp_is_given_up_and_the_next_is_asked() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    // It listens, and nobody accepts.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let mut config = DnsConfig::new([silent.local_addr().unwrap(), good.address]);
    config.family(Family::V4).use_tcp(true).timeout(SECOND);
    let dns = resolver(&mut reactor, &config);
    client.ask(&mut reactor, &dns, "host.test");
    settle(&mut reactor);
    assert_eq!((client.len(), good.count()), (0, 0));
    clock.advance(SECOND);
    turn_until(&mut reactor, "the answer", |_| client.len() == 1);
    assert_eq!(texts(&client.outcomes.borrow()[0]), ["192.0.2.1"]);
    assert_eq!(stats(&mut reactor, &client, &dns).timeouts, 1);
    assert_eq!(good.over_tcp(), 1);
}

/// A server that neither knows nor asks others: not the word of one that knows that there is nothing.
#[test]
fn a_referral_is_no_denial() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        let mut reply = asked.good().bytes();
        // Not available: recursion.
        reply[3] &= 0x7f;
        vec![reply]
    });
    let mut config = v4(&server);
    config.attempts(1);
    let dns = resolver(&mut reactor, &config);
    let outcome = client.outcome(&mut reactor, &dns, "host.test");
    let error = outcome.unwrap_err();
    assert_eq!(error.failure(), Failure::ServerFailed, "{error}");
    assert!(error.to_string().contains("it knows no answer"), "{error}");
}
