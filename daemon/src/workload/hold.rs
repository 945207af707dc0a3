//! A container that stays for a while after its program failed, so that a person can look into it. The step
//! itself waits: with its end the runner would go on, and in the end the container be deleted.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hookd_api::v1::Phase;
use jiff::Timestamp;

use crate::error::{Failure, report};
use crate::session::cursor::Held;
use crate::session::events::Session;
use crate::stepd::calls;
use crate::stepd::pods::AgentPod;

/// The variable by which a workflow asks for it, in seconds.
pub const VARIABLE: &str = "HOOKD_HOLD_SECONDS";

/// In a container in which its image was built: that has the builder's PATH. Not the image's own, which a person
/// would paste into a terminal.
const SHELL_OF_BUILT: &str = "/bin/sh -c \
     'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; exec sh'";

/// A program that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// Its exit code.
    pub exit_code: i32,
    /// What is left of the time that its step may take.
    pub left: Duration,
}

/// What the environment of a step asks for, should its program fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// How long the container is kept: as asked for, up to what is allowed. Zero: not at all.
    time: Duration,
    /// A line for the user of the step, if it is not as asked for.
    note: Option<String>,
}

impl Hold {
    /// Of a step with this environment; `longest`: what the administrator allows.
    pub fn asked(environment: &BTreeMap<String, String>, longest: Duration) -> Self {
        let asked = environment.get(VARIABLE).map_or("", |value| value.trim());
        if asked.is_empty() {
            return Self::default();
        }
        if !asked.bytes().all(|byte| byte.is_ascii_digit()) {
            let note = format!("{VARIABLE} is no number of seconds; the container is not kept");
            return Self { time: Duration::ZERO, note: Some(note) };
        }
        // More than fits is more than is allowed.
        let asked = Duration::from_secs(asked.parse().unwrap_or(u64::MAX));
        let note = (asked > longest).then(|| match longest.as_secs() {
            0 => format!("{VARIABLE} has no effect: the runner's administrator has turned it off"),
            most => {
                format!("{VARIABLE} asks for more than the {most} s that the administrator allows")
            }
        });
        Self { time: asked.min(longest), note }
    }

    /// Keeps the container that a program leaves, unless it succeeded, and the step with it.
    ///
    /// # Errors
    /// `CANCELLED` when the client is gone.
    pub async fn after(
        &self,
        program: Failed,
        pod: &AgentPod,
        session: &mut Session,
    ) -> Result<(), Failure> {
        if program.exit_code == 0 || *self == Self::default() {
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
        self.begin(program, &enter, session).await?;
        self.go_on(calls::lost(pod), session).await.map(|_| ())
    }

    /// As [`Hold::after`], where the kubelet started the program: its container ended with it.
    ///
    /// # Errors
    /// `CANCELLED` when the client is gone.
    pub async fn after_container(
        &self,
        exit_code: i32,
        session: &mut Session,
    ) -> Result<(), Failure> {
        if exit_code == 0 || *self == Self::default() {
            return Ok(());
        }
        let note = format!(
            "{VARIABLE} has no effect: the kubelet started this program, and its container ended with it"
        );
        session.progress(Phase::RunRunning, note).await
    }

    /// Says until when the container is kept.
    async fn begin(
        &self,
        program: Failed,
        enter: &str,
        session: &mut Session,
    ) -> Result<(), Failure> {
        if let Some(note) = &self.note {
            session.progress(Phase::RunRunning, note).await?;
        }
        let time = self.time.min(program.left);
        if time.is_zero() {
            return Ok(());
        }
        let until = SystemTime::now() + time;
        session.cursor.held = Some(Held { exit_code: program.exit_code, until });
        let shown = Timestamp::try_from(until).unwrap_or_default();
        let line = format!(
            "The program failed, and its container is kept for {} s, until {} ({VARIABLE}). \
             To enter it: {enter}",
            time.as_secs(),
            shown.strftime("%F %T UTC"),
        );
        session.progress(Phase::RunRunning, line).await
    }

    /// Waits until the container is kept no longer, or is `gone`, if this hookd or one before it keeps it; the
    /// exit code of its program.
    ///
    /// # Errors
    /// `CANCELLED` when the client is gone.
    pub async fn go_on(
        &self,
        gone: impl Future<Output = Failure>,
        session: &mut Session,
    ) -> Result<Option<i32>, Failure> {
        let Some(Held { exit_code, until }) = session.cursor.held else { return Ok(None) };
        // A clock that was set back, or a client that lies, cannot make it longer than was asked for.
        let left = until.duration_since(SystemTime::now()).unwrap_or_default().min(self.time);
        let over = tokio::select! {
            () = tokio::time::sleep(left) => "The container is not kept any longer".to_owned(),
            failure = gone => format!("The container is kept no longer: {}", report(&failure)),
        };
        session.progress(Phase::RunRunning, over).await?;
        Ok(Some(exit_code))
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

    /// What the client hears, the time that it took, and the exit code.
    struct Kept {
        heard: Vec<String>,
        time: Duration,
        exit_code: Option<i32>,
    }

    async fn keep(
        hold: &Hold,
        held: Option<Held>,
        left: Duration,
        gone: impl Future<Output = Failure>,
    ) -> Kept {
        let (events, mut received) = mpsc::channel(8);
        let (_acks, acked) = watch::channel(Acked::ALL);
        let cursor = Cursor { held, ..Cursor::default() };
        let mut session = Session::new(cursor, Offsets::default(), events, acked);
        let since = Instant::now();
        if held.is_none() {
            let program = Failed { exit_code: 3, left };
            hold.begin(program, "kubectl exec x", &mut session).await.unwrap();
        }
        let exit_code = hold.go_on(gone, &mut session).await.unwrap();
        let time = since.elapsed();
        drop(session);
        let mut heard = Vec::new();
        while let Some(event) = received.recv().await {
            if let EventKind::Progress { message, .. } = event.kind {
                heard.push(message);
            }
        }
        Kept { heard, time, exit_code }
    }

    fn until(seconds: u64) -> Option<Held> {
        Some(Held { exit_code: 3, until: SystemTime::now() + Duration::from_secs(seconds) })
    }

    #[test]
    fn a_step_asks_by_a_variable_up_to_the_limit() {
        assert_eq!(Hold::asked(&BTreeMap::new(), HOUR), Hold::default());
        assert_eq!(asked(" ", HOUR), Hold::default());
        assert_eq!(asked(" 900 ", HOUR), Hold { time: Duration::from_secs(900), note: None });
        for (value, longest, words) in [
            ("7200", HOUR, "more than the 3600 s"),
            ("99999999999999999999", HOUR, "more than the 3600 s"),
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
        let kept = keep(&asked("900", HOUR), None, HOUR, pending()).await;
        assert!(kept.time >= Duration::from_secs(890), "{:?}", kept.time);
        assert_eq!(kept.exit_code, Some(3));
        let [line, over] = kept.heard.as_slice() else { panic!("{:?}", kept.heard) };
        assert!(line.contains("900 s") && line.ends_with("kubectl exec x"), "{line}");
        assert_eq!(over, "The container is not kept any longer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_is_kept_within_the_time_of_its_step() {
        let kept = keep(&asked("900", HOUR), None, Duration::from_secs(60), pending()).await;
        assert!(kept.heard[0].contains("kept for 60 s"), "{:?}", kept.heard);
        assert!(kept.time <= Duration::from_secs(61), "{:?}", kept.time);
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_of_hookd_does_not_make_it_longer() {
        let kept = keep(&asked("900", HOUR), until(300), HOUR, pending()).await;
        assert!(kept.time <= Duration::from_secs(301), "{:?}", kept.time);
        assert_eq!(kept.exit_code, Some(3));
        assert_eq!(kept.heard, ["The container is not kept any longer"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_that_is_over_gives_the_exit_code_at_once() {
        let held = Held { exit_code: 3, until: SystemTime::UNIX_EPOCH };
        let kept = keep(&asked("900", HOUR), Some(held), HOUR, pending()).await;
        assert!(kept.time <= Duration::from_secs(1), "{:?}", kept.time);
        assert_eq!(kept.exit_code, Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cursor_cannot_make_it_longer_than_allowed() {
        let kept = keep(&asked("900", HOUR), until(7200), HOUR, pending()).await;
        assert!(kept.time <= Duration::from_secs(901), "{:?}", kept.time);
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_ends_is_kept_no_longer() {
        let gone = ready(CommonError::Cancelled.into());
        let kept = keep(&asked("900", HOUR), None, HOUR, gone).await;
        assert!(kept.time <= Duration::from_secs(1), "{:?}", kept.time);
        assert!(kept.heard[1].starts_with("The container is kept no longer: "), "{:?}", kept.heard);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_turned_off_is_said_and_nothing_is_kept() {
        let kept = keep(&asked("900", Duration::ZERO), None, HOUR, pending()).await;
        assert_eq!((kept.time, kept.exit_code), (Duration::ZERO, None));
        assert_eq!(kept.heard.len(), 1, "{:?}", kept.heard);
    }
}
