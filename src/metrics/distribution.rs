//! Many values in little memory: how often each value has occurred, within one per cent.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Two digits of each value are kept: it is known within one per cent, and a histogram that has seen a nanosecond and an
/// hour takes 37 KB.
const DIGITS: u8 = 2;

/// Values of one kind. The sum is exact.
#[derive(Clone, Debug)]
struct Recorded {
    histogram: Histogram<u64>,
    sum: u64,
}

impl Recorded {
    fn record(&mut self, value: u64) {
        // It grows to what it has to hold. What is too large for that, more than 292 years, counts as its largest value.
        if self.histogram.record(value).is_err() {
            self.histogram.saturating_record(value);
        }
        self.sum = self.sum.saturating_add(value);
    }

    fn since(&self, earlier: &Recorded) -> Recorded {
        let mut histogram = self.histogram.clone();
        // It can only fail where the earlier one holds what the later one does not.
        if histogram.subtract(&earlier.histogram).is_err() {
            return self.clone();
        }
        let sum = self.sum.saturating_sub(earlier.sum);
        Recorded { histogram, sum }
    }

    /// How many values were at most as large as each bound; the bounds rise.
    fn at_most(&self, bounds: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut recorded = self.histogram.iter_recorded().peekable();
        let mut count = 0;
        let mut up_to = |bound| {
            while let Some(step) = recorded.next_if(|step| step.value_iterated_to() <= bound) {
                count += step.count_since_last_iteration();
            }
            count
        };
        // The histogram names a value by the largest of those that it holds to be equal. A bound stands for its equals.
        bounds
            .map(|bound| up_to(self.histogram.highest_equivalent(bound)))
            .collect()
    }
}

impl Default for Recorded {
    fn default() -> Recorded {
        let histogram = Histogram::new(DIGITS).expect("a number of digits from 0 to 5");
        Recorded { histogram, sum: 0 }
    }
}

/// The distribution of durations, one for each event.
///
/// ```
/// use slabloop::Reactor;
/// use slabloop::metrics::Metrics;
///
/// let mut reactor = Reactor::builder().observer(Metrics::new).build()?;
/// let turns = reactor.metrics().turn_work;
/// println!("median {:?}, p99 {:?}, longest {:?}", turns.quantile(0.5), turns.quantile(0.99), turns.max());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Durations(Recorded);

impl Durations {
    pub(super) fn record(&mut self, duration: Duration) {
        self.0.record(nanos(duration));
    }

    /// The number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.histogram.len()
    }

    /// The exact sum.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.sum)
    }

    /// The mean; zero if there is no value.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let nanos = self.0.sum.checked_div(self.count());
        Duration::from_nanos(nanos.unwrap_or(0))
    }

    /// The longest, rounded up by at most one per cent.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.histogram.max())
    }

    /// A quantile, rounded up by at most one per cent: 0.5 is the median, and 0.99 is exceeded by one value in a
    /// hundred. `part` is from 0 to 1. Zero if there is no value.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Duration {
        Duration::from_nanos(self.0.histogram.value_at_quantile(part))
    }

    /// The distribution since `earlier`, which is an older copy of the same one.
    ///
    /// ```
    /// use slabloop::Reactor;
    /// use slabloop::metrics::Metrics;
    /// use std::time::Duration;
    ///
    /// let mut reactor = Reactor::builder().observer(Metrics::new).build()?;
    /// let before = reactor.metrics();
    /// reactor.turn(Duration::ZERO)?;
    /// let now = reactor.metrics();
    /// assert_eq!(now.turn_work.since(&before.turn_work).count(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Durations) -> Durations {
        Durations(self.0.since(&earlier.0))
    }

    /// The histogram, in nanoseconds.
    #[must_use]
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0.histogram
    }

    /// How many were at most as long as each bound, in seconds; the bounds rise.
    pub(super) fn at_most(&self, bounds: &[f64]) -> Vec<u64> {
        let bounds = bounds.iter();
        self.0
            .at_most(bounds.map(|seconds| nanos(Duration::from_secs_f64(*seconds))))
    }
}

/// The distribution of counts or sizes, one for each event.
#[derive(Clone, Debug, Default)]
pub struct Sizes(Recorded);

impl Sizes {
    pub(super) fn record(&mut self, size: u64) {
        self.0.record(size);
    }

    /// The number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.histogram.len()
    }

    /// The exact sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.sum
    }

    /// The largest, rounded up by at most one per cent.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.0.histogram.max()
    }

    /// A quantile; see [`Durations::quantile`].
    #[must_use]
    pub fn quantile(&self, part: f64) -> u64 {
        self.0.histogram.value_at_quantile(part)
    }

    /// The distribution since `earlier`, which is an older copy of the same one.
    #[must_use]
    pub fn since(&self, earlier: &Sizes) -> Sizes {
        Sizes(self.0.since(&earlier.0))
    }

    /// The histogram.
    #[must_use]
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0.histogram
    }

    /// How many were at most as large as each bound; the bounds rise.
    pub(super) fn at_most(&self, bounds: &[u64]) -> Vec<u64> {
        self.0.at_most(bounds.iter().copied())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_per_cent_and_the_sum_is_exact() {
        let mut durations = Durations::default();
        for micros in 1..=10_000 {
            durations.record(Duration::from_micros(micros));
        }
        assert_eq!(durations.count(), 10_000);
        assert_eq!(durations.total(), Duration::from_micros(50_005_000));
        assert_eq!(durations.mean(), Duration::from_nanos(5_000_500));
        for (part, micros) in [(0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let off = durations.quantile(part).as_secs_f64() / (micros * 1e-6);
            assert!((1.0..1.01).contains(&off), "{part} is off by {off}");
        }
    }

    #[test]
    fn a_bound_counts_what_is_equal_to_it() {
        let mut sizes = Sizes::default();
        for size in [0, 0, 1, 5, 1_000, 1_001, 90_000] {
            sizes.record(size);
        }
        assert_eq!(sizes.at_most(&[0, 1, 4, 5, 999_999]), [2, 3, 3, 4, 7]);
        let mut durations = Durations::default();
        durations.record(Duration::from_millis(1));
        durations.record(Duration::from_millis(2));
        assert_eq!(durations.at_most(&[0.000_9, 0.001, 0.002]), [0, 1, 2]);
    }

    #[test]
    fn the_difference_is_what_came_after() {
        let mut durations = Durations::default();
        durations.record(Duration::from_secs(3600));
        let earlier = durations.clone();
        durations.record(Duration::from_millis(2));
        let since = durations.since(&earlier);
        assert_eq!(
            (since.count(), since.total()),
            (1, Duration::from_millis(2))
        );
        assert!(since.max() < Duration::from_millis(3));
    }

    #[test]
    fn sizes_have_a_largest_quantiles_and_differences_as_well() {
        let mut sizes = Sizes::default();
        sizes.record(90_000);
        let earlier = sizes.clone();
        for size in 1..=100 {
            sizes.record(size);
        }
        let since = sizes.since(&earlier);
        assert_eq!((since.count(), since.total()), (100, 5_050));
        assert_eq!((since.max(), since.quantile(0.5)), (100, 50));
        assert!((90_000..90_900).contains(&sizes.max()));
    }

    #[test]
    fn what_is_longer_than_a_century_does_no_harm() {
        let mut durations = Durations::default();
        durations.record(Duration::MAX);
        durations.record(Duration::MAX);
        assert_eq!(durations.count(), 2);
    }
}
