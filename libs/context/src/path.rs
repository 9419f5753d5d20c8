//! Which names may stand in a context: relative, normal, of a length that file systems take.

use super::ContextRefused;

/// Longest name between two slashes, and longest path: what Linux file systems take.
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;

/// Normalises the name of the `entry`-th entry; `None` is the root itself, which `tar c .` writes first.
pub(super) fn entry_path(entry: u64, raw: &[u8]) -> Result<Option<String>, ContextRefused> {
    let shown = || String::from_utf8_lossy(raw).into_owned();
    let text = std::str::from_utf8(raw).map_err(|_| ContextRefused::Name { entry, path: shown() })?;
    if text.contains('\0') || text.len() > PATH_MAX {
        return Err(ContextRefused::Name { entry, path: shown() });
    }
    if text.starts_with('/') {
        return Err(ContextRefused::PathEscapes { entry, path: shown() });
    }
    let mut path = String::with_capacity(text.len());
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Err(ContextRefused::PathEscapes { entry, path: shown() });
        }
        if part.len() > NAME_MAX {
            return Err(ContextRefused::Name { entry, path: shown() });
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part);
    }
    Ok((!path.is_empty()).then_some(path))
}

/// Whether a symbolic link at `path` can only lead to something inside the context.
///
/// `..` counts only at the beginning of the target: after a name it would start from wherever that name
/// leads, and the name may itself be a link. With that rule and real directories above every entry, no
/// chain of links leaves the context either.
pub fn link_stays_inside(path: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.contains('\0') {
        return false;
    }
    let depth = path.matches('/').count();
    let parts: Vec<&str> = target
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let ups = parts.iter().take_while(|part| **part == "..").count();
    ups <= depth && !parts[ups..].contains(&"..")
}

/// The directories above `path`, from the root down: `a/b/c` has `a` and `a/b`.
pub(crate) fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_relative_and_normal() {
        let path = |raw: &str| entry_path(3, raw.as_bytes());
        assert_eq!(path("a/b").unwrap().as_deref(), Some("a/b"));
        assert_eq!(path("./a//b/").unwrap().as_deref(), Some("a/b"));
        assert_eq!(path("./").unwrap(), None);
        for bad in [
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/..",
            &"n".repeat(256),
            &"a/".repeat(2100),
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
        assert!(entry_path(3, b"latin-\xe9").is_err());
        assert_eq!(
            path("../../etc/x").unwrap_err().to_string(),
            "entry 3 '../../etc/x' leaves the context; give it a relative path without '..'"
        );
    }

    #[test]
    fn links_stay_inside_whatever_they_pass() {
        assert!(link_stays_inside("d/l", "../a"));
        assert!(link_stays_inside("l", "./a/b"));
        assert!(!link_stays_inside("l", "../a"));
        assert!(!link_stays_inside("l", "/etc"));
        // `d/l -> ..` leads to the root, so one more step up would be outside
        assert!(link_stays_inside("d/l", ".."));
        assert!(!link_stays_inside("z", "d/l/.."));
    }

    #[test]
    fn parents_are_the_directories_above() {
        assert_eq!(parents("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(parents("a").count(), 0);
    }
}
