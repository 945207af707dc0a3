//! Kaniko in the container of a step: a program of stepd's, whose context comes through a named pipe and
//! whose images come through hookd's own registry endpoint.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use hookd_api::stepd::v1::{
    CancelStepRequest, ForgetStepRequest, Output, StartStepRequest, StepEnd,
};
use hookd_api::transport::{MAX_OUTPUT_SIZE, STEPD_DIR};
use hookd_api::v1::Stream;

use super::context_pipe::{self, ContextPipe};
use super::error::KanikoError;
use crate::build::builder::KANIKO as BUILDER;
use crate::build::context::{BuildContext, ContextError};
use crate::build::error::BuildError;
use crate::build::{self, ContextReader, ReadContext, failure};
use crate::config::ProxySource;
use crate::context::Context;
use crate::dockerfile::BUILDER_DIR;
use crate::endpoint::{ENDPOINT, LocalEndpoint, Shown};
use crate::error::{Failure, report};
use crate::objects::build_job::kaniko;
use crate::objects::build_job::proxy::Proxy;
use crate::placement::error::PlacementError;
use crate::registry::image_config::BuiltConfig;
use crate::session::cursor::RunPosition;
use crate::session::events::Session;
use crate::stepd::error::AgentError;
use crate::stepd::pods::AgentAddress;
use crate::stepd::program::{self, TakeOutput};
use crate::stepd::socket::SocketDir;
use crate::work_volume::error::VolumeError;

/// Kaniko's own directory, which is no part of the image.
pub(super) const KANIKO: &str = "/kaniko";
/// Its program there.
const EXECUTOR: &str = "/kaniko/executor";
/// Its name for stepd: that of no step, which ends with a letter or digit.
const STEP: &str = "build-";
/// Until the last process of a build is gone.
const ENDED: Duration = Duration::from_secs(15);
/// Bytes of a line that are held back until it ends.
const LONGEST_LINE: usize = 32 << 10;
/// Bytes of the log in which the reason of a failure stands.
const TAIL: usize = 64 << 10;

/// A build that is ready to begin.
#[derive(Clone, Copy)]
pub(super) struct Build<'a> {
    pub(super) context: &'a Context,
    pub(super) reader: ContextReader<'a>,
    /// The agent of the container.
    pub(super) address: &'a AgentAddress,
    pub(super) endpoint: &'a LocalEndpoint,
}

/// Why no more of a context comes.
enum Packing {
    /// The pipe cannot be written to.
    NotOpened(io::Error),
    /// As for a build in a pod of its own.
    Context(ContextError),
}

/// Builds; the configuration of the image that is on the container's root now.
pub(super) async fn run(
    build: Build<'_>,
    read: ReadContext,
    session: &mut Session,
) -> Result<BuiltConfig, Failure> {
    let AgentAddress { pod, container, socket, .. } = build.address;
    let Some(socket) = socket else {
        let (pod, container) = (pod.clone(), container.clone());
        return Err(PlacementError::NoSocket { pod, container }.into());
    };
    let start = build.program();
    let pipe = ContextPipe::make(socket).map_err(|error| unwritable(socket, error))?;
    let mut log = BuildLog::new(Shown::new(build.endpoint.config()), session);
    let ended = build.with_context(&pipe, read.source, &start, &mut log).await?;
    log.rest().await?;
    build.end_processes().await?;
    let path = || build.reader.spec.dockerfile.clone();
    if ended.signal == 9 && ended.oom_kills > 0 {
        return Err(KanikoError::OutOfMemory { dockerfile: path() }.into());
    }
    if !ended.error.is_empty() {
        let image = build.context.config.build.kaniko_image.clone();
        return Err(match ended.exit_code {
            // As docker has it: there is no such program.
            126 | 127 => KanikoError::NoBuilder { image, why: ended.error },
            _ => KanikoError::Ended { dockerfile: path(), why: ended.error },
        }
        .into());
    }
    if ended.exit_code != 0 {
        let failure = failure::explain(BUILDER, ENDPOINT, ended.exit_code, &log.tail());
        return Err(BuildError::Builder { dockerfile: path(), failure }.into());
    }
    let document = build.endpoint.image();
    let config = document.and_then(|document| BuiltConfig::read(&document).ok());
    let config = config.filter(RunPosition::has_room_for_built);
    Ok(config.ok_or_else(|| KanikoError::NoConfiguration { dockerfile: path() })?)
}

impl Build<'_> {
    /// Kaniko's program.
    fn program(&self) -> StartStepRequest {
        let directory = in_container(self.address);
        let mut argv = vec![
            EXECUTOR.to_owned(),
            format!("--context=tar://{directory}/{}", context_pipe::NAME),
            // How the node shows that this is a container differs from runtime to runtime.
            "--force".to_owned(),
        ];
        argv.extend(kaniko::arguments_of_all(self.endpoint.config()));
        let as_docker = kaniko::AS_DOCKER.map(|name| (name.to_owned(), "true".to_owned()));
        let mut environment: HashMap<_, _> = as_docker.into();
        let settings = &self.context.config;
        if settings.build.proxy == ProxySource::Sidecar {
            let proxy = Proxy::of_process().bypassed_for(None, &settings.registry);
            argv.extend(proxy.names().map(kaniko::build_argument));
            environment.extend(proxy.variables());
        }
        StartStepRequest {
            step_id: STEP.to_owned(),
            argv,
            environment,
            working_directory: "/".to_owned(),
            prepend_path: Vec::new(),
            is_main: false,
            built_image: None,
        }
    }

    /// Runs Kaniko while its context is packed.
    async fn with_context(
        &self,
        pipe: &ContextPipe,
        source: BuildContext,
        start: &StartStepRequest,
        log: &mut BuildLog<'_>,
    ) -> Result<StepEnd, Failure> {
        // The work ends when the guard is dropped.
        let (bounds, _guard) = self.reader.bounds();
        let writer = pipe.writer();
        let mut packing = pin!(self.reader.on_thread(move || {
            let out = writer.and_then(context_pipe::Writer::open).map_err(Packing::NotOpened)?;
            source.write_tar_gz(out, &bounds).map_err(Packing::Context)
        }));
        let pod = self.context.agents.hold(self.address);
        let mut building = pin!(program::watched(&pod, start, log));
        let mut packed = false;
        loop {
            tokio::select! {
                ended = &mut building => return ended,
                done = &mut packing, if !packed => match done? {
                    // Kaniko ended before it had all of it, and says why.
                    Ok(_) | Err(Packing::Context(ContextError::Output { .. })) => packed = true,
                    Err(Packing::Context(error)) => return Err(build::context_failure(error)),
                    Err(Packing::NotOpened(error)) => {
                        let socket = self.address.socket.clone().unwrap_or_default();
                        return Err(unwritable(&socket, error));
                    }
                },
            }
        }
    }

    /// Ends what a `RUN` has left running: the image has no processes.
    async fn end_processes(&self) -> Result<(), Failure> {
        let (_, mut agent) = self.context.agents.hold(self.address).agent().await?;
        let cancel = CancelStepRequest { step_id: STEP.to_owned(), grace_milliseconds: 1 };
        let cancelled = tokio::time::timeout(ENDED, agent.cancel_step(cancel)).await;
        let pod = || self.address.pod.clone();
        let unreachable = |why| AgentError::Unreachable { pod: pod(), timeout: ENDED, why };
        let cancelled =
            cancelled.map_err(|_| unreachable("a process of the build stays".to_owned()))?;
        cancelled.map_err(|status| unreachable(report(&status)))?;
        // Its output was taken.
        let forget = ForgetStepRequest { step_id: STEP.to_owned() };
        let forgotten = agent.forget_step(forget).await;
        Ok(forgotten.map(drop).map_err(|status| unreachable(report(&status)))?)
    }
}

/// The agent's directory as its container has it.
fn in_container(address: &AgentAddress) -> String {
    format!("{STEPD_DIR}/{}", address.container)
}

/// An instruction that needs the files of the base image, and leaves nothing in the image: what is mounted
/// is left out of it. The fork of Kaniko copies nothing into its own directory.
pub(super) fn unpacking(address: &AgentAddress) -> String {
    format!("COPY [\"../{BUILDER_DIR}/Dockerfile\", \"{}/unpacked\"]", in_container(address))
}

fn unwritable(socket: &SocketDir, error: io::Error) -> Failure {
    let path = socket.root.join(&socket.name);
    VolumeError::new(format!("{} cannot be written to", path.display()), error).into()
}

/// The build's log on its way to the user, line by line: the names of registries in it are restored.
struct BuildLog<'s> {
    session: &'s mut Session,
    shown: Shown,
    /// Begins of lines, of standard output and standard error.
    begun: [Vec<u8>; 2],
    tail: Vec<u8>,
}

impl<'s> BuildLog<'s> {
    fn new(shown: Shown, session: &'s mut Session) -> Self {
        Self { session, shown, begun: Default::default(), tail: Vec::new() }
    }

    /// Sends what has no end of line.
    async fn rest(&mut self) -> Result<(), Failure> {
        for mut begun in std::mem::take(&mut self.begun) {
            if !begun.is_empty() {
                begun.push(b'\n');
                self.send(begun).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, lines: Vec<u8>) -> Result<(), Failure> {
        let mut shown = self.shown.restore_bytes(&Bytes::from(lines));
        self.tail.extend_from_slice(&shown);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        while !shown.is_empty() {
            let piece = shown.split_to(shown.len().min(MAX_OUTPUT_SIZE));
            // The builder's log is none of the program's output.
            self.session.output(Stream::Stderr, piece, |_| {}).await?;
        }
        Ok(())
    }

    fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }
}

impl TakeOutput for BuildLog<'_> {
    /// Sends the lines that end in this piece.
    fn take(&mut self, output: Output) -> BoxFuture<'_, Result<(), Failure>> {
        let begun = &mut self.begun[usize::from(output.stderr)];
        begun.extend_from_slice(&output.data);
        let end = begun.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
        let end = end.unwrap_or(if begun.len() > LONGEST_LINE { begun.len() } else { 0 });
        let rest = begun.split_off(end);
        let lines = std::mem::replace(begun, rest);
        self.send(lines).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_has_the_name_of_no_step() {
        assert!(STEP.parse::<crate::ids::StepId>().is_err());
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        assert!(STEP.bytes().all(is_plain), "stepd takes it");
    }
}
