//! Warnings that the runner shows beside the job.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use hookd_api::v1::Stream;

use crate::error::Failure;
use crate::session::events::Session;
use crate::session::warnings::Warnings;

/// Letters of a text: a workflow chooses parts of it.
const LONGEST: usize = 2000;

/// A warning, as the runner's command `::warning::`.
#[derive(Clone, Copy, Debug)]
pub struct Annotation<'a> {
    /// Its head.
    pub title: &'static str,
    /// Where the cause stands; none: in no file.
    pub place: Option<Place<'a>>,
    /// What is wrong.
    pub text: &'a str,
}

/// A line of a file. The runner names a file of the repository as its pages do.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The file, as the runner sees it.
    pub file: &'a Path,
    /// The line, from 1.
    pub line: usize,
}

/// Prints those that `given` has not printed since the job began. No group of a build may be open: nothing in it
/// is a command.
///
/// # Errors
/// When the client is gone.
pub async fn warn<'a>(
    annotations: impl Iterator<Item = Annotation<'a>>,
    given: &Warnings,
    session: &mut Session,
) -> Result<(), Failure> {
    for line in given.only_new(annotations.map(|one| one.to_string()).collect()) {
        session.output(Stream::Stderr, Bytes::from(line), |_| {}).await?;
    }
    Ok(())
}

/// One line of output, in which nothing but its own parts is taken for a command's.
impl fmt::Display for Annotation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "::warning title={}", property(self.title))?;
        if let Some(Place { file, line }) = self.place {
            write!(f, ",file={},line={line}", property(&file.to_string_lossy()))?;
        }
        writeln!(f, "::{}", escaped(self.text))
    }
}

fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

fn escaped(text: &str) -> String {
    let text: String = text.chars().take(LONGEST).collect();
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::cursor::{Cursor, Offsets};
    use crate::session::events::{Acked, EventKind};
    use tokio::sync::{mpsc, watch};

    #[tokio::test]
    async fn a_warning_is_one_command_and_is_given_once() {
        let (events, mut received) = mpsc::channel(8);
        let (_acks, acked) = watch::channel(Acked::ALL);
        let mut session = Session::new(Cursor::default(), Offsets::default(), events, acked);
        let (given, text) = (Warnings::default(), "100%\n::error::x");
        let warning = Annotation { title: "Policy", place: None, text };
        let file = Path::new("/w/a,line=1::b\nc");
        let other = Annotation { place: Some(Place { file, line: 7 }), ..warning };
        for _ in 0..2 {
            warn([warning, other].into_iter(), &given, &mut session).await.unwrap();
        }
        drop(session);
        let mut printed = Vec::new();
        while let Some(event) = received.recv().await {
            let EventKind::Output { data, .. } = event.kind else { panic!("no output") };
            printed.push(String::from_utf8(data.to_vec()).unwrap());
        }
        let expected = [
            "::warning title=Policy::100%25%0A::error::x\n",
            "::warning title=Policy,file=/w/a%2Cline=1%3A%3Ab%0Ac,line=7::100%25%0A::error::x\n",
        ];
        assert_eq!(printed, expected);
    }
}
