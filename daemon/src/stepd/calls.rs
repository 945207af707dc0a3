//! Single calls of the agent in the job's pod: each is made again after a break, for as long as the
//! pod lives.

use std::time::Duration;

use hookd_api::stepd::v1::{CancelStepRequest, ForgetStepRequest, GetStatusRequest};
use tonic::Status;

use crate::cluster::pod::{self, ContainerState};
use crate::cluster::retry::Backoff;
use crate::cluster::watch::PodState;
use crate::error::{Failure, report};
use crate::ids::StepId;
use crate::stepd::error::AgentError;
use crate::stepd::pods::{Agent, AgentPod, Agents};

/// A call that is not answered by then is made again; a step that is cancelled may take its grace.
const ANSWER: Duration = Duration::from_secs(20);

/// Drops what the agent keeps of a step whose end its client knows.
pub async fn forget(agents: &Agents, step: &StepId) {
    let request = ForgetStepRequest { step_id: step.to_string() };
    let forgotten = with_agent(agents, |mut agent| {
        let request = request.clone();
        async move { agent.forget_step(request).await.map(drop) }
    });
    forgotten.await;
}

/// Ends every process of a step; goes on trying for as long as a step waits for the API. False if
/// that did not help.
pub async fn cancel(agents: &Agents, step: &StepId) -> bool {
    let request = CancelStepRequest { step_id: step.to_string(), grace_milliseconds: 0 };
    let cancelled = with_agent(agents, |mut agent| {
        let request = request.clone();
        async move { agent.cancel_step(request).await.map(drop) }
    });
    // What may run on must be found again.
    let cancelled = cancelled.await.is_some();
    if cancelled {
        forget(agents, step).await;
    }
    cancelled
}

/// As [`cancel`], of a step without an attached client; false if the agent does not know it.
pub async fn cancel_unattended(agents: &Agents, step: &StepId) -> bool {
    let found = known(agents).await.iter().any(|known| known == step.as_str());
    if found {
        cancel(agents, step).await;
    }
    found
}

/// Ids of the steps that the agent knows.
pub async fn known(agents: &Agents) -> Vec<String> {
    let mut found = Vec::new();
    let asked = with_agent(agents, |mut agent| async move {
        let status = agent.get_status(GetStatusRequest {}).await?.into_inner();
        Ok(status.steps.into_iter().map(|step| step.step_id).collect::<Vec<_>>())
    });
    found.extend(asked.await.into_iter().flatten());
    found
}

/// Makes one call of the agent, again after a break, for as long as its pod lives.
pub async fn with_agent<T, F>(agents: &Agents, mut call: impl FnMut(Agent) -> F) -> Option<T>
where
    F: Future<Output = Result<T, Status>>,
{
    let pod = agents.for_job();
    let calls = async {
        let mut backoff = Backoff::default();
        loop {
            if let Ok((number, agent)) = pod.agent().await {
                let answer = tokio::time::timeout(ANSWER, call(agent)).await;
                match answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("not in time"))) {
                    Ok(answer) => return Some(answer),
                    Err(status) => {
                        tracing::info!(error = report(&status), "the agent did not answer");
                        pod.broke(number).await;
                    }
                }
            }
            backoff.wait().await;
        }
    };
    tokio::select! {
        answer = calls => answer,
        _ = lost(&pod) => {
            // A pod that is still there knows which step ended its container.
            if !matches!(pod.watch().now(), PodState::Present(_)) {
                agents.clear();
            }
            None
        }
        () = tokio::time::sleep(agents.cluster.api_timeout) => None,
    }
}

/// Waits until the pod, or the container in which its agent is, is lost; why.
pub async fn lost(pod: &AgentPod) -> Failure {
    let (name, container) = (pod.name().to_owned(), pod.container().to_owned());
    let over = |seen: &PodState| match seen {
        PodState::NotCreated => false,
        PodState::Deleted => true,
        PodState::Present(pod) => {
            matches!(
                pod::container_state(pod, &container),
                ContainerState::Terminated(_) | ContainerState::Failed(_)
            ) || pod.metadata.deletion_timestamp.is_some()
        }
    };
    match pod.watch().until(over).await {
        PodState::Present(pod) => match pod::container_state(&pod, &container) {
            ContainerState::Failed(failure) => failure,
            ContainerState::Terminated(ended) if pod.metadata.deletion_timestamp.is_none() => {
                let exit_code = ended.exit_code;
                AgentError::ContainerEnded { container, pod: name, exit_code }.into()
            }
            _ => pod::going(&pod),
        },
        PodState::Deleted | PodState::NotCreated => pod::deleted(&name),
    }
}
