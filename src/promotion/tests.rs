//! What is read of Postgres' programs, word by word.

use super::data_directory::ControlFile;
use crate::domain::replication_lag::{Lsn, Timeline};

const CONTROL: &str = "\
pg_control version number:            1300
Database cluster state:               in production
pg_control last modified:             Tue Nov 24 17:00:00 2026
Latest checkpoint location:           0/3000028
Latest checkpoint's REDO location:    0/3000028
Latest checkpoint's TimeLineID:       1
Minimum recovery ending location:     0/0
Min recovery ending loc's timeline:   0
";

#[test]
fn a_control_file_tells_timeline_and_reach() {
    let primary = ControlFile { timeline: Timeline(1), reached: Lsn(0x300_0028) };
    assert_eq!(ControlFile::parse(CONTROL), Some(primary));
    let standby = CONTROL
        .replace("in production", "shut down in recovery")
        .replace("location:     0/0", "location:     0/5000148")
        .replace("timeline:   0", "timeline:   2");
    let standby = ControlFile::parse(&standby);
    assert_eq!(standby, Some(ControlFile { timeline: Timeline(2), reached: Lsn(0x500_0148) }));
    assert_eq!(ControlFile::parse("pg_controldata: error: could not open file"), None);
}
