//! The public API, as it is on record in `docs/public-api.txt`: a change of it is made on purpose, and shows in the commit.
//!
//! ```text
//! cargo test -p slabloop-kit-tests --test public_surface -- --ignored                       compare
//! SLABLOOP_RECORD=1 cargo test -p slabloop-kit-tests --test public_surface -- --ignored     record again
//! ```
//!
//! rustdoc's JSON is unstable: a compiler whose format is not the one that is read here lets the test pass, and says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "builds the crate's documentation; .ci/run has it"]
fn the_public_api_is_the_one_on_record() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = Command::new(env!("CARGO"))
        .args([
            "rustdoc",
            "--locked",
            "--quiet",
            "-p",
            "slabloop",
            "--lib",
            "--features",
            "full,test",
        ])
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(&root)
        .status()
        .expect("cargo runs");
    assert!(built.success());
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let api = public_api::Builder::from_rustdoc_json(target.join("doc/slabloop.json"))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build();
    let api = match api {
        Ok(api) => api,
        Err(error) => {
            println!("not compared: {error}");
            return;
        }
    };
    let now: Vec<String> = api.items().map(ToString::to_string).collect();
    let record = root.join("docs/public-api.txt");
    if std::env::var_os("SLABLOOP_RECORD").is_some() {
        fs::write(&record, now.join("\n") + "\n").expect("written");
        return;
    }
    let recorded = fs::read_to_string(&record).expect("there is a record");
    let (now, recorded): (BTreeSet<&str>, BTreeSet<&str>) = (
        now.iter().map(String::as_str).collect(),
        recorded.lines().collect(),
    );
    let gone = recorded.difference(&now).map(|item| format!("- {item}\n"));
    let come = now.difference(&recorded).map(|item| format!("+ {item}\n"));
    let changes: String = gone.chain(come).collect();
    assert!(
        changes.is_empty(),
        "not as in docs/public-api.txt:\n{changes}"
    );
}
