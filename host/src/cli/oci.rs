//! `serin plugin push` and `pull`: artifacts in an OCI registry, laid out as the CNCF's Wasm working
//! group has it (one layer of `application/wasm`, and a config that says what the component is),
//! so that other tools read them, too. A signature goes with its artifact.
//!
//! That layout knows no compressed layer, so compression is an option: what is pushed with it is for `pull` alone. Digest
//! and signature are of the artifact as it is loaded, compressed or not.
//!
//! What is pulled is pinned by digest in the plugins folder's `plugins.lock`: a tag that was moved
//! is refused until somebody says `--update`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_client::Reference;
use oci_client::client::{Config, ImageLayer};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest};
use serde_json::json;

use super::Outcome;
use super::oci_registry::{
    ARTIFACT_DIGEST, COMPRESSED_LAYER, LAYER, Registry, block_on, reference, replace, with_cause,
};
use super::plugins_lock::{LOCK, Lock, Locked};
use super::registry_credentials::Access;
use super::signing::{signer, verify};
use crate::clock::{Clock as _, SystemClock};
use crate::files;
use crate::registry::{Contents, read, read_file, refused_draft};
use crate::signatures::{self, PublicKey, Signature, SignatureError};

type Failure = Box<dyn std::error::Error>;

const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// How to push.
pub(super) struct Push<'a> {
    /// Whether the layer is compressed.
    pub compress: bool,
    pub plain_http: bool,
    /// The public key that the signature beside the artifact has to be by.
    pub verify: Option<&'a Path>,
}

/// The level of compression: a push takes a second or two for the largest artifacts.
const LEVEL: i32 = 12;

pub(super) fn push(file: &Path, to: &str, how: &Push<'_>) -> Outcome {
    let bytes = read_file(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let contents = read(&bytes).map_err(|e| format!("{}: {e}", file.display()))?;
    if let Some(why) = refused_draft(&bytes) {
        return Err(format!("{}: {why}; nothing is pushed", files::shown(file)).into());
    }
    let (signature, signed) = signature(file, &bytes, how.verify)?;
    let reference = reference(to)?;
    let id = contents.manifest.id();
    let layers = [layer(&contents, bytes, how.compress)?];
    let (config, image) = image(&contents, &layers)?;
    let digest = block_on(async {
        let registry = Registry::of(&reference, how.plain_http, Access::Push).await?;
        let (client, auth) = registry.client();
        let failed = |e| format!("{reference}: {}", with_cause(&e));
        client.push(&reference, &layers, config, auth, Some(image)).await.map_err(failed)?;
        let digest = client.fetch_manifest_digest(&reference, auth).await.map_err(failed)?;
        if let Some(text) = &signature {
            registry.push_signature(&reference, &digest, text, SystemClock.now_ms()).await?;
        }
        Ok(digest)
    })?;
    println!("{id} pushed to {reference}{signed}");
    println!("pinned: {}/{}@{digest}", reference.registry(), reference.repository());
    Ok(true)
}

/// The signature beside an artifact, and what is said of it. One that is none, or not of these bytes by the key that is
/// given, goes nowhere.
fn signature(file: &Path, bytes: &[u8], key: Option<&Path>) -> Result<(Option<String>, String), Failure> {
    let failed = |error: SignatureError| format!("{}: {error}; nothing is pushed", files::shown(file));
    if let Some(key) = key {
        let signer = signer(file, bytes, &PublicKey::read(key)?).map_err(|why| format!("{why}; nothing is pushed"))?;
        let text = signatures::read_beside(file).map_err(failed)?;
        return Ok((text, format!(", with its signature by {signer}")));
    }
    let Some(text) = signatures::read_beside(file).map_err(failed)? else { return Ok((None, String::new())) };
    let by = Signature::parse(&text).map_err(failed)?.key();
    Ok((Some(text), format!(", with its signature by key {by}, not verified: --verify PUB does that")))
}

/// The layer of an artifact. Of a compressed one an annotation has the digest of what is in it.
fn layer(contents: &Contents, bytes: Vec<u8>, compress: bool) -> Result<ImageLayer, Failure> {
    if !compress {
        return Ok(ImageLayer::new(bytes, LAYER.to_owned(), None));
    }
    let digest = BTreeMap::from([(ARTIFACT_DIGEST.to_owned(), contents.digest.to_string())]);
    Ok(ImageLayer::new(zstd::encode_all(&*bytes, LEVEL)?, COMPRESSED_LAYER.to_owned(), Some(digest)))
}

/// The config and manifest of an artifact.
fn image(contents: &Contents, layers: &[ImageLayer]) -> Result<(Config, OciImageManifest), Failure> {
    let manifest = &contents.manifest;
    let config = json!({
        // The same artifact is the same in every registry, and so has no time of its own.
        "created": "1970-01-01T00:00:00Z",
        "author": manifest.owner,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [&*contents.digest],
        "component": { "exports": [], "imports": [], "target": format!("serin:decision/strategy@{}", contents.wit) },
    });
    let config = Config::new(serde_json::to_vec(&config)?, CONFIG.to_owned(), None);
    let annotations = BTreeMap::from([
        ("org.opencontainers.image.title".to_owned(), manifest.name.to_string()),
        ("org.opencontainers.image.version".to_owned(), manifest.version.to_string()),
        ("org.opencontainers.image.description".to_owned(), manifest.description.clone()),
    ]);
    let mut image = OciImageManifest::build(layers, &config, Some(annotations));
    // Registries take it without; other tools do not.
    image.media_type = Some(OCI_IMAGE_MEDIA_TYPE.to_owned());
    Ok((config, image))
}

/// How to pull.
pub(super) struct Pull<'a> {
    pub into: &'a Path,
    pub update: bool,
    pub plain_http: bool,
    /// The public key that a signature has to be by.
    pub verify: Option<&'a Path>,
}

/// An artifact of a registry, and its signature.
struct Pulled {
    bytes: Vec<u8>,
    contents: Contents,
    manifest: String,
    signature: Option<String>,
}

pub(super) fn pull(from: Option<&str>, pull: &Pull<'_>) -> Outcome {
    let into = pull.into;
    if !into.is_dir() {
        return Err(
            format!("{}: is no folder; give the deployment's plugins folder with --into", into.display()).into()
        );
    }
    let key = pull.verify.map(PublicKey::read).transpose()?;
    let mut lock = Lock::read(into)?;
    let Some(from) = from else {
        // Everything that the lock names, as it names it.
        for locked in lock.plugin.clone() {
            restore(&locked, pull, key.as_ref())?;
        }
        return Ok(true);
    };
    let reference = reference(from)?;
    let pulled = fetch(&reference, pull, key.as_ref())?;
    let locked = Locked {
        name: pulled.contents.manifest.name.to_string(),
        version: pulled.contents.manifest.version.to_string(),
        digest: pulled.contents.digest.to_string(),
        from: format!(
            "{}/{}{}",
            reference.registry(),
            reference.repository(),
            reference.tag().map(|t| format!(":{t}")).unwrap_or_default()
        ),
        manifest: pulled.manifest.clone(),
    };
    if let Some(known) = lock.plugin.iter().find(|known| known.is_same_version(&locked))
        && known.digest != locked.digest
        && !pull.update
    {
        return Err(format!(
            "{reference}: {}@{} is {} in {LOCK}, and {} here; a published version does not change. --update takes it over",
            known.name, known.version, known.digest, locked.digest
        )
        .into());
    }
    let path = write(&locked, &pulled, into)?;
    lock.plugin.retain(|known| !known.is_same_version(&locked));
    println!("{} ({}), from {reference}", path.display(), locked.digest);
    lock.plugin.push(locked);
    lock.write(into)?;
    Ok(true)
}

/// Writes an artifact, after its signature: a host that sees the artifact finds it.
fn write(locked: &Locked, pulled: &Pulled, into: &Path) -> Result<PathBuf, Failure> {
    let path = locked.path(into);
    let beside = signatures::path_of(&path);
    match &pulled.signature {
        Some(text) => replace(&beside, text.as_bytes())?,
        // One that is there is of what was there, unless this is the same.
        None if read_file(&path).is_ok_and(|bytes| bytes == pulled.bytes) => {}
        None => match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", files::shown(&beside)).into());
            }
            _ => {}
        },
    }
    replace(&path, &pulled.bytes)?;
    Ok(path)
}

/// Puts an artifact of the lock back where it is not there, or is another one.
fn restore(locked: &Locked, pull: &Pull<'_>, key: Option<&PublicKey>) -> Result<(), Failure> {
    let path = locked.path(pull.into);
    if let Ok(bytes) = read_file(&path)
        && crate::digest::digest(&bytes) == locked.digest
    {
        let verified = key.is_none_or(|key| {
            let text = signatures::read_beside(&path).ok().flatten();
            text.is_some_and(|text| verify(&bytes, &text, key).is_ok())
        });
        if verified {
            println!("{} is there", path.display());
            return Ok(());
        }
    }
    let reference = locked.reference()?;
    let pulled = fetch(&reference, pull, key)?;
    locked.fits(&pulled.contents).map_err(|why| format!("{reference}: {why}"))?;
    println!("{} ({}), from {reference}", write(locked, &pulled, pull.into)?.display(), locked.digest);
    Ok(())
}

/// The artifact of a reference with its signature, which verifies where a key is given.
fn fetch(reference: &Reference, pull: &Pull<'_>, key: Option<&PublicKey>) -> Result<Pulled, Failure> {
    let (bytes, manifest, texts) = block_on(async {
        let registry = Registry::of(reference, pull.plain_http, Access::Pull).await?;
        let (bytes, manifest) = registry.fetch(reference).await?;
        let texts = registry.signatures(reference, &manifest).await?;
        Ok((bytes, manifest, texts))
    })?;
    let contents = read(&bytes).map_err(|e| format!("{reference}: {e}"))?;
    let signature = match key {
        None => newest(reference, texts),
        Some(key) => {
            let mut why = format!("no signature: the registry has none of it; --verify wants one by key {}", key.id());
            let verified = texts.into_iter().find(|text| match verify(&bytes, text, key) {
                Ok(_) => true,
                Err(error) => {
                    why = error.to_string();
                    false
                }
            });
            Some(verified.ok_or_else(|| format!("{reference}: {why}; nothing is written"))?)
        }
    };
    Ok(Pulled { bytes, contents, manifest, signature })
}

/// The signature that was pushed last, of those that are some. By whom it is, nobody has asked: where there is a choice,
/// that is said.
fn newest(reference: &Reference, texts: Vec<String>) -> Option<String> {
    let is_one = |text: String| Signature::parse(&text).ok().map(|signature| (signature.key(), text));
    let mut all = texts.into_iter().filter_map(is_one);
    let (key, newest) = all.next()?;
    let others = all.filter(|(_, text)| *text != newest).count();
    if others > 0 {
        eprintln!(
            "{reference}: {} signatures are there; the newest is taken, by key {key}; --verify PUB takes the newest by \
             that key",
            others + 1
        );
    }
    Some(newest)
}
