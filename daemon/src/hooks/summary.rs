//! What a job's containers and container steps took, as a table in the summary of the job, if the administrator
//! wants it. GitHub shows the summaries of a job's steps one after the other; prepare_job has none, and what it
//! took stands in that of the first step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::blocking;
use crate::context::Context;
use crate::error::report;
use crate::logs;
use crate::metrics::{Build, Phase};
use crate::objects::container::{ContainerStep, Source};
use crate::session::events::Session;
use crate::session::timings::Timings;
use crate::work_volume::summary;

/// Characters of an image's or a Dockerfile's name.
const LONGEST_NAME: usize = 200;

/// The summary of a step.
#[derive(Debug)]
pub(super) struct Summary {
    file: PathBuf,
    /// What the step runs; none: a script, of which the table says nothing.
    name: Option<String>,
}

/// Keeps what the containers of a job took for the summary of its first step.
pub(super) fn of_job(context: &Context, session: &Session) {
    if context.config.summary && session.is_new() {
        context.job_timings.keep(session.timings.clone());
    }
}

impl Summary {
    /// That of a container step; none: it is not wanted, or the runner has made no file for it.
    pub(super) fn of_container_step(context: &Context, spec: &ContainerStep) -> Option<Self> {
        if !context.config.summary {
            return None;
        }
        let work_dir = &context.config.work_dir;
        let file = summary::of_container_step(&spec.mounts, &spec.environment, work_dir)?;
        let name = match &spec.source {
            Source::Image(image) => image.clone(),
            Source::Dockerfile(path) => {
                path.strip_prefix(work_dir).unwrap_or(path).to_string_lossy().into_owned()
            }
        };
        Some(Self { file, name: Some(name) })
    }

    /// That of a script step, as [`Summary::of_container_step`].
    pub(super) fn of_script_step(
        context: &Context,
        environment: &BTreeMap<String, String>,
    ) -> Option<Self> {
        let wanted = context.config.summary.then_some(environment)?;
        Some(Self { file: summary::of_script_step(wanted)?, name: None })
    }

    /// Writes the table, at the end of the step. Of a step that an earlier hookd began it would be wrong.
    pub(super) async fn write(self, context: &Context, session: &Session, exit_code: i32) {
        if !session.is_new() {
            return;
        }
        let of_job = context.job_timings.take();
        let job = of_job.as_ref().map(|timings| row("job containers", timings, String::new()));
        let step = self.name.map(|name| {
            row(&format!("`{}`", shown(&name)), &session.timings, exit_code.to_string())
        });
        let rows: String = job.into_iter().chain(step).collect();
        if rows.is_empty() {
            return;
        }
        let text = format!("{HEAD}{rows}");
        let (work_dir, file) = (context.config.work_dir.clone(), self.file);
        let write = move || summary::append(&work_dir, &file, &text);
        // The step has ended as it has, whether its summary can be written or not.
        let written = blocking::run(blocking::DEADLINE, "Writing the step's summary", write).await;
        let written = written.unwrap_or_else(|failure| {
            tracing::info!(error = report(&failure), "the step's summary is not written");
            false
        });
        if let Some(timings) = of_job.filter(|_| !written) {
            context.job_timings.keep(timings);
        }
    }
}

/// An empty line ends what the step itself wrote.
const HEAD: &str = "\n\n| hookd | schedule | start | pull | build | run | exit code |\n\
                    | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";

fn row(name: &str, timings: &Timings, exit_code: String) -> String {
    let time = |phase| timings.of(phase).map_or_else(String::new, seconds);
    let [schedule, start, pull, run] =
        [Phase::Schedule, Phase::Start, Phase::Pull, Phase::Run].map(time);
    let found = match timings.build() {
        Some(Build::Hit) => "found",
        Some(Build::Followed) => "built meanwhile",
        Some(Build::Built | Build::Prebuilt) | None => "",
    };
    let build = [time(Phase::Build).as_str(), found].join(" ");
    let build = build.trim();
    format!("| {name} | {schedule} | {start} | {pull} | {build} | {run} | {exit_code} |\n")
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A name that a workflow chose: no Markdown.
fn shown(name: &str) -> String {
    let plain = |letter: char| !logs::is_hidden(letter) && !"`|\\<>[]*".contains(letter);
    name.chars().take(LONGEST_NAME).map(|one| if plain(one) { one } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_what_the_parts_of_a_call_took() {
        let mut timings = Timings::default();
        timings.took(Phase::Schedule, Duration::from_secs(1));
        timings.took(Phase::Build, Duration::from_millis(2340));
        timings.built(Build::Built);
        timings.took(Phase::Schedule, Duration::from_secs(2));
        timings.took(Phase::Run, Duration::from_millis(50));
        let row = row("`a/Dockerfile`", &timings, "3".to_owned());
        assert_eq!(row, "| `a/Dockerfile` | 3.0 s |  |  | 2.3 s | 0.1 s | 3 |\n");
    }

    #[test]
    fn a_row_says_where_an_image_came_from() {
        for (build, words) in [(Build::Hit, "| found |"), (Build::Followed, "| built meanwhile |")]
        {
            let mut timings = Timings::default();
            timings.built(build);
            assert!(row("x", &timings, String::new()).contains(words));
        }
    }

    #[test]
    fn a_name_speaks_no_markdown() {
        assert_eq!(shown("busybox:1"), "busybox:1");
        assert_eq!(shown("a`|\n<b>[x](y)\u{202e}"), "a????b??x?(y)?");
        assert_eq!(shown(&"x".repeat(1000)).len(), LONGEST_NAME);
    }
}
