//! A terminal for the program, made by Python.

use super::Home;
use super::program::python;

/// Runs a command of the program in a terminal of this many columns, and returns its output. `None` without Python.
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
";
    let command = home.command();
    python.args(["-c", script, &columns.to_string()]).arg(command.get_program()).args(command.get_args()).args(words);
    python.env_remove("NO_COLOR").env_remove("COLUMNS").env("TERM", "xterm").envs(env.iter().copied());
    let output = python.output().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n"))
}
