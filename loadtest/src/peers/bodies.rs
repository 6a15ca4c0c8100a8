//! Bodies of 1 MiB, down and up: what a proxy spends on moving bytes, as CPU time a MiB.
//!
//! One request moves one MiB, so its cost is the figure; the head's share of it is below one per cent. Fewer
//! connections than with small requests: they fill the core, and more would only fill the kernel's buffers.
//! Every byte is compared where it arrives, at the load for downloads, at the upstream for uploads. A fast proxy is
//! not kept busy by one core of load; the report says so, and the cost of a MiB stands. nginx, as it comes, takes an
//! upload whole and through a file before it sends it on; uploads are for information and have no goal.
use super::contender::Load;

/// Bytes of a body.
pub(super) const BYTES: usize = 1 << 20;

/// Bodies under way at a time.
pub(super) const CONNECTIONS: usize = 16;

/// A body in which no two pages are alike, so that a piece in the wrong place is noticed.
pub(super) fn body() -> Vec<u8> {
    // A linear congruential generator (Knuth, MMIX); its upper bits are random enough for content.
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    });
    words.take(BYTES / 4).flat_map(u32::to_le_bytes).collect()
}

/// The key of its rows in reports; none for loads without large bodies.
pub(super) fn key(load: Load) -> Option<&'static str> {
    match load {
        Load::Downloads => Some("bodies_1mib"),
        Load::Uploads => Some("uploads_1mib"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn one_mebibyte_without_two_equal_pages() {
        let body = body();
        assert_eq!(body.len(), BYTES);
        let pages: HashSet<_> = body.chunks(4096).collect();
        assert_eq!(pages.len(), BYTES / 4096);
    }
}
