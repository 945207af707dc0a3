//! A step from its call to its end, beside callers and cancellations that come in between.

use super::*;
use crate::error::Reason;

fn reason(steps: &Steps) -> Option<Reason> {
    attach(steps).err().map(|failure| failure.reason)
}

#[test]
fn a_failed_step_refuses_callers_before_and_after_its_deletion() {
    let steps = Steps::default();
    let failing = attach(&steps).unwrap();
    assert_eq!(failing.on(Event::Failed), Action::Undo);
    assert_eq!(reason(&steps), Some(Reason::StepLost));
    // Its own operation deletes what it made.
    assert!(steps.cancel(&step()).is_none());
    assert_eq!(failing.on(Event::Undone), Action::Ignore);
    drop(failing);
    assert_eq!(reason(&steps), Some(Reason::StepLost));
}

#[test]
fn a_deletion_that_broke_off_leaves_the_step_to_its_next_caller() {
    let steps = Steps::default();
    let failing = attach(&steps).unwrap();
    assert_eq!(failing.on(Event::Closed), Action::Undo);
    drop(failing);
    attach(&steps).unwrap();
}

#[test]
fn a_result_is_its_callers_until_it_is_acknowledged() {
    for end in [Event::Acknowledged, Event::Closed] {
        let steps = Steps::default();
        let first = attach(&steps).unwrap();
        assert_eq!(first.on(Event::Returned), Action::Report);
        assert_eq!(reason(&steps), Some(Reason::InvalidInput));
        // A cancellation comes too late.
        assert_eq!(first.on(Event::Cancelled), Action::Ignore);
        assert_eq!(first.on(end), Action::Clear);
        drop(first);
        assert!(steps.ids().is_empty());
        attach(&steps).unwrap();
    }
}

#[test]
fn a_step_that_has_ended_can_be_cancelled_for_what_it_left() {
    let steps = Steps::default();
    let first = attach(&steps).unwrap();
    first.on(Event::Returned);
    first.on(Event::Acknowledged);
    let undoing = steps.cancel(&step()).unwrap();
    // The ended call does not touch the deletion.
    drop(first);
    assert_eq!(steps.ids(), [step().to_string()]);
    assert_eq!(undoing.on(Event::Undone), Action::Ignore);
    drop(undoing);
    assert_eq!(reason(&steps), Some(Reason::StepLost));
}

#[test]
fn a_cancellation_of_all_reaches_each_step() {
    let (steps, tokens) = (Steps::default(), [Token::new(), Token::new()]);
    let names = ["a", "b"].map(|name| name.parse().unwrap());
    let attached: Vec<_> = names
        .iter()
        .zip(&tokens)
        .map(|(step, token)| steps.attach(step, token.clone()).unwrap())
        .collect();
    steps.cancel_all();
    assert!(tokens.iter().all(Token::is_cancelled));
    // Each is undone by its own operation.
    assert!(attached.iter().all(|attached| attached.on(Event::Cancelled) == Action::Undo));
}
