use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { per_subject: 4, all: 6 };

fn subject(number: u8) -> SubjectKey {
    SubjectKey([number; 16])
}

#[test]
fn writes_go_one_after_the_other_in_the_order_in_which_they_came() {
    let mut lines = Lines::new(BOUNDS);
    let one = subject(1);
    let places: Vec<_> = (0..3).map(|_| lines.enter(one).expect("there is room")).collect();
    assert_eq!(lines.open(&one), Some(places[0]));
    assert_eq!(lines.open(&one), None, "the first is under way");
    let late = lines.enter(one).expect("there is room");
    assert_eq!(lines.leave(&one, places[1]), None, "its client has gone");
    assert_eq!(lines.leave(&one, places[0]), Some(places[2]));
    assert_eq!(lines.leave(&one, places[2]), Some(late), "who came later goes behind");
    assert_eq!(lines.leave(&one, late), None);
    assert!(!lines.has_line(&one));
}

#[test]
fn a_line_that_finds_another_move_waits_again_in_its_order() {
    let mut lines = Lines::new(BOUNDS);
    let one = subject(1);
    let (first, second) = (lines.enter(one).expect("room"), lines.enter(one).expect("room"));
    assert_eq!(lines.open(&one), Some(first));
    lines.shut(&one);
    assert_eq!(lines.leave(&one, second), None);
    assert_eq!(lines.open(&one), Some(first));
}

#[test]
fn a_full_line_takes_nobody_and_a_place_given_up_is_free() {
    let mut lines = Lines::new(BOUNDS);
    let places: Vec<_> = (0..4).map(|_| lines.enter(subject(1)).expect("room")).collect();
    assert_eq!(lines.enter(subject(1)), Err(Full));
    for _ in 0..2 {
        lines.enter(subject(2)).expect("room");
    }
    assert_eq!(lines.enter(subject(3)), Err(Full), "all together are too many");
    lines.leave(&subject(1), places[3]);
    assert!(lines.enter(subject(3)).is_ok());
    assert_eq!(lines.standing(), 6);
}

/// What may happen to lines.
#[derive(Debug, Clone)]
enum Event {
    Enter(u8),
    Open(u8),
    /// The one under way is answered, or finds that its subject moves again.
    Done(u8),
    Again(u8),
    /// Somebody in line gives up.
    GiveUp(u8, prop::sample::Index),
}

fn event() -> impl Strategy<Value = Event> {
    let who = 0u8..3;
    prop_oneof![
        4 => who.clone().prop_map(Event::Enter),
        2 => who.clone().prop_map(Event::Open),
        3 => who.clone().prop_map(Event::Done),
        1 => who.clone().prop_map(Event::Again),
        1 => (who, any::<prop::sample::Index>()).prop_map(|(who, which)| Event::GiveUp(who, which)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_order_bounds_and_nobody_waiting_at_an_open_head(events in prop::collection::vec(event(), 1..80)) {
        let mut lines = Lines::new(BOUNDS);
        // The oracle: per subject whether it is open, who stands in it, who is under way.
        let mut model: BTreeMap<u8, (bool, Vec<Place>, Option<Place>)> = BTreeMap::new();
        for event in events {
            let (who, went) = match event {
                Event::Enter(who) => {
                    let length = model.get(&who).map_or(0, |line| line.1.len());
                    let all: usize = model.values().map(|line| line.1.len()).sum();
                    let entered = lines.enter(subject(who));
                    prop_assert_eq!(entered.is_err(), length >= BOUNDS.per_subject || all >= BOUNDS.all);
                    if let Ok(place) = entered {
                        model.entry(who).or_default().1.push(place);
                    }
                    (who, None)
                }
                Event::Open(who) => {
                    if let Some(line) = model.get_mut(&who) {
                        line.0 = true;
                    }
                    (who, lines.open(&subject(who)))
                }
                Event::Again(who) => {
                    if let Some(line) = model.get_mut(&who).filter(|line| line.2.is_some()) {
                        (line.0, line.2) = (false, None);
                        lines.shut(&subject(who));
                    }
                    (who, None)
                }
                Event::Done(who) => {
                    let Some(place) = model.get(&who).and_then(|line| line.2) else { continue };
                    let line = model.get_mut(&who).expect("just seen");
                    line.2 = None;
                    line.1.retain(|other| *other != place);
                    (who, lines.leave(&subject(who), place))
                }
                Event::GiveUp(who, which) => {
                    let Some(line) = model.get_mut(&who) else { continue };
                    let place = line.1.remove(which.index(line.1.len()));
                    line.2 = line.2.filter(|other| *other != place);
                    (who, lines.leave(&subject(who), place))
                }
            };
            if let Some(line) = model.get_mut(&who) {
                let head = line.1.first().copied();
                let goes = if line.0 && line.2.is_none() { head } else { None };
                prop_assert_eq!(went, goes, "the head of an open line goes, and nobody else");
                line.2 = line.2.or(went);
                if line.1.is_empty() {
                    model.remove(&who);
                }
            }
            for who in 0..3 {
                prop_assert_eq!(lines.has_line(&subject(who)), model.contains_key(&who));
            }
            prop_assert_eq!(lines.standing(), model.values().map(|line| line.1.len()).sum::<usize>());
        }
    }
}
