//! Events in any order, beside a model of the cluster and of a client.

use proptest::prelude::*;

use super::*;

/// What a test lets happen, in any order.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Call,
    Detach,
    Close,
    Cancel,
    CursorArrives,
    ProgramEnds,
    OperationFails,
    Acknowledge,
    DeletionEnds,
    DaemonDies,
}

/// The cluster as far as a step is concerned, and its client.
#[derive(Debug, Default)]
struct World {
    state: State,
    /// The Job, or the step in the job's pod.
    exists: bool,
    /// The client's cursor has it: it is never made again.
    seen: bool,
    ended: bool,
    /// A client's connection is open.
    connected: bool,
    detached: bool,
    starts: u32,
    reported: u32,
    undone: u32,
    parted: u32,
}

impl World {
    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Call if !self.connected => {
                self.connected = true;
                self.detached = false;
                self.feed(Event::Call);
            }
            Happening::Detach if self.connected => {
                self.detached = true;
                self.feed(Event::Detached);
            }
            Happening::Close if self.connected => {
                self.connected = false;
                self.feed(Event::Closed);
            }
            Happening::Cancel => self.feed(Event::Cancelled),
            Happening::CursorArrives if self.connected => self.seen = self.starts > 0,
            Happening::ProgramEnds if self.exists => self.ended = true,
            Happening::OperationFails if self.is_attached() => self.feed(Event::Failed),
            Happening::Acknowledge if self.connected && self.state == State::Reported => {
                self.seen = true;
                self.feed(Event::Acknowledged);
            }
            Happening::DeletionEnds => self.feed(Event::Undone),
            // What was deleted before its client knew of it is remembered by this daemon only.
            Happening::DaemonDies if self.exists || self.seen || self.starts == 0 => {
                self.state = State::Idle;
                self.connected = false;
            }
            _ => {}
        }
        // An operation that follows a program returns when that has ended.
        if self.is_attached() && self.exists && self.ended {
            self.feed(Event::Returned);
        }
    }

    fn is_attached(&self) -> bool {
        matches!(self.state, State::Attached { .. })
    }

    fn feed(&mut self, event: Event) {
        let (next, action) = self.state.on(event);
        self.state = next;
        match action {
            Action::Run if self.exists => {}
            Action::Run if self.seen => self.feed(Event::Failed),
            Action::Run => {
                self.exists = true;
                self.starts += 1;
            }
            Action::Report => {
                assert!(self.ended, "a result of a program that runs");
                self.reported += 1;
            }
            Action::Part => {
                assert!(self.detached, "a step was left by a session that did not say so");
                self.parted += 1;
            }
            Action::Undo => {
                self.exists = false;
                self.undone += 1;
            }
            Action::Clear => {
                // The cursor came with the first event, long before the result.
                self.seen = true;
                assert!(self.ended, "a step was cleared away that runs");
                self.exists = false;
            }
            Action::Refuse => {
                assert!(next != State::Idle);
                self.connected = false;
            }
            Action::Ignore => {}
        }
    }
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        3 => Just(Happening::Call),
        1 => Just(Happening::Detach),
        2 => Just(Happening::Close),
        1 => Just(Happening::Cancel),
        2 => Just(Happening::CursorArrives),
        2 => Just(Happening::ProgramEnds),
        1 => Just(Happening::OperationFails),
        2 => Just(Happening::Acknowledge),
        2 => Just(Happening::DeletionEnds),
        1 => Just(Happening::DaemonDies),
    ];
    prop::collection::vec(one, 0..40)
}

fn world_after(happenings: &[Happening]) -> World {
    let mut world = World::default();
    happenings.iter().for_each(|happening| world.happen(*happening));
    world
}

proptest! {
    #[test]
    fn a_program_is_never_started_twice(happenings in happenings()) {
        prop_assert!(world_after(&happenings).starts <= 1);
    }

    #[test]
    fn a_step_with_a_living_caller_never_waits_for_nothing(happenings in happenings()) {
        let mut world = world_after(&happenings);
        // Whatever came before: its program ends, its client acts on all it hears.
        world.happen(Happening::DeletionEnds);
        world.happen(Happening::Call);
        world.happen(Happening::ProgramEnds);
        world.happen(Happening::Acknowledge);
        world.happen(Happening::DeletionEnds);
        prop_assert!(matches!(world.state, State::Over | State::Undone), "{world:?}");
        prop_assert!(!world.exists, "{world:?}");
    }

    #[test]
    fn a_lost_caller_leaves_nothing_behind(happenings in happenings()) {
        let mut world = world_after(&happenings);
        world.happen(Happening::Call);
        let detached = world.detached;
        world.happen(Happening::Close);
        world.happen(Happening::DeletionEnds);
        prop_assert!(detached || !world.exists, "{world:?}");
    }

    #[test]
    fn a_cancel_ends_whatever_has_no_result(happenings in happenings()) {
        let mut world = world_after(&happenings);
        world.happen(Happening::Cancel);
        world.happen(Happening::DeletionEnds);
        prop_assert!(world.state == State::Reported || !world.exists, "{world:?}");
    }

    #[test]
    fn a_caller_that_detached_finds_its_step_again(happenings in happenings()) {
        let mut world = world_after(&happenings);
        world.happen(Happening::Call);
        let ran = world.is_attached() && world.exists;
        world.happen(Happening::Detach);
        world.happen(Happening::Close);
        prop_assert!(!ran || world.exists, "{world:?}");
        world.happen(Happening::DaemonDies);
        world.happen(Happening::Call);
        prop_assert!(!ran || world.is_attached() || world.state == State::Reported, "{world:?}");
    }

    #[test]
    fn a_result_is_reported_at_most_once_to_each_caller(happenings in happenings()) {
        let world = world_after(&happenings);
        let calls = happenings.iter().filter(|one| matches!(one, Happening::Call)).count();
        prop_assert!(world.reported as usize <= calls, "{world:?}");
    }
}

#[test]
fn a_result_that_stands_outlives_a_cancel() {
    for event in [Event::Cancelled, Event::Failed, Event::Returned, Event::Detached] {
        assert_eq!(State::Reported.on(event), (State::Reported, Action::Ignore));
    }
}

#[test]
fn a_second_caller_is_refused_and_one_of_an_undone_step() {
    let attended = [State::Attached { leaving: false }, State::Reported, State::Undoing];
    for state in attended.into_iter().chain([State::Undone]) {
        assert_eq!(state.on(Event::Call), (state, Action::Refuse));
    }
}
