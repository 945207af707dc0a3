//! A step as its caller sees it, and the parts that every kind of step shares.

pub mod action_args;
pub mod agent_calls;
pub mod agents;
pub mod caller;
pub mod crashes;
pub mod cursor;
pub mod ended_services;
pub mod files;
pub mod job_end;
pub mod last_lines;
pub mod lifecycle;
pub mod output;
pub mod pid_1;
pub mod program;
pub mod ready;
pub mod registry;
pub mod remembered;
pub mod room;
pub mod start;
pub mod volume;
