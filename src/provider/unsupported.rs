//! Providers whose deliveries cannot be verified here, why, and what to do instead. Among them are all that need a
//! certificate or a key to be fetched: the receiver does no network I/O.

#[derive(Debug)]
pub struct Unsupported {
    pub name: &'static str,
    pub title: &'static str,
    pub why: &'static str,
    pub instead: &'static str,
}

pub static UNSUPPORTED: &[Unsupported] = &[
    Unsupported {
        name: "sns",
        title: "Amazon SNS",
        why: "its signature needs a certificate fetched from the address in the request, and a subscription a request to \
              another one",
        instead: "let SNS feed an SQS queue or a Lambda function which sends with a secret (provider = \"hmac\")",
    },
    Unsupported {
        name: "pubsub",
        title: "Google Pub/Sub push",
        why: "its tokens are signed with keys that must be fetched from Google and change",
        instead: "put a secret into the push endpoint's URL (?token=...): provider = \"token\" with sig = \"query:token\"",
    },
    Unsupported {
        name: "paypal",
        title: "PayPal",
        why: "its signature needs a certificate fetched from the address in the request, and binds the body by a CRC-32 only",
        instead: "put a secret into the webhook's URL (provider = \"token\", sig = \"query:token\"), and ask PayPal's API \
                  about each event before acting on it",
    },
    Unsupported {
        name: "jira-connect",
        title: "Jira Connect apps",
        why: "each installation has a secret of its own, which is exchanged when the app is installed",
        instead: "make a webhook in Jira's administration, with a secret: provider = \"jira\"",
    },
    Unsupported {
        name: "docker-hub",
        title: "Docker Hub",
        why: "it signs nothing",
        instead: "put a secret into the webhook's URL (?token=...): provider = \"token\" with sig = \"query:token\"",
    },
    Unsupported {
        name: "home-assistant",
        title: "Home Assistant",
        why: "it has no way of its own to sign",
        instead: "send with rest_command and a header (Authorization: Bearer SECRET): provider = \"token\"",
    },
];

pub fn unsupported(name: &str) -> Option<&'static Unsupported> {
    UNSUPPORTED.iter().find(|unsupported| unsupported.name == name)
}
