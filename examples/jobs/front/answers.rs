//! An answer, and how it is sent.

use std::io;

use serde_json::{Value, json};
use slabloop::Context;

use super::connection::{Connection, Phase};
use super::routes::Asked;
use crate::http::Status;
use crate::http::answer::{After, Writer, write_plain};

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: Status,
    fields: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    pub(crate) fn new(status: Status, content_type: &str, body: String) -> Answer {
        Answer {
            status,
            fields: vec![("Content-Type", content_type.to_owned())],
            body,
        }
    }

    pub(crate) fn json(status: Status, body: &Value) -> Answer {
        Answer::new(status, "application/json", format!("{body}\n"))
    }

    pub(crate) fn error(status: Status, why: &str) -> Answer {
        Answer::json(status, &json!({ "error": why }))
    }

    pub(crate) fn not_allowed(methods: &str) -> Answer {
        let why = format!("expected {methods}");
        Answer::error(Status::NOT_ALLOWED, &why).with("Allow", methods)
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Answer {
        self.fields.push((name, value.to_owned()));
        self
    }
}

impl Connection {
    pub(crate) fn answer(
        &mut self,
        cx: &mut Context<'_>,
        asked: &Asked,
        answer: &Answer,
    ) -> io::Result<()> {
        let after = match cx.is_shutting_down() {
            true => After::Closes,
            false => asked.after,
        };
        let mut bytes = Vec::new();
        {
            let mut date = self.front.date.borrow_mut();
            date.refresh(cx.now());
            let mut head = Writer::begin(&mut bytes, answer.status, date.text());
            for (name, value) in &answer.fields {
                head.field(name, value);
            }
            head.field("Cache-Control", "no-store");
            head.field("Content-Length", answer.body.len());
            head.end(after);
        }
        if !asked.is_head {
            bytes.extend_from_slice(answer.body.as_bytes());
        }
        cx.send(&bytes)?;
        self.answered(cx, after)
    }

    /// Says what is wrong with a request that was not understood, or not read, and closes.
    pub(crate) fn refuse(&mut self, cx: &mut Context<'_>, status: Status) -> io::Result<()> {
        let mut bytes = Vec::new();
        {
            let mut date = self.front.date.borrow_mut();
            date.refresh(cx.now());
            write_plain(&mut bytes, status, date.text(), After::Closes, true, |_| ());
        }
        self.phase = Phase::Over;
        cx.send(&bytes)?;
        self.answered(cx, After::Closes)
    }
}
