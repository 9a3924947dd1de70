//! The TLS stacks that are captured, and the programs with which the live tests prove it: the README's table.

use std::fmt::Write as _;

/// A row of the table.
pub struct Stack {
    /// Its name.
    pub name: &'static str,
    /// Which versions.
    pub versions: &'static str,
    /// What is captured, and how.
    pub captured: &'static str,
    /// The programs that it is tested with. Each is named in `test`.
    pub programs: &'static [&'static str],
    /// The live test, in tests/tests.
    pub test: &'static str,
}

/// All rows.
pub const STACKS: &[Stack] = &[
    Stack {
        name: "GnuTLS",
        versions: "3.6.13 and later, as a shared library",
        captured: "all labels, by its key log function",
        programs: &["wget", "git", "gnutls-cli", "ldapsearch", "gnutls-serv"],
        test: "gnutls",
    },
    Stack {
        name: "Go crypto/tls and forks of it",
        versions: "Go 1.17 and later, also stripped",
        captured: "all labels that Go has, which are those that decrypt; no EXPORTER_SECRET",
        programs: &["client", "server", "caddy", "rclone"],
        test: "go",
    },
];

/// As the README has it.
pub fn markdown_table() -> String {
    let mut table =
        "| TLS stack | Versions | What is captured | Tested with |\n|---|---|---|---|\n".to_owned();
    for Stack { name, versions, captured, programs, test } in STACKS {
        let programs = programs.join(", ");
        let test = format!("[{programs}](tests/tests/{test}.rs)");
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| {name} | {versions} | {captured} | {test} |");
    }
    table
}
