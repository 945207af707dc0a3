//! Warnings that the runner shows beside the job.

use bytes::Bytes;
use hookd_api::v1::Stream;

use crate::error::Failure;
use crate::session::events::Session;

/// Letters of a text: a workflow chooses parts of it.
const LONGEST: usize = 2000;

/// Prints an annotation for each of the texts. No group of a build may be open: nothing in it is a command.
///
/// # Errors
/// When the client is gone.
pub async fn warn(title: &str, texts: Vec<String>, session: &mut Session) -> Result<(), Failure> {
    for text in texts {
        let line = format!("::warning title={title}::{}\n", escaped(&text));
        session.output(Stream::Stderr, Bytes::from(line), |_| {}).await?;
    }
    Ok(())
}

/// On one line, and with nothing that the runner takes for its own: as its commands are escaped.
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
    async fn a_text_is_one_annotation_whatever_it_says() {
        let (events, mut received) = mpsc::channel(8);
        let (_acks, acked) = watch::channel(Acked::ALL);
        let mut session = Session::new(Cursor::default(), Offsets::default(), events, acked);
        let texts = vec!["100%\n::error::x".to_owned()];
        warn("Policy", texts, &mut session).await.unwrap();
        drop(session);
        let Some(EventKind::Output { data, .. }) = received.recv().await.map(|event| event.kind)
        else {
            panic!("nothing was printed");
        };
        assert_eq!(&data[..], b"::warning title=Policy::100%25%0A::error::x\n");
        assert!(received.recv().await.is_none());
    }
}
