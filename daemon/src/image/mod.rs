//! Images that are built from Dockerfiles.

pub mod context;
pub mod group;
pub mod registry;
pub mod verdict;
