//! Header fields, as templates and conditions see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object};

/// Names are found in upper and lower case (RFC 9110, section 5.1): a name that only looks different would be undefined, and
/// so false.
#[derive(Debug)]
pub struct Fields(BTreeMap<String, Value>);

impl Fields {
    pub fn value<V: Into<Value>>(fields: impl IntoIterator<Item = (String, V)>) -> Value {
        let in_lower_case = |(name, value): (String, V)| (name.to_lowercase(), value.into());
        Value::from_object(Fields(fields.into_iter().map(in_lower_case).collect()))
    }
}

impl Object for Fields {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        self.0.get(&name.as_str()?.to_lowercase()).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(|name| Value::from(name.as_str())).collect())
    }
}
