//! The book and the other pages, held against the source: links lead somewhere, commands name what exists, pieces of
//! code stand in the files that they come from, and programs print what the pages show.
//!
//! What a page can mark, in a comment on the line before a block:
//!
//! | comment | the block |
//! |---|---|
//! | `<!-- from examples/book/NAME.rs -->` | stands in that file, line for line, indentation and empty lines aside; a line `// ...` leaves something out |
//! | `<!-- run -->` | `$ cargo run --example NAME -- FLAGS`, and what the program prints on stdout; ports may differ |
//! | `<!-- run: numbers vary -->` | the same; any number may differ, and the unit of a `Duration` |
//!
//! All pages in `docs/` and at the top are checked. A failure names the page and the line.

#[path = "book/commands.rs"]
mod commands;
#[path = "book/pages.rs"]
mod pages;
#[path = "util/programs.rs"]
mod programs;
#[cfg(feature = "tls")]
mod util;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use commands::{Targets, commands};
use pages::{Page, all_pages, links, root};

/// Fails with all findings at once: whoever edits pages would rather have them in one go.
#[track_caller]
fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn relative_links_lead_to_files_and_headings() {
    let mut findings = Vec::new();
    for page in all_pages() {
        for (line, target) in links(&page) {
            if target.is_empty() && page.path.ends_with("SUMMARY.md") {
                // A chapter that is to come.
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let there = match file {
                "" => page.path.clone(),
                file => page.path.parent().expect("a folder").join(file),
            };
            if !there.exists() {
                findings.push(page.at(line, &format!("no file {target}")));
            } else if !heading.is_empty() && !Page::read(&there).has_heading(heading) {
                findings.push(page.at(line, &format!("no heading {target}")));
            }
        }
    }
    none(findings);
}

/// What is published is the crate: tests, benches and exercises stay in the repository.
#[test]
fn pages_at_the_top_link_to_files_that_are_published() {
    let list = Command::new(env!("CARGO"))
        .args([
            "package",
            "-p",
            "slabloop",
            "--list",
            "--allow-dirty",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(list.status.success(), "{list:?}");
    let list = String::from_utf8(list.stdout).expect("names of files");
    let published: BTreeSet<&str> = list.lines().collect();
    let mut findings = Vec::new();
    for page in all_pages() {
        if page.path.parent() != Some(&root()) {
            continue;
        }
        for (line, target) in links(&page) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !published.contains(file) {
                findings.push(page.at(line, &format!("not published: {target}")));
            }
        }
    }
    none(findings);
}

#[test]
fn commands_name_examples_tests_packages_features_and_flags_that_exist() {
    let targets = Targets::of_the_workspace();
    let mut findings = Vec::new();
    for page in all_pages() {
        for (line, command) in commands(&page) {
            for complaint in targets.complaints(&command) {
                findings.push(page.at(line, &complaint));
            }
        }
    }
    none(findings);
}

#[test]
fn pieces_of_code_are_in_the_files_that_they_come_from() {
    let mut findings = Vec::new();
    for page in all_pages() {
        for block in &page.blocks {
            let Some(file) = block.marked("from") else {
                continue;
            };
            match fs::read_to_string(root().join(file)) {
                Err(_) => findings.push(page.at(block.line, &format!("no file {file}"))),
                Ok(source) => {
                    if let Some(line) = first_line_missing(&block.lines, &source) {
                        let number = block.line + 1 + line;
                        let what = format!("not there in {file}: {}", block.lines[line]);
                        findings.push(page.at(number, &what));
                    }
                }
            }
        }
    }
    none(findings);
}

/// Which line of a block is the first that does not stand in the source, after those before it.
fn first_line_missing(block: &[String], source: &str) -> Option<usize> {
    let lines = source.lines().map(str::trim);
    let mut source: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let numbered = block.iter().map(|line| line.trim()).enumerate();
    let numbered: Vec<(usize, &str)> = numbered.filter(|(_, line)| !line.is_empty()).collect();
    for piece in numbered.split(|(_, line)| *line == "// ...") {
        // Where most of the piece is, so that the line which is reported is the one that differs.
        let equal_at = |at: usize| {
            let pairs = source[at..].iter().zip(piece);
            pairs
                .take_while(|(there, (_, here))| *there == here)
                .count()
        };
        let best = (0..=source.len()).rev().max_by_key(|at| equal_at(*at))?;
        let equal = equal_at(best);
        if let Some((number, _)) = piece.get(equal) {
            return Some(*number);
        }
        source.drain(..best + equal);
    }
    None
}

#[test]
fn programs_print_what_the_pages_show() {
    // Some of them wait now and then, to show that nothing comes: pages side by side take less time.
    let pages = all_pages();
    let findings = std::thread::scope(|scope| {
        let checks: Vec<_> = pages
            .iter()
            .map(|page| scope.spawn(|| wrong_outputs(page)))
            .collect();
        let findings = checks
            .into_iter()
            .map(|check| check.join().expect("no panic"));
        findings.flatten().collect()
    });
    none(findings);
}

fn wrong_outputs(page: &Page) -> Vec<String> {
    let mut findings = Vec::new();
    for block in &page.blocks {
        let masked = match block.marked("run") {
            None => continue,
            Some("") => mask_ports,
            Some("numbers vary") => mask_numbers,
            Some(how) => {
                findings.push(page.at(block.line, &format!("run: {how} means nothing")));
                continue;
            }
        };
        for (line, command, shown) in block.runs() {
            let Some((name, arguments)) = commands::example_of(&command) else {
                findings.push(page.at(line, "not `cargo run --example NAME`"));
                continue;
            };
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let output = programs::run(&name, &arguments);
            let printed = masked(&String::from_utf8_lossy(&output.stdout));
            let shown = masked(&shown);
            if printed.trim_end() != shown.trim_end() {
                let what = format!("it prints now:\n{}", printed.trim_end());
                findings.push(page.at(line, &what));
            }
        }
    }
    findings
}

/// `127.0.0.1:40513` as `127.0.0.1:PORT`.
fn mask_ports(text: &str) -> String {
    let mut masked = String::new();
    for (number, part) in text.split("127.0.0.1:").enumerate() {
        if number > 0 {
            masked.push_str("127.0.0.1:PORT");
        }
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        masked.push_str(&part[if number > 0 { digits } else { 0 }..]);
    }
    masked
}

/// Each number as `N`, with the spaces that align it, and without the unit of a `Duration`: what takes 800 ms takes a
/// second on a busy machine.
fn mask_numbers(text: &str) -> String {
    let mut masked = String::new();
    for line in mask_ports(text).lines() {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            if c.is_ascii_digit() {
                masked.push('N');
                rest =
                    rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ',');
                rest = without_unit(rest);
                continue;
            }
            if c != ' ' || !masked.ends_with(' ') {
                masked.push(c);
            }
            rest = &rest[c.len_utf8()..];
        }
        masked.push('\n');
    }
    masked
}

fn without_unit(text: &str) -> &str {
    let after = |unit: &&str| {
        let rest = text.strip_prefix(unit)?;
        (!rest.starts_with(char::is_alphanumeric)).then_some(rest)
    };
    ["ns", "µs", "ms", "s"]
        .iter()
        .find_map(after)
        .unwrap_or(text)
}

#[test]
fn programs_explain_themselves_and_refuse_what_they_do_not_know() {
    let targets = Targets::of_the_workspace();
    let names: Vec<&String> = targets.of_the_book().collect();
    assert!(names.len() >= 5, "the programs have moved");
    for name in names {
        let help = programs::run(name, &["--help"]);
        let text = String::from_utf8_lossy(&help.stdout);
        assert_eq!(help.status.code(), Some(0), "{name}");
        assert!(text.contains(&format!("Usage: {name}")), "{name}: {text}");
        for line in text.lines().filter(|line| line.contains("  book_")) {
            let command = format!(
                "cargo run --example {}",
                line.trim().replacen(' ', " -- ", 1)
            );
            assert!(targets.complaints(&command).is_empty(), "{name}: {line}");
        }

        let refused = programs::run(name, &["--no-such-flag"]);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{name}: {text}");
        assert!(text.contains("--no-such-flag"), "{name}: {text}");
        assert_eq!(text.lines().count(), 1, "{name}: {text}");
    }
}

#[test]
fn summary_lists_each_page_of_the_book_and_exercises_are_complete() {
    let mut findings = Vec::new();
    let book = root().join("docs/book");
    let summary = Page::read(&book.join("SUMMARY.md"));
    let listed: BTreeSet<String> = links(&summary).into_iter().map(|(_, link)| link).collect();
    for page in all_pages() {
        let name = page.name();
        let is_chapter = page.path.parent() == Some(&book) && name != "SUMMARY.md";
        if is_chapter && name != "README.md" && !listed.contains(&name) {
            findings.push(format!("docs/book/SUMMARY.md: {name} is not listed"));
        }
    }

    let manifest = fs::read_to_string(root().join("exercises/Cargo.toml")).expect("the exercises");
    let linked: Vec<String> = all_pages()
        .iter()
        .flat_map(links)
        .map(|(_, link)| link)
        .collect();
    for entry in fs::read_dir(root().join("exercises")).expect("the exercises") {
        let folder = entry.expect("an entry").path();
        let name = pages::file_name(&folder);
        if !folder.is_dir() {
            continue;
        }
        for file in ["start.rs", "solution.rs", "test.rs"] {
            if !folder.join(file).exists() {
                findings.push(format!("exercises/{name}: no {file}"));
            }
        }
        if !manifest.contains(&format!("path = \"{name}/test.rs\"")) {
            findings.push(format!("exercises/Cargo.toml: {name} is not listed"));
        }
        if !linked
            .iter()
            .any(|link| link.contains(&format!("exercises/{name}")))
        {
            findings.push(format!("exercises/{name}: no page has a link to it"));
        }
    }
    none(findings);
}

#[test]
fn checks_find_what_they_are_for() {
    let block = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let source = "fn a() {\n    one();\n    two();\n\n    three();\n}\n";
    assert_eq!(
        first_line_missing(&block("one();\ntwo();\nthree();"), source),
        None
    );
    assert_eq!(
        first_line_missing(&block("fn a() {\n// ...\n  three();\n}"), source),
        None
    );
    assert_eq!(
        first_line_missing(&block("one();\nthree();"), source),
        Some(1)
    );
    assert_eq!(
        first_line_missing(&block("three();\n// ...\none();"), source),
        Some(2)
    );
    assert_eq!(
        mask_ports("at 127.0.0.1:4 and 127.0.0.1:50000."),
        "at 127.0.0.1:PORT and 127.0.0.1:PORT."
    );
    assert_eq!(
        mask_numbers("took  1,234.5 ms\n"),
        mask_numbers("took 7 ms\n")
    );
    assert_ne!(mask_numbers("took 1 ms\n"), mask_numbers("took 1 us\n"));
    assert_eq!(
        mask_numbers("took 804.01ms in all\n"),
        mask_numbers("took 1.2s in all\n")
    );
    assert_ne!(mask_numbers("1 step\n"), mask_numbers("1 tep\n"));
    assert_ne!(mask_numbers("1sx\n"), mask_numbers("1x\n"));

    let targets = Targets::of_the_workspace();
    for wrong in [
        "cargo run --example no_such_program",
        "cargo run --example echo_server -- --no-such-flag",
        "cargo run --features nonsense --example echo_server",
        "cargo test -p nobody",
        "cargo test --test no_such_test",
    ] {
        assert_eq!(targets.complaints(wrong).len(), 1, "{wrong}");
    }
    for right in [
        "cargo run --release --example echo_server -- --listen 127.0.0.1:0",
        "cargo run --features pool --example pool",
        "cargo test -p exercises --test 01_thread_each",
    ] {
        assert!(targets.complaints(right).is_empty(), "{right}");
    }
}
