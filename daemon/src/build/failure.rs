//! Why a build failed, from the end of the builder's log.

use crate::build::builder::{Builder, LastError, NO_IMAGE};
use crate::endpoint::ENDPOINT;
use crate::error::Reason;

/// Phrases in the registry's answers and in network errors.
const UNREACHABLE: [&str; 6] = [
    "connection refused",
    "no such host",
    "i/o timeout",
    "no route to host",
    "server misbehaving",
    "HTTP response to HTTPS client",
];
const REFUSED: [&str; 5] = ["UNAUTHORIZED", "DENIED", "401 ", "403 ", "405 "];
/// Phrases of the build's own registry endpoint.
const NOT_NAMED: [&str; 3] = [
    "is no part of the images that",
    "is not part of this build",
    // BuildKit's own rules for sources of images.
    "denied by policy",
];
/// BuildKit's phrase for a base image that it did not get.
const NO_METADATA: &str = "failed to resolve source metadata";
/// The phrase of the script around buildctl.
const NO_BUILDKITD: &str = "no answer of the buildkitd at";
/// gRPC's phrase for a server that has gone, and what comes with its name for that alone.
const LOST_BUILDKITD: &str = "rpc error: code = Unavailable";
const UNAVAILABLE: &str = "Unavailable: ";
const LOST_CONNECTION: [&str; 3] =
    ["closing transport", "transport is closing", "error reading from server"];
/// Of a registry whose certificate is not known, or that does not know hookd's.
const CERTIFICATE: [&str; 2] = ["its certificate, or that of hookd", "invalid peer certificate"];
/// The same of a buildkitd that asks registries itself; an `ADD` of a URL has it, too.
const X509: &str = "x509: ";
const TOO_MANY: [&str; 2] = ["TOOMANYREQUESTS", "429 "];
/// How the endpoint names a registry's own failure.
const FAILED: [&str; 1] = [" answers 5"];
const UNKNOWN_IMAGE: [&str; 3] = ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "404 Not Found"];
/// Builders' phrases for a push, and for the check before the build that it may push.
const PUSHING: [&str; 4] = ["pushing image", "push permission", "error pushing", "failed to push"];
/// Builders' phrases for what is no Dockerfile.
const SYNTAX: [&str; 2] = ["parsing dockerfile", "dockerfile parse error"];

/// A kind of failure, by the builder's message.
struct Kind {
    /// True of a message of this kind, if it is of no kind before it.
    is: fn(&str) -> bool,
    reason: Reason,
    /// What precedes the message.
    before: &'static str,
    remedy: &'static str,
}

fn is_lost_buildkitd(message: &str) -> bool {
    message.contains(LOST_BUILDKITD)
        || (message.starts_with(UNAVAILABLE) && has(message, &LOST_CONNECTION))
}

/// Stands for the registry that is pushed to.
const PUSHED_TO: &str = "{registry}";

/// In the order in which they are tried: the message of a failed push may match any other.
const KINDS: [Kind; 16] = [
    Kind {
        is: |message| message.contains(NO_BUILDKITD),
        reason: Reason::BuildFailed,
        before: "",
        remedy: "Check that the buildkitd of HOOKD_BUILDKIT_ADDRESS runs, that pods of builds reach it, and \
                 that HOOKD_BUILDKIT_TLS_SECRET has a certificate that it knows, and the authority of its own; \
                 restart it if its own is renewed",
    },
    Kind {
        is: is_lost_buildkitd,
        reason: Reason::BuildFailed,
        before: "the connection to buildkitd is lost: ",
        remedy: "Check why buildkitd has ended (its log, its memory, a new version of it); run the job again",
    },
    Kind {
        is: |message| message.contains(ENDPOINT),
        reason: Reason::BuildFailed,
        before: "",
        remedy: "Check the log of container registry-endpoint in the build's pod, or of hookd where the job \
                 runs in the runner pod; run the job again",
    },
    Kind {
        is: |message| has(message, &NOT_NAMED),
        reason: Reason::BuildFailed,
        before: "",
        remedy: "Name the image in a FROM line of this Dockerfile: a build reads no others, not even those \
                 of ONBUILD in a base image",
    },
    Kind {
        is: |message| {
            has(message, &PUSHING) && (has(message, &CERTIFICATE) || message.contains(X509))
        },
        reason: Reason::RegistryUnreachable,
        before: "registry {registry} cannot be reached: ",
        remedy: "Name the Secret with the certificates for the registry that is pushed to in \
                 HOOKD_REGISTRY_TLS; a shared buildkitd has them in its buildkitd.toml",
    },
    Kind {
        is: |message| has(message, &PUSHING) && has(message, &UNREACHABLE),
        reason: Reason::RegistryUnreachable,
        before: "registry {registry} cannot be reached: ",
        remedy: "Check that the registry runs, and ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST and \
                 _REGISTRY_PORT; of a shared buildkitd its network, and `http = true` in its buildkitd.toml",
    },
    Kind {
        is: |message| has(message, &PUSHING) && has(message, &TOO_MANY),
        reason: Reason::RegistryRefused,
        before: "registry {registry} does not take the image: ",
        remedy: "Run the job again later, or have the registry allow more requests",
    },
    Kind {
        is: |message| has(message, &PUSHING) && has(message, &FAILED),
        reason: Reason::RegistryRefused,
        before: "registry {registry} does not take the image: ",
        remedy: "Check the registry's own log, and that its storage is not full: deleted images take \
                 room until its garbage collection has run",
    },
    Kind {
        is: |message| has(message, &PUSHING),
        reason: Reason::RegistryRefused,
        before: "registry {registry} does not take the image: ",
        remedy: "Check that the registry is writable, and the credentials in \
                 ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET",
    },
    Kind {
        is: |message| has(message, &SYNTAX),
        reason: Reason::BuildFailed,
        before: "",
        remedy: "Correct the Dockerfile",
    },
    Kind {
        is: |message| {
            let is_base = message.contains(X509) && message.contains(NO_METADATA);
            is_base || has(message, &CERTIFICATE)
        },
        reason: Reason::RegistryUnreachable,
        before: "",
        remedy: "Name the Secret with the certificates for the registry of the base image in \
                 HOOKD_REGISTRY_TLS; a shared buildkitd has them in its buildkitd.toml",
    },
    Kind {
        is: |message| has(message, &TOO_MANY),
        reason: Reason::RegistryRefused,
        before: "a registry answers no more requests for now: ",
        remedy: "Run the job again later; with credentials in \
                 ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET, or a mirror in \
                 HOOKD_REGISTRY_MIRRORS, there may be more",
    },
    Kind {
        is: |message| {
            let is_missing = message.contains(NO_METADATA) && message.contains(": not found");
            is_missing || has(message, &UNKNOWN_IMAGE)
        },
        reason: Reason::ImagePullFailed,
        before: "a base image does not exist: ",
        remedy: "Check the FROM lines for a misspelling, and HOOKD_REGISTRY_MAP if bases come from a \
                 mirror",
    },
    Kind {
        is: |message| has(message, &REFUSED),
        reason: Reason::RegistryRefused,
        before: "a base image may not be read: ",
        remedy: "Add its registry's credentials to ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET",
    },
    Kind {
        is: |message| has(message, &UNREACHABLE),
        reason: Reason::RegistryUnreachable,
        before: "",
        remedy: "Check the network of the build's pod, and HOOKD_REGISTRY_MAP or \
                 HOOKD_REGISTRY_MIRRORS; of a shared buildkitd its own network, and its buildkitd.toml",
    },
    Kind {
        is: |message| message.contains(NO_IMAGE) || message.contains(NO_METADATA),
        reason: Reason::ImagePullFailed,
        before: "",
        remedy: "Check the FROM lines, and their registry",
    },
];

/// Of all other messages.
const OTHER: Kind = Kind {
    is: |_| true,
    reason: Reason::BuildFailed,
    before: "",
    remedy: "Read the build's log above",
};

/// What a builder's log says of its end.
#[derive(Debug)]
pub struct BuilderFailure {
    /// The kind.
    pub reason: Reason,
    /// One sentence without its full stop.
    pub why: String,
    /// What the user can do about it: one sentence without its full stop.
    pub remedy: &'static str,
}

/// Says in one sentence why the builder ended with `exit_code`; the whole story is in its log, which the
/// user has seen.
pub fn explain(
    builder: &dyn Builder,
    push_host: &str,
    exit_code: i32,
    tail: &str,
) -> BuilderFailure {
    let Some(LastError { line, message, exit_code: of_run }) = builder.last_error(tail) else {
        return BuilderFailure {
            reason: Reason::BuildFailed,
            why: format!("{} ended with exit code {exit_code}", builder.name()),
            remedy: "Read the end of the build's log above",
        };
    };
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    if let Some(code) = of_run {
        return BuilderFailure {
            reason: Reason::BuildFailed,
            why: format!("{place}a RUN command ended with exit code {code}"),
            remedy: "Read the command's own output in the build's log above",
        };
    }
    let kind = KINDS.iter().find(|kind| (kind.is)(&message)).unwrap_or(&OTHER);
    let before = kind.before.replace(PUSHED_TO, push_host);
    BuilderFailure { reason: kind.reason, why: place + &before + &message, remedy: kind.remedy }
}

fn has(message: &str, marks: &[&str]) -> bool {
    marks.iter().any(|mark| message.contains(mark))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use tests::examples;
