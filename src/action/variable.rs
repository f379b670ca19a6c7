//! The environment variables that the configuration gives a command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::Call;
use crate::secret::{Env, Secret, SecretRef};
use crate::template::Template;

/// The variables that hookbox sets for each command begin so.
const OWN_PREFIX: &str = "HOOKBOX_";

/// Variables that decide which code a program runs: of the loader, of shells and interpreters, of programs that run others,
/// and where programs look for such settings. A sender must not have a part in their value.
const DECIDE_CODE: [&str; 31] = [
    "PATH",
    "HOME",
    "SHELL",
    "ENV",
    "BASH_ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "PROMPT_COMMAND",
    "IFS",
    "PS4",
    "ZDOTDIR",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "MANPAGER",
    "BROWSER",
    "LESSOPEN",
    "LESSCLOSE",
    "GCONV_PATH",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "CLASSPATH",
    "MAKEFLAGS",
    "TAR_OPTIONS",
    "RSYNC_RSH",
    "CURL_HOME",
    "WGETRC",
    "KUBECONFIG",
    "OPENSSL_CONF",
    "AWS_CONFIG_FILE",
];

/// The same, by how they begin.
const DECIDE_CODE_PREFIXES: [&str; 19] = [
    "LD_",
    "BASH_FUNC_",
    "XDG_",
    "GIT_",
    "SSH_",
    "PYTHON",
    "PERL",
    "RUBY",
    "GEM_",
    "BUNDLE_",
    "PHP",
    "LUA_",
    "NODE_",
    "NPM_",
    "npm_",
    "CARGO_",
    "RUSTC_",
    "ANSIBLE_",
    "DOCKER_",
];

/// One variable, as configured.
#[derive(Clone, Debug)]
pub struct Variable {
    pub name: String,
    value: Configured,
}

#[derive(Clone, Debug)]
enum Configured {
    Template(Template),
    Secret(SecretRef),
}

/// One variable, its secret fetched.
pub(super) struct Prepared {
    name: String,
    value: Value,
}

enum Value {
    Template(Template),
    Secret(Secret),
}

impl Variable {
    /// `Err` says what to write instead, and does not show the value.
    pub fn parse(name: &str, text: &str) -> Result<Variable, String> {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_letter) {
            return Err("this cannot be the name of a variable; write letters, digits, _, . and -".to_owned());
        }
        if name.starts_with(OWN_PREFIX) {
            return Err(format!("hookbox itself sets the variables that begin with {OWN_PREFIX}; choose another name"));
        }
        // An empty variable is one; a secret is never empty.
        let secret: Option<SecretRef> = (!text.is_empty()).then(|| text.parse()).transpose()?;
        let value = match secret {
            Some(SecretRef::Literal(_)) | None => {
                Configured::Template(text.parse().map_err(|error| format!("{error}"))?)
            }
            Some(secret) => Configured::Secret(secret),
        };
        match &value {
            Configured::Template(template) if decides_code(name) && !template.is_plain() => {
                Err("this variable decides which code a program runs; write a fixed text, without a template"
                    .to_owned())
            }
            Configured::Template(template) if template.source().contains('\0') => {
                Err("no variable can have a NUL in it; take it out".to_owned())
            }
            _ => Ok(Variable { name: name.to_owned(), value }),
        }
    }

    /// The value, where it is the same for every event and no secret from elsewhere.
    pub(super) fn fixed(&self) -> Option<&str> {
        match &self.value {
            Configured::Template(template) if template.is_plain() => Some(template.source()),
            _ => None,
        }
    }

    /// Without a value that may be a secret.
    pub(super) fn summary(&self) -> String {
        let value = match &self.value {
            Configured::Secret(secret) => secret.to_string(),
            Configured::Template(template) if template.is_plain() => "(as configured)".to_owned(),
            Configured::Template(template) => template.source().to_owned(),
        };
        format!("{}={value}", self.name)
    }

    pub(super) fn prepare(&self, env: &Env<'_>) -> Result<Prepared, String> {
        let value = match &self.value {
            Configured::Template(template) => Value::Template(template.clone()),
            Configured::Secret(reference) => {
                let secret = reference.resolve(env).map_err(|error| format!("env.{}: {error}", self.name))?;
                if secret.as_bytes().contains(&0) {
                    return Err(format!("env.{}: {reference}: no variable can have a NUL in it", self.name));
                }
                Value::Secret(secret)
            }
        };
        Ok(Prepared { name: self.name.clone(), value })
    }
}

impl Prepared {
    pub(super) fn render(&self, call: &Call<'_>) -> Result<(&str, OsString), String> {
        let value = match &self.value {
            Value::Secret(secret) => OsStr::from_bytes(secret.as_bytes()).to_owned(),
            Value::Template(template) => {
                template.render(call.scope).map_err(|error| self.wrong(&error.to_string()))?.into()
            }
        };
        if value.as_bytes().contains(&0) {
            return Err(self.wrong("it would have a NUL in it"));
        }
        Ok((&self.name, value))
    }

    /// As a line of a preview, in which a value that may be a secret is not shown.
    pub(super) fn preview(&self, call: &Call<'_>) -> Result<String, String> {
        let (name, value) = self.render(call)?;
        let is_text = matches!(&self.value, Value::Template(template) if !template.is_plain());
        let value = if is_text { value.to_string_lossy() } else { "(as configured)".into() };
        Ok(format!("{name}={value}"))
    }

    pub(super) fn secret(&self) -> Option<&Secret> {
        if let Value::Secret(secret) = &self.value { Some(secret) } else { None }
    }

    fn wrong(&self, why: &str) -> String {
        format!("the variable {}: {why}", self.name)
    }
}

fn decides_code(name: &str) -> bool {
    DECIDE_CODE.contains(&name) || DECIDE_CODE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, text: &str) -> String {
        Variable::parse(name, text).expect_err("no variable")
    }

    #[test]
    fn a_name_that_clashes_is_refused() {
        for name in ["", "A=B", "A B", "1A", "A\0", "\u{c4}", "A%"] {
            assert!(refused(name, "x").contains("letters, digits"), "{name:?}");
        }
        for name in ["HOOKBOX_EVENT", "HOOKBOX_"] {
            assert!(refused(name, "x").contains("choose another name"), "{name}");
        }
        for name in ["HOOKBOX", "hookbox_event", "_", "a1_B", "HOOK_head-commit.id"] {
            assert!(Variable::parse(name, "x").is_ok(), "{name}");
        }
    }

    #[test]
    fn a_sender_has_no_part_in_what_decides_the_code() {
        for name in [
            "PATH",
            "LD_PRELOAD",
            "BASH_ENV",
            "PYTHONPATH",
            "GIT_SSH_COMMAND",
            "HOME",
            "SSH_ASKPASS",
            "KUBECONFIG",
            "LESSOPEN",
            "MAKEFLAGS",
            "npm_config_script_shell",
            "RUSTC_WRAPPER",
        ] {
            for text in ["{{ payload.a }}", "/opt/{% if id %}a{% endif %}"] {
                assert!(refused(name, text).contains("fixed text"), "{name}");
            }
            assert!(Variable::parse(name, "/opt/bin").is_ok() && Variable::parse(name, "env:X").is_ok(), "{name}");
        }
        assert!(Variable::parse("TITLE", "{{ payload.a }}").is_ok());
    }

    #[test]
    fn no_secret_is_shown() {
        for (text, shown) in [
            ("hunter2", "A=(as configured)"),
            ("env:X", "A=env:X"),
            ("file:/x", "A=file:/x"),
            ("credential:x", "A=credential:x"),
            ("{{ event }}", "A={{ event }}"),
            ("", "A=(as configured)"),
        ] {
            assert_eq!(Variable::parse("A", text).expect("a variable").summary(), shown);
        }
        assert!(!refused("A B", "hunter2").contains("hunter2"));
        assert!(!refused("A", "hunter2\0").contains("hunter2"));
    }
}
