//! One value, or one name, out of a JSON text, found without building the rest of it: bodies are up to `max_body` large,
//! and a tree of one takes ten times its size.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The string or integer at `pointer` (RFC 6901). `None` if there is none or if the text is not JSON. Of members with the
/// same name the last counts, as for every parser that builds a tree.
pub fn scalar(json: &[u8], pointer: &str) -> Option<String> {
    let path: Vec<String> =
        pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let found = Step(&path).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found
}

/// The name of the first member of a JSON object that is not called `name`. `None` if there is none or if the text is no
/// object.
pub fn member_beside(json: &[u8], name: &str) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let found = reader.deserialize_map(Beside(name)).ok()?;
    reader.end().ok()?;
    found
}

struct Beside<'a>(&'a str);

impl<'de> Visitor<'de> for Beside<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
            found = found.or(Some(name).filter(|name| name != self.0));
        }
        Ok(found)
    }
}

/// What is left of the path.
struct Step<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Step<'_> {
    fn scalar(&self, value: impl ToString) -> Option<String> {
        self.0.is_empty().then(|| value.to_string())
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.scalar(text))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.scalar(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.scalar(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            match self.0.split_first() {
                Some((segment, rest)) if *segment == name => found = map.next_value_seed(Step(rest))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Some((segment, rest)) = self.0.split_first() else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        let wanted = segment.parse().ok().filter(|index: &usize| index.to_string() == *segment);
        let mut found = None;
        for index in 0usize.. {
            let is_there = if Some(index) == wanted {
                let value = items.next_element_seed(Step(rest))?;
                found = value.clone().flatten();
                value.is_some()
            } else {
                items.next_element::<IgnoredAny>()?.is_some()
            };
            if !is_there {
                break;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::{member_beside, scalar};

    #[test]
    fn the_value_at_the_pointer_is_found() {
        let json = br#"{"a":{"b":["x",{"c":-7}]},"m~n/o":18446744073709551615,"a":{"b":["y"]}}"#;
        assert_eq!(scalar(json, "/a/b/0").as_deref(), Some("y"), "the last member of a name counts");
        assert_eq!(scalar(json, "/m~0n~1o").as_deref(), Some("18446744073709551615"));
        for nothing in ["/a", "/a/b", "/a/b/1", "/a/b/00", "/a/b/-", "/x", "/a/b/0/c", "/"] {
            assert_eq!(scalar(json, nothing), None, "{nothing}");
        }
    }

    #[test]
    fn the_member_beside_the_one_that_is_always_there_is_found() {
        let beside = |json: &str| member_beside(json.as_bytes(), "update_id");
        assert_eq!(beside(r#"{"update_id":1,"message":{"text":"a"},"x":2}"#).as_deref(), Some("message"));
        assert_eq!(beside(r#"{"poll":{},"update_id":1}"#).as_deref(), Some("poll"));
        for nothing in [r#"{"update_id":1}"#, "{}", r#"[{"a":1}]"#, r#"{"a":1"#, r#"{"a":1}x"#, "\"a\""] {
            assert_eq!(beside(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn what_is_not_json_as_a_whole_has_no_values() {
        for text in ["{\"a\":1", "{\"a\":1}x", "", "a=1"] {
            assert_eq!(scalar(text.as_bytes(), "/a"), None, "{text}");
        }
    }
}
