//! Where a process runs: its container, its pod, or its unit of systemd.

use std::fmt;

use globset::{Glob, GlobMatcher};

use crate::text::Foreign;

/// Digits of an id that are shown where room is short, as docker does.
const SHORT: usize = 12;
/// Digits of a container's id: a SHA-256.
pub const ID_DIGITS: usize = 64;

/// What the paths of a process's control groups say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// `docker`, `containerd`, `podman`; `None` where no runtime is known by the path.
    pub runtime: Option<&'static str>,
    /// The id of the container, of 64 hexadecimal digits, or its name, for LXC and systemd-nspawn.
    pub id: Option<Foreign>,
    /// The pod of Kubernetes.
    pub pod: Option<Pod>,
    /// The unit of systemd: `nginx.service`. In a container, one that runs inside of it.
    pub unit: Option<Foreign>,
    /// The path as we see it, when it leads out of our own cgroup namespace and says nothing of the above.
    pub outside: Option<Foreign>,
}

/// A pod of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its UID.
    pub uid: Foreign,
    /// `guaranteed`, `burstable` or `besteffort`.
    pub qos: &'static str,
}

impl Container {
    /// Whether the paths say nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `docker 0123456789ab`, `nginx.service`: what tells it from others, in a few columns. Safe to show.
    pub fn short(&self) -> String {
        let id = self.id.as_ref().map(|id| match is_long_id(id.raw()) {
            true => id.raw().chars().take(SHORT).collect(),
            false => id.to_string(),
        });
        match (&id, &self.unit, &self.outside) {
            (Some(id), ..) => {
                [self.runtime, Some(id)].into_iter().flatten().collect::<Vec<_>>().join(" ")
            }
            (None, Some(unit), _) => unit.to_string(),
            (None, None, Some(path)) => path.to_string(),
            (None, None, None) => self.pod.as_ref().map_or_else(String::new, |pod| pod.to_string()),
        }
    }

    /// The texts in which a filter or a search looks: id, unit, pod, runtime.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let foreign = [&self.id, &self.unit].into_iter().flatten().map(Foreign::raw);
        foreign.chain(self.pod.as_ref().map(|pod| pod.uid.raw())).chain(self.runtime)
    }
}

/// All of it: `docker 0123…cdef, pod 1f2e…, burstable, nginx.service`. Safe to show.
impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.id.as_ref().map(|id| match self.runtime {
            Some(runtime) => format!("{runtime} {id}"),
            None => id.to_string(),
        });
        let pod = self.pod.as_ref().map(ToString::to_string);
        let unit = self.unit.as_ref().map(ToString::to_string);
        let outside = self.outside.as_ref();
        let outside = outside.map(|path| format!("{path}, outside of our cgroup namespace"));
        let parts: Vec<String> = [name, pod, unit, outside].into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}, {}", self.uid, self.qos)
    }
}

/// Whether a text is the id that container runtimes give: 64 hexadecimal digits in lower case.
pub fn is_long_id(text: &str) -> bool {
    text.len() == ID_DIGITS && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// What `--container` and `--exclude-container` take: a glob, or the first digits of an id.
#[derive(Clone, Debug)]
pub struct ContainerPattern {
    glob: GlobMatcher,
    /// The text, when it may be the start of an id.
    digits: Option<Box<str>>,
}

impl ContainerPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// When it is no glob.
    pub fn new(text: &str) -> Result<Self, globset::Error> {
        let digits = (!text.is_empty() && is_hex(text)).then(|| text.into());
        Ok(Self { glob: Glob::new(text)?.compile_matcher(), digits })
    }

    /// Whether this is one of those meant: by the id or its first digits, by the pod, or by the unit, for which
    /// `nginx` is enough where it is `nginx.service`.
    pub fn is_match(&self, container: &Container) -> bool {
        let id = container.id.as_ref().map(Foreign::raw);
        let begins = |id: &str| {
            is_long_id(id) && self.digits.as_ref().is_some_and(|digits| id.starts_with(&**digits))
        };
        let unit = container.unit.as_ref().map(Foreign::raw);
        let stem = unit.and_then(|unit| Some(unit.rsplit_once('.')?.0));
        let pod = container.pod.as_ref().map(|pod| pod.uid.raw());
        id.is_some_and(begins)
            || [id, unit, stem, pod].into_iter().flatten().any(|text| self.glob.is_match(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docker() -> Container {
        let id = "0123456789abcdef".repeat(4);
        Container { runtime: Some("docker"), id: Some(id.as_str().into()), ..Container::default() }
    }

    fn unit(name: &str) -> Container {
        Container { unit: Some(name.into()), ..Container::default() }
    }

    fn is_match(pattern: &str, container: &Container) -> bool {
        ContainerPattern::new(pattern).unwrap().is_match(container)
    }

    #[test]
    fn an_id_is_matched_by_its_first_digits_and_by_globs() {
        for pattern in ["0", "0123456789ab", "0123*", "*cdef", docker().id.unwrap().raw()] {
            assert!(is_match(pattern, &docker()), "{pattern}");
        }
        for pattern in ["1", "0123456789AB", "", "docker", "123456789abc", "0123?"] {
            assert!(!is_match(pattern, &docker()), "{pattern}");
        }
        assert!(ContainerPattern::new("a[").is_err());
    }

    #[test]
    fn names_are_matched_as_a_whole() {
        let lxc =
            Container { runtime: Some("lxc"), id: Some("abc".into()), ..Container::default() };
        assert!(is_match("abc", &lxc) && is_match("a*", &lxc));
        assert!(!is_match("ab", &lxc), "a name has no first digits");
        for pattern in ["nginx.service", "nginx", "ngin?", "*.service"] {
            assert!(is_match(pattern, &unit("nginx.service")), "{pattern}");
        }
        assert!(!is_match("ngin", &unit("nginx.service")));
        let pod = Pod { uid: "7f-2".into(), qos: "burstable" };
        assert!(is_match("7f-*", &Container { pod: Some(pod), ..docker() }));
        assert!(!is_match("*", &Container::default()));
    }

    #[test]
    fn what_is_shown_is_harmless() {
        assert_eq!(docker().short(), "docker 0123456789ab");
        assert_eq!(unit("a\x1b[2J\n.service").short(), "a\\x1b[2J\\x0a.service");
        let pod = Pod { uid: "7f\x07".into(), qos: "burstable" };
        let all = Container { pod: Some(pod), unit: Some("x.service".into()), ..docker() };
        let id = docker().id.unwrap();
        assert_eq!(all.to_string(), format!("docker {id}, pod 7f\\x07, burstable, x.service"));
        assert!(Container::default().is_empty() && Container::default().short().is_empty());
    }
}
