//! Where the members or items of one object or array begin.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use crate::json;
use crate::template::budget::{self, OBJECT_BYTES};

/// Up to this many members are compared one by one.
const FEW: usize = 16;

/// A short member: how many there may be, so that the table does not grow step by step.
const USUAL_MEMBER_BYTES: usize = 32;

const MOST_AT_ONCE: usize = 1024;

/// Reading a shorter item takes no less time.
const LEAST_READ_BYTES: usize = 64;

/// Where the members or items of an object or array stand in its text.
#[derive(Debug, Default)]
pub struct Index {
    /// Where each item of an array begins.
    items: Vec<u32>,
    /// The members of an object, in the order in which their names first occur.
    members: Vec<Member>,
    names_have_escapes: bool,
    /// The members by the hash of their names, where they are more than a few.
    by_name: Option<Box<ByName>>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    name: u32,
    value: u32,
    end: u32,
}

/// Where two names have the same hash, the next attempt has the next salt.
#[derive(Debug)]
struct ByName {
    hasher: RandomState,
    members: HashMap<u32, u32>,
}

impl Index {
    /// Empty where the budget is exceeded: the evaluation ends with that error.
    pub fn of(json: &str) -> Index {
        let mut index = Index::default();
        if budget::charge_read(json.len()).is_err() {
            return index;
        }
        if json.starts_with('{') {
            for (name, value) in json::members(json) {
                let quoted = &json[name.clone()];
                let member = Member { name: offset(name.start), value: offset(value.start), end: offset(value.end) };
                index.names_have_escapes |= quoted.contains('\\');
                index.add(json, &json::unquoted(quoted), member);
            }
        } else {
            index.items.extend(json::items(json).map(|item| offset(item.start)));
        }
        index
    }

    /// The index of a short one, of which there may be several copies.
    pub fn charged(json: &str) -> Arc<Index> {
        let index = Index::of(json);
        let bytes = size_of_val(&*index.items) + size_of_val(&*index.members);
        let is_paid = budget::charge(OBJECT_BYTES + bytes).is_ok();
        Arc::new(if is_paid { index } else { Index::default() })
    }

    /// The index of a long one, of which there is one: the text bounds its entries, and the budget how many there are.
    pub fn kept(json: &str) -> Arc<Index> {
        let is_paid = budget::charge(2 * OBJECT_BYTES).is_ok();
        Arc::new(if is_paid { Index::of(json) } else { Index::default() })
    }

    pub fn len(&self) -> usize {
        self.items.len() + self.members.len()
    }

    /// Where an item stands.
    pub fn item(&self, json: &str, at: usize) -> Option<Range<usize>> {
        let start = *self.items.get(at)? as usize;
        let item = json::first_value(&json[start..]);
        budget::charge_read(item.len().max(LEAST_READ_BYTES)).ok()?;
        Some(start..start + item.len())
    }

    /// Where the value of a member stands.
    pub fn member(&self, json: &str, name: &str) -> Option<Range<usize>> {
        self.find(json, name).ok().map(|at| self.members[at].value())
    }

    /// The quoted name of a member, and where its value stands.
    pub fn entry<'j>(&self, json: &'j str, at: usize) -> (&'j str, Range<usize>) {
        let member = self.members[at];
        (quoted_name(json, member.name), member.value())
    }

    /// Of members with the same name the last counts, at the place of the first, as for every parser that builds a tree.
    fn add(&mut self, json: &str, name: &str, member: Member) {
        match self.find(json, name) {
            Ok(at) => self.members[at] = Member { name: self.members[at].name, ..member },
            Err(key) => {
                let at = offset(self.members.len());
                self.members.push(member);
                match &mut self.by_name {
                    Some(by_name) => drop(by_name.members.insert(key, at)),
                    None if self.members.len() > FEW => self.sort_by_name(json),
                    None => {}
                }
            }
        }
    }

    fn sort_by_name(&mut self, json: &str) {
        let members = HashMap::with_capacity((json.len() / USUAL_MEMBER_BYTES).min(MOST_AT_ONCE));
        self.by_name = Some(Box::new(ByName { hasher: RandomState::new(), members }));
        for at in 0..self.members.len() {
            let found = self.find(json, &json::unquoted(quoted_name(json, self.members[at].name)));
            if let (Err(key), Some(by_name)) = (found, &mut self.by_name) {
                by_name.members.insert(key, offset(at));
            }
        }
    }

    /// The position of a member, or the key that it would have.
    fn find(&self, json: &str, name: &str) -> Result<usize, u32> {
        let is_it = |at: &usize| self.is_name(json, self.members[*at].name, name);
        let Some(by_name) = &self.by_name else { return (0..self.members.len()).find(is_it).ok_or(0) };
        let mut salt = 0u32;
        loop {
            let key = by_name.hasher.hash_one((salt, name)) as u32;
            match by_name.members.get(&key).map(|at| *at as usize) {
                None => return Err(key),
                Some(at) if is_it(&at) => return Ok(at),
                Some(_) => salt += 1,
            }
        }
    }

    /// Whether the quoted name that begins there is this one.
    fn is_name(&self, json: &str, start: u32, name: &str) -> bool {
        if self.names_have_escapes {
            return json::unquoted(quoted_name(json, start)) == name;
        }
        let rest = json.as_bytes()[start as usize..].strip_prefix(b"\"").unwrap_or_default();
        rest.starts_with(name.as_bytes()) && rest.get(name.len()) == Some(&b'"')
    }
}

impl Member {
    fn value(self) -> Range<usize> {
        self.value as usize..self.end as usize
    }
}

/// Payloads are shorter than 4 GiB.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn quoted_name(json: &str, start: u32) -> &str {
    json::first_value(&json[start as usize..])
}
