//! The part of a page that a program writes: what is between two comments with its name.

use std::fs;
use std::path::Path;

use crate::cli::{Doing, Error, Result};

/// Whose part it is.
#[derive(Clone, Copy, Debug)]
pub struct Part(pub &'static str);

impl Part {
    fn begin(self) -> String {
        format!("<!-- written by {}: begin -->\n", self.0)
    }

    fn end(self) -> String {
        format!("<!-- written by {}: end -->\n", self.0)
    }

    /// What is before, in and after the part, the comments excepted.
    #[must_use]
    pub fn split(self, text: &str) -> Option<(&str, &str, &str)> {
        let (before, rest) = text.split_once(&self.begin())?;
        let (part, after) = rest.split_once(&self.end())?;
        Some((before, part, after))
    }

    /// The part as it stands in a page, comments and all.
    #[must_use]
    pub fn framed(self, part: &str) -> String {
        format!("{}\n{}\n\n{}", self.begin(), part.trim(), self.end())
    }

    /// Whether the page has a place for it.
    ///
    /// # Errors
    ///
    /// A page that is not there, or has none.
    pub fn check(self, page: &Path) -> Result<()> {
        let text = fs::read_to_string(page).doing(page.display())?;
        let split = self.split(&text);
        split.map(drop).ok_or_else(|| self.no_place(page))
    }

    /// Puts the part into the page.
    ///
    /// # Errors
    ///
    /// As [`check`](Part::check).
    pub fn write(self, page: &Path, part: &str) -> Result<()> {
        let text = fs::read_to_string(page).doing(page.display())?;
        let (before, _, after) = self.split(&text).ok_or_else(|| self.no_place(page))?;
        let text = format!("{before}{}{after}", self.framed(part));
        fs::write(page, text).doing(page.display())
    }

    fn no_place(self, page: &Path) -> Error {
        let (page, begin, end) = (page.display(), self.begin(), self.end());
        Error::Usage(format!(
            "--page {page}: it has no lines {begin:?} and {end:?}"
        ))
    }
}

#[cfg(test)]
mod tests {
    //! Pages with a part, and without.

    use super::*;

    #[test]
    fn a_part_is_found_again_as_it_was_put() {
        let part = Part("somebody");
        let page = format!("before\n{}after\n", part.framed("the part"));
        assert_eq!(
            part.split(&page),
            Some(("before\n", "\nthe part\n\n", "after\n"))
        );
        assert_eq!(Part("somebody else").split(&page), None);
    }
}
