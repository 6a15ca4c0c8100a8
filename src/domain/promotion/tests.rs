//! Plans, boots, and strings.
