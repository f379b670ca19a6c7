//! What shows that a proxy, a tunnel or a browser has passed a request on, so that it is not a local program's own.
//!
//! Some pass on connections as they are (`ssh -R`, stunnel, HAProxy with a local `Host`): nothing in the request shows that.

use super::Inbound;
use std::net::IpAddr;

/// The fields that a browser adds to a request made by a page: any page can make one, to any address of this machine.
pub const BROWSER_HEADERS: [&str; 2] = ["Origin", "Sec-Fetch-Site"];

/// Words in the names of the fields in which proxies pass on what they know of their client: `X-Forwarded-For`,
/// `X-Real-IP`, `True-Client-IP`, `X-Azure-ClientIP`, `X-Remote-Addr`, `WL-Proxy-Client-IP`.
const WORDS: [&str; 14] = [
    "forwarded",
    "forwardedfor",
    "xforwardedfor",
    "forward",
    "via",
    "proxy",
    "ip",
    "ips",
    "clientip",
    "realip",
    "userip",
    "sourceip",
    "addr",
    "ssl",
];

/// Beginnings of the names of other fields that proxies, tunnels and content delivery networks add.
const BEGINNINGS: [&str; 24] = [
    "akamai-",
    "x-akamai-",
    "client-cert",
    "clientip",
    "cloudfront-",
    "front-end-https",
    "surrogate-capability",
    "x-azure-",
    "x-railway-",
    "x-remote-",
    "cdn-",
    "cf-",
    "fastly-",
    "fly-",
    "ngrok-",
    "tailscale-",
    "x-amz-cf-",
    "x-amzn-trace-",
    "x-appengine-",
    "x-arr-",
    "x-cloud-trace-",
    "x-envoy-",
    "x-original-",
    "x-real-",
];

/// The most of a `Host` that a reason repeats: longer than any name (RFC 1035, section 2.3.4).
const MAX_SHOWN_CHARS: usize = 255;

/// Whether proxies or tunnels add a field of this name to the requests that they forward.
pub fn is_forwarding_field(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let mut beginnings = BEGINNINGS.iter();
    beginnings.any(|beginning| name.starts_with(beginning)) || name.split('-').any(|word| WORDS.contains(&word))
}

/// Whether this `Host` is a name or an address by which a machine reaches itself.
pub fn is_local_host(host: &str) -> bool {
    let host = without_port(host);
    let host = host.strip_suffix('.').unwrap_or(host); // the root of all names
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// A `Host` without its port.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    }
}

impl Inbound {
    /// What shows that a proxy or a tunnel has forwarded the request; `None` if nothing does.
    pub fn forwarding_sign(&self) -> Option<String> {
        if self.is_http_1_0 {
            return Some("HTTP/1.0, which proxies speak by default".to_owned());
        }
        let mut names = self.headers.iter().map(|(name, _)| name);
        names.find(|name| is_forwarding_field(name)).map(|name| format!("the field {name}"))
    }

    /// What shows that a program on this machine has not sent the request itself; `None` if nothing does.
    pub fn foreign_sign(&self) -> Option<String> {
        match self.peer {
            Some(peer) if peer.ip().is_loopback() => {}
            _ => return Some("the address of its sender".to_owned()),
        }
        let browser = || BROWSER_HEADERS.iter().find(|name| self.headers.has(name));
        self.forwarding_sign()
            .or_else(|| browser().map(|name| format!("the field {name}")))
            .or_else(|| self.foreign_host())
    }

    fn foreign_host(&self) -> Option<String> {
        match self.headers.get("Host") {
            None => Some("no Host".to_owned()),
            Some(host) if is_local_host(host) => None,
            Some(host) => Some(format!("the Host {}", host.chars().take(MAX_SHOWN_CHARS).collect::<String>())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proxies_and_tunnels_are_known_by_their_names() {
        let names = "Forwarded Via X-Forwarded-For X-Forwarded-Proto x-forwarded X_Forwarded_For X-Forward-For X-Real-IP \
                     X-Real-Host X-Client-IP Client-IP True-Client-IP Fly-Client-IP Fastly-Client-IP X-Cluster-Client-IP \
                     CF-Connecting-IP CF-Ray CF-Visitor CDN-Loop X-Azure-ClientIP X-ProxyUser-Ip Proxy-Client-IP \
                     X-Nginx-Proxy X-Original-Forwarded-For X-Original-URL X-Original-Host X-Envoy-External-Address \
                     X-Amzn-Trace-Id X-Amz-Cf-Id X-Appengine-User-IP X-Remote-Addr Remote-Addr X-Remote-IP Ali-Cdn-Real-IP \
                     Tailscale-User-Login X-ARR-SSL X-Cloud-Trace-Context Do-Connecting-IP X-Nf-Client-Connection-Ip \
                     X-RealIP X-ForwardedFor ClientIPAddress X-Remote-Host X-SSL X-LocalTunnel-Agent-Ips CloudFront-Viewer-Country";
        for name in names.split_whitespace() {
            assert!(is_forwarding_field(name), "{name}");
        }
    }

    #[test]
    fn fields_of_senders_are_none_of_a_proxy() {
        let names = "Host User-Agent Accept Content-Type X-GitHub-Event X-GitHub-Hook-Installation-Target-ID \
                     X-Hub-Signature-256 X-Shopify-Shop-Domain X-Request-Id traceparent Idempotency-Key Authorization \
                     X-Gitlab-Instance Accept-Encoding Content-Encoding X-Membership Linear-Delivery X-Vercel-Signature \
                     X-Amz-Sns-Message-Type I-Twilio-Idempotency-Token";
        for name in names.split_whitespace() {
            assert!(!is_forwarding_field(name), "{name}");
        }
    }

    #[test]
    fn only_names_and_addresses_of_the_loopback_are_a_local_host() {
        for host in
            "localhost LOCALHOST:5000 localhost.:80 127.0.0.1 127.0.0.1:5000 127.3.2.1:80 [::1] [::1]:5000 [::ffff:127.0.0.1]:1"
                .split(' ')
        {
            assert!(is_local_host(host), "{host}");
        }
        for host in
            "hooks.example.com hooks.example.com:443 localhost.example.com 127.0.0.1.example.com 192.168.1.5:5000 \
                     0.0.0.0 ::1 :5000 [::2] [fe80::1] [::ffff:10.0.0.1] 128.0.0.1 127.1 localhost:x"
                .split_whitespace()
        {
            assert!(!is_local_host(host), "{host}");
        }
        assert!(!is_local_host(""));
    }
}
