//! The steps of this daemon: those that are attended to, by an operation for a client or by a task that
//! undoes them, those that their clients left for a while, and those that were undone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken as Token;

use crate::error::{CommonError, Failure};
use crate::ids::StepId;
use crate::session::error::SessionError;
use crate::session::state::{Action, Event, State};

/// Steps that are attended to at the same time. A job has ten at most.
const ATTENDED: usize = 32;
/// Steps that are remembered; above this, an arbitrary unattended one is forgotten for each new one.
const REMEMBERED: usize = 2048;

/// Which steps run, where each stands, and how to cancel it.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    steps: Arc<Mutex<Entries>>,
}

type Entries = HashMap<StepId, Entry>;

#[derive(Debug)]
struct Entry {
    /// Of its attachment: an old one that is about to go does not touch a new one.
    number: u64,
    state: State,
    cancel: Token,
}

impl Entry {
    fn is_attended(&self) -> bool {
        matches!(self.state, State::Attached { .. } | State::Reported | State::Undoing)
    }
}

/// Keeps a step among the attended ones until it is dropped.
#[derive(Debug)]
pub struct Attached {
    steps: Steps,
    step: StepId,
    number: u64,
}

impl Steps {
    /// Enters a step.
    ///
    /// # Errors
    /// `INVALID_INPUT` when another client is attached to it, `STEP_LOST` when it was undone.
    pub fn attach(&self, step: &StepId, cancel: Token) -> Result<Attached, Failure> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, action) = state_of(&steps, step).on(Event::Call);
        if action == Action::Refuse {
            return Err(refusal(step, state));
        }
        let attended = steps.values().filter(|entry| entry.is_attended()).count();
        if attended >= ATTENDED {
            return Err(too_many());
        }
        Ok(self.enter(&mut steps, step, state, cancel))
    }

    fn enter(&self, steps: &mut Entries, step: &StepId, state: State, cancel: Token) -> Attached {
        if steps.len() >= REMEMBERED && !steps.contains_key(step) {
            let left = steps.iter().filter(|(_, entry)| !entry.is_attended());
            let any = left.map(|(step, _)| step.clone()).next();
            any.and_then(|step| steps.remove(&step));
        }
        let number = steps.get(step).map_or(0, |entry| entry.number) + 1;
        steps.insert(step.clone(), Entry { number, state, cancel });
        Attached { steps: self.clone(), step: step.clone(), number }
    }

    /// Cancels a step. The operation of an attended one takes care of it; any other is
    /// entered, and the calling function undoes it.
    pub fn cancel(&self, step: &StepId) -> Option<Attached> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match steps.get(step) {
            Some(entry) if entry.is_attended() => {
                entry.cancel.cancel();
                None
            }
            _ => self.undo(&mut steps, step),
        }
    }

    /// Enters a step that a daemon before this one has left, as [`Steps::cancel`] does; none if
    /// this one knows of it.
    pub fn cancel_orphan(&self, step: &StepId) -> Option<Attached> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.contains_key(step) { None } else { self.undo(&mut steps, step) }
    }

    fn undo(&self, steps: &mut Entries, step: &StepId) -> Option<Attached> {
        let (state, action) = state_of(steps, step).on(Event::Cancelled);
        (action == Action::Undo).then(|| self.enter(steps, step, state, Token::default()))
    }

    /// Cancels all steps.
    pub fn cancel_all(&self) {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.values().for_each(|entry| entry.cancel.cancel());
    }

    /// The ids of the attended ones, sorted.
    pub fn ids(&self) -> Vec<String> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let attended = steps.iter().filter(|(_, entry)| entry.is_attended());
        let mut ids: Vec<_> = attended.map(|(step, _)| step.to_string()).collect();
        ids.sort();
        ids
    }
}

impl Attached {
    /// Takes in what has happened; what is to be done.
    pub fn on(&self, event: Event) -> Action {
        let mut steps = self.steps.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = steps.get_mut(&self.step).filter(|entry| entry.number == self.number);
        // It is there as long as this is the newest.
        let Some(entry) = entry else { return Action::Ignore };
        let (state, action) = entry.state.on(event);
        tracing::debug!(step = %self.step, ?event, ?state, ?action, "a step has changed its state");
        entry.state = state;
        action
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut steps = self.steps.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = steps.get(&self.step).filter(|entry| entry.number == self.number);
        // A step that was undone stays: it is never run again. One that was left stays: it is no
        // orphan.
        if ours.is_some_and(|entry| !matches!(entry.state, State::Idle | State::Undone)) {
            steps.remove(&self.step);
        }
    }
}

fn state_of(steps: &Entries, step: &StepId) -> State {
    steps.get(step).map_or(State::default(), |entry| entry.state)
}

fn refusal(step: &StepId, state: State) -> Failure {
    match state {
        State::Undoing | State::Undone => CommonError::StepEnded.into(),
        State::Idle | State::Attached { .. } | State::Reported | State::Over => {
            SessionError::AttachedElsewhere { step: step.clone() }.into()
        }
    }
}

fn too_many() -> Failure {
    SessionError::TooManySteps { limit: ATTENDED }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    mod transitions;

    #[test]
    fn the_steps_at_work_and_those_remembered_are_bounded() {
        let steps = Steps::default();
        let named = |name: String| steps.attach(&name.parse().unwrap(), Token::new());
        let attended: Vec<_> =
            (0..ATTENDED).map(|number| named(format!("s{number}")).unwrap()).collect();
        assert_eq!(named("one-more".into()).unwrap_err().reason, Reason::TooManyCalls);
        for number in 0..2 * REMEMBERED {
            let undoing = steps.cancel(&format!("c{number}").parse().unwrap());
            undoing.unwrap().on(Event::Undone);
        }
        assert!(steps.steps.lock().unwrap().len() <= REMEMBERED);
        assert_eq!(steps.ids().len(), ATTENDED);
        drop(attended);
        named("one-more".into()).unwrap();
    }

    fn attach(steps: &Steps) -> Result<Attached, Failure> {
        steps.attach(&step(), Token::new())
    }

    fn step() -> StepId {
        "abcdefghijklmnopqrst".parse().expect("an id")
    }

    #[test]
    fn a_step_has_one_caller_at_a_time() {
        let steps = Steps::default();
        let first = attach(&steps).unwrap();
        assert_eq!(attach(&steps).unwrap_err().reason, Reason::InvalidInput);
        drop(first);
        attach(&steps).unwrap();
    }

    #[test]
    fn a_cancelled_unattended_step_refuses_every_caller() {
        let steps = Steps::default();
        let undoing = steps.cancel(&step()).unwrap();
        assert!(steps.cancel(&step()).is_none());
        assert_eq!(attach(&steps).unwrap_err().reason, Reason::StepLost);
        assert_eq!(undoing.on(Event::Undone), Action::Ignore);
        drop(undoing);
        assert!(steps.ids().is_empty());
        assert_eq!(attach(&steps).unwrap_err().reason, Reason::StepLost);
        assert!(steps.cancel_orphan(&step()).is_none());
        // Another cancellation has to look whether anything is left.
        assert!(steps.cancel(&step()).is_some());
    }

    #[test]
    fn a_step_that_its_caller_left_takes_the_next_caller() {
        let steps = Steps::default();
        let first = attach(&steps).unwrap();
        first.on(Event::Detached);
        assert_eq!(first.on(Event::Closed), Action::Part);
        drop(first);
        assert!(steps.ids().is_empty());
        assert!(steps.cancel_orphan(&step()).is_none());
        attach(&steps).unwrap();
        assert!(steps.cancel_orphan(&step()).is_some());
    }

    #[test]
    fn a_cancel_of_an_attended_step_is_left_to_its_operation() {
        let steps = Steps::default();
        let cancel = Token::new();
        let attached = steps.attach(&step(), cancel.clone()).unwrap();
        assert!(steps.cancel(&step()).is_none());
        assert!(cancel.is_cancelled());
        assert_eq!(attached.on(Event::Cancelled), Action::Undo);
    }

    #[test]
    fn an_attachment_that_was_left_does_not_touch_the_next_one() {
        let steps = Steps::default();
        let first = attach(&steps).unwrap();
        assert_eq!(first.on(Event::Detached), Action::Ignore);
        assert_eq!(first.on(Event::Closed), Action::Part);
        let second = attach(&steps).unwrap();
        assert_eq!(first.on(Event::Cancelled), Action::Ignore);
        drop(first);
        assert_eq!(steps.ids().len(), 1);
        assert_eq!(second.on(Event::Returned), Action::Report);
    }
}
