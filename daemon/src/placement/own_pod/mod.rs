//! A job in a pod of its own, its container steps in pods of Jobs. The work directory comes from a claim.

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

mod cancel;
mod cleanup;
mod container_step;
pub mod deletion;
mod orphans;
mod prepare;
pub mod service_network;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct OwnPod;

impl Placement for OwnPod {
    fn start_job<'a>(
        &'a self,
        call: Call<'a>,
        spec: &'a JobSpec,
        session: &'a mut Session,
    ) -> BoxFuture<'a, Result<JobPrepared, Failure>> {
        prepare::prepare(call.context, call.step, spec, session).boxed()
    }

    fn end_job<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, ()> {
        deletion::delete_job_pod(call.context, call.step).boxed()
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
        run_pushed(self, call, spec, dockerfile, session).boxed()
    }

    fn end_step<'a>(&'a self, call: Call<'a>, cursor: Option<&'a Cursor>) -> BoxFuture<'a, ()> {
        deletion::delete_jobs(call.context, call.step, cursor).boxed()
    }

    fn cancel_step<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<bool, Failure>> {
        cancel::cancel(call.context, call.step).boxed()
    }

    fn end_orphans<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, ()> {
        orphans::delete_orphans(context).boxed()
    }

    fn clean_up<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<CleanedUp, Failure>> {
        cleanup::clean_up(context).boxed()
    }
}
