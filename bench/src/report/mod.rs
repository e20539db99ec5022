//! Reports: one shape, written as text, JSON, CSV, `.hgrm` and HTML, and read from other tools' files.

pub mod chart;
pub mod files;
pub mod html;
pub mod import;
pub mod model;
pub mod number;
pub mod text;
