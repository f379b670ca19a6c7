//! Replays that repeated too much.

use crate::actions::replay::{mail_sent_and_deploy_waiting, two_of_three_dead};
use crate::actions::{done, job, wait_for_state};
use crate::support::{Answer, Stub};

#[test]
fn replaying_failures_repeated_successes_of_other_actions() {
    let (good, bad) = (Stub::http(), Stub::http());
    let hookbox = two_of_three_dead(&good, &bad);
    let text = done(&hookbox, "replay --status error --action good");
    assert!(text.contains("event 1: good succeeded already: --again does it again\n"), "{text}");
    assert!(text.ends_with("queued 0 jobs of 0 events\n"), "{text}");
    let text = done(&hookbox, "replay 1 --action good");
    assert!(text.ends_with("queued 0 jobs of 0 events\n"), "{text}");
    assert_eq!(good.count(), 3);
}

/// With a job that waited for a retry, another that had succeeded was done again, and the waiting one was left alone.
#[test]
fn a_mail_was_sent_twice_in_place_of_the_retry() {
    let (mail, deploy) = (Stub::http(), Stub::http());
    let hookbox = mail_sent_and_deploy_waiting(&mail, &deploy);
    deploy.answer(Answer::Status(200));
    let text = done(&hookbox, "replay 1");
    assert_eq!(
        text,
        "event 1: deploy is due now; mail succeeded already: --again does it again\nqueued 1 job of 1 event\n"
    );
    wait_for_state(&hookbox, 1, "deploy", "succeeded");
    assert_eq!((mail.count(), deploy.count()), (1, 2));
    assert_eq!(job(&hookbox, 1, "deploy")["attempts"].as_array().unwrap().len(), 2, "its count is as it was");
}
