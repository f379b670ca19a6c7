#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use super::*;
use crate::store::migrate;

#[track_caller]
fn plan(sql: &str) -> Vec<String> {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate::migrate(&mut connection, Path::new("x")).unwrap_or_else(|error| panic!("{error}"));
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let parameters = ["a"; 2].into_iter().take(statement.parameter_count());
    let step = |row: &Row<'_>| row.get(3);
    statement.query_map(rusqlite::params_from_iter(parameters), step).unwrap().collect::<Result<_>>().unwrap()
}

/// However many copies there are: a heartbeat may have hundreds of thousands.
#[test]
fn no_plan_scans_or_sorts() {
    for sql in [&format!("{KNOWN} {OF_CONTENT}"), OF_BODY] {
        let plan = plan(sql);
        assert!(plan.iter().any(|step| step.contains("INDEX") && step.starts_with("SEARCH")), "{plan:#?}");
        assert!(!plan.iter().any(|step| step.starts_with("SCAN") && !step.contains("CONSTANT")), "{plan:#?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:#?}");
    }
}
