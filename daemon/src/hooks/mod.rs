//! The operations, one file each, and what they share.

pub mod action_args;
pub mod build_image;
pub mod built_images;
pub mod cancel_step;
pub mod cleanup_job;
pub mod error;
pub mod orphans;
mod policy;
pub mod prebuild;
pub mod prepare_job;
pub mod run_container_step;
pub mod run_script_step;
mod summary;

#[cfg(test)]
mod tests;
