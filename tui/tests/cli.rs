//! What users and packagers read: help, man page, completions. `INSTA_UPDATE=always cargo nextest run --test cli` takes
//! what they are now; look at the difference.

use clap_complete::Shell;
use insta::assert_snapshot;
use tlskeytop::cli::command;
use unicode_width::UnicodeWidthStr as _;

#[test]
fn help() {
    let mut command = command().term_width(80);
    let help = command.render_long_help().to_string();
    for line in help.lines() {
        assert!(line.width() <= 80, "{line}");
    }
    assert_snapshot!("help", help);
    assert_snapshot!("help_short", command.render_help());
    for name in ["scan", "doctor", "inject", "completions", "man"] {
        let subcommand = command.find_subcommand_mut(name).unwrap();
        let help = subcommand.clone().term_width(80).render_long_help();
        assert_snapshot!(format!("help_{name}"), help);
    }
}

#[test]
fn man_page() {
    let mut page = Vec::new();
    clap_mangen::Man::new(command()).render(&mut page).unwrap();
    assert_snapshot!("man", String::from_utf8(page).unwrap());
}

#[test]
fn completions() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command(), "tlskeytop", &mut script);
        assert_snapshot!(format!("completions_{shell}"), String::from_utf8(script).unwrap());
    }
}
