//! The report for people: a table, then each figure against its goal, then what to be wary of.
use comfy_table::{Cell, CellAlignment, Table};

use super::figures::FIGURES;
use super::report::{BodyRow, Report};

impl Report {
    /// The table, then ratios against goals, then what to be wary of.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        if !self.rows.is_empty() {
            lines.push(self.requests());
        }
        if let Some(direct) = &self.generator {
            lines.push(format!(
                "Load and upstream without a proxy, on the load's core alone: {:.0} requests/s, {:.2} µs each.",
                direct.rps, direct.cpu_us_per_request
            ));
        }
        if self.rows.iter().any(|row| row.load.is_secure()) {
            lines.push(format!("TLS of all contenders: {}.", self.tls));
        }
        bodies(&mut lines, "Answers of 1 MiB", &self.bodies_1mib);
        bodies(&mut lines, "Uploads of 1 MiB", &self.uploads_1mib);
        if let Some(first) = self.idle_connection_bytes.first() {
            lines.push(format!("\nMemory a resting connection, of {} (growth of PSS)", first.connections));
            for row in &self.idle_connection_bytes {
                lines.push(format!(
                    "  {:<38} {:>8.0} bytes{}",
                    row.name,
                    row.bytes,
                    faults(row.errors.values().sum())
                ));
            }
        }
        if let Some(workers) = &self.workers {
            lines.push(format!(
                "\nTwo workers and the load on two cores: {:.2} µs a request, {:.0} requests/s; \
                 one and the load on one core: {:.2} µs, {:.0}/s.\n  \
                 Capacity {:.3} × one, by CPU time; the less busy worker did {:.0} % of what the other did.",
                workers.two_cpu_us,
                workers.two_rps,
                workers.one_cpu_us,
                workers.one_rps,
                workers.capacity_ratio,
                workers.spread * 100.0
            ));
        }
        lines.push(format!("\nMedians of {} rounds' ratios [smallest–largest]", self.rounds));
        lines.extend(FIGURES.iter().filter_map(|figure| self.figure(figure.name)));
        lines.extend(self.warnings.iter().map(|warning| format!("! {warning}")));
        lines.join("\n")
    }

    fn figure(&self, name: &str) -> Option<String> {
        let goal = self.goals.iter().find(|goal| goal.ratio == name);
        let verdict = goal.map_or_else(String::new, |goal| format!("   {}", goal.text()));
        match (self.ratios.get(name), goal) {
            (Some(ratio), _) => {
                let [low, high] = self.ratio_ranges.get(name).copied().unwrap_or([*ratio; 2]);
                Some(format!("  {name:<38} {ratio:>8.3}  [{low:.3}–{high:.3}]{verdict}"))
            }
            (None, Some(goal)) => Some(format!("  {name:<38} {:>8.0}{verdict}", goal.measured)),
            (None, None) => None,
        }
    }

    fn requests(&self) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
        table.set_header([
            "contender",
            "CPU µs each",
            "requests/s",
            "p50 µs",
            "p99 µs",
            "errors",
            "upstream reuse",
            "proxy CPU",
            "load core idle",
            "log lines each",
            "token misses each",
        ]);
        for row in &self.rows {
            let optional =
                |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
            table.add_row([
                Cell::new(row.name),
                number(format!("{:.2}", row.cpu_us_per_request)),
                number(format!("{:.0}", row.rps)),
                number(format!("{:.0}", row.p50_us)),
                number(format!("{:.0}", row.p99_us)),
                number(row.faults().to_string()),
                number(format!("{:.3} %", row.upstream_reuse * 100.0)),
                number(format!("{:.0} %", row.proxy_cpu_share * 100.0)),
                number(format!("{:.0} %", row.load_core_idle_share * 100.0)),
                number(optional(row.log_lines_per_request)),
                number(optional(row.token_misses_per_request)),
            ]);
        }
        table.to_string()
    }
}

fn bodies(lines: &mut Vec<String>, title: &str, rows: &[BodyRow]) {
    if rows.is_empty() {
        return;
    }
    lines.push(format!("\n{title}, CPU time a MiB"));
    for row in rows {
        let faults = faults(row.errors.values().sum());
        lines.push(format!(
            "  {:<38} {:>8.0} µs  {:>6.0} MiB/s{faults}",
            row.name, row.cpu_us_per_mib, row.mib_per_s
        ));
    }
}

fn faults(count: u64) -> String {
    if count == 0 { String::new() } else { format!("  {count} errors") }
}

fn number(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}
