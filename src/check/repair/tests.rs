//! Plans, on logs in memory.
