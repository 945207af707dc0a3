//! The services of a job: stepd starts their programs, and makes their health checks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hookd_api::stepd::v1::attach_request::Message;
use hookd_api::stepd::v1::attach_response::Event;
use hookd_api::stepd::v1::{AttachRequest, AttachStart, StartStepRequest, StepEnd};
use hookd_api::v1::Phase;
use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::time::Instant;

use super::containers;
use crate::cluster::ContainerRef;
use crate::cluster::retry::Backoff;
use crate::cluster::watch::PodWatch;
use crate::context::Context;
use crate::error::Failure;
use crate::names;
use crate::objects::docker::args;
use crate::objects::job_pod::JobSpec;
use crate::placement::error::PlacementError;
use crate::registry::credentials::Credentials;
use crate::registry::resolver::ImageInfo;
use crate::session::events::Session;
use crate::stepd::pods::{Agent, AgentAddress, AgentPod, ServiceContainer};
use crate::workload::error::WorkloadError;
use crate::workload::last_lines;

/// The service's program, and its health checks, as stepd knows them.
const PROGRAM: &str = "service";
const HEALTH: &str = "health";
/// A service without a health check has run for so long when it counts as started.
const STEADY: Duration = Duration::from_secs(2);
/// The kubelet looks at its containers once a second.
const REPORTED: Duration = Duration::from_secs(5);
/// How long the log of a service that ended is asked for.
const LOG_LIMIT: Duration = Duration::from_secs(15);

/// A service that is to run.
#[derive(Debug)]
pub(super) struct Service {
    /// As the workflow's user knows it.
    pub(super) name: String,
    /// Where its agent is.
    pub(super) address: AgentAddress,
    argv: Vec<String>,
    /// The variables that do not stand in the pod.
    environment: BTreeMap<String, String>,
    working_directory: String,
    health: Option<Probe>,
}

/// What registries say of the services' images.
///
/// # Errors
/// An image whose program is not known: stepd could not start it.
pub(super) async fn images(
    context: &Context,
    spec: &JobSpec,
) -> Result<Vec<Arc<ImageInfo>>, Failure> {
    let images = spec.services.iter().map(|service| async move {
        let own = service.spec.registry.as_ref().and_then(Credentials::from_registry);
        let own: Vec<_> = own.into_iter().collect();
        let image = &service.spec.image;
        let unknown = || PlacementError::ImageUnknown { image: image.clone() }.into();
        context.image(image, &own).await.ok_or_else(unknown)
    });
    futures::future::try_join_all(images).await
}

impl Service {
    /// Of the container that a pod of its own would have.
    pub(super) fn new(
        name: &str,
        address: AgentAddress,
        container: &Container,
        image: &ImageInfo,
    ) -> Result<Self, PlacementError> {
        let plain = |words: Option<&Vec<String>>| -> Vec<String> {
            words.into_iter().flatten().map(|word| args::unquote_dollars(word)).collect()
        };
        let (command, arguments) =
            (plain(container.command.as_ref()), plain(container.args.as_ref()));
        let (program, rest) = match command.split_first() {
            Some((program, rest)) => (Some(program.as_str()), rest),
            None => (None, [].as_slice()),
        };
        let all: Vec<_> = rest.iter().cloned().chain(arguments).collect();
        let argv = image.config.command(program, &all);
        let argv =
            argv.ok_or_else(|| PlacementError::NoProgram { image: image.reference.clone() })?;
        Ok(Self {
            name: name.to_owned(),
            address,
            argv,
            environment: BTreeMap::new(),
            working_directory: container.working_dir.clone().unwrap_or_default(),
            health: container.startup_probe.clone(),
        })
    }

    /// With the variables that do not stand in the pod.
    pub(super) fn with(self, environment: BTreeMap<String, String>) -> Self {
        Self { environment, ..self }
    }

    fn program(&self) -> StartStepRequest {
        StartStepRequest {
            step_id: PROGRAM.to_owned(),
            argv: self.argv.clone(),
            environment: self.environment.clone().into_iter().collect(),
            working_directory: self.working_directory.clone(),
            prepend_path: Vec::new(),
            is_main: true,
            built_image: None,
        }
    }
}

/// The containers of services, by their names.
pub(super) fn containers(services: &[Service]) -> Vec<ServiceContainer> {
    let container = |service: &Service| ServiceContainer {
        name: service.name.clone(),
        container: service.address.container.clone(),
    };
    services.iter().map(container).collect()
}

/// Waits until the agents of all services listen.
///
/// # Errors
/// Why a container does not start.
pub(super) async fn listening(
    context: &Context,
    services: &mut [Service],
    watch: &PodWatch,
    session: &mut Session,
) -> Result<(), Failure> {
    for service in services {
        containers::listening(context, &mut service.address, watch, session, |_, _| {}).await?;
    }
    Ok(())
}

/// Starts the services and waits until all are healthy.
///
/// # Errors
/// Why one is not; its last lines were printed before.
pub(super) async fn start(
    context: &Context,
    services: &[Service],
    session: &mut Session,
) -> Result<(), Failure> {
    let mut started = Vec::new();
    for service in services {
        let pod = context.agents.hold(&service.address);
        let (_, mut agent) = pod.agent().await?;
        // Environments are sent when every program that could have answered in its place is stepd.
        agent.start_step(service.program()).await.map_err(|status| refused(&status))?;
        started.push(Started { service, pod, since: Instant::now() });
    }
    for one in &started {
        if let Err(failure) = one.healthy(session).await {
            let address = &one.service.address;
            if matches!(failure.cause(), Some(WorkloadError::EndedEarly { .. })) {
                // Its log can be read once the kubelet knows that it has begun.
                let reported = one.reported_code();
                let _ = tokio::time::timeout(REPORTED, reported).await;
            }
            let container = ContainerRef { pod: &address.pod, container: &address.container };
            last_lines::print(&context.cluster, container, LOG_LIMIT, session).await?;
            return Err(failure);
        }
    }
    Ok(())
}

fn refused(status: &tonic::Status) -> Failure {
    crate::stepd::error::AgentError::Refused { message: status.message().to_owned() }.into()
}

/// A service whose program was started.
struct Started<'a> {
    service: &'a Service,
    pod: Arc<AgentPod>,
    since: Instant,
}

impl Started<'_> {
    async fn healthy(&self, session: &mut Session) -> Result<(), Failure> {
        let checks = async {
            match &self.service.health {
                Some(probe) => self.checked(probe, session).await,
                None => {
                    tokio::time::sleep_until(self.since + STEADY).await;
                    Ok(())
                }
            }
        };
        tokio::select! {
            biased;
            end = self.end(PROGRAM) => Err(WorkloadError::EndedEarly {
                container: self.service.name.clone(),
                exit_code: end.exit_code,
            }
            .into()),
            checked = checks => checked,
        }
    }

    /// As the kubelet makes a startup probe.
    async fn checked(&self, probe: &Probe, session: &mut Session) -> Result<(), Failure> {
        let seconds = |number: Option<i32>| {
            Duration::from_secs(u64::try_from(number.unwrap_or_default()).unwrap_or_default())
        };
        let name = &self.service.name;
        let message = format!("Waiting: container {name} is not healthy yet");
        session.progress(Phase::RunPending, message).await?;
        let (first, period) = (seconds(probe.initial_delay_seconds), seconds(probe.period_seconds));
        let timeout = seconds(probe.timeout_seconds).max(Duration::from_secs(1));
        let argv = probe.exec.as_ref().and_then(|exec| exec.command.as_ref());
        let argv: Vec<_> =
            argv.into_iter().flatten().map(|word| args::unquote_dollars(word)).collect();
        // Another daemon may have begun before: what it asked for is not started again.
        let round = names::hash(&format!("{:?}", SystemTime::now()));
        tokio::time::sleep_until(self.since + first).await;
        for number in 0..probe.failure_threshold.unwrap_or(1) {
            let step_id = format!("{HEALTH}-{round}-{number}");
            let begun = Instant::now();
            let checked = tokio::time::timeout(timeout, self.check(&step_id, &argv)).await;
            let _ = tokio::time::timeout(timeout, self.forget(&step_id)).await;
            if checked.is_ok_and(|code| code == Some(0)) {
                let took = self.since.elapsed().as_secs_f64();
                let message = format!("Container {name} is healthy after {took:.1} s");
                return session.progress(Phase::RunPending, message).await;
            }
            tokio::time::sleep_until(begun + period).await;
        }
        Err(WorkloadError::Unhealthy { container: name.clone(), timeout: self.since.elapsed() }
            .into())
    }

    /// The exit code of one check.
    async fn check(&self, step_id: &str, argv: &[String]) -> Option<i32> {
        let mut agent = self.agent().await?;
        let request = StartStepRequest {
            step_id: step_id.to_owned(),
            argv: argv.to_vec(),
            environment: self.service.environment.clone().into_iter().collect(),
            working_directory: self.service.working_directory.clone(),
            ..StartStepRequest::default()
        };
        agent.start_step(request).await.ok()?;
        Some(self.end(step_id).await.exit_code)
    }

    async fn forget(&self, step_id: &str) {
        let Some(mut agent) = self.agent().await else { return };
        let id = step_id.to_owned();
        let cancel =
            hookd_api::stepd::v1::CancelStepRequest { step_id: id.clone(), grace_milliseconds: 1 };
        let _ = agent.cancel_step(cancel).await;
        let _ = agent.forget_step(hookd_api::stepd::v1::ForgetStepRequest { step_id: id }).await;
    }

    async fn agent(&self) -> Option<Agent> {
        self.pod.agent().await.ok().map(|(_, agent)| agent)
    }

    /// Waits until a program has ended, however often the way to its agent breaks; an agent that is
    /// gone has ended with it.
    async fn end(&self, step_id: &str) -> StepEnd {
        let mut backoff = Backoff::default();
        loop {
            let Ok((number, mut agent)) = self.pod.agent().await else { break };
            let start = AttachStart { step_id: step_id.to_owned(), ..AttachStart::default() };
            let first = AttachRequest { message: Some(Message::Start(start)) };
            let requests = futures::stream::once(std::future::ready(first));
            let requests = futures::StreamExt::chain(requests, futures::stream::pending());
            if let Ok(answer) = agent.attach(requests).await {
                let mut events = answer.into_inner();
                while let Ok(Some(event)) = events.message().await {
                    if let Some(Event::End(end)) = event.event {
                        return end;
                    }
                }
            }
            self.pod.broke(number).await;
            backoff.wait().await;
        }
        StepEnd { exit_code: self.reported_code().await, ..StepEnd::default() }
    }

    /// The exit code of the container, once the kubelet has reported it.
    async fn reported_code(&self) -> i32 {
        let container = &self.service.address.container;
        let ended = self.pod.watch().until(|seen| code(seen, container).is_some()).await;
        code(&ended, container).unwrap_or(1)
    }
}

fn code(seen: &crate::cluster::watch::PodState, container: &str) -> Option<i32> {
    let status = crate::cluster::pod::container_status(seen.pod()?, container)?;
    Some(status.state.as_ref()?.terminated.as_ref()?.exit_code)
}
