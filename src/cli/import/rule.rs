//! A trigger rule becomes what proves a sender (secrets and networks of a source) and a condition (`when` of an action).
//!
//! A source has one kind of proof. A rule that allows one of several becomes several sources with one path. What cannot be
//! said becomes the condition `false`, so that nothing is let in by a mistake of the conversion.

use super::hook::{Argument, Match, Rule};
use super::reference::{References, quoted};
use crate::cidr::Cidr;
use crate::provider::is_secret_header;
use crate::template::Expression;

/// A rule with more combinations of proofs is not one that a person keeps track of.
const MAX_ALTERNATIVES: usize = 16;

/// Parts of the name of a value that is a secret.
const SECRET_NAMES: [&str; 8] = ["token", "secret", "passw", "apikey", "api_key", "api-key", "signature", "credential"];

/// The same in a header or a URL. In a payload they are also names of what is spoken about: `issue.key`, `author`.
const SECRET_NAMES_OUTSIDE: [&str; 2] = ["auth", "key"];

/// Parts of the name of a header that says what is sent, not by whom.
const DESCRIPTIVE: [&str; 9] =
    ["event", "user-agent", "content-", "host", "accept", "origin", "referer", "x-github-", "delivery"];

/// A value of this length is a secret, or of the other one if there is a digit in it.
const SECRET_BYTES: usize = 16;
const SECRET_BYTES_WITH_DIGIT: usize = 8;

/// What no condition can say.
const NEVER: &str = "false";

/// How a secret proves who sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// It is at this place.
    Token {
        sig: String,
    },
    /// `sha1`, `sha256` or `sha512`.
    Hmac {
        hash: &'static str,
        sig: String,
    },
    Scalr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub scheme: Scheme,
    pub secrets: Vec<String>,
}

/// One way to satisfy a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alternative {
    pub proof: Option<Proof>,
    pub networks: Vec<String>,
    /// All of these must hold.
    pub conditions: Vec<String>,
}

/// The rules of one hook, and what the operator has to know about their conversion.
pub struct Rules<'a> {
    pub references: &'a References<'a>,
    pub notes: &'a mut Vec<String>,
}

/// An alternative before it is decided what of it is the proof.
#[derive(Clone, Debug, Default)]
struct Draft {
    proofs: Vec<Proof>,
    networks: Vec<Vec<String>>,
    /// Comparisons with a text, one of which may be the proof.
    values: Vec<Match>,
    conditions: Vec<String>,
}

impl Rules<'_> {
    /// The alternatives, at least one.
    pub fn convert(&mut self, rule: &Rule) -> Vec<Alternative> {
        let drafts = self.drafts(rule);
        let mut found: Vec<Alternative> = Vec::new();
        for draft in drafts {
            let alternative = self.resolve(draft);
            match found.iter_mut().find(|known| known.can_take(&alternative)) {
                Some(known) => known.take(alternative),
                None => found.push(alternative),
            }
        }
        if found.is_empty() {
            vec![self.never("the rule has no alternative, so that it never holds in webhook either")]
        } else {
            found
        }
    }

    fn never(&mut self, why: &str) -> Alternative {
        Alternative { conditions: vec![self.cannot(why)], ..Alternative::default() }
    }

    fn cannot(&mut self, why: &str) -> String {
        self.notes.push(format!("NOT CONVERTED, so `when` is false until you write it: {why}."));
        NEVER.to_owned()
    }

    fn drafts(&mut self, rule: &Rule) -> Vec<Draft> {
        match rule {
            Rule { and: Some(rules), .. } => self.all(rules),
            Rule { or: Some(rules), .. } if !rules.iter().all(is_condition) => {
                rules.iter().flat_map(|rule| self.drafts(rule)).collect()
            }
            Rule { matches: Some(matched), or: None, not: None, .. } => vec![self.draft_of(matched)],
            Rule { not: Some(negated), or: None, .. } if !is_condition(negated) => {
                vec![Draft::of(self.cannot("`not` around a secret, a signature or a range of addresses, and a source only says who may send; refuse \
                     such senders in a firewall or proxy, and remove the line `when`"))]
            }
            rule => vec![Draft::of(self.expression(rule, false))],
        }
    }

    fn all(&mut self, rules: &[Rule]) -> Vec<Draft> {
        let mut all = vec![Draft::default()];
        for rule in rules {
            let more = match rule {
                Rule { and: None, or: None, not: Some(negated), .. } if is_condition(negated) => {
                    vec![Draft::of(self.expression(rule, true))]
                }
                rule => self.drafts(rule),
            };
            if all.len() * more.len() > MAX_ALTERNATIVES {
                return vec![Draft::of(
                    self.cannot("the rule has too many combinations of secrets; make several hooks of it"),
                )];
            }
            all = all.iter().flat_map(|one| more.iter().map(|other| one.and(other))).collect();
        }
        all
    }

    fn draft_of(&mut self, matched: &Match) -> Draft {
        match matched.kind.as_str() {
            "value" => Draft { values: vec![matched.clone()], ..Draft::default() },
            "ip-whitelist" => match networks(&matched.ip_range) {
                Ok(networks) => Draft { networks: vec![networks], ..Draft::default() },
                Err(why) => Draft::of(self.cannot(&format!("ip-range {:?}: {why}", matched.ip_range))),
            },
            "scalr-signature" => Draft::proof(Scheme::Scalr, &matched.secret),
            kind => match (hash(kind), selector(&matched.parameter)) {
                (Some(hash), Some(sig)) => Draft::proof(Scheme::Hmac { hash, sig }, &matched.secret),
                (Some(_), None) => Draft::of(self.cannot(&format!("{kind} without a `parameter` that webhook knows"))),
                (None, _) => Draft::of(self.of_match(matched)),
            },
        }
    }

    fn resolve(&mut self, mut draft: Draft) -> Alternative {
        if draft.proofs.is_empty() {
            let certain = draft.values.iter().position(is_token);
            let chosen = certain.or_else(|| draft.values.iter().position(may_be_token));
            draft.proofs.extend(chosen.and_then(|chosen| token(&draft.values.remove(chosen))));
        }
        let mut conditions = draft.conditions;
        conditions.extend(draft.values.iter().map(|value| self.of_match(value)));
        let mut proofs = draft.proofs.into_iter();
        let proof = proofs.next();
        if proofs.any(|other| Some(&other) != proof.as_ref()) {
            conditions.push(self.cannot(
                "a source checks one proof, and the rule demands two; remove the line `when` if one is enough",
            ));
        }
        let mut networks = draft.networks.into_iter();
        let allowed = networks.next().unwrap_or_default();
        if networks.any(|others| others != allowed) {
            conditions.push(self.cannot("an address must be in two ranges; write those that are in both into `allow`"));
        }
        Alternative { proof, networks: allowed, conditions }
    }

    /// `in_and`: webhook takes `not` of a value that is missing as true, but not within `and`.
    fn expression(&mut self, rule: &Rule, in_and: bool) -> String {
        match rule {
            Rule { and: Some(rules), .. } => self.joined(rules, " and ", "true"),
            Rule { or: Some(rules), .. } => self.joined(rules, " or ", NEVER),
            Rule { not: Some(negated), .. } => {
                let negation = format!("not ({})", self.expression(negated, false));
                let reference = negated.matches.as_ref().filter(|_| negated.and.is_none() && negated.or.is_none());
                let reference = reference.filter(|_| in_and && negated.not.is_none());
                match reference.and_then(|matched| self.references.expression(&matched.parameter).ok()) {
                    Some(reference) => format!("{reference} is defined and {negation}"),
                    None => negation,
                }
            }
            Rule { matches: Some(matched), .. } => self.of_match(matched),
            _ => self.cannot("a rule without and, or, not and match"),
        }
    }

    fn joined(&mut self, rules: &[Rule], word: &str, empty: &str) -> String {
        let is_and = word == " and ";
        let parts: Vec<String> = rules.iter().map(|rule| self.expression(rule, is_and)).collect();
        match parts.as_slice() {
            [] => empty.to_owned(),
            [one] => one.clone(),
            several => several.iter().map(|part| in_parentheses(part)).collect::<Vec<_>>().join(word),
        }
    }

    fn of_match(&mut self, matched: &Match) -> String {
        let Match { kind, parameter, value, regex, .. } = matched;
        if parameter.source == "header" && is_secret_header(&parameter.name.to_lowercase()) {
            return self.cannot(&format!(
                "the header {} carries a secret, which is not stored, and the source has another proof; remove this condition if \
                 that one is enough",
                parameter.name
            ));
        }
        let reference = match self.references.expression(parameter) {
            Ok(reference) => reference,
            Err(why) => return self.cannot(&why),
        };
        match kind.as_str() {
            "value" if is_token(matched) => {
                self.notes.push(format!(
                    "`when` has a secret in clear ({}), because a source has one proof: let only its own user read this file.",
                    parameter.name
                ));
                format!("{reference} == {}", quoted(value))
            }
            "value" if value.is_empty() => format!("{reference} is defined and {reference} | text == ''"),
            "value" if is_plain_text(value) => format!("{reference} == {}", quoted(value)),
            "value" => format!("({reference} | text) == {}", quoted(value)),
            "regex" => {
                let expression = format!("{reference} is matching({})", quoted(regex));
                match expression.parse::<Expression>() {
                    Ok(_) => expression,
                    Err(why) => self.cannot(&format!("the regular expression {regex:?}: {why}")),
                }
            }
            "" => self.cannot("a match without a `type`"),
            kind => self.cannot(&format!("a match of the type {kind:?}, which webhook does not know either")),
        }
    }
}

impl Draft {
    fn of(condition: String) -> Draft {
        Draft { conditions: vec![condition], ..Draft::default() }
    }

    fn proof(scheme: Scheme, secret: &str) -> Draft {
        Draft { proofs: vec![Proof { scheme, secrets: vec![secret.to_owned()] }], ..Draft::default() }
    }

    fn and(&self, other: &Draft) -> Draft {
        Draft {
            proofs: [&self.proofs[..], &other.proofs].concat(),
            networks: [&self.networks[..], &other.networks].concat(),
            values: [&self.values[..], &other.values].concat(),
            conditions: [&self.conditions[..], &other.conditions].concat(),
        }
    }
}

impl Alternative {
    /// All conditions as one; empty for none.
    pub fn condition(&self) -> String {
        match self.conditions.as_slice() {
            [one] => one.clone(),
            several => several.iter().map(|part| in_parentheses(part)).collect::<Vec<_>>().join(" and "),
        }
    }

    /// Whether one source can be for both.
    fn can_take(&self, other: &Alternative) -> bool {
        let has_scheme =
            self.proof.as_ref().map(|proof| &proof.scheme) == other.proof.as_ref().map(|proof| &proof.scheme);
        let differences =
            [self.proof != other.proof, self.networks != other.networks, self.conditions != other.conditions];
        let is_open = |one: &Alternative| one.networks.is_empty();
        has_scheme && differences.into_iter().filter(|differs| *differs).count() <= 1 && is_open(self) == is_open(other)
    }

    fn take(&mut self, other: Alternative) {
        if self.conditions != other.conditions {
            let conditions = [self.condition(), other.condition()];
            let is_always = conditions.iter().any(String::is_empty);
            let either = conditions.map(|condition| in_parentheses(&condition)).join(" or ");
            self.conditions = if is_always { Vec::new() } else { vec![either] };
        }
        let new = |known: &[String], text: &String| !known.contains(text);
        if let (Some(proof), Some(other)) = (&mut self.proof, other.proof) {
            let secrets: Vec<String> = other.secrets.into_iter().filter(|secret| new(&proof.secrets, secret)).collect();
            proof.secrets.extend(secrets);
        }
        let networks: Vec<String> = other.networks.into_iter().filter(|network| new(&self.networks, network)).collect();
        self.networks.extend(networks);
    }
}

fn in_parentheses(expression: &str) -> String {
    let is_compound =
        [" and ", " or ", " if "].iter().any(|word| expression.contains(word)) || expression.starts_with("not ");
    if is_compound { format!("({expression})") } else { expression.to_owned() }
}

/// Whether it says nothing about who sends.
fn is_condition(rule: &Rule) -> bool {
    let all = |rules: &Option<Vec<Rule>>| rules.iter().flatten().all(is_condition);
    all(&rule.and)
        && all(&rule.or)
        && rule.not.as_deref().is_none_or(is_condition)
        && rule
            .matches
            .as_ref()
            .is_none_or(|matched| ["value", "regex"].contains(&&*matched.kind) && !is_token(matched))
}

/// Whether the value that is compared is a secret, by its name.
fn is_token(matched: &Match) -> bool {
    let Argument { source, name, .. } = &matched.parameter;
    let name = name.to_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    let has_name = |names: &[&str]| names.iter().any(|part| last.contains(part));
    let is_outside = source != "payload" && has_name(&SECRET_NAMES_OUTSIDE);
    let is_secret = (has_name(&SECRET_NAMES) || is_outside) && !has_name(&["event", "author"]);
    let is_placed = ["header", "url", "query", "payload"].contains(&source.as_str());
    matched.kind == "value" && is_placed && (is_secret || matched.value.starts_with("{{"))
}

/// Whether the value may be a secret, by how it looks.
fn may_be_token(matched: &Match) -> bool {
    let Argument { source, name, .. } = &matched.parameter;
    let name = name.to_lowercase();
    let is_descriptive = source == "header" && DESCRIPTIVE.iter().any(|part| name.contains(part));
    let value = &matched.value;
    let least = if value.contains(|c: char| c.is_ascii_digit()) { SECRET_BYTES_WITH_DIGIT } else { SECRET_BYTES };
    let is_random = value.len() >= least && !value.contains(['/', ' ', '.']);
    ["header", "url", "query"].contains(&source.as_str()) && !is_descriptive && is_random
}

fn token(matched: &Match) -> Option<Proof> {
    let sig = selector(&matched.parameter)?;
    Some(Proof { scheme: Scheme::Token { sig }, secrets: vec![matched.value.clone()] })
}

fn selector(parameter: &Argument) -> Option<String> {
    let name = &parameter.name;
    if name.is_empty() {
        return None;
    }
    match parameter.source.as_str() {
        "header" => Some(format!("header:{name}")),
        "url" | "query" => Some(format!("query:{name}")),
        "payload" => {
            let pointer: String =
                name.split('.').map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect();
            Some(if name.contains('.') { format!("json:{pointer}") } else { format!("json:{pointer}|form:{name}") })
        }
        _ => None,
    }
}

fn hash(kind: &str) -> Option<&'static str> {
    let hash = kind.strip_prefix("payload-hmac-").or_else(|| kind.strip_prefix("payload-hash-"))?;
    ["sha1", "sha256", "sha512"].into_iter().find(|known| *known == hash)
}

/// Networks without the bits of an address in them, which webhook ignores.
fn networks(range: &str) -> Result<Vec<String>, String> {
    let network = |text: &str| match text.parse::<Cidr>() {
        Ok(network) => Ok(network.to_string()),
        Err(why) => {
            let meant = why.split_once("write ").and_then(|(_, meant)| meant.split(',').next()).unwrap_or_default();
            meant.parse::<Cidr>().map(|network| network.to_string()).map_err(|_| why)
        }
    };
    match range.split_whitespace().map(network).collect::<Result<Vec<_>, _>>() {
        Ok(none) if none.is_empty() => Err("it is empty, so that no address is in it".to_owned()),
        networks => networks,
    }
}

/// Whether JSON can have it as a text only.
fn is_plain_text(value: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(value).is_err()
}
