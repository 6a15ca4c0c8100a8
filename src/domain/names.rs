//! Regions and jurisdictions as small numbers, so that a decision is a few bit operations.
//!
//! A number is an index into the [`Topology`](super::topology::Topology) that made it and means nothing in another.

/// The most regions, and the most jurisdictions, one configuration may have: a [`RegionSet`] is one machine word.
pub const MOST_REGIONS: usize = 64;

/// A place we run, as an index into its topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(u8);

/// A legal area, as an index into its topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JurisdictionId(u8);

impl RegionId {
    pub(super) fn new(index: usize) -> Self {
        Self(u8::try_from(index).expect("a topology holds at most 64 regions"))
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl JurisdictionId {
    pub(super) fn new(index: usize) -> Self {
        Self(u8::try_from(index).expect("a topology holds at most 64 jurisdictions"))
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of regions of one topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegionSet(u64);

impl RegionSet {
    pub const EMPTY: Self = Self(0);
    /// Every region of any topology.
    pub const ALL: Self = Self(u64::MAX);

    pub const fn contains(self, region: RegionId) -> bool {
        self.0 & (1 << region.0) != 0
    }

    #[must_use]
    pub const fn with(self, region: RegionId) -> Self {
        Self(self.0 | (1 << region.0))
    }

    #[must_use]
    pub const fn without(self, region: RegionId) -> Self {
        Self(self.0 & !(1 << region.0))
    }

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its regions, in the order of the topology.
    pub fn iter(self) -> impl Iterator<Item = RegionId> {
        (0..MOST_REGIONS).map(RegionId::new).filter(move |&region| self.contains(region))
    }

    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl FromIterator<RegionId> for RegionSet {
    fn from_iter<I: IntoIterator<Item = RegionId>>(regions: I) -> Self {
        regions.into_iter().fold(Self::EMPTY, Self::with)
    }
}
