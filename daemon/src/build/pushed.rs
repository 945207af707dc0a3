//! The end of a build, before the kubelet sees it: it looks at containers once a second.
//!
//! What a builder does last is to push the image. Its log says so at once, and the registry has the image under
//! the tag of this very build then. A `RUN` may print such a line, and may push under that tag, too: what it
//! gets is an image of its own Dockerfile, which it could have made anyway. A line that the registry does not
//! confirm changes nothing. Nor does that of a build which an earlier daemon began, where images are kept: their tags
//! have times.

use std::future::pending;
use std::time::Duration;

use hookd_api::v1::Stream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::builder::Builder;
use super::reuse::Recipe;
use super::{Build, log_position};
use crate::cluster::retry::Backoff;
use crate::endpoint::Shown;
use crate::workload::output::{Observer, Place};

/// Lines that the registry is asked about: a `RUN` may print any number of them.
const MOST_ASKED: u32 = 5;
/// From the end of a build until its image has the tag of its key.
const UNTIL_SHARED: Duration = Duration::from_secs(10);

/// Reads in a log what its builder says that it has pushed.
pub(super) struct PushReader {
    builder: &'static dyn Builder,
    /// Where images go.
    repository: String,
    said: watch::Sender<Option<String>>,
}

/// The digest that a builder said last.
pub(super) struct PushSaid(watch::Receiver<Option<String>>);

impl PushReader {
    fn new(builder: &'static dyn Builder, repository: &str) -> (Self, PushSaid) {
        let ((said, heard), repository) = (watch::channel(None), repository.to_owned());
        (Self { builder, repository, said }, PushSaid(heard))
    }

    /// Where the builder's log goes: it is none of the program's output.
    pub(super) fn place<'a>(&'a self, shown: &'a Shown) -> Place<'a> {
        let (stream, position) = (Stream::Stderr, log_position);
        Place { stream, position, shown: Some(shown), observer: Some(self) }
    }
}

impl Observer for PushReader {
    fn observe(&self, data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        if let Some(digest) =
            text.lines().rev().find_map(|line| self.builder.pushed(line, &self.repository))
        {
            self.said.send_replace(Some(digest));
        }
    }
}

impl PushSaid {
    /// The next one; none: there is no further one.
    async fn next(&mut self) -> Option<String> {
        self.0.changed().await.ok()?;
        self.0.borrow_and_update().clone()
    }
}

impl Build<'_> {
    /// For the log of a build of the same image.
    pub(super) fn push_reader(&self) -> (PushReader, PushSaid) {
        PushReader::new(self.builder(), self.destination.repository_and_tag().0)
    }

    /// The digest of the image, once its builder says that it has pushed it and the registry has it under the
    /// tag of this build. Never ends otherwise.
    pub(super) async fn pushed(&self, mut said: PushSaid) -> String {
        for _ in 0..MOST_ASKED {
            let Some(digest) = said.next().await else { break };
            if self.has_pushed(&digest).await {
                return digest;
            }
        }
        pending().await
    }

    async fn has_pushed(&self, digest: &str) -> bool {
        let Some(repository) = self.repository().await else { return false };
        let (_, tag) = self.destination.repository_and_tag();
        let found = self.find_in_time(repository, tag).await;
        found.is_ok_and(|found| found.is_some_and(|manifest| manifest.digest == digest))
    }

    /// As [`Build::pushed`], of another's build, whose image has the tag of the key then.
    pub(super) async fn pushed_by_another(&self, mut said: PushSaid, recipe: &Recipe) -> String {
        for _ in 0..MOST_ASKED {
            let Some(_) = said.next().await else { break };
            if let Some(digest) = self.wait_until_shared(recipe).await {
                return digest;
            }
        }
        pending().await
    }

    /// The digest of the image with the key, which is built.
    pub(super) async fn wait_until_shared(&self, recipe: &Recipe) -> Option<String> {
        let mut backoff = Backoff::default();
        let waited = async {
            loop {
                if let Some(digest) = self.shared(recipe).await {
                    return digest;
                }
                backoff.wait().await;
            }
        };
        timeout(UNTIL_SHARED, waited).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::builder::{BUILDKIT, KANIKO};

    const DIGEST: &str = "sha256:086307d5a614e9e82964d91fbf026e7a597301e8aebf6d074ab326cbe28b0a93";

    fn said(builder: &'static dyn Builder, data: &str) -> Option<String> {
        let (reader, said) = PushReader::new(builder, "hookd/build");
        reader.observe(data.as_bytes());
        said.0.borrow().clone()
    }

    #[test]
    fn what_a_builder_says_that_it_pushed_is_read() {
        let kaniko = format!("INFO[0001] Pushed 127.0.0.1:5077/push/hookd/build@{DIGEST}\n");
        let in_colours = format!(
            "a\n\u{1b}[36mINFO\u{1b}[0m[0001] Pushed 127.0.0.1:5077/hookd/build@{DIGEST}      \n"
        );
        let buildkit =
            format!("#8 pushing manifest for 10.96.0.50:5000/hookd/build:t@{DIGEST} 0.1s done\n");
        assert_eq!(said(KANIKO, &kaniko).as_deref(), Some(DIGEST));
        assert_eq!(said(KANIKO, &in_colours).as_deref(), Some(DIGEST));
        assert_eq!(said(BUILDKIT, &buildkit).as_deref(), Some(DIGEST));
    }

    #[test]
    fn nothing_else_is_taken_for_a_push() {
        let others = [
            format!("INFO[0001] Pushing image to r/hookd/build@{DIGEST}"),
            format!("Pushed r/hookd/build@{}", &DIGEST[..70]),
            "INFO[0001] Pushed".to_owned(),
            // A cached layer.
            format!("INFO[0001] Pushed r/hookd/build/cache@{DIGEST}"),
            format!("INFO[0001] Pushed r/other-hookd/build@{DIGEST}"),
            format!("#8 pushing manifest for r/hookd/build:t@{DIGEST}"),
            format!("#8 0.123 #8 pushing manifest for r/hookd/build:t@{DIGEST} 0.1s done"),
            "#8 pushing manifest for done".to_owned(),
        ];
        for line in others {
            assert_eq!((said(KANIKO, &line), said(BUILDKIT, &line)), (None, None), "{line}");
        }
    }
}
