//! The command line of a program that measures experiments and writes a part of a page.

use std::path::PathBuf;

use crate::cli::{self, Error, Result};

const FLAGS: &str = "--page FILE, --quick and --only EXPERIMENT,…";

/// What is measured, how thoroughly, and where it is written.
#[derive(Debug)]
pub struct Selection {
    /// The page whose part is written.
    pub page: Option<PathBuf>,
    /// Just to see whether it works.
    pub is_quick: bool,
    only: Option<Vec<String>>,
}

impl Selection {
    /// Reads it, for a program with experiments of these names.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] for an unknown flag or experiment, and for `--page` together with `--only`.
    pub fn from_args(known: &[&str]) -> Result<Selection> {
        let mut selection = Selection {
            page: None,
            is_quick: false,
            only: None,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(flag) = cli::next_flag(&mut parser)? {
            match flag.as_str() {
                "page" => selection.page = Some(cli::value(&mut parser, &flag, "a file")?),
                "quick" => selection.is_quick = true,
                "only" => {
                    let list: String = cli::value(&mut parser, &flag, "a list")?;
                    selection.only = Some(list.split(',').map(str::to_owned).collect());
                }
                _ => return Err(cli::unknown(&flag, FLAGS)),
            }
        }
        for name in selection.only.iter().flatten().map(String::as_str) {
            if !known.contains(&name) {
                return Err(cli::wrong("only", name, &format!("one of {known:?}")));
            }
        }
        if selection.page.is_some() && selection.only.is_some() {
            let text = "--page is written as a whole: not with --only";
            return Err(Error::Usage(text.to_owned()));
        }
        Ok(selection)
    }

    /// Whether an experiment is to be measured.
    #[must_use]
    pub fn wants(&self, experiment: &str) -> bool {
        let only = self.only.as_ref();
        only.is_none_or(|only| only.iter().any(|name| name == experiment))
    }
}
