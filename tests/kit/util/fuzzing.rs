//! Runs a fuzz target without a fuzzer: first the inputs of its corpus, then mutations of them that follow from a seed.
//!
//! `SLABLOOP_FUZZ_RUNS=N` makes it N mutations of each target, and `SLABLOOP_FUZZ_SEED=N` others.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Longer inputs find nothing that shorter ones do not.
const LONGEST: usize = 4096;

/// What parsers look for.
const WORDS: [&[u8]; 40] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b":",
    b",",
    b" ",
    b"\t",
    b"\0",
    b"\xff",
    b"0",
    b"1",
    b"-1",
    b"10",
    b"255",
    b"65536",
    b"9223372036854775807",
    b"18446744073709551616",
    b"ffffffffffffffff",
    b"*",
    b"$",
    b"%",
    b"GET ",
    b"POST /echo",
    b"HEAD ",
    b"CONNECT ",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"Host: a\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"0\r\n\r\n",
    b"\xc0\x0c",
    b"\x00\x01\x00\x01",
    b"/who",
    b"/nick ",
    b"\xe2\x80\x8b",
    b"aab",
];

fn folder(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../../fuzz/corpus").join(name)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text}: a number")),
    )
}

/// Runs the corpus, and `usual` mutations if nothing else is asked for.
pub(crate) fn hunt(name: &str, usual: u64, target: fn(&[u8])) {
    let folder = folder(name);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    let mut corpus = Vec::new();
    for file in files {
        let input = fs::read(&file).expect("readable");
        run(name, &file.display().to_string(), &input, target);
        corpus.push(input);
    }
    let runs = number("SLABLOOP_FUZZ_RUNS").unwrap_or(usual);
    let seed = number("SLABLOOP_FUZZ_SEED").unwrap_or(0);
    for run_of in 0..runs {
        // Each from a seed of its own, so that one can be played alone.
        let mut rng = fastrand::Rng::with_seed(seed << 32 ^ run_of);
        let input = mutation(&corpus, &mut rng);
        run(
            name,
            &format!("mutation {run_of} of seed {seed}"),
            &input,
            target,
        );
    }
    println!(
        "{name}: {} inputs of the corpus, {runs} mutations",
        corpus.len()
    );
}

/// Shows the input that fails, and leaves it as a file.
fn run(name: &str, which: &str, input: &[u8], target: fn(&[u8])) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
        let kept = fs::write(&file, input).map(|()| format!("; kept in {}", file.display()));
        eprintln!(
            "{name} fails with {which}{}: b\"{}\"",
            kept.unwrap_or_default(),
            input.escape_ascii()
        );
        eprintln!("(once it is mended, the input belongs into fuzz/corpus/{name})");
        resume_unwind(payload);
    }
}

fn mutation(corpus: &[Vec<u8>], rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = corpus[rng.usize(..corpus.len())].clone();
    for _ in 0..=rng.usize(..6) {
        change(&mut input, corpus, rng);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut fastrand::Rng) {
    let at = rng.usize(..=input.len());
    let end = at + rng.usize(..=(input.len() - at).min(40));
    match rng.u8(..10) {
        // A bit, or a byte.
        0 | 1 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
        2 if at < input.len() => input[at] = rng.u8(..),
        // How the stream is cut, and what the first bytes choose.
        3 if !input.is_empty() => {
            let at = rng.usize(..input.len().min(5));
            input[at] = rng.u8(..);
        }
        4 => drop(input.drain(at..end)),
        5 => {
            let piece = input[at..end].to_vec();
            let times = [1, 1, 2, 30][rng.usize(..4)];
            let repeated = piece.repeat(times);
            input.splice(at..at, repeated);
        }
        // The end of another.
        6 => {
            let other = &corpus[rng.usize(..corpus.len())];
            input.truncate(at);
            input.extend_from_slice(&other[rng.usize(..=other.len())..]);
        }
        7 if rng.u8(..8) == 0 => input.truncate(at),
        _ => {
            let word = WORDS[rng.usize(..WORDS.len())];
            input.splice(at..at, word.iter().copied());
        }
    }
}
