//! `hookbox man`: the man pages, hookbox(1) from the table of commands, and hookbox.toml(5) from the chapters about the
//! config. The macros are those of man(7).

use super::args::commands::{ABOUT, COMMANDS, COMMON_OPTIONS, CommandSpec, ENVIRONMENT, EXAMPLES, EXIT_CODES, FILES};
use super::args::option::OptionSpec;
use super::help::wrap;
use crate::manual::markdown::{self, Block, Section};
use crate::manual::{self, CHAPTERS};

/// The chapters that hookbox.toml(5) has, one after the other.
const CONFIG_CHAPTERS: [&str; 8] = ["config", "sources", "actions", "templates", "retries", "recover", "reach", "page"];

/// When this version was made, by the list of changes: a man page has a date.
const DATE: &str = env!("VERSION_DATE");

/// The page of this name as roff.
pub(super) fn page(name: &str) -> String {
    if name == "hookbox.toml" { config() } else { program() }
}

fn config() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let chapters = CONFIG_CHAPTERS.iter().filter_map(|name| manual::find(name));
    let parts = [
        format!(".TH HOOKBOX.TOML 5 {DATE} \"hookbox {version}\" \"File Formats\"\n"),
        section("NAME", r"hookbox.toml \- the config of hookbox"),
        chapters.flat_map(|chapter| markdown::sections(&chapter.text)).map(|it| chapter_section(&it)).collect(),
        section("SEE ALSO", ".BR hookbox (1),\nwhich lists the other chapters of this manual"),
    ];
    parts.concat()
}

fn chapter_section(section: &Section<'_>) -> String {
    let (request, title) = match section.level {
        1 => ("SH", section.title.to_uppercase()),
        _ => ("SS", section.title.to_owned()),
    };
    let blocks: String = section.blocks.iter().map(block).collect();
    format!(".{request} \"{}\"\n{}", escaped(&title), blocks.strip_prefix(".PP\n").unwrap_or(&blocks))
}

fn block(block: &Block<'_>) -> String {
    match block {
        Block::Heading { .. } => String::new(),
        Block::Code(lines) => {
            let lines: String = lines.iter().map(|line| escaped(line) + "\n").collect();
            format!(".PP\n.RS 4\n.nf\n{lines}.fi\n.RE\n")
        }
        Block::Text(lines) => {
            let text = lines.join(" ");
            match markdown::item_mark(&text) {
                None => format!(".PP\n{}", prose(&text)),
                Some("- ") => format!(".IP \\(bu 2\n{}", prose(&text.trim_start()[2..])),
                Some(number) => format!(".IP {} 3\n{}", number.trim(), prose(&text.trim_start()[number.len()..])),
            }
        }
    }
}

fn program() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let rows = |rows: &[(&str, &str)]| rows.iter().map(|(name, text)| row(name, text)).collect::<String>();
    let chapters = CHAPTERS.each_ref().map(|chapter| (chapter.name, chapter.summary));
    let parts = [
        format!(".TH HOOKBOX 1 {DATE} \"hookbox {version}\" \"User Commands\"\n"),
        section("NAME", r"hookbox \- receive webhooks, store them in SQLite, and process them"),
        section("SYNOPSIS", ".B hookbox\n[\\fIOPTIONS\\fR] [\\fICOMMAND\\fR]"),
        section("DESCRIPTION", filled(ABOUT).trim_end()),
        section("COMMANDS", "Each takes its own options and the common ones below."),
        COMMANDS.iter().map(command).collect(),
        section("OPTIONS", "These are taken by every command, and stand before or after it."),
        COMMON_OPTIONS.iter().map(option).collect(),
        section("EXIT STATUS", "") + &rows(&EXIT_CODES),
        section("ENVIRONMENT", "") + &rows(&ENVIRONMENT),
        section("FILES", "") + &rows(&FILES),
        section("EXAMPLES", "") + &EXAMPLES.iter().map(explained).collect::<String>(),
        section("SEE ALSO", ".BR hookbox.toml (5)"),
        ".PP\nThe chapters of the manual, which \\fBhookbox help\\fR \\fICHAPTER\\fR prints:\n".to_owned(),
        rows(&chapters),
    ];
    parts.concat()
}

fn section(title: &str, text: &str) -> String {
    let text = if text.is_empty() { String::new() } else { format!("{text}\n") };
    format!(".SH \"{title}\"\n{text}")
}

fn command(command: &CommandSpec) -> String {
    let usages = command.usages().map(|usage| format!(".SS \"{}\"\n", escaped(&usage)));
    let summary = format!("{}.\n", escaped(command.summary));
    let paragraphs = command.description.split("\n\n").map(|paragraph| format!(".PP\n{}", filled(paragraph)));
    let options = command.options.iter().map(option);
    let examples: String = command.examples.iter().map(|line| escaped(line) + "\n").collect();
    let examples = format!(".PP\nExamples:\n.RS 4\n.nf\n{examples}.fi\n.RE\n");
    usages.chain([summary]).chain(paragraphs).chain(options).chain([examples]).collect()
}

fn option(option: &OptionSpec) -> String {
    row(&option.usage(), option.help)
}

/// A term and its meaning.
fn row(name: &str, text: &str) -> String {
    format!(".TP\n.B {}\n{}", escaped(name), filled(text))
}

fn explained((line, purpose): &(&str, &str)) -> String {
    format!(".TP\n{}\n{}\n", escaped(purpose), escaped(line))
}

fn filled(text: &str) -> String {
    lines(&escaped(text))
}

/// Wrapped. At the end of a line, a full stop would be taken for the end of a sentence, and printed with two spaces.
fn lines(text: &str) -> String {
    let ends_sentence = |word: &str| word.trim_end_matches(['"', '\'', ')', ']', '*']).ends_with(['.', '?', '!']);
    let word = |word: &str| format!("{word}{} ", if ends_sentence(word) { r"\&" } else { "" });
    wrap(&text.split_whitespace().map(word).collect::<String>(), 0)
}

/// Markdown as roff: code and what is `**strong**` in bold, what is `*stressed*` in italics.
fn prose(markdown: &str) -> String {
    let (mut text, mut font) = (String::new(), 'R');
    let (mut is_code, mut is_strong, mut is_stressed) = (false, false, false);
    let linked = without_links(markdown);
    let mut rest = linked.as_str();
    while let Some(at) = rest.find(if is_code { &['`'][..] } else { &['`', '*'][..] }) {
        text.push_str(&escaped(&rest[..at]));
        let (flag, length) = match &rest[at..] {
            mark if mark.starts_with('`') => (&mut is_code, 1),
            mark if mark.starts_with("**") => (&mut is_strong, 2),
            _ => (&mut is_stressed, 1),
        };
        *flag = !*flag;
        rest = &rest[at + length..];
        let next = match (is_code || is_strong, is_stressed) {
            (true, _) => 'B',
            (false, true) => 'I',
            (false, false) => 'R',
        };
        if next != font {
            text.push_str(&format!(r"\f{next}"));
        }
        font = next;
    }
    lines(&(text + &escaped(rest)))
}

/// Links within the manual as their text, others with their address behind it.
fn without_links(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once("](")
        && let (Some((outside, label)), Some((target, after))) = (before.rsplit_once('['), after.split_once(')'))
    {
        let address = if target.starts_with("https://") { format!(" <{target}>") } else { String::new() };
        text.push_str(&format!("{outside}{label}{address}"));
        rest = after;
    }
    text + rest
}

/// Text as roff that prints the same: a hyphen would become a typographic one, and a quote the end of an argument. A dot at
/// the start of a word would be a request where that becomes the start of a line.
fn escaped(text: &str) -> String {
    let escapes =
        [("\\", r"\e"), ("-", r"\-"), ("\"", r"\(dq"), ("'", r"\(aq"), ("~", r"\(ti"), ("^", r"\(ha"), ("`", r"\(ga")];
    let text = escapes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    text.split(' ')
        .map(|word| if word.starts_with('.') { format!(r"\&{word}") } else { word.to_owned() })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_printed_as_it_is() {
        assert_eq!(escaped(r#".a --b 'c' "d" \e"#), r"\&.a \-\-b \(aqc\(aq \(dqd\(dq \ee");
        assert_eq!(row("-h, --help", "Print"), ".TP\n.B \\-h, \\-\\-help\nPrint\n");
    }

    #[test]
    fn markdown_is_typeset() {
        let roff = |text: &str| prose(text).trim_end().to_owned();
        assert_eq!(roff("**The `-wal` file** of `a*`"), r"\fBThe \-wal file\fR of \fBa*\fR");
        assert_eq!(roff("the scope *Events: Read*, and"), r"the scope \fIEvents: Read\fR, and");
        assert_eq!(
            roff("by [`allow`](config.md#keys), see [Caddy](https://caddy)"),
            r"by \fBallow\fR, see Caddy <https://caddy>"
        );
        assert_eq!(roff("It is so. So it is."), r"It is so.\& So it is.\&");
    }

    #[test]
    fn no_markdown_is_left() {
        let page = page("hookbox.toml");
        let code = page.split("\n.nf\n").skip(1).filter_map(|code| code.split("\n.fi\n").next());
        let prose = code.fold(page.clone(), |page, code| page.replace(code, ""));
        for mark in ["](", "\\(ga", "**"] {
            assert!(!prose.contains(mark), "{mark}");
        }
    }

    #[test]
    fn the_page_has_every_command_and_option() {
        let page = page("hookbox");
        let options = crate::cli::args::commands::options().map(OptionSpec::usage);
        for text in COMMANDS.iter().map(CommandSpec::usage).chain(options) {
            assert!(page.contains(&escaped(&text)), "{text}");
        }
    }
}
