//! The four regions on one machine.
mod links;
mod region;
mod relay;
pub use links::*;
pub use region::*;
