//! A job as its workflow has it: the part of the syntax that scenarios need.

use serde::{Deserialize, Deserializer};

use crate::yaml::{self, Entries, Scalar, YamlError};

/// One job of a workflow.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobDefinition {
    /// `container:`, an image or more.
    #[serde(default, deserialize_with = "container")]
    pub container: Option<ContainerDefinition>,
    /// `services:`, in their order.
    #[serde(default, deserialize_with = "services")]
    pub services: Vec<(String, ContainerDefinition)>,
    /// `env:`.
    #[serde(default, deserialize_with = "variables")]
    pub env: Vec<(String, String)>,
    /// `steps:`.
    pub steps: Vec<StepDefinition>,
}

/// The job container or a service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerDefinition {
    /// `image:`.
    pub image: String,
    /// `env:`.
    #[serde(deserialize_with = "variables")]
    pub env: Vec<(String, String)>,
    /// `ports:`.
    #[serde(deserialize_with = "texts")]
    pub ports: Vec<String>,
    /// `volumes:`.
    pub volumes: Vec<String>,
    /// `options:`.
    pub options: Option<String>,
    /// `credentials:`.
    pub credentials: Option<CredentialsDefinition>,
    /// `entrypoint:` of a service.
    pub entrypoint: Option<String>,
    /// `command:` of a service.
    pub command: Option<String>,
}

/// `credentials:` of a container.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialsDefinition {
    /// `username:`.
    pub username: String,
    /// `password:`.
    pub password: String,
}

/// One step, of a job or of a composite action.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StepDefinition {
    /// `id:`.
    pub id: Option<String>,
    /// `name:`.
    pub name: Option<String>,
    /// `if:`; nothing: `success()`.
    pub r#if: Option<String>,
    /// `run:`.
    pub run: Option<String>,
    /// `shell:`.
    pub shell: Option<String>,
    /// `working-directory:`.
    pub working_directory: Option<String>,
    /// `uses:`.
    pub uses: Option<String>,
    /// `with:`.
    #[serde(deserialize_with = "variables")]
    pub with: Vec<(String, String)>,
    /// `env:`.
    #[serde(deserialize_with = "variables")]
    pub env: Vec<(String, String)>,
    /// `continue-on-error:`.
    pub continue_on_error: bool,
}

impl JobDefinition {
    /// Reads a job.
    ///
    /// # Errors
    ///
    /// Those of the parser, with the place.
    pub fn from_yaml(text: &str) -> Result<Self, YamlError> {
        yaml::parse(text)
    }
}

fn container<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ContainerDefinition>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Image(String),
        More(ContainerDefinition),
    }
    Ok(Option::<Either>::deserialize(from)?.map(|either| match either {
        Either::Image(image) => ContainerDefinition { image, ..ContainerDefinition::default() },
        Either::More(more) => more,
    }))
}

fn services<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<(String, ContainerDefinition)>, D::Error> {
    Entries::deserialize(from).map(|Entries(services)| services)
}

fn variables<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, String)>, D::Error> {
    Entries::<Scalar>::deserialize(from).map(Entries::texts)
}

fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<Scalar>::deserialize(from)?;
    Ok(texts.into_iter().map(|Scalar(text)| text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_reads_like_a_workflow() {
        let job = JobDefinition::from_yaml(
            "container: {image: a, ports: [80, '8080:80']}\nservices:\n  z: {image: b}\n  a: {image: c}\n\
             steps:\n- run: echo\n  working-directory: sub\n- uses: ./x\n  with: {n: 1, t: true}\n",
        )
        .unwrap();
        assert_eq!(job.container.unwrap().ports, ["80", "8080:80"]);
        let names: Vec<_> = job.services.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["z", "a"]);
        assert_eq!(job.steps[0].working_directory.as_deref(), Some("sub"));
        assert_eq!(job.steps[1].with[1], ("t".into(), "true".into()));
        let short = JobDefinition::from_yaml("container: a\nsteps: []").unwrap();
        assert_eq!(short.container.unwrap().image, "a");
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let error = JobDefinition::from_yaml("strategy: {}\nsteps: []").unwrap_err();
        assert!(error.to_string().contains("strategy"), "{error}");
        assert!(JobDefinition::from_yaml("steps: [{runs: x}]").is_err());
    }
}
