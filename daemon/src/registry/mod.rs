//! Everything that hookd asks of an OCI registry, and what it knows of images.

pub mod base_images;
pub mod built_tags;
pub mod client;
pub mod copy;
pub mod credentials;
pub mod destination;
pub mod digest;
pub mod error;
pub mod image_config;
pub mod manifest;
pub mod mirrors;
pub mod notes;
pub mod pattern;
pub mod reference;
pub mod resolver;
pub mod tags;
