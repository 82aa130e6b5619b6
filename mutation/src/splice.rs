//! Insertions into a text, and where each mutant is in what comes of it.

use std::ops::Range;

/// What is put into a text.
#[derive(Debug, Default)]
pub(crate) struct Splice {
    insertions: Vec<Insertion>,
    mutants: Vec<u32>,
    /// What is chosen between: first and last insertion, and the mutants.
    choices: Vec<(usize, usize, Vec<u32>)>,
    /// Parts of the text where errors of these mutants are seen.
    watched: Vec<(Range<usize>, Vec<u32>)>,
}

#[derive(Debug)]
struct Insertion {
    at: usize,
    /// It ends what another insertion began.
    closes: bool,
    text: String,
    /// Which part of `text` is whose.
    marks: Vec<(u32, Range<usize>)>,
}

/// A part of the text that has come of it.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) range: Range<usize>,
    pub(crate) mutants: Vec<u32>,
}

fn test(id: u32) -> String {
    format!("crate::mutant::on({id})")
}

impl Splice {
    /// The mutants that have a switch.
    pub(crate) fn mutants(&self) -> &[u32] {
        &self.mutants
    }

    /// A mutant's switch between two texts.
    pub(crate) fn insert(&mut self, at: usize, id: u32, before: &str, after: &str) {
        let text = format!("{before}{}{after}", test(id));
        let marks = vec![(id, 0..text.len())];
        self.push(at, false, text, marks);
        self.mutants.push(id);
    }

    /// The expression at `whole`, or that of the mutant which is on.
    pub(crate) fn choose(
        &mut self,
        whole: Range<usize>,
        open: &str,
        mutants: impl Iterator<Item = (u32, String)>,
    ) {
        let mut text = open.to_owned();
        let mut marks = Vec::new();
        for (id, mutant) in mutants {
            let start = text.len();
            text.push_str(&format!("if {} {{ ({mutant}) }}", test(id)));
            marks.push((id, start..text.len()));
            text.push_str(" else ");
            self.mutants.push(id);
        }
        text.push_str("{ (");
        let ids = marks.iter().map(|(id, _)| *id).collect();
        let first = self.push(whole.start, false, text, marks);
        let last = self.push(whole.end, true, ") })".to_owned(), Vec::new());
        self.choices.push((first, last, ids));
    }

    /// The condition at `whole`, and that the mutant is not on.
    pub(crate) fn and_not(&mut self, whole: Range<usize>, id: u32) {
        let text = format!("!{} && (", test(id));
        let marks = vec![(id, 0..text.len())];
        self.push(whole.start, false, text, marks);
        self.push(whole.end, true, ")".to_owned(), Vec::new());
        self.mutants.push(id);
    }

    /// An error at `place` is the fault of one of `mutants`.
    pub(crate) fn watch(&mut self, place: Range<usize>, mutants: Vec<u32>) {
        if !mutants.is_empty() {
            self.watched.push((place, mutants));
        }
    }

    fn push(
        &mut self,
        at: usize,
        closes: bool,
        text: String,
        marks: Vec<(u32, Range<usize>)>,
    ) -> usize {
        self.insertions.push(Insertion {
            at,
            closes,
            text,
            marks,
        });
        self.insertions.len() - 1
    }

    /// The text with all that is inserted; the marks of single mutants, and those of places with several.
    pub(crate) fn apply(&self, text: &str) -> (String, Vec<Mark>, Vec<Mark>) {
        // At one place what was opened last is closed first, and all that ends is closed before something begins.
        let mut order: Vec<usize> = (0..self.insertions.len()).collect();
        order.sort_by_key(|&index| {
            let one = &self.insertions[index];
            let turn = if one.closes {
                self.insertions.len() - index
            } else {
                index
            };
            (one.at, !one.closes, turn)
        });
        let mut spliced = String::new();
        let mut starts = vec![0; self.insertions.len()];
        let mut single = Vec::new();
        let mut done = 0;
        for index in order {
            let one = &self.insertions[index];
            spliced.push_str(&text[done..one.at]);
            done = one.at;
            starts[index] = spliced.len();
            for (id, range) in &one.marks {
                single.push(Mark {
                    range: range.start + spliced.len()..range.end + spliced.len(),
                    mutants: vec![*id],
                });
            }
            spliced.push_str(&one.text);
        }
        spliced.push_str(&text[done..]);
        let several = self.choices.iter().map(|(first, last, ids)| Mark {
            range: starts[*first]..starts[*last] + self.insertions[*last].text.len(),
            mutants: ids.clone(),
        });
        let moved = |at: usize| {
            let before = self
                .insertions
                .iter()
                .filter(|one| one.at < at || (one.at == at && one.closes));
            at + before.map(|one| one.text.len()).sum::<usize>()
        };
        let watched = self.watched.iter().map(|(place, ids)| Mark {
            range: moved(place.start)..moved(place.end),
            mutants: ids.clone(),
        });
        (spliced, single, several.chain(watched).collect())
    }
}
