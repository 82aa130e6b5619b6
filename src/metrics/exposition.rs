//! A snapshot as text for Prometheus.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::families::{Family, Kind, Value};
use super::snapshot::Snapshot;

/// The `Content-Type` for an answer with [`Snapshot::to_prometheus`].
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

impl Snapshot {
    /// The figures in the text format of Prometheus, version 0.0.4: the answer to a request for `/metrics`. A program
    /// can append figures of its own.
    ///
    /// ```
    /// use slabloop::Reactor;
    /// use slabloop::metrics::CONTENT_TYPE;
    ///
    /// let mut reactor = Reactor::new()?;
    /// let body = reactor.metrics().to_prometheus();
    /// let answer = format!(
    ///     "HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {}\r\n\r\n{body}",
    ///     body.len()
    /// );
    /// assert!(body.contains("slabloop_turns_total"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a string takes everything")]
    pub fn to_prometheus(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Page(self.families())));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).expect("a string takes everything");
        text
    }
}

/// What is written. A registry has to own it.
#[derive(Debug)]
struct Page(Vec<Family>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let with_values = self.0.iter().filter(|family| !family.samples.is_empty());
        for family in with_values {
            encode_family(family, &mut encoder)?;
        }
        Ok(())
    }
}

fn encode_family(family: &Family, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let (kind, name) = match family.kind {
        // The encoder adds the `_total`.
        Kind::Counter => (MetricType::Counter, family.name.trim_end_matches("_total")),
        Kind::Gauge => (MetricType::Gauge, family.name),
        Kind::Histogram => (MetricType::Histogram, family.name),
    };
    let mut metric = encoder.encode_descriptor(name, family.help, None, kind)?;
    for sample in &family.samples {
        match sample.label {
            Some(label) => encode_value(&sample.value, kind, &mut metric.encode_family(&[label])?)?,
            None => encode_value(&sample.value, kind, &mut metric)?,
        }
    }
    Ok(())
}

fn encode_value(value: &Value, kind: MetricType, metric: &mut MetricEncoder<'_>) -> fmt::Result {
    match (value, kind) {
        (Value::Count(count), MetricType::Counter) => {
            metric.encode_counter::<NoLabelSet, _, u64>(count, None)
        }
        (Value::Amount(amount), MetricType::Counter) => {
            metric.encode_counter::<NoLabelSet, _, u64>(amount, None)
        }
        (Value::Count(count), _) => metric.encode_gauge(count),
        (Value::Amount(amount), _) => metric.encode_gauge(amount),
        (Value::Histogram(histogram), _) => {
            let mut before = 0;
            let mut buckets: Vec<_> = histogram
                .at_most
                .iter()
                .map(|(bound, at_most)| {
                    let within = at_most - before;
                    before = *at_most;
                    (*bound, within)
                })
                .collect();
            buckets.push((f64::INFINITY, histogram.count - before));
            metric.encode_histogram::<NoLabelSet>(histogram.sum, histogram.count, &buckets, None)
        }
    }
}
