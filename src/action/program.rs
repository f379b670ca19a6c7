//! Whether the program of a command can be run, as far as that can be told without running it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The longest first line of a script that Linux reads.
const MAX_FIRST_LINE_BYTES: u64 = 256;

/// What a Linux binary begins with.
const ELF: &[u8] = b"\x7fELF";

/// Why the program cannot be run, and the way out. `None` where it can, or depends on the event. `path` is that in which it
/// is searched.
pub(super) fn problem(program: &str, directory: Option<&Path>, path: &OsStr) -> Option<String> {
    if program.contains('{') {
        return None;
    }
    if program.starts_with(['~', '$']) {
        return Some(format!("no shell replaces {program:?}: write the whole path of the program"));
    }
    match find(program, directory, path) {
        Some(path) => problem_of_file(&path),
        None => Some(missing(program)),
    }
}

/// The file that would be run: a program without a `/` is searched in `PATH`.
fn find(program: &str, directory: Option<&Path>, searched: &OsStr) -> Option<PathBuf> {
    if program.contains('/') {
        let path = directory.unwrap_or(Path::new("")).join(program);
        return path.exists().then_some(path);
    }
    let files = std::env::split_paths(searched).map(|directory| directory.join(program)).filter(|path| path.is_file());
    let mut files: Vec<PathBuf> = files.collect();
    let at = files.iter().position(|path| is_executable(path)).unwrap_or(0);
    (!files.is_empty()).then(|| files.swap_remove(at))
}

fn missing(program: &str) -> String {
    if program.contains(char::is_whitespace) {
        let words: Vec<String> = program.split_whitespace().map(|word| format!("{word:?}")).collect();
        return format!(
            "there is no program named {program:?}, with the spaces: no shell splits it, so write run = [{}]",
            words.join(", ")
        );
    }
    match program.contains('/') {
        true => {
            format!("there is no program {program} that this user can see: write the whole path of one that is there")
        }
        false => format!("there is no program {program} in PATH: install it, or write its whole path"),
    }
}

fn problem_of_file(path: &Path) -> Option<String> {
    let shown = path.display();
    if path.is_dir() {
        return Some(format!("{shown} is a directory: write the path of the program in it"));
    }
    if !is_executable(path) {
        return Some(format!("{shown} is not executable: chmod +x {shown}"));
    }
    let mut first = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_FIRST_LINE_BYTES).read_to_end(&mut first)) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None, // a binary need not be readable
        Err(error) => Some(format!("{shown}: {error}")),
        Ok(_) => problem_of_beginning(&first).map(|problem| format!("{shown} {problem}")),
    }
}

/// A script names its interpreter in its first line.
fn problem_of_beginning(first: &[u8]) -> Option<String> {
    if first.starts_with(ELF) {
        return None;
    }
    let no_interpreter = || "is a script that names no interpreter: let its first line be #!/bin/sh".to_owned();
    let Some(line) = first.strip_prefix(b"#!") else { return Some(no_interpreter()) };
    let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default()).into_owned();
    if line.ends_with('\r') {
        return Some(
            "has the line ends of Windows, which its interpreter cannot be found with: sed -i 's/\\r$//'".to_owned(),
        );
    }
    let Some(interpreter) = line.split_whitespace().next() else { return Some(no_interpreter()) };
    (!is_executable(Path::new(interpreter))).then(|| {
        format!("names the interpreter {interpreter}, which is not here: install it, or correct the first line")
    })
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_program_that_runs_has_no_problem() {
        for program in ["sh", "/bin/sh", "{{ payload.program }}"] {
            assert_eq!(problem(program, None, OsStr::new("/usr/bin:/bin")), None, "{program}");
        }
    }

    #[test]
    fn each_problem_has_its_way_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str, mode| {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            format!("./{name}")
        };
        let good = file("good", "#!/bin/sh\n", 0o755);
        let problem = |program: &str| problem(program, Some(directory.path()), OsStr::new("/usr/bin:/bin"));
        assert_eq!(problem(&good), None);
        for (program, part) in [
            ("git pull --ff-only".to_owned(), r#"write run = ["git", "pull", "--ff-only"]"#),
            ("no-such-program".to_owned(), "in PATH"),
            ("/no/such/program".to_owned(), "there is no program /no/such/program"),
            ("./absent".to_owned(), "there is no program ./absent"),
            ("~/deploy".to_owned(), "no shell replaces \"~/deploy\""),
            ("$HOME/deploy".to_owned(), "no shell replaces"),
            ("/tmp".to_owned(), "is a directory"),
            (file("plain", "#!/bin/sh\n", 0o644), "chmod +x"),
            (file("bare", "echo\n", 0o755), "names no interpreter"),
            (file("windows", "#!/bin/sh\r\necho\r\n", 0o755), "line ends of Windows"),
            (file("odd", "#!/no/such/shell -e\n", 0o755), "names the interpreter /no/such/shell"),
        ] {
            let problem = problem(&program).unwrap_or_default();
            assert!(problem.contains(part), "{program}: {problem}");
        }
    }
}
