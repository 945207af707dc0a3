//! Brings a container's log to the caller, and ends with how the container ended.

use bytes::Bytes;
use hookd_api::v1::{Phase, Stream};
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

/// Where a log goes.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The caller's stream: standard output is the program's alone.
    pub stream: Stream,
    /// Where in the caller's cursor the position of this log stands.
    pub position: fn(&mut Cursor) -> Option<&mut LogPosition>,
    /// Restores the names of registries in a build's log.
    pub shown: Option<&'a Shown>,
}

/// Streams the log of `container` in the pod of `job` until the container has ended.
///
/// # Errors
/// When output or the container itself was lost.
pub async fn stream(
    context: &Context,
    watch: &mut PodWatch,
    (job, pod, container): (&Job, &str, &str),
    place: Place<'_>,
    caller: &mut Caller,
) -> Result<Ended, Failure> {
    let pods = context.pods();
    let log = Log { pods: &pods, pod, container, api_timeout: context.config.api_timeout };
    let position =
        (place.position)(&mut caller.cursor).map(|position| position.clone()).unwrap_or_default();
    let ended = async {
        let seen = watch.until(|seen| is_over(seen, container)).await;
        seen.pod().and_then(|pod| pod::finished_at(pod, container))
    };
    let mut sink = CallerSink { caller, place, told: false };
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
    place: Place<'a>,
    /// The caller knows that the connection broke.
    told: bool,
}

impl Sink for CallerSink<'_> {
    async fn write(&mut self, data: Bytes, position: &LogPosition) -> Result<(), Failure> {
        let advance = |cursor: &mut Cursor| {
            if let Some(place) = (self.place.position)(cursor) {
                place.clone_from(position);
            }
        };
        let shown = self.place.shown;
        let data = shown.map_or_else(|| data.clone(), |shown| shown.restore_bytes(&data));
        self.caller.output(self.place.stream, data, advance).await
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
