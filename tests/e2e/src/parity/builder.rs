//! The builders that are compared with docker.

use test_support::Setup;
use test_support::cluster::cluster;

/// What hookd builds with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builder {
    /// The development cluster's Kaniko, 1.24.0.
    Kaniko,
    /// The rootless BuildKit of `deploy/devcluster/buildkit.sh`.
    BuildKit,
}

impl Builder {
    /// By its name in `HOOKD_BUILDER`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "kaniko" => Some(Self::Kaniko),
            "buildkit" => Some(Self::BuildKit),
            _ => None,
        }
    }

    /// Name of the file with what came of each context.
    pub fn record(self) -> &'static str {
        match self {
            Self::Kaniko => "expected-1.24",
            Self::BuildKit => "expected-buildkit",
        }
    }

    /// How many of all contexts must be as docker builds them.
    pub fn least_as_docker(self) -> usize {
        match self {
            Self::Kaniko => 235,
            Self::BuildKit => 275,
        }
    }

    /// A runner pod whose hookd builds with it.
    pub fn setup(self) -> Setup {
        let setup = Setup::default();
        match self {
            Self::Kaniko => setup,
            Self::BuildKit => setup
                .set("HOOKD_BUILDER", "buildkit")
                .set("HOOKD_BUILDKIT_IMAGE", cluster().buildkit_image()),
        }
    }
}
