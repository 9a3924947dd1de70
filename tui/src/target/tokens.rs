//! The softoken that has the keys of an NSS library: another file, which is ready before a process maps it, for that
//! comes late, with the library's first use.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::cache::PlanCache;
use super::follow::looking::{Found, identify, open_regular};
use super::follow::watch::Watch;
use super::plan::ImagePlan;

/// Where NSS has its softoken, seen from libssl3: Fedora and Debian 12, Debian before.
const TOKENS: [&str; 2] = ["libsoftokn3.so", "nss/libsoftokn3.so"];

/// Why a library without key logs is not tapped.
const NO_TOKEN: &str = "no tap: no key log built in, and the libsoftokn3.so that has its keys is not beside it, or the \
                        layout of its objects is not known";

/// The plan of the library at `path`, and the softokens of its version that are beside it, in `folder`. Without any its
/// taps are worth nothing. Where it is not known what is beside it, nothing is changed.
pub fn with_tokens(
    mut plan: Arc<ImagePlan>,
    path: &Path,
    folder: Option<&Path>,
    plans: &Mutex<PlanCache>,
    watch: Option<&Watch>,
) -> (Arc<ImagePlan>, Vec<(PathBuf, Found)>) {
    let (true, Some(folder)) = (plan.wants_token(), folder) else {
        return (plan, Vec::new());
    };
    let near = path.parent().unwrap_or(Path::new("/"));
    let found: Vec<_> = TOKENS
        .into_iter()
        .filter_map(|name| {
            let path = near.join(name);
            let found = look_at(open_regular(&folder.join(name)).ok()?, &path, plans, watch)?;
            let has_its_keys = found.plan.is_token() && found.plan.library == plan.library;
            has_its_keys.then_some((path, found))
        })
        .collect();
    if found.is_empty() {
        let plan = Arc::make_mut(&mut plan);
        plan.taps.clear();
        plan.reason = NO_TOKEN.to_owned();
    }
    (plan, found)
}

fn look_at(
    file: File,
    path: &Path,
    plans: &Mutex<PlanCache>,
    watch: Option<&Watch>,
) -> Option<Found> {
    let file = Arc::new(file);
    let identity = identify(watch, &file).ok()?;
    let plan = PlanCache::plan_beside(plans, &file, identity, path).ok()?;
    let (used, tokens) = (Arc::clone(&plan), Vec::new());
    Some(Found { file, identity, plan, used, tokens, is_honest: false })
}
