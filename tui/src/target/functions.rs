//! The library's functions by name: what the walk is hooked to, and what shows the layout.

use super::dynamic::Dynamic;
use super::elf::Elf;
use super::layout::accessors;
use super::notes::SymbolTable;
use super::plan::{FoundBy, Hook};
use super::window::Window;

/// What a function is to a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// At its return a handshake may be done.
    Handshake,
    /// It is entered on every connection, also by programs that hide the others behind a BIO.
    AlsoBehindBio,
    /// It is entered whenever data is read or written, or the connection ends, with the connection as argument 0;
    /// those that read and write run the handshake themselves. It shows connections that were already open.
    Data,
    /// Both of the last two.
    DataAlsoBehindBio,
}

/// The functions that the walk may be hooked to (facts, part 2).
const HOOKS: [(&str, Use); 11] = [
    ("SSL_do_handshake", Use::Handshake),
    ("SSL_connect", Use::Handshake),
    ("SSL_accept", Use::Handshake),
    ("SSL_get_error", Use::AlsoBehindBio),
    ("SSL_shutdown", Use::DataAlsoBehindBio),
    ("SSL_free", Use::DataAlsoBehindBio),
    ("SSL_read", Use::Data),
    ("SSL_read_ex", Use::Data),
    ("SSL_write", Use::Data),
    ("SSL_write_ex", Use::Data),
    ("SSL_peek", Use::Data),
];

/// Functions that those that read and write have in common. They are looked for only where nothing has a name: with
/// both, each read would be seen twice.
const INTERNAL: [&str; 4] = [
    "ssl_read_internal",
    "ssl_peek_internal",
    "ssl_write_internal",
    // BoringSSL: SSL_read and SSL_peek call it.
    "ssl_read_impl",
];

/// Whether a handshake may be done when the function returns.
pub fn shakes_hands(name: &str) -> bool {
    is_used(name, &[Use::Handshake])
}

/// Whether the function is entered with a finished handshake also where none of those is called: a BIO filter shakes
/// hands by itself.
pub fn finds_it_done(name: &str) -> bool {
    is_used(name, &[Use::AlsoBehindBio, Use::DataAlsoBehindBio])
}

fn is_used(name: &str, uses: &[Use]) -> bool {
    HOOKS.iter().any(|(known, purpose)| *known == name && uses.contains(purpose))
}

/// Whether `name` is a function that is entered with the connection as argument 0 whenever data is read or written
/// (behind a BIO filter only `SSL_get_error` is), or when the connection ends.
pub fn is_data_path(name: &str) -> bool {
    is_used(name, &[Use::Data, Use::DataAlsoBehindBio, Use::AlsoBehindBio])
        || INTERNAL.contains(&name)
}

/// Whether the connection ends with a call of the function: its socket may be closed by then.
pub fn ends_it(name: &str) -> bool {
    matches!(name, "SSL_shutdown" | "SSL_free")
}

/// Names and addresses.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    found: Vec<(&'static str, u64)>,
    by_symbol: bool,
}

impl Functions {
    /// Looks among the exports; in a file that exports none of the names, among its local symbols.
    pub fn find(
        window: &mut Window<'_>,
        elf: &Elf,
        dynamic: &Dynamic,
        symbols: Option<SymbolTable>,
    ) -> Self {
        let names: Vec<&'static str> = hooks().chain(accessors::names()).collect();
        let mut addresses: Vec<Option<u64>> =
            names.iter().map(|name| dynamic.export(window, elf, name)).collect();
        let by_symbol = addresses.iter().all(Option::is_none);
        if by_symbol && let Some(symbols) = symbols {
            addresses = symbols.addresses(window, &names);
        }
        let known = names.into_iter().zip(addresses);
        let found = known.filter_map(|(name, address)| Some((name, address?))).collect();
        Self { found, by_symbol }
    }

    /// The address of a function.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.found.iter().find(|(known, _)| *known == name).map(|&(_, address)| address)
    }

    /// The functions that the walk may be hooked to.
    pub fn hooks(&self, elf: &Elf) -> Vec<Hook> {
        let found_by = if self.by_symbol { FoundBy::Symbol } else { FoundBy::Export };
        let hook = |name| {
            let address = self.address(name)?;
            let file_offset = elf.file_offset(address)?;
            let in_code = elf.segment_at(address).is_some_and(|segment| segment.executable);
            in_code.then_some(Hook {
                name,
                found_by,
                address,
                file_offset,
                probe_offset: file_offset,
            })
        };
        hooks().filter_map(hook).collect()
    }
}

fn hooks() -> impl Iterator<Item = &'static str> {
    HOOKS.iter().map(|&(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_path() {
        for name in ["SSL_read", "SSL_write_ex", "ssl_read_impl", "SSL_shutdown", "SSL_free"] {
            assert!(is_data_path(name), "{name}");
        }
        for name in ["SSL_do_handshake", "SSL_connect", "SSL_rea", ""] {
            assert!(!is_data_path(name), "{name}");
        }
    }
}
