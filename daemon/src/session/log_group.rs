//! The build's log in the step's log: a group that folds, and in which nothing is a command.
//!
//! All of it goes to standard error, in one stream so that its lines keep their order: standard
//! output is the program's alone.
//!
//! A Dockerfile may print what it likes. Between `::stop-commands::TOKEN` and `::TOKEN::` the
//! runner takes nothing for a workflow command; the token is random and used once, and the runner
//! masks it from then on.

use std::path::Path;

use bytes::Bytes;
use hookd_api::v1::Stream;

use crate::cluster::logs::LogPosition;
use crate::error::Failure;
use crate::ids;
use crate::logs;
use crate::session::cursor::{BuildPosition, BuiltReference, Cursor};
use crate::session::error::SessionError;
use crate::session::events::Session;

/// Opens the group, with `about` as its first lines; in one that is open they are further lines.
///
/// # Errors
/// When the client is gone, or the kernel has no random bytes.
pub async fn open(
    dockerfile: &Path,
    about: &[String],
    session: &mut Session,
) -> Result<(), Failure> {
    let position = session.cursor.build.get_or_insert_default();
    if position.token.is_some() {
        let lines = about.join("\n") + "\n";
        return session.output(Stream::Stderr, Bytes::from(lines), |_| {}).await;
    }
    let token = token()?;
    let lines = format!(
        "##[group]Build {}\n::stop-commands::{token}\n{}\n",
        one_line(dockerfile),
        about.join("\n"),
    );
    let opened = |cursor: &mut Cursor| cursor.build.get_or_insert_default().token = Some(token);
    session.output(Stream::Stderr, Bytes::from(lines), opened).await
}

/// Says that the image is there: in a group of its own, or at the end of the one that is open.
///
/// # Errors
/// When the client is gone.
pub async fn of_image(
    dockerfile: &Path,
    line: &str,
    image: &BuiltReference,
    session: &mut Session,
) -> Result<(), Failure> {
    let position = session.cursor.build.as_ref();
    let open = position.and_then(|position| Some((line_end(position), position.token.clone()?)));
    let lines = match open {
        Some((newline, token)) => format!("{newline}{line}\n::{token}::\n##[endgroup]\n"),
        None => format!("##[group]Build {}\n{line}\n##[endgroup]\n", one_line(dockerfile)),
    };
    let found = |cursor: &mut Cursor| {
        cursor.image = Some(image.clone());
        if let Some(position) = &mut cursor.build {
            position.token = None;
        }
    };
    session.output(Stream::Stderr, Bytes::from(lines), found).await
}

/// Ends the line that the log stands in, before another log follows it.
///
/// # Errors
/// When the client is gone.
pub async fn end_line(session: &mut Session) -> Result<(), Failure> {
    let newline = session.cursor.build.as_ref().map_or("", line_end);
    if newline.is_empty() {
        return Ok(());
    }
    let ended = |cursor: &mut Cursor| {
        cursor.build.get_or_insert_default().log.line_ended = true;
    };
    session.output(Stream::Stderr, Bytes::from(newline), ended).await
}

/// Ends what another's build has printed into the open group: what follows is a log of its own.
///
/// # Errors
/// When the client is gone.
pub async fn turn_over(session: &mut Session) -> Result<(), Failure> {
    let Some(position) = &session.cursor.build else { return Ok(()) };
    let lines = format!("{}Not waiting for that build any longer\n", line_end(position));
    let over = |cursor: &mut Cursor| {
        let position = cursor.build.get_or_insert_default();
        position.log = LogPosition::default();
        position.following = false;
    };
    session.output(Stream::Stderr, Bytes::from(lines), over).await
}

/// True in a group, in which the runner takes nothing for a command.
pub fn is_open(session: &Session) -> bool {
    session.cursor.build.as_ref().is_some_and(|build| build.token.is_some())
}

/// Closes the group if it is open.
///
/// # Errors
/// When the client is gone.
pub async fn close(session: &mut Session) -> Result<(), Failure> {
    let Some(position) = &session.cursor.build else { return Ok(()) };
    let Some(token) = position.token.clone() else { return Ok(()) };
    let newline = line_end(position);
    let lines = format!("{newline}::{token}::\n##[endgroup]\n");
    let closed = |cursor: &mut Cursor| cursor.build.get_or_insert_default().token = None;
    session.output(Stream::Stderr, Bytes::from(lines), closed).await
}

/// What ends the line that the log stands in.
fn line_end(position: &BuildPosition) -> &'static str {
    let mid_line = position.log.timestamp.is_some() && !position.log.line_ended;
    if mid_line { "\n" } else { "" }
}

fn token() -> Result<String, Failure> {
    Ok(ids::unguessable()
        .map_err(|source| SessionError::NoRandomBytes { source: source.into() })?)
}

/// A path comes from a repository and may hold anything.
fn one_line(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .map(|letter| if logs::is_hidden(letter) { '?' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::cursor::Offsets;
    use crate::session::events::{Acked, EventKind};
    use tokio::sync::{mpsc, watch};

    async fn printed(cursor: Cursor, close_too: bool) -> String {
        let (events, mut received) = mpsc::channel(8);
        let (_acks, acked) = watch::channel(Acked::ALL);
        let mut session = Session::new(cursor, Offsets::default(), events, acked);
        open(
            Path::new("/w/a\n::set-output::x\u{202e}/Dockerfile"),
            &["Builder kaniko".to_owned()],
            &mut session,
        )
        .await
        .unwrap();
        if close_too {
            close(&mut session).await.unwrap();
        }
        drop(session);
        let mut text = Vec::new();
        while let Some(event) = received.recv().await {
            if let EventKind::Output { stream, data, .. } = event.kind {
                assert_eq!(stream, Stream::Stderr);
                text.extend_from_slice(&data);
            }
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn what_stops_the_commands_starts_them_again() {
        let text = printed(Cursor::default(), true).await;
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "##[group]Build /w/a?::set-output::x?/Dockerfile");
        let token = lines[1].strip_prefix("::stop-commands::").unwrap();
        assert_eq!(token.len(), 32);
        assert_eq!(lines[lines.len() - 2..], [format!("::{token}::").as_str(), "##[endgroup]"]);
    }

    #[tokio::test]
    async fn each_group_has_its_own_token() {
        assert_ne!(
            printed(Cursor::default(), false).await,
            printed(Cursor::default(), false).await
        );
    }

    #[tokio::test]
    async fn a_group_that_is_open_gets_further_lines() {
        let log = LogPosition { timestamp: Some("t".into()), ..LogPosition::default() };
        let build = BuildPosition { token: Some("abc".into()), log, ..BuildPosition::default() };
        let cursor = Cursor { build: Some(build), ..Cursor::default() };
        assert_eq!(printed(cursor, true).await, "Builder kaniko\n\n::abc::\n##[endgroup]\n");
    }
}
