//! The library's functions by name: what the walk is hooked to, and what shows the layout.

use super::dynamic::Dynamic;
use super::elf::Elf;
use super::layout::accessors;
use super::notes::SymbolTable;
use super::plan::Hook;
use super::window::Window;

/// The functions that the walk may be hooked to (facts, part 2): at the return of the first three a handshake may be
/// done; the next three are called on every connection, also by programs that hide the others behind a BIO; the last
/// four run the handshake themselves, and are for catching up with open connections.
const HOOKS: [&str; 10] = [
    "SSL_do_handshake",
    "SSL_connect",
    "SSL_accept",
    "SSL_get_error",
    "SSL_shutdown",
    "SSL_free",
    "SSL_read",
    "SSL_read_ex",
    "SSL_write",
    "SSL_write_ex",
];

/// Whether a function is called on each read or write of a connection, or at its end.
pub fn is_data_path(name: &str) -> bool {
    ["SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex", "SSL_shutdown", "SSL_free"]
        .contains(&name)
}

/// Names and addresses.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    found: Vec<(&'static str, u64)>,
}

impl Functions {
    /// Looks among the exports; in a file that exports none of the names, among its local symbols.
    pub fn find(
        window: &mut Window<'_>,
        elf: &Elf,
        dynamic: &Dynamic,
        symbols: Option<SymbolTable>,
    ) -> Self {
        let names: Vec<&'static str> = HOOKS.into_iter().chain(accessors::names()).collect();
        let mut addresses: Vec<Option<u64>> =
            names.iter().map(|name| dynamic.export(window, elf, name)).collect();
        if addresses.iter().all(Option::is_none)
            && let Some(symbols) = symbols
        {
            addresses = symbols.addresses(window, &names);
        }
        let known = names.into_iter().zip(addresses);
        Self { found: known.filter_map(|(name, address)| Some((name, address?))).collect() }
    }

    /// The address of a function.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.found.iter().find(|(known, _)| *known == name).map(|&(_, address)| address)
    }

    /// The functions that the walk may be hooked to.
    pub fn hooks(&self, elf: &Elf) -> Vec<Hook> {
        let hook = |name| {
            let address = self.address(name)?;
            let file_offset = elf.file_offset(address)?;
            let in_code = elf.segment_at(address).is_some_and(|segment| segment.executable);
            in_code.then_some(Hook { name, address, file_offset })
        };
        HOOKS.into_iter().filter_map(hook).collect()
    }
}
