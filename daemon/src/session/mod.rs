//! One client and one operation: what the client hears, what it wants, and where its step stands.

pub mod age;
pub mod annotation;
pub mod crashes;
pub mod cursor;
pub mod drive;
pub mod error;
pub mod events;
pub mod log_group;
pub mod operation;
pub mod remembered;
pub mod runner_deletion;
pub mod state;
pub mod steps;
pub mod timings;
pub mod warnings;
