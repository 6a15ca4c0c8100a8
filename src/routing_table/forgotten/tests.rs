//! Lists in memory and on disk.

use super::super::tests::topology;
use super::*;

fn certificate(number: u8) -> Fingerprint {
    Fingerprint([number; 32])
}

fn listed(forgotten: &Forgotten) -> Vec<u8> {
    forgotten.all().iter().map(|Fingerprint(bytes)| bytes[0]).collect()
}

#[test]
fn a_register_changes_its_own_list_and_the_union_is_what_counts() {
    let topology = topology(&["us", "eu"]);
    let [us, eu] = ["us", "eu"].map(|name| topology.jurisdiction(name).expect(name));
    let forgotten = Forgotten::new(&topology);
    let steps: [(_, &[u8], &[u8]); 5] = [
        (us, &[1, 2], &[1, 2]),
        (eu, &[2, 3], &[1, 2, 3]),
        (us, &[1], &[1, 2, 3]),
        (eu, &[], &[1]),
        (us, &[], &[]),
    ];
    for (register, list, union) in steps {
        let before = forgotten.all();
        forgotten.set(register, list.iter().copied().map(certificate).collect());
        assert_eq!(listed(&forgotten), union);
        assert!(union.iter().all(|number| forgotten.contains(&certificate(*number))));
        assert!(!forgotten.contains(&certificate(9)));
        for number in 0..5 {
            assert_eq!(forgotten.is_listed_by(register, &certificate(number)), list.contains(&number));
        }
        // The same once more is no change.
        let now = forgotten.all();
        assert!(!Arc::ptr_eq(&before, &now));
        forgotten.set(register, list.iter().copied().map(certificate).collect());
        assert!(Arc::ptr_eq(&now, &forgotten.all()));
    }
}

#[test]
fn lists_outlive_a_restart_and_a_configuration_with_more_jurisdictions() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = ForgottenFile::within(directory.path());
    let two = topology(&["us", "eu"]);
    let forgotten = Forgotten::new(&two);
    file.load(&forgotten).expect("no file is no fault");
    forgotten.set(two.jurisdiction("us").expect("there"), [certificate(1)].into());
    forgotten.set(two.jurisdiction("eu").expect("there"), [certificate(2), certificate(3)].into());
    file.save(&forgotten).expect("writable");
    let more = topology(&["sg", "eu", "us"]);
    let [read, taken] = [Forgotten::new(&more), Forgotten::new(&more)];
    file.load(&read).expect("as it was written");
    taken.take_over(&forgotten);
    for known in [read, taken] {
        assert_eq!(listed(&known), [1, 2, 3]);
        assert!(known.is_listed_by(more.jurisdiction("eu").expect("there"), &certificate(3)));
        assert!(!known.is_listed_by(more.jurisdiction("us").expect("there"), &certificate(3)));
    }
}

#[test]
fn a_torn_or_altered_file_is_refused_as_a_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = ForgottenFile::within(directory.path());
    let topology = topology(&["us"]);
    let forgotten = Forgotten::new(&topology);
    forgotten.set(topology.jurisdiction("us").expect("there"), [certificate(1), certificate(2)].into());
    file.save(&forgotten).expect("writable");
    let whole = fs::read(file.path()).expect("readable");
    for length in 0..whole.len() {
        fs::write(file.path(), &whole[..length]).expect("writable");
        let read = Forgotten::new(&topology);
        assert!(matches!(file.load(&read), Err(ForgottenFault::Altered)), "cut at {length}");
        assert!(read.all().is_empty());
    }
    for at in 0..whole.len() {
        let mut other = whole.clone();
        other[at] ^= 1;
        fs::write(file.path(), &other).expect("writable");
        assert!(file.load(&Forgotten::new(&topology)).is_err(), "altered at {at}");
    }
    fs::write(file.path(), &whole).expect("writable");
    file.load(&Forgotten::new(&topology)).expect("whole again");
}
