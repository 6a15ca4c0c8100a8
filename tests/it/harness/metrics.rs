//! A scrape, parsed strictly: every sample belongs to a family that was declared before it (Prometheus text format 0.0.4).

use std::collections::{BTreeMap, HashMap};

/// The samples of one scrape.
#[derive(Debug, Clone)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let mut kinds: HashMap<&str, &str> = HashMap::new();
        let mut helped: Vec<&str> = Vec::new();
        let mut samples = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                helped.push(rest.split_once(' ').expect("a help has a text").0);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type has a kind");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kinds.insert(name, kind), None, "{name} is declared twice");
            } else if !line.is_empty() {
                let sample = Sample::parse(line);
                let suffixes = ["", "_bucket", "_sum", "_count"];
                let family =
                    suffixes.iter().filter_map(|suffix| sample.name.strip_suffix(suffix)).find(|name| {
                        kinds.get(name).is_some_and(|kind| *kind == "histogram" || *name == sample.name)
                    });
                let family = family.unwrap_or_else(|| panic!("{line} belongs to no declared family"));
                assert!(helped.contains(&family), "{family} has no help");
                samples.push(sample);
            }
        }
        assert!(!samples.is_empty(), "nothing was exposed");
        Self { samples }
    }

    /// The sum of the samples of that name that have these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            let has =
                |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|own| own == value);
            sample.name == name && labels.iter().all(has)
        };
        self.samples.iter().filter(fits).map(|sample| sample.value).sum()
    }

    /// Every label's values, for scans.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.samples.iter().flat_map(|sample| sample.labels.values().map(String::as_str))
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let value = match value {
            "+Inf" => f64::INFINITY,
            number => number.parse().unwrap_or_else(|_| panic!("no number in {line}")),
        };
        let (name, labels) = match series.split_once('{') {
            None => (series, ""),
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("labels end")),
        };
        let mut found = BTreeMap::new();
        for pair in labels.split("\",").filter(|pair| !pair.is_empty()) {
            let (label, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("no label in {line}"));
            found.insert(label.to_owned(), value.trim_end_matches('"').to_owned());
        }
        Self { name: name.to_owned(), labels: found, value }
    }
}
