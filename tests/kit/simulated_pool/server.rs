//! The far ends of the pool's connections: servers that answer, dawdle, send what nobody asked for, finish and reset.

use std::rc::Rc;

use super::world::{UNSOLICITED, World};
use crate::sim::stage::Stage;

/// One connection, at the server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) end: usize,
    out: Vec<u8>,
    part: Vec<u8>,
    is_mute: bool,
    has_greeted: bool,
}

impl Server {
    fn new(end: usize, is_mute: bool) -> Server {
        Server {
            end,
            out: Vec::new(),
            part: Vec::new(),
            is_mute,
            has_greeted: false,
        }
    }

    /// Reads, answers, and sends up to `most` bytes of what it has to say.
    fn serve(&mut self, stage: &Stage, world: &World, most: usize) {
        if world.greets && !self.has_greeted && !self.is_mute {
            self.out.push(b'G');
            self.has_greeted = true;
        }
        let end = self.end;
        let got = stage.net.with(|kernel| kernel.peer_reads(end, most));
        self.part.extend(got);
        while let Some((token, rest)) = self.part.split_first_chunk::<8>() {
            if !self.is_mute {
                self.out.extend(token);
            }
            self.part = rest.to_vec();
        }
        let count = most.min(self.out.len());
        let sent = stage
            .net
            .with(|kernel| kernel.peer_sends(end, &self.out[..count]));
        self.out.drain(..sent);
    }
}

/// New connections have servers of their own.
pub(crate) fn take_over(servers: &mut Vec<Server>, stage: &Stage, world: &World) {
    for end in stage.net.with(|kernel| kernel.dialled_peers()) {
        if servers.iter().all(|server| server.end != end) {
            let is_mute = !world.is_ending.get() && world.below(30) == 0;
            servers.push(Server::new(end, is_mute));
        }
    }
}

/// Each does a little, drawn from the seed.
pub(crate) fn act(servers: &mut [Server], stage: &Stage, world: &Rc<World>) {
    for server in servers {
        let end = server.end;
        match world.below(800) {
            0..770 => {
                let most = 1 + world.below([3, 20, 400][world.below(3)]);
                server.serve(stage, world, most);
            }
            770 | 771 => {
                server.out.extend(UNSOLICITED.to_be_bytes());
                world.count("unsolicited");
            }
            772 | 773 => {
                stage.net.with(|kernel| kernel.peer_shuts(end));
                world.count("ended by the server");
            }
            774..778 => {
                let resets = world.below(2) == 0;
                stage.net.with(|kernel| kernel.peer_closes(end, resets));
                world.count("closed or reset by the server");
            }
            _ => {}
        }
    }
}

/// All say all that they have, and nobody is mute any more.
pub(crate) fn finish(servers: &mut [Server], stage: &Stage, world: &World) {
    for server in servers {
        server.is_mute = false;
        server.serve(stage, world, 100_000);
    }
}
