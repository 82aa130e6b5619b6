//! A figure for code that writes or sends figures: a name, a kind, a value.

use std::time::Duration;

use super::distribution::{Durations, Sizes};

/// From ten microseconds to ten seconds, about three for each power of ten.
const SECONDS: [f64; 19] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Up to what one wait takes by default.
const NUMBERS: [u64; 11] = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];

/// All figures of one name.
///
/// ```
/// use slabloop::Reactor;
/// use slabloop::metrics::Value;
///
/// let mut reactor = Reactor::new()?;
/// for family in reactor.metrics().families() {
///     for sample in &family.samples {
///         if let Value::Count(count) = sample.value {
///             println!("{} {:?} {count}", family.name, sample.label);
///         }
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Family {
    /// The name, with the unit and, for counters, with `_total`.
    pub name: &'static str,
    /// The description, in a sentence.
    pub help: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The figures.
    pub samples: Vec<Sample>,
}

/// The kind of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// It only grows, and starts from 0 with the program.
    Counter,
    /// It rises and falls.
    Gauge,
    /// A distribution of values.
    Histogram,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// The label that distinguishes it from the others of its family, if there are others: `("cause", "reset")`.
    pub label: Option<(&'static str, &'static str)>,
    /// The value.
    pub value: Value,
}

/// The value of a figure.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// A quantity, in the unit at the end of the name.
    Amount(f64),
    /// Values by size.
    Histogram(Histogram),
}

/// Values by size.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Histogram {
    /// How many there were.
    pub count: u64,
    /// All of them together.
    pub sum: f64,
    /// How many were at most as large as a bound; the bounds rise.
    pub at_most: Vec<(f64, u64)>,
}

/// Families as they come.
#[derive(Default)]
pub(super) struct Families(pub(super) Vec<Family>);

impl Families {
    pub(super) fn one(&mut self, name: &'static str, help: &'static str, kind: Kind, value: Value) {
        let sample = Sample { label: None, value };
        self.add(name, help, kind, vec![sample]);
    }

    pub(super) fn counters<const N: usize>(&mut self, all: [(&'static str, &'static str, u64); N]) {
        for (name, help, count) in all {
            self.one(name, help, Kind::Counter, Value::Count(count));
        }
    }

    pub(super) fn labelled<V: Into<Value>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        key: &'static str,
        values: impl IntoIterator<Item = (&'static str, V)>,
    ) {
        let samples = values.into_iter().map(|(label, value)| Sample {
            label: Some((key, label)),
            value: value.into(),
        });
        self.add(name, help, kind, samples.collect());
    }

    fn add(&mut self, name: &'static str, help: &'static str, kind: Kind, samples: Vec<Sample>) {
        self.0.push(Family {
            name,
            help,
            kind,
            samples,
        });
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Value {
        Value::Count(count)
    }
}

impl From<Duration> for Value {
    fn from(duration: Duration) -> Value {
        Value::Amount(duration.as_secs_f64())
    }
}

impl From<&Durations> for Value {
    fn from(durations: &Durations) -> Value {
        let counts = durations.at_most(&SECONDS);
        Value::Histogram(Histogram {
            count: durations.count(),
            sum: durations.total().as_secs_f64(),
            at_most: SECONDS.into_iter().zip(counts).collect(),
        })
    }
}

impl From<&Sizes> for Value {
    fn from(sizes: &Sizes) -> Value {
        let counts = sizes.at_most(&NUMBERS);
        let bounds = NUMBERS.into_iter().map(|bound| bound as f64);
        Value::Histogram(Histogram {
            count: sizes.count(),
            sum: sizes.total() as f64,
            at_most: bounds.zip(counts).collect(),
        })
    }
}
