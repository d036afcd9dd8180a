//! Reading a request's body: JSON, perhaps compressed, within bounds of size and time.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;

use super::bytes::HeldBytes;
use super::error::ACCEPTED_ENCODINGS;
use super::{Problem, Service};

/// Bytes that are decompressed at a time.
const CHUNK: usize = 64 << 10;
/// Log₂ of the memory that a zstd frame may ask for: 8 MiB, which every level up to 19 keeps to.
const ZSTD_WINDOW: u32 = 23;
/// A body that is too large is read on, and thrown away, up to so many times its bound. A client
/// that is still sending when the connection closes would not get to read why.
const READ_ON: usize = 8;
/// How long that may take.
const READ_ON_TIME: Duration = Duration::from_secs(1);
/// How long a body that is too large is waited for where nothing of it comes.
const IDLE: Duration = Duration::from_millis(200);
/// What is wrong where something follows a body's gzip.
const MORE: &str = "more than gzip";

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Reads a body whose request arrived at `arrived`, and holds its bytes among those in flight.
pub(super) async fn read(
    request: &mut Request,
    service: &Arc<Service>,
    arrived: Instant,
) -> Result<(Bytes, HeldBytes), Problem> {
    let encoding = declared(request.headers())?;
    refuse_declared(request, service.settings.max_body_bytes).await?;
    let mut held = service.bytes.nothing();
    let bytes = collect(std::mem::take(request.body_mut()), service, arrived, &mut held).await?;
    if encoding == Encoding::Identity {
        return Ok((bytes, held));
    }
    let limit = service.settings.max_body_bytes;
    service.lanes.compute(move || decompress(encoding, &bytes, limit, held)).await?
}

/// Refuses a body that says that it is too large. What a client is sending already is thrown away for a moment.
async fn refuse_declared(request: &mut Request, limit: usize) -> Result<(), Problem> {
    let headers = request.headers();
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_none_or(|declared| declared <= limit as u64) {
        return Ok(());
    }
    // Who asks first has sent nothing.
    if !headers.contains_key(header::EXPECT) {
        let (mut body, mut read, end) = (std::mem::take(request.body_mut()), 0_usize, Instant::now() + READ_ON_TIME);
        while read / READ_ON <= limit
            && let until = end.min(Instant::now() + IDLE)
            && let Ok(Some(Ok(frame))) = tokio::time::timeout_at(until.into(), body.frame()).await
        {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
    }
    Err(too_large("", limit))
}

/// The encoding that the headers declare, where they say that the body is JSON.
fn declared(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let encoding = encoding(headers)?;
    if !is_json(headers) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "the body has to be JSON, sent with 'content-type: application/json'",
        ));
    }
    Ok(encoding)
}

/// Says whether the body is declared as JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        value.split(';').next().is_some_and(|mime| mime.trim().eq_ignore_ascii_case("application/json"))
    })
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let mut found = Encoding::Identity;
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for coding in value.to_str().unwrap_or("?").split(',') {
            let coding = coding.trim().to_ascii_lowercase();
            let coding = match coding.as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Encoding::Gzip,
                "zstd" => Encoding::Zstd,
                _ => return Err(unsupported()),
            };
            // Twice compressed is once more than anybody has a use for.
            if found != Encoding::Identity {
                return Err(unsupported());
            }
            found = coding;
        }
    }
    Ok(found)
}

fn unsupported() -> Problem {
    let detail = format!("content-encoding: valid: one of {ACCEPTED_ENCODINGS}, or none");
    Problem {
        names_codings: true,
        ..Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-content-encoding", detail)
    }
}

fn too_large(what: &str, limit: usize) -> Problem {
    let detail = format!("the body{what} is larger than server.max_body_bytes, which is {limit}");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
}

pub(super) fn no_room() -> Problem {
    Problem::unavailable("overloaded", "the bodies of the requests in flight take server.max_bytes_in_flight")
}

/// All frames of a body. The common one is a single frame, and is not copied.
async fn collect(mut body: Body, service: &Service, arrived: Instant, held: &mut HeldBytes) -> Result<Bytes, Problem> {
    let settings = &service.settings;
    let end = arrived + settings.body_timeout;
    let (mut first, mut rest, mut read) = (Bytes::new(), Vec::new(), 0_usize);
    while !body.is_end_stream() {
        let until = end.min(Instant::now() + settings.stall_timeout);
        let frame = match tokio::time::timeout_at(until.into(), body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(_))) => {
                let detail = "the body did not arrive whole";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "malformed-body", detail));
            }
            Err(_) if read > settings.max_body_bytes => break,
            Err(_) => {
                let detail = "the body did not arrive in time";
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail));
            }
        };
        // Trailers say nothing that anybody reads.
        let Ok(data) = frame.into_data() else { continue };
        read = read.saturating_add(data.len());
        if read > settings.max_body_bytes {
            (first, rest) = (Bytes::new(), Vec::new());
            held.shrink(read);
            if read / READ_ON > settings.max_body_bytes {
                break;
            }
            continue;
        }
        if !held.grow(data.len()) {
            return Err(no_room());
        }
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    if read > settings.max_body_bytes {
        return Err(too_large("", settings.max_body_bytes));
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}

/// The members of a gzip, one after the other.
struct GzipMembers<'b>(Option<flate2::bufread::GzDecoder<&'b [u8]>>);

impl Read for GzipMembers<'_> {
    fn read(&mut self, part: &mut [u8]) -> std::io::Result<usize> {
        const MAGIC: [u8; 2] = [0x1f, 0x8b];
        while let Some(member) = &mut self.0 {
            let read = member.read(part)?;
            if read > 0 {
                return Ok(read);
            }
            let rest = self.0.take().map_or(&[][..], flate2::bufread::GzDecoder::into_inner);
            if rest.starts_with(&MAGIC) {
                self.0 = Some(flate2::bufread::GzDecoder::new(rest));
            } else if !rest.is_empty() {
                return Err(std::io::Error::other(MORE));
            }
        }
        Ok(0)
    }
}

/// Decompresses within the body's bound, and holds what comes of it instead of what was sent.
fn decompress(
    encoding: Encoding,
    bytes: &[u8],
    limit: usize,
    mut held: HeldBytes,
) -> Result<(Bytes, HeldBytes), Problem> {
    let name = if encoding == Encoding::Gzip { "gzip" } else { "zstd" };
    let malformed = |error: std::io::Error| {
        let detail = match error.kind() {
            std::io::ErrorKind::UnexpectedEof => format!("the body is cut off: its {name} ends too early"),
            _ if error.to_string() == MORE => "after the body's gzip come bytes that are none".to_owned(),
            _ => format!("not {name}, as content-encoding says"),
        };
        Problem::new(StatusCode::BAD_REQUEST, "malformed-body", detail)
    };
    let mut reader: Box<dyn Read + '_> = match encoding {
        Encoding::Identity => Box::new(bytes),
        Encoding::Gzip => Box::new(GzipMembers(Some(flate2::bufread::GzDecoder::new(bytes)))),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(malformed)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(malformed)?;
            Box::new(decoder)
        }
    };
    let (mut whole, mut chunk) = (Vec::new(), vec![0; CHUNK]);
    loop {
        let read = reader.read(&mut chunk).map_err(malformed)?;
        if read == 0 {
            break;
        }
        if whole.len() + read > limit {
            return Err(too_large(", decompressed,", limit));
        }
        if !held.grow(read) {
            return Err(no_room());
        }
        whole.extend_from_slice(&chunk[..read]);
    }
    held.shrink(bytes.len());
    Ok((whole.into(), held))
}
