//! Exercise 5: an old name names nothing, even if its slot is in use again.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::collections::HashSet;

use code::{Names, Token};

#[test]
fn names_lead_to_what_they_were_given_for() {
    let mut names = Names::new();
    let tokens: Vec<Token> = (0..100).map(|value| names.insert(value)).collect();
    for (value, token) in tokens.iter().enumerate() {
        assert_eq!(names.get(*token), Some(&mut value.clone()));
    }
    for (value, token) in tokens.into_iter().enumerate().rev() {
        assert_eq!(names.remove(token), Some(value));
    }
}

#[test]
fn an_old_name_does_not_lead_to_a_newcomer() {
    let mut names = Names::new();
    let old = names.insert("B");
    names.remove(old);
    let new = names.insert("C");
    assert_eq!(names.get(old), None, "an event for B would be given to C");
    assert_eq!(names.get(new), Some(&mut "C"));
}

#[test]
fn removing_twice_does_not_remove_a_newcomer() {
    let mut names = Names::new();
    let old = names.insert("B");
    assert_eq!(names.remove(old), Some("B"));
    assert_eq!(names.remove(old), None);
    let new = names.insert("C");
    assert_eq!(names.remove(old), None, "C is not B");
    assert_eq!(names.get(new), Some(&mut "C"));
}

#[test]
fn names_do_not_come_again_and_slots_do() {
    let mut names = Names::new();
    let mut seen = HashSet::new();
    let mut open = Vec::new();
    for value in 0..100_000 {
        let token = names.insert(value);
        assert!(seen.insert(token), "{token:?} was in use before");
        open.push(token);
        if open.len() > 3 {
            let token = open.remove(value % 3);
            assert!(names.remove(token).is_some());
        }
    }
    assert!(
        names.slots() <= 16,
        "memory for closed connections: {} slots",
        names.slots()
    );
}

#[test]
fn a_name_that_was_never_given_names_nothing() {
    let mut names = Names::new();
    names.insert(1);
    for odd in [1, 7, usize::MAX, 1 << 40] {
        assert_eq!(names.get(Token(odd)), None);
        assert_eq!(names.remove(Token(odd)), None);
    }
}
