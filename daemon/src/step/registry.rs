//! The steps that a caller is attached to right now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::error::{Failure, Reason};
use crate::ids::StepId;

/// Which steps run, and how to cancel each.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    steps: Arc<Mutex<HashMap<StepId, CancellationToken>>>,
}

/// Keeps a step in the registry until it is dropped.
#[derive(Debug)]
pub struct Attached {
    registry: Registry,
    step: StepId,
}

impl Registry {
    /// Enters a step.
    ///
    /// # Errors
    /// `INVALID_INPUT` when another caller is attached to it.
    pub fn attach(&self, step: &StepId, cancel: CancellationToken) -> Result<Attached, Failure> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.contains_key(step) {
            return Err(Failure::new(
                Reason::InvalidInput,
                format!("Another caller is attached to step {step}"),
                "Give each step an id of its own, or wait until the other caller has left",
            ));
        }
        steps.insert(step.clone(), cancel);
        Ok(Attached { registry: self.clone(), step: step.clone() })
    }

    /// Cancels a step; false if nobody is attached to it.
    pub fn cancel(&self, step: &StepId) -> bool {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.get(step).inspect(|cancel| cancel.cancel()).is_some()
    }

    /// Cancels all steps.
    pub fn cancel_all(&self) {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.values().for_each(CancellationToken::cancel);
    }

    /// The ids, sorted.
    pub fn ids(&self) -> Vec<String> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<_> = steps.keys().map(StepId::to_string).collect();
        ids.sort();
        ids
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut steps = self.registry.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.remove(&self.step);
    }
}
