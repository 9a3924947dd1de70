use super::*;
use crate::packets::Scope;

fn parse(args: &[&str]) -> Result<CaptureTask, clap::Error> {
    let args = std::iter::once("tlskeytop").chain(args.iter().copied()).map(OsString::from);
    match super::parse(args)? {
        Task::Capture(task) => Ok(*task),
        other => panic!("{other:?}"),
    }
}

#[test]
fn clap_agrees_with_itself() {
    Cli::command().debug_assert();
}

#[test]
fn headless_means_all() {
    let task = parse(&["--mode", "key"]).unwrap();
    assert_eq!(task.mode, Mode::Keylog);
    assert!(task.selection.all && task.save);
    assert_eq!(task.keylog, PathBuf::from(DEFAULT_KEYLOG));
}

#[test]
fn the_command_line_wins_over_the_configuration() {
    let config = || Config {
        save_path: "from config".into(),
        catch_up: Duration::from_secs(7),
        ..Config::default()
    };
    let mut task = parse(&["--mode", "json"]).unwrap();
    let merged = task.configure(config());
    assert_eq!((task.keylog.to_str(), task.catch_up.as_secs()), (Some("from config"), 7));
    assert!(!merged.mouse);
    let mut task = parse(&["--mode", "json", "-k", "x", "--catch-up", "60", "--mouse"]).unwrap();
    let merged = task.configure(config());
    assert_eq!((task.keylog.to_str(), task.catch_up.as_secs()), (Some("x"), 60));
    assert!(merged.mouse);
}

#[test]
fn the_longest_duration_can_be_waited_for() {
    let task = parse(&["--mode", "json", "--duration", "3155760000"]).unwrap();
    assert!(tokio::time::Instant::now().checked_add(task.duration.unwrap()).is_some());
    let error = parse(&["--mode", "json", "--duration", "3155760001"]).unwrap_err();
    assert!(error.to_string().contains("more than 100 years"), "{error}");
}

#[test]
fn a_selection_is_no_longer_all() {
    let task = parse(&["--mode", "json", "-p", "12,13", "-n", "py*"]).unwrap();
    assert!(!task.selection.all && !task.save);
    assert_eq!(task.selection.pids, [(12, 0), (13, 0)].into());
    let task = parse(&["--mode", "json", "--image", "/bin/x", "-s"]).unwrap();
    assert!(task.selection.all && task.selection.only_named_images && task.save);
}

#[test]
fn children_follow_and_excludes_add_up() {
    let task = parse(&["--mode", "json", "-p", "12"]).unwrap();
    assert!(task.selection.children && task.selection.is_open());
    let mut task = parse(&["--mode", "json", "-p", "12", "--no-children"]).unwrap();
    assert!(!task.selection.children && !task.selection.is_open());
    task.configure(Config::default());
    assert!(!task.selection.children, "the command line wins");
    let mut task = parse(&["--mode", "json", "-p", "12"]).unwrap();
    task.configure(Config { children: false, ..Config::default() });
    assert!(!task.selection.children);
    let args = ["--exclude-pid", "1,2", "--exclude-name", "a", "--exclude-name", "b"];
    let args = [&["--mode", "json"], &args[..], &["--exclude-container", "0*"]].concat();
    let selection = parse(&args).unwrap().selection;
    assert!(selection.all && !selection.takes_all());
    let excluded = &selection.excluded;
    assert_eq!(excluded.pids, [(1, 0), (2, 0)].into());
    assert_eq!((excluded.names.len(), excluded.containers.len()), (2, 1));
    let task = parse(&["--mode", "json", "--container", "0*", "--exclude-image", "/x"]).unwrap();
    assert!(!task.selection.all && task.selection.containers.len() == 1);
    assert_eq!(task.excluded_images, [PathBuf::from("/x")]);
}

#[test]
fn who_names_a_recording_alone_wants_no_key_log() {
    let mode = |args: &[&str]| parse(args).unwrap().mode;
    assert_eq!(mode(&["--pcap-file", "x.pcapng", "--", "curl"]), Mode::Pcap);
    assert_eq!(mode(&["--pcap-file", "x.pcapng"]), Mode::Pcap);
    assert_eq!(mode(&["--pcap-file", "x.pcapng", "-k", "y", "--", "curl"]), Mode::Keylog);
    assert_eq!(mode(&["--pcap-file", "x.pcapng", "-s", "--", "curl"]), Mode::Keylog);
    assert!(!parse(&["--pcap-file", "x.pcapng", "--", "curl"]).unwrap().save);
}

#[test]
fn a_command_is_captured_alone_and_headless() {
    let task = parse(&["-s", "--", "curl", "-k", "--all", "--", "x"]).unwrap();
    assert_eq!(task.command, ["curl", "-k", "--all", "--", "x"]);
    assert_eq!(task.mode, Mode::Keylog);
    assert!(!task.selection.all && task.save);
    let task = parse(&["--mode", "json", "--all", "--", "curl"]).unwrap();
    assert!(task.selection.all && task.mode == Mode::Json);
    let task = parse(&["--image", "/bin/x", "--", "scan"]).unwrap();
    assert!(!task.selection.all && task.selection.only_named_images);
    assert_eq!(task.command, ["scan"]);
    assert!(parse(&["curl"]).is_err(), "without -- it is no command");
    // As if it was not there.
    let task = parse(&["--mode", "key", "--"]).unwrap();
    assert!(task.command.is_empty() && task.selection.all);
}

#[test]
fn a_layout_has_the_name_of_a_group() {
    let task = parse(&["--mode", "json", "--layout", "3.5.0 no-psk"]).unwrap();
    assert!(task.layout.unwrap().warning().contains("3.5.0 no-psk"));
    assert!(parse(&["--mode", "json"]).unwrap().layout.is_none());
    let error = parse(&["--mode", "json", "--layout", "3.0.99"]).unwrap_err().to_string();
    assert!(error.contains("3.0.99") && error.contains("1.1.0i, "), "{error}");
    let scan = ["tlskeytop", "scan", "--layout", "v1.27.0"].map(OsString::from);
    assert!(matches!(super::parse(scan).unwrap(), Task::Scan { layout: Some(_), json: false }));
}

#[test]
fn what_contradicts_itself_is_refused() {
    for args in [
        &["--mode", "json", "-k", "-"][..],
        &["--mode", "tui"],
        &["--mode", "keylog", "--name", "a["],
        &["--mode", "keylog", "--exclude-name", "a["],
        &["--mode", "keylog", "--container", "a["],
        &["--mode", "keylog", "--exclude-container", "{a"],
        &["--mode", "keylog", "--exclude-pid", "0"],
        &["--mode", "keylog", "--duration", "0"],
        &["--mode", "keylog", "--duration", "nan"],
        &["--mode", "keylog", "--duration", "1e19"],
        &["--mode", "keylog", "--duration", "inf"],
        &["--mode", "keylog", "--pid", "0"],
        &["--mode", "keylog", "--layout", "3.0.99"],
        &["--mode", "keylog", "--layout", ""],
        &["scan", "--layout", "no"],
        &["--all", "scan"],
        &["--all", "--print-config"],
        &["--mode", "json", "--catch-up", "86401"],
        &["--mode", "json", "--ring-buffer", "4095"],
        &["--mode", "json", "--ring-buffer", "8388608"],
    ] {
        assert_eq!(parse(args).unwrap_err().exit_code(), 2, "{args:?}");
    }
}

#[test]
fn a_huge_pattern_is_refused_and_does_not_end_in_a_panic() {
    for unit in ["?", "[!a]", "{a,b}", "*", "é"] {
        let pattern = unit.repeat(PATTERN / unit.len());
        let _ = parse(&["--mode", "json", "-n", &pattern]);
        let error = parse(&["--mode", "json", "-n", &format!("{pattern}{unit}")]).unwrap_err();
        assert!(error.to_string().contains("at most 4096 bytes"), "{error}");
    }
}

#[test]
fn how_to_record_is_never_thrown_away() {
    let options = [
        ["-i", "lo"],
        ["--pcap-scope", "attached"],
        ["--pcap-scope", "all"],
        ["--pcap-secrets", "all"],
        ["--pcap-secrets", "needed"],
        ["--pcap-wait", "9"],
        ["--pcap-wait", "3"],
        ["--pcap-rotate-size", "1"],
        ["--pcap-rotate-time", "1"],
    ];
    for [option, value] in options {
        let error = parse(&["--mode", "json", option, value]).unwrap_err().to_string();
        assert!(error.contains("goes with --pcap-file or --mode pcap"), "{option}: {error}");
        let task = parse(&["--mode", "pcap", option, value]).unwrap();
        assert_eq!(task.packets.first.unwrap().path, PathBuf::from("./tlskeytop.pcapng"));
    }
    // The interface may be asked to record.
    let options = ["x", "-i", "lo", "--pcap-scope", "attached", "--pcap-wait", "9"];
    let cli = Cli::try_parse_from(options).unwrap();
    let recordings = cli.options.packets.check(Mode::Tui).unwrap();
    assert!(recordings.first.is_none());
    let plan = recordings.later;
    assert_eq!((plan.interfaces, plan.replaces), (vec!["lo".to_owned()], false));
    assert_eq!((plan.terms.scope, plan.terms.wait), (Scope::Attached, Duration::from_secs(9)));
}
