//! Reloads that changed jobs already running.

use crate::actions::reload::SLOW;
use crate::actions::{action, config, job, shell};
use crate::support::{Home, Signal, wait_for};

#[test]
fn a_reload_changed_the_stop_timeout_of_a_running_job() {
    let patient =
        config(&action("it", "command", &shell(SLOW))).replace("stop_timeout = \"1s\"", "stop_timeout = \"60s\"");
    let hookbox = Home::with_config(&patient).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for("the run", || (hookbox.line_count("began") == 1).then_some(()));
    hookbox.reload(config(&action("it", "log", "")));
    hookbox.signal(Signal::TERM);
    hookbox.wait_for_stderr("stopping");
    // The new `stop_timeout` is a second. Not a wait for something.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    hookbox.write("go", "");
    let (home, output) = hookbox.wait();
    assert!(!output.stderr.contains("did not finish"), "{output}");
    assert_eq!(home.line_count("ended"), 1);
    assert_eq!(job(&home, 1, "it")["state"], "succeeded");
}
