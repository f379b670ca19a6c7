//! Requests that another hookbox refused.

use crate::actions::{config, done};
use crate::support::{Home, Request};

#[test]
fn forwarded_headers_of_a_tunnel_or_a_browser_were_refused_by_another_hookbox() {
    let (here, there) = (Home::with_config(&config("[actions]\n")).start(), Home::new().without_secret().start());
    let mut request = Request::github("push", "d-1", "{}");
    for name in
        ["Forwarded", "X-Forwarded-For", "Via", "Cf-Connecting-Ip", "X-Real-Ip", "CDN-Loop", "Origin", "Sec-Fetch-Site"]
    {
        request = request.header(name, "for=192.0.2.1");
    }
    assert_eq!(here.send(&request).status, 200);
    assert_eq!(done(&here, &format!("forward 1 {}", there.url("/webhooks/github"))), "200 OK\n");
}
