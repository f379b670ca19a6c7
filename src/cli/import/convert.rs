//! A hook becomes one or more sources and an action.

use std::collections::BTreeSet;

use ureq::http::HeaderName;

use super::command::{CommandLine, command_line};
use super::hook::Hook;
use super::reference::References;
use super::rule::{Alternative, Proof, Rules, Scheme};
use super::secrets::Secrets;
use super::toml::{comment, inline_table, list, string};
use crate::config::{MAX_SHARING, OWN_FIELDS, PATH_PREFIX};
use crate::provider;

/// All that a source of a sender of one's own takes.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// The longest name of a source, less what makes it unique.
const MAX_NAME_BYTES: usize = 56;

/// The name that sources cannot have.
const RESERVED: &str = "hookbox";

/// How the keys for a program begin that some versions of webhook run before they evaluate the rule.
const CONTEXT: &str = "context-provider";

/// What is written so far.
#[derive(Default)]
pub struct Conversion {
    pub secrets: Secrets,
    names: BTreeSet<String>,
    ids: BTreeSet<String>,
    pub text: String,
}

impl Conversion {
    pub fn add(&mut self, hook: &Hook, number: usize) {
        let mut notes = notes_on(hook);
        let references = References { json: hook.parse_parameters_as_json.as_deref().unwrap_or_default() };
        let mut alternatives = match &hook.trigger_rule {
            Some(rule) => Rules { references: &references, notes: &mut notes }.convert(rule),
            None => vec![Alternative::default()],
        };
        // Of sources that share a path the first is asked first: one that takes everything comes last.
        alternatives.sort_by_key(|it| (it.proof.is_none(), it.networks.is_empty()));
        let name = self.name(&hook.id);
        let sources: Vec<(String, &Alternative)> = alternatives
            .iter()
            .enumerate()
            .map(|(at, alternative)| {
                (if at == 0 { name.clone() } else { self.name(&format!("{name}-{}", at + 1)) }, alternative)
            })
            .collect();
        notes.extend(note_on_proofs(hook, &sources));
        let has_path = self.ids.insert(hook.id.clone()) && !has_dots(&hook.id);
        if !has_path {
            notes.push(
                "There is no path: another hook has this id, or it has . or .. between slashes. Choose another, and enter \
                 it at the sender."
                    .to_owned(),
            );
        }
        let tables: Vec<String> = sources
            .iter()
            .enumerate()
            .map(|(at, (name, it))| self.source(hook, name, it, has_path && at < MAX_SHARING, &mut notes))
            .collect();
        let action = action(hook, &name, &sources, &references, &mut notes);
        self.text.push_str(&format!("\n# ---- Hook {number}: {}\n", one_line(&hook.id)));
        let mut told = BTreeSet::new();
        notes.iter().filter(|note| told.insert(*note)).for_each(|note| self.text.push_str(&comment(note)));
        tables.iter().chain([&action]).for_each(|table| self.text.push_str(table));
    }

    /// A name of a source for an id.
    fn name(&mut self, id: &str) -> String {
        let is_kept = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let name: String = id.to_lowercase().chars().map(|c| if is_kept(c) { c } else { '-' }).collect();
        let name: String = name.trim_matches(['-', '_']).chars().take(MAX_NAME_BYTES).collect();
        let name = if name.is_empty() || name == RESERVED { "hook".to_owned() } else { name };
        let is_free = |name: &String| !self.names.contains(name);
        let mut numbered = (2..).map(|number| format!("{name}-{number}"));
        let name = Some(name.clone()).filter(is_free).or_else(|| numbered.find(is_free)).unwrap_or(name);
        self.names.insert(name.clone());
        name
    }

    fn source(&mut self, hook: &Hook, name: &str, it: &Alternative, has_path: bool, notes: &mut Vec<String>) -> String {
        let mut table = format!("\n[sources.{name}]\n");
        let mut line = |key: &str, value: String| table.push_str(&format!("{key} = {value}\n"));
        let is_hmac = it.proof.as_ref().is_some_and(|proof| !matches!(proof.scheme, Scheme::Token { .. }));
        line("provider", string(if is_hmac { "hmac" } else { "token" }));
        match &it.proof {
            None => line("verify", "\"none\"   # as in webhook: there is no secret".to_owned()),
            Some(Proof { secrets, .. }) => {
                let references: Vec<String> =
                    secrets.iter().map(|secret| self.secrets.reference(secret, name, &hook.id)).collect();
                line("secret", if let [one] = references.as_slice() { string(one) } else { list(&references) });
            }
        }
        if has_path {
            line("path", string(&format!("/hooks/{}", escaped(&hook.id))));
        }
        let methods = methods(hook, it, notes);
        if !methods.is_empty() && methods != ["POST"] {
            line("methods", list(&methods));
        }
        if !it.networks.is_empty() {
            line("allow", list(&it.networks));
        }
        for (key, value) in identification(it) {
            line(key, value);
        }
        if let Some(answer) = answer(hook, notes) {
            line("answer", answer);
        }
        table + &it.proof.as_ref().map_or(String::new(), |proof| verification(name, &proof.scheme))
    }
}

/// Whether a client would take a part out of its path.
fn has_dots(id: &str) -> bool {
    id.split('/').any(|segment| [".", ".."].contains(&segment))
}

/// What it means that there are several sources.
fn note_on_proofs(hook: &Hook, sources: &[(String, &Alternative)]) -> Option<String> {
    if sources.len() < 2 {
        return None;
    }
    let mut note = format!(
        "The rule allows one of several proofs, and a source has one, so {} sources share the path. The first to which a \
         delivery is proven takes it.",
        sources.len()
    );
    if !hook.trigger_signature_soft_failures {
        note.push_str(
            " A wrong signature keeps no other proof from being tried, as with trigger-signature-soft-failures.",
        );
    }
    if let Some(others) = sources.get(MAX_SHARING..).filter(|others| !others.is_empty()) {
        let paths: Vec<String> = others.iter().map(|(name, _)| format!("{PATH_PREFIX}{name}")).collect();
        note.push_str(&format!(
            " Only the first {MAX_SHARING} have the old path: point the senders with the other proofs at {}.",
            paths.join(", ")
        ));
    }
    Some(note)
}

/// What the whole hook says that hookbox does in another way.
fn notes_on(hook: &Hook) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |is_due: bool, text: String| notes.extend(is_due.then_some(text));
    note(
        hook.include_command_output_in_response || hook.include_command_output_in_response_on_error,
        "The output of the command is never in the answer: hookbox answers before it runs anything, so that a slow or \
         failing command loses no delivery. `hookbox show ID` and the page show the output; a sender that needs it can \
         be called by the command."
            .to_owned(),
    );
    note(
        hook.trigger_rule_mismatch_http_response_code.is_some(),
        "trigger-rule-mismatch-http-response-code: what is not proven is answered 401, and from another address 403. A \
         delivery that is proven and does not meet `when` is stored and answered like any other; nothing is run for it."
            .to_owned(),
    );
    let content_type = &hook.incoming_payload_content_type;
    note(
        content_type.contains("xml"),
        "XML is stored as a text: hookbox does not read it. Let the command read the body: without the line `stdin` it is \
         the standard input. A condition can be about the text: when = \"body is matching('<name>Jeff</name>')\"."
            .to_owned(),
    );
    note(
        content_type.contains("form"),
        "incoming-payload-content-type: a form is read as one only if the request has that Content-Type. Have the sender \
         send it, or a proxy in front set it."
            .to_owned(),
    );
    note(
        CommandLine::has_large_argument(hook),
        "An argument or variable has at most 128 KiB (Linux): a larger payload ends the job. Without the line `stdin`, \
         the exact body is the standard input of the command."
            .to_owned(),
    );
    let keys: Vec<String> = hook.unknown.keys().map(|key| one_line(key)).collect();
    note(!keys.is_empty(), format!("Not known to webhook 2.8 either, and left out: {}.", keys.join(", ")));
    note(
        hook.unknown.keys().any(|key| key.starts_with(CONTEXT)),
        format!(
            "{CONTEXT}-...: hookbox runs no program before it answers. Let the command itself run that program first."
        ),
    );
    notes
}

fn methods(hook: &Hook, it: &Alternative, notes: &mut Vec<String>) -> Vec<&'static str> {
    let given: Vec<String> = hook.http_methods.iter().flatten().map(|name| name.trim().to_uppercase()).collect();
    let (is_signed, is_in_body) = match it.proof.as_ref().map(|proof| &proof.scheme) {
        None => (false, false),
        Some(Scheme::Token { sig }) => (false, sig.starts_with("json:")),
        Some(Scheme::Hmac { .. } | Scheme::Scalr) => (true, false),
    };
    let can_get = !is_signed && !is_in_body;
    if given.is_empty() {
        // webhook takes every method. Its payload is empty with GET, and that of hookbox is the query.
        let asks_body = it.conditions.iter().any(|condition| condition.contains("payload"));
        return METHODS.into_iter().filter(|method| *method != "GET" || (can_get && !asks_body)).collect();
    }
    let (known, others): (Vec<&String>, Vec<&String>) =
        given.iter().partition(|name| METHODS.contains(&name.as_str()) && (can_get || *name != "GET"));
    if !others.is_empty() {
        let others: Vec<String> = others.into_iter().map(|name| one_line(name)).collect();
        notes.push(format!(
            "Left out of http-methods: {}. HEAD is always answered; a GET has no body that could be signed or hold a secret.",
            others.join(", ")
        ));
    }
    METHODS.into_iter().filter(|method| known.iter().any(|name| name == method)).collect()
}

/// Where the id and the type of a delivery are: as a provider with a signature in the same header has them.
fn identification(it: &Alternative) -> Vec<(&'static str, String)> {
    const LATER: &str = "-256";
    let (Some(Scheme::Hmac { sig, .. }) | Some(Scheme::Token { sig })) = it.proof.as_ref().map(|proof| &proof.scheme)
    else {
        return Vec::new();
    };
    let is_same = |known: &str| known.eq_ignore_ascii_case(sig) || known.eq_ignore_ascii_case(&format!("{sig}{LATER}"));
    let Some(preset) = provider::presets().find(|preset| !preset.is_own_sender() && is_same(preset.sig)) else {
        return Vec::new();
    };
    let in_headers = |texts: &[&'static str]| -> Vec<&'static str> {
        texts.iter().copied().filter(|text| text.starts_with("header:")).collect()
    };
    let keys = [("id", in_headers(preset.id)), ("event", in_headers(preset.event))];
    keys.into_iter().filter(|(_, texts)| !texts.is_empty()).map(|(key, texts)| (key, list(&texts))).collect()
}

fn answer(hook: &Hook, notes: &mut Vec<String>) -> Option<String> {
    let status = hook.success_http_response_code.filter(|status| (200..=299).contains(status));
    if hook.success_http_response_code != status {
        notes.push(
            "success-http-response-code: only 200 to 299 tell a sender that its delivery is stored; 200 is answered."
                .to_owned(),
        );
    }
    let has_body = !matches!(status, Some(204 | 205));
    let body = Some(&hook.response_message).filter(|body| !body.is_empty() && has_body);
    let mut headers: Vec<(&str, String)> = Vec::new();
    for header in hook.response_headers.iter().flatten() {
        let is_value = header.value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let is_own = OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(&header.name));
        if is_own || !is_value || HeaderName::try_from(&header.name).is_err() {
            let name = one_line(&header.name);
            notes.push(format!(
                "Left out of response-headers: {name}. hookbox sends that itself, or it is not one line of ASCII."
            ));
            continue;
        }
        // As in webhook, the last one with the name counts.
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&header.name));
        headers.push((&header.name, string(&header.value)));
    }
    let members = [
        status.map(|status| ("status", status.to_string())),
        body.map(|body| ("body", string(body))),
        (!headers.is_empty()).then(|| ("headers", inline_table(headers.into_iter()))),
    ];
    let mut members = members.into_iter().flatten().peekable();
    members.peek()?;
    Some(inline_table(members))
}

fn verification(name: &str, scheme: &Scheme) -> String {
    let mut table = format!("\n[sources.{name}.verify]\n");
    let mut line = |key: &str, value: String| table.push_str(&format!("{key} = {value}\n"));
    match scheme {
        Scheme::Token { sig } => {
            line("sig", string(sig));
            line("prefix", string(""));
        }
        Scheme::Hmac { hash, sig } => {
            line("alg", string(&format!("hmac-{hash}")));
            line("sig", string(sig));
            line("prefix", list(&[format!("{hash}="), String::new()]));
            line("split", string(","));
        }
        Scheme::Scalr => {
            line("alg", string("hmac-sha1"));
            line("sig", string("header:X-Signature"));
            line("prefix", string(""));
            line("signed", string("{body}{ts}"));
            line("ts", string("header:Date"));
            line("ts_unit", string("date"));
            line("tolerance", "300".to_owned());
            line("tolerance_future", "300".to_owned());
        }
    }
    table
}

fn action(
    hook: &Hook,
    name: &str,
    sources: &[(String, &Alternative)],
    references: &References<'_>,
    notes: &mut Vec<String>,
) -> String {
    if hook.execute_command.is_empty() {
        notes.push("There is no execute-command: deliveries are stored, and nothing is run.".to_owned());
        return String::new();
    }
    let mut table = format!("\n[actions.{name}]\n");
    let mut line = |key: &str, value: String| table.push_str(&format!("{key} = {value}\n"));
    line("kind", string("command"));
    line("on", list(&sources.iter().map(|(name, _)| format!("{name}:*")).collect::<Vec<_>>()));
    let condition = condition(sources);
    if !condition.is_empty() {
        line("when", string(&condition));
    }
    let command = command_line(hook, references, notes);
    line("run", list(&command.run));
    if !command.env.is_empty() {
        line("env", inline_table(command.env.iter().map(|(name, value)| (name.as_str(), string(value)))));
    }
    match command.stdin.as_deref() {
        Some("") => line("stdin", "\"\"     # as webhook; without this line: the body".to_owned()),
        Some(template) => line("stdin", string(template)),
        None => {}
    }
    if !hook.command_working_directory.is_empty() {
        line("directory", string(&hook.command_working_directory));
    }
    line("timeout", "\"1h\"    # webhook waits forever".to_owned());
    line("attempts", "1      # as webhook; more are tried again when the command fails".to_owned());
    table
}

fn condition(sources: &[(String, &Alternative)]) -> String {
    match sources {
        [(_, only)] => only.condition(),
        several if several.iter().all(|(_, it)| it.condition().is_empty()) => String::new(),
        several => {
            let part = |(name, it): &(String, &Alternative)| match it.condition() {
                condition if condition.is_empty() => format!("source == '{name}'"),
                condition => format!("(source == '{name}' and ({condition}))"),
            };
            several.iter().map(part).collect::<Vec<_>>().join(" or ")
        }
    }
}

/// An id as a part of a path.
fn escaped(id: &str) -> String {
    let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/@:!$&'()*+,;=".contains(&byte);
    id.bytes().map(|byte| if is_kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}
