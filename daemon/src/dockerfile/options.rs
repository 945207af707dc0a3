//! What a build wants of a Dockerfile, beside its text.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Arguments, target and platform of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Values of ARG, by name: they go before those that the Dockerfile gives.
    pub arguments: BTreeMap<String, String>,
    /// Name or number of the stage that is the image; none: the last one.
    pub target: Option<String>,
    /// What the image is for; none: where hookd itself runs.
    pub platform: Option<Platform>,
}

/// The arguments that every RUN has without an ARG, in docker as here.
const PREDEFINED: [&str; 10] = [
    "ALL_PROXY",
    "FTP_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "ftp_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// True of the name of such an argument.
pub(super) fn is_predefined(name: &str) -> bool {
    PREDEFINED.contains(&name)
}

impl BuildOptions {
    /// Those of the arguments that need no ARG.
    pub(super) fn predefined(&self) -> impl Iterator<Item = (&String, &String)> {
        self.arguments.iter().filter(|(name, _)| is_predefined(name))
    }

    /// The value of an argument that docker predefines for FROM, and for an ARG without a value.
    pub(super) fn of_platform(&self, name: &str) -> Option<String> {
        let own = || Platform::default();
        let value = self.platform.as_ref().map_or_else(|| own().value(name), |one| one.value(name));
        value.map(|value| self.arguments.get(name).cloned().unwrap_or(value))
    }
}

/// A platform: Linux on some architecture.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    architecture: &'static str,
    variant: &'static str,
}

/// The text names no platform that images are built for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform such as linux/amd64 or linux/arm/v7")]
pub struct InvalidPlatform(String);

/// Architectures as Kubernetes and docker name them, with their variants; the first of these is docker's
/// default, and not written.
const ARCHITECTURES: [(&str, &[&str]); 9] = [
    ("386", &[""]),
    ("amd64", &["", "v2", "v3", "v4"]),
    ("arm", &["v7", "v5", "v6", "v8"]),
    ("arm64", &["", "v9"]),
    ("loong64", &[""]),
    ("mips64le", &[""]),
    ("ppc64le", &[""]),
    ("riscv64", &[""]),
    ("s390x", &[""]),
];

impl Platform {
    /// As the label `kubernetes.io/arch` of a node names it.
    pub fn architecture(&self) -> &'static str {
        self.architecture
    }

    /// The build runs where its image does.
    fn value(&self, name: &str) -> Option<String> {
        match name {
            "TARGETPLATFORM" | "BUILDPLATFORM" => Some(self.to_string()),
            "TARGETOS" | "BUILDOS" => Some("linux".to_owned()),
            "TARGETARCH" | "BUILDARCH" => Some(self.architecture.to_owned()),
            "TARGETVARIANT" | "BUILDVARIANT" => Some(self.variant.to_owned()),
            _ => None,
        }
    }
}

/// That of this program.
impl Default for Platform {
    fn default() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        let known = ARCHITECTURES.iter().find(|(name, _)| *name == architecture);
        let (architecture, variants) = known.copied().unwrap_or((architecture, &[""]));
        Self { architecture, variant: variants[0] }
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    /// As docker normalises it.
    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let invalid = || InvalidPlatform(text.chars().take(100).collect());
        let lower = text.to_ascii_lowercase();
        let parts: Vec<_> = lower.split('/').collect();
        let (architecture, variant) = match parts[..] {
            ["linux", architecture] => (architecture, ""),
            ["linux", architecture, variant] if !variant.is_empty() => (architecture, variant),
            _ => return Err(invalid()),
        };
        let (architecture, variant) = match (architecture, variant) {
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("i386", _) => ("386", ""),
            pair => pair,
        };
        let variant = match (architecture, variant) {
            ("amd64", "v1") | ("arm64", "v8" | "8") => "",
            ("arm", "") => "v7",
            (_, variant) => variant,
        };
        let known = ARCHITECTURES.iter().find(|(name, _)| *name == architecture);
        let (architecture, variants) = known.ok_or_else(invalid)?;
        let variant = variants.iter().find(|one| **one == variant).ok_or_else(invalid)?;
        Ok(Self { architecture, variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_written_as_docker_writes_it() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/amd64/v2", "linux/amd64/v2"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/s390x", "linux/s390x"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected, "{text}");
        }
        for text in
            ["", "linux", "amd64", "windows/amd64", "linux/amd64/", "linux/x/y/z", "linux/a$b", "/"]
        {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_build_argument_goes_before_the_platform() {
        let mut options =
            BuildOptions { platform: "linux/arm/v6".parse().ok(), ..BuildOptions::default() };
        assert_eq!(options.of_platform("TARGETPLATFORM").as_deref(), Some("linux/arm/v6"));
        assert_eq!(options.of_platform("TARGETVARIANT").as_deref(), Some("v6"));
        options.arguments.insert("TARGETARCH".to_owned(), "mine".to_owned());
        options.arguments.insert("OTHER".to_owned(), "x".to_owned());
        assert_eq!(options.of_platform("TARGETARCH").as_deref(), Some("mine"));
        assert_eq!(options.of_platform("OTHER"), None);
    }
}
