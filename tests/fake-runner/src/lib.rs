//! Behaves towards a container hook as the GitHub Actions runner (2.336) does.
//!
//! The runner needs a service to connect to before it runs anything; this crate needs none. It
//! makes the files that the runner has around a step ([`layout`]), reads the action ([`action`]),
//! writes the hook's input byte for byte as the runner serialises it ([`input`]), starts the hook
//! with the runner's interpreter, directory and environment ([`environment`], [`process`]), and
//! reads back what the runner reads back ([`outcome`]). [`Runner`] puts the parts together.
//!
//! [`Driver`] makes the calls of a job one at a time. [`Runner::run_job`] takes a whole job ([`workflow`]) through its calls ([`job_run`]), with composite,
//! local and JavaScript actions ([`definition`]).
//!
//! Only what hooks can see is imitated. Expressions that this crate does not know are refused by
//! name instead of being evaluated.

pub mod action;
pub mod arguments;
pub mod containers;
pub mod context;
pub mod definition;
pub mod driver;
pub mod environment;
mod expressions;
pub mod input;
pub mod inputs;
pub mod job_run;
pub mod layout;
pub mod outcome;
pub mod process;
pub mod runner;
mod scripts;
pub mod template;
pub mod uses;
pub mod variables;
pub mod workflow;
mod yaml;

pub use action::Action;
pub use context::Job;
pub use driver::{Driver, Program};
pub use input::HookInput;
pub use job_run::{Conclusion, HookEnd, JobReport};
pub use layout::{Layout, StepFiles, WorkDir};
pub use outcome::Outcome;
pub use runner::{Prepared, Runner, Step};
pub use uses::Uses;
pub use variables::Variables;
pub use workflow::JobDefinition;
pub use yaml::YamlError;

/// When in a job an action runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Before the job's steps: `runs.pre-entrypoint`.
    Pre,
    /// The step itself: `runs.entrypoint`.
    #[default]
    Main,
    /// After the job's steps: `runs.post-entrypoint`.
    Post,
}
