//! The work volume: directories and files that steps need, made beneath its root.

pub mod error;
pub mod files;
pub mod summary;
