//! The TLS stacks that are captured, and the programs with which the live tests prove it: the README's table.

use std::fmt::Write as _;

/// A row of the table.
pub struct Stack {
    /// Its name.
    pub name: &'static str,
    /// Which versions are tested, and which are captured.
    pub versions: &'static str,
    /// What is captured, and how.
    pub captured: &'static str,
    /// The programs that it is tested with, and the live test in tests/tests that names it.
    pub programs: &'static [(&'static str, &'static str)],
}

/// What a tap of C gets.
const ALL_BY_TAP: &str = "all secrets, at its key log function";

/// All rows.
pub const STACKS: &[Stack] = &[
    Stack {
        name: "OpenSSL, quictls",
        versions: "1.1.1 to 4.0, shared, bundled and static",
        captured: "all secrets, at its key log function or from its structures; open connections",
        programs: &[
            ("curl", "curl"),
            ("python3", "python"),
            ("nginx", "nginx"),
            ("openssl s_client and s_server", "handshakes"),
            ("node 12, 16, 18 and 22", "libraries"),
            ("psycopg2-binary, psycopg-binary, pycurl", "libraries"),
            ("cryptography 42", "libraries"),
            ("pyopenssl", "wheels"),
        ],
    },
    Stack {
        name: "BoringSSL",
        versions: "static, also stripped",
        captured: "all secrets, at its key log function; open connections without those of the handshake",
        programs: &[("curl_cffi", "wheels"), ("grpcio", "wheels"), ("bun", "node")],
    },
    Stack {
        name: "GnuTLS",
        versions: "3.6.13 and later (3.7.9), shared",
        captured: ALL_BY_TAP,
        programs: &[
            ("wget", "gnutls"),
            ("git", "gnutls"),
            ("gnutls-cli and gnutls-serv", "gnutls"),
            ("ldapsearch", "gnutls"),
        ],
    },
    Stack {
        name: "Go crypto/tls",
        versions: "1.17 and later (1.19, 1.21, 1.24, 1.27), also stripped, and forks of it",
        captured: "all secrets that Go logs (no `EXPORTER_SECRET`), at its key log function",
        programs: &[
            ("clients and servers by 1.21.13, 1.24.11 and 1.27.3", "go"),
            ("caddy", "go"),
            ("rclone", "go"),
        ],
    },
    Stack {
        name: "NSS",
        versions: "with key logs (Firefox's), and without (Debian's 3.87), shared",
        captured: "all secrets, where it logs them; without key logs their values come from its softoken",
        programs: &[("firefox", "nss"), ("client_nss.py and server_nss.py", "nss")],
    },
    Stack {
        name: "s2n-tls",
        versions: "static, also stripped",
        captured: "all secrets, at its key log functions",
        programs: &[("awscrt", "s2n")],
    },
    Stack {
        name: "rustls",
        versions: "0.23 (0.23.40, 0.23.46), stripped",
        captured: "all secrets whose places its code proves (`scan` names them), where it asks whether there is a key log",
        programs: &[("uv", "rustls"), ("deno as client and server", "rustls")],
    },
];

/// As the README has it.
pub fn markdown_table() -> String {
    let mut table =
        "| TLS stack | versions (tested) | what is captured | tested with |\n|---|---|---|---|\n"
            .to_owned();
    for Stack { name, versions, captured, programs } in STACKS {
        let link = |(program, test): &(&str, &str)| format!("[{program}](tests/tests/{test}.rs)");
        let programs = programs.iter().map(link).collect::<Vec<_>>().join(", ");
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| {name} | {versions} | {captured} | {programs} |");
    }
    table
}
