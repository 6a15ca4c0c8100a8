//! Whether a member that starts may open as the primary.
//!
//! A timeline's number rises with every promotion, and a standby's own tells the latest that it has followed. So a member
//! that was the primary of the latest timeline anybody knows, while everybody was asked, is the latest primary.

use crate::domain::register::Generation;
use crate::domain::replication_lag::Timeline;

/// What a data directory says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// It is marked as a standby (`standby.signal`).
    pub standby: bool,
    pub timeline: Timeline,
}

/// What another member answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Silent,
    Standby {
        timeline: Timeline,
        /// A promotion holds its lock there.
        promoting: bool,
    },
    Primary {
        timeline: Timeline,
        /// Its row's; absent where its database is closed.
        generation: Option<Generation>,
    },
}

/// What to do with this member now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootVerdict {
    /// It may open as what it is: the latest primary.
    Open,
    /// It has to be a standby, and follow the member of this index if there is one.
    Standby { primary: Option<usize>, why: &'static str },
    /// These (by index) have to be asked again.
    Wait(Vec<usize>),
}

/// `patient`: there is time to ask again. `assume_latest`: the operator's named risk, that those who are silent know
/// nothing later. It never outweighs what somebody says.
pub fn boot(own: Own, peers: &[Peer], patient: bool, assume_latest: bool) -> BootVerdict {
    let primaries = peers.iter().enumerate().filter_map(|(index, peer)| match *peer {
        Peer::Primary { timeline, generation } => Some((timeline, generation, index)),
        Peer::Silent | Peer::Standby { .. } => None,
    });
    let latest = primaries.max();
    if own.standby {
        let primary = latest.map(|(_, _, index)| index);
        return BootVerdict::Standby { primary, why: "it was one" };
    }
    if let Some((timeline, _, index)) = latest
        && timeline >= own.timeline
    {
        return BootVerdict::Standby { primary: Some(index), why: "another member is the primary" };
    }
    let later = |peer: &Peer| match *peer {
        Peer::Standby { timeline, .. } => timeline > own.timeline,
        Peer::Silent | Peer::Primary { .. } => false,
    };
    if peers.iter().any(later) {
        return BootVerdict::Standby { primary: None, why: "another member follows a later primary" };
    }
    let unsettled = |peer: &Peer| match *peer {
        Peer::Silent => !assume_latest,
        Peer::Standby { promoting, .. } => promoting,
        Peer::Primary { .. } => false,
    };
    let waiting: Vec<_> = (0..peers.len()).filter(|&index| unsettled(&peers[index])).collect();
    match waiting.is_empty() {
        true => BootVerdict::Open,
        false if patient => BootVerdict::Wait(waiting),
        false => BootVerdict::Standby { primary: None, why: "not every other member has answered" },
    }
}
