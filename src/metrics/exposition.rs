//! Prometheus' text format 0.0.4: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use super::Histogram;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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

/// One metric of the page, to which samples are added.
pub struct Metric<'a> {
    page: &'a mut Page,
    name: &'a str,
}

impl Page {
    pub fn counter<'a>(&'a mut self, name: &'a str, help: &str) -> Metric<'a> {
        self.metric(name, "counter", help)
    }

    pub fn gauge<'a>(&'a mut self, name: &'a str, help: &str) -> Metric<'a> {
        self.metric(name, "gauge", help)
    }

    pub fn histogram<'a>(&'a mut self, name: &'a str, help: &str) -> Metric<'a> {
        self.metric(name, "histogram", help)
    }

    pub fn into_text(self) -> String {
        self.0
    }

    fn metric<'a>(&'a mut self, name: &'a str, kind: &str, help: &str) -> Metric<'a> {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}"); // writing to a String cannot fail
        Metric { page: self, name }
    }
}

impl Metric<'_> {
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.line("", labels, value);
    }

    /// Counts may grow while this reads them: the total is the sum of those read, so that it matches the buckets.
    pub fn distribution(&mut self, labels: &[Label<'_>], unit: Unit, histogram: &Histogram) {
        let mut count = 0;
        let bounds = histogram.bounds.iter().map(|bound| unit.text(*bound)).chain(["+Inf".to_owned()]);
        for (bound, counted) in bounds.zip(&histogram.counts) {
            count += counted.load(Ordering::Relaxed);
            self.line("_bucket", &[labels, &[("le", &bound)]].concat(), count);
        }
        self.line("_sum", labels, unit.text(histogram.sum.load(Ordering::Relaxed)));
        self.line("_count", labels, count);
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.page.0, "{}{suffix}{labels} {value}", self.name);
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
        page.counter("a_total", "What it is.").sample(&[("x", "a\"b\\c\nd"), ("y", "")], 3);
        page.histogram("b_seconds", "How long.").distribution(&[("x", "y")], Unit::Microseconds, &histogram);
        page.gauge("c", "One.").sample(&[], 7);
        let expected = "# HELP a_total What it is.\n# TYPE a_total counter\n\
                        a_total{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 3\n\
                        # HELP b_seconds How long.\n# TYPE b_seconds histogram\n\
                        b_seconds_bucket{x=\"y\",le=\"0.0005\"} 2\nb_seconds_bucket{x=\"y\",le=\"1\"} 3\n\
                        b_seconds_bucket{x=\"y\",le=\"+Inf\"} 4\nb_seconds_sum{x=\"y\"} 2.0013\n\
                        b_seconds_count{x=\"y\"} 4\n# HELP c One.\n# TYPE c gauge\nc 7\n";
        assert_eq!(page.into_text(), expected);
    }
}
