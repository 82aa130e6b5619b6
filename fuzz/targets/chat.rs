//! The example `chat`: four members who say, and do, what the input says.
//!
//! Holds: each hears the same, wherever lines are cut; what a terminal gets is text without control characters, in whole
//! lines; nobody hears what he said; who has ended is let go.

use slabloop::Reactor;
use slabloop::test::{Peer, listener};

use crate::chat::{Door, Room};
use crate::cuts::{pieces, reactor, settle, split};

const MEMBERS: usize = 4;

/// What one of them does.
enum Act<'a> {
    Says(&'a [u8]),
    Ends,
    Resets,
}

/// Each begins with a byte: who, what, and for a text how long.
fn acts(mut rest: &[u8]) -> Vec<(usize, Act<'_>)> {
    let mut acts = Vec::new();
    while let [first, behind @ ..] = rest {
        let who = usize::from(first & 3);
        rest = behind;
        let act = match first >> 2 {
            62 => Act::Ends,
            63 => Act::Resets,
            length => {
                let (text, behind) = rest.split_at(rest.len().min(length.into()));
                rest = behind;
                Act::Says(text)
            }
        };
        acts.push((who, act));
    }
    acts
}

struct Visit {
    reactor: Reactor,
    peers: Vec<Peer>,
    gone: [bool; MEMBERS],
    heard: Vec<Vec<u8>>,
}

impl Visit {
    fn new() -> Visit {
        let mut reactor = reactor();
        let (clients, socket) = listener();
        let room = reactor.add_service(Room::default()).expect("a place");
        let door = Door {
            room,
            tls: crate::chat::common::Tls::default(),
            proxied: crate::chat::common::Proxied::default(),
        };
        reactor.add(socket, door).expect("a place");
        let peers: Vec<_> = (0..MEMBERS).map(|_| clients.connect()).collect();
        let mut visit = Visit {
            reactor,
            peers,
            gone: [false; MEMBERS],
            heard: vec![Vec::new(); MEMBERS],
        };
        visit.settle();
        visit
    }

    fn settle(&mut self) {
        let peers: Vec<_> = self.peers.iter().collect();
        settle(&mut self.reactor, &peers, |_| {});
        for (peer, heard) in self.peers.iter().zip(&mut self.heard) {
            heard.extend(peer.take_received());
        }
    }

    fn play(mut self, acts: &[(usize, Act<'_>)], cut: Option<u16>) -> Vec<Vec<u8>> {
        for (who, act) in acts {
            let peer = &self.peers[*who];
            if self.gone[*who] {
                continue;
            }
            match act {
                Act::Says(text) => match cut {
                    Some(cut) => pieces(cut, text)
                        .into_iter()
                        .for_each(|piece| peer.send(piece)),
                    None => peer.send(text),
                },
                Act::Ends => peer.half_close(),
                Act::Resets => peer.reset(),
            }
            self.gone[*who] |= !matches!(act, Act::Says(_));
            self.settle();
        }
        for (peer, gone) in self.peers.iter().zip(&self.gone) {
            if !gone {
                peer.half_close();
            }
        }
        self.settle();
        assert_eq!(self.reactor.count(), 2, "the room and the door are left");
        self.heard
    }
}

pub(crate) fn target(data: &[u8]) {
    let Some((cut, script)) = split(data) else {
        return;
    };
    let acts = acts(script);
    let heard = Visit::new().play(&acts, None);
    assert_eq!(heard, Visit::new().play(&acts, Some(cut)), "cut {cut}");
    for heard in heard {
        let text = String::from_utf8(heard).expect("text goes to terminals");
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        let unclean = text.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(unclean, None, "{text:?}");
    }
}
