//! The whole world: four regions, real databases with streaming replication, Redis, the Express API, links that fail.
//!
//! Its start takes ten to fifteen seconds, so all tests here share one: those that disturb nobody at the same time, those
//! that break something alone. The last one ends it and asserts that nothing was left behind. When a filter leaves tests
//! out, the world goes with the process instead.

mod control;
mod databases;
mod gateways;
mod moves;
mod outages;
mod positions;
mod promotion;
mod routing;
mod shared;
mod sockets;
mod user;

/// Makes a test of each behaviour, named after it, and knows how many there are.
macro_rules! behaviours {
    (together: $($together:ident::$a:ident),+; alone: $($alone:ident::$b:ident),+;) => {
        const COUNT: usize = [$(stringify!($a)),+, $(stringify!($b)),+].len();
        $(#[test] fn $a() { shared::together(COUNT, $together::$a); })+
        $(#[test] fn $b() { shared::alone(COUNT, $alone::$b); })+
    };
}

behaviours! {
    together:
        routing::an_eu_write_from_singapore_lands_in_frankfurts_primary,
        routing::sign_ups_go_to_the_home_of_their_country_from_everywhere,
        routing::reads_are_served_by_the_nearest_lawful_region,
        routing::a_search_is_a_read_by_its_route,
        routing::forged_headers_move_nobody,
        routing::an_unlawful_hop_is_misdirected,
        routing::an_internal_listener_serves_only_gateways,
        routing::bodies_cross_regions_unchanged,
        routing::explain_agrees_with_what_happens,
        sockets::a_websocket_is_served_at_home_wherever_it_was_opened,
        sockets::a_websocket_without_a_token_is_refused,
        databases::health_names_each_database_of_its_region,
        control::a_subject_is_assigned_once_however_often_it_is_asked,
        control::a_call_is_refused_with_all_its_faults,
        control::a_settled_subject_with_another_country_is_to_be_moved,
        control::an_identifier_is_one_subjects,
        control::a_login_is_routed_by_its_address_from_everywhere,
        control::an_assigned_subject_without_rows_is_harmless,
        control::only_programs_of_the_region_call;
    alone:
        routing::eu_addresses_are_on_no_disk_outside_the_eu,
        routing::a_withdrawn_keys_token_is_refused_everywhere,
        databases::a_replica_that_lags_fails_and_its_reads_go_elsewhere,
        databases::a_killed_replica_fails_and_its_reads_go_elsewhere,
        databases::a_killed_primary_stops_writes_and_not_reads,
        databases::a_killed_redis_fails_full_health_only,
        positions::a_write_is_read_back_from_wherever_it_has_arrived,
        positions::an_edge_remembers_who_keeps_no_token,
        positions::a_token_that_does_not_verify_goes_home_and_comes_back_whole,
        positions::nobody_is_shown_an_older_state_while_the_home_is_away,
        positions::a_replica_that_hears_nothing_is_not_read_by_who_has_written,
        gateways::a_forgotten_gateway_is_let_in_nowhere_and_serves_nobody_there,
        control::a_jurisdiction_is_closed_to_writes_and_opened_as_an_act,
        moves::every_gateway_reports_held_and_then_drained,
        moves::a_gateway_with_other_keys_than_the_registers_does_not_start,
        outages::a_home_that_is_away_is_a_warning_elsewhere,
        outages::with_all_of_the_eu_cut_off_its_data_stays_there,
        outages::a_region_that_goes_silent_is_not_waited_for,
        outages::a_killed_api_process_is_made_up_for_by_the_other,
        outages::a_killed_gateway_takes_its_region_out_and_brings_it_back,
        outages::a_reload_under_load_refuses_nobody;
}
