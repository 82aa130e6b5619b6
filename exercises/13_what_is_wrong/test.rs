//! Exercise 13: name what is wrong in three recorded runs.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use code::ANSWERS;

const LINTS: [&str; 8] = [
    "slow-callback",
    "idle-writer",
    "unread-input",
    "turn-hog",
    "over-high-mark",
    "half-open",
    "timer-storm",
    "post-pressure",
];

/// Of the right answers: whoever reads the test is not to read them.
const SUMS: [u64; 3] = [
    0xc6ce_766a_9127_51da,
    0xd3e7_1cea_553c_fba9,
    0x52ad_d6c5_a3f0_26fe,
];

/// FNV-1a.
fn sum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn check(number: usize) {
    let (lint, culprit) = ANSWERS[number - 1];
    assert!(!lint.is_empty(), "what-is-wrong-{number}: no answer yet");
    assert!(
        LINTS.contains(&lint),
        "what-is-wrong-{number}: {lint} is none of the lints {LINTS:?}"
    );
    let right = SUMS[number - 1] == sum(&format!("{number} {lint} {culprit}"));
    assert!(
        right,
        "what-is-wrong-{number}: it is not {lint} of {culprit}, or not of {culprit}"
    );
}

#[test]
fn the_first_recording_is_understood() {
    check(1);
}

#[test]
fn the_second_recording_is_understood() {
    check(2);
}

#[test]
fn the_third_recording_is_understood() {
    check(3);
}
