//! Where unsafe code is: every place has its argument beside it, and SECURITY.md lists the files.

use std::fs;
use std::path::{Path, PathBuf};

/// Around the list in SECURITY.md.
const MARKS: [&str; 2] = ["<!-- unsafe: generated; a test compares -->\n", "<!-- /unsafe -->"];
/// How far above an unsafe place its argument may begin, in lines.
const NEAR: usize = 6;

/// One place.
#[derive(Debug)]
struct Place {
    line: usize,
    is_argued: bool,
}

fn places(source: &str) -> Vec<Place> {
    let lines: Vec<&str> = source.lines().collect();
    let is_unsafe = |line: &str| {
        let code = line.trim_start();
        !code.starts_with("//")
            && ["unsafe {", "unsafe fn ", "unsafe impl ", "unsafe extern "]
                .iter()
                .any(|word| code.contains(word))
    };
    // An argument is for one place: for that which comes next.
    let since_the_last = |at: usize| lines[..at].iter().rposition(|line| is_unsafe(line));
    let argued = |at: usize| {
        let near = |from: usize| lines[from..at].iter().map(|line| line.trim_start());
        let from = since_the_last(at).map_or(0, |last| last + 1).max(at.saturating_sub(NEAR));
        near(from).any(|line| line.starts_with("// SAFETY: "))
            // What an unsafe function asks of its callers is in its documentation, which may be longer.
            || near(0)
                .rev()
                .take_while(|line| line.starts_with("///") || line.starts_with("#["))
                .any(|line| line == "/// # Safety")
    };
    let found = lines.iter().enumerate().filter(|(_, line)| is_unsafe(line));
    found.map(|(at, _)| Place { line: at + 1, is_argued: argued(at) }).collect()
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn every_unsafe_place_is_argued_and_its_file_listed() {
    let root = crate::ebpf::root();
    let mut files = Vec::new();
    for name in ["tui", "tui-common", "tui-ebpf", "xtask", "tests"] {
        sources(&root.join(name), &mut files);
    }
    files.sort();
    let mut list = String::from("| file | places |\n|---|---|\n");
    let mut without = Vec::new();
    // This file has the words in its own strings.
    let here = Path::new(file!()).file_name();
    for file in files.iter().filter(|file| file.file_name() != here) {
        let name = file.strip_prefix(&root).unwrap().display();
        let places = places(&fs::read_to_string(file).unwrap());
        if !places.is_empty() {
            list += &format!("| `{name}` | {} |\n", places.len());
        }
        let bad = places.iter().filter(|place| !place.is_argued);
        without.extend(bad.map(|place| format!("{name}:{}", place.line)));
    }
    assert!(without.is_empty(), "no SAFETY comment at {without:#?}");
    let path = root.join("SECURITY.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(MARKS[0]).expect("the list in SECURITY.md begins");
    let (old, after) = rest.split_once(MARKS[1]).expect("the list in SECURITY.md ends");
    if std::env::var_os("TLSKEYTOP_UPDATE").is_some() {
        fs::write(path, [before, MARKS[0], &list, MARKS[1], after].concat()).unwrap();
    } else {
        assert_eq!(old, list, "TLSKEYTOP_UPDATE=1 cargo test -p xtask unsafe writes it anew");
    }
}

#[test]
fn a_place_without_its_argument_is_seen() {
    let argued = "// SAFETY: it is.\nlet x = unsafe { f() };\n";
    assert!(places(argued).iter().all(|place| place.is_argued));
    let documented =
        "/// Does.\n///\n/// # Safety\n///\n/// The pointer.\n#[inline]\nunsafe fn f() {}";
    assert!(places(documented).iter().all(|place| place.is_argued));
    let not =
        "\n// Says nothing.\nlet x = unsafe { f() };\nunsafe impl Pod for X {}\n// unsafe { }\n";
    assert_eq!(places(not).iter().filter(|place| !place.is_argued).count(), 2);
    let one_for_two = format!("{argued}let y = unsafe {{ g() }};\n");
    assert_eq!(places(&one_for_two).iter().filter(|place| !place.is_argued).count(), 1);
}
