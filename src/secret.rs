//! Secrets: references to them in the config, and their bytes when they are needed.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::systemd;

/// Far larger than any secret: a larger file is the wrong one, and `/dev/zero` has no end.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Set by systemd for a unit with `LoadCredential=`.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Reads an environment variable. Tests pass their own.
pub type Env<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// The bytes of a secret; at least one. It cannot be displayed, and has no `==`: secrets are compared in constant time only.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// `None` for no bytes: anyone can sign with an empty secret.
    pub fn new(bytes: Vec<u8>) -> Option<Secret> {
        (!bytes.is_empty()).then_some(Secret(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Where a secret is.
#[derive(Clone, Debug)]
pub enum SecretRef {
    /// `env:NAME`
    Env(String),
    /// `file:PATH`
    File(PathBuf),
    /// `credential:NAME`, one of the unit's `LoadCredential=`
    Credential(String),
    /// The secret itself, in the config.
    Literal(Secret),
}

impl SecretRef {
    /// Fetches the secret. Only commands that verify or sign call this. `Err` says how to fix it.
    pub fn resolve(&self, env: &Env) -> Result<Secret, String> {
        let secret = match self {
            SecretRef::Env(name) => read_env(name, env),
            SecretRef::File(path) => read_file(path),
            SecretRef::Credential(name) => credential_path(name, env).and_then(|path| read_file(&path)),
            SecretRef::Literal(secret) => Ok(secret.clone()),
        };
        secret.map_err(|reason| format!("{self}: {reason}"))
    }
}

impl SecretRef {
    /// What was probably meant by a text of the config that stands for itself. It never shows the text.
    pub fn doubt(&self) -> Option<&'static str> {
        let SecretRef::Literal(secret) = self else { return None };
        let text = std::str::from_utf8(secret.as_bytes()).ok()?;
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let is_variable = |text: &str| text.contains('_') && text.chars().all(is_name);
        if begins_with_variable(text).is_some_and(str::is_empty) || is_variable(text) {
            return Some("this is the name of a variable, and not replaced by its value: write \"env:NAME\"");
        }
        if text.starts_with(['/', '~']) {
            return Some("this is the path of a file, and not replaced by what is in it: write \"file:/PATH\"");
        }
        doubt_in_text(text).then_some(
            "a reference is replaced only where it is the whole value: put the whole text into the variable or the file, and \
             write \"env:NAME\" or \"file:/PATH\" alone",
        )
    }
}

/// Whether a text has a reference in it that is not replaced there: `Bearer env:TOKEN`, `Bearer $TOKEN`.
pub fn doubt_in_text(text: &str) -> bool {
    let starts =
        text.char_indices().filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    starts.map(|(at, _)| &text[at..]).any(begins_with_reference)
}

fn begins_with_reference(text: &str) -> bool {
    let prefix =
        |prefix: &str| Some(text.get(prefix.len()..)?).filter(|_| text[..prefix.len()].eq_ignore_ascii_case(prefix));
    prefix("env:").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_'))
        || prefix("file:/").is_some_and(|path| !path.starts_with('/'))
        || prefix("credential:").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphanumeric()))
        || begins_with_variable(text).is_some()
}

/// What follows a variable as a shell writes it: `$NAME` or `${NAME}`.
pub fn begins_with_variable(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('$')?;
    let (braced, rest) = rest.strip_prefix('{').map_or((false, rest), |rest| (true, rest));
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && !name.contains(|c: char| c.is_ascii_lowercase());
    let rest = if braced { rest.strip_prefix('}')? } else { rest };
    is_name.then_some(rest)
}

fn read_env(name: &str, env: &Env) -> Result<Secret, String> {
    let value = env(name).ok_or_else(|| format!("the variable is not set; set {name} to the secret"))?;
    without_newline(value.into_vec()).ok_or_else(|| format!("the variable is set but empty; set {name} to the secret"))
}

fn read_file(path: &Path) -> Result<Secret, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| cannot_read(path, &error))?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        let limit = MAX_SECRET_BYTES / 1024;
        return Err(format!("larger than {limit} KiB, which cannot be a secret; name another file"));
    }
    without_newline(bytes).ok_or_else(|| format!("{} is empty; put the secret into it", path.display()))
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    let what_to_do = match error.kind() {
        io::ErrorKind::PermissionDenied => "run this as a user who may read it, such as root (sudo)",
        _ => "put the secret there",
    };
    format!("cannot read {}: {error}; {what_to_do}", path.display())
}

fn credential_path(name: &str, env: &Env) -> Result<PathBuf, String> {
    if let Some(directory) = env(CREDENTIALS_DIRECTORY) {
        return Ok(Path::new(&directory).join(name));
    }
    // For commands in a shell, which systemd gives no credentials.
    systemd::credential_source(name).ok_or_else(|| {
        format!(
            "{CREDENTIALS_DIRECTORY} is not set, and hookbox.service has no LoadCredential={name}:/path/to/secret; \
             start this under systemd, in a unit with that line, or set {CREDENTIALS_DIRECTORY} to the directory of the secret"
        )
    })
}

/// The secret without one newline at its end, which editors and `echo` append. Only one, so that a secret that ends with a
/// newline can be written.
fn without_newline(bytes: Vec<u8>) -> Option<Secret> {
    let line = bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n"));
    Secret::new(line.unwrap_or(&bytes).to_vec())
}

impl FromStr for SecretRef {
    /// What to write instead. It never shows the text, which may be the secret.
    type Err = &'static str;

    fn from_str(text: &str) -> Result<SecretRef, &'static str> {
        match text.split_once(':') {
            Some(("env", name)) if name.is_empty() || name.contains(['=', '\0']) => {
                Err("this cannot be the name of a variable; write \"env:NAME\"")
            }
            Some(("env", name)) => Ok(SecretRef::Env(name.to_owned())),
            Some(("file", path)) if path.is_empty() || path.contains('\0') => {
                Err("this cannot be the name of a file; write \"file:/path/to/secret\"")
            }
            Some(("file", path)) => Ok(SecretRef::File(PathBuf::from(path))),
            Some(("credential", name)) if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) => Err(
                "this cannot be the name of a credential; write \"credential:NAME\" with the NAME of a LoadCredential= of the unit",
            ),
            Some(("credential", name)) => Ok(SecretRef::Credential(name.to_owned())),
            _ => Secret::new(text.into())
                .map(SecretRef::Literal)
                .ok_or("the secret is empty, so anyone could sign; write the secret, \"env:NAME\" or \"file:/path\""),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "env:{name}"),
            SecretRef::File(path) => write!(f, "file:{}", path.display()),
            SecretRef::Credential(name) => write!(f, "credential:{name}"),
            SecretRef::Literal(_) => f.write_str("(literal)"),
        }
    }
}

/// A secret of the config that cannot be used: why, and how to fix it; never the value.
#[derive(Debug)]
pub struct SecretError {
    /// `sources.github.secret`
    pub key: String,
    pub reason: String,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn secret_ref(text: &str) -> SecretRef {
        text.parse().expect("a secret reference")
    }

    fn nothing_set(_: &str) -> Option<OsString> {
        None
    }

    fn resolved(text: &str, env: &Env) -> Vec<u8> {
        secret_ref(text).resolve(env).expect("a secret").as_bytes().to_vec()
    }

    fn unresolved(text: &str, env: &Env) -> String {
        secret_ref(text).resolve(env).expect_err("no secret")
    }

    #[test]
    fn the_prefix_decides_the_kind_of_a_reference() {
        assert!(matches!(secret_ref("env:X"), SecretRef::Env(name) if name == "X"));
        assert!(matches!(secret_ref("file:/run/x"), SecretRef::File(path) if path == Path::new("/run/x")));
        assert!(matches!(secret_ref("credential:x"), SecretRef::Credential(name) if name == "x"));
        assert!(matches!(secret_ref("hunter2:x"), SecretRef::Literal(secret) if secret.as_bytes() == b"hunter2:x"));
    }

    #[test]
    fn a_text_that_is_probably_a_reference_is_doubted_and_not_shown() {
        let doubt = |text: &str| secret_ref(text).doubt().unwrap_or_default();
        for text in ["$SECRET", "${SECRET}", "GITHUB_WEBHOOK_SECRET"] {
            assert!(doubt(text).contains("env:NAME") && !doubt(text).contains(text), "{text}");
        }
        assert!(doubt("/etc/hookbox/secret").contains("file:/PATH"));
        for text in [
            "Bearer env:TOKEN",
            "Bearer $TOKEN",
            "Bearer ${TOKEN}",
            "https://h/?t=env:T",
            " env:T",
            "ENV:T",
            "x file:/run/x",
        ] {
            assert!(doubt(text).contains("whole value"), "{text}");
        }
        for text in [
            "env:X",
            "hunter2",
            "SECRET",
            "s$cret",
            "$ecret",
            "https://h/env:x",
            "file:///x y",
            "a-env-b: c",
            "{{ payload.x }}",
        ] {
            assert_eq!(doubt(text), "", "{text}");
        }
    }

    #[test]
    fn an_invalid_reference_is_refused() {
        let refused = |text: &str| text.parse::<SecretRef>().expect_err("no reference");
        assert!(refused("").contains("the secret is empty"));
        assert!(refused("env:").contains("env:NAME") && refused("env:A=B").contains("env:NAME"));
        assert!(refused("file:").contains("file:/path"));
        for name in ["", ".", "..", "a/b", "/etc/shadow"] {
            assert!(refused(&format!("credential:{name}")).contains("credential:NAME"), "{name:?}");
        }
    }

    #[test]
    fn no_value_is_displayed() {
        let literal = secret_ref("hunter2");
        let secret = literal.resolve(&nothing_set).expect("a secret");
        for shown in [format!("{literal} {literal:?}"), format!("{secret:?}")] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(literal.to_string(), "(literal)");
        assert_eq!(secret_ref("env:X").to_string(), "env:X");
        assert_eq!(secret_ref("file:/p").to_string(), "file:/p");
        assert_eq!(secret_ref("credential:n").to_string(), "credential:n");
    }

    #[test]
    fn a_variable_must_be_set_and_not_empty() {
        let env = |name: &str| match name {
            "FULL" => Some(OsString::from("s3cret")),
            "FILLED" => Some(OsString::from("s3cret\r\n")),
            "EMPTY" => Some(OsString::new()),
            "BLANK" => Some(OsString::from("\n")),
            _ => None,
        };
        assert_eq!(resolved("env:FULL", &env), b"s3cret");
        assert_eq!(resolved("env:FILLED", &env), b"s3cret");
        assert!(unresolved("env:BLANK", &env).contains("set but empty"));
        assert!(unresolved("env:EMPTY", &env).contains("set but empty; set EMPTY"));
        assert!(unresolved("env:NONE", &env).contains("not set; set NONE"));
    }

    #[test]
    fn one_newline_at_the_end_of_a_file_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        let reference = format!("file:{}", path.display());
        let cases: [(&[u8], &[u8]); 5] =
            [(b"a", b"a"), (b"a\n", b"a"), (b"a\r\n", b"a"), (b"a\n\n", b"a\n"), (b" a\r", b" a\r")];
        for (written, meant) in cases {
            fs::write(&path, written).expect("written");
            assert_eq!(resolved(&reference, &nothing_set), meant, "{written:?}");
        }
    }

    #[test]
    fn a_file_must_exist_and_contain_a_secret() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        let reference = format!("file:{}", path.display());
        assert!(unresolved(&reference, &nothing_set).contains("cannot read"));
        for empty in [&b""[..], b"\n", b"\r\n"] {
            fs::write(&path, empty).expect("written");
            assert!(unresolved(&reference, &nothing_set).contains("is empty"), "{empty:?}");
        }
        assert!(unresolved("file:/dev/zero", &nothing_set).contains("larger than 64 KiB"));
    }

    #[test]
    fn a_credential_is_a_file_in_the_units_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("github"), "s3cret\n").expect("written");
        let env = |name: &str| (name == CREDENTIALS_DIRECTORY).then(|| directory.path().as_os_str().to_owned());
        assert_eq!(resolved("credential:github", &env), b"s3cret");
        assert!(unresolved("credential:gitlab", &env).starts_with("credential:gitlab: cannot read"));
        assert!(unresolved("credential:github", &nothing_set).contains("LoadCredential=github:"));
    }
}
