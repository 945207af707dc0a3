//! Images: those that are built from Dockerfiles, and what registries tell of any.

pub mod build_log;
pub mod builds;
pub mod context;
pub mod credentials;
pub mod distribution;
pub mod dockerfile;
pub mod group;
pub mod lookup;
pub mod reference;
pub mod registry;
pub mod removal;
pub mod sources;
pub mod verdict;
