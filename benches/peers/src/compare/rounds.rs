//! In turn, A B C A B C, and the arithmetic on what comes out.

use std::io::{self, IsTerminal, Write};

use super::peers::Peer;
use crate::cli::Result;

/// What one participant's runs brought, in the order of the rounds.
#[derive(Debug)]
pub struct Runs<T> {
    /// The participant's name.
    pub name: &'static str,
    /// One for each round; fewer where one failed.
    pub samples: Vec<T>,
}

/// Someone who takes part under a name: a peer, or a finished program such as nginx.
pub trait Participant {
    /// The name in the tables.
    fn name(&self) -> &'static str;
}

impl Participant for &Peer {
    fn name(&self) -> &'static str {
        self.name
    }
}

/// Runs every participant once a round. Who fails is out from then on, and the notes say why.
pub fn in_turn<P: Participant, T>(
    what: &str,
    rounds: usize,
    participants: &[P],
    notes: &mut Vec<String>,
    run: impl Fn(&P) -> Result<T>,
) -> Vec<Runs<T>> {
    let mut all: Vec<_> = participants
        .iter()
        .map(|who| Runs {
            name: who.name(),
            samples: Vec::new(),
        })
        .collect();
    let mut failed = vec![None; participants.len()];
    for round in 1..=rounds {
        for (index, participant) in participants.iter().enumerate() {
            if failed[index].is_some() {
                continue;
            }
            tell(&format!(
                "{what}, round {round} of {rounds}: {}",
                participant.name()
            ));
            match run(participant) {
                Ok(sample) => all[index].samples.push(sample),
                Err(error) => failed[index] = Some(error.to_string()),
            }
        }
    }
    tell("");
    for (participant, error) in participants.iter().zip(failed) {
        if let Some(error) = error {
            notes.push(format!(
                "{} failed in \"{what}\": {error}",
                participant.name()
            ));
        }
    }
    all
}

/// One line of progress that the next one overwrites, where somebody watches.
fn tell(line: &str) {
    if io::stderr().is_terminal() {
        // A terminal that went away is no reason to stop measuring.
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
    }
}

/// The median of a figure over the rounds; `None` if there is no round.
pub fn median<T>(runs: &Runs<T>, figure: impl Fn(&T) -> f64) -> Option<f64> {
    middle(runs.samples.iter().map(figure).collect())
}

/// The median of the ratios within each round to another participant of the same rounds.
pub fn ratio<T>(
    all: &[Runs<T>],
    base: &str,
    runs: &Runs<T>,
    figure: impl Fn(&T) -> f64,
) -> Option<f64> {
    let base = all.iter().find(|runs| runs.name == base)?;
    let pairs = runs.samples.iter().zip(&base.samples);
    middle(
        pairs
            .map(|(sample, base)| figure(sample) / figure(base))
            .collect(),
    )
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        count if count.is_multiple_of(2) => Some(f64::midpoint(values[half - 1], values[half])),
        _ => Some(values[half]),
    }
}

#[cfg(test)]
mod tests {
    //! Medians and ratios on numbers small enough to check by eye.

    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(middle(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(middle(vec![5.0, 1.0, 9.0]), Some(5.0));
        assert_eq!(middle(Vec::new()), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let all = [
            Runs {
                name: "base",
                samples: vec![1.0, 10.0, 100.0],
            },
            Runs {
                name: "other",
                samples: vec![2.0, 20.0, 300.0],
            },
        ];
        assert_eq!(ratio(&all, "base", &all[1], |value| *value), Some(2.0));
        assert_eq!(ratio(&all, "nobody", &all[1], |value| *value), None);
    }
}
