//! The agents in pods of ours: one tunnel to each, which stays open, and one watch of its pod.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hookd_api::stepd::v1::step_service_client::StepServiceClient;
use hyper_util::rt::TokioIo;
use kube::Client;
use tonic::transport::{Channel, Endpoint};

use crate::cluster::client::ANSWER;
use crate::cluster::tunnel;
use crate::cluster::watch::PodWatch;
use crate::error::{Failure, Reason, report};
use crate::hooks::{Context, Leaving};
use crate::spec::services::JOB;
use crate::spec::tools::{STEPD, STEPD_DIR};
use crate::step::job_end;

/// The API of an agent.
pub type Agent = StepServiceClient<Channel>;

/// A session that hangs is noticed after twice this, and one that is quiet is kept: an exec session
/// ends after 4 hours in which nothing went through it.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Output that stepd can send ahead while our caller is slow.
const STREAM_WINDOW: u32 = 1 << 20;
/// As in hook: h2 counts small frames that lie unread against the connection's window.
const CONNECTION_WINDOW: u32 = 64 << 20;
/// A step's environment is part of its start.
const LARGEST_CALL: usize = 64 << 20;

/// The agents of job pods that were spoken to.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    pods: Arc<Mutex<HashMap<String, Arc<AgentPod>>>>,
}

/// A pod with stepd in one of its containers, and the way to it.
#[derive(Debug)]
pub struct AgentPod {
    name: String,
    container: &'static str,
    watch: PodWatch,
    /// One watch of the runner pod for the whole job, not one a step.
    _leaving: Arc<Leaving>,
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
    /// The job's pod of this name, which is watched from now on.
    pub fn pod(&self, context: &Context, name: &str) -> Arc<AgentPod> {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let watch = PodWatch::of_pod(context.pods(), name);
            Arc::new(AgentPod::new(context, (name, JOB), watch))
        };
        pods.entry(name.to_owned()).or_insert_with(new).clone()
    }

    /// The pod of this name, if it is watched already.
    pub fn known(&self, name: &str) -> Option<Arc<AgentPod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Forgets the pods: another one of the name is another pod.
    pub fn clear(&self) {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl AgentPod {
    /// The pod of this name, with stepd in this container.
    pub fn new(
        context: &Context,
        (name, container): (&str, &'static str),
        watch: PodWatch,
    ) -> Self {
        Self {
            name: name.to_owned(),
            container,
            watch,
            _leaving: context.watch_for_leaving(),
            tunnel: tokio::sync::Mutex::default(),
            ended_during: Mutex::default(),
            reported: Mutex::default(),
        }
    }

    /// True the first time that this end of a service is asked for.
    pub fn is_first_report(&self, service: &str, restarts: i32) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.insert((service.to_owned(), restarts))
    }

    /// Name of the pod.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of stepd's container.
    pub fn container(&self) -> &'static str {
        self.container
    }

    /// Remembers the step that ran when the container ended; the first one counts.
    pub fn ended_during(&self, step: Option<String>) {
        let mut known = self.ended_during.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.take().or(step);
    }

    /// Why no further step can run in the container, if it has ended.
    pub fn end(&self) -> Option<Failure> {
        let during = self.ended_during.lock().unwrap_or_else(PoisonError::into_inner);
        job_end::of(&self.watch.now(), self.container, during.as_deref())
    }

    /// The pod's states.
    pub fn watch(&self) -> PodWatch {
        self.watch.clone()
    }

    /// The agent, over the tunnel that is there or a new one; and the tunnel's number.
    ///
    /// # Errors
    /// `API_UNREACHABLE` when none can be made now.
    pub async fn agent(&self, client: &Client, namespace: &str) -> Result<(u64, Agent), Failure> {
        let mut tunnel = self.tunnel.lock().await;
        if let Some(Tunnel { number, agent }) = &*tunnel {
            return Ok((*number, agent.clone()));
        }
        let agent = self.open(client, namespace).await?;
        let number = next_number();
        *tunnel = Some(Tunnel { number, agent: agent.clone() });
        Ok((number, agent))
    }

    /// The tunnel of this number broke; the next caller makes another.
    pub async fn broke(&self, number: u64) {
        let mut tunnel = self.tunnel.lock().await;
        tunnel.take_if(|tunnel| tunnel.number == number);
    }

    async fn open(&self, client: &Client, namespace: &str) -> Result<Agent, Failure> {
        let command = [STEPD, "connect", "--dir", STEPD_DIR];
        let opening = tunnel::open(client, namespace, (&self.name, self.container), &command);
        let opened = tokio::time::timeout(ANSWER, opening).await;
        let stream = opened
            .map_err(|_| self.unreachable("no answer within 15 s".to_owned()))?
            .map_err(|error| self.unreachable(report(&error)))?;
        let mut stream = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_| {
            let used = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
            std::future::ready(stream.take().ok_or_else(used))
        });
        let channel = Endpoint::from_static("http://stepd")
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect_with_connector(connector)
            .await
            .map_err(|error| self.unreachable(report(&error)))?;
        Ok(StepServiceClient::new(channel).max_encoding_message_size(LARGEST_CALL))
    }

    fn unreachable(&self, why: String) -> Failure {
        Failure::new(
            Reason::ApiUnreachable,
            format!("The agent in pod {} cannot be reached: {why}", self.name),
            "Look at the API server, and at the kubelet of the pod's node",
        )
    }
}

/// Tunnels of a daemon are counted, so that the break of an old one does not close a new one.
fn next_number() -> u64 {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
