//! In the place of `hand_over.rs` where this was built without the feature `restart`: the flags are known and refused.

use std::io;
use std::net::TcpListener;

use lexopt::Parser;
use slabloop::{AnyId, Reactor};

use super::Failure;

#[derive(Debug, Default)]
pub struct HandOver(());

impl HandOver {
    pub fn take(&mut self, flag: &str, _: &mut Parser) -> Result<bool, Failure> {
        match flag {
            "ready-timeout" | "linger" => Err(Failure::Usage(format!(
                "--{flag}: built without restart; use cargo run --features restart"
            ))),
            _ => Ok(false),
        }
    }

    #[must_use]
    pub fn on_signal(self) -> HandOver {
        self
    }

    pub fn listener(&self, _: &str) -> io::Result<Option<TcpListener>> {
        Ok(None)
    }

    pub fn keep(&self, _: &TcpListener) -> io::Result<()> {
        Ok(())
    }

    pub fn watch(&self, _: &mut Reactor, _: AnyId) -> io::Result<()> {
        Ok(())
    }

    pub fn linger(&self, _: &mut Reactor) -> io::Result<()> {
        Ok(())
    }
}
