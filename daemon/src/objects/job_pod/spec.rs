//! What a job asks for, checked, and what its containers become in the pod.

use std::collections::BTreeMap;
use std::path::Path;

use hookd_api::v1::{ContainerSpec, PreparedContainer};
use k8s_openapi::api::core::v1::{Container, VolumeMount};

use crate::config::PolicyConfig;
use crate::error::Failure;
use crate::names;
use crate::objects::bounds;
use crate::objects::container;
use crate::objects::docker::options::{self, ContainerKind, CreateOptions};
use crate::objects::docker::ports::{self, Ports};
use crate::objects::docker::volumes::{self, UserVolumes};
use crate::objects::error::SpecError;
use crate::objects::mounts::{self, Mounts};
use crate::objects::services::{self, Hosts, Named};
use crate::registry::image_config::ImageConfig;
use crate::runner::WorkVolume;

/// What a job asks for, checked: nothing of it is left to interpret but for what only its images
/// say.
#[derive(Clone, Debug, Default)]
pub struct JobSpec {
    /// The job container, if the job has one.
    pub container: Option<JobContainer>,
    /// The services, in the order of the workflow.
    pub services: Vec<JobContainer>,
    /// The workflow's event, as the hook's environment names it; empty: not known.
    pub event: String,
}

/// A container of a job, checked.
#[derive(Clone, Debug)]
pub struct JobContainer {
    /// Its name in the pod.
    pub name: String,
    /// As the workflow has it.
    pub spec: ContainerSpec,
    /// docker's options.
    pub options: CreateOptions,
    kind: ContainerKind,
    volumes: UserVolumes,
    ports: Ports,
}

impl JobSpec {
    /// Reads and checks what the workflow says of the containers of a job.
    ///
    /// # Errors
    /// `INVALID_INPUT` with the container and what is wrong with it.
    pub fn read(
        container: Option<ContainerSpec>,
        services: Vec<ContainerSpec>,
    ) -> Result<Self, Failure> {
        let job = container.map(|spec| {
            JobContainer::read(names::JOB_CONTAINER.to_owned(), ContainerKind::Job, spec)
        });
        let images: Vec<_> = services.iter().map(|service| service.image.as_str()).collect();
        let names = services::container_names(&images);
        let services = services
            .into_iter()
            .zip(names)
            .map(|(spec, name)| JobContainer::read(name, ContainerKind::Service, spec));
        let (container, services) = (job.transpose()?, services.collect::<Result<_, _>>()?);
        let spec = Self { container, services, event: String::new() };
        spec.check_ports(&[])?;
        Ok(spec)
    }

    /// Refuses what the administrator does not allow.
    ///
    /// # Errors
    /// `POLICY_DENIED` with the option, the container and the setting.
    pub fn check(&self, policy: &PolicyConfig) -> Result<(), Failure> {
        self.all().try_for_each(|container| container.options.check(&container.name, policy))
    }

    /// Refuses two containers that listen at one port. `images` are those of the services, in their
    /// order, as far as they are known.
    pub(super) fn check_ports(&self, images: &[Option<ImageConfig>]) -> Result<(), Failure> {
        let job = self.container.iter().map(|job| (job, None));
        let all: Vec<_> = job.chain(self.services_with(images)).collect();
        let ports: Vec<_> = all.iter().map(|(part, image)| part.listens(*image)).collect();
        let ports: Vec<_> =
            all.iter().zip(&ports).map(|((part, _), ports)| (part.name.as_str(), ports)).collect();
        ports::check_apart(&ports)
    }

    /// All containers, the job container first.
    pub fn all(&self) -> impl Iterator<Item = &JobContainer> {
        self.container.iter().chain(&self.services)
    }

    /// The services, each with its image if that is known.
    pub(super) fn services_with<'a>(
        &'a self,
        images: &'a [Option<ImageConfig>],
    ) -> impl Iterator<Item = (&'a JobContainer, Option<&'a ImageConfig>)> {
        self.services.iter().zip(images.iter().map(Option::as_ref).chain(std::iter::repeat(None)))
    }

    /// The names that all containers find; `gateway` as in [`services::hosts`].
    pub fn hosts(&self, gateway: &str) -> Hosts {
        let named = self.all().map(|part| Named {
            container: &part.name,
            image: (part.kind == ContainerKind::Service).then_some(part.spec.image.as_str()),
            options: &part.options,
        });
        services::hosts(&named.collect::<Vec<_>>(), gateway, self.container.is_some())
    }
}

impl JobContainer {
    fn read(name: String, kind: ContainerKind, spec: ContainerSpec) -> Result<Self, Failure> {
        if spec.image.is_empty() {
            return Err(SpecError::NoImage { container: name }.into());
        }
        let named = |source| SpecError::InContainer { container: name.clone(), source };
        bounds::check(&spec).map_err(|error| named(error.into()))?;
        container::check_number(&spec.environment_variables).map_err(named)?;
        container::check_environment(&spec.environment_variables).map_err(named)?;
        let options = options::parse(&spec.create_options).map_err(named)?;
        container::check_number(options.environment()).map_err(named)?;
        container::check_environment(options.environment()).map_err(named)?;
        let volumes =
            volumes::read(&name, &spec.user_mount_volumes, &options, &spec.system_mount_volumes)?;
        let ports = ports::parse(&spec.port_mappings).map_err(named)?;
        Ok(Self { name, kind, spec, options, volumes, ports })
    }

    /// The ports at which it listens as far as workflow and image say.
    pub(super) fn listens(&self, image: Option<&ImageConfig>) -> Ports {
        let own_program = !self.spec.entry_point.is_empty()
            || !self.spec.entry_point_args.is_empty()
            || self.options.entrypoint().is_some();
        match image.filter(|_| self.kind == ContainerKind::Service && !own_program) {
            Some(image) => self.ports.with_exposed(&image.exposed_ports),
            None => self.ports.clone(),
        }
    }

    /// The volumes that the workflow asks for.
    pub fn user_volumes(&self) -> &UserVolumes {
        &self.volumes
    }

    /// Its environment, with what docker mode adds.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let mut all = self.options.environment().clone();
        all.extend(self.spec.environment_variables.clone());
        all.insert("GITHUB_ACTIONS".to_owned(), "true".to_owned());
        all.entry("CI".to_owned()).or_insert_with(|| "true".to_owned());
        all
    }

    /// Lines for the user; `shared`: the job's steps share the pod's network.
    pub(super) fn warnings(&self, shared: bool) -> impl Iterator<Item = String> + '_ {
        let warnings = self.options.warnings(self.kind).into_iter();
        let warnings = warnings.chain(self.volumes.warnings.iter().cloned());
        let warnings = warnings.map(|warning| format!("Container {}: {warning}", self.name));
        let moved = self.ports.moved.iter().filter(move |_| shared).map(|mapping| {
            let (_, port) = mapping.rsplit_once(':').unwrap_or(("", mapping));
            format!(
                "Container {}: the host port of {mapping} is not published: use port {port} on \
                 localhost, because all containers of the job share the pod's network",
                self.name
            )
        });
        warnings.chain(moved)
    }

    pub(super) fn prepared(&self, pod: &str) -> PreparedContainer {
        let ports = self.ports.in_context().into_iter().collect();
        PreparedContainer { id: self.name.clone(), network: pod.to_owned(), ports }
    }

    /// Its mounts: those of the contract and the user's.
    pub(super) fn mounts(
        &self,
        work_dir: &Path,
        work: Option<&WorkVolume>,
    ) -> Result<Mounts, Failure> {
        let system = &self.spec.system_mount_volumes;
        let mut all = mounts::for_job(&self.name, system, work_dir, work)?;
        all.add_user(&self.name, &self.volumes.volumes, work_dir, work)?;
        Ok(all)
    }

    /// The container, with these mounts; `image` if it is known.
    pub(super) fn container(
        &self,
        mounts: Vec<VolumeMount>,
        image: Option<&ImageConfig>,
    ) -> Container {
        let mut container = Container {
            name: self.name.clone(),
            image: Some(self.spec.image.clone()),
            ports: self.ports.of_container(),
            volume_mounts: Some(mounts),
            ..Container::default()
        };
        self.options.apply(&mut container, self.kind, image);
        container
    }
}
