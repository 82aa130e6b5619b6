//! A recording of an earlier run, in place of the loop as it is.

use std::io;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// What a recording has to have.
#[derive(Deserialize)]
struct Recording {
    v: u32,
    program: String,
    beats: Vec<IgnoredAny>,
}

/// A recording's bytes, which have been looked at.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    pub(super) program: String,
    pub(super) bytes: Rc<[u8]>,
}

impl Replay {
    /// # Errors
    ///
    /// `InvalidData` if it is none.
    pub(super) fn new(bytes: &[u8]) -> io::Result<Replay> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let recording: Recording = serde_json::from_slice(bytes)
            .map_err(|error| invalid(format!("not a recording of the inspector: {error}")))?;
        if recording.v != 1 {
            let version = recording.v;
            return Err(invalid(format!(
                "a recording of version {version}, and this inspector knows version 1"
            )));
        }
        if recording.beats.is_empty() {
            return Err(invalid("a recording without beats".to_owned()));
        }
        Ok(Replay {
            program: recording.program,
            bytes: bytes.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_recording_is_refused_and_says_why() {
        for (text, why) in [
            ("", "EOF"),
            ("{}", "missing field"),
            (r#"{"v":2,"program":"a","beats":[1]}"#, "version 2"),
            (r#"{"v":1,"program":"a","beats":[]}"#, "without beats"),
        ] {
            let error = Replay::new(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(why), "{error}");
        }
        let good = Replay::new(br#"{"v":1,"program":"a","beats":[{"turn":1}]}"#).unwrap();
        assert_eq!(good.program, "a");
    }
}
