//! The README's key list is the keymap's own. `TLSKEYTOP_UPDATE=1 cargo test --test readme` writes it anew.

use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- keys: generated from the keymap; a test compares -->\n";
const END: &str = "<!-- /keys -->";

#[test]
fn the_key_list_is_the_keymap() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (keys, after) = rest.split_once(END).unwrap();
    let wanted = tlskeytop::keymap::Keymap::default().markdown_table();
    if std::env::var_os("TLSKEYTOP_UPDATE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
    } else {
        assert_eq!(keys, wanted, "run `TLSKEYTOP_UPDATE=1 cargo test --test readme`");
    }
}
