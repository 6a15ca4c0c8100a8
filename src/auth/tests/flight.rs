use proptest::prelude::*;
use tokio::time::Instant;

use super::super::flight::{Ask, Flight};
use super::*;

const INTERVAL: Duration = Duration::from_secs(1);

#[test]
fn one_at_a_time_and_one_an_interval() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut flight = Flight::new();
    assert_eq!(flight.ask(at(0), INTERVAL), Ask::Unattended);
    flight.attend(true);
    assert_eq!(flight.ask(at(0), INTERVAL), Ask::Start { ticket: 1 });
    assert_eq!(flight.ask(at(0), INTERVAL), Ask::Join { ticket: 1 }, "asked for, not begun");
    flight.begin(at(1));
    assert_eq!(flight.ask(at(5000), INTERVAL), Ask::Join { ticket: 1 }, "however long it takes");
    assert!(!flight.is_finished(1));
    flight.finish(true);
    assert!(flight.is_finished(1) && flight.succeeded() && flight.is_settled());
    assert_eq!(flight.ask(at(1000), INTERVAL), Ask::Limited);
    assert_eq!(flight.ask(at(1001), INTERVAL), Ask::Start { ticket: 2 });
    flight.attend(false);
    assert!(flight.is_finished(2) && !flight.succeeded(), "nobody is left waiting");
    assert_eq!(flight.ask(at(9000), INTERVAL), Ask::Unattended);
}

proptest! {
    /// Whatever order wishes, timers and results come in: no two fetches at once, no two wished-for starts within an
    /// interval of any start, and every ticket ends.
    #[test]
    fn any_history(events in prop::collection::vec((0..4_u8, 0..700_u64), 1..200)) {
        let mut now = Instant::now();
        let mut flight = Flight::new();
        flight.attend(true);
        let (mut in_flight, mut last_start, mut open_tickets) = (false, None::<Instant>, Vec::new());
        for (event, ms) in events {
            now += Duration::from_millis(ms);
            match event {
                0 | 1 => match flight.ask(now, INTERVAL) {
                    Ask::Start { ticket } => {
                        prop_assert!(!in_flight);
                        prop_assert!(last_start.is_none_or(|start| now - start >= INTERVAL));
                        last_start = Some(now);
                        open_tickets.push(ticket);
                    }
                    Ask::Join { ticket } => open_tickets.push(ticket),
                    Ask::Limited => prop_assert!(last_start.is_some_and(|start| now - start < INTERVAL)),
                    Ask::Unattended => prop_assert!(false),
                },
                2 if !in_flight => {
                    flight.begin(now);
                    in_flight = true;
                    last_start = Some(now);
                }
                3 if in_flight => {
                    flight.finish(ms % 2 == 0);
                    in_flight = false;
                    for ticket in open_tickets.drain(..) {
                        prop_assert!(flight.is_finished(ticket));
                    }
                }
                _ => {}
            }
        }
    }
}
