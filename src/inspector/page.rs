//! The page: one file, whose one script and one style run because they carry this answer's number.
//!
//! The content policy allows a script with a certain random number (a nonce), and no other. A hash of the script
//! would do as well, and would need a library for hashing; the number comes from the random keys that std gives its
//! hash maps. An attacker who could insert a script into the page would have to guess it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use super::reply::{Media, Reply};

const PAGE: &str = include_str!("page.html");

/// The mode of the page: whether it shows a loop live, or plays the content of `/recording.json`.
const LIVE: &str = "<meta name=\"slabloop-mode\" content=\"live\">";
const REPLAY: &str = "<meta name=\"slabloop-mode\" content=\"replay\">";

/// The page as an answer.
pub(super) fn reply(is_head: bool, is_replay: bool) -> Reply {
    let nonce = format!("{:016x}{:016x}", random(), random());
    let page = PAGE
        .replacen("<script>", &format!("<script nonce=\"{nonce}\">"), 1)
        .replacen(LIVE, if is_replay { REPLAY } else { LIVE }, 1)
        .replacen("<style>", &format!("<style nonce=\"{nonce}\">"), 1);
    let body = vec![Rc::from(page.into_bytes())];
    Reply::new(is_head, "200 OK", Media::Html, Some(&nonce), body)
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_nothing_from_outside() {
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert_eq!(PAGE.matches("<script>").count(), 1, "the number goes there");
        assert_eq!(PAGE.matches("<style").count(), 1);
        assert_eq!(PAGE.matches("<style>").count(), 1, "the number goes there");
        assert_eq!(PAGE.matches(LIVE).count(), 1);
        for outside in [" src=\"http", " href=\"http", "url(http", "@import"] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
        // What the policy would not let run.
        assert!(!PAGE.contains(" style=\"") && !PAGE.contains(" onclick=\""));
        assert!(PAGE.len() < 100 * 1024, "{} bytes", PAGE.len());
    }

    #[test]
    fn every_answer_has_a_number_of_its_own() {
        let head = |mut reply: Reply| reply.next().map(<[u8]>::to_vec);
        assert_ne!(head(reply(true, false)), head(reply(true, false)));
    }
}
