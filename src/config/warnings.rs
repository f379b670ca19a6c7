//! Warnings: what is valid, and probably not what was meant. Each says the way out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::source::{BUILT_IN, BUILT_IN_SECRET};
use super::{AdminToken, Config, Origin, Source};
use crate::action::{Action, Pattern};
use crate::cidr::Cidr;
use crate::listen::Listen;
use crate::news::{self, Kind};
use crate::secret::Env;
use crate::suggest::{closest, hint};
use crate::units::duration_text;

#[derive(Debug, PartialEq, Eq)]
pub struct Warning {
    /// `actions.deploy.run`
    pub key: String,
    pub text: String,
}

impl Warning {
    fn new(key: impl Into<String>, text: impl Into<String>) -> Warning {
        Warning { key: key.into(), text: text.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

impl Config {
    /// All of them.
    pub fn warnings(&self, env: &Env<'_>) -> Vec<Warning> {
        let of_sources = self.sources.values().flat_map(|source| self.source_warnings(source));
        let of_actions = self.actions.values().flat_map(|action| self.action_warnings(action));
        self.general_warnings(env).into_iter().chain(of_sources).chain(of_actions).collect()
    }

    /// Those about neither a source nor an action.
    pub fn general_warnings(&self, env: &Env<'_>) -> Vec<Warning> {
        let token = match &self.admin.token {
            AdminToken::Configured(token) => token.doubt().map(|doubt| Warning::new("admin.token", doubt)),
            AdminToken::Made | AdminToken::None => None,
        };
        let is_set = self.is_without_built_in() && env(BUILT_IN_SECRET).is_some();
        let built_in = is_set.then(|| {
            let text = format!("{BUILT_IN_SECRET} is set, and no source uses it: {}", without_built_in());
            Warning::new("sources", text)
        });
        [self.exposed_listener(), self.exposed_page(), token, built_in].into_iter().flatten().collect()
    }

    pub fn source_warnings(&self, source: &Source) -> Vec<Warning> {
        let key = |key: &str| format!("sources.{}.{key}", source.name);
        let secrets = source
            .verification
            .secrets()
            .iter()
            .filter_map(|secret| Some(Warning::new(key("secret"), secret.doubt()?)));
        let token =
            source.verify_token.iter().filter_map(|token| Some(Warning::new(key("verify_token"), token.doubt()?)));
        let allow = self.refuses_all(source).then(|| {
            let text = "every delivery comes from a proxy on this machine, which is not among them: name it in trusted_proxies, so \
                        that the address of the sender counts";
            Warning::new(key("allow"), text)
        });
        secrets.chain(token).chain(allow).chain(self.short_retention(source)).collect()
    }

    /// What is deleted before the provider forgets it cannot be told from what was missed.
    fn short_retention(&self, source: &Source) -> Option<Warning> {
        let recovery = source.recover.as_ref()?.recovery;
        let kept = self.retention.shortest_of_events().filter(|kept| *kept < recovery.window)?;
        let [kept, window] = [kept, recovery.window].map(duration_text);
        let title = recovery.title;
        let text = format!(
            "events are deleted after {kept}, and {title} lists its deliveries for {window}: nothing older than {kept} is \
             recovered; raise [retention] to at least {window}"
        );
        Some(Warning::new(format!("sources.{}.recover", source.name), text))
    }

    pub fn action_warnings(&self, action: &Action) -> Vec<Warning> {
        let key = |key: &str| format!("actions.{}.{key}", action.name);
        let on = action.on.iter().filter_map(|pattern| Some(Warning::new(key("on"), self.doubt_of_pattern(pattern)?)));
        let doubts = action.kind.doubts().into_iter().map(|doubt| Warning::new(key(&doubt.key), doubt.text));
        on.chain(doubts).collect()
    }

    /// Whether the source of a start without config is missing because the config has others.
    pub fn is_without_built_in(&self) -> bool {
        let is_of_provider = |source: &Source| source.verifier.preset.name == BUILT_IN;
        matches!(self.origin, Origin::File(_)) && !self.sources.values().any(is_of_provider)
    }

    fn exposed_listener(&self) -> Option<Warning> {
        let text = "deliveries come in plain HTTP, and anyone on their way can read them and the tokens in them: listen on \
                    127.0.0.1 behind a proxy or a tunnel with HTTPS (hookbox help proxy, hookbox help tunnel), or, where the proxy \
                    is another machine, name it in trusted_proxies";
        (is_public(&self.listen) && self.trusted_proxies.is_empty()).then(|| Warning::new("listen", text))
    }

    fn exposed_page(&self) -> Option<Warning> {
        let text = "the page and its token are sent in plain HTTP, and anyone on the way can read them: listen on 127.0.0.1, and \
                    reach it through ssh -L or a proxy with HTTPS (hookbox help page)";
        self.admin.listen.place().filter(is_public).map(|_| Warning::new("admin.listen", text))
    }

    /// Whether the addresses that a source allows are never seen, because all deliveries come from this machine.
    fn refuses_all(&self, source: &Source) -> bool {
        let local: IpAddr = Ipv4Addr::LOCALHOST.into();
        let is_left_out = |networks: &Vec<Cidr>| !networks.iter().any(|network| network.contains(local));
        self.listen.is_local() && self.trusted_proxies.is_empty() && source.allow.as_ref().is_some_and(is_left_out)
    }

    /// Why a pattern matches no delivery.
    fn doubt_of_pattern(&self, pattern: &Pattern) -> Option<String> {
        let doubt = |source: &Source| source.verifier.event_type_doubt(pattern.event_type()?);
        match pattern.source() {
            Some(news::SOURCE) => doubt_of_news(pattern.event_type()?),
            Some(name) => match self.sources.get(name) {
                Some(source) => doubt(source),
                None => Some(self.no_source(name)),
            },
            // It is enough that one of the sources may send it.
            None => {
                let doubts: Option<Vec<String>> = self.sources.values().map(doubt).collect();
                doubts.and_then(|doubts| doubts.into_iter().next())
            }
        }
    }

    fn no_source(&self, name: &str) -> String {
        if name == BUILT_IN {
            return format!("there is no source {name:?}: {}", without_built_in());
        }
        let names = || self.sources.keys().map(String::as_str);
        match closest(name, names()) {
            Some(near) => format!("there is no source {name:?}; did you mean {near:?}?"),
            None => {
                let known: Vec<&str> = names().collect();
                format!("there is no source {name:?}: add [sources.{name}], or name one of {}", known.join(", "))
            }
        }
    }
}

/// What is wrong with an event type of news.
fn doubt_of_news(event_type: &str) -> Option<String> {
    if Kind::parse(event_type).is_some() {
        return None;
    }
    Some(format!("there is no news {event_type:?}; {}", hint(event_type, &Kind::ALL.map(Kind::as_str))))
}

/// What to do about the missing built-in source.
fn without_built_in() -> String {
    format!(
        "the built-in source {BUILT_IN} is there only without [sources]; add it: [sources.{BUILT_IN}] with provider = \
         \"{BUILT_IN}\" and secret = \"env:{BUILT_IN_SECRET}\""
    )
}

/// Whether every network, or the internet, can reach it. Other addresses may be those of a network that encrypts.
fn is_public(listen: &Listen) -> bool {
    let Listen::Tcp(address) = listen else { return false };
    let host = address.rsplit_once(':').map_or("", |(host, _)| host);
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(ip)) => {
            ip.is_unspecified() || !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || is_shared(ip))
        }
        // fc00::/7 and fe80::/10 are of a local network.
        Ok(IpAddr::V6(ip)) => ip.is_unspecified() || ip.segments()[0] & 0xe000 == 0x2000,
        Err(_) => false,
    }
}

/// RFC 6598; Tailscale's addresses are of it.
fn is_shared(ip: Ipv4Addr) -> bool {
    ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_public_unless_its_network_is_local() {
        for address in ["0.0.0.0:80", "[::]:80", "203.0.113.5:80", "[2001:db8::1]:80"] {
            assert!(is_public(&address.parse().expect("an address")), "{address}");
        }
        for address in [
            "127.0.0.1:80",
            "192.168.1.2:80",
            "100.100.1.1:80",
            "[::1]:80",
            "[fd00::1]:80",
            "[fe80::1]:80",
            "pi.local:80",
            "unix:/x",
        ] {
            assert!(!is_public(&address.parse().expect("an address")), "{address}");
        }
    }
}
