//! Which names may stand in a context: relative, normal, of a length that file systems take.

use super::ContextRefused;

/// Between two slashes, and in all: what Linux takes.
const NAME_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 4_096;

/// An entry's name in its normal form; `None` is the root itself, with which `tar c .` begins.
pub(super) fn entry(number: u64, raw: &[u8]) -> Result<Option<String>, ContextRefused> {
    let path = || String::from_utf8_lossy(raw).into_owned();
    let malformed = || ContextRefused::Name {
        entry: number,
        path: path(),
    };
    let text = std::str::from_utf8(raw).map_err(|_| malformed())?;
    let parts = || text.split('/').filter(|part| !matches!(*part, "" | "."));
    if text.starts_with('/') || parts().any(|part| part == "..") {
        return Err(ContextRefused::PathEscapes {
            entry: number,
            path: path(),
        });
    }
    if text.len() > PATH_BYTES_MAX || text.contains('\0') || parts().any(|part| part.len() > NAME_BYTES_MAX) {
        return Err(malformed());
    }
    let parts: Vec<&str> = parts().collect();
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

/// Where a symbolic link leads, which is inside whatever other links there are.
///
/// `..` counts at the beginning only: after a name it starts from where that name leads, and the name may be a link
/// itself. With that, and real directories above every entry, no chain of links gets out.
pub(super) fn link(path: &str, raw: &[u8]) -> Result<String, ContextRefused> {
    let escapes = || ContextRefused::LinkEscapes {
        path: path.to_owned(),
        target: String::from_utf8_lossy(raw).into_owned(),
    };
    let target = std::str::from_utf8(raw).map_err(|_| escapes())?;
    let depth = path.matches('/').count();
    let parts: Vec<&str> = target.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let ups = parts.iter().take_while(|part| **part == "..").count();
    let is_plain = !target.is_empty() && !target.starts_with('/') && !target.contains('\0');
    if !is_plain || target.len() > PATH_BYTES_MAX || ups > depth || parts[ups..].contains(&"..") {
        return Err(escapes());
    }
    Ok(target.to_owned())
}

/// The directories above a path, from the root down: `a/b/c` has `a` and `a/b`.
pub(super) fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_relative_and_normal() {
        let name = |raw: &str| entry(3, raw.as_bytes());
        assert_eq!(name("./a//b/").unwrap().as_deref(), Some("a/b"));
        assert_eq!(name("a/.../b").unwrap().as_deref(), Some("a/.../b"));
        assert_eq!(name("./").unwrap(), None);
        for bad in ["/etc/passwd", "../x", "a/../../x", "a/.."] {
            assert_eq!(name(bad).unwrap_err().reason(), "CTX_PATH_ESCAPES", "{bad}");
        }
        assert_eq!(
            name("../../etc/x").unwrap_err().to_string(),
            "entry 3 `../../etc/x` leaves the context: give it a relative path without `..`"
        );
        for bad in [&"n".repeat(256), &"a/".repeat(2_100)] {
            assert_eq!(name(bad).unwrap_err().reason(), "CTX_TAR_MALFORMED", "{bad}");
        }
        assert!(entry(3, b"latin-\xe9").is_err());
    }

    #[test]
    fn links_stay_inside_whatever_they_pass() {
        let leads = |path, target: &str| link(path, target.as_bytes()).is_ok();
        assert!(leads("d/l", "../a"));
        assert!(leads("l", "./a/b"));
        assert!(!leads("l", "../a"));
        assert!(!leads("l", "/etc"));
        assert!(!leads("l", ""));
        // `d/l -> ..` leads to the root, so one more step up would be outside.
        assert!(leads("d/l", ".."));
        assert!(!leads("z", "d/l/.."));
    }
}
