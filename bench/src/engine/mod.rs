//! The load itself: threads that send by a plan and record what they see, and the one that watches them.

pub mod book;
pub mod connection;
pub mod plan;
pub mod record;
pub mod run;
pub mod series;
pub mod server;
pub mod worker;
