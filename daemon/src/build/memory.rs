//! A build that was killed for its memory is built once more, with more of it.

use hookd_api::v1::{Phase, Stream};

use super::{Build, Lookup, Running};
use crate::cluster::error::ClusterError;
use crate::error::{Failure, report};
use crate::session::cursor::BUILD_ATTEMPTS;
use crate::session::events::Session;
use crate::session::log_group;

impl Build<'_> {
    /// Builds once more after `failure`, if that may help.
    ///
    /// # Errors
    /// The failure, if it is not for memory, or a pod with more of it does not start.
    pub(super) async fn with_more_memory(
        &self,
        failure: Failure,
        lookup: &Lookup,
        session: &mut Session,
    ) -> Result<Running, Failure> {
        let is_first =
            session.cursor.build.as_ref().is_some_and(|position| {
                !position.more_memory && position.attempt + 1 < BUILD_ATTEMPTS
            });
        let is_killed = matches!(failure.cause(), Some(ClusterError::OomKilled { .. }));
        let more = self.env.config.build.more_memory().filter(|_| is_first && is_killed);
        let Some(more) = more else { return Err(failure) };
        let first = &self.env.config.build.memory;
        log_group::end_line(session).await?;
        let line = format!(
            "The build used more memory than its limit of {first}: it is built once more with {more}\n"
        );
        session.output(Stream::Stderr, line.into(), |_| {}).await?;
        session.cursor.build.get_or_insert_default().more_memory = true;
        self.replace_job(session).await?;
        session
            .progress(Phase::BuildPending, "The build is started again with more memory")
            .await?;
        match self.start(lookup, session).await {
            Err(error) if !error.is_cancelled() => {
                tracing::info!(error = report(&error), "no build with more memory");
                Err(failure)
            }
            started => started,
        }
    }
}
