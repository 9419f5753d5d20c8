//! How people write an image: a name, an `image:` URI, a name with a digest, or an id.

use std::str::FromStr;

/// An image, and perhaps one version of it.
///
/// Nothing is checked here but the shape: the server knows which images there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// An id, or `[registry/]path`: what the server's `image` fields take.
    pub(crate) image: String,
    pub(crate) version: Version,
    /// The workspace that a long URI names; the image must be in it.
    pub(crate) workspace: Option<String>,
}

/// Which content of an image is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Version {
    /// What the primary tag points to.
    Primary,
    Tag(String),
    Digest(String),
}

impl Version {
    /// As the server's `reference` fields take it.
    pub(crate) fn to_field(&self) -> String {
        match self {
            Self::Primary => String::new(),
            Self::Tag(text) | Self::Digest(text) => text.clone(),
        }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("an image is a name such as `team/tool`, an `image:` address, or an id")]
    Nameless,
    #[error("a long address is `image://CLUSTER/WORKSPACE/NAME[:TAG]`")]
    Address,
}

impl FromStr for Reference {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (rest, workspace) = match text.strip_prefix("image:") {
            Some(uri) => match uri.strip_prefix("//") {
                Some(long) => long_uri(long)?,
                None => (uri, None),
            },
            None => (text, None),
        };
        let (image, version) = versioned(rest);
        if image.is_empty() {
            return Err(Malformed::Nameless);
        }
        Ok(Self {
            image,
            version,
            workspace,
        })
    }
}

/// `CLUSTER/WORKSPACE/NAME`. A server answers for one cluster only, so its name decides nothing here.
fn long_uri(text: &str) -> Result<(&str, Option<String>), Malformed> {
    let (_cluster, rest) = text.split_once('/').ok_or(Malformed::Address)?;
    let (workspace, name) = rest.split_once('/').ok_or(Malformed::Address)?;
    if workspace.is_empty() {
        return Err(Malformed::Address);
    }
    Ok((name, Some(workspace.to_owned())))
}

fn versioned(text: &str) -> (String, Version) {
    if let Some((name, digest)) = text.split_once('@') {
        // A tag beside a digest says nothing more: Docker reads it the same way.
        return (versioned(name).0, Version::Digest(digest.to_owned()));
    }
    match text.rsplit_once(':') {
        // In `host:5000/path` the colon belongs to the host.
        Some((name, tag)) if !tag.contains('/') => (name.to_owned(), Version::Tag(tag.to_owned())),
        _ => (text.to_owned(), Version::Primary),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(text: &str) -> (String, Version, Option<String>) {
        let reference = text.parse::<Reference>().unwrap();
        (reference.image, reference.version, reference.workspace)
    }

    fn tag(text: &str) -> Version {
        Version::Tag(text.to_owned())
    }

    // covers R60, R119
    #[test]
    fn a_name_may_have_a_registry_a_tag_and_a_digest() {
        let digest = Version::Digest(DIGEST.to_owned());
        for (text, image, version) in [
            ("tool", "tool", Version::Primary),
            ("team/tool:1.2", "team/tool", tag("1.2")),
            ("localhost:5000/tool", "localhost:5000/tool", Version::Primary),
            ("localhost:5000/team/tool:1", "localhost:5000/team/tool", tag("1")),
            (&format!("team/tool@{DIGEST}"), "team/tool", digest.clone()),
            (
                &format!("localhost:5000/tool:1@{DIGEST}"),
                "localhost:5000/tool",
                digest,
            ),
        ] {
            assert_eq!(read(text), (image.to_owned(), version, None), "{text}");
        }
    }

    // covers R119
    #[test]
    fn a_short_uri_is_a_name_and_a_long_one_names_the_workspace() {
        assert_eq!(read("image:team/tool:1"), ("team/tool".to_owned(), tag("1"), None));
        assert_eq!(read("image:tool"), ("tool".to_owned(), Version::Primary, None));
        let long = ("team/tool".to_owned(), tag("1"), Some("ws1".to_owned()));
        assert_eq!(read("image://home/ws1/team/tool:1"), long);
    }

    #[test]
    fn an_id_is_taken_as_it_is() {
        let id = "img_01J00000000000000000000000";
        assert_eq!(read(id), (id.to_owned(), Version::Primary, None));
        assert_eq!(read(&format!("{id}:1")), (id.to_owned(), tag("1"), None));
    }

    #[test]
    fn what_names_no_image_is_refused() {
        for (text, refusal) in [
            ("", Malformed::Nameless),
            ("image:", Malformed::Nameless),
            (":1", Malformed::Nameless),
            ("image://home/ws1/", Malformed::Nameless),
            ("image://home", Malformed::Address),
            ("image://home/tool", Malformed::Address),
            ("image://home//tool", Malformed::Address),
        ] {
            assert_eq!(text.parse::<Reference>(), Err(refusal), "{text}");
        }
    }
}
