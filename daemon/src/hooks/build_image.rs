//! `build_image`: a Dockerfile becomes an image in the registry, under the names that the call gives it.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::build;
use crate::build::publish::{self, PublishedImage};
use crate::build::spec::BuildSpec;
use crate::context::Context;
use crate::error::Failure;
use crate::hooks::policy;
use crate::ids::StepId;
use crate::metrics;
use crate::placement::own_pod::deletion;
use crate::session::cursor::Cursor;
use crate::session::events::Session;
use crate::session::operation::Operation;

/// The operation.
pub struct BuildImage {
    context: Arc<Context>,
    step: StepId,
    spec: BuildSpec,
}

impl BuildImage {
    /// Of this step.
    pub fn new(context: Arc<Context>, step: StepId, spec: BuildSpec) -> Self {
        Self { context, step, spec }
    }
}

impl Operation for BuildImage {
    /// The image by its digest, and where else it is.
    type Output = PublishedImage;
    const CALL: metrics::Call = metrics::Call::BuildImage;

    async fn run(&mut self, session: &mut Session) -> Result<PublishedImage, Failure> {
        let env = self.context.build_environment().await?;
        let tags = &self.spec.tags;
        publish::check(&env, tags)?;
        // Any program of the runner makes this call: it could name any event.
        policy::apply(&self.context, session, |policy| policy.of_build(None)).await?;
        let image = build::build(&env, &self.step, &self.spec, session).await?;
        publish::publish(&env, image, tags, session).await
    }

    fn roll_back(&self, cursor: Option<&Cursor>) -> BoxFuture<'static, ()> {
        let (context, step) = (self.context.clone(), self.step.clone());
        let cursor = cursor.cloned();
        async move { deletion::delete_jobs(&context, &step, cursor.as_ref()).await }.boxed()
    }

    async fn finish(&self, cursor: &Cursor) {
        deletion::delete_jobs(&self.context, &self.step, Some(cursor)).await;
    }
}
