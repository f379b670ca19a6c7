//! Templates and expressions, rendered with one event.

mod limits;

use super::*;
use crate::event::EventId;

fn event() -> Event {
    Event {
        id: EventId(7),
        source: "github".to_owned(),
        event_type: "push".to_owned(),
        delivery_id: "d".to_owned(),
        received_at: "2025-01-31T12:00:00+00:00".to_owned(),
        headers_json: r#"{"X-GitHub-Event":"push"}"#.to_owned(),
        payload_json: r#"{"ref":"refs/heads/main","title":"a < b & c","n":3,"commits":[{"id":"1"}]}"#.into(),
        body: None,
    }
}

fn scope() -> Scope {
    Scope::of(&event())
}

fn render(source: &str) -> String {
    source.parse::<Template>().unwrap().render(&scope()).unwrap()
}

fn holds(source: &str) -> Result<bool, TemplateError> {
    source.parse::<Expression>().unwrap().holds(&scope())
}

#[test]
fn any_value_becomes_a_text_as_json_has_it() {
    let event = Event {
        payload_json: r#"{"t":"a \"b\"","yes":true,"n":1.10,"list":[1,{"a":null}],"null":null}"#.into(),
        ..event()
    };
    let of = |name: &str| {
        format!("{{{{ payload.{name} | text }}}}").parse::<Template>().unwrap().render(&Scope::of(&event)).unwrap()
    };
    assert_eq!(
        ["t", "yes", "n", "list", "null", "missing"].map(of),
        ["a \"b\"", "true", "1.10", r#"[1,{"a":null}]"#, "", ""]
    );
}

#[test]
fn a_text_can_be_tested_with_a_regular_expression() {
    let event = Event { payload_json: r#"{"ref":"refs/tags/v1.20","n":17,"null":null}"#.into(), ..event() };
    let holds = |source: &str| source.parse::<Expression>().unwrap().holds(&Scope::of(&event)).unwrap();
    assert!(holds(r"payload.ref is matching('^refs/tags/v\d+\.[0-9]+$')"));
    assert!(holds("payload.ref is matching('v1')") && holds("payload.ref is matching('(?i)REFS')"));
    assert!(!holds("payload.ref is matching('^v1')"));
    assert!(holds("payload.n is matching('^17$')"));
    assert!(!holds("payload.null is matching('.*')") && !holds("payload.missing is matching('.*')"));
    let wrong = "payload.ref is matching('(')".parse::<Expression>().unwrap_err().to_string();
    assert!(wrong.contains("syntax error") && wrong.contains("\"(\""), "{wrong}");
    let large = "payload.ref is matching('((a{99}){99}){99}')".parse::<Expression>().unwrap_err().to_string();
    assert!(large.contains("size"), "{large}");
}

#[test]
fn every_variable_has_its_value() {
    let all = "{{ id }} {{ source }} {{ event }} {{ delivery_id }} {{ received_at }} {{ headers['x-github-event'] }}";
    assert_eq!(render(all), "7 github push d 2025-01-31T12:00:00+00:00 push");
    assert_eq!(
        render("{{ payload.ref }} {{ payload.commits[0].id }} {{ payload.commits | length }}"),
        "refs/heads/main 1 1"
    );
    assert_eq!(
        render("{{ payload.title | tojson }} {{ payload.ref | urlencode }}"),
        "\"a \\u003c b \\u0026 c\" refs/heads/main"
    );
}

#[test]
fn a_header_field_is_found_in_upper_and_lower_case() {
    for name in ["X-GitHub-Event", "x-github-event", "X-GITHUB-EVENT"] {
        assert!(holds(&format!("headers['{name}'] == 'push' and '{name}' in headers")).unwrap(), "{name}");
    }
    assert!(!holds("headers['X-Other'] or 'X-Other' in headers").unwrap());
    assert_eq!(render("{% for name in headers %}{{ name }}{% endfor %}"), "x-github-event");
    assert_eq!(render("{{ headers | tojson }}"), r#"{"x-github-event": "push"}"#);
}

#[test]
fn a_template_keeps_the_line_break_at_its_end() {
    assert_eq!(render("{{ id }}\n\n"), "7\n\n");
}

#[test]
fn undefined_values_chain_and_are_false() {
    assert_eq!(render("[{{ payload.pull_request.head.ref }}]"), "[]");
    assert!(!holds("payload.pull_request.merged").unwrap());
    assert!(holds("payload.pull_request is undefined and payload.n > 2").unwrap());
    assert!(holds("payload.ref == 'refs/heads/main' and 'main' in payload.ref").unwrap());
}

#[test]
fn wrong_types_and_wrong_syntax_are_errors() {
    assert!(holds("payload.n + payload.title").is_err());
    for broken in ["{{ payload.", "{% if id %}", "{{ 1 + }}"] {
        assert!(broken.parse::<Template>().is_err(), "{broken}");
    }
    assert!("payload ==".parse::<Expression>().is_err());
}

#[test]
fn an_unknown_name_is_refused() {
    let refused = |source: &str| source.parse::<Template>().unwrap_err().to_string();
    assert_eq!(refused("{{ paylod.ref }}"), "no variable \"paylod\"; did you mean \"payload\"?");
    assert!(refused("{% for x in payload.x %}{{ y }}{% endfor %}").starts_with("no variable \"y\"; known: id, "));
    assert!(refused("{{ payload.ref | uper }}").starts_with("unknown filter: "));
    assert!(refused("{{ payload.ref is uper }}").starts_with("unknown test: "));
    assert!("payload.ref == refs".parse::<Expression>().is_err());
    assert!("payload.ref | uper".parse::<Expression>().is_err());
}

#[test]
fn a_name_that_a_template_sets_is_known() {
    for source in [
        "{% if payload.n %}{% set x, y = 1, 2 %}{% endif %}{{ x }}{{ y }}",
        "{% set all = namespace(n=0) %}{% for x in range(3) %}{% set all.n = loop.index %}{% endfor %}{{ all.n }}",
        "{% macro bold(x) %}*{{ x }}*{% endmacro %}{{ bold(dict(a=1).a) }}",
        "{% with x = event %}{{ x }}{{ source }}{% endwith %}",
    ] {
        assert!(source.parse::<Template>().is_ok(), "{source}");
    }
}

#[test]
fn slack_text_is_escaped_and_its_template_is_not() {
    let text = Template::mrkdwn("<{{ payload.title }}|{{ payload.title | safe }}> & {{ payload.nothing }}").unwrap();
    assert_eq!(text.render(&scope()).unwrap(), "<a &lt; b &amp; c|a < b & c> & ");
}

fn with_payload(payload: &str) -> Scope {
    Scope::of(&Event { payload_json: payload.into(), ..event() })
}

/// What a template prints for this payload.
#[track_caller]
fn prints(payload: &str, source: &str) -> String {
    let template = source.parse::<Template>().unwrap();
    template.render(&with_payload(payload)).unwrap_or_else(|error| panic!("{source}: {error}"))
}

#[track_caller]
fn error(payload: &str, source: &str) -> String {
    source.parse::<Template>().unwrap().render(&with_payload(payload)).unwrap_err().to_string()
}

#[test]
fn a_payload_behaves_as_a_value_of_its_own_would() {
    let payload = r#" {"b":[3,1,2,{"x":"y"}],"a":"é\u00e9\n","t":true,"n":null,"a\u0062":"esc","e":{},"b":[3,1,2]} "#;
    for (source, printed) in [
        ("{{ payload }}", r#"{'b': [3, 1, 2], 'a': 'éé\n', 't': True, 'n': None, 'ab': 'esc', 'e': {}}"#),
        ("{{ payload | tojson }}", r#"{"b": [3, 1, 2], "a": "éé\n", "t": true, "n": null, "ab": "esc", "e": {}}"#),
        ("{{ payload.b | tojson(indent=2) }}", "[\n  3,\n  1,\n  2\n]"),
        ("{{ payload.e | tojson(indent=true) }}{{ [] | tojson(2) }}", "{}[]"),
        ("{{ payload.ab }}{{ payload['ab'] }}{{ payload.b[1] }}{{ payload.b[-1] }}{{ payload.b[7] }}", "escesc12"),
        ("{{ payload | length }}{{ payload.b | length }}{{ payload.a | length }}", "633"),
        ("{% for k in payload %}{{ k }},{% endfor %}", "b,a,t,n,ab,e,"),
        ("{% for k, v in payload | items %}{{ k }}={{ v }};{% endfor %}", "b=[3, 1, 2];a=éé\n;t=True;n=;ab=esc;e={};"),
        ("{% for x in payload.b %}{{ x }}{{ loop.index }}/{{ loop.length }} {% endfor %}", "31/3 12/3 23/3 "),
        (
            "{{ payload.b | sort }}{{ payload.b | sum }}{{ payload.b | max }}{{ payload.b | reverse | list }}",
            "[1, 2, 3]63[2, 1, 3]",
        ),
        (
            "{{ payload.b | first }}{{ payload.b | last }}{{ payload.b[1:] | list }}{{ payload.b | join('-') }}",
            "32[1, 2]3-1-2",
        ),
        (
            "{{ payload.b == [3, 1, 2] }}{{ payload.b == [3] }}{{ payload.e == {} }}{{ [3] == payload.b[:1] | list }}",
            "TrueFalseTrueTrue",
        ),
        ("{{ 'ab' in payload }}{{ 'x' in payload }}{{ 2 in payload.b }}{{ 9 not in payload.b }}", "TrueFalseTrueTrue"),
        ("{{ payload is mapping }}{{ payload.b is sequence }}{{ payload.a is string }}", "TrueTrueTrue"),
        ("{% if payload.e or payload.n or payload.x %}yes{% else %}no{% endif %}", "no"),
        ("{{ payload | dictsort | list | length }}{{ payload.b | batch(2) | list }}", "6[[3, 1], [2]]"),
        ("{{ payload.b + [4] }}{{ payload.b ~ '' }}", "[3, 1, 2, 4][3, 1, 2]"),
        ("{{ payload.b | map('string') | join(',') }}{{ payload.b | select('gt', 1) | list }}", "3,1,2[3, 2]"),
        ("{{ dict(payload).ab }}{{ namespace(payload).ab }}", "escesc"),
        (
            "{{ payload.b | zip('xyz') | list }}{{ payload.b | chain([4]) | list }}",
            "[(3, 'x'), (1, 'y'), (2, 'z')][3, 1, 2, 4]",
        ),
        ("{{ {'x': 1} | chain({'x': 2, 'y': payload.t}) }}", "{'x': 2, 'y': True}"),
    ] {
        assert_eq!(prints(payload, source), printed, "{source}");
    }
    assert_eq!(prints(" [1, 2] ", "{{ payload[0] }}{{ payload | length }}"), "12");
    assert_eq!(prints(r#""text""#, "{{ payload }}"), "text");
    assert_eq!(prints("7", "{{ payload + 1 }}"), "8");
    let many: String = (0..100).map(|n| format!("\"k{n}\":{n},")).collect();
    let many = format!("{{{many}\"k7\":\"last\"}}");
    assert_eq!(prints(&many, "{{ payload.k99 }}{{ payload.k7 }}{{ payload | length }}{{ payload.no }}"), "99last100");
    let keys = prints(&many, "{% for k in payload %}{{ k }} {% endfor %}");
    assert!(keys.starts_with("k0 k1 ") && keys.ends_with("k99 "), "{keys}");
}

#[test]
fn null_is_as_good_as_missing() {
    let payload = r#"{"n":null,"body":null,"list":[null,"a",null],"items":[{"x":null},{"x":2}],"s":"text"}"#;
    for (source, printed) in [
        ("[{{ payload.n[:7] }}{{ payload.x[1:] }}]{{ payload.s[:2] }}{{ payload.s[::-1] }}", "[]tetxet"),
        ("[{{ payload.n }}{{ none }}{{ payload.n ~ 'x' }}{{ payload.n.a.b }}{{ payload.n[0] }}]", "[x]"),
        ("{{ '/deploy' in payload.body }}{{ '/deploy' not in payload.body }}", "FalseTrue"),
        (
            "{{ payload.n is none }}{{ payload.n == none }}{{ payload.n is defined }}{{ payload.x is none }}",
            "TrueTrueTrueFalse",
        ),
        (
            "{{ payload.n | default('d') }}{{ payload.x | d('d') }}{{ payload.n | default }}{{ payload.s | default('d') }}",
            "ddtext",
        ),
        ("{{ '' | default('d', true) }}{{ '' | default('d') }}", "d"),
        (
            "{{ payload.n | tojson }}{{ [payload.n] | tojson }}{{ payload.list | tojson }}",
            "null[null][null, \"a\", null]",
        ),
        (
            "{{ payload.n | length }}{{ payload.n | upper }}{{ payload.n | replace('a', 'b') }}{{ payload.n | urlencode }}",
            "0",
        ),
        (
            "{{ payload.n | split(',') | list }}{{ payload.n | mrkdwn }}{{ payload.n | string }}{{ payload.n | trim }}",
            "[]",
        ),
        ("{% for x in payload.n %}{{ x }}{% else %}none{% endfor %}", "none"),
        ("{{ payload.list | join('-') }}", "-a-"),
        ("{{ payload.items | map(attribute='x', default='d') | join(',') }}", "d,2"),
        ("{{ payload.items | join(',', attribute='x') }}", ",2"),
        ("{{ payload.items | sum(attribute='x') }}", "2"),
        ("{% set x %}{{ payload.n }}{% endset %}[{{ x }}]{{ payload.n is startingwith('x') }}", "[]False"),
        ("{{ (payload.n or 'other') }}{{ payload.n if payload.s else 'x' }}", "other"),
        ("{{ payload.n | fromjson is none }}{{ payload.x | fromjson is none }}", "TrueTrue"),
    ] {
        assert_eq!(prints(payload, source), printed, "{source}");
    }
    let slack = Template::mrkdwn("{{ payload.s }}: {{ payload.n }}").unwrap();
    assert_eq!(slack.render(&with_payload(payload)).unwrap(), "text: ");
}

#[test]
fn null_never_fails_a_filter_or_a_comparison() {
    let payload = r#"{"n":null,"s":"abc","l":[null,{"a":null},{"a":{"z":1}}],"numbers":[1,5]}"#;
    for missing in ["payload.n", "payload.x", "payload.x.y"] {
        for (source, printed) in [
            ("[{{ 'a' | replace('a', N) }}{{ '%s' | format(N) }}{{ '%(a)s' | format(a=N) }}]", "[]"),
            ("{{ payload.numbers | join(N) }}{{ ' a ' | trim(N) }}{{ 'a b' | split(N) | length }}", "15a2"),
            ("{{ N in 'abc' }}{{ N not in 'abc' }}{{ N is in('abc') }}", "FalseTrueFalse"),
            ("{{ N < 3 }}{{ N <= 3 }}{{ N > -1 }}{{ N >= -1 }}", "FalseFalseFalseFalse"),
            ("{{ 3 > N }}{{ 3 >= N }}{{ 3 < N }}{{ 'a' <= N }}", "FalseFalseFalseFalse"),
            ("{{ N is lt 1 }}{{ N is le(1) }}{{ 1 is gt N }}{{ 1 is ge(N) }}", "FalseFalseFalseFalse"),
            ("{{ 'q' is startingwith(N) }}{{ N is endingwith('') }}{{ N == 3 }}{{ N != 3 }}", "FalseFalseFalseTrue"),
            ("[{{ N | dictsort | join }}{{ N | abs }}{{ N | round }}{{ N | round(1) }}]", "[]"),
            ("{{ N | map(attribute='a') | join }}{{ N | selectattr('a') | length }}", "0"),
            ("{{ range(N) | length }}{{ range(1, N) | length }}{{ range(1, 3, N) | length }}", "000"),
        ] {
            let source = source.replace('N', missing);
            assert_eq!(prints(payload, &source), printed, "{source}");
        }
        for operator in ["+", "-", "*", "/", "//", "%"] {
            assert!(error(payload, &format!("{{{{ {missing} {operator} 1 }}}}")).contains("operat"), "{operator}");
        }
    }
    for (source, printed) in [
        ("{{ payload.l | map(attribute='a.z') | join(',') }}", ",,1"),
        ("{{ payload.l | map(attribute='a.z', default=0) | join(',') }}", "0,0,1"),
        ("{{ payload.l | map(attribute='a.z') | select('defined') | list }}", "[1]"),
        ("{{ payload.l | join(',', attribute='a.z') }}{{ [payload.x] | map(attribute='a') | join }}", ",,1"),
        ("{{ payload.l | selectattr('a.z') | list }}", "[{'a': {'z': 1}}]"),
        ("{{ payload.l | selectattr('a.z', 'eq', 1) | length }}{{ payload.l | rejectattr('a.z') | length }}", "12"),
        ("{{ [payload.numbers] | map(attribute=1) | join }}{{ [payload.numbers] | map(attribute='0') | join }}", "51"),
    ] {
        assert_eq!(prints(payload, source), printed, "{source}");
    }
    for mistake in
        ["map(attribute='a', b=1)", "map('upper', attribute='a')", "selectattr", "selectattr('a', 'divisibleby')"]
    {
        assert!(!error(payload, &format!("{{{{ payload.l | {mistake} }}}}")).is_empty(), "{mistake}");
    }
    assert!("{{ payload.l | selectattr('a', 'uper') }}".parse::<Template>().is_err());
}

#[test]
fn numbers_print_as_they_came_and_can_be_calculated_with() {
    let digits = "9".repeat(400);
    let sent = [
        "12345678901234567890123",
        "1.0",
        "1",
        "1e3",
        "-0",
        "1.10",
        "1E400",
        "-1e999",
        "0.1",
        "-0.0",
        "1e-7",
        "340282366920938463463374607431768211455",
        digits.as_str(),
    ];
    for number in sent {
        let payload = format!(r#"{{"n":{number},"list":[{number}],"a":"x"}}"#);
        for (source, printed) in [
            ("{{ payload.n }}", number.to_owned()),
            ("{{ payload.list | join }}{{ payload.n ~ '' }}{{ payload.n | string }}", number.repeat(3)),
            ("{% for n in payload.list %}{{ n }}{% endfor %}", number.to_owned()),
            (
                "{{ payload.n | tojson }}{{ payload | tojson }}",
                format!(r#"{number}{{"n": {number}, "list": [{number}], "a": "x"}}"#),
            ),
            ("{{ payload }}", format!("{{'n': {number}, 'list': [{number}], 'a': 'x'}}")),
            (
                "{{ payload.n is number }}{{ payload.n == payload.list[0] }}{{ payload.n in payload.list }}",
                "TrueTrueTrue".to_owned(),
            ),
            ("{{ payload.a }}", "x".to_owned()),
            ("{{ payload.n is string }}{{ payload.n is none }}", "FalseFalse".to_owned()),
        ] {
            assert_eq!(prints(&payload, source), printed, "{source} for {number}");
        }
    }
    let payload = r#"{"amount":1990.10,"big":1e999,"small":-1E400,"k":1e3,"zero":-0,"prices":[1.10,2,1e1],"id":12345678901234567890123}"#;
    for (source, printed) in [
        (
            "{{ payload.k / 100 }} {{ payload.k + 1 }} {{ payload.k * 2 }} {{ payload.k - 1 }} {{ -payload.k }}",
            "10.0 1001.0 2000.0 999.0 -1000.0",
        ),
        ("{{ payload.amount / 100 }} {{ payload.amount | round }} {{ payload.amount | int }}", "19.901 1990.0 1990"),
        (
            "{{ payload.amount > 2 }}{{ payload.big > 2 }}{{ payload.small < 2 }}{{ payload.k == 1000 }}{{ 5 < payload.k < 2000 }}",
            "TrueTrueTrueTrueTrue",
        ),
        ("{{ payload.prices | sum }} {{ payload.prices | max }} {{ payload.prices | sort | first }}", "13.1 10.0 1.1"),
        ("{{ 1.1 in payload.prices }}{{ payload.prices == [1.1, 2, 10] }}{{ 'x' * payload.prices[1] }}", "TrueTruexx"),
        ("{% if payload.zero %}yes{% else %}no{% endif %}{{ '%.2f' | format(payload.amount) }}", "no1990.10"),
        (
            "{{ payload.id + 1 }} {{ payload.id == 12345678901234567890123 }} {{ payload.k is divisibleby(10) }}",
            "12345678901234567890124 True True",
        ),
        ("{{ range(payload.prices[2]) | list | length }}{{ payload.amount | replace('.', ',') }}", "101990,10"),
    ] {
        assert_eq!(prints(payload, source), printed, "{source}");
    }
}

#[test]
fn json_within_a_text_can_be_read() {
    let payload =
        r#"{"Message":"{\"AlarmName\":\"disk\",\"n\":1.10,\"list\":[1,2]}","broken":"{x","deep":"DEEP","o":{}}"#;
    let payload = payload.replace("DEEP", &("[".repeat(200) + &"]".repeat(200)));
    assert_eq!(prints(&payload, "{{ (payload.Message | fromjson).AlarmName }}"), "disk");
    assert_eq!(
        prints(&payload, "{% set m = payload.Message | fromjson %}{{ m.n }}{{ m.list | sum }}{{ m | tojson }}"),
        "1.103{\"AlarmName\": \"disk\", \"n\": 1.10, \"list\": [1, 2]}"
    );
    assert_eq!(prints(r#"["\ufeff[1]"]"#, "{{ payload[0] | fromjson | sum }}"), "1");
    for empty in ["", "\\ufeff", " "] {
        assert_eq!(prints(&format!("\"{empty}\""), "{{ payload | fromjson is none }}"), "True");
    }
    assert_eq!(prints(&payload, "{{ '[1, 2]' | fromjson | last }}{{ 'null' | fromjson is none }}"), "2True");
    for (source, reason) in [
        ("{{ payload.broken | fromjson }}", "fromjson: it is not JSON"),
        ("{{ payload.deep | fromjson }}", "fromjson: it is nested deeper"),
        ("{{ payload.o | fromjson }}", "fromjson: map is not a text"),
    ] {
        assert!(error(&payload, source).contains(reason), "{source}: {}", error(&payload, source));
    }
}

#[test]
fn no_value_can_fail_a_template_that_does_not_use_it() {
    for odd in [
        "1e999",
        "-1e999",
        &"7".repeat(400),
        "\"\\ud83d\"",
        "\"\\u0000\"",
        "\"\\udc00\\ud800\"",
        "-0",
        "{\"\":{\"\":0}}",
    ] {
        let payload = format!(r#"{{"odd":{odd},"list":[{odd}],"{}":{odd},"a":{{"b":"c"}}}}"#, "\\ud83d");
        assert_eq!(prints(&payload, "{{ payload.a.b }}{% for x in payload.list %}.{% endfor %}"), "c.", "{odd}");
        assert!(prints(&payload, "{{ payload | tojson }}{{ payload }}").contains("\"c\""), "{odd}");
    }
}

/// Values that have been parsed, and print as payloads do: no `null`, no member twice, and members in the order of names.
#[test]
fn random_payloads_behave_as_values_that_have_been_parsed() {
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let expressions = [
        "P",
        "P | tojson",
        "P | tojson(2)",
        "P | length",
        "P | list",
        "P.a",
        "P.b.a",
        "P.c[0]",
        "P[1]",
        "P[-1]",
        "P.a == P.b",
        "P.a in P.c",
        "P.a < P.b",
        "P.c | sort | list",
        "P.c | join('-')",
        "P.c[1:] | list",
        "P.c | reverse | list",
        "P.c | map('string') | list",
        "P.c | unique | list",
        "P.b | dictsort",
        "P.b | items | list",
        "P.c | first",
        "P.c | last",
        "P.c + [P.a]",
        "P.a ~ P.b",
        "P.c | select('string') | list",
        "P.c | groupby('a') | list | length",
        "P.c | max",
        "P is mapping",
        "P.c is iterable",
        "P.b and P.c",
        "P.c * 2",
        "P | pprint",
        "P.b | urlencode",
        "P.a | upper",
    ];
    for _ in 0..300 {
        let json = random_json(&mut random, 0);
        let parsed: Value = serde_json::from_str(&json).unwrap();
        let scope = with_payload(&json).with("idempotency_key", parsed);
        for expression in expressions {
            let [view, parsed] = ["payload", "idempotency_key"].map(|name| {
                let source = format!("{{{{ {} }}}}", expression.replace('P', name));
                source.parse::<Template>().unwrap().render(&scope).map_err(|error| error.to_string())
            });
            assert_eq!(view, parsed, "{expression} of {json}");
        }
    }
}

fn random_json(random: &mut impl FnMut(usize) -> usize, depth: usize) -> String {
    let scalars = ["1", "-7", "2.5", "true", "false", "\"\"", "\"x<y\"", "\"é'\\n\"", "12345678901234567890"];
    match random(if depth < 3 { 4 } else { 2 }) {
        2 => {
            let items: Vec<_> = (0..random(4)).map(|_| random_json(random, depth + 1)).collect();
            format!("[{}]", items.join(","))
        }
        3 => {
            let names: Vec<_> = ["a", "b", "c"].into_iter().filter(|_| random(4) > 0).collect();
            let members: Vec<_> =
                names.into_iter().map(|name| format!("\"{name}\":{}", random_json(random, depth + 1))).collect();
            format!("{{{}}}", members.join(" ,"))
        }
        _ => scalars[random(scalars.len())].to_owned(),
    }
}

#[test]
fn body_is_the_exact_text_of_the_body() {
    let payload = "{ \"a\" : 1.50 }\n";
    assert_eq!(prints(payload, "[{{ body }}]"), format!("[{payload}]"));
    assert_eq!(prints(r#"{"a":"b"}"#, "{{ (body | fromjson).a }}"), "b");
    let scope = |body: &[u8]| Scope::of(&Event { payload_json: "null".into(), body: Some(body.into()), ..event() });
    let template: Template = "{{ body }}".parse().unwrap();
    assert_eq!(template.render(&scope("a=\u{e9}".as_bytes())).unwrap(), "a=\u{e9}");
    let error = template.render(&scope(b"ab\xff")).unwrap_err().to_string();
    assert!(error.ends_with("body: it is not UTF-8 (byte 3), and so not a text"), "{error}");
    assert_eq!("{{ id }}".parse::<Template>().unwrap().render(&scope(b"ab\xff")).unwrap(), "7");
}

#[test]
fn oneline_cannot_begin_another_header_field() {
    let payload = r#"{"a":"x\r\nBcc: y\u0000\u0085\u2028z","n":1.50,"none":null}"#;
    assert_eq!(prints(payload, "{{ payload.a | oneline }}"), "x  Bcc: y   z");
    assert_eq!(prints(payload, "[{{ payload.n | oneline }}{{ payload.none | oneline }}]"), "[1.50]");
}

#[test]
fn a_condition_names_members_that_an_answer_has() {
    let condition = |source| Expression::on_answer(source, &Answer::OF_HTTP);
    assert!(condition("answer.status == 200 and payload.n and not answer.json.error.code").is_ok());
    assert!(condition("answer.headers['status']").is_ok_and(|it| !it.names_of_answer("status")));
    assert!(condition("answer.status").is_ok_and(|it| it.names_of_answer("status")));
    let refused = |source| condition(source).unwrap_err().to_string();
    assert_eq!(refused("answer.stauts == 200"), "the answer has no \"stauts\"; did you mean \"status\"?");
    assert!(refused("answer.output").starts_with("the answer has no \"output\"; known: status, "));
    assert!("answer.status".parse::<Expression>().is_err());
}
