//! From the paths of `/proc/PID/cgroup` (cgroups(7), v1 and v2) to the container, the pod and the unit.

use crate::model::container::{Container, ID_DIGITS, Pod, is_long_id};
use crate::text::Foreign;

/// Where the id or name of a container stands in one part of a path.
struct Pattern {
    /// What is before it.
    prefix: &'static str,
    /// What may be behind it.
    suffix: &'static str,
    what: What,
    runtime: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// 64 hexadecimal digits.
    Id,
    /// A name, as systemd escapes it.
    Name,
}

const fn id(prefix: &'static str, runtime: &'static str) -> Pattern {
    Pattern { prefix, suffix: ".scope", what: What::Id, runtime }
}

const fn name(prefix: &'static str, suffix: &'static str, runtime: &'static str) -> Pattern {
    Pattern { prefix, suffix, what: What::Name, runtime }
}

/// Parts that name a container by themselves; the first that fits counts. The monitors of containers, which run
/// outside of them, have other names (`libpod-conmon-…`, `crio-conmon-…`, `lxc.monitor.…`).
const PARTS: [Pattern; 12] = [
    id("docker-", "docker"),
    id("cri-containerd-", "containerd"),
    id("nerdctl-", "containerd"),
    id("libpod-", "podman"),
    id("crio-", "cri-o"),
    // containerd where it is told of a slice by another cgroup driver: `kubepods-…slice:cri-containerd:ID`.
    id(":cri-containerd:", "containerd"),
    id(":docker:", "docker"),
    name("lxc.payload.", "", "lxc"),
    name("systemd-nspawn@", ".service", "systemd-nspawn"),
    // libvirt registers what it runs in the same way, under these names.
    name("machine-qemu\\x2d", ".scope", "libvirt"),
    name("machine-lxc\\x2d", ".scope", "libvirt"),
    name("machine-", ".scope", "systemd-nspawn"),
];

/// Folders whose children are containers.
const FOLDERS: [(&str, What, &str); 5] = [
    ("docker", What::Id, "docker"),
    ("libpod_parent", What::Id, "podman"),
    ("ecs", What::Id, "docker"),
    ("lxc", What::Name, "lxc"),
    ("lxc.payload", What::Name, "lxc"),
];

/// Classes of pods by what stands in the path; a guaranteed pod has none of the others.
const QOS: [&str; 2] = ["burstable", "besteffort"];
/// Units in which processes run.
const UNITS: [&str; 2] = [".service", ".scope"];

/// What the control groups of a process say, from the text of `/proc/PID/cgroup`. Of several hierarchies the first that
/// names a container counts, else the first that says something. The kernel refuses newlines in their names.
pub fn container(text: &[u8]) -> Option<Container> {
    let text = String::from_utf8_lossy(text);
    let mut best: Option<Container> = None;
    for path in text.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
        let found = of_path(path);
        if found.id.is_some() {
            return Some(found);
        }
        let says_more =
            best.as_ref().is_none_or(|best| best.unit.is_none() && found.unit.is_some());
        if says_more && !found.is_empty() {
            best = Some(found);
        }
    }
    best
}

fn of_path(path: &str) -> Container {
    let mut found = Container::default();
    let mut folder = "";
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if let Some(pod) = pod(part, path) {
            found.pod = Some(pod);
        }
        if let Some((runtime, id)) = named_by(part, folder, found.pod.is_some()) {
            // The innermost one; its unit is only what runs in it.
            found.runtime = runtime.or(found.runtime.filter(|_| found.id.is_none()));
            found.id = Some(id.as_str().into());
            found.unit = None;
        } else if UNITS.iter().any(|unit| part.len() > unit.len() && part.ends_with(unit)) {
            found.unit = Some(part.into());
        }
        folder = part;
    }
    if found.is_empty() && path.starts_with("/..") {
        found.outside = Some(path.into());
    }
    found
}

/// The runtime and the id or name of the container that a part of a path stands for.
fn named_by(part: &str, folder: &str, in_pod: bool) -> Option<(Option<&'static str>, String)> {
    for pattern in &PARTS {
        // `:` may have a slice before it.
        let rest = match pattern.prefix.starts_with(':') {
            true => part.split_once(pattern.prefix).map(|(_, rest)| rest),
            false => part.strip_prefix(pattern.prefix),
        };
        let Some(rest) = rest else { continue };
        let stripped = rest.strip_suffix(pattern.suffix);
        let text = match pattern.what {
            What::Id => Some(stripped.unwrap_or(rest)).filter(|text| is_long_id(text)),
            What::Name => stripped.filter(|text| !text.is_empty()),
        };
        if let Some(text) = text {
            return Some((Some(pattern.runtime), unescaped(text)));
        }
    }
    for (name, what, runtime) in FOLDERS {
        let fits = match what {
            What::Id => is_long_id(part),
            What::Name => true,
        };
        if folder == name && fits {
            return Some((Some(runtime), part.to_owned()));
        }
    }
    // Below a pod, and wherever else nobody says of what it is the id: `/ecs/TASK/ID`, `/default/ID`.
    let runtime = in_pod.then_some("kubernetes");
    long_id(part).map(|id| (runtime, id.to_owned()))
}

/// Hexadecimal digits of the length of an id, with what is before and behind it in the same part.
fn long_id(part: &str) -> Option<&str> {
    part.split(['-', '.', ':', '_'])
        .find(|run| run.len() == ID_DIGITS && is_long_id(run))
        .filter(|_| !part.contains("conmon"))
}

/// The pod of a part such as `pod1f2e…`, `kubepods-burstable-pod1f2e_….slice`; the class may stand above.
fn pod(part: &str, path: &str) -> Option<Pod> {
    if !path.contains("kubepods") {
        return None;
    }
    let part = part.split(':').next()?;
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid =
        part.rsplit_once("-pod").map_or_else(|| part.strip_prefix("pod"), |(_, uid)| Some(uid))?;
    // A UID of 36 characters, or the hash of a static pod's manifest.
    let is_uid = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_');
    if uid.len() < 32 || !uid.bytes().all(is_uid) {
        return None;
    }
    let qos = QOS.into_iter().find(|qos| path.contains(qos)).unwrap_or("guaranteed");
    // systemd has other uses for the hyphen.
    Some(Pod { uid: Foreign::from(uid.replace('_', "-").as_str()), qos })
}

/// A name without systemd's escapes, `\x2d` for a hyphen (systemd-escape(1)). What is no UTF-8 then stays escaped.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = rest.strip_prefix(b"\\x").and_then(|code| code.get(..2));
        let code =
            code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "4a8e7f1b9d0c3e5f6a7b8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b";
    const POD: &str = "8a9b2c1d-3e4f-4a5b-8c7d-9e0f1a2b3c4d";

    /// `runtime id|pod qos|unit`, with `ID` and `POD` for theirs.
    fn read(text: &str) -> String {
        let under = POD.replace('-', "_");
        let text = text.replace("ID", ID).replace("P_D", &under).replace("POD", POD);
        let Some(found) = container(text.as_bytes()) else { return String::new() };
        let id = found.id.map_or_else(String::new, |id| id.raw().replace(ID, "ID"));
        let pod = found.pod.map_or_else(String::new, |pod| {
            format!("{} {}", pod.uid.raw().replace(POD, "POD"), pod.qos)
        });
        let unit = found.unit.map_or_else(String::new, |unit| unit.raw().to_owned());
        let outside = found.outside.map_or_else(String::new, |path| path.raw().to_owned());
        format!("{} {id}|{pod}|{unit}{outside}", found.runtime.unwrap_or("?"))
    }

    /// As they stand on machines of each kind.
    #[test]
    fn containers_are_found_in_the_usual_paths() {
        for (path, expected) in [
            ("0::/system.slice/docker-ID.scope", "docker ID||"),
            ("12:cpu,cpuacct:/docker/ID", "docker ID||"),
            ("12:cpu:/docker/ID/docker/ID", "docker ID||"),
            ("0::/system.slice/docker-ID.scope/init.scope", "docker ID||init.scope"),
            ("1:name=systemd:/docker/ID/system.slice/nginx.service", "docker ID||nginx.service"),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
                "docker ID||",
            ),
            ("0::/machine.slice/libpod-ID.scope", "podman ID||"),
            ("0::/machine.slice/libpod-ID.scope/container", "podman ID||"),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
                "podman ID||",
            ),
            ("8:pids:/libpod_parent/libpod-ID", "podman ID||"),
            ("0::/machine.slice/libpod-conmon-ID.scope", "? ||libpod-conmon-ID.scope"),
            ("0::/system.slice/nerdctl-ID.scope", "containerd ID||"),
            ("0::/default/ID", "? ID||"),
            ("7:cpuset:/ecs/0f3c/ID", "? ID||"),
            ("5:devices:/lxc/web-1", "lxc web-1||"),
            ("0::/lxc.payload.web/system.slice/cron.service", "lxc web||cron.service"),
            ("0::/lxc.payload/web", "lxc web||"),
            ("0::/lxc.monitor.web", ""),
            ("0::/machine.slice/machine-debian\\x2d12.scope/payload", "systemd-nspawn debian-12||"),
            (
                "0::/machine.slice/systemd-nspawn@web.service/payload/init.scope",
                "systemd-nspawn web||init.scope",
            ),
            (
                "0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator",
                "libvirt 1-vm||",
            ),
        ] {
            assert_eq!(
                read(path),
                expected.replace("-ID.scope", &format!("-{ID}.scope")),
                "{path}"
            );
        }
    }

    #[test]
    fn pods_have_a_uid_and_a_class() {
        for (path, expected) in [
            (
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podP_D.slice/cri-containerd-ID.scope",
                "containerd ID|POD burstable|",
            ),
            ("0::/kubepods.slice/kubepods-podP_D.slice/crio-ID.scope", "cri-o ID|POD guaranteed|"),
            (
                "0::/kubepods.slice/kubepods-podP_D.slice/crio-conmon-ID.scope",
                "? |POD guaranteed|crio-conmon-ID.scope",
            ),
            ("11:memory:/kubepods/besteffort/podPOD/ID", "kubernetes ID|POD besteffort|"),
            ("11:memory:/kubepods/podPOD/ID", "kubernetes ID|POD guaranteed|"),
            (
                "4:cpu:/system.slice/containerd.service/kubepods-burstable-podP_D.slice:cri-containerd:ID",
                "containerd ID|POD burstable|",
            ),
            (
                "0::/../../kubepods-burstable-podP_D.slice/docker-ID.scope/x.service",
                "docker ID|POD burstable|x.service",
            ),
            ("0::/podPOD/ID", "? ID||"),
        ] {
            assert_eq!(
                read(path),
                expected.replace("-ID.scope", &format!("-{ID}.scope")),
                "{path}"
            );
        }
    }

    #[test]
    fn units_are_those_in_which_it_runs() {
        for (path, expected) in [
            ("0::/system.slice/nginx.service", "? ||nginx.service"),
            ("0::/system.slice/nginx.service/worker", "? ||nginx.service"),
            ("0::/system.slice/system-getty.slice/getty@tty1.service", "? ||getty@tty1.service"),
            ("0::/user.slice/user-1000.slice/session-3.scope", "? ||session-3.scope"),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-12.scope",
                "? ||app-firefox-12.scope",
            ),
            ("0::/init.scope", "? ||init.scope"),
            ("0::/user.slice", ""),
            ("0::/", ""),
            ("0::/.service/.scope", ""),
        ] {
            assert_eq!(read(path), expected, "{path}");
        }
    }

    #[test]
    fn the_hierarchy_that_knows_most_counts() {
        let v1 = "12:cpu:/\n4:memory:/process_api/0b725a6d74d6ae3a94e441dd4e81f394\n1:name=systemd:/system.slice/x.service\n0::/\n";
        assert_eq!(read(v1), "? ||x.service");
        let v1 = format!("1:name=systemd:/system.slice/x.service\n3:cpu:/docker/{ID}\n");
        assert_eq!(read(&v1), "docker ID||");
        assert_eq!(read("0::/"), "");
        assert_eq!(read(""), "");
    }

    #[test]
    fn out_of_our_namespace_what_is_seen_is_said() {
        assert_eq!(read("0::/../../../x"), "? ||/../../../x");
        assert_eq!(read("0::/../docker-ID.scope"), "docker ID||");
    }

    #[test]
    fn what_only_looks_like_an_id_is_none() {
        let long = format!("0::/docker-{ID}a.scope");
        assert_eq!(read(&long), format!("? ||docker-{ID}a.scope"));
        assert_eq!(read("0::/docker-0123.scope"), "? ||docker-0123.scope");
        assert_eq!(read("0::/machine-.scope"), "? ||machine-.scope");
        let upper = format!("0::/docker/{}", ID.to_uppercase());
        assert_eq!(read(&upper), "");
        assert_eq!(unescaped("a\\x2db\\xzz\\x"), "a-b\\xzz\\x");
        assert_eq!(unescaped("\\xff"), "\\xff");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = container(&bytes);
        }

        #[test]
        fn parts_in_any_order_are_read_without_a_panic(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("kubepods"), Just("docker"), Just("pod"), Just("-pod"), Just(".slice"), Just(":"),
                    Just("lxc"), Just("machine-"), Just(".scope"), Just("\\x"), Just("é"), Just("/"), Just(ID),
                ],
                0..12,
            ),
        ) {
            let shown = container(format!("0::/{}", parts.concat()).as_bytes());
            prop_assert!(shown.is_none_or(|found| !found.is_empty()));
        }
    }
}
