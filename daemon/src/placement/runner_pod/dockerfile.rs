//! A Dockerfile action without a registry: Kaniko builds the image in the container of the step, onto that
//! container's own root. Once it has ended the root is the image's, and the image's program runs there:
//! nothing is pushed, pulled or started a second time.
//!
//! hookd is the build's registry endpoint, and its images come through it. So a build does not outlive
//! hookd: another daemon builds once more, in another container.

use std::path::Path;

use hookd_api::v1::Phase;
use tokio::time::Instant;

use super::container_step::{self, Builder, Place, Root};
use super::error::KanikoError;
use super::kaniko;
use super::{containers, end};
use crate::build::builder::KANIKO;
use crate::build::spec::BuildSpec;
use crate::build::{ContextReader, ReadContext};
use crate::cluster::logs::LogPosition;
use crate::context::Context;
use crate::endpoint::{EndpointConfig, EndpointError, LocalEndpoint, Registries, UpstreamError};
use crate::error::Failure;
use crate::ids;
use crate::metrics::{self, TRACE_TARGET};
use crate::objects::build_job::kaniko::security_context;
use crate::objects::container::ContainerStep;
use crate::placement::Call;
use crate::placement::error::PlacementError;
use crate::session::cursor::{BUILD_ATTEMPTS, BuildPosition, BuiltProgram, RunPosition};
use crate::session::error::SessionError;
use crate::session::events::Session;
use crate::session::log_group;

/// Builds the image and runs it; its exit code.
pub(super) async fn run(
    call: Call<'_>,
    spec: ContainerStep,
    dockerfile: &Path,
    session: &mut Session,
) -> Result<i32, Failure> {
    if session.cursor.run.is_none() {
        // Boxed: it is large, and a daemon that was started again may find the program running.
        Box::pin(build(call, &spec, dockerfile, session)).await?;
    }
    let image = dockerfile.display().to_string();
    let Some(run) = &session.cursor.run else {
        return Err(PlacementError::ProgramUnknown { image }.into());
    };
    let address = containers::of_run(call.context, call.step, run);
    container_step::run_program(call, spec, &address, image, session).await
}

/// Makes the root of the step's container the image.
#[tracing::instrument(target = TRACE_TARGET, name = "image", level = "trace", skip_all)]
async fn build(
    call: Call<'_>,
    spec: &ContainerStep,
    dockerfile: &Path,
    session: &mut Session,
) -> Result<(), Failure> {
    let Call { context, step } = call;
    let volumes = containers::volumes(context).await?;
    let attempt = begin(call, dockerfile, session).await?;
    let image = BuildSpec::of(dockerfile);
    let policy = context.policy()?;
    let reader = ContextReader {
        config: &context.config,
        builder: KANIKO,
        policy: policy.as_ref(),
        spec: &image,
    };
    let mut address = containers::of_step(context, step, attempt);
    let unpacking = kaniko::unpacking(&address);
    // Read first: a context that cannot be read needs no container.
    let read = reader.read_for(move |lowered| lowered.with_files_of_base(&unpacking)).await?;
    read.say(dockerfile, &context.warnings, session).await?;
    let endpoint = endpoint(context, &read).await?;
    let watch = context.agents.for_job().watch();
    let settings = &context.config.build;
    let rights = security_context(settings);
    let builder = Builder { rights: &rights, dockerfile };
    let root = Root { image: &settings.kaniko_image, builder: Some(builder) };
    let place = Place { volumes, address: &address };
    let container = container_step::prepare(call, spec, root, place, session).await?;
    // Those of the administrator's template: the others are with stepd.
    let variables = container.env.iter().flatten();
    let inherited = variables.map(|variable| variable.name.clone()).collect();
    // Another daemon must find the container, or none.
    session.checkpoint(Phase::BuildPending).await?;
    containers::add(context, &[container]).await?;
    containers::listening(context, &mut address, &watch, session, |_, _| {}).await?;
    let (builder, container, pod) = (&settings.kaniko_image, &address.container, &address.pod);
    let place = format!("Builder {builder}, container {container} of pod {pod}");
    let about: Vec<_> = read.warning_lines().into_iter().chain([place]).collect();
    log_group::open(dockerfile, &about, session).await?;
    let build = kaniko::Build { context, reader, address: &address, endpoint: &endpoint };
    let limit = settings.timeout;
    let began = Instant::now();
    let built = tokio::time::timeout(limit, kaniko::run(build, read, session)).await;
    let config = built.map_err(|_| KanikoError::Late { limit })??;
    session.timings.took(metrics::Phase::Build, began.elapsed());
    session.timings.built(metrics::Build::Built);
    log_group::close(session).await?;
    session.cursor.run = Some(RunPosition {
        job_uid: address.container.clone(),
        agent_launch: Some(config.image),
        built: Some(BuiltProgram { process: config.process, inherited }),
        before: session.sent(),
        log: LogPosition::default(),
    });
    session.checkpoint(Phase::RunPending).await
}

/// Counts the attempt. One that an earlier daemon began is over: it was that build's endpoint.
async fn begin(call: Call<'_>, dockerfile: &Path, session: &mut Session) -> Result<u32, Failure> {
    let Some(before) = session.cursor.build.clone() else {
        session.cursor.build = Some(BuildPosition::default());
        return Ok(0);
    };
    end::attempt(call, before.attempt).await;
    let attempt = before.attempt + 1;
    if attempt >= BUILD_ATTEMPTS {
        let (dockerfile, attempts) = (dockerfile.to_owned(), BUILD_ATTEMPTS);
        return Err(KanikoError::Interrupted { dockerfile, attempts }.into());
    }
    let token = before.token;
    session.cursor.build = Some(BuildPosition { attempt, token, ..BuildPosition::default() });
    let message = "The build is started again: hookd, which serves its images, was started again";
    session.progress(Phase::BuildPending, message).await?;
    Ok(attempt)
}

async fn endpoint(context: &Context, read: &ReadContext) -> Result<LocalEndpoint, Failure> {
    let key = ids::unguessable()
        .map_err(|source| SessionError::NoRandomBytes { source: source.into() })?;
    let config = EndpointConfig::keeping(&context.config.registry, &read.images, key);
    let credentials = context.credentials().await.map(<[_]>::to_vec).unwrap_or_default();
    let started = async {
        let client = context.registries().await.map_err(UpstreamError::from)?.clone();
        LocalEndpoint::start(config, Registries { client, credentials }).await
    };
    let started: Result<_, EndpointError> = started.await;
    started.map_err(|source| KanikoError::NoEndpoint { source }.into())
}
