//! Pages of Markdown, as far as the checks need them: blocks, links, headings.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ is in the root").to_owned()
}

/// The last part of a path.
pub(crate) fn file_name(path: &Path) -> String {
    let name = path.file_name().expect("it ends in a name");
    name.to_string_lossy().into_owned()
}

/// Those at the top, and all that are in `docs/`.
pub(crate) fn all_pages() -> Vec<Page> {
    let at_the_top = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ];
    let mut pages: Vec<Page> = at_the_top.map(|name| Page::read(&root().join(name))).into();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                pages.push(Page::read(&path));
            }
        }
    }
    assert!(pages.len() > 5, "the pages have moved");
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    pages
}

/// A page, cut into what is code and what is not.
pub(crate) struct Page {
    pub(crate) path: PathBuf,
    /// All lines, in code and out of it.
    pub(crate) lines: Vec<String>,
    /// Lines that are not in a block of code, with their numbers, which begin with 1.
    pub(crate) prose: Vec<(usize, String)>,
    pub(crate) blocks: Vec<Block>,
}

/// A block between two fences.
pub(crate) struct Block {
    /// The number of the line with the first fence.
    pub(crate) line: usize,
    /// The comment before it, without its brackets.
    mark: Option<String>,
    pub(crate) lines: Vec<String>,
}

impl Page {
    pub(crate) fn read(path: &Path) -> Page {
        let text = fs::read_to_string(path).unwrap_or_else(|_| panic!("{}", path.display()));
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let (mut prose, mut blocks) = (Vec::<(usize, String)>::new(), Vec::<Block>::new());
        let mut inside = false;
        for (number, line) in lines.iter().enumerate().map(|(at, line)| (at + 1, line)) {
            if line.trim_start().starts_with("```") {
                inside = !inside;
                if inside {
                    let before = prose.iter().rev().find(|(_, line)| !line.trim().is_empty());
                    let mark = before.and_then(|(at, line)| {
                        let text = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?;
                        (at + 2 >= number).then(|| text.trim().to_owned())
                    });
                    let (line, lines) = (number, Vec::new());
                    blocks.push(Block { line, mark, lines });
                }
            } else if inside {
                let block = blocks.last_mut().expect("a fence was before it");
                block.lines.push(line.clone());
            } else {
                prose.push((number, line.clone()));
            }
        }
        let path = path.to_owned();
        Page {
            path,
            lines,
            prose,
            blocks,
        }
    }

    pub(crate) fn name(&self) -> String {
        file_name(&self.path)
    }

    /// A finding, with the place where it was found.
    pub(crate) fn at(&self, line: usize, what: &str) -> String {
        let root = root();
        let path = self.path.strip_prefix(&root).unwrap_or(&self.path);
        format!("{}:{line}: {what}", path.display())
    }

    /// Whether a link to `#slug` leads somewhere, by the rules of the usual git hosts.
    pub(crate) fn has_heading(&self, slug: &str) -> bool {
        let mut slugs = Vec::new();
        for (_, line) in &self.prose {
            if line.starts_with('#') {
                let mut made = slug_of(line.trim_start_matches('#').trim());
                let same = slugs.iter().filter(|(plain, _)| *plain == made).count();
                let plain = made.clone();
                if same > 0 {
                    made = format!("{made}-{same}");
                }
                slugs.push((plain, made));
            }
        }
        slugs.iter().any(|(_, made)| made == slug)
    }
}

fn slug_of(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

impl Block {
    /// What the comment before the block says after `word`, if it begins with that.
    pub(crate) fn marked(&self, word: &str) -> Option<&str> {
        let rest = self.mark.as_deref()?.strip_prefix(word)?;
        match rest.chars().next() {
            None | Some(' ' | ':') => Some(rest.trim_start_matches(':').trim()),
            Some(_) => None,
        }
    }

    /// Each command in the block, with the number of its line and what the page shows below it.
    pub(crate) fn runs(&self) -> Vec<(usize, String, String)> {
        let mut runs: Vec<(usize, String, String)> = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            if let Some(command) = line.strip_prefix("$ ") {
                runs.push((self.line + 1 + at, command.to_owned(), String::new()));
            } else if let Some((_, _, shown)) = runs.last_mut() {
                shown.push_str(line);
                shown.push('\n');
            }
        }
        runs
    }
}

/// The links of a page that do not lead out of the repository, with the numbers of their lines.
pub(crate) fn links(page: &Page) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in &page.prose {
        let line = without_code(line);
        for (begin, end) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
            for rest in line.split(begin).skip(1) {
                let target = rest.split(end).next().unwrap_or_default();
                let target = target.split_whitespace().next().unwrap_or_default();
                if !target.contains("://") && !target.starts_with("mailto:") {
                    links.push((*number, target.to_owned()));
                }
            }
        }
    }
    links
}

/// A line with what is between backticks taken out.
fn without_code(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').collect();
    let prose = parts.iter().step_by(2).copied();
    prose.collect::<Vec<_>>().join("``")
}
