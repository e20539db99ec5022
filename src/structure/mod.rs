//! Containers as small libraries: they know neither commands, nor time, nor the kernel.

pub mod glob;
pub mod table;
pub mod wheel;
