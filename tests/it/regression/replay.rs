//! Replays that repeated too much.

use crate::actions::done;
use crate::actions::replay::two_of_three_dead;
use crate::support::Stub;

#[test]
fn replaying_failures_repeated_successes_of_other_actions() {
    let (good, bad) = (Stub::http(), Stub::http());
    let hookbox = two_of_three_dead(&good, &bad);
    assert_eq!(done(&hookbox, "replay --status error --action good --dry-run"), "");
    assert_eq!(done(&hookbox, "replay --status error --action good"), "queued 0 events\n");
    assert_eq!(done(&hookbox, "replay 1 --action good"), "queued 1 event\n", "who names the event means it");
    good.wait_for(4);
}
