//! The administrator's policy, asked once by each call before anything is created.

use crate::context::Context;
use crate::error::Failure;
use crate::policy::error::PolicyError;
use crate::policy::{self, Policy};
use crate::session::events::Session;

/// Refuses what the policy does not allow, or says so where it only audits.
///
/// # Errors
/// `POLICY_DENIED` with the rule; `POLICY_INVALID` when the policy cannot be read.
pub(super) async fn apply(
    context: &Context,
    session: &mut Session,
    refused: impl FnOnce(&Policy) -> Vec<PolicyError>,
) -> Result<(), Failure> {
    let Some(policy) = context.policy()? else { return Ok(()) };
    let audited = policy.judge(refused(&policy))?;
    policy::say(&audited, &context.warnings, session).await
}
