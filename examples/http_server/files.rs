//! Answering with a file.

use std::io;
use std::ops::Range;

use slabloop::Context;

use crate::answer::{After, Status, Writer, write_plain};
use crate::conditions::Wanted;
use crate::entry::Entry;
use crate::head::{Head, Method};
use crate::site::Site;

/// Sends a file, a part of it, or that the client has it.
#[inline]
pub(crate) fn send(
    cx: &mut Context<'_>,
    site: &Site,
    head: &Head<'_>,
    entry: &Entry,
    after: After,
) -> io::Result<()> {
    if head.conditions.is_any() {
        return send_wanted(cx, site, head, entry, after);
    }
    send_whole(cx, site, head, entry, after)
}

#[inline]
fn send_whole(
    cx: &mut Context<'_>,
    site: &Site,
    head: &Head<'_>,
    entry: &Entry,
    after: After,
) -> io::Result<()> {
    let is_get = head.method == Method::Get;
    {
        let date = site.date.borrow();
        let bytes = entry.dated(&date);
        let end = if is_get { bytes.len() } else { entry.head() };
        if after == After::Stays {
            cx.send(&bytes[..end])?;
        } else {
            // In front of the empty line.
            let (fields, rest) = bytes[..end].split_at(entry.head() - 2);
            cx.send(fields)?;
            cx.send(after.field().as_bytes())?;
            cx.send(rest)?;
        }
    }
    let size = if is_get { entry.size } else { 0 };
    note(cx, site, head, Status::OK, size);
    match &entry.file {
        Some(file) if is_get && entry.size > 0 => cx.send_file(file.clone(), ..entry.size),
        _ => Ok(()),
    }
}

#[inline(never)]
fn send_wanted(
    cx: &mut Context<'_>,
    site: &Site,
    head: &Head<'_>,
    entry: &Entry,
    after: After,
) -> io::Result<()> {
    let is_get = head.method == Method::Get;
    match head.conditions.wanted(entry.validators(), is_get) {
        Wanted::Whole => send_whole(cx, site, head, entry, after),
        Wanted::Part(part) => send_part(cx, site, head, entry, after, part),
        Wanted::NotModified => {
            with_scratch(cx, site, |buffer, date| {
                let mut writer = Writer::begin(buffer, Status::NOT_MODIFIED, date);
                entry.validators_to(&mut writer);
                writer.end(after);
            })?;
            note(cx, site, head, Status::NOT_MODIFIED, 0);
            Ok(())
        }
        Wanted::Failed => send_refusal(cx, site, head, Status::PRECONDITION, after, |_| {}),
        Wanted::Unsatisfiable => send_refusal(cx, site, head, Status::RANGE, after, |writer| {
            writer.field("Content-Range", format_args!("bytes */{}", entry.size));
        }),
    }
}

fn send_refusal(
    cx: &mut Context<'_>,
    site: &Site,
    head: &Head<'_>,
    status: Status,
    after: After,
    more: impl FnOnce(&mut Writer<'_>),
) -> io::Result<()> {
    let mut body = 0;
    let with_body = head.method == Method::Get;
    with_scratch(cx, site, |buffer, date| {
        body = write_plain(buffer, status, date, after, with_body, more);
    })?;
    note(cx, site, head, status, body);
    Ok(())
}

fn send_part(
    cx: &mut Context<'_>,
    site: &Site,
    head: &Head<'_>,
    entry: &Entry,
    after: After,
    part: Range<u64>,
) -> io::Result<()> {
    let length = part.end - part.start;
    with_scratch(cx, site, |buffer, date| {
        let mut writer = Writer::begin(buffer, Status::PARTIAL, date);
        let (first, last) = (part.start, part.end - 1);
        writer.field("Content-Type", entry.content_type());
        writer.field("Content-Length", length);
        writer.field(
            "Content-Range",
            format_args!("bytes {first}-{last}/{}", entry.size),
        );
        entry.validators_to(&mut writer);
        writer.end(after);
    })?;
    note(cx, site, head, Status::PARTIAL, length);
    match &entry.file {
        Some(file) => cx.send_file(file.clone(), part),
        None => cx.send(&entry.dated(&site.date.borrow())[entry.place(&part)]),
    }
}

fn with_scratch(
    cx: &mut Context<'_>,
    site: &Site,
    write: impl FnOnce(&mut Vec<u8>, &str),
) -> io::Result<()> {
    let mut buffer = site.scratch.borrow_mut();
    buffer.clear();
    write(&mut buffer, site.date.borrow().text());
    cx.send(&buffer)
}

#[inline]
fn note(cx: &Context<'_>, site: &Site, head: &Head<'_>, status: Status, bytes: u64) {
    if let Some(log) = &site.log {
        let mut log = log.borrow_mut();
        log.line(cx.peer(), Some(head), status.0, bytes, &site.date.borrow());
    }
}
