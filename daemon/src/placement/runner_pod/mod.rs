//! A job in the runner's own pod: its containers are ephemeral ones, which mount the runner's volumes.
//! Each is run by stepd, whose socket hookd reaches through a volume that both have, so that a step
//! needs the API server for nothing but its container.

use std::path::Path;

use futures::FutureExt;
use futures::future::BoxFuture;
use hookd_api::v1::JobPrepared;

use crate::context::Context;
use crate::error::Failure;
use crate::objects::container::ContainerStep;
use crate::objects::job_pod::JobSpec;
use crate::placement::{Call, CleanedUp, Placement, run_pushed};
use crate::session::cursor::Cursor;
use crate::session::events::Session;

mod container_step;
mod containers;
mod context_pipe;
mod dockerfile;
mod end;
pub mod error;
mod job;
mod kaniko;
mod network;
pub mod pull_secret;
pub mod record;
mod services;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct RunnerPod;

/// Takes up the job that the record has.
pub(super) async fn restore(context: &Context, record: &record::Record) {
    context.agents.move_job(record.address.clone());
    network::restore(context, record).await;
}

impl Placement for RunnerPod {
    fn start_job<'a>(
        &'a self,
        call: Call<'a>,
        spec: &'a JobSpec,
        session: &'a mut Session,
    ) -> BoxFuture<'a, Result<JobPrepared, Failure>> {
        job::start(call, spec, session).boxed()
    }

    fn end_job<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, ()> {
        end::job_of(call).map(|_| ()).boxed()
    }

    fn run_image<'a>(
        &'a self,
        call: Call<'a>,
        spec: ContainerStep,
        image: String,
        session: &'a mut Session,
    ) -> BoxFuture<'a, Result<i32, Failure>> {
        container_step::run(call, spec, image, session).boxed()
    }

    fn run_dockerfile<'a>(
        &'a self,
        call: Call<'a>,
        spec: ContainerStep,
        dockerfile: &'a Path,
        session: &'a mut Session,
    ) -> BoxFuture<'a, Result<i32, Failure>> {
        match call.context.config.registry.host {
            Some(_) => run_pushed(self, call, spec, dockerfile, session).boxed(),
            None => dockerfile::run(call, spec, dockerfile, session).boxed(),
        }
    }

    fn end_step<'a>(&'a self, call: Call<'a>, cursor: Option<&'a Cursor>) -> BoxFuture<'a, ()> {
        end::step(call, cursor).boxed()
    }

    fn cancel_step<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<bool, Failure>> {
        end::any(call).boxed()
    }

    fn end_orphans<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, ()> {
        end::orphans(context).boxed()
    }

    fn clean_up<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<CleanedUp, Failure>> {
        end::all(context).boxed()
    }
}
