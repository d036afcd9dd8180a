//! An OCI registry: artifacts, and their signatures as referrers of them.
//!
//! A signature is a manifest of its own whose `subject` is the artifact's. Registries without the referrers
//! API of OCI 1.1 get the index that stands in for it, under the tag `sha256-…` of the subject's digest.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::manifest::{
    ImageIndexEntry, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use serde_json::json;

pub(super) use super::registry_credentials::with_cause;
use super::registry_credentials::{Access, auth};
use crate::registry::{MAX_ARTIFACT_BYTES, check_size};
use crate::signatures;

type Failure = Box<dyn std::error::Error>;

/// The media type of an artifact's layer.
pub(super) const LAYER: &str = "application/wasm";
/// That of one that is compressed.
pub(super) const COMPRESSED_LAYER: &str = "application/wasm+zstd";
/// The annotation of a compressed layer that has the digest of the artifact itself.
pub(super) const ARTIFACT_DIGEST: &str = "serin.artifact.digest";
/// Log₂ of the memory that a zstd frame may ask for: 8 MiB, which every level up to 19 keeps to.
const ZSTD_WINDOW: u32 = 23;
/// The artifact type of a signature's manifest, and the media type of its layer.
const SIGNATURE: &str = "application/vnd.serin.signature.v1";
/// A config that says nothing, as the OCI has it.
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");
/// The annotation that says when something was made, as the OCI has it.
const CREATED: &str = "org.opencontainers.image.created";
/// Signatures of one artifact that are looked at.
const MOST_SIGNATURES: usize = 16;

/// A registry, as the owner of a reference is talked to.
pub(super) struct Registry {
    client: Client,
    auth: RegistryAuth,
}

/// Reads a reference that names its registry.
///
/// # Errors
/// What is wrong with it, and what would be valid.
pub(super) fn reference(text: &str) -> Result<Reference, Failure> {
    let valid = "valid: HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:…";
    if text.contains("://") {
        // It may have a password in it.
        return Err(format!("a URL is no reference; {valid}").into());
    }
    let explicit = text.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
    if !explicit {
        return Err(format!("'{text}' names no registry; {valid}").into());
    }
    text.parse().map_err(|e| format!("'{text}': {e}; {valid}").into())
}

/// Writes a file whole or not at all: a host watches the folder.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let partial = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    let written = std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|e| format!("{}: {e}", path.display()).into())
}

/// Runs requests to their end.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // Only the first caller's provider is taken, and all are the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

impl Registry {
    /// The registry of a reference: on this machine without TLS, anywhere else with it, unless somebody says so.
    ///
    /// # Errors
    /// That it is not clear whose the credentials are, or that they would go where they may not.
    pub async fn of(reference: &Reference, plain_http: bool, access: Access) -> Result<Self, Failure> {
        let host = reference.registry().split(':').next().unwrap_or_default();
        let is_here = matches!(host, "localhost" | "127.0.0.1" | "[");
        let is_plain = plain_http || is_here;
        let protocol = if is_plain { ClientProtocol::Http } else { ClientProtocol::Https };
        let seconds = |n| Some(std::time::Duration::from_secs(n));
        let (connect_timeout, read_timeout) = (seconds(10), seconds(60));
        let config = ClientConfig { protocol, connect_timeout, read_timeout, ..ClientConfig::default() };
        Ok(Self { client: Client::new(config), auth: auth(reference, is_plain, access).await? })
    }

    /// The client, and what it identifies itself with.
    pub fn client(&self) -> (&Client, &RegistryAuth) {
        (&self.client, &self.auth)
    }

    /// The artifact, and the digest of the registry's manifest of it.
    pub async fn fetch(&self, reference: &Reference) -> Result<(Vec<u8>, String), Failure> {
        let failed = |e| format!("{reference}: {}", with_cause(&e));
        let (manifest, digest) = self.client.pull_image_manifest(reference, &self.auth).await.map_err(failed)?;
        if let Some(wanted) = reference.digest().filter(|wanted| *wanted != digest) {
            return Err(format!("{reference}: the registry serves {digest} in place of {wanted}").into());
        }
        let (layer, is_compressed) = match &manifest.layers[..] {
            [layer] if layer.media_type == LAYER => (layer, false),
            [layer] if layer.media_type == COMPRESSED_LAYER => (layer, true),
            layers => {
                let kinds: Vec<&str> = layers.iter().map(|layer| layer.media_type.as_str()).collect();
                let needed = format!("one layer of {LAYER} or {COMPRESSED_LAYER} is needed");
                return Err(format!("{reference}: {needed}; it has: {}", kinds.join(", ")).into());
            }
        };
        check_size(u64::try_from(layer.size).unwrap_or(u64::MAX)).map_err(|e| format!("{reference}: {e}"))?;
        let bytes = self.blob(reference, layer).await?;
        let bytes = match is_compressed {
            true => decompress(layer, &bytes).map_err(|why| format!("{reference}: {why}"))?,
            false => bytes,
        };
        Ok((bytes, digest))
    }

    /// A blob, of no more bytes than it says that it has.
    async fn blob(&self, reference: &Reference, layer: &OciDescriptor) -> Result<Vec<u8>, Failure> {
        let most = usize::try_from(layer.size).map_err(|_| format!("{reference}: a layer of {} bytes", layer.size))?;
        let mut bytes = Bounded { bytes: Vec::new(), most };
        let pulled = self.client.pull_blob(reference, layer, &mut bytes).await;
        pulled.map_err(|e| format!("{reference}: {}", with_cause(&e)))?;
        let found = crate::digest::digest(&bytes.bytes);
        if found != layer.digest {
            return Err(format!("{reference}: the layer is {found}, and the manifest says {}", layer.digest).into());
        }
        Ok(bytes.bytes)
    }

    /// The texts of the signatures that refer to a manifest, each as the registry has it; what was pushed last comes
    /// first.
    pub async fn signatures(&self, artifact: &Reference, manifest: &str) -> Result<Vec<String>, Failure> {
        let subject = by_digest(artifact, manifest);
        let failed = |e| format!("{subject}: its signatures: {}", with_cause(&e));
        self.client.store_auth_if_needed(subject.resolve_registry(), &self.auth).await;
        let index = self.client.pull_referrers(&subject, Some(SIGNATURE)).await.map_err(failed)?;
        let is_signature = |entry: &&ImageIndexEntry| entry.artifact_type.as_deref() == Some(SIGNATURE);
        // Stable, and from the end: an index in the place of the API has the last one last.
        let mut entries: Vec<&ImageIndexEntry> = index.manifests.iter().filter(is_signature).rev().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(created(entry)));
        let mut texts = Vec::new();
        for entry in entries.into_iter().take(MOST_SIGNATURES) {
            let at = by_digest(artifact, &entry.digest);
            let (referrer, _) = self.client.pull_image_manifest(&at, &self.auth).await.map_err(failed)?;
            let is_of_it = referrer.subject.as_ref().is_some_and(|subject| subject.digest == manifest);
            let layer = referrer.layers.first().filter(|layer| layer.media_type == SIGNATURE);
            let Some(layer) = layer.filter(|layer| is_of_it && layer.size <= signatures::MAX_BYTES as i64) else {
                continue;
            };
            texts.extend(String::from_utf8(self.blob(&at, layer).await?).ok());
        }
        Ok(texts)
    }

    /// Pushes a signature as a referrer of a manifest that is there, with the time, so that `pull` knows the newest.
    pub async fn push_signature(
        &self,
        artifact: &Reference,
        manifest: &str,
        text: &str,
        now_ms: u64,
    ) -> Result<(), Failure> {
        if self.signatures(artifact, manifest).await?.first().is_some_and(|newest| newest == text) {
            return Ok(());
        }
        let subject = by_digest(artifact, manifest);
        let failed = |e| format!("{subject}: its signature: {}", with_cause(&e));
        let now = jiff::Timestamp::from_millisecond(now_ms as i64)?.to_string();
        let annotations = BTreeMap::from([(CREATED.to_owned(), now)]);
        let (bytes, _) =
            self.client.pull_manifest_raw(&subject, &self.auth, &[OCI_IMAGE_MEDIA_TYPE]).await.map_err(failed)?;
        let of_subject = descriptor(OCI_IMAGE_MEDIA_TYPE, manifest, bytes.len());
        let layer = crate::digest::digest(text.as_bytes());
        let config = crate::digest::digest(EMPTY.1);
        for (blob, digest) in [(text.as_bytes(), &layer), (EMPTY.1, &config)] {
            self.client.push_blob(artifact, blob.to_vec(), digest).await.map_err(failed)?;
        }
        let referrer = serde_json::to_vec(&OciImageManifest {
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
            config: descriptor(EMPTY.0, &config, EMPTY.1.len()),
            layers: vec![descriptor(SIGNATURE, &layer, text.len())],
            subject: Some(of_subject),
            artifact_type: Some(SIGNATURE.to_owned()),
            annotations: Some(annotations.clone()),
            ..OciImageManifest::default()
        })?;
        let (digest, size) = (crate::digest::digest(&referrer), referrer.len());
        let at = by_digest(artifact, &digest);
        self.client.push_manifest_raw(&at, referrer, OCI_IMAGE_MEDIA_TYPE.parse()?).await.map_err(failed)?;
        // A registry with the API lists it by now.
        let index = self.client.pull_referrers(&subject, None).await.map_err(failed)?;
        if index.manifests.iter().any(|entry| entry.digest == digest) {
            return Ok(());
        }
        let mut entries: Vec<serde_json::Value> =
            index.manifests.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        entries.push(json!({
            "mediaType": OCI_IMAGE_MEDIA_TYPE, "digest": digest, "size": size, "artifactType": SIGNATURE,
            "annotations": annotations,
        }));
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE, "manifests": entries });
        let (registry, repository) = (artifact.registry().to_owned(), artifact.repository().to_owned());
        let tag = Reference::with_tag(registry, repository, manifest.replace(':', "-"));
        let index = serde_json::to_vec(&index)?;
        self.client.push_manifest_raw(&tag, index, OCI_IMAGE_INDEX_MEDIA_TYPE.parse()?).await.map_err(failed)?;
        Ok(())
    }
}

/// When a signature was pushed, in milliseconds since the Unix epoch; the beginning where it does not say so, as those of
/// earlier versions.
fn created(entry: &ImageIndexEntry) -> i64 {
    let written = entry.annotations.as_ref().and_then(|annotations| annotations.get(CREATED));
    let time: Option<jiff::Timestamp> = written.and_then(|text| text.parse().ok());
    time.map_or(i64::MIN, |time| time.as_millisecond())
}

/// The artifact in a compressed layer, within the bound of artifacts. Its digest has to be the one that the layer's
/// annotation has: the registry has compared the compressed bytes alone.
fn decompress(layer: &OciDescriptor, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let wanted = layer.annotations.as_ref().and_then(|annotations| annotations.get(ARTIFACT_DIGEST));
    let wanted = wanted.ok_or_else(|| {
        format!(
            "its layer of {COMPRESSED_LAYER} has no annotation {ARTIFACT_DIGEST}; push it with 'serin plugin push --compress'"
        )
    })?;
    let broken = |error: std::io::Error| format!("its layer of {COMPRESSED_LAYER} is not zstd: {error}");
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(broken)?;
    decoder.window_log_max(ZSTD_WINDOW).map_err(broken)?;
    let mut whole = Vec::new();
    // One byte more than an artifact may have tells that there are more.
    decoder.take(MAX_ARTIFACT_BYTES + 1).read_to_end(&mut whole).map_err(broken)?;
    check_size(whole.len() as u64).map_err(|error| format!("decompressed: {error}"))?;
    let found = crate::digest::digest(&whole);
    if found != *wanted {
        return Err(format!("the layer, decompressed, is {found}, and its annotation {ARTIFACT_DIGEST} says {wanted}"));
    }
    Ok(whole)
}

fn by_digest(reference: &Reference, digest: &str) -> Reference {
    Reference::with_digest(reference.registry().to_owned(), reference.repository().to_owned(), digest.to_owned())
}

fn descriptor(media_type: &str, digest: &str, size: usize) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_owned(),
        size: size as i64,
        ..OciDescriptor::default()
    }
}

/// Bytes of a registry, up to a bound: it may send more than it says.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl tokio::io::AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, part: &[u8]) -> Poll<std::io::Result<usize>> {
        if self.bytes.len() + part.len() > self.most {
            let why = format!("sends more than the {} bytes that it says", self.most);
            return Poll::Ready(Err(std::io::Error::other(why)));
        }
        self.bytes.extend_from_slice(part);
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
