//! `serin plugin push` and `pull`: artifacts in an OCI registry, laid out as the CNCF's Wasm working
//! group has it (one layer of `application/wasm`, and a config that says what the component is),
//! so that other tools read them, too.
//!
//! What is pulled is pinned by digest in the plugins folder's `plugins.lock`: a tag that was moved
//! is refused until somebody says `--update`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Outcome;
use crate::files;
use crate::registry::{check_size, read, read_file};

type Failure = Box<dyn std::error::Error>;

const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
/// The lock's name, in the plugins folder.
const LOCK: &str = "plugins.lock";

/// What was pulled into a plugins folder.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    #[serde(default)]
    plugin: Vec<Locked>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Locked {
    name: String,
    version: String,
    /// SHA-256 of the artifact.
    digest: String,
    /// Where it came from.
    from: String,
    /// SHA-256 of the registry's manifest.
    manifest: String,
}

impl Lock {
    fn read(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(LOCK);
        match files::read_text(&path, files::MAX_TEXT_BYTES) {
            Ok(text) => toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()).into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("{}: {error}", path.display()).into()),
        }
    }

    fn write(&mut self, dir: &Path) -> Result<(), Failure> {
        self.plugin.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        let text =
            format!("# Written by serin plugin pull: what each artifact is, by digest.\n\n{}", toml::to_string(self)?);
        replace(&dir.join(LOCK), text.as_bytes())
    }
}

/// Whole or not at all: a host watches the folder.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let partial = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    let written = std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|e| format!("{}: {e}", path.display()).into())
}

fn reference(text: &str) -> Result<Reference, Failure> {
    let valid = "valid: HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:…";
    let explicit = text.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
    if !explicit {
        return Err(format!("'{text}' names no registry; {valid}").into());
    }
    text.parse().map_err(|e| format!("'{text}': {e}; {valid}").into())
}

/// On this machine without TLS, anywhere else with it, unless somebody says so.
fn client(reference: &Reference, plain_http: bool) -> Client {
    let host = reference.registry().split(':').next().unwrap_or_default();
    let is_here = matches!(host, "localhost" | "127.0.0.1" | "[");
    let protocol = if plain_http || is_here { ClientProtocol::Http } else { ClientProtocol::Https };
    let seconds = |n| Some(std::time::Duration::from_secs(n));
    let config =
        ClientConfig { protocol, connect_timeout: seconds(10), read_timeout: seconds(60), ..ClientConfig::default() };
    Client::new(config)
}

fn auth() -> RegistryAuth {
    let of = |key| std::env::var(key).ok();
    match (of("SERIN_REGISTRY_USER"), of("SERIN_REGISTRY_PASSWORD")) {
        (Some(user), Some(password)) => RegistryAuth::Basic(user, password),
        _ => RegistryAuth::Anonymous,
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // Only the first caller's provider is taken, and all are the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

pub(super) fn push(file: &Path, to: &str, plain_http: bool) -> Outcome {
    let bytes = read_file(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let contents = read(&bytes).map_err(|e| format!("{}: {e}", file.display()))?;
    let reference = reference(to)?;
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
    let layers = [ImageLayer::new(bytes, LAYER.to_owned(), None)];
    let annotations = BTreeMap::from([
        ("org.opencontainers.image.title".to_owned(), manifest.name.to_string()),
        ("org.opencontainers.image.version".to_owned(), manifest.version.to_string()),
        ("org.opencontainers.image.description".to_owned(), manifest.description.clone()),
    ]);
    let mut image = OciImageManifest::build(&layers, &config, Some(annotations));
    // Registries take it without; other tools do not.
    image.media_type = Some(OCI_IMAGE_MEDIA_TYPE.to_owned());
    let digest = block_on(async {
        let (client, auth) = (client(&reference, plain_http), auth());
        let failed = |e| format!("{reference}: {e}");
        client.push(&reference, &layers, config, &auth, Some(image)).await.map_err(failed)?;
        Ok(client.fetch_manifest_digest(&reference, &auth).await.map_err(failed)?)
    })?;
    println!("{} pushed to {reference}", manifest.id());
    println!("pinned: {}/{}@{digest}", reference.registry(), reference.repository());
    Ok(true)
}

pub(super) fn pull(from: Option<&str>, into: &Path, update: bool, plain_http: bool) -> Outcome {
    if !into.is_dir() {
        return Err(
            format!("{}: is no folder; give the deployment's plugins folder with --into", into.display()).into()
        );
    }
    let mut lock = Lock::read(into)?;
    let Some(from) = from else {
        // Everything that the lock names, as it names it.
        for locked in lock.plugin.clone() {
            restore(&locked, into, plain_http)?;
        }
        return Ok(true);
    };
    let reference = reference(from)?;
    let (bytes, manifest) = fetch(&reference, plain_http)?;
    let contents = read(&bytes).map_err(|e| format!("{reference}: {e}"))?;
    let locked = Locked {
        name: contents.manifest.name.to_string(),
        version: contents.manifest.version.to_string(),
        digest: contents.digest.to_string(),
        from: format!(
            "{}/{}{}",
            reference.registry(),
            reference.repository(),
            reference.tag().map(|t| format!(":{t}")).unwrap_or_default()
        ),
        manifest,
    };
    let same_version = |known: &&Locked| (&known.name, &known.version) == (&locked.name, &locked.version);
    if let Some(known) = lock.plugin.iter().find(same_version)
        && known.digest != locked.digest
        && !update
    {
        return Err(format!(
            "{reference}: {}@{} is {} in {LOCK}, and {} here; a published version does not change. --update takes it over",
            known.name, known.version, known.digest, locked.digest
        )
        .into());
    }
    let path = write(&locked, &bytes, into)?;
    lock.plugin.retain(|known| !same_version(&known));
    println!("{} ({}), from {reference}", path.display(), locked.digest);
    lock.plugin.push(locked);
    lock.write(into)?;
    Ok(true)
}

fn write(locked: &Locked, bytes: &[u8], into: &Path) -> Result<PathBuf, Failure> {
    let path = into.join(format!("{}-{}.wasm", locked.name, locked.version));
    replace(&path, bytes)?;
    Ok(path)
}

/// Puts an artifact of the lock back where it is not there, or is another one.
fn restore(locked: &Locked, into: &Path, plain_http: bool) -> Result<(), Failure> {
    let path = into.join(format!("{}-{}.wasm", locked.name, locked.version));
    if read_file(&path).is_ok_and(|bytes| crate::digest::digest(&bytes) == locked.digest) {
        println!("{} is there", path.display());
        return Ok(());
    }
    let repository =
        locked.from.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(&*locked.from, |(r, _)| r);
    let reference = reference(&format!("{repository}@{}", locked.manifest))?;
    let (bytes, _) = fetch(&reference, plain_http)?;
    let digest = crate::digest::digest(&bytes);
    if digest != locked.digest {
        return Err(format!("{reference}: {digest}, and {LOCK} says {}", locked.digest).into());
    }
    println!("{} ({digest}), from {reference}", write(locked, &bytes, into)?.display());
    Ok(())
}

/// The artifact, and the digest of the registry's manifest of it.
fn fetch(reference: &Reference, plain_http: bool) -> Result<(Vec<u8>, String), Failure> {
    block_on(async {
        let (client, auth) = (client(reference, plain_http), auth());
        let failed = |e| format!("{reference}: {e}");
        let (manifest, digest) = client.pull_image_manifest(reference, &auth).await.map_err(failed)?;
        if let Some(wanted) = reference.digest().filter(|wanted| *wanted != digest) {
            return Err(format!("{reference}: the registry serves {digest} in place of {wanted}").into());
        }
        let layer = match &manifest.layers[..] {
            [layer] if layer.media_type == LAYER => layer,
            layers => {
                let kinds: Vec<&str> = layers.iter().map(|layer| layer.media_type.as_str()).collect();
                return Err(format!("{reference}: one layer of {LAYER} is needed; it has: {}", kinds.join(", ")).into());
            }
        };
        check_size(u64::try_from(layer.size).unwrap_or(u64::MAX)).map_err(|e| format!("{reference}: {e}"))?;
        let mut bytes = Vec::new();
        client.pull_blob(reference, layer, &mut bytes).await.map_err(failed)?;
        let found = crate::digest::digest(&bytes);
        if found != layer.digest {
            return Err(format!("{reference}: the layer is {found}, and the manifest says {}", layer.digest).into());
        }
        Ok((bytes, digest))
    })
}
