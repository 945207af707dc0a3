//! The labels of the metrics: closed sets, so that nothing that a job writes becomes a series.

use std::fmt::{self, Debug};
use std::hash::Hash;

use http::{Method, StatusCode, Uri};
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

use crate::error::Reason;

/// A label with a closed set of values.
pub trait Label: EncodeLabelSet + Copy + Hash + Eq + Debug + Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Its values.
    const ALL: &'static [Self];

    /// The value as scrapers read it.
    fn value(self) -> &'static str;
}

fn encode<L: Label>(label: L, encoder: &mut LabelSetEncoder) -> fmt::Result {
    (L::NAME, label.value()).encode(encoder.encode_label())
}

/// Each value of a label.
pub(super) fn all<L: Label>() -> impl Iterator<Item = L> {
    L::ALL.iter().copied()
}

/// Each value of one label with each of another.
pub(super) fn pairs<A: Label, B: Label>() -> impl Iterator<Item = (A, B)> {
    all().flat_map(|one| all().map(move |other| (one, other)))
}

macro_rules! label {
    (
        $(#[$about:meta])* $shown:vis $label:ident = $name:literal {
            $($(#[$of:meta])* $variant:ident = $value:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $shown enum $label {
            $($(#[$of])* $variant,)+
        }

        impl Label for $label {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn value(self) -> &'static str {
                match self {
                    $(Self::$variant => $value,)+
                }
            }
        }

        impl EncodeLabelSet for $label {
            fn encode(&self, encoder: &mut LabelSetEncoder) -> fmt::Result {
                encode(*self, encoder)
            }
        }
    };
}

label! {
    /// A call of the API.
    pub Call = "call" {
        /// A job's containers.
        PrepareJob = "prepare_job",
        /// A program in the job container.
        RunScriptStep = "run_script_step",
        /// A container step.
        RunContainerStep = "run_container_step",
        /// A build that was asked for by itself.
        BuildImage = "build_image",
        /// The cancellation of a step.
        CancelStep = "cancel_step",
        /// The end of a job.
        CleanupJob = "cleanup_job",
    }
}

label! {
    /// How a call ended.
    pub Outcome = "outcome" {
        /// Well; for a step: its program ended with 0.
        Succeeded = "succeeded",
        /// The step's program ended with another code than 0.
        ProgramFailed = "program_failed",
        /// What the workflow asks for cannot be done, or is not allowed: wrong input, a Dockerfile that fails, an
        /// image that cannot be pulled, more memory than there is.
        WorkflowFailed = "workflow_failed",
        /// hookd could not do it, or the cluster could not.
        HookdFailed = "hookd_failed",
        /// It was cancelled, or its client vanished.
        Cancelled = "cancelled",
        /// Its client left, and the step goes on.
        Left = "left",
    }
}

label! {
    /// A part of a call whose time is taken.
    pub Phase = "phase" {
        /// From the creation of a pod until it has a node.
        Schedule = "schedule",
        /// From then on until its volumes and its network are there; in the runner pod: until a container
        /// runs.
        Start = "start",
        /// From then on until its container runs: the pull of images above all.
        Pull = "pull",
        /// From the start of a step's program to its end.
        Run = "run",
        /// From a builder that has its context to the image.
        Build = "build",
    }
}

label! {
    /// Where an image came from.
    pub Build = "result" {
        /// It was there.
        Hit = "hit",
        /// Another runner built it meanwhile.
        Followed = "followed",
        /// It was built for the step.
        Built = "built",
        /// It was built ahead of the step.
        Prebuilt = "prebuilt",
    }
}

label! {
    /// A stream of output.
    pub Output = "stream" {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error, and the logs of builds.
        Stderr = "stderr",
    }
}

label! {
    /// What is connected to again.
    pub Connection = "connection" {
        /// A pod's log.
        Log = "log",
        /// stepd.
        Agent = "agent",
        /// The watch of a pod.
        Watch = "watch",
    }
}

label! {
    /// What the API server is asked for, as its roles name it.
    pub Verb = "verb" {
        /// One object.
        Get = "get",
        /// Many.
        List = "list",
        /// Changes.
        Watch = "watch",
        /// A new object.
        Create = "create",
        /// An object in place of another.
        Update = "update",
        /// A change of an object.
        Patch = "patch",
        /// The end of an object.
        Delete = "delete",
        /// A session in a container, or with a port of a pod.
        Connect = "connect",
        /// Anything else.
        Other = "other",
    }
}

impl Verb {
    /// Of a request.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let last = path.rsplit('/').next().unwrap_or_default();
        if matches!(last, "exec" | "attach" | "portforward") {
            return Self::Connect;
        }
        match *method {
            Method::GET if query.split('&').any(|one| one == "watch=true") => Self::Watch,
            Method::GET if is_collection(path) => Self::List,
            Method::GET | Method::HEAD => Self::Get,
            Method::POST => Self::Create,
            Method::PUT => Self::Update,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }
}

/// `/api/v1/namespaces/<namespace>/pods`, `/apis/batch/v1/jobs`; not `/api/v1/namespaces/<namespace>`.
fn is_collection(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let resource = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return false,
    };
    matches!(resource, [_] | ["namespaces", _, _])
}

label! {
    /// The status of an answer; of those that say no more than their class, the class.
    pub Code = "code" {
        /// The connection becomes another.
        Switching = "101",
        /// Done.
        Ok = "200",
        /// Made.
        Created = "201",
        /// Taken.
        Accepted = "202",
        /// Another of that class.
        OtherSuccess = "2xx",
        /// Elsewhere, or as before.
        Redirect = "3xx",
        /// Wrong.
        BadRequest = "400",
        /// Without credentials.
        Unauthorized = "401",
        /// Without a right.
        Forbidden = "403",
        /// Not there.
        NotFound = "404",
        /// Taken already, or changed meanwhile.
        Conflict = "409",
        /// No longer there.
        Gone = "410",
        /// Not valid.
        Unprocessable = "422",
        /// Too many.
        TooManyRequests = "429",
        /// Another of that class.
        OtherRefusal = "4xx",
        /// A defect.
        Internal = "500",
        /// No answer behind a proxy.
        BadGateway = "502",
        /// Not now.
        Unavailable = "503",
        /// Too late.
        GatewayTimeout = "504",
        /// Anything else.
        OtherFailure = "5xx",
        /// No answer: no connection, none in time, or the caller did not wait for it.
        NoAnswer = "none",
    }
}

impl Code {
    /// Of an answer.
    pub fn of(status: StatusCode) -> Self {
        let exact = Self::ALL.iter().find(|code| code.value() == status.as_str());
        exact.copied().unwrap_or(match status.as_u16() {
            200..300 => Self::OtherSuccess,
            300..400 => Self::Redirect,
            400..500 => Self::OtherRefusal,
            _ => Self::OtherFailure,
        })
    }

    /// True for a code that has a series before its first answer.
    pub(super) fn is_shown_at_0(self) -> bool {
        matches!(self, Self::Ok | Self::TooManyRequests | Self::Unavailable | Self::NoAnswer)
    }
}

impl Label for Reason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &Reason::ALL;

    fn value(self) -> &'static str {
        self.as_str()
    }
}

impl EncodeLabelSet for Reason {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> fmt::Result {
        encode(*self, encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_under_the_verbs_of_roles() {
        let pods = "/api/v1/namespaces/ns/pods";
        for (method, uri, verb) in [
            (Method::GET, format!("{pods}?&limit=5"), Verb::List),
            (Method::GET, "/apis/batch/v1/jobs".to_owned(), Verb::List),
            (Method::GET, format!("{pods}?&watch=true&limit=5"), Verb::Watch),
            (Method::GET, format!("{pods}/watch"), Verb::Get),
            (Method::GET, format!("{pods}/x/log?follow=true"), Verb::Get),
            (Method::GET, "/api/v1/namespaces/ns".to_owned(), Verb::Get),
            (Method::GET, "/version".to_owned(), Verb::Get),
            (Method::GET, format!("{pods}/x/exec?command=a"), Verb::Connect),
            (Method::POST, pods.to_owned(), Verb::Create),
            (Method::DELETE, format!("{pods}/x"), Verb::Delete),
            (Method::PATCH, format!("{pods}/x/ephemeralcontainers"), Verb::Patch),
        ] {
            assert_eq!(Verb::of(&method, &uri.parse().unwrap()), verb, "{method} {uri}");
        }
    }

    #[test]
    fn every_status_is_counted_under_one_of_few_codes() {
        let code = |status| Code::of(StatusCode::from_u16(status).unwrap()).value();
        assert_eq!([200, 206, 307].map(code), ["200", "2xx", "3xx"]);
        assert_eq!([404, 418, 429].map(code), ["404", "4xx", "429"]);
        assert_eq!([503, 599, 999].map(code), ["503", "5xx", "5xx"]);
    }
}
