//! The image of a container, as the manual and `.ci/image` describe it. `.ci/container` runs it.

use crate::support::example;

const MANUAL: &str = "src/manual/install.md";

fn text(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Docker has it from the image, compose and podman from the manual.
#[test]
fn the_image_and_the_manual_have_the_same_health_check_and_command() {
    let (image, compose) = (text(".ci/image"), example(MANUAL, "yaml", "services:"));
    let health = r#""health", "--listen", "127.0.0.1:5000"]"#;
    assert!(image.contains(&format!(r#"["CMD", "/usr/bin/hookbox", {health}"#)));
    assert!(text(MANUAL).contains(&format!(r#"--health-cmd '["hookbox", {health}'"#)));
    assert!(compose.contains(r#"test: [CMD, hookbox, health, --listen, "127.0.0.1:5000"]"#), "{compose}");
    let command = r#"["serve", "--listen", "0.0.0.0:5000"]"#;
    assert!(image.contains(&format!(r#""Cmd": {command}"#)));
    assert!(example(MANUAL, "dockerfile", "FROM").contains(&format!("CMD {command}")));
}
