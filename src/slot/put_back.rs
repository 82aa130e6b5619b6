//! Input that was read and is to be read again: what a layer had read too far when another dispatcher takes
//! its place, or what came with a connection from another reactor.

use std::collections::VecDeque;
use std::io::Read;

use crate::slot::Slot;
use crate::slot::life::Input;

/// The bytes, and where the input was before.
#[derive(Debug)]
pub(crate) struct PutBack {
    bytes: VecDeque<u8>,
    /// The stream had ended behind them. (If `handle_eof` was called for that, it is called again.)
    ended: bool,
}

impl<D> Slot<D> {
    /// Puts bytes in front of all that is still to be read.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let ended = self.readiness.input().is_over();
        let put_back = self.rare().put_back.get_or_insert_with(|| {
            Box::new(PutBack {
                bytes: VecDeque::new(),
                ended,
            })
        });
        let behind = std::mem::replace(&mut put_back.bytes, bytes.to_vec().into());
        put_back.bytes.extend(behind);
        self.readiness.set_input(Input::PutBack);
    }

    /// Reads what was put back; 0 if nothing was. With the last byte the input is where it was before.
    pub(crate) fn read_put_back(&mut self, buffer: &mut [u8]) -> usize {
        let Some(rare) = &mut self.rare else {
            return 0;
        };
        let Some(put_back) = &mut rare.put_back else {
            return 0;
        };
        let read = put_back.bytes.read(buffer);
        let read = read.expect("reading memory does not fail");
        if put_back.bytes.is_empty() {
            let input = if put_back.ended {
                Input::Ended
            } else {
                Input::Open
            };
            rare.put_back = None;
            self.tidy();
            self.readiness.set_input(input);
        }
        read
    }

    /// Takes all that was put back.
    pub(crate) fn take_put_back(&mut self) -> Vec<u8> {
        let put_back = self.rare.as_ref().and_then(|rare| rare.put_back.as_ref());
        let mut bytes = vec![0; put_back.map_or(0, |back| back.bytes.len())];
        self.read_put_back(&mut bytes);
        bytes
    }
}
