//! The agents in pods of ours: one tunnel to each, which stays open, and one watch of its pod.

use std::collections::{HashMap, HashSet};
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hookd_api::stepd::v1::step_service_client::StepServiceClient;
use hookd_api::transport::{
    CONNECTION_WINDOW, HOOKD_KEEPALIVE, MAX_STEPD_ANSWER_SIZE, MAX_STEPD_MESSAGE_SIZE, STEPD_DIR,
    STREAM_WINDOW,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::Endpoint;

use crate::cluster::client::ANSWER;
use crate::cluster::exec::tunnel;
use crate::cluster::watch::PodWatch;
use crate::cluster::{Cluster, ContainerRef};
use crate::error::Failure;
use crate::names;
use crate::objects::agent::STEPD;
use crate::session::runner_deletion::{RunnerDeletion, RunnerDeletionWatch};
pub use crate::stepd::Agent;
use crate::stepd::error::AgentError;
use crate::stepd::identity::Identities;
use crate::stepd::job_end;
use crate::stepd::socket::SocketDir;

/// The agent of the runner's job, once it was spoken to, and agents in pods of container steps.
#[derive(Clone, Debug)]
pub struct Agents {
    pub(super) cluster: Cluster,
    runner_deletion: RunnerDeletion,
    /// Where the job's agent is.
    job: Arc<Mutex<AgentAddress>>,
    /// Agents that hookd reaches by a socket, by their containers: a connection that was made before any
    /// program ran in the container is used to the end.
    held: Arc<Mutex<HashMap<String, Arc<AgentPod>>>>,
    /// How an agent with a socket is known again.
    identities: Identities,
    /// Containers whose agents have said that all is over: the kubelet may not have noticed.
    ended: Arc<Mutex<HashSet<String>>>,
    known: Arc<Mutex<Option<Arc<AgentPod>>>>,
}

/// Where an agent is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentAddress {
    /// Name of the pod.
    pub pod: String,
    /// Name of stepd's container.
    pub container: String,
    /// The directory of its socket, where hookd has it; none: an exec session leads to it.
    pub socket: Option<SocketDir>,
    /// The services of its job, if the pod does not list them itself.
    pub services: Vec<ServiceContainer>,
}

/// A service of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceContainer {
    /// As the workflow's user knows it.
    pub name: String,
    /// Name of its container.
    pub container: String,
}

impl AgentAddress {
    /// The container of a pod of ours.
    pub fn in_pod(pod: &str, container: &str) -> Self {
        Self { pod: pod.to_owned(), container: container.to_owned(), ..Self::default() }
    }
}

/// A pod with stepd in one of its containers, and the way to it.
#[derive(Debug)]
pub struct AgentPod {
    address: AgentAddress,
    watch: PodWatch,
    cluster: Cluster,
    identities: Identities,
    /// One watch of the runner pod for the whole job, not one a step.
    _deletion: Arc<RunnerDeletionWatch>,
    tunnel: tokio::sync::Mutex<Option<Tunnel>>,
    /// The step that ran when the container ended.
    ended_during: Mutex<Option<String>>,
    /// Ends of services that were reported: name, and how often it was started again before.
    reported: Mutex<HashSet<(String, i32)>>,
}

#[derive(Clone, Debug)]
struct Tunnel {
    number: u64,
    agent: Agent,
}

impl Agents {
    /// Agents in pods of this runner; none is spoken to yet.
    pub fn new(
        cluster: Cluster,
        runner_deletion: RunnerDeletion,
        runner: &str,
        identities: Identities,
    ) -> Self {
        let job = AgentAddress::in_pod(&names::job_pod(runner), names::JOB_CONTAINER);
        let job = Arc::new(Mutex::new(job));
        let (held, ended, known) = (Arc::default(), Arc::default(), Arc::default());
        Self { cluster, runner_deletion, job, held, identities, ended, known }
    }

    /// Jobs run in this pod: until one does, it is the pod that is watched.
    pub fn stay_in(&self, pod: &str) {
        let elsewhere = self.job.lock().unwrap_or_else(PoisonError::into_inner).pod != pod;
        if elsewhere {
            self.move_job(AgentAddress::in_pod(pod, ""));
        }
    }

    /// An agent in the pod of the job, which is that of the runner; the same one for each call.
    pub fn hold(&self, address: &AgentAddress) -> Arc<AgentPod> {
        let job = self.for_job();
        if job.address == *address {
            return job;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(self.at(address.clone(), job.watch()));
        held.entry(address.container.clone()).or_insert_with(new).clone()
    }

    /// An agent has ended all that ran in its container.
    pub fn has_ended(&self, address: &AgentAddress) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.insert(address.container.clone());
        self.identities.forget(&address.container);
    }

    /// True for a container whose agent has ended.
    pub fn is_over(&self, container: &str) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).contains(container)
    }

    /// Forgets the way to an agent.
    pub fn release(&self, address: &AgentAddress) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(&address.container);
    }

    /// Where the job's agent is from now on.
    pub fn move_job(&self, to: AgentAddress) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.clear();
    }

    /// The job's pod, which is watched from now on.
    pub fn for_job(&self) -> Arc<AgentPod> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let address = self.job.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let watch = PodWatch::for_pod(self.cluster.pods(), &address.pod);
            Arc::new(self.at(address, watch))
        };
        known.get_or_insert_with(new).clone()
    }

    /// The job's pod, if it is watched already.
    pub fn for_known_job(&self) -> Option<Arc<AgentPod>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An agent elsewhere; `watch` is that of its pod.
    pub fn at(&self, address: AgentAddress, watch: PodWatch) -> AgentPod {
        AgentPod {
            address,
            watch,
            cluster: self.cluster.clone(),
            identities: self.identities.clone(),
            _deletion: self.runner_deletion.watch(),
            tunnel: tokio::sync::Mutex::default(),
            ended_during: Mutex::default(),
            reported: Mutex::default(),
        }
    }

    /// Forgets the job's pod: another one of the name is another pod.
    pub fn clear(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl AgentPod {
    /// True the first time that this end of a service is asked for.
    pub fn is_first_report(&self, service: &str, restarts: i32) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.insert((service.to_owned(), restarts))
    }

    /// Name of the pod.
    pub fn name(&self) -> &str {
        &self.address.pod
    }

    /// The services of its job, if the pod does not list them itself.
    pub fn services(&self) -> &[ServiceContainer] {
        &self.address.services
    }

    /// True if the API server has no part in the way to the agent.
    pub fn is_local(&self) -> bool {
        self.address.socket.is_some()
    }

    /// The cluster that the pod is in.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// How long the way to the agent may be broken.
    pub fn timeout(&self) -> Duration {
        self.cluster.api_timeout
    }

    fn target(&self) -> ContainerRef<'_> {
        ContainerRef { pod: &self.address.pod, container: &self.address.container }
    }

    /// Name of stepd's container.
    pub fn container(&self) -> &str {
        &self.address.container
    }

    /// Remembers the step that ran when the container ended; the first one counts.
    pub fn ended_during(&self, step: Option<String>) {
        let mut known = self.ended_during.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.take().or(step);
    }

    /// Why no further step can run in the container, if it has ended.
    pub fn end(&self) -> Option<Failure> {
        let during = self.ended_during.lock().unwrap_or_else(PoisonError::into_inner);
        job_end::of(&self.watch.now(), self.container(), during.as_deref()).map(Failure::from)
    }

    /// The pod's states.
    pub fn watch(&self) -> PodWatch {
        self.watch.clone()
    }

    /// The agent, over the tunnel that is there or a new one; and the tunnel's number.
    ///
    /// # Errors
    /// [`AgentError::NoTunnel`] or [`AgentError::NoAnswer`] when none can be made now.
    pub async fn agent(&self) -> Result<(u64, Agent), AgentError> {
        let mut tunnel = self.tunnel.lock().await;
        if let Some(Tunnel { number, agent }) = &*tunnel {
            return Ok((*number, agent.clone()));
        }
        let agent = self.open().await?;
        let number = next_number();
        *tunnel = Some(Tunnel { number, agent: agent.clone() });
        Ok((number, agent))
    }

    /// The tunnel of this number broke; the next call makes another.
    pub async fn broke(&self, number: u64) {
        let mut tunnel = self.tunnel.lock().await;
        tunnel.take_if(|tunnel| tunnel.number == number);
    }

    async fn open(&self) -> Result<Agent, AgentError> {
        match &self.address.socket {
            Some(directory) => {
                let stream = directory.connect().await.map_err(|error| self.no_tunnel(error))?;
                let mut agent = self.serve_over(stream).await?;
                let verified = self.identities.verify(self.container(), &mut agent);
                let verified = tokio::time::timeout(ANSWER, verified).await;
                let (pod, timeout) = (self.name().to_owned(), ANSWER);
                verified
                    .map_err(|_| AgentError::NoAnswer { pod, timeout })?
                    .map_err(|error| self.no_tunnel(error))?;
                Ok(agent)
            }
            None => {
                let command = [STEPD, "connect", "--dir", STEPD_DIR];
                let opening = tunnel::open(&self.cluster, self.target(), &command);
                let opened = tokio::time::timeout(ANSWER, opening).await;
                let (pod, timeout) = (self.name().to_owned(), ANSWER);
                let stream = opened
                    .map_err(|_| AgentError::NoAnswer { pod, timeout })?
                    .map_err(|error| self.no_tunnel(error))?;
                self.serve_over(stream).await
            }
        }
    }

    async fn serve_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Agent, AgentError> {
        let mut stream = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_| {
            let used = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
            std::future::ready(stream.take().ok_or_else(used))
        });
        let channel = Endpoint::from_static("http://stepd")
            .http2_keep_alive_interval(HOOKD_KEEPALIVE)
            .keep_alive_timeout(HOOKD_KEEPALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect_with_connector(connector)
            .await
            .map_err(|error| self.no_tunnel(error))?;
        Ok(StepServiceClient::new(channel)
            .max_encoding_message_size(MAX_STEPD_MESSAGE_SIZE)
            .max_decoding_message_size(MAX_STEPD_ANSWER_SIZE))
    }

    fn no_tunnel(&self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> AgentError {
        AgentError::NoTunnel { pod: self.name().to_owned(), source: source.into() }
    }
}

/// Tunnels of a daemon are counted, so that the break of an old one does not close a new one.
fn next_number() -> u64 {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
