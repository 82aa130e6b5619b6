//! What happens in the room, as the stream and the channel have it: `KIND PROCESS.OPERATION NICK TEXT`.

use std::str::FromStr;

use super::super::is_visible;
use super::redis::Reply;

/// The id of an entry of a stream: the broker's milliseconds, and a number within that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId(u64, u64);

impl EntryId {
    /// Before all entries.
    pub(super) const START: EntryId = EntryId(0, 0);
}

impl FromStr for EntryId {
    type Err = ();

    fn from_str(text: &str) -> Result<EntryId, ()> {
        let (time, number) = text.split_once('-').ok_or(())?;
        let parse = |digits: &str| digits.parse().map_err(|_| ());
        Ok(EntryId(parse(time)?, parse(number)?))
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Joined,
    /// The text is the new nickname.
    Renamed,
    Left,
    Line,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: Kind,
    /// Whose member it is.
    pub(super) process: String,
    /// The number of the operation among that process' own; 0 if the process did not ask for it.
    pub(super) operation: u64,
    pub(super) nick: String,
    pub(super) text: String,
}

impl Event {
    fn parse(event: &str) -> Option<Event> {
        let mut words = event.splitn(4, ' ');
        let kind = match words.next()? {
            "joined" => Kind::Joined,
            "renamed" => Kind::Renamed,
            "left" => Kind::Left,
            "line" => Kind::Line,
            _ => return None,
        };
        let (process, operation) = words.next()?.split_once('.')?;
        let (process, operation) = (process.to_owned(), operation.parse().ok()?);
        let mut next = || words.next().map(str::to_owned);
        let (nick, text) = (next()?, next()?);
        let is_clean = !nick.is_empty() && event.chars().all(is_visible);
        is_clean.then_some(Event {
            kind,
            process,
            operation,
            nick,
            text,
        })
    }

    /// A message of the channel. An event that cannot be read still has its place in the order.
    pub(super) fn published(message: &[u8]) -> Option<(EntryId, Option<Event>)> {
        let (id, event) = std::str::from_utf8(message).ok()?.split_once(' ')?;
        Some((id.parse().ok()?, Event::parse(event)))
    }

    /// The entries of the stream, as `XRANGE` has them. None if it has not answered that.
    pub(super) fn entries(reply: Reply) -> Option<Vec<(EntryId, Option<Event>)>> {
        let Reply::Array(entries) = reply else {
            return None;
        };
        entries.into_iter().map(Event::entry).collect()
    }

    fn entry(entry: Reply) -> Option<(EntryId, Option<Event>)> {
        let Reply::Array(parts) = entry else {
            return None;
        };
        let [Reply::Bulk(id), Reply::Array(fields)] = &parts[..] else {
            return None;
        };
        let event = match &fields[..] {
            [Reply::Bulk(name), Reply::Bulk(event)] if name == b"event" => {
                std::str::from_utf8(event).ok().and_then(Event::parse)
            }
            _ => None,
        };
        Some((std::str::from_utf8(id).ok()?.parse().ok()?, event))
    }
}

/// Who is here: each nickname, and whose it is.
pub(super) type Roster = Vec<(String, String)>;

/// What `snapshot.lua` answers.
pub(super) fn snapshot(reply: Reply) -> Option<(EntryId, Roster)> {
    let Reply::Array(parts) = reply else {
        return None;
    };
    let [Reply::Bulk(id), Reply::Array(pairs)] = &parts[..] else {
        return None;
    };
    let text = |reply: &Reply| match reply {
        Reply::Bulk(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    };
    let pairs = pairs.chunks(2).map(|pair| match pair {
        [nick, process] => Some((text(nick)?, text(process)?)),
        _ => None,
    });
    Some((
        std::str::from_utf8(id).ok()?.parse().ok()?,
        pairs.collect::<Option<_>>()?,
    ))
}
