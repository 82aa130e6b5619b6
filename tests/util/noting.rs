//! A dispatcher that writes down what happens to it.

#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use slabloop::{Context, Dispatcher};

pub(crate) type Notes = Rc<RefCell<Vec<String>>>;

/// Writes down what it is told, and keeps its side open when the peer has ended.
#[derive(Clone, Default)]
pub(crate) struct Noting {
    pub(crate) notes: Notes,
    pub(crate) got: Rc<RefCell<Vec<u8>>>,
    /// How many bytes it reads in a callback, if it is to be few.
    pub(crate) few: Option<usize>,
}

impl Noting {
    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.borrow().clone()
    }
}

impl Dispatcher for Noting {
    fn handle_connect(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.notes.borrow_mut().push("connect".to_owned());
        Ok(())
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let most = self.few.unwrap_or(bytes.len());
        let count = cx.recv(&mut bytes[..most])?;
        self.got.borrow_mut().extend_from_slice(&bytes[..count]);
        Ok(())
    }

    fn handle_eof(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.notes.borrow_mut().push("eof".to_owned());
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        let note = format!("{:?}: {error}", error.kind());
        self.notes.borrow_mut().push(note);
        cx.close();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let cause = cx.end_cause().expect("it has ended");
        self.notes.borrow_mut().push(format!("{cause:?}"));
    }
}
