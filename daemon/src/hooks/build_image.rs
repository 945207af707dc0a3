//! `build_image`: a Dockerfile becomes an image in the registry.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::build;
use crate::context::Context;
use crate::error::Failure;
use crate::ids::StepId;
use crate::placement::own_pod::deletion;
use crate::session::cursor::{BuiltReference, Cursor};
use crate::session::events::Session;
use crate::session::operation::Operation;

/// The operation.
pub struct BuildImage {
    context: Arc<Context>,
    step: StepId,
    dockerfile: PathBuf,
}

impl BuildImage {
    /// Of this step.
    pub fn new(context: Arc<Context>, step: StepId, dockerfile: PathBuf) -> Self {
        Self { context, step, dockerfile }
    }
}

impl Operation for BuildImage {
    /// The image by its digest.
    type Output = BuiltReference;

    async fn run(&mut self, session: &mut Session) -> Result<BuiltReference, Failure> {
        let env = self.context.build_environment().await?;
        build::build(&env, &self.step, &self.dockerfile, session).await
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
