//! The containers of a job together.

use super::part::Part;
use super::{JobSpec, PodOptions};
use crate::error::Failure;
use crate::names;
use crate::objects::docker::options::ContainerKind;
use crate::objects::docker::ports;
use crate::objects::services::{self, Hosts, Named};

/// The containers of a job on their way into its pod.
pub(super) struct Parts<'a> {
    /// The job container, if the job has one.
    pub(super) job: Option<Part<'a>>,
    /// The services, in the order of the workflow.
    pub(super) services: Vec<Part<'a>>,
}

impl<'a> Parts<'a> {
    /// Reads and checks what the workflow says of each, and that their ports do not meet.
    pub(super) fn read(spec: &'a JobSpec, around: PodOptions<'a>) -> Result<Self, Failure> {
        let job = spec.container.as_ref().map(|spec| {
            Part::new(
                names::JOB_CONTAINER.to_owned(),
                ContainerKind::Job,
                spec,
                None,
                around.policy,
            )
        });
        let job = job.transpose()?;
        let images: Vec<_> = spec.services.iter().map(|service| service.image.as_str()).collect();
        let names = services::container_names(&images);
        let known = around.images.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        let services = spec.services.iter().zip(names).zip(known).map(|((spec, name), image)| {
            Part::new(name, ContainerKind::Service, spec, image, around.policy)
        });
        let parts = Self { job, services: services.collect::<Result<_, _>>()? };
        let ports: Vec<_> = parts.all().map(|part| (part.name.as_str(), part.listens())).collect();
        let ports: Vec<_> = ports.iter().map(|(name, ports)| (*name, ports)).collect();
        ports::check_apart(&ports)?;
        Ok(parts)
    }

    /// All of them, the job container first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Part<'a>> {
        self.job.iter().chain(&self.services)
    }

    /// The names that all of them find; `gateway` as in [`services::hosts`].
    pub(super) fn hosts(&self, gateway: &str) -> Hosts {
        let named = self.all().map(|part| Named {
            container: &part.name,
            image: (part.kind == ContainerKind::Service).then_some(part.spec.image.as_str()),
            options: &part.options,
        });
        services::hosts(&named.collect::<Vec<_>>(), gateway, self.job.is_some())
    }
}
