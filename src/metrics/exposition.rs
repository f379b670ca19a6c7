//! Prometheus' text format 0.0.4: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use super::Histogram;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The type of a metric.
#[derive(Clone, Copy)]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
}

/// The unit of a histogram's whole numbers.
#[derive(Clone, Copy)]
pub enum Unit {
    /// Microseconds, exposed in seconds.
    Microseconds,
    Count,
}

/// A label's name and value.
pub type Label<'a> = (&'a str, &'a str);

/// Collects the text of the page.
#[derive(Default)]
pub struct Page(String);

impl Page {
    /// Starts a metric; its samples follow.
    pub fn metric(&mut self, name: &str, kind: MetricType, help: &str) {
        let kind = match kind {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}"); // writing to a String cannot fail
    }

    pub fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.0.push_str(name);
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        if !labels.is_empty() {
            let _ = write!(self.0, "{{{}}}", labels.join(","));
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A metric of one sample.
    pub fn single(&mut self, name: &str, kind: MetricType, help: &str, value: u64) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }

    /// Counts may grow while this reads them: the total is the sum of those read, so that it matches the buckets.
    pub fn histogram(&mut self, name: &str, labels: &[Label<'_>], unit: Unit, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        let bounds = histogram.bounds.iter().map(|bound| unit.text(*bound)).chain(["+Inf".to_owned()]);
        for (bound, counted) in bounds.zip(&histogram.counts) {
            count += counted.load(Ordering::Relaxed);
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            self.sample(&bucket, &labels, count);
        }
        self.sample(&format!("{name}_sum"), labels, unit.text(histogram.sum.load(Ordering::Relaxed)));
        self.sample(&format!("{name}_count"), labels, count);
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

impl Unit {
    fn text(self, value: u64) -> String {
        match self {
            Unit::Microseconds => (value as f64 / 1e6).to_string(),
            Unit::Count => value.to_string(),
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_text_format() {
        let histogram = Histogram::new(&[500, 1_000_000]);
        for value in [100, 500, 700, 2_000_000] {
            histogram.observe(value);
        }
        let mut page = Page::default();
        page.metric("a_total", MetricType::Counter, "What it is.");
        page.sample("a_total", &[("x", "a\"b\\c\nd"), ("y", "")], 3);
        page.metric("b_seconds", MetricType::Histogram, "How long.");
        page.histogram("b_seconds", &[("x", "y")], Unit::Microseconds, &histogram);
        page.single("c", MetricType::Gauge, "One.", 7);
        let expected = "# HELP a_total What it is.\n# TYPE a_total counter\n\
                        a_total{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 3\n\
                        # HELP b_seconds How long.\n# TYPE b_seconds histogram\n\
                        b_seconds_bucket{x=\"y\",le=\"0.0005\"} 2\nb_seconds_bucket{x=\"y\",le=\"1\"} 3\n\
                        b_seconds_bucket{x=\"y\",le=\"+Inf\"} 4\nb_seconds_sum{x=\"y\"} 2.0013\n\
                        b_seconds_count{x=\"y\"} 4\n# HELP c One.\n# TYPE c gauge\nc 7\n";
        assert_eq!(page.into_text(), expected);
    }
}
