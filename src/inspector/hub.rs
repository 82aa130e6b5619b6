//! What all connections to the inspector share: the open pages, and the beats.
//!
//! Beats are made while a page is open, ten a second, in the loop, when the [`Pulse`] says so. So a blocked loop sends
//! none, and that is how the page detects it. Without a page there is no pulse, and the inspector does not wake the loop.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::{AnyId, Context, Dispatcher, TimerId};

use super::beat;
use super::gather::Gather;
use super::history::{History, recording};
use super::json::Json;
use super::lints::Lint;
use super::pulse::Pulse;

/// A beat no older than this is good enough for a single request.
const FRESH: Duration = Duration::from_millis(250);

/// A dispatcher without a socket.
#[derive(Debug)]
pub(super) struct Hub {
    program: String,
    pages: Vec<AnyId>,
    pulse: Option<Pulse>,
    history: History,
    /// For the next beat.
    json: Json,
}

impl Hub {
    pub(super) fn new(program: &str) -> Hub {
        Hub {
            program: program.to_owned(),
            pages: Vec::new(),
            pulse: None,
            history: History::default(),
            json: Json::default(),
        }
    }

    /// A page is there.
    pub(super) fn join(&mut self, cx: &mut Context<'_>, page: AnyId) {
        self.pages.push(page);
        if self.pulse.is_none() {
            let hub = cx.id();
            self.pulse = Some(Pulse::start(cx, hub));
        }
    }

    /// A connection has ended, which may have been a page.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, page: AnyId) {
        self.pages.retain(|other| *other != page);
        if self.pages.is_empty() {
            if let Some(pulse) = self.pulse.take() {
                pulse.stop(cx);
            }
        }
    }

    /// One beat, made now unless there is a fresh one, as a recording.
    pub(super) fn snapshot(&mut self, cx: &mut Context<'_>) -> io::Result<Vec<Rc<[u8]>>> {
        let now = cx.now();
        let last = self.history.last();
        let is_fresh = last.is_some_and(|(at, _)| now.saturating_duration_since(*at) <= FRESH);
        if !is_fresh {
            self.make_beat(cx)?;
        }
        let last = self.history.last().map(|(_, beat)| beat);
        Ok(recording(&self.program, last.into_iter()))
    }

    /// The beats of the last minute.
    pub(super) fn recording(&mut self, cx: &mut Context<'_>) -> io::Result<Vec<Rc<[u8]>>> {
        if self.pages.is_empty() {
            self.make_beat(cx)?;
        }
        Ok(recording(&self.program, self.history.iter()))
    }

    /// The lints that hold.
    pub(super) fn lints(cx: &mut Context<'_>) -> io::Result<Vec<Rc<[u8]>>> {
        beat::refresh(cx);
        let gather = cx.observer::<Gather>();
        let lints: Vec<&Lint> =
            gather.map_or_else(Vec::new, |gather| gather.board.at(gather.at).collect());
        let lints = serde_json::to_string(&lints)?;
        let body = format!("{{\"v\":1,\"lints\":{lints}}}\n");
        Ok(vec![Rc::from(body.into_bytes())])
    }

    fn make_beat(&mut self, cx: &mut Context<'_>) -> io::Result<Option<(u64, Rc<[u8]>)>> {
        self.json.clear();
        let Some(turn) = beat::make(cx, &mut self.json)? else {
            return Ok(None);
        };
        let json: Rc<[u8]> = self.json.as_bytes().into();
        self.history.push(cx.now(), Rc::clone(&json));
        Ok(Some((turn, json)))
    }

    /// A beat, for all pages.
    pub(super) fn beat(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some((turn, beat)) = self.make_beat(cx)? else {
            return Ok(());
        };
        let opening = format!("event: beat\nid: {turn}\ndata: ");
        for &page in &self.pages {
            let Some(mut page) = cx.at(page) else {
                continue;
            };
            // A page that has not taken the last one gets a newer one when it has.
            if page.queued() > 0 {
                continue;
            }
            // If it cannot, its own handle_error is called.
            let sent = page
                .send(opening.as_bytes())
                .and_then(|()| page.send(&beat))
                .and_then(|()| page.send(b"\n\n"));
            if sent.is_err() {
                page.close();
            }
        }
        Ok(())
    }
}

impl Dispatcher for Hub {
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.beat(cx)
    }
}
