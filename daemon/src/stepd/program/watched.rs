//! A program whose output its caller takes, such as a build's: what the client reads is another text.

use futures::future::BoxFuture;
use hookd_api::stepd::v1::attach_response::Event;
use hookd_api::stepd::v1::{Offsets, Output, StartStepRequest, StepEnd};
use tokio::sync::watch;

use super::{Broken, classify, requests};
use crate::cluster::client::ANSWER;
use crate::error::{Failure, report};
use crate::stepd::calls::lost;
use crate::stepd::error::AgentError;
use crate::stepd::pods::AgentPod;

/// Gets the output of a program in order.
pub trait TakeOutput: Send {
    /// Takes a piece of it; the program waits once too much is not taken.
    fn take(&mut self, output: Output) -> BoxFuture<'_, Result<(), Failure>>;
}

/// Runs a program whose output does not go to the client as it is, so that it cannot be attached to again:
/// a way to the agent that breaks is its end.
///
/// # Errors
/// Why it did not run to its end.
pub async fn watched(
    pod: &AgentPod,
    start: &StartStepRequest,
    log: &mut impl TakeOutput,
) -> Result<StepEnd, Failure> {
    let ended = tokio::select! {
        biased;
        ended = taken(pod, start, log) => ended,
        failure = lost(pod) => return Err(failure),
    };
    ended.map_err(|broken| match broken {
        Broken::Failed(failure) => failure,
        Broken::Lost(why) => {
            let (pod, timeout) = (pod.name().to_owned(), ANSWER);
            AgentError::Unreachable { pod, timeout, why }.into()
        }
    })
}

async fn taken(
    pod: &AgentPod,
    start: &StartStepRequest,
    log: &mut impl TakeOutput,
) -> Result<StepEnd, Broken> {
    let agent = pod.agent().await;
    let (_, mut agent) = agent.map_err(|error| Broken::Lost(report(&error)))?;
    let (acks, acknowledged) = watch::channel(Offsets::default());
    let answer = tokio::time::timeout(ANSWER, agent.attach(requests(start, acknowledged))).await;
    let answer = answer.map_err(|_| Broken::Lost("no answer within 15 s".to_owned()))?;
    let mut events = answer.map_err(classify)?.into_inner();
    loop {
        match events.message().await.map_err(classify)?.and_then(|event| event.event) {
            Some(Event::Output(output)) => {
                let end = output.offset + output.data.len() as u64;
                let is_stderr = output.stderr;
                log.take(output).await.map_err(Broken::Failed)?;
                acks.send_modify(|taken| {
                    let stream = if is_stderr { &mut taken.stderr } else { &mut taken.stdout };
                    *stream = end;
                });
            }
            Some(Event::SpoolFull(_)) => {}
            Some(Event::End(end)) if end.stopped => {
                return Err(Broken::Lost("the agent was stopped".to_owned()));
            }
            Some(Event::End(end)) => return Ok(end),
            None => return Err(Broken::Lost("the agent ended the stream".to_owned())),
        }
    }
}
