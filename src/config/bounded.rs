//! `[timeouts]`, `[limits]` and `[health]`: numbers, each with a range outside of which it can only be a slip.

use super::section::Section;
use super::written::Bounds;
use super::{ExternalService, HealthSettings, Limits, Timeouts};

/// An hour, in ms.
const HOUR: u64 = 3_600_000;
/// Node closes an idle connection after this many ms; a gateway that keeps one longer sends requests into the void.
const NODE_KEEP_ALIVE: u64 = 5_000;

pub(super) fn timeouts(section: &Section<'_>) -> Timeouts {
    let timeouts = Timeouts {
        header: section.milliseconds("header_ms", 10_000, 100, 600_000),
        idle: section.milliseconds("idle_ms", 60_000, 100, HOUR),
        connect: section.milliseconds("connect_ms", 2_000, 10, 60_000),
        first_byte: section.milliseconds("first_byte_ms", 30_000, 10, HOUR),
        upstream_idle: section.milliseconds("upstream_idle_ms", 4_000, 10, 600_000),
        stream_idle: section.milliseconds("stream_idle_ms", 300_000, 100, 24 * HOUR),
        drain: section.milliseconds("drain_ms", 30_000, 0, HOUR),
    };
    if timeouts.upstream_idle.as_millis() >= u128::from(NODE_KEEP_ALIVE) {
        let what =
            "is not below the 5000 ms after which Node closes idle connections: some requests will fail";
        let remedy =
            "write less than the API's own keep-alive timeout, or raise that (server.keepAliveTimeout)";
        section.reader.warning(&section.path("upstream_idle_ms"), what, remedy);
    }
    timeouts
}

pub(super) fn limits(section: &Section<'_>) -> Limits {
    let size = |key, default, least, most, unit| section.size(key, default, Bounds { least, most, unit });
    Limits {
        connections: size("connections", 10_000, 1, 1_000_000, "connections"),
        // Below 8 KiB hyper takes no buffer, and browsers' cookies no place.
        header_bytes: size("header_bytes", 32_768, 8_192, 1_048_576, "bytes"),
        headers: size("headers", 100, 10, 1_000, "headers"),
        peek_bytes: size("peek_bytes", 65_536, 1_024, 16_777_216, "bytes"),
        replay_bytes: size("replay_bytes", 65_536, 0, 16_777_216, "bytes"),
        upstream_connections: size("upstream_connections", 512, 1, 65_535, "connections"),
    }
}

pub(super) fn health(section: &Section<'_>) -> HealthSettings {
    let settings = HealthSettings {
        lag_limit: section.milliseconds("lag_limit_ms", 500, 1, HOUR),
        interval: section.milliseconds("interval_ms", 100, 10, 60_000),
        dead_after: section.milliseconds("dead_after_ms", 1_500, 20, 600_000),
        hang_after: section.milliseconds("hang_after_ms", 1_000, 50, 600_000),
        external: section.list("external").iter().filter_map(external).collect(),
    };
    if settings.dead_after <= settings.interval {
        let (dead_after, interval) = (settings.dead_after.as_millis(), settings.interval.as_millis());
        let what =
            format!("{dead_after} ms is not more than interval_ms ({interval}): every region would flap");
        section.reader.error(&section.path("dead_after_ms"), what, "write several times interval_ms");
    }
    settings
}

fn external(section: &Section<'_>) -> Option<ExternalService> {
    let name = section.text("name", "a name for the report");
    let url = section.text("url", "an http or https URL");
    for key in ["name", "url"] {
        if !section.has(key) {
            section.missing(key, "write { name = \"stripe\", url = \"https://…\" }");
        }
    }
    let url = url.filter(|url| {
        let fits = is_web_url(&url.value);
        if !fits {
            let remedy = "write https://host/path, without a user and a password";
            section.reader.error(&url.path, "is no http or https URL with a host", remedy);
        }
        fits
    });
    Some(ExternalService { name: name?.value, url: url?.value })
}

fn is_web_url(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    })
}
