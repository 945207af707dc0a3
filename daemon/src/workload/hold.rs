//! A container that stays for a while after its program failed, so that a person can look into it. The step
//! itself waits: with its end the runner would go on, and in the end the container be deleted.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hookd_api::v1::Phase;
use jiff::Timestamp;

use crate::error::{Failure, report};
use crate::session::events::Session;
use crate::stepd::calls;
use crate::stepd::pods::AgentPod;

/// The variable by which a workflow asks for it, in seconds.
pub const VARIABLE: &str = "HOOKD_HOLD_SECONDS";

/// In a container in which its image was built: that has the builder's PATH. Not the image's own, which a person
/// would paste into a terminal.
const SHELL_OF_BUILT: &str = "/bin/sh -c \
     'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; exec sh'";

/// What the environment of a step asks for, should its program fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// The longest that is allowed at most; zero: nothing is held.
    time: Duration,
    /// What the user of the step is told before, if it is not as asked for.
    note: Option<String>,
}

impl Hold {
    /// Of a step with this environment; `longest`: what the administrator allows.
    pub fn asked(environment: &BTreeMap<String, String>, longest: Duration) -> Self {
        let asked = environment.get(VARIABLE).map_or("", |value| value.trim());
        if asked.is_empty() {
            return Self::default();
        }
        let Ok(seconds) = asked.parse() else {
            let note = format!("{VARIABLE} is no number of seconds; the container is not kept");
            return Self { time: Duration::ZERO, note: Some(note) };
        };
        let (asked, most) = (Duration::from_secs(seconds), longest.as_secs());
        let note = (asked > longest).then(|| match most {
            0 => format!("{VARIABLE} has no effect: the runner's administrator has turned it off"),
            _ => format!(
                "{VARIABLE} asks for {seconds} s; the runner's administrator allows {most} s"
            ),
        });
        Self { time: asked.min(longest), note }
    }

    /// Keeps the container that a program of this exit code leaves, unless it succeeded.
    ///
    /// # Errors
    /// `CANCELLED` when the client is gone.
    pub async fn after(
        &self,
        exit_code: i32,
        pod: &AgentPod,
        session: &mut Session,
    ) -> Result<(), Failure> {
        if exit_code == 0 || *self == Self::default() {
            return Ok(());
        }
        let is_built = session.cursor.run.as_ref().is_some_and(|run| run.built.is_some());
        let enter = format!(
            "kubectl exec -it -n {} {} -c {} -- {}",
            pod.cluster().namespace,
            pod.name(),
            pod.container(),
            if is_built { SHELL_OF_BUILT } else { "sh" },
        );
        self.keep(&enter, calls::lost(pod), session).await
    }

    /// As [`Hold::after`], where the kubelet started the program: its container ended with it.
    ///
    /// # Errors
    /// `CANCELLED` when the client is gone.
    pub async fn after_container(&self, session: &mut Session) -> Result<(), Failure> {
        if *self == Self::default() {
            return Ok(());
        }
        let note = format!(
            "{VARIABLE} has no effect: the kubelet started this program, and its container ended with it"
        );
        session.progress(Phase::RunRunning, note).await
    }

    async fn keep(
        &self,
        enter: &str,
        gone: impl Future<Output = Failure>,
        session: &mut Session,
    ) -> Result<(), Failure> {
        let is_first = session.cursor.held.is_none();
        let since = *session.cursor.held.get_or_insert_with(SystemTime::now);
        if is_first {
            if let Some(note) = &self.note {
                session.progress(Phase::RunRunning, note).await?;
            }
            if !self.time.is_zero() {
                session.progress(Phase::RunRunning, self.told(since, enter)).await?;
            }
        }
        // A clock that was set back cannot make it longer than it was from the start.
        let left = self.time.saturating_sub(since.elapsed().unwrap_or_default());
        if left.is_zero() {
            return Ok(());
        }
        let over = tokio::select! {
            () = tokio::time::sleep(left) => "The container is not kept any longer".to_owned(),
            failure = gone => format!("The container is kept no longer: {}", report(&failure)),
        };
        session.progress(Phase::RunRunning, over).await
    }

    fn told(&self, since: SystemTime, enter: &str) -> String {
        let until = Timestamp::try_from(since + self.time).unwrap_or_default();
        let (time, until) = (self.time.as_secs(), until.strftime("%H:%M:%S"));
        format!(
            "The program failed, and its container is kept for {time} s, until {until} UTC \
             ({VARIABLE}). To enter it: {enter}"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::{mpsc, watch};
    use tokio::time::Instant;

    use super::*;
    use crate::error::CommonError;
    use crate::session::cursor::{Cursor, Offsets};
    use crate::session::events::{Acked, EventKind};

    const HOUR: Duration = Duration::from_secs(3600);

    fn asked(value: &str, longest: Duration) -> Hold {
        Hold::asked(&BTreeMap::from([(VARIABLE.to_owned(), value.to_owned())]), longest)
    }

    /// What the client hears, the time that it took, and the cursor after it.
    struct Kept {
        heard: Vec<String>,
        time: Duration,
        cursor: Cursor,
    }

    async fn keep(hold: &Hold, cursor: Cursor, gone: impl Future<Output = Failure>) -> Kept {
        let (events, mut received) = mpsc::channel(8);
        let (_acks, acked) = watch::channel(Acked::ALL);
        let mut session = Session::new(cursor, Offsets::default(), events, acked);
        let since = Instant::now();
        hold.keep("kubectl exec x", gone, &mut session).await.unwrap();
        let time = since.elapsed();
        let cursor = session.into_cursor();
        let mut heard = Vec::new();
        while let Some(event) = received.recv().await {
            if let EventKind::Progress { message, .. } = event.kind {
                heard.push(message);
            }
        }
        Kept { heard, time, cursor }
    }

    #[test]
    fn a_step_asks_by_a_variable_up_to_the_limit() {
        assert_eq!(Hold::asked(&BTreeMap::new(), HOUR), Hold::default());
        assert_eq!(asked(" ", HOUR), Hold::default());
        assert_eq!(asked(" 900 ", HOUR), Hold { time: Duration::from_secs(900), note: None });
        for (value, longest, words) in [
            ("7200", HOUR, "allows 3600 s"),
            ("18446744073709551615", HOUR, "allows 3600 s"),
            ("60", Duration::ZERO, "turned it off"),
            ("15m", HOUR, "no number of seconds"),
            ("-1", HOUR, "no number of seconds"),
        ] {
            let hold = asked(value, longest);
            assert!(hold.time <= longest, "{value}");
            assert!(hold.note.unwrap().contains(words), "{value}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_is_kept_for_its_time_with_the_command() {
        let kept = keep(&asked("900", HOUR), Cursor::default(), pending()).await;
        assert!(kept.time >= Duration::from_secs(890), "{:?}", kept.time);
        let [told, over] = kept.heard.as_slice() else { panic!("{:?}", kept.heard) };
        assert!(told.contains("900 s") && told.ends_with("kubectl exec x"), "{told}");
        assert_eq!(over, "The container is not kept any longer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_of_hookd_does_not_make_it_longer() {
        let held = Some(SystemTime::now() - Duration::from_secs(600));
        let kept = keep(&asked("900", HOUR), Cursor { held, ..Cursor::default() }, pending()).await;
        assert!(kept.time <= Duration::from_secs(300), "{:?}", kept.time);
        assert_eq!(kept.cursor.held, held);
        assert_eq!(kept.heard, ["The container is not kept any longer"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cursor_cannot_make_it_longer_than_allowed() {
        let held = Some(SystemTime::now() + HOUR);
        let kept = keep(&asked("900", HOUR), Cursor { held, ..Cursor::default() }, pending()).await;
        assert!(kept.time <= Duration::from_secs(901), "{:?}", kept.time);
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_ends_is_kept_no_longer() {
        let gone = ready(CommonError::Cancelled.into());
        let kept = keep(&asked("900", HOUR), Cursor::default(), gone).await;
        assert_eq!(kept.time, Duration::ZERO);
        assert!(kept.heard[1].starts_with("The container is kept no longer: "), "{:?}", kept.heard);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_turned_off_is_said_and_nothing_is_kept() {
        let kept = keep(&asked("900", Duration::ZERO), Cursor::default(), pending()).await;
        assert_eq!(kept.time, Duration::ZERO);
        assert_eq!(kept.heard.len(), 1, "{:?}", kept.heard);
    }
}
