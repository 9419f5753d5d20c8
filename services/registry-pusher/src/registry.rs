//! The cluster's own registry, over its HTTP interface.
//!
//! A manifest goes to the registry byte for byte as it came from there: its digest is its identity.

mod errors;
mod manifest;
#[cfg(test)]
mod tests;

pub(crate) use errors::RegistryError;
pub(crate) use manifest::{Descriptor, Image, Manifest};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use errors::{failed, found, odd};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use manifest::{INDEX, MANIFESTS};
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    secrets::RegistryAuth,
};
use std::time::Duration;
use tokio::time::sleep;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the registry may be silent in the middle of an answer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Blobs that are mounted at the same time.
const MOUNTS: usize = 8;
const PAUSES: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
];
/// Tags per page of a list.
const PAGE: usize = 500;
const PROBE_BYTES: usize = 1024 * 1024;
const CONFIG_BYTES_MAX: i64 = 16 * 1024 * 1024;

/// A tag, or a digest.
fn is_digest(text: &str) -> bool {
    text.contains(':')
}

#[derive(Clone)]
pub(crate) struct Registry {
    client: Client,
    /// For the one thing that the client can't: deleting.
    http: reqwest::Client,
    url: String,
    host: String,
}

impl Registry {
    /// `url` is where this process reaches it: plain http only if it says so.
    pub(crate) fn open(url: &str) -> anyhow::Result<Self> {
        let (scheme, host) = url
            .split_once("://")
            .context("registry.url needs a scheme, such as http://host:port")?;
        ensure!(
            matches!(scheme, "http" | "https"),
            "registry.url begins with http:// or https://, not {scheme}://"
        );
        let host = host.trim_end_matches('/').to_owned();
        let config = ClientConfig {
            protocol: ClientProtocol::HttpsExcept(if scheme == "http" {
                vec![host.clone()]
            } else {
                Vec::new()
            }),
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(IDLE_TIMEOUT),
            ..ClientConfig::default()
        };
        Ok(Self {
            client: Client::try_from(config).context("the registry client can't be made")?,
            http: reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(IDLE_TIMEOUT)
                .build()?,
            url: format!("{scheme}://{host}"),
            host,
        })
    }

    fn reference(&self, path: &str, tag_or_digest: &str) -> Reference {
        let new = if is_digest(tag_or_digest) {
            Reference::with_digest
        } else {
            Reference::with_tag
        };
        new(self.host.clone(), path.to_owned(), tag_or_digest.to_owned())
    }

    /// The digest under a tag, or of a digest that is there.
    pub(crate) async fn digest(&self, path: &str, tag_or_digest: &str) -> Result<Option<String>, RegistryError> {
        let reference = self.reference(path, tag_or_digest);
        found(
            self.client
                .fetch_manifest_digest(&reference, &RegistryAuth::Anonymous)
                .await
                .map_err(failed(&reference)),
        )
    }

    /// Fetches a manifest; its bytes were checked against its digest.
    ///
    /// It asks again at once: docker-registry 2.8 writes the link of a manifest anew in place while that gets another
    /// tag, and whoever reads it in that moment gets a 500.
    pub(crate) async fn manifest(&self, path: &str, tag_or_digest: &str) -> Result<Manifest, RegistryError> {
        for pause in PAUSES {
            match self.manifest_now(path, tag_or_digest).await {
                Err(RegistryError::Unreachable(_)) => sleep(pause).await,
                answer => return answer,
            }
        }
        self.manifest_now(path, tag_or_digest).await
    }

    async fn manifest_now(&self, path: &str, tag_or_digest: &str) -> Result<Manifest, RegistryError> {
        let reference = self.reference(path, tag_or_digest);
        let (bytes, digest) = self
            .client
            .pull_manifest_raw(&reference, &RegistryAuth::Anonymous, &MANIFESTS)
            .await
            .map_err(failed(&reference))?;
        let parsed = serde_json::from_slice(&bytes).map_err(|error| RegistryError::Odd(error.into()))?;
        Ok(Manifest { digest, bytes, parsed })
    }

    /// An image manifest, or that of the first platform of an index, and the digest of what was asked for.
    async fn image_manifest(&self, path: &str, tag_or_digest: &str) -> Result<(String, Manifest), RegistryError> {
        let manifest = self.manifest(path, tag_or_digest).await?;
        let digest = manifest.digest.clone();
        match manifest.platform() {
            Some(platform) => Ok((digest, self.manifest(path, &platform.digest).await?)),
            None => Ok((digest, manifest)),
        }
    }

    /// The bytes of an image's layers and configuration, compressed. Tells that it is there, too.
    pub(crate) async fn size_bytes(&self, path: &str, digest: &str) -> Result<i64, RegistryError> {
        Ok(self.image_manifest(path, digest).await?.1.size_bytes())
    }

    /// What an image, or the first platform of an index, is.
    pub(crate) async fn inspect(&self, path: &str, tag_or_digest: &str) -> Result<Image, RegistryError> {
        let (digest, manifest) = self.image_manifest(path, tag_or_digest).await?;
        let size_bytes = manifest.size_bytes();
        let described = manifest
            .parsed
            .config
            .ok_or_else(|| odd(format!("{digest} is not an image")))?;
        if described.size > CONFIG_BYTES_MAX {
            return Err(odd(format!(
                "the configuration of {digest} has {} bytes",
                described.size
            )));
        }
        let reference = self.reference(path, &described.digest);
        let mut config = Vec::new();
        self.client
            .pull_blob(&reference, described.digest.as_str(), &mut config)
            .await
            .map_err(failed(&reference))?;
        Ok(Image {
            digest,
            size_bytes,
            layers: manifest.parsed.layers,
            config: serde_json::from_slice(&config).map_err(|error| RegistryError::Odd(error.into()))?,
        })
    }

    /// Puts a manifest of this path, or one whose blobs are there, under a tag or its digest.
    pub(crate) async fn put(&self, path: &str, tag_or_digest: &str, manifest: &Manifest) -> Result<(), RegistryError> {
        self.upload(path, tag_or_digest, manifest.bytes.clone(), manifest.media_type())
            .await
    }

    async fn upload(&self, path: &str, target: &str, bytes: Bytes, media_type: &str) -> Result<(), RegistryError> {
        let reference = self.reference(path, target);
        self.authorize(&reference).await;
        let media_type = media_type
            .parse()
            .map_err(|_| odd(format!("`{media_type}` is not a media type")))?;
        self.client
            .push_manifest_raw(&reference, bytes, media_type)
            .await
            .map_err(failed(&reference))?;
        Ok(())
    }

    /// Makes an image, or all of an index, available under another path, without moving its blobs.
    pub(crate) async fn mount(&self, from: &str, to: &str, digest: &str) -> Result<Manifest, RegistryError> {
        let whole = self.manifest(from, digest).await?;
        for part in &whole.parsed.manifests {
            let part = self.manifest(from, &part.digest).await?;
            self.mount_blobs(from, to, &part).await?;
            self.put(to, &part.digest, &part).await?;
        }
        self.mount_blobs(from, to, &whole).await?;
        self.put(to, &whole.digest, &whole).await?;
        Ok(whole)
    }

    async fn mount_blobs(&self, from: &str, to: &str, manifest: &Manifest) -> Result<(), RegistryError> {
        let source = self.reference(from, &manifest.digest);
        let target = self.reference(to, &manifest.digest);
        self.authorize(&target).await;
        let blobs: Vec<String> = manifest
            .parsed
            .config
            .iter()
            .chain(&manifest.parsed.layers)
            .map(|blob| blob.digest.clone())
            .collect();
        stream::iter(blobs)
            .map(async |blob| {
                self.client
                    .mount_blob(&target, &source, &blob)
                    .await
                    .map_err(failed(&source))
            })
            .buffer_unordered(MOUNTS)
            .try_collect()
            .await
    }

    /// Every tag of a path; none where nothing was ever pushed.
    pub(crate) async fn tags(&self, path: &str) -> Result<Vec<String>, RegistryError> {
        let reference = self.reference(path, "latest");
        let mut tags: Vec<String> = Vec::new();
        loop {
            let after = tags.last().map(String::as_str);
            let page = self
                .client
                .list_tags(&reference, &RegistryAuth::Anonymous, Some(PAGE), after)
                .await;
            match page.map_err(failed(&reference)) {
                Ok(page) if page.tags.is_empty() => return Ok(tags),
                // A registry that does not know pages answers the same again.
                Ok(page) if page.tags.last() == tags.last() => return Ok(tags),
                Ok(page) => {
                    let is_last = page.tags.len() < PAGE;
                    tags.extend(page.tags);
                    if is_last {
                        return Ok(tags);
                    }
                }
                Err(RegistryError::Absent(_)) => return Ok(tags),
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes a manifest, with every tag that points to it, and the parts of an index. Absent is as good.
    pub(crate) async fn remove(&self, path: &str, digest: &str) -> Result<(), RegistryError> {
        let Some(manifest) = found(self.manifest(path, digest).await)? else {
            return Ok(());
        };
        // The whole last: it knows its parts, should this be interrupted.
        for part in &manifest.parsed.manifests {
            self.delete(path, &part.digest).await?;
        }
        self.delete(path, &manifest.digest).await
    }

    /// Removes one tag and leaves what it points to. The registry deletes digests only, and with them all their
    /// tags: so the tag first gets a manifest that nothing else has. `unique` is a text that was never used.
    pub(crate) async fn untag(&self, path: &str, tag: &str, unique: &str) -> Result<(), RegistryError> {
        let empty = serde_json::json!({
            "schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": { "cooperage.untag": unique },
        });
        self.upload(path, tag, empty.to_string().into(), INDEX).await?;
        match self.digest(path, tag).await? {
            Some(digest) => self.delete(path, &digest).await,
            None => Ok(()),
        }
    }

    /// Whether a push to this path could work at all: an engine passes on less than the registry says.
    pub(crate) async fn probe(&self, path: &str) -> Result<(), RegistryError> {
        let reference = self.reference(path, "latest");
        let token = self.authorize(&reference).await;
        let send = async |method: reqwest::Method, url: &str, body: Vec<u8>| {
            let mut request = self.http.request(method, url).body(body);
            if let Some(token) = &token {
                request = request.bearer_auth(token);
            }
            let answer = request
                .send()
                .await
                .map_err(|error| RegistryError::Unreachable(error.into()))?;
            let place = answer
                .headers()
                .get(reqwest::header::LOCATION)
                .and_then(|place| place.to_str().ok());
            let place = place.map(|place| {
                if place.starts_with('/') {
                    format!("{}{place}", self.url)
                } else {
                    place.to_owned()
                }
            });
            let (status, url) = (answer.status().as_u16(), answer.url().to_string());
            let message = answer.text().await.unwrap_or_default();
            match place {
                Some(place) if status < 300 => Ok(place),
                _ => Err(failed(&reference)(OciDistributionError::ServerError {
                    code: status,
                    url,
                    message,
                })),
            }
        };
        let begun = send(
            reqwest::Method::POST,
            &format!("{}/v2/{path}/blobs/uploads/", self.url),
            Vec::new(),
        )
        .await?;
        let written = send(reqwest::Method::PATCH, &begun, vec![0; PROBE_BYTES]).await;
        // What was begun is thrown away, whatever came of it.
        let _ = send(reqwest::Method::DELETE, written.as_ref().unwrap_or(&begun), Vec::new()).await;
        written.map(drop)
    }

    async fn delete(&self, path: &str, digest: &str) -> Result<(), RegistryError> {
        let reference = self.reference(path, digest);
        let mut request = self.http.delete(format!("{}/v2/{path}/manifests/{digest}", self.url));
        if let Some(token) = self.authorize(&reference).await {
            request = request.bearer_auth(token);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| RegistryError::Unreachable(error.into()))?;
        let status = answer.status();
        match status.as_u16() {
            200..300 | 404 => Ok(()),
            401 | 403 => Err(RegistryError::Denied(format!("DELETE of {reference}: {status}").into())),
            405 => Err(odd(format!("the registry does not allow deletion: {reference}"))),
            500.. => Err(RegistryError::Unreachable(
                format!("DELETE of {reference}: {status}").into(),
            )),
            _ => Err(odd(format!("DELETE of {reference}: {status}"))),
        }
    }

    /// Fetches a token where the registry wants one. If that fails the request itself will tell.
    async fn authorize(&self, reference: &Reference) -> Option<String> {
        self.client
            .auth(reference, &RegistryAuth::Anonymous, RegistryOperation::Push)
            .await
            .ok()
            .flatten()
    }
}
