//! Reads the context, on threads that end with the step, and sends it to a pod.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use super::Build;
use crate::build::builder::Builder;
use crate::build::context::{
    self, Bounds, BuildContext, ContextDigest, ContextError, ContextSummary, Files,
};
use crate::build::error::BuildError;
use crate::build::spec::BuildSpec;
use crate::cluster::ContainerRef;
use crate::cluster::exec::stdin::{self, ChunkWriter};
use crate::config::Config;
use crate::dockerfile::{self, Dockerfile, Lowered};
use crate::error::{CommonError, Failure};
use crate::names;
use crate::policy::{self, Policy};
use crate::registry::reference::NamedImage;
use crate::session::annotation::{self, Annotation, Place};
use crate::session::events::Session;
use crate::session::log_group;
use crate::session::warnings::Warnings;

/// How much later than at its deadline a thread is waited for: a file call that does not return keeps it
/// from looking at the clock.
const GRACE: Duration = Duration::from_secs(15);

/// What is to be read, and the settings that bound it.
#[derive(Clone, Copy)]
pub struct ContextReader<'a> {
    /// The settings.
    pub config: &'a Config,
    /// What builds it.
    pub builder: &'static dyn Builder,
    /// The administrator's policy.
    pub policy: Option<&'a Policy>,
    /// The context with its Dockerfile.
    pub spec: &'a BuildSpec,
}

/// A context that is open, with what the builder is to do with it.
#[derive(Debug)]
pub struct ReadContext {
    /// The context, with the Dockerfile that the builder reads.
    pub source: BuildContext,
    /// The images that it names.
    pub images: Vec<NamedImage>,
    /// What of them the policy would refuse.
    pub audited: Vec<String>,
    /// What the image will differ in from docker's.
    pub warnings: Vec<BuildWarning>,
    /// Why none of its layers may be taken from a cache.
    pub uncacheable: Option<&'static str>,
    /// Texts of the builder's log that hold values of build arguments, and what is shown in their place.
    pub hidden: BTreeMap<String, String>,
}

/// What the image will differ in from docker's, or what in the call has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildWarning {
    /// The line of the Dockerfile, from 1; none: it stands elsewhere.
    pub line: Option<usize>,
    /// As users read it, with the line.
    pub text: String,
}

impl ReadContext {
    /// Prints as annotations, once a job, what the policy would have refused and what the image will differ in: whether
    /// it is built now or was before.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn say(
        &self,
        dockerfile: &Path,
        given: &Warnings,
        session: &mut Session,
    ) -> Result<(), Failure> {
        // An earlier daemon has printed them before it began the build.
        if log_group::is_open(session) {
            return Ok(());
        }
        policy::say(&self.audited, given, session).await?;
        let annotations = self.warnings.iter().map(|warning| {
            let place = warning.line.map(|line| Place { file: dockerfile, line });
            Annotation { title: "Dockerfile", place, text: &warning.text }
        });
        annotation::warn(annotations, given, session).await
    }

    /// The warnings, as lines of the build's log.
    pub fn warning_lines(&self) -> Vec<String> {
        self.warnings.iter().map(|warning| warning.text.clone()).collect()
    }
}

impl ContextReader<'_> {
    /// Opens the context, and reads the Dockerfile.
    ///
    /// # Errors
    /// As [`context::open`]; a Dockerfile whose images cannot be determined, or that the builder would not
    /// build as docker does; an image that the policy does not allow.
    pub async fn read(&self) -> Result<ReadContext, Failure> {
        self.read_for(|lowered| lowered).await
    }

    /// As [`ContextReader::read`], with a Dockerfile that is changed once more.
    ///
    /// # Errors
    /// As [`ContextReader::read`].
    pub async fn read_for(
        &self,
        change: impl FnOnce(Lowered) -> Lowered + Send + 'static,
    ) -> Result<ReadContext, Failure> {
        let roots = self.config.context_roots();
        let spec = self.spec.clone();
        let is_strict = self.config.build.strict;
        let (builder, settings) = (self.builder, self.config.build.clone());
        let (bounds, _guard) = self.bounds();
        let read = self.on_thread(move || {
            let BuildSpec { dockerfile, context, options, .. } = spec;
            let opened = match &context {
                Some(directory) => context::open_in(&roots, directory, &dockerfile),
                None => context::open(&roots, &dockerfile),
            };
            let mut source = opened.map_err(failure)?;
            let text = source.read_dockerfile(dockerfile::LIMIT).map_err(failure)?;
            let unknown =
                |source| BuildError::ImagesUnknown { dockerfile: dockerfile.clone(), source };
            let parsed = Dockerfile::read(&text, &options).map_err(unknown)?;
            let images = parsed.images().map_err(unknown)?;
            let refused =
                |source| BuildError::Unsupported { dockerfile: dockerfile.clone(), source };
            let files = Files::of(&source, &bounds);
            let lowered = builder.dockerfile(&parsed, &files, &settings);
            files.in_time().map_err(failure)?;
            let mut lowered = lowered.map_err(refused)?;
            if let Some(first) = lowered.warnings.first().filter(|_| is_strict) {
                return Err(refused(first.clone().into()).into());
            }
            let name = source.dockerfile_name();
            let of_lines = lowered
                .warnings
                .iter()
                .map(|warning| BuildWarning { line: Some(warning.line), text: warning.of(name) });
            let warnings = of_lines.chain(unused(&lowered.unused)).collect();
            let uncacheable = builder.uncacheable(&lowered, &settings);
            let hidden = std::mem::take(&mut lowered.hidden);
            source.add(change(lowered).into_files());
            let audited = Vec::new();
            Ok::<_, Failure>(ReadContext { source, images, audited, warnings, uncacheable, hidden })
        });
        let read = read.await??;
        let Some(policy) = self.policy else { return Ok(read) };
        // Of the very names that the build may pull.
        let audited = policy.judge(policy.of_base_images(&self.spec.dockerfile, &read.images))?;
        Ok(ReadContext { audited, ..read })
    }

    /// Reads the context without sending it.
    pub(super) async fn survey(&self, source: BuildContext) -> Result<ContextSummary, Failure> {
        let (bounds, _guard) = self.bounds();
        self.on_thread(move || source.survey(&bounds)).await?.map_err(failure)
    }

    /// The limits of reading; the work ends when the guard is dropped.
    pub fn bounds(&self) -> (Bounds, tokio_util::sync::DropGuard) {
        let build = &self.config.build;
        let cancelled = CancellationToken::new();
        let guard = cancelled.clone().drop_guard();
        (Bounds { bytes: build.context_limit, timeout: build.context_timeout, cancelled }, guard)
    }

    /// Runs `work` where it may block, for as long as a context may take.
    ///
    /// # Errors
    /// `CONTEXT_INVALID` when it takes longer.
    pub async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let timeout = self.config.build.context_timeout + GRACE;
        let thread = tokio::task::spawn_blocking(work);
        let done = tokio::time::timeout(timeout, thread).await.map_err(|_| {
            BuildError::ContextStalled { dockerfile: self.spec.dockerfile.clone(), timeout }
        })?;
        let what = || format!("Reading the context of {} failed", self.spec.dockerfile.display());
        done.map_err(|error| CommonError::defect(what(), error).into())
    }
}

impl Build<'_> {
    /// Packs the context on a thread of its own and sends it as it comes.
    pub(super) async fn send_context(
        &self,
        source: BuildContext,
        pod: &Pod,
    ) -> Result<ContextDigest, Failure> {
        let reader = self.reader();
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let (bounds, guard) = reader.bounds();
        let pack = reader.on_thread(move || {
            let summary = source.write_tar_gz(ChunkWriter::new(sender), &bounds)?;
            Ok(summary.digest)
        });
        let pod = pod.name_any();
        let target = ContainerRef { pod: &pod, container: names::BUILD_CONTAINER };
        let send = stdin::send_stdin(self.env.cluster, target, receiver);
        tokio::pin!(pack, send);
        // A thread that hangs sends no end either.
        let (packed, sent) = tokio::select! {
            packed = &mut pack => match packed? {
                Err(error) if !matches!(error, ContextError::Output { .. }) => {
                    return Err(failure(error));
                }
                packed => (packed, send.await),
            },
            sent = &mut send => {
                // What is packed from now on is not sent any more.
                drop(guard);
                (pack.await?, sent)
            }
        };
        match packed {
            // The connection broke, and with it the pipe that the context was written to.
            Err(error @ (ContextError::Output { .. } | ContextError::Cancelled)) => {
                sent.and_then(|()| Err(failure(error)))
            }
            Err(error) => Err(failure(error)),
            Ok(context_digest) => sent.map(|()| context_digest),
        }
    }
}

/// As docker warns of build arguments that have no effect.
fn unused(names: &[String]) -> Option<BuildWarning> {
    let names = names.join(", ");
    let text = format!("warning: build arguments that no ARG names: {names}");
    (!names.is_empty()).then_some(BuildWarning { line: None, text })
}

/// A client that is gone is no fault of the context.
pub fn failure(error: ContextError) -> Failure {
    match error {
        ContextError::Cancelled => Failure::cancelled(),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::build::builder::KANIKO;
    use crate::error::Reason;

    async fn read(spec: &BuildSpec, work: &str) -> (ReadContext, ContextDigest) {
        let config = Config::of(&["--work-dir", work]);
        let reader = ContextReader { config: &config, builder: KANIKO, policy: None, spec };
        let summary = reader.survey(reader.read().await.unwrap().source).await.unwrap();
        (reader.read().await.unwrap(), summary.digest)
    }

    #[tokio::test]
    async fn an_argument_changes_what_is_sent_and_no_warning_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let dockerfile = directory.path().join("Dockerfile");
        std::fs::write(&dockerfile, "FROM a AS one\nARG A\nRUN x\nFROM one\nRUN y\n").unwrap();
        let work = directory.path().to_str().unwrap();
        let with = |value: &str| {
            let mut spec = BuildSpec::of(&dockerfile);
            for name in ["A", "B"] {
                spec.options.arguments.insert(name.to_owned(), value.to_owned());
            }
            spec
        };
        let (first, of_first) = read(&with("one1"), work).await;
        assert_eq!(first.warning_lines(), ["warning: build arguments that no ARG names: B"]);
        assert_eq!(first.hidden, [("ARG A=one1".to_owned(), "ARG A".to_owned())].into());
        assert_eq!(read(&with("one1"), work).await.1, of_first);
        assert_ne!(read(&with("two2"), work).await.1, of_first);
        let mut target = with("one1");
        target.options.target = Some("one".to_owned());
        assert_ne!(read(&target, work).await.1, of_first);
        // One without effect is no other image.
        let mut other = with("one1");
        other.options.arguments.insert("B".to_owned(), "three3".to_owned());
        assert_eq!(read(&other, work).await.1, of_first);
    }

    #[tokio::test]
    async fn a_strict_build_ends_where_another_warns() {
        let directory = tempfile::tempdir().unwrap();
        let dockerfile = directory.path().join("Dockerfile");
        let work = directory.path().to_str().unwrap();
        let (loose, strict) = (["--work-dir", work], ["--work-dir", work, "--build-strict"]);
        let (loose, strict) = (Config::of(&loose), Config::of(&strict));
        let spec = BuildSpec::of(&dockerfile);
        let reader = |config| ContextReader { config, builder: KANIKO, policy: None, spec: &spec };
        std::fs::write(&dockerfile, "FROM a\n\nRUN --network=none x\n").unwrap();
        let read = reader(&loose).read().await.unwrap();
        assert!(
            read.warnings[0].text.starts_with("Dockerfile:3: warning: "),
            "{:?}",
            read.warnings
        );
        let failure = reader(&strict).read().await.unwrap_err();
        assert_eq!(failure.reason, Reason::BuildFailed);
        assert!(failure.to_string().contains("--network=none has no effect"), "{failure}");
        std::fs::write(&dockerfile, "FROM a\nRUN x\n").unwrap();
        assert_eq!(reader(&strict).read().await.unwrap().warning_lines(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_context_is_read_for_as_long_as_the_settings_say() {
        let limits = ["--build-context-timeout", "7", "--build-context-limit", "9"];
        let (config, spec) = (Config::of(&limits), BuildSpec::of("/w/Dockerfile".as_ref()));
        let reader = ContextReader { config: &config, builder: KANIKO, policy: None, spec: &spec };
        let (bounds, _guard) = reader.bounds();
        assert_eq!((bounds.timeout, bounds.bytes), (Duration::from_secs(7), 9));
        // A file call that does not return.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let read = reader.on_thread(move || ended.recv());
        tokio::pin!(read);
        assert!((&mut read).now_or_never().is_none());
        tokio::time::advance(bounds.timeout + GRACE - Duration::from_millis(1)).await;
        assert!((&mut read).now_or_never().is_none());
        tokio::time::advance(Duration::from_millis(2)).await;
        let failure = read.await.unwrap_err();
        assert!(failure.to_string().contains("within 22 s"), "{failure}");
        drop(end);
    }
}
