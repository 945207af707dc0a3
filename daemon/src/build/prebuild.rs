//! Builds that begin before a step asks for their images. What they make is found by its key and in no
//! other way: a step does not know of them.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reuse::Lookup;
use super::spec::BuildSpec;
use super::{Build, BuildEnvironment, Plan};
use crate::config::{BuildReuse, BuiltImages, Config};
use crate::error::Failure;
use crate::ids::{self, InvalidStepId, StepId};
use crate::metrics::{self, TRACE_TARGET};
use crate::session::error::SessionError;
use crate::session::events::Session;
use crate::session::remembered::RememberedSteps;

/// Digits of a name.
const DIGITS: usize = 16;

/// What has become of one.
#[derive(Debug, PartialEq, Eq)]
pub enum Prebuilt {
    /// It has built the image.
    Built,
    /// The image is there.
    Found,
    /// Another builds it.
    Followed,
    /// The image could not be found again; why.
    NoKey(Option<String>),
}

/// The prebuilds of a job.
#[derive(Debug)]
pub struct Prebuilds {
    /// Those whose Jobs may be there, also of earlier daemons.
    pub remembered: RememberedSteps,
    at_work: Mutex<AtWork>,
}

/// Those of one job.
#[derive(Clone, Debug, Default)]
pub struct AtWork {
    /// Ends them.
    pub cancel: CancellationToken,
    /// Each of them.
    pub tasks: TaskTracker,
}

impl Prebuilds {
    /// Those in the file.
    pub fn new(remembered: RememberedSteps) -> Self {
        Self { remembered, at_work: Mutex::default() }
    }

    /// Begins those of a job, and cancels all others.
    pub fn begin(&self, stopping: &CancellationToken) -> AtWork {
        let next = AtWork { cancel: stopping.child_token(), tasks: TaskTracker::new() };
        self.replace(next.clone()).cancel.cancel();
        next
    }

    /// Cancels all, and waits until none makes anything any more.
    pub async fn end(&self) {
        let AtWork { cancel, tasks } = self.replace(AtWork::default());
        cancel.cancel();
        tasks.close();
        tasks.wait().await;
    }

    fn replace(&self, next: AtWork) -> AtWork {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut at_work, next)
    }
}

/// Whether an image that is built ahead can be found by the step that needs it.
pub fn is_useful(config: &Config) -> bool {
    config.build.prebuild
        && config.registry.host.is_some()
        && config.registry.built_images == BuiltImages::Keep
        && config.build.reuse != BuildReuse::Never
}

/// The id of a prebuild, which no client knows.
///
/// # Errors
/// The kernel has no random bytes.
pub fn id() -> Result<StepId, Failure> {
    let random = ids::unguessable()
        .map_err(|source| SessionError::NoRandomBytes { source: source.into() })?;
    let id: Result<StepId, InvalidStepId> = format!("prebuild-{}", &random[..DIGITS]).parse();
    id.map_err(|error| crate::error::CommonError::defect("An id cannot be made", error).into())
}

/// Builds the image, unless it is there or being built.
///
/// # Errors
/// Why there is no image.
#[tracing::instrument(target = TRACE_TARGET, name = "image", level = "trace", skip_all)]
pub async fn prebuild(
    env: &BuildEnvironment<'_>,
    step: &StepId,
    dockerfile: &Path,
    session: &mut Session,
) -> Result<Prebuilt, Failure> {
    let destination = env.destination(step, dockerfile)?;
    let spec = BuildSpec::of(dockerfile);
    let build = Build::new(env, step, &spec, destination)?;
    let lookup = build.look_up(session).await?;
    let recipe = match &lookup {
        Lookup::Found(_) => return Ok(Prebuilt::Found),
        Lookup::NoKey(why) => return Ok(Prebuilt::NoKey(why.clone())),
        Lookup::Missing(recipe) => recipe,
    };
    let Some(lease) = build.take(recipe).await? else { return Ok(Prebuilt::Followed) };
    // Another may have built it since it was looked for.
    if build.shared(recipe).await.is_some() {
        return Ok(Prebuilt::Found);
    }
    let Some(running) = build.start_in_turn(&lookup, Some(&lease), session).await? else {
        return Ok(Prebuilt::Followed);
    };
    build.attend(running, Plan { lookup, lease: Some(lease) }, session).await?;
    session.timings.built(metrics::Build::Prebuilt);
    Ok(Prebuilt::Built)
}
