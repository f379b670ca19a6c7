//! The secrets of a file, each of which becomes a variable.

use super::lenient::CALLS;

/// A variable, and the secret that it has to hold; `None` where the file did not have it either.
#[derive(Debug)]
pub struct Variable {
    pub name: String,
    pub value: String,
    /// The hook that has it.
    pub hook: String,
}

#[derive(Debug, Default)]
pub struct Secrets {
    pub variables: Vec<Variable>,
}

impl Secrets {
    /// How a config refers to the secret. Equal ones share a variable.
    pub fn reference(&mut self, secret: &str, source: &str, hook: &str) -> String {
        if let Some(reference) = marked(secret) {
            return reference;
        }
        if let Some(known) = self.variables.iter().find(|variable| variable.value == secret && !secret.is_empty()) {
            return format!("env:{}", known.name);
        }
        let stem = format!("{}_SECRET", source.to_ascii_uppercase().replace('-', "_"));
        let stem = if stem.starts_with(|c: char| c.is_ascii_digit()) { format!("HOOK_{stem}") } else { stem };
        let is_free = |name: &String| self.variables.iter().all(|variable| variable.name != *name);
        let mut numbered = (2..).map(|number| format!("{stem}_{number}"));
        let name = Some(stem.clone()).filter(is_free).or_else(|| numbered.find(is_free)).unwrap_or(stem);
        let reference = format!("env:{name}");
        self.variables.push(Variable { name, value: secret.to_owned(), hook: hook.to_owned() });
        reference
    }
}

/// The reference of a secret that a template of webhook fetches.
fn marked(secret: &str) -> Option<String> {
    let inside = secret.strip_prefix("{{")?.strip_suffix("}}")?;
    let (name, argument) = inside.split_once(':')?;
    let (_, kind) = CALLS.iter().find(|(known, _)| *known == name)?;
    Some(format!("{kind}:{argument}"))
}
