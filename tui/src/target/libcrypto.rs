//! The version of an OpenSSL whose libssl does not say it: its libcrypto does.

use std::path::Path;
use std::sync::Arc;

use super::follow::looking::open_regular;
use super::library;
use super::plan::ImagePlan;

/// Files of a folder that are looked at for a libcrypto.
const NEIGHBOURS: usize = 20_000;

/// Whether the version of the library at `path` has to be looked for in a libcrypto.
pub fn is_needed(plan: &ImagePlan, path: &Path) -> bool {
    let is_unknown = plan.library.as_ref().is_some_and(|library| {
        matches!(library.name, "OpenSSL" | "quictls") && library.version.is_none()
    });
    is_unknown && path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so"))
}

/// Adds the version to the plan of an OpenSSL libssl that does not say it: its libcrypto does, which is built
/// from the same sources and stands beside it. Where several do, none is believed.
pub fn with_version(plan: Arc<ImagePlan>, path: &Path, folder: Option<&Path>) -> Arc<ImagePlan> {
    let needed = is_needed(&plan, path);
    let (true, Some(folder), Some(name)) = (needed, folder, path.file_name()) else { return plan };
    let name = name.to_string_lossy();
    let Some((_, suffix)) = name.split_once(".so") else { return plan };
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(NEIGHBOURS).flatten();
    let mut libcryptos = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcrypto")
            && name.split_once(".so").is_some_and(|(_, other)| other == suffix)
    });
    let (Some(libcrypto), None) = (libcryptos.next(), libcryptos.next()) else { return plan };
    let file = open_regular(&libcrypto.path()).ok();
    let version = file.and_then(|file| library::openssl_version(&file));
    let mut plan = Arc::unwrap_or_clone(plan);
    if let Some(library) = &mut plan.library {
        library.version = version;
    }
    plan.prove_layout();
    Arc::new(plan)
}
