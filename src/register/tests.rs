//! Registers in real databases.
