//! What is held here: a message is read in one way or not at all, and what is written is what was read.

mod chunked;
mod client;
mod ends;
mod fields;
mod framing;
mod heads;
mod names;
mod outbox;
mod scan;
mod server;
mod translate;
mod two_readers;
