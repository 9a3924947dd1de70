use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::super::sample::{CLIENT_RANDOM, EXPORTER, FUNCTION, PASSES_RANDOM, Sample};
use super::*;
use crate::target::follow::looking::open_regular;

/// A file with a tap, whose function is `moved` bytes further on.
fn sample(moved: u64) -> Vec<u8> {
    let function = FUNCTION + moved;
    let mut sample = Sample::new();
    sample.lea_rsi(CLIENT_RANDOM).call(function).raw(&[0xc3]);
    sample.lea_rsi(EXPORTER).call(function).raw(&[0xc3]);
    sample.at(function).raw(&PASSES_RANDOM);
    sample.bytes()
}

fn add(registry: &mut Registry, path: &Path) -> Option<ImageId> {
    registry.add(path, open_regular(path).unwrap(), None).unwrap()
}

#[test]
fn a_file_whose_times_change_stays_the_same_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libssl.so");
    fs::write(&path, sample(0)).unwrap();
    let mut registry = Registry::default();
    let first = add(&mut registry, &path).unwrap();
    let file = open_regular(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    assert_ne!(registry.images[&first].identity, FileIdentity::of(&file.metadata().unwrap()));
    assert_eq!(add(&mut registry, &path), Some(first));
    // Deleted, and still mapped by somebody: another change of the inode.
    fs::remove_file(&path).unwrap();
    assert_eq!(registry.add(&path, file, None).unwrap(), Some(first));
    assert_eq!((registry.images.len(), registry.by_identity.len()), (1, 1));
}

#[test]
fn a_file_that_was_overwritten_is_another_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libssl.so");
    fs::write(&path, sample(0)).unwrap();
    let mut registry = Registry::default();
    let first = registry.add_named(&path).unwrap();
    fs::write(&path, sample(16)).unwrap();
    let second = add(&mut registry, &path).unwrap();
    assert_ne!(first, second);
    // Until somebody has the new one mapped, both may be in use.
    registry.scan = 1;
    registry.drop_overwritten();
    assert_eq!(registry.images.len(), 2);
    registry.images.get_mut(&second).unwrap().last_mapped = 1;
    registry.drop_overwritten();
    assert_eq!(registry.images.keys().collect::<Vec<_>>(), [&second]);
    assert!(registry.images[&second].image.named, "it was named by its path");
    assert!(registry.files.get(first).is_none() && registry.files.get(second).is_some());
}

#[test]
fn the_image_that_was_unmapped_for_the_longest_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..5).map(|n| folder.path().join(format!("{n}.so"))).collect();
    for path in &paths {
        fs::write(path, sample(0)).unwrap();
    }
    let mut registry = Registry { limit: 3, scan: 1, ..Registry::default() };
    let named = registry.add_named(&paths[0]).unwrap();
    let old = add(&mut registry, &paths[1]).unwrap();
    let used = add(&mut registry, &paths[2]).unwrap();
    registry.scan = 3;
    registry.images.get_mut(&used).unwrap().last_mapped = 2;
    let new = add(&mut registry, &paths[3]).unwrap();
    assert!(![named, old, used].contains(&new), "an id is never used again");
    assert_eq!(registry.images.keys().copied().collect::<Vec<_>>(), [named, used, new]);
    // What is in use stays, and the user learns of it once.
    assert_eq!(add(&mut registry, &paths[4]), None);
    assert_eq!(add(&mut registry, &paths[4]), None);
    assert_eq!(registry.warnings.len(), 1, "{:?}", registry.warnings);
}

#[test]
fn what_is_left_out_is_that_file_and_not_another_ones_path() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("libssl.so"), folder.path().join("other"));
    fs::write(&ours, sample(0)).unwrap();
    fs::write(&theirs, sample(1)).unwrap();
    let mut registry = Registry::default();
    registry.exclude(std::slice::from_ref(&ours));
    let is_excluded = |registry: &mut Registry, shown: &Path, file: &Path| {
        let id = registry.add(shown, open_regular(file).unwrap(), None).unwrap().unwrap();
        let excluded = registry.images[&id].image.excluded;
        registry.remove(id);
        excluded
    };
    assert!(is_excluded(&mut registry, &ours, &ours));
    assert!(is_excluded(&mut registry, &theirs, &ours), "by another name");
    assert!(!is_excluded(&mut registry, &ours, &theirs), "in another root");
    // Replaced by another one.
    fs::rename(&theirs, &ours).unwrap();
    assert!(is_excluded(&mut registry, &ours, &ours));
    // Not there for us.
    fs::rename(&ours, &theirs).unwrap();
    assert!(is_excluded(&mut registry, &ours, &theirs));
}
