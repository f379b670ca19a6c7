//! What a payload or a template would make without end.

use super::{Template, error, prints, with_payload};

/// Each would make much more than 64 MiB: of text, of values, or on the way.
#[test]
fn what_grows_without_end_is_an_error() {
    let doubling =
        "{% macro f(s, n) %}{% if n %}{{ f(s OPERATOR s, n - 1) }}{% endif %}{% endmacro %}{{ f(START, 40) }}";
    let doubled = |operator: &str, start: &str| doubling.replace("OPERATOR", operator).replace("START", start);
    let lists = "{% set a = ['x' * 1000] * 1000 %}{% set b = [a, a, a, a, a, a, a, a, a, a] %}\
                 {% set c = [b, b, b, b, b, b, b, b, b, b] %}{% set d = [c, c, c, c, c, c, c, c, c, c] %}";
    let of_lists = |rest: &str| format!("{lists}{rest}");
    let templates = [
        doubled("~", "'x'"),
        doubled("+", "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'"),
        doubled("+", "[1]") + "{% set z = f %}",
        "{% set ns = namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}".to_owned(),
        "{{ 'x' * 90000000 }}".to_owned(),
        "{{ ('x' * 1000000)[::-1] }}".to_owned(),
        "{{ ('x' * 100000) | sum(start='') }}".to_owned(),
        "{% macro f(l, n) %}{% if n %}{{ f(l | chain(l), n - 1) }}{% endif %}{% endmacro %}{{ f([1], 40) }}".to_owned(),
        "{% macro f(l, n) %}{% if n %}{{ f(l | zip(l), n - 1) }}{% else %}{{ l }}{% endif %}{% endmacro %}{{ f([1], 40) }}".to_owned(),
        "{{ [] * 100000000 ~ ([payload.list] * 100000000) }}".to_owned(),
        "{{ payload | tojson(indent=100000000) }}".to_owned(),
        "{{ payload.list | tojson(indent=100000) }}".to_owned(),
        "{% set s = 'x' * 30000 %}{{ s | replace('', s) }}".to_owned(),
        "{% set s = 'x' * 30000 %}{{ s | replace('x', s, count=-1) }}".to_owned(),
        "{{ 'x\n' * 1000 | indent(10000000) }}".replace("'x\n' * 1000", "('x\n' * 1000)"),
        "{{ range(100000) | join('x' * 10000) }}".to_owned(),
        "{{ ['x' * 1000000] * 1000 }}".to_owned(),
        "{{ (['x' * 1000000] * 1000) | join }}".to_owned(),
        "{{ (['x' * 1000000] * 1000) ~ '' }}".to_owned(),
        "{{ (['x' * 1000000] * 1000) | upper }}".to_owned(),
        "{{ (['x' * 1000000] * 1000) | string }}".to_owned(),
        "{{ (['x' * 1000000] * 1000) | pprint }}".to_owned(),
        "{{ (['x' * 1000000] * 1000) | tojson }}".to_owned(),
        "{{ (['x' * 1000000] * 1000) | urlencode }}".to_owned(),
        "{{ (['x' * 1000000] * 1000) | sum(start='') }}".to_owned(),
        "{{ (['x' * 1000000] * 1000) in 'x' }}".to_owned(),
        "{{ 'a' < (['x' * 1000000] * 1000) in 'x' }}".to_owned(),
        "{{ 'x' is startingwith(['x' * 1000000] * 1000) }}".to_owned(),
        "{{ ([1] * 100000000) | list }}".to_owned(),
        "{{ ([1] * 100000000) | sort }}".to_owned(),
        "{{ ([1] * 100000000) | map('string') | list }}".to_owned(),
        "{{ ([1] * 100000000) | select('odd') | list }}".to_owned(),
        "{{ ([1] * 100000000) | unique | list }}".to_owned(),
        "{{ ([1] * 100000000) | batch(2) | list }}".to_owned(),
        "{{ ([1] * 100000000) | zip([1] * 100000000) | list }}".to_owned(),
        "{{ ([1] * 100000000) | chain([1] * 100000000) | list }}".to_owned(),
        "{% for x in [1] * 100000000 if x %}{{ x }}{% endfor %}".to_owned(),
        "{{ [1] | slice(100000000) }}".to_owned(),
        "{{ [1] | batch(100000000, 0) }}".to_owned(),
        "{{ '%90000000d' | format(1) }}".to_owned(),
        "{{ '%*d' | format(90000000, 1) }}".to_owned(),
        "{{ '%90000000s%s%s' | format('x' * 30000000, 'x' * 30000000, 'x') }}".to_owned(),
        "{{ ('x' * 30000000) | list }}".to_owned(),
        "{{ ('x ' * 3000000) | split }}".to_owned(),
        "{{ ('x,' * 3000000) | split(',') }}".to_owned(),
        "{{ ('x' * 20000000) | urlencode | upper }}{{ ('&' * 30000000) | urlencode }}".to_owned(),
        "{{ ('<' * 30000000) | escape }}".to_owned(),
        "{{ ('<' * 30000000) | mrkdwn }}".to_owned(),
        "{% set x %}{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}{% endset %}".to_owned(),
        format!("{{% set x %}}{{% for i in range(100000) %}}{}{{% endfor %}}{{% endset %}}", "raw ".repeat(250)),
        format!(
            "{{% filter upper %}}{{% for i in range(100000) %}}{}{{% endfor %}}{{% endfilter %}}",
            "raw ".repeat(250)
        ),
        "{% for i in range(100000) %}{% macro m() %}{{ i }}{% endmacro %}{% endfor %}".to_owned(),
        "{% for i in range(100000) %}{% call m() %}{{ i }}{% endcall %}{% endfor %}"
            .replace("{% for", "{% macro m() %}{{ caller() }}{% endmacro %}{% for"),
        "{% set a, b = [1] * 100000000 %}".to_owned() + "{{ 'x' * 90000000 }}",
        of_lists("{{ d }}"),
        of_lists("{{ d ~ '' }}"),
        of_lists("{{ d | tojson }}"),
        of_lists("{{ d | string }}"),
        of_lists("{{ d in '' }}"),
        of_lists("{% set x %}{{ d }}{% endset %}"),
        of_lists("{% autoescape 'html' %}{{ d }}{% endautoescape %}"),
        of_lists("{% autoescape 'json' %}{{ d }}{% endautoescape %}"),
    ];
    let payload = format!(r#"{{"list":[{}0]}}"#, "0,".repeat(10_000));
    for source in templates {
        let error = error(&payload, &source);
        let is_limit = error.starts_with("too much work") || error.contains("unpack");
        assert!(is_limit, "{source}: {error}");
    }
}

/// Each value is dropped within the one that holds it, on the stack.
#[test]
fn values_are_not_nested_without_end() {
    let nest = |how: &str| {
        format!("{{% set ns = namespace(l=[]) %}}{{% for i in range(100000) %}}{{% set ns.l = {how} %}}{{% endfor %}}")
    };
    for how in
        ["[ns.l]", "[1, ns.l]", "{'a': ns.l}", "(ns.l, 1)", "ns.l[0:]", "ns.l * 1", "dict(a=ns.l)", "ns.l | zip([1])"]
    {
        assert!(error("{}", &nest(how)).contains("of values"), "{how}");
    }
    for how in ["ns.l | batch(1)", "[[1, ns.l]] | dictsort", "[{'a': ns.l}] | groupby('a')", "namespace(a=ns.l)"] {
        let error = error("{}", &nest(how));
        assert!(!error.is_empty(), "{how}");
    }
}

#[test]
fn what_cannot_be_counted_is_refused() {
    for source in ["{{ dict(**payload) }}", "{{ range(*payload.list) }}"] {
        let error = source.parse::<Template>().unwrap_err().to_string();
        assert!(error.contains("* and ** before an argument are not supported"), "{error}");
    }
}

#[test]
fn an_evaluation_that_exceeds_its_budget_changes_nothing_for_the_next() {
    let list = "{\"a\":[1,2]},".repeat(1000);
    let scope = with_payload(&format!(r#"{{"list":[{list}{{}}],"short":[1,2]}}"#));
    let exceeds: Template =
        "{{ 'x' * 90000000 in '' and 0 }}{{ payload.list | length }}{{ payload.short | length }}".parse().unwrap();
    let swallows: Template =
        "{{ (['x' * 3000000] * 1000) | map('upper') | first is none }}{{ payload.list[3].a }}".parse().unwrap();
    for template in [exceeds, swallows] {
        assert!(template.render(&scope).is_err(), "{template:?}");
    }
    let template: Template =
        "{{ payload.list | length }} {{ payload.short | length }} {{ payload.list[3].a }}".parse().unwrap();
    assert_eq!(template.render(&scope).unwrap(), "1001 2 [1, 2]");
}

#[test]
fn what_is_nested_deeply_is_not_read_again_and_again_without_end() {
    let deep = format!("{}{}1{}", r#"{"a":0,"a":"#.repeat(128), " ".repeat(4 << 20), "}".repeat(128));
    let error = error(&deep, "{{ payload | tojson }}{{ payload }}{{ payload.a.a.a.a.a | tojson }}");
    assert!(error.contains("too much work for one event: more than"), "{error}");
    let deep = format!("{}1{}", r#"{"a":0,"a":"#.repeat(128), "}".repeat(128));
    assert_eq!(
        prints(&deep, "{{ payload | tojson | replace(' ', '') }}"),
        format!("{}1{}", r#"{"a":"#.repeat(128), "}".repeat(128))
    );
}
