//! See the modules for what is tested.
