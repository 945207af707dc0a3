use super::*;

#[test]
fn what_was_sent_decides_and_not_the_log_alone() {
    let incomplete = || Progress::Incomplete("EOF".to_owned());
    let again = |message: &str| Decision::Restart(message.to_owned());
    let ended = "the builder ended with exit code 1";
    let table = [
        // Confirmed as delivered: only the builder's own message speaks against it.
        (true, None, Progress::Unknown, Decision::Continue),
        (true, Some(1), Progress::Unknown, Decision::Continue),
        (true, Some(1), Progress::Decided, Decision::Continue),
        (true, Some(1), incomplete(), again("EOF")),
        // Not confirmed: only a proof speaks for it.
        (false, None, Progress::Unknown, Decision::Wait),
        (false, None, Progress::Decided, Decision::Continue),
        (false, Some(0), Progress::Unknown, Decision::Continue),
        (false, Some(1), Progress::Unknown, again(ended)),
        (false, Some(1), Progress::Decided, Decision::Continue),
        (false, Some(1), incomplete(), again("EOF")),
        (false, None, incomplete(), again("EOF")),
    ];
    for (delivered, exit_code, progress, decision) in table {
        let row = format!("{delivered} {exit_code:?} {progress:?}");
        assert_eq!(decide(delivered, exit_code, progress), decision, "{row}");
    }
}

#[test]
fn escape_sequences_are_taken_out() {
    for (text, expected) in [
        ("plain", "plain"),
        ("\u{1b}[1;31mFATA\u{1b}[0m[0000] x", "FATA[0000] x"),
        ("a\u{1b}[2Kb\u{1b}", "ab"),
        ("a\u{1b}[31", "a"),
        ("a\u{1b}Mb\u{1b}é", "ab"),
    ] {
        assert_eq!(plain(text), expected, "{text:?}");
    }
}
