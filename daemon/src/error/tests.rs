use super::*;

#[test]
fn a_report_names_each_cause_once() {
    let io = std::io::Error::other("no route");
    let failure = Failure::new(Reason::ApiUnreachable, "The API server is away: no route", "Wait")
        .with_source(io);
    assert_eq!(report(&failure), "The API server is away: no route");
    let failure = Failure::new(Reason::ApiUnreachable, "The API server is away", "Wait")
        .with_source(std::io::Error::other("no route"));
    assert_eq!(report(&failure), "The API server is away: no route");
}

#[derive(Debug, thiserror::Error)]
#[error("Pod {pod} is gone")]
struct PodGone {
    pod: &'static str,
    source: std::io::Error,
}

impl Explain for PodGone {
    fn reason(&self) -> Reason {
        Reason::StepLost
    }

    fn help(&self) -> String {
        "Run the job again".to_owned()
    }
}

#[test]
fn an_error_of_a_room_keeps_its_words_and_causes() {
    let failure = Failure::from(PodGone { pod: "p", source: std::io::Error::other("no route") });
    assert_eq!(failure.reason, Reason::StepLost);
    assert_eq!(failure.remedy, "Run the job again");
    assert_eq!(report(&failure), "Pod p is gone: no route");
    assert_eq!(failure.cause::<PodGone>().map(|error| error.pod), Some("p"));
    assert!(failure.cause::<std::fmt::Error>().is_none());
}

#[test]
fn a_cancelled_step_is_known_by_its_error() {
    assert!(Failure::cancelled().is_cancelled());
    let other = Failure::new(Reason::StartFailed, "It did not start", "Mend it");
    assert!(!other.with_source(Failure::cancelled()).is_cancelled());
    assert!(!Failure::undone().is_cancelled());
}

#[test]
fn a_defect_keeps_its_cause() {
    let failure = Failure::from(CommonError::defect("Reading failed", "it panicked"));
    assert_eq!(
        (failure.reason, report(&failure)),
        (Reason::Internal, "Reading failed: it panicked".to_owned())
    );
}

#[test]
fn the_examples_have_every_common_error() {
    examples::assert_complete(include_str!("common.rs"), "CommonError", &examples::common());
}

#[test]
#[should_panic(expected = "no example of Two::Second")]
fn an_error_without_an_example_is_found() {
    #[derive(Debug, thiserror::Error)]
    #[error("no")]
    enum Two {
        First,
    }
    impl Explain for Two {
        fn reason(&self) -> Reason {
            Reason::Internal
        }

        fn help(&self) -> String {
            String::new()
        }
    }
    let source =
        "pub enum Two {\n    /// One.\n    First,\n    Second {\n        Third: u8,\n    },\n}\n";
    examples::assert_complete(source, "Two", &[Box::new(Two::First)]);
}
