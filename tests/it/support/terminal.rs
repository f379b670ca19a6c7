//! A terminal for the program, made by Python.

use super::Home;
use super::program::python;

/// Runs a command of the program, which must succeed, in a terminal of this many columns, and returns its output. `None`
/// without Python.
pub fn in_a_terminal(home: &Home, columns: u16, words: &[&str], env: &[(&str, &str)]) -> Option<String> {
    let mut python = python(home)?;
    let script = "import fcntl, os, pty, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 24, int(sys.argv[1]), 0, 0))
    os.execvp(sys.argv[2], sys.argv[2:])
try:
    while block := os.read(terminal, 4096):
        os.write(1, block)
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";
    let command = home.command();
    // The variables are the program's own: one may be a PATH without Python.
    python
        .args(["-c", script, &columns.to_string(), "env"])
        .args(env.iter().map(|(name, value)| format!("{name}={value}")));
    python.arg(command.get_program()).args(command.get_args()).args(words);
    python.env_remove("NO_COLOR").env_remove("COLUMNS").env("TERM", "xterm");
    let output = python.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}
