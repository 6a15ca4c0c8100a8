//! What really happened: what the databases hold in the end, what reached the API processes, and what lies on the disks.
use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{
    crowd::{Crowd, jurisdiction_of},
    script::Promotion,
};
use crate::world::{Jurisdiction, Region, Service, World, scan};

/// The whole truth.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    /// How often each order is in its jurisdiction's database.
    pub(super) rows: BTreeMap<String, u64>,
    /// Requests that reached an API process where their user's data may not be. Times since the load began.
    pub(super) astray: Vec<(Duration, String)>,
    pub(super) deliveries: usize,
    /// Files with a jurisdiction's orders in regions where these may not be.
    pub(super) leaks: Vec<String>,
    pub(super) scanned_bytes: u64,
    /// From when on a promotion admits that acknowledged writes may be lost, by jurisdiction.
    pub(super) admitted: BTreeMap<Jurisdiction, Vec<Duration>>,
}

/// A line of an API process's log.
#[derive(Deserialize)]
struct Line {
    event: String,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    at_ms: f64,
}

impl Truth {
    /// Looks. Every link must be open, and every process up. `began_ms` is the load's beginning in Unix time.
    pub(super) async fn of(
        world: &World,
        crowd: &Crowd,
        promotions: &[Promotion],
        began_ms: f64,
    ) -> Result<Self> {
        let mut truth = Self::default();
        for jurisdiction in Jurisdiction::ALL {
            let home = world.primary(jurisdiction).await?;
            let sql = world.sql(home, jurisdiction).await?;
            let rows = sql.query("SELECT item, count(*) FROM orders GROUP BY item", &[]).await?;
            for row in rows {
                let (order, count): (String, i64) = (row.get(0), row.get(1));
                if jurisdiction_of(&order) != Some(jurisdiction) {
                    truth.leaks.push(format!("{order} in the database of {jurisdiction}"));
                }
                *truth.rows.entry(order).or_default() += count.unsigned_abs();
            }
            for promotion in promotions.iter().filter(|one| one.jurisdiction == jurisdiction.name()) {
                let Some(after) = &promotion.lost_after else { continue };
                let epoch = "SELECT extract(epoch FROM $1::text::timestamptz)::float8";
                // Without a time it admits that anything may be lost.
                let ms = sql.query_one(epoch, &[after]).await.map_or(0.0, |row| row.get::<_, f64>(0) * 1e3);
                truth.admitted.entry(jurisdiction).or_default().push(since(began_ms, ms));
            }
        }
        for &(region, process) in world.api_processes() {
            let log = world.log(Service::Api(region, process))?;
            truth.read(&log, region, began_ms);
        }
        world.flush_to_disk().await.context("before the scan")?;
        for region in Region::ALL {
            let strange: Vec<_> = crowd
                .needles
                .iter()
                .filter(|(of, _)| !may_lie(*of, region))
                .map(|(_, needle)| needle)
                .collect();
            if strange.is_empty() {
                continue;
            }
            let seen = scan(&world.directory(region), &strange)?;
            truth.scanned_bytes += seen.bytes;
            truth.leaks.extend(seen.hits.iter().map(|hit| hit.file.display().to_string()));
        }
        Ok(truth)
    }

    /// Takes the deliveries from one process's log.
    fn read(&mut self, log: &str, region: Region, began_ms: f64) {
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        for line in lines.filter(|line| line.event == "delivered") {
            self.deliveries += 1;
            // Every user's request has a token.
            let subject = line.subject.unwrap_or_else(|| "a request without a token".to_owned());
            if !jurisdiction_of(&subject).is_some_and(|whose| may_lie(whose, region)) {
                self.astray.push((since(began_ms, line.at_ms), format!("{subject} at the API of {region}")));
            }
        }
    }
}

/// Whether the law lets that jurisdiction's data lie there.
fn may_lie(jurisdiction: Jurisdiction, region: Region) -> bool {
    region.databases().contains(&jurisdiction)
}

fn since(began_ms: f64, ms: f64) -> Duration {
    Duration::from_secs_f64((ms - began_ms).max(0.0) / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_judged_by_whose_token_arrived_where() {
        let line =
            |subject: &str| format!("{{\"event\":\"delivered\",\"subject\":{subject},\"at_ms\":1500}}\n");
        let log = format!(
            "not JSON\n{{\"event\":\"listening\"}}\n{}{}{}{}",
            line("\"us-eu-frankfurt-00001\""),
            line("\"eu-us-east-00001\""),
            line("\"someone\""),
            line("null")
        );
        let mut truth = Truth::default();
        truth.read(&log, Region::ApSingapore, 1_000.0);
        assert_eq!(truth.deliveries, 4);
        let subjects: Vec<_> =
            truth.astray.iter().map(|(_, what)| what.split(' ').next().unwrap_or("")).collect();
        assert_eq!(subjects, ["eu-us-east-00001", "someone", "a"]);
        assert_eq!(truth.astray[0].0, Duration::from_millis(500));
        let mut there = Truth::default();
        there.read(&log, Region::EuFrankfurt, 1_000.0);
        assert_eq!(there.astray.len(), 2, "data of both may be in Frankfurt");
    }
}
