//! `--backplane`, in a program that was built without it: the flags are known, and refused.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use lexopt::Parser;
use slabloop::{Context, Id, Reactor};

use super::common::Failure;
use super::{MemberId, Room};

#[derive(Debug, Default)]
pub(super) struct Backplane {}

impl Backplane {
    pub(super) fn take(&mut self, flag: &str, _: &mut Parser) -> Result<bool, Failure> {
        match flag {
            "backplane" | "lease" | "keep" => Err(Failure::Usage(format!(
                "--{flag}: built without the backplane; use cargo run --features examples"
            ))),
            _ => Ok(false),
        }
    }

    pub(super) fn begin(&mut self, _: &mut Reactor, _: Id<Room>) -> Result<(), Failure> {
        Ok(())
    }

    pub(super) fn farewell(&self, _: &mut Reactor, _: Duration) -> Result<(), Failure> {
        Ok(())
    }
}

/// There is none.
#[derive(Debug)]
pub(super) struct Wire(Infallible);

impl Wire {
    pub(super) fn is_claimed(&self, _: &str) -> bool {
        match self.0 {}
    }

    pub(super) fn is_waiting(&self, _: MemberId) -> bool {
        match self.0 {}
    }

    pub(super) fn claim(
        &mut self,
        _: &mut Context<'_>,
        _: MemberId,
        _: Option<&str>,
        _: &str,
    ) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn say(
        &mut self,
        _: &mut Context<'_>,
        _: MemberId,
        _: &str,
        _: &str,
    ) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn forget(&mut self, _: &mut Context<'_>, _: MemberId, _: Option<String>) {
        match self.0 {}
    }
}
