//! The demo's voice: steps, progress, tables of requests, and checks as they are made.
use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::Instant,
};

use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use super::Report;
use crate::world::{Answer, Region};

/// Speaks, and keeps the report.
pub(super) struct Stage {
    out: io::Stdout,
    began: Instant,
    steps: usize,
    colour: bool,
    pub report: Report,
}

/// A table of requests: who asked where, who served it, from which database, in how many ms.
pub(super) struct Requests {
    table: Table,
}

impl Stage {
    pub(super) fn new() -> Self {
        let out = io::stdout();
        Self { colour: out.is_terminal(), out, began: Instant::now(), steps: 0, report: Report::default() }
    }

    /// Opens the next step.
    pub(super) fn step(&mut self, title: &str) {
        self.steps += 1;
        let title = format!("{}. {title}", self.steps);
        self.say(&format!("\n{}", self.paint("1", &title)));
    }

    pub(super) fn say(&self, text: &(impl Display + ?Sized)) {
        // A closed pipe ends nothing: the report is still wanted.
        let _ = writeln!(self.out.lock(), "{text}");
    }

    /// What is being done, with the time since the start.
    pub(super) fn progress(&self, text: &str) {
        self.say(&format!("  [{:5.1} s] {text}", self.began.elapsed().as_secs_f64()));
    }

    /// Shows and records a claim.
    pub(super) fn check(&mut self, name: impl Into<String>, passed: bool, detail: impl Into<String>) {
        let (name, detail) = (name.into(), detail.into());
        let mark = if passed { self.paint("32", "passed") } else { self.paint("1;31", "FAILED") };
        self.say(&format!("  {mark}  {name}{}{detail}", if detail.is_empty() { "" } else { ": " }));
        self.report.checks.check(name, passed, detail);
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Requests {
    pub(super) fn new() -> Self {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header(["from", "user of", "request", "status", "served by", "database", "ms"]);
        Self { table }
    }

    pub(super) fn add(&mut self, from: Region, user: &str, request: &str, answer: &Answer) {
        let status = match answer.problem() {
            Some(code) => format!("{} {code}", answer.status.as_u16()),
            None => answer.status.as_u16().to_string(),
        };
        let ms = Cell::new(answer.took.as_millis()).set_alignment(CellAlignment::Right);
        self.table.add_row(vec![
            Cell::new(from),
            Cell::new(user),
            Cell::new(request),
            Cell::new(status),
            Cell::new(answer.header("residency-served-by")),
            Cell::new(answer.header("x-served-database")),
            ms,
        ]);
    }
}

impl std::fmt::Display for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.table.fmt(f)
    }
}
