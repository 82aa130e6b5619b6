//! What a request asks for, and what Redis is asked for it.

use std::fs::File;
use std::io::{self, Read};
use std::rc::Rc;

use serde_json::{Map, Value, json};
use slabloop::Context;

use super::answers::Answer;
use super::connection::{Connection, Phase};
use super::figures;
use crate::http::Status;
use crate::http::answer::After;
use crate::http::head::{Head, Method};
use crate::http::target;
use crate::job::Job;
use crate::names::{GROUP, Lane};
use crate::queue::{text, texts};
use crate::redis::{Client, Outcome, Reply};
use crate::scripts;

/// Longer idempotency keys are refused.
const LONGEST_KEY: usize = 128;

/// A request that was understood.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) route: Route,
    pub(crate) is_head: bool,
    pub(crate) after: After,
}

#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// `POST /jobs`
    Post { key: Option<String> },
    /// `GET /jobs/ID`
    Job(String),
    /// `GET /metrics`
    Figures,
    /// Something that is refused.
    Nothing,
}

impl Route {
    /// The answer, if there is no such thing.
    pub(crate) fn of(head: &Head<'_>, closes: bool) -> Result<Asked, Box<(Asked, Answer)>> {
        let is_get = matches!(head.method, Method::Get | Method::Head);
        let is_post = head.method == Method::Post;
        let path = target::path(head.target);
        let job = path.strip_prefix("/jobs/");
        let (route, refused) = match (path, job) {
            _ if head.method == Method::Unknown => {
                let why = "there is no such method";
                (
                    Route::Nothing,
                    Some(Answer::error(Status::NOT_IMPLEMENTED, why)),
                )
            }
            ("/jobs", _) if is_post => match key(head.idempotency_key) {
                Ok(key) => (Route::Post { key }, None),
                Err(why) => (
                    Route::Nothing,
                    Some(Answer::error(Status::BAD_REQUEST, why)),
                ),
            },
            ("/jobs", _) => (Route::Nothing, Some(Answer::not_allowed("POST"))),
            ("/metrics", _) if is_get => (Route::Figures, None),
            (_, Some(id)) if is_get && is_id(id) => (Route::Job(id.to_owned()), None),
            ("/metrics", _) | (_, Some(_)) if !is_get => {
                (Route::Nothing, Some(Answer::not_allowed("GET, HEAD")))
            }
            _ => (
                Route::Nothing,
                Some(Answer::error(
                    Status::NOT_FOUND,
                    "there is POST /jobs, GET /jobs/ID, GET /metrics",
                )),
            ),
        };
        // What is not read cannot be followed by another request.
        let closes = closes || !head.keep_alive || refused.is_some() && head.has_body();
        let asked = Asked {
            route,
            is_head: head.method == Method::Head,
            after: match (closes, head.is_1_1) {
                (true, _) => After::Closes,
                (false, true) => After::Stays,
                (false, false) => After::StaysAndSays,
            },
        };
        match refused {
            None => Ok(asked),
            Some(answer) => Err(Box::new((asked, answer))),
        }
    }
}

/// Any visible ASCII.
fn key(value: Option<&[u8]>) -> Result<Option<String>, &'static str> {
    let Some(value) = value else {
        return Ok(None);
    };
    let is_right =
        (1..=LONGEST_KEY).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    if !is_right {
        return Err("Idempotency-Key: expected 1 to 128 characters of visible ASCII");
    }
    Ok(Some(String::from_utf8_lossy(value).into_owned()))
}

fn is_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// 128 random bits: who has an id was given it.
fn new_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Connection {
    /// A job has come whole.
    pub(crate) fn post(
        &mut self,
        cx: &mut Context<'_>,
        asked: Asked,
        body: &[u8],
    ) -> io::Result<()> {
        let front = Rc::clone(&self.front);
        let Route::Post { key } = &asked.route else {
            return Ok(());
        };
        let job = match Job::parse(body, &front.allowed) {
            Ok(job) => job,
            Err(why) => return self.answer(cx, &asked, &Answer::error(Status::BAD_REQUEST, &why)),
        };
        let (id, names) = (new_id()?, &front.queue.names);
        let keys = [
            names.job(&id),
            names.stream(Lane::Work),
            names.later(Lane::Work),
            names.counts(),
            // (Without a key it is not looked at.)
            names.key(key.as_deref().unwrap_or_default()),
        ];
        let callback = job.callback.map_or_else(String::new, |url| url.text);
        let has_key = if key.is_some() { b"1" } else { b"0" };
        let arguments: [&[u8]; 5] = [
            id.as_bytes(),
            body,
            callback.as_bytes(),
            front.max_backlog.as_bytes(),
            has_key,
        ];
        let me = cx.id::<Connection>();
        self.phase = Phase::Waiting(asked);
        front.queue.eval(
            cx,
            me,
            scripts::ADD,
            &keys,
            &arguments,
            |connection, cx, outcome| {
                connection.replied(cx, |connection, _, asked| connection.added(asked, &outcome))
            },
        );
        Ok(())
    }

    /// What the client is told of its job.
    fn added(&self, asked: &Asked, outcome: &Outcome) -> Answer {
        let has_key = matches!(&asked.route, Route::Post { key: Some(_) });
        match outcome {
            Outcome::Done(reply @ Reply::Array(_)) => {
                let mut words = texts(reply).into_iter().flatten();
                let (what, id) = (
                    words.next().unwrap_or_default(),
                    words.next().unwrap_or_default(),
                );
                match what.as_str() {
                    "added" | "known" => {
                        let body = json!({ "id": id, "is_new": what == "added" });
                        Answer::json(Status::ACCEPTED, &body)
                            .with("Location", &format!("/jobs/{id}"))
                    }
                    "other" => Answer::error(
                        Status::UNPROCESSABLE,
                        "this Idempotency-Key was used with another job",
                    ),
                    _ => Answer::error(
                        Status::UNAVAILABLE,
                        "too many jobs are queued; try again later",
                    )
                    .with("Retry-After", &self.front.retry_after),
                }
            }
            Outcome::Done(reply) => {
                log::warn!("Redis does not take a job: {reply:?}");
                self.not_queued()
            }
            Outcome::NotSent(why) => {
                log::debug!("a job was not sent to Redis: {why}");
                self.not_queued()
            }
            Outcome::Unknown(why) => {
                log::warn!("it is not known whether Redis has a job: {why}");
                if has_key {
                    let why = "it is not known whether the job is queued; post it again with the same Idempotency-Key";
                    Answer::error(Status::UNAVAILABLE, why).with("Retry-After", "1")
                } else {
                    let why = "it is not known whether the job is queued; it had no Idempotency-Key, and posted again \
                               it may be done twice";
                    Answer::error(Status::INTERNAL, why)
                }
            }
        }
    }

    fn not_queued(&self) -> Answer {
        Answer::error(
            Status::UNAVAILABLE,
            "the job is not queued; post it again later",
        )
        .with("Retry-After", &self.front.retry_after)
    }

    /// Everything but a job.
    pub(crate) fn get(&mut self, cx: &mut Context<'_>, asked: Asked) -> io::Result<()> {
        let front = Rc::clone(&self.front);
        let (me, names) = (cx.id::<Connection>(), &front.queue.names);
        let route = asked.route.clone();
        self.phase = Phase::Waiting(asked);
        match route {
            Route::Job(id) => {
                let command = ["HGETALL", &names.job(&id)];
                Client::request(
                    cx,
                    front.queue.client,
                    me,
                    &command,
                    move |connection: &mut Connection, cx, outcome| {
                        connection.replied(cx, |connection, _, _| connection.state(&id, &outcome))
                    },
                );
            }
            _ => {
                let keys = figures::keys(names);
                front.queue.eval(
                    cx,
                    me,
                    scripts::LOOK,
                    &keys,
                    &[GROUP.as_bytes()],
                    |connection, cx, outcome| {
                        connection.replied(cx, |_, cx, _| figures::answer(cx, &outcome))
                    },
                );
            }
        }
        Ok(())
    }

    /// How far a job is.
    fn state(&self, id: &str, outcome: &Outcome) -> Answer {
        match outcome {
            Outcome::Done(Reply::Array(fields)) if fields.is_empty() => Answer::error(
                Status::NOT_FOUND,
                "there is no such job, or it is kept no longer",
            ),
            Outcome::Done(Reply::Array(fields)) => Answer::json(Status::OK, &shown(id, fields)),
            other => {
                log::debug!("no state of a job: {other:?}");
                Answer::error(Status::UNAVAILABLE, "the queue cannot be asked now")
                    .with("Retry-After", &self.front.retry_after)
            }
        }
    }

    /// Redis has answered: so does this, as `make` says.
    fn replied(
        &mut self,
        cx: &mut Context<'_>,
        make: impl FnOnce(&Connection, &mut Context<'_>, &Asked) -> Answer,
    ) -> io::Result<()> {
        // (In another phase it took too long.)
        if let Phase::Waiting(asked) = &self.phase {
            let asked = asked.clone();
            let answer = make(self, cx, &asked);
            self.answer(cx, &asked, &answer)?;
        }
        Ok(())
    }
}

/// The fields of a job as its client sees them.
fn shown(id: &str, fields: &[Reply]) -> Value {
    let mut out = Map::new();
    out.insert("id".into(), id.into());
    for pair in fields.chunks_exact(2) {
        let (Some(name), Some(value)) = (text(&pair[0]), text(&pair[1])) else {
            continue;
        };
        let number = || value.parse::<u64>().map_or(Value::Null, Value::from);
        let (name, value) = match name.as_str() {
            "body" => ("job", serde_json::from_str(&value).unwrap_or_default()),
            "result" => ("result", serde_json::from_str(&value).unwrap_or_default()),
            "added" => ("added_ms", number()),
            "finished" => ("finished_ms", number()),
            "work_state" => ("state", value.into()),
            "work_tries" => ("tries", number()),
            "work_error" => ("error", value.into()),
            "callback_state" => ("callback", value.into()),
            "callback_tries" => ("callback_tries", number()),
            "callback_error" => ("callback_error", value.into()),
            // The job has its address, and the key is the client's own.
            _ => continue,
        };
        out.insert(name.into(), value);
    }
    Value::Object(out)
}
