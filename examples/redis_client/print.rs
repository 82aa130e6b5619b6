//! Replies in the manner of redis-cli, for people.

use crate::redis::Reply;

/// With quotes, numbers for the elements of arrays, and types: what redis-cli prints on a terminal.
pub(crate) fn for_people(reply: &Reply) -> String {
    let mut text = String::new();
    write(&mut text, reply, "");
    text
}

/// For other programs: contents alone, an element a line, as redis-cli prints into a pipe.
pub(crate) fn raw(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Simple(bytes) | Reply::Bulk(bytes) | Reply::Verbatim(bytes) => bytes.clone(),
        Reply::BigNumber(bytes) => bytes.clone(),
        Reply::Error(text) => text.clone().into_bytes(),
        Reply::Integer(number) => number.to_string().into_bytes(),
        Reply::Nil => Vec::new(),
        Reply::Boolean(yes) => yes.to_string().into_bytes(),
        Reply::Double(number) => double(*number).into_bytes(),
        Reply::Array(elements) | Reply::Set(elements) | Reply::Push(elements) => {
            let lines: Vec<_> = elements.iter().map(raw).collect();
            lines.join(&b'\n')
        }
        Reply::Map(pairs) => {
            let lines = pairs
                .iter()
                .map(|(key, value)| [raw(key), raw(value)].join(&b' '));
            lines.collect::<Vec<_>>().join(&b'\n')
        }
    }
}

fn write(text: &mut String, reply: &Reply, indent: &str) {
    match reply {
        Reply::Simple(bytes) | Reply::Verbatim(bytes) | Reply::BigNumber(bytes) => {
            text.push_str(&String::from_utf8_lossy(bytes));
        }
        Reply::Error(error) => text.push_str(&format!("(error) {error}")),
        Reply::Integer(number) => text.push_str(&format!("(integer) {number}")),
        Reply::Bulk(bytes) => quote(text, bytes),
        Reply::Nil => text.push_str("(nil)"),
        Reply::Boolean(yes) => text.push_str(if *yes { "(true)" } else { "(false)" }),
        Reply::Double(number) => text.push_str(&format!("(double) {}", double(*number))),
        Reply::Array(elements) => write_all(text, elements, indent, (')', "(empty array)")),
        Reply::Push(elements) => write_all(text, elements, indent, (')', "(empty push)")),
        Reply::Set(elements) => write_all(text, elements, indent, ('~', "(empty set)")),
        Reply::Map(pairs) => write_pairs(text, pairs, indent),
    }
}

fn write_all(text: &mut String, elements: &[Reply], indent: &str, (mark, empty): (char, &str)) {
    if elements.is_empty() {
        text.push_str(empty);
    }
    let width = elements.len().to_string().len();
    let deeper = format!("{indent}{}", " ".repeat(width + 2));
    for (number, element) in (1..).zip(elements) {
        if number > 1 {
            text.push('\n');
            text.push_str(indent);
        }
        text.push_str(&format!("{number:>width$}{mark} "));
        write(text, element, &deeper);
    }
}

fn write_pairs(text: &mut String, pairs: &[(Reply, Reply)], indent: &str) {
    if pairs.is_empty() {
        text.push_str("(empty hash)");
    }
    let width = pairs.len().to_string().len();
    let deeper = format!("{indent}{}", " ".repeat(width + 2));
    for (number, (key, value)) in (1..).zip(pairs) {
        if number > 1 {
            text.push('\n');
            text.push_str(indent);
        }
        text.push_str(&format!("{number:>width$}# "));
        write(text, key, &deeper);
        text.push_str(" => ");
        let mut lines = String::new();
        write(&mut lines, value, &deeper);
        if lines.contains('\n') {
            text.push('\n');
            text.push_str(&deeper);
        }
        text.push_str(&lines);
    }
}

fn double(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    number.to_string()
}

fn quote(text: &mut String, bytes: &[u8]) {
    text.push('"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => text.extend(['\\', char::from(byte)]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            7 => text.push_str("\\a"),
            8 => text.push_str("\\b"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
}
