//! The steps that a caller is attached to right now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::error::{Failure, Reason};
use crate::ids::StepId;
use crate::step::lifecycle::{Action, Event, State};

/// Which steps run, where each stands, and how to cancel it.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    steps: Arc<Mutex<HashMap<StepId, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    /// Of its attachment: an old one that is about to go does not touch a new one.
    number: u64,
    state: State,
    cancel: CancellationToken,
}

/// Keeps a step in the registry until it is dropped.
#[derive(Debug)]
pub struct Attached {
    registry: Registry,
    step: StepId,
    number: u64,
}

impl Registry {
    /// Enters a step.
    ///
    /// # Errors
    /// `INVALID_INPUT` when another caller is attached to it.
    pub fn attach(&self, step: &StepId, cancel: CancellationToken) -> Result<Attached, Failure> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, state) =
            steps.get(step).map_or((0, State::default()), |entry| (entry.number, entry.state));
        let (state, action) = state.on(Event::Call);
        if action == Action::Refuse {
            return Err(Failure::new(
                Reason::InvalidInput,
                format!("Another caller is attached to step {step}"),
                "Give each step an id of its own, or wait until the other caller has left",
            ));
        }
        let number = last + 1;
        steps.insert(step.clone(), Entry { number, state, cancel });
        Ok(Attached { registry: self.clone(), step: step.clone(), number })
    }

    /// Cancels a step; false if nobody is attached to it.
    pub fn cancel(&self, step: &StepId) -> bool {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.get(step).inspect(|entry| entry.cancel.cancel()).is_some()
    }

    /// Cancels all steps.
    pub fn cancel_all(&self) {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.values().for_each(|entry| entry.cancel.cancel());
    }

    /// The ids, sorted.
    pub fn ids(&self) -> Vec<String> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<_> = steps.keys().map(StepId::to_string).collect();
        ids.sort();
        ids
    }
}

impl Attached {
    /// Takes in what has happened; what is to be done.
    pub fn on(&self, event: Event) -> Action {
        let mut steps = self.registry.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = steps.get_mut(&self.step).filter(|entry| entry.number == self.number);
        // It is there as long as this is the newest.
        let Some(entry) = entry else { return Action::Ignore };
        let (state, action) = entry.state.on(event);
        tracing::debug!(step = %self.step, ?event, ?state, ?action, "a step goes on");
        entry.state = state;
        action
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut steps = self.registry.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.get(&self.step).is_some_and(|entry| entry.number == self.number) {
            steps.remove(&self.step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attach(registry: &Registry) -> Result<Attached, Failure> {
        let step = "abcdefghijklmnopqrst".parse().expect("an id");
        registry.attach(&step, CancellationToken::new())
    }

    #[test]
    fn a_step_has_one_caller_at_a_time() {
        let registry = Registry::default();
        let first = attach(&registry).unwrap();
        assert_eq!(attach(&registry).unwrap_err().reason, Reason::InvalidInput);
        drop(first);
        attach(&registry).unwrap();
    }

    #[test]
    fn an_attachment_that_was_left_does_not_touch_the_next_one() {
        let registry = Registry::default();
        let first = attach(&registry).unwrap();
        assert_eq!(first.on(Event::Detached), Action::Ignore);
        assert_eq!(first.on(Event::Closed), Action::Part);
        let second = attach(&registry).unwrap();
        assert_eq!(first.on(Event::Cancelled), Action::Ignore);
        drop(first);
        assert_eq!(registry.ids().len(), 1);
        assert_eq!(second.on(Event::Returned), Action::Tell);
    }
}
