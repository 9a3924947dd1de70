use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Some(Path::new("/home/me")))
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn an_empty_text_is_the_defaults() {
    assert_eq!(parse("").unwrap(), Config::default());
    assert_eq!(parse("[keys.sessions]\n[colors]\n").unwrap(), Config::default());
}

#[test]
fn the_printed_defaults_are_the_defaults() {
    assert_eq!(parse(&default_text()).unwrap(), Config::default());
    insta::assert_snapshot!(default_text());
}

#[test]
fn everything_can_be_said() {
    let config = parse(
        r#"
theme = "light"
columns = ["process", "tls", "cipher", "secrets", "pid"]
save-path = "~/keys.log"
follow = false
hide-nulls = false
confirm-quit = false
mouse = true
reveal-seconds = 5
catch-up = 0

[colors]
bad = "white on #aa0000 bold"

[keys.sessions]
copy-line = ["ctrl-y", "f2"]
sort = []
"#,
    )
    .unwrap();
    let settings = &config.settings;
    assert_eq!(config.theme, view::Choice::Light);
    assert_eq!(settings.columns, ["process", "tls", "cipher", "secrets", "pid"]);
    assert_eq!(config.save_path, PathBuf::from("/home/me/keys.log"));
    assert!(!settings.follow && !settings.hide_nulls && !settings.confirm_quit && config.mouse);
    assert_eq!((settings.reveal.as_secs(), config.catch_up.as_secs()), (5, 0));
    assert_eq!(config.colors.len(), 1);
    let keymap = &settings.keymap;
    assert_eq!(keymap.key_name(Context::Sessions, Action::CopyLine), "Ctrl-Y");
    assert_eq!(keymap.key_name(Context::Detail, Action::CopyLine), "y");
    assert!(keymap.keys(Context::Sessions, Action::Sort).is_empty());
}

#[test]
fn a_mistake_is_told_with_its_line_and_key() {
    let texts = [
        "theme = ",
        "theme = \"lihgt\"",
        "\nthem = \"light\"",
        "follow = \"yes\"",
        "follow = true\nfollow = false",
        "reveal-seconds = 0",
        "catch-up = -1",
        "catch-up = 86401",
        "save-path = \"-\"",
        "columns = [\"process\", \"tls\", \"secrets\"]",
        "columns = [\n  \"process\",\n  \"colour\",\n]",
        "columns = [\"pid\", \"pid\"]",
        "[colors]\n# a comment\ngood = \"greenish\"",
        "[colors]\ngod = \"green\"",
        "[keys.session]\nsave = [\"x\"]",
        "[keys.sessions]\nsav = [\"x\"]",
        "[keys.sessions]\nsave = \"x\"",
        "[keys.sessions]\n\nsave = [\n \"x\",\n \"hyper-x\"]",
        "[keys.sessions]\nsave = [\"s\"]",
        "[keys.sessions]\nsort = [\"f3\"]\nfilter = [\"f4\", \"f3\"]",
        "[keys.sessions]\nfilter = [\"f3\"]\nsort = [\"f3\"]",
        "[keys.sessions]\nreveal = [\"f3\"]",
        "[keys]\nsessions.save = [\"ctrl-m\"]",
        "[keys]\nsessions = { save = [\"W\", \"W\"] }",
        "[keys.picker]\nquit = []",
        "[keys.prompt]\nback = [\"x\"]",
    ];
    let told: Vec<_> = texts.iter().map(|text| format!("{text}\n=> {}\n", refused(text))).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_home_that_is_not_known_is_not_guessed() {
    let error = Config::parse("save-path = \"~/x\"", None).unwrap_err();
    assert_eq!(error.key, "save-path");
    assert_eq!(Config::parse("save-path = \"x\"", None).unwrap().save_path, PathBuf::from("x"));
}

#[test]
fn columns_as_they_are_anyway_are_the_defaults() {
    let names: Vec<_> = view::column_names().map(|name| format!("\"{name}\"")).collect();
    let config = parse(&format!("columns = [{}]", names.join(", "))).unwrap();
    assert_eq!(config, Config::default());
    for required in REQUIRED_COLUMNS {
        assert!(view::column_names().any(|name| name == required), "{required}");
    }
}

#[test]
fn nesting_without_end_is_refused() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let text = format!("columns = {}1{}", open.repeat(60_000), close.repeat(60_000));
        assert!(parse(&text).is_err());
    }
    assert!(parse(&"a.".repeat(60_000)).is_err());
    assert!(parse(&format!("{}a = 1", "a.".repeat(60_000))).is_err());
}

/// Texts that are nearly right, so that each check is reached.
fn nearly() -> impl Strategy<Value = String> {
    let word = || prop_oneof!["[a-z-]{1,8}", "ctrl-\\PC", "(save|quit|sort|process|f[0-9]{1,3})"];
    let value = prop_oneof![
        word().prop_map(|word| format!("\"{word}\"")),
        proptest::collection::vec(word(), 0..4).prop_map(|words| format!("{words:?}")),
        any::<i64>().prop_map(|number| number.to_string()),
        "\\PC{0,6}",
    ];
    let name = prop_oneof![
        "(theme|columns|save-path|reveal-seconds|catch-up|mouse|colors|keys)",
        "(save|quit|sort|back|confirm|copy-line|bad|faint)",
        "\\PC{0,4}",
    ];
    let line = prop_oneof![
        (name, value).prop_map(|(name, value)| format!("{name} = {value}")),
        "\\[(keys\\.(sessions|prompt|help|question)|colors|keys|\\PC{0,5})\\]",
    ];
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}|(\\PC|\n|\u{1b}|\u{0}){0,60}") {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().chars().any(crate::text::is_dangerous));
        }
    }

    #[test]
    fn no_text_that_is_nearly_right_panics(text in nearly()) {
        match parse(&text) {
            Err(error) => prop_assert!(error.line >= 1 && error.line <= text.lines().count().max(1) + 1),
            Ok(config) => {
                for context in [Context::Sessions, Context::Picker, Context::Detail, Context::Images] {
                    prop_assert!(!config.settings.keymap.keys(context, Action::Quit).is_empty());
                }
            }
        }
    }

    #[test]
    fn no_change_of_the_defaults_panics(at in 0usize..8000, with in "\\PC{0,3}|\n", cut in 0usize..40) {
        let mut text: Vec<char> = default_text().chars().collect();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, with.chars());
        let _ = parse(&text.into_iter().collect::<String>());
    }
}
