//! Lines of user code.

use crate::frame::MARK;

/// Lines above the measuring frame that are neither blank nor comments. `comment` is what begins one: `//`, or `#`, to
/// which Python's texts of documentation are added, in three quotation marks.
#[must_use]
pub fn of_user_code(source: &str, comment: &str) -> usize {
    let mark = format!("{comment}{MARK}");
    let mut in_text = false;
    let counts = |line: &str| {
        let marks = line.matches("\"\"\"").count();
        let is_text = in_text || line.starts_with("\"\"\"");
        in_text ^= marks % 2 == 1;
        !(is_text || line.is_empty() || line.starts_with(comment))
    };
    source
        .lines()
        .map(str::trim)
        .take_while(|line| *line != mark)
        .map(counts)
        .filter(|&counts| counts)
        .count()
}

#[cfg(test)]
mod tests {
    //! Small programs, counted by eye.

    use super::*;

    #[test]
    fn blank_lines_comments_and_the_frame_do_not_count() {
        let rust = "//! Adds.\n\n/// One.\nfn add() {\n    // More.\n    more();\n}\n\n// The measuring frame.\nfn main() {}\n";
        assert_eq!(of_user_code(rust, "//"), 3);
        let python = "\"\"\"Adds.\n\nMore.\n\"\"\"\n\nimport more\n# One.\ndef add():\n    \"\"\"One.\"\"\"\n    more()\n\n# The measuring frame.\nadd()\n";
        assert_eq!(of_user_code(python, "#"), 3);
    }
}
