//! Sums over workers, by label values, on the way from cells to a scrape.
//!
//! Sums are by name and not by index, because after a reload workers with the old and with the new configuration's
//! indices count side by side for a while.

use std::collections::BTreeMap;

use prometheus::proto;

use super::catalog::{Family, Kind};
use super::histogram;

/// Label values, in the order of [`Family::labels`].
type Values = Vec<String>;

/// What has been counted so far, for every family and set of label values.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    numbers: BTreeMap<&'static str, BTreeMap<Values, u64>>,
    histograms: BTreeMap<&'static str, BTreeMap<Values, [u64; histogram::CELLS]>>,
}

impl Totals {
    /// Adds to a counter or a level. Levels add up wrapping: one worker may count what another one opened.
    pub(super) fn add(&mut self, family: &Family, values: &[&str], by: u64) {
        let number = self.numbers.entry(family.name).or_default().entry(owned(values)).or_default();
        *number = number.wrapping_add(by);
    }

    /// Adds the cells of one histogram, in the layout of [`histogram`].
    pub(super) fn add_histogram(&mut self, family: &Family, values: &[&str], cell: impl Fn(usize) -> u64) {
        let cells = self
            .histograms
            .entry(family.name)
            .or_default()
            .entry(owned(values))
            .or_insert([0; histogram::CELLS]);
        for (index, total) in cells.iter_mut().enumerate() {
            *total += cell(index);
        }
    }

    /// The samples of one family.
    pub(super) fn expose(&self, family: &Family) -> proto::MetricFamily {
        let numbers = self.numbers.get(family.name).into_iter().flatten();
        let histograms = self.histograms.get(family.name).into_iter().flatten();
        let metrics = numbers
            .map(|(values, number)| expose_number(family, values, whole(family, *number)))
            .chain(histograms.map(|(values, cells)| expose_histogram(family, values, cells)))
            .collect();
        exposed(family, metrics)
    }
}

/// A family with one sample, without labels.
pub(super) fn expose_one(family: &Family, value: f64) -> proto::MetricFamily {
    exposed(family, vec![expose_number(family, &[], value)])
}

fn exposed(family: &Family, metrics: Vec<proto::Metric>) -> proto::MetricFamily {
    let mut exposed = proto::MetricFamily::default();
    exposed.set_name(family.name.to_owned());
    exposed.set_help(family.help.to_owned());
    exposed.set_field_type(match family.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
        Kind::Histogram => proto::MetricType::HISTOGRAM,
    });
    exposed.set_metric(metrics);
    exposed
}

/// Cells are read one after the other while workers write, so a level may be seen as one below zero.
fn whole(family: &Family, number: u64) -> f64 {
    if family.kind == Kind::Gauge { number.cast_signed().max(0) as f64 } else { number as f64 }
}

fn expose_number(family: &Family, values: &[String], value: f64) -> proto::Metric {
    let mut metric = labelled(family, values);
    if family.kind == Kind::Counter {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn expose_histogram(family: &Family, values: &[String], cells: &[u64; histogram::CELLS]) -> proto::Metric {
    let mut count = 0;
    let buckets = (0..histogram::BOUNDED)
        .map(|index| {
            count += cells[index];
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(histogram::bound(index) as f64 / 1e6);
            bucket.set_cumulative_count(count);
            bucket
        })
        .collect();
    let mut exposed = proto::Histogram::default();
    exposed.set_bucket(buckets);
    exposed.set_sample_count(count + cells[histogram::BOUNDED]);
    exposed.set_sample_sum(cells[histogram::SUM] as f64 / 1e6);
    let mut metric = labelled(family, values);
    metric.set_histogram(exposed);
    metric
}

fn labelled(family: &Family, values: &[String]) -> proto::Metric {
    let label = |(name, value): (&&str, &String)| {
        let mut label = proto::LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value(value.clone());
        label
    };
    proto::Metric::from_label(family.labels.iter().zip(values).map(label).collect())
}

fn owned(values: &[&str]) -> Values {
    values.iter().map(|&value| value.to_owned()).collect()
}
