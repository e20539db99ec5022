//! How a manual page and shell completions are made from the table of a command line, and compared with what is checked
//! in. `bench/tests/load/pages.rs` has this file too.

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;
use std::collections::BTreeMap;
use std::path::Path;

/// The day on which the pages were last read from beginning to end.
const READ_ON: &str = "2026-11-22";

/// A page of the manual, in the macros of man(7).
pub struct Page(pub String);

impl Page {
    pub fn new(name: &str, section: u8, about: &str) -> Page {
        let head = format!(
            ".\\\" Made from the tables in the code: CORERING_WRITE_PAGES=1 cargo test --workspace pages\n.TH {} \
             {section} {READ_ON} \"Corering {}\" \"Corering\"\n",
            name.to_uppercase(),
            env!("CARGO_PKG_VERSION")
        );
        let mut page = Page(head);
        page.section("NAME");
        page.line(&format!("{} \\- {}", plain(name), plain(about)));
        page
    }

    /// A line of macros or of text with fonts.
    pub fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    pub fn section(&mut self, title: &str) {
        self.line(&format!(".SH {}", plain(&title.to_uppercase())));
    }

    pub fn heading(&mut self, title: &str) {
        self.line(&format!(".SS {}", plain(title)));
    }

    /// Sentences, each paragraph of them in a line; empty lines part paragraphs.
    pub fn text(&mut self, text: &str) {
        for (at, paragraph) in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()).enumerate() {
            if 0 < at {
                self.line(".PP");
            }
            self.line(&plain(&paragraph.replace('\n', " ")));
        }
    }

    /// Lines as they stand.
    fn verbatim<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        self.line(".nf");
        self.line(".RS 2");
        for line in lines {
            self.line(&plain(line.strip_prefix("  ").unwrap_or(line)));
        }
        self.line(".RE");
        self.line(".fi");
    }

    /// An option, a command or a directive, and what it means.
    pub fn item(&mut self, title: &str, text: &str) {
        self.line(".TP");
        self.line(title);
        self.line(&plain(text));
    }

    /// What stands behind the options in `--help`: sections where they have the titles of such, notes elsewhere.
    fn more(&mut self, text: &str) {
        let titles = ["Examples", "Exit status"];
        let mut has_notes = false;
        let blocks = || text.split("\n\n").map(|block| block.split_once('\n').unwrap_or((block, "")));
        let titled = |first: &str| titles.iter().copied().find(|title| first.strip_suffix(':') == Some(title));
        for (first, rest) in blocks().filter(|(first, _)| titled(first).is_none()) {
            if has_notes {
                self.line(".PP");
            } else {
                self.section("Notes");
            }
            has_notes = true;
            if rest.starts_with("  ") {
                self.line(&plain(first));
                self.verbatim(rest.lines());
            } else {
                self.text(&format!("{first} {rest}").replace('\n', " "));
            }
        }
        for (first, rest) in blocks() {
            if let Some(title) = titled(first) {
                self.section(title);
                self.verbatim(rest.lines());
            }
        }
    }
}

/// Text as roff shows it unchanged.
pub fn plain(text: &str) -> String {
    let escaped = text.trim_end().replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    let is_control = escaped.starts_with('.');
    if is_control { format!("\\&{escaped}") } else { escaped }
}

fn said(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

/// `-s, --server <SERVER>`, in fonts.
fn option_title(option: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(option.get_short().map(|short| format!("\\fB\\-{short}\\fR")));
    names.extend(option.get_long().map(|long| format!("\\fB{}\\fR", plain(&format!("--{long}")))));
    let mut title = names.join(", ");
    if option.get_action().takes_values() {
        let name = option.get_value_names().map_or(option.get_id().as_str(), |names| names[0].as_str());
        let name = plain(&name.to_uppercase());
        title += &if title.is_empty() { format!("\\fI{name}\\fR") } else { format!(" \\fI{name}\\fR") };
    }
    title
}

/// Meaning, default and possible values, as `--help` has them.
fn option_text(option: &Arg) -> String {
    let mut text = said(option.get_long_help().or(option.get_help())).replace('\n', " ");
    if !option.get_action().takes_values() {
        return text;
    }
    let list = |words: Vec<String>| words.join(", ");
    let defaults = option.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
    let defaults: Vec<String> = defaults.collect();
    if !defaults.is_empty() {
        text += &format!(" [default: {}]", list(defaults));
    }
    let possible: Vec<String> = option.get_possible_values().iter().map(|value| value.get_name().to_string()).collect();
    if !possible.is_empty() {
        text += &format!(" [possible values: {}]", list(possible));
    }
    text
}

fn is_shown(option: &Arg) -> bool {
    let answers = matches!(option.get_action(), ArgAction::Version | ArgAction::Help | ArgAction::HelpLong);
    !option.is_hide_set() && !answers
}

/// The page of a program. Groups of options that several of its commands have stand there once, behind them.
pub fn program(mut command: Command, see_also: &[&str]) -> String {
    command.build();
    let name = command.get_name().to_string();
    let about = said(command.get_about());
    let mut page = Page::new(&name, 1, about.trim_end_matches('.'));
    page.section("Synopsis");
    let commands: Vec<&Command> =
        command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help").collect();
    if commands.is_empty() {
        page.line(&format!("\\fB{}\\fR", plain(&name)));
        let place =
            |arg: &Arg| if arg.is_required_set() { option_title(arg) } else { format!("[{}]", option_title(arg)) };
        let positional: Vec<String> = command.get_positionals().filter(|arg| is_shown(arg)).map(place).collect();
        page.line(&format!("[\\fIOPTIONS\\fR] {}", positional.join(" ")));
    } else {
        page.line(&format!("\\fB{}\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]", plain(&name)));
    }
    page.section("Description");
    page.text(&format!("{}.", said(command.get_long_about().or(command.get_about())).trim_end_matches('.')));
    // Prints a command's own options, and answers which groups it shares with others.
    let options = |page: &mut Page, command: &Command| {
        let mut shared = Vec::new();
        let mut own: BTreeMap<&str, Vec<&Arg>> = BTreeMap::new();
        for option in command.get_arguments().filter(|option| is_shown(option)) {
            own.entry(option.get_help_heading().unwrap_or_default()).or_default().push(option);
        }
        for (heading, options) in own {
            if !heading.is_empty() && !commands.is_empty() {
                shared.push(heading.to_string());
                continue;
            }
            if !heading.is_empty() {
                page.heading(heading);
            }
            for option in options {
                page.item(&option_title(option), &option_text(option));
            }
        }
        shared
    };
    if commands.is_empty() {
        page.section("Options");
        options(&mut page, &command);
    } else {
        page.section("Commands");
        let mut shared: Vec<(String, &Command)> = Vec::new();
        for command in &commands {
            page.heading(&format!("{name} {}", command.get_name()));
            page.text(&format!("{}.", said(command.get_about())));
            let headings = options(&mut page, command);
            if !headings.is_empty() {
                page.line(".PP");
                page.text(&format!("And the options of: {}.", headings.join(", ")));
            }
            for heading in headings {
                if !shared.iter().any(|(known, _)| *known == heading) {
                    shared.push((heading, command));
                }
            }
        }
        page.section("Options of several commands");
        for (heading, command) in shared {
            page.heading(&heading);
            for option in command.get_arguments().filter(|option| option.get_help_heading() == Some(&heading)) {
                page.item(&option_title(option), &option_text(option));
            }
        }
    }
    page.more(&said(command.get_after_long_help().or(command.get_after_help())));
    page.section("See also");
    page.line(&see_also.iter().map(|page| plain(page)).collect::<Vec<_>>().join(", "));
    page.0
}

/// The completions of a program, by shell.
pub fn completions(mut command: Command) -> Vec<(String, String)> {
    let name = command.get_name().to_string();
    let files = [
        (Shell::Bash, format!("{name}.bash")),
        (Shell::Zsh, format!("_{name}")),
        (Shell::Fish, format!("{name}.fish")),
    ];
    let script = |(shell, file)| {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, &name, &mut script);
        let mut script = String::from_utf8(script).expect("scripts are text");
        if shell == Shell::Bash {
            // clap_complete 4.6 writes a program's hyphen as `__` where it says which command was typed, and as
            // `__subcmd__` where it asks: nothing would be offered behind a command.
            let (asked, said) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
            script = script.replace(&format!("{asked}__subcmd__"), &format!("{said}__subcmd__"));
        }
        (format!("doc/completions/{file}"), script)
    };
    files.map(script).into()
}

/// What bash offers for the last of these words, the first being the program: by the function that the script of its
/// completions registers for it.
pub fn offered_by_bash(root: &Path, words: &[&str]) -> Vec<String> {
    const ASK: &str = r#"
        . "$0" || exit
        registered=$(complete -p "$1") || exit
        [[ $registered =~ -F\ ([^ ]+) ]] || exit
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        "${BASH_REMATCH[1]}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let script = root.join(format!("doc/completions/{}.bash", words[0]));
    let asked = std::process::Command::new("bash").args(["--norc", "-c", ASK]).arg(script).args(words).output();
    let asked = asked.expect("there is bash");
    String::from_utf8_lossy(&asked.stdout).lines().filter(|line| !line.is_empty()).map(String::from).collect()
}

/// Fails where what is checked in is not what is made; writes it instead where `CORERING_WRITE_PAGES` asks for that.
pub fn compare(root: &Path, made: &BTreeMap<String, String>) {
    if std::env::var_os("CORERING_WRITE_PAGES").is_some() {
        for (path, text) in made {
            std::fs::create_dir_all(root.join(path).parent().expect("a file in a folder")).expect("made");
            std::fs::write(root.join(path), text).expect("written");
        }
    }
    let is_old =
        |(path, text): &(&String, &String)| std::fs::read_to_string(root.join(path)).ok().as_ref() != Some(text);
    let old: Vec<&String> = made.iter().filter(is_old).map(|(path, _)| path).collect();
    assert!(old.is_empty(), "not what the tables say: {old:?}; write them with CORERING_WRITE_PAGES=1");
}
