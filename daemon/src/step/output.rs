//! Brings a container's log to the caller, and ends with how the container ended.

use bytes::Bytes;
use hookd_api::v1::Phase;
use k8s_openapi::api::batch::v1::Job;

use crate::cluster::logs::{Log, Sink};
use crate::cluster::pod::{self, Ended, Standing};
use crate::cluster::watch::{PodWatch, Seen};
use crate::endpoint::Shown;
use crate::error::{Failure, Reason};
use crate::hooks::Context;
use crate::step::caller::Caller;
use crate::step::cursor::{Cursor, LogPosition};
use crate::step::start;

/// Where in the caller's cursor the position of this log stands.
pub type Place = fn(&mut Cursor) -> Option<&mut LogPosition>;

/// Streams the log of `container` in the pod of `job` until the container has ended.
///
/// # Errors
/// When output or the container itself was lost.
pub async fn stream(
    context: &Context,
    watch: &mut PodWatch,
    (job, pod, container): (&Job, &str, &str),
    place: Place,
    caller: &mut Caller,
) -> Result<Ended, Failure> {
    stream_shown(context, watch, (job, pod, container), (place, None), caller).await
}

/// As [`stream`], with the names of registries as `shown` restores them.
///
/// # Errors
/// As [`stream`].
pub async fn stream_shown(
    context: &Context,
    watch: &mut PodWatch,
    (job, pod, container): (&Job, &str, &str),
    (place, shown): (Place, Option<&Shown>),
    caller: &mut Caller,
) -> Result<Ended, Failure> {
    let pods = context.pods();
    let log = Log { pods: &pods, pod, container, api_timeout: context.config.api_timeout };
    let position = place(&mut caller.cursor).map(|position| position.clone()).unwrap_or_default();
    let ended = async {
        let seen = watch.until(|seen| is_over(seen, container)).await;
        seen.pod().and_then(|pod| pod::finished_at(pod, container))
    };
    let mut sink = CallerSink { caller, place, shown, told: false };
    let followed = log.follow(position, ended, &mut sink).await;
    if followed.as_ref().is_err_and(|failure| failure.reason == Reason::Cancelled) {
        return Err(Failure::cancelled());
    }
    // The container's own end explains more than a log that broke because of it.
    match watch.now() {
        Seen::Pod(pod) => match pod::standing(&pod, container) {
            Standing::Ended(ended) => followed.map(|_| ended),
            Standing::Doomed(failure) => Err(start::loss(context, job, failure).await),
            _ => Err(followed.err().unwrap_or_else(|| {
                Failure::internal(format!("The log of pod {} ended before its container", log.pod))
            })),
        },
        Seen::Gone | Seen::NotYet => Err(start::loss(context, job, pod::deleted(pod)).await),
    }
}

fn is_over(seen: &Seen, container: &str) -> bool {
    match seen {
        Seen::NotYet => false,
        Seen::Gone => true,
        Seen::Pod(pod) => {
            matches!(pod::standing(pod, container), Standing::Ended(_) | Standing::Doomed(_))
        }
    }
}

struct CallerSink<'a> {
    caller: &'a mut Caller,
    place: Place,
    shown: Option<&'a Shown>,
    /// The caller knows that the connection broke.
    told: bool,
}

impl Sink for CallerSink<'_> {
    async fn write(&mut self, data: Bytes, position: &LogPosition) -> Result<(), Failure> {
        let advance = |cursor: &mut Cursor| {
            if let Some(place) = (self.place)(cursor) {
                place.clone_from(position);
            }
        };
        let data = self.shown.map_or_else(|| data.clone(), |shown| shown.restore_bytes(&data));
        self.caller.output(data, advance).await
    }

    async fn broken(&mut self, broken: bool) -> Result<(), Failure> {
        let message = match (broken, self.told) {
            (true, false) => {
                "The connection to the Kubernetes API broke; hookd goes on when it is back"
            }
            (false, true) => "The connection to the Kubernetes API is back",
            _ => return Ok(()),
        };
        self.told = broken;
        self.caller.progress(Phase::Reconnecting, message).await
    }
}
