//! In the place of `hand_over.rs` where this was built without the feature `restart`: the flags are known and refused.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lexopt::Parser;
use slabloop::{AnyId, Reactor};

use super::Failure;

#[derive(Clone, Debug, Default)]
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

    #[must_use]
    pub fn leaving(&self) -> Arc<AtomicBool> {
        Arc::default()
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

    pub fn refuse(&self, _: &mut Reactor, _: &'static str) -> io::Result<()> {
        Ok(())
    }

    pub fn linger(&self, _: &mut Reactor) -> io::Result<()> {
        Ok(())
    }
}
