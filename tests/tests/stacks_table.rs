//! The README's table of TLS stacks is the tests' own. `TLSKEYTOP_UPDATE=1 cargo test -p tlskeytop-tests --test
//! stacks_table` writes it anew.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tlskeytop_tests::{STACKS, markdown_table};

const BEGIN: &str = "<!-- stacks: generated from the live tests; a test compares -->\n";
const END: &str = "<!-- /stacks -->";

#[test]
fn the_readme_has_the_table() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = fs::read_to_string(&path)?;
    let (before, rest) = text.split_once(BEGIN).context("no table")?;
    let (table, after) = rest.split_once(END).context("no end of the table")?;
    let wanted = markdown_table();
    if std::env::var_os("TLSKEYTOP_UPDATE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}"))?;
    } else {
        ensure!(table == wanted, "run TLSKEYTOP_UPDATE=1 cargo test --test stacks_table");
    }
    Ok(())
}

/// Words of a row that name no program.
const COMMON: [&str; 8] = ["and", "as", "by", "client", "clients", "on", "server", "servers"];

#[test]
fn each_program_is_tested() -> Result<()> {
    for stack in STACKS {
        for (program, test) in stack.programs {
            let path = format!("{}/tests/{test}.rs", env!("CARGO_MANIFEST_DIR"));
            let test = fs::read_to_string(&path).context(path)?;
            let words = program.split([' ', ',']).filter(|word| !word.is_empty());
            let mut names = words.filter(|word| !COMMON.contains(word)).peekable();
            ensure!(names.peek().is_some(), "{program:?} names no program");
            for name in names {
                ensure!(test.contains(name), "{}: no test with {name}", stack.name);
            }
        }
    }
    Ok(())
}
