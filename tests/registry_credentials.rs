//! Credentials of a registry go to that registry, and nowhere else: not to another one that a lock names,
//! and not to where a registry redirects.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::support::{outreach_rules, run_with};

/// A request, as it came: its line, and its credentials.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// Answers each request of a listener by its path: a status with headers, and a body.
fn serve(listener: TcpListener, answer: impl Fn(&str, bool) -> (String, Vec<u8>) + Send + 'static) -> Seen {
    let seen = Seen::default();
    let notes = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Ends with the test's process.
            let _ = one(stream, &answer, &notes);
        }
    });
    seen
}

fn one(stream: TcpStream, answer: &impl Fn(&str, bool) -> (String, Vec<u8>), seen: &Seen) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut credentials, mut length) = (String::new(), None, 0);
    reader.read_line(&mut line)?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match &*name.to_ascii_lowercase() {
            "authorization" => credentials = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (head, body) = answer(&path, credentials.is_some());
    seen.lock().expect("no panic").push((path, credentials));
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, address)
}

/// A registry that wants credentials and keeps its blobs elsewhere; and what came to either.
fn registry() -> (String, Seen, Seen) {
    asking(|_| "Basic realm=\"here\"".to_owned())
}

/// As [`registry`], which asks for credentials as `asks` has it at the registry's address.
fn asking(asks: impl Fn(&str) -> String) -> (String, Seen, Seen) {
    let ((front, address), (blobs, elsewhere)) = (listener(), listener());
    let artifact = outreach_rules();
    let (digest, size) = (serin_core::digest(&artifact), artifact.len());
    let config = serin_core::digest(b"{}");
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"{config}","size":2}},
        "layers":[{{"mediaType":"application/wasm","digest":"{digest}","size":{size}}}]}}"#
    );
    let of_blobs = serve(blobs, move |_, _| ("200 OK".to_owned(), artifact.clone()));
    let asked = asks(&address);
    let of_front = serve(front, move |path, is_known| match path {
        _ if !is_known => (format!("401 Unauthorized\r\nwww-authenticate: {asked}"), Vec::new()),
        path if path.starts_with("/token?") => ("200 OK".to_owned(), TOKEN.to_vec()),
        "/v2/" => ("200 OK".to_owned(), Vec::new()),
        "/v2/s/rules/manifests/1.0.0" => (
            "200 OK\r\ncontent-type: application/vnd.oci.image.manifest.v1+json".to_owned(),
            manifest.clone().into_bytes(),
        ),
        path if path.contains("/blobs/") => {
            (format!("307 Temporary Redirect\r\nlocation: http://{elsewhere}/blob"), Vec::new())
        }
        _ => ("404 Not Found".to_owned(), Vec::new()),
    });
    (address, of_front, of_blobs)
}

/// What a token server answers.
const TOKEN: &[u8] = br#"{"token":"t-1","expires_in":60}"#;

const USER: [(&str, &str); 2] = [("SERIN_REGISTRY_USER", "ann"), ("SERIN_REGISTRY_PASSWORD", "secret")];

fn pull(address: &str, into: &Path, variables: &[(&str, &str)]) -> crate::support::Cli {
    let reference = format!("{address}/s/rules:1.0.0");
    run_with(["plugin", "pull", &reference, "--into", into.to_str().expect("a path")], variables)
}

fn credentials(seen: &Seen) -> Vec<String> {
    seen.lock().expect("no panic").iter().filter_map(|(_, credentials)| credentials.clone()).collect()
}

#[test]
fn credentials_go_to_their_registry_and_not_to_where_it_redirects() {
    let (address, of_front, of_blobs) = registry();
    let into = tempfile::tempdir().expect("a folder");
    let pulled = pull(&address, into.path(), &[&USER[..], &[("SERIN_REGISTRY", &address)]].concat());
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    assert_eq!(std::fs::read(into.path().join("outreach-rules-1.0.0.wasm")).expect("pulled"), outreach_rules());
    assert!(credentials(&of_front).iter().all(|sent| sent == "Basic YW5uOnNlY3JldA=="));
    assert!(!credentials(&of_front).is_empty(), "its own registry gets them");
    assert_eq!(of_blobs.lock().expect("no panic").len(), 1, "the blob came from elsewhere");
    assert_eq!(credentials(&of_blobs), Vec::<String>::new());
}

#[test]
fn another_registry_is_asked_without_credentials() {
    let (address, of_front, _) = registry();
    let into = tempfile::tempdir().expect("a folder");
    let pulled = pull(&address, into.path(), &[&USER[..], &[("SERIN_REGISTRY", "registry.example")]].concat());
    assert_eq!(pulled.code, Some(1));
    let said = format!("{address} is asked without credentials: those of the environment are for registry.example");
    assert!(pulled.stderr.contains(&said), "{}", pulled.stderr);
    assert!(!of_front.lock().expect("no panic").is_empty() && credentials(&of_front).is_empty());
    // A lock is no other: it names who is asked, and not whose they are.
    let digest = format!("sha256:{}", "0".repeat(64));
    let locked = format!(
        "[[plugin]]\nname = \"outreach-rules\"\nversion = \"1.0.0\"\ndigest = \"{digest}\"\nfrom = \"{address}/s/rules:1.0.0\"\nmanifest = \"{digest}\"\n"
    );
    std::fs::write(into.path().join("plugins.lock"), locked).expect("writes");
    let variables = [&USER[..], &[("SERIN_REGISTRY", "registry.example")]].concat();
    let restored = run_with(["plugin", "pull", "--into", into.path().to_str().expect("a path")], &variables);
    assert!(restored.code == Some(1) && credentials(&of_front).is_empty(), "{}", restored.stderr);
}

#[test]
fn credentials_that_belong_to_nobody_are_not_sent() {
    let (address, of_front, _) = registry();
    let into = tempfile::tempdir().expect("a folder");
    let pulled = pull(&address, into.path(), &USER);
    let valid = format!("valid: SERIN_REGISTRY={address}");
    assert!(pulled.code == Some(1) && pulled.stderr.contains(&valid), "{}", pulled.stderr);
    let pulled = pull(&address, into.path(), &USER[..1]);
    assert!(pulled.code == Some(1) && pulled.stderr.contains("valid: both, or none"), "{}", pulled.stderr);
    assert!(of_front.lock().expect("no panic").is_empty(), "nobody was asked");
}

#[test]
fn a_token_server_gets_credentials_where_it_is_the_registrys_own_host_or_named() {
    let into = tempfile::tempdir().expect("a folder");
    let bearer = |realm: &str| format!("Bearer realm=\"{realm}\",service=\"here\"");
    let basic = "Basic YW5uOnNlY3JldA==";

    // Of another host, and of the same host at another port: neither is the registry.
    let (other, server) = listener();
    let of_server = serve(other, |_, _| ("200 OK".to_owned(), TOKEN.to_vec()));
    let (address, of_front, _) = asking(|_| bearer(&format!("http://{server}/token")));
    let variables = [&USER[..], &[("SERIN_REGISTRY", &address)]].concat();
    let refused = pull(&address, into.path(), &variables);
    let told = format!("SERIN_REGISTRY_TOKEN_SERVER={server}");
    assert!(refused.code == Some(1) && refused.stderr.contains(&told), "{}", refused.stderr);
    assert!(of_server.lock().expect("no panic").is_empty() && credentials(&of_front).is_empty());
    // Named.
    let variables = [&variables[..], &[("SERIN_REGISTRY_TOKEN_SERVER", &server)]].concat();
    let pulled = pull(&address, into.path(), &variables);
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    assert_eq!(credentials(&of_server), [basic]);
    assert!(of_server.lock().expect("no panic")[0].0.contains("scope=repository%3As%2Frules%3Apull"));
    assert!(credentials(&of_front).iter().all(|sent| sent == "Bearer t-1") && !credentials(&of_front).is_empty());

    // Its own.
    let (address, of_front, _) = asking(|address| bearer(&format!("http://{address}/token")));
    let into = tempfile::tempdir().expect("a folder");
    let pulled = pull(&address, into.path(), &[&USER[..], &[("SERIN_REGISTRY", &address)]].concat());
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    let sent = of_front.lock().expect("no panic").clone();
    let with_password = sent.iter().filter(|(_, credentials)| credentials.as_deref() == Some(basic));
    assert!(with_password.clone().count() == 1 && with_password.clone().all(|(path, _)| path.starts_with("/token?")));
}

#[test]
fn credentials_are_not_sent_without_tls() {
    let into = tempfile::tempdir().expect("a folder");
    let (address, of_front, _) = asking(|_| "Bearer realm=\"http://token.example/token\"".to_owned());
    let named = [("SERIN_REGISTRY", &*address), ("SERIN_REGISTRY_TOKEN_SERVER", "token.example")];
    let refused = pull(&address, into.path(), &[&USER[..], &named].concat());
    assert!(refused.code == Some(1) && refused.stderr.contains("not sent without TLS"), "{}", refused.stderr);
    assert!(credentials(&of_front).is_empty());
    let reference = "registry.example/s/rules:1.0.0";
    let into = into.path().to_str().expect("a path");
    let variables = [&USER[..], &[("SERIN_REGISTRY", "registry.example")]].concat();
    let refused = run_with(["plugin", "pull", reference, "--plain-http", "--into", into], &variables);
    assert!(refused.code == Some(1) && refused.stderr.contains("not sent without TLS"), "{}", refused.stderr);
}
