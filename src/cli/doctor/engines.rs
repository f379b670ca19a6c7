//! What the engines of `nats` and `redis` actions are really set to, and what does not belong beside them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Context, Finding, Findings, fail, ok, warn};
use crate::action::{Action, ActionKind, Call, Dedup, NatsRunner, RedisRunner, RedisSettings, Runner, StreamConfig};
use crate::clock;
use crate::config::Source;
use crate::event::{Event, EventId};
use crate::stop::Stop;
use crate::template::Scope;
use crate::units::duration_text;

/// A server that answers later would delay every delivery.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    for action in context.config.actions.values().filter(|action| action.kind.feeds_an_engine()) {
        // A secret that is missing was reported.
        let Ok(runner) = action.kind.prepare(context.env) else { continue };
        match (&action.kind, &*runner) {
            (ActionKind::Nats(nats), Runner::Nats(runner)) => of_nats(action, nats.dedup, runner, context, findings),
            (_, Runner::Redis(runner)) => findings.add(format!("engine of {}", action.name), of_redis(runner)),
            _ => {}
        }
    }
    if let Some(finding) = of_edge(context) {
        findings.add("edge", finding);
    }
}

/// One finding for each stream that the action's sources lead to.
fn of_nats(action: &Action, dedup: Dedup, runner: &NatsRunner, context: &Context<'_>, findings: &mut Findings) {
    let mut streams = BTreeSet::new();
    for source in context.config.sources.values() {
        let is_for = |pattern: &crate::action::Pattern| pattern.source().is_none_or(|name| name == source.name);
        if !action.on.iter().any(is_for) {
            continue;
        }
        let finding = match stream_for(runner, source) {
            Err(reason) => fail(reason),
            Ok((subject, None)) => fail(format!(
                "no stream takes {subject}; to make one: nats stream add hooks --subjects '{}' --defaults",
                subject.split_once('.').map_or(subject.clone(), |(first, _)| format!("{first}.>"))
            )),
            Ok((_, Some(stream))) if streams.insert(stream.name.clone()) => of_stream(&stream, dedup, action),
            Ok(_) => continue,
        };
        let is_unreachable = finding.result == super::CheckResult::Fail;
        findings.add(format!("engine of {}", action.name), finding);
        if is_unreachable {
            return; // the same for the other sources
        }
    }
}

/// The subject of a sample event of this source, and the stream that takes it.
fn stream_for(runner: &NatsRunner, source: &Source) -> Result<(String, Option<StreamConfig>), String> {
    let event = Event {
        id: EventId(0),
        source: source.name.clone(),
        event_type: source.verifier.preset.sample.event_type.to_owned(),
        delivery_id: "example".to_owned(),
        received_at: clock::now().to_string(),
        headers_json: "{}".to_owned(),
        payload_json: "{}".into(),
        body: None,
    };
    let scope = Scope::of(&event).with("attempt", 1).with("idempotency_key", "example");
    let (stop, timeout, grace) = (&Stop::default(), TIMEOUT, Duration::ZERO);
    runner.stream_for(&Call {
        event: &event,
        scope: &scope,
        attempt: 1,
        idempotency_key: "example",
        timeout,
        stop,
        grace,
    })
}

fn of_stream(stream: &StreamConfig, dedup: Dedup, action: &Action) -> Finding {
    let StreamConfig { name, retention, num_replicas, .. } = stream;
    let (window, needed) = (stream.dedup_window(), action.retries_last_text());
    match dedup {
        Dedup::Window if window < action.retries_last() => warn(format!(
            "the stream {name} recognises a repeat for {}, and retries last up to {needed}: \
             nats stream edit {name} --dupe-window {needed}, or dedup = \"subject\"",
            duration_text(window)
        )),
        Dedup::Subject if retention != "limits" => warn(format!(
            "the stream {name} forgets a message when it is consumed (retention {retention}), and a repeat after that is \
             stored again: dedup = \"window\" with a --dupe-window of {needed}"
        )),
        _ if *num_replicas < 3 => ok(format!(
            "the stream {name} takes them; it is on {num_replicas} server, which may lose the last two minutes when its \
             power fails (sync_interval)"
        )),
        _ => ok(format!("the stream {name} takes them, on {num_replicas} servers")),
    }
}

fn of_redis(runner: &RedisRunner) -> Finding {
    let settings = match runner.settings(TIMEOUT) {
        Err(reason) => return fail(reason),
        Ok(settings) => settings,
    };
    let is = |setting: &Option<String>, value: &str| setting.as_deref() == Some(value);
    let RedisSettings { appendonly, appendfsync, maxmemory, maxmemory_policy } = &settings;
    match () {
        () if appendonly.is_none() => ok("the server answers, and does not tell this user its settings"),
        () if !is(appendonly, "yes") => {
            warn("entries are only in the server's memory: redis-cli CONFIG SET appendonly yes, and in redis.conf")
        }
        () if !is(maxmemory, "0") && !is(maxmemory_policy, "noeviction") => warn(format!(
            "when its memory is full, the server forgets keys, which may be the stream (maxmemory-policy {}): \
             redis-cli CONFIG SET maxmemory-policy noeviction",
            maxmemory_policy.as_deref().unwrap_or_default()
        )),
        () if !is(appendfsync, "always") => ok(format!(
            "the server writes its disk {} (appendfsync): from Redis 7.2 on an attempt waits for that; before, the last \
             second may be lost",
            appendfsync.as_deref().unwrap_or_default()
        )),
        () => ok("every entry is on the server's disk before it counts"),
    }
}

/// Actions that each of several receivers would run for the same delivery; `None` where nothing is passed on. A signed
/// request may as well go to a program behind this only receiver, so that nothing is wrong with the others then.
fn of_edge(context: &Context<'_>) -> Option<Finding> {
    let actions = || context.config.actions.values();
    let feeds_an_engine = actions().any(|action| action.kind.feeds_an_engine());
    let signs = actions().any(|action| matches!(&action.kind, ActionKind::Http(http) if http.sign.is_some()));
    if !feeds_an_engine && !signs {
        return None;
    }
    let repeated = actions().filter(|action| action.kind.repeats_on_every_receiver());
    let names: Vec<&str> = repeated.map(|action| action.name.as_str()).collect();
    if names.is_empty() {
        return Some(ok("all actions pass events on: several receivers may have this config"));
    }
    let text = format!(
        "if several receivers get the same deliveries, each runs {}, for its own copy: that belongs behind the engine or \
         the central hookbox (hookbox help reach)",
        names.join(", ")
    );
    Some(if feeds_an_engine { warn(text) } else { ok(text) })
}
