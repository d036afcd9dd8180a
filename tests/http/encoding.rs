//! Compressed bodies.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use super::{outreach, problem};
use crate::support::{Host, collections};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("compresses")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("compresses")
}

/// Every path that takes a body, and a body that it takes.
fn paths() -> [(&'static str, Value); 5] {
    let rows = json!({ "rows": [{ "entity": "l-1", "event_time": "2026-01-01T00:00:00Z", "values": {} }] });
    [
        ("/v1/decisions", outreach("b-1")),
        ("/v1/decisions/batch", json!({ "requests": [outreach("b-1")] })),
        ("/v1/outcomes", json!({ "outcomes": [] })),
        ("/v1/exposures", json!({ "exposures": [] })),
        ("/v1/features/servicing", rows),
    ]
}

#[test]
fn a_compressed_body_is_decompressed_on_every_path() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    for (path, body) in paths() {
        let body = body.to_string();
        for (coding, bytes) in [
            ("gzip", gzip(body.as_bytes())),
            ("X-GZIP", gzip(body.as_bytes())),
            ("zstd", zstd(body.as_bytes())),
            ("identity, gzip", gzip(body.as_bytes())),
            ("identity", body.clone().into_bytes()),
        ] {
            let answer = host.public.post_bytes(path, &bytes, &[("content-encoding", coding)]).expect("answers");
            assert!(answer.status == 200 || answer.status == 422, "{path} {coding}: {}", answer.text);
            assert!(!answer.text.contains("malformed"), "{path} {coding}: {}", answer.text);
        }
    }
    let many = json!({ "requests": vec![outreach("b-1"); 1000] }).to_string();
    let answer = host.public.post_bytes("/v1/decisions/batch", &gzip(many.as_bytes()), &[("content-encoding", "gzip")]);
    assert_eq!(answer.expect("answers").json()["results"].as_array().map(Vec::len), Some(1000));
}

#[test]
fn another_coding_is_a_415_that_names_those_that_are_taken() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    for (path, body) in paths() {
        for coding in ["br", "deflate", "compress", "gzip, gzip", "zstd,gzip", "nonsense"] {
            let answer = host.public.post_text(path, &body.to_string(), &[("content-encoding", coding)]);
            let answer = answer.expect("answers");
            assert!(problem(&answer, 415, "unsupported-content-encoding").contains("gzip, zstd"), "{coding}");
            assert_eq!(answer.headers["accept-encoding"], "gzip, zstd");
        }
    }
}

#[test]
fn what_a_body_decompresses_to_is_bounded() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    // 4 MiB is the bound; compressed it is some kilobytes.
    let mut bomb = outreach("b-1").to_string().into_bytes();
    bomb.resize(64 << 20, b' ');
    let send = |bytes: &[u8], coding: &str| {
        host.public.post_bytes("/v1/decisions", bytes, &[("content-encoding", coding)]).expect("answers")
    };
    for (coding, bytes) in [("gzip", gzip(&bomb)), ("zstd", zstd(&bomb))] {
        assert!(bytes.len() < 1 << 20);
        assert!(problem(&send(&bytes, coding), 413, "body-too-large").contains("decompressed"));
    }
    bomb.truncate(4 << 20);
    assert_eq!(send(&gzip(&bomb), "gzip").status, 200);
    for (coding, other) in [("gzip", "zstd"), ("zstd", "gzip")] {
        let bytes = if coding == "gzip" { zstd(b"{}") } else { gzip(b"{}") };
        assert!(problem(&send(&bytes, coding), 400, "malformed-body").contains(coding), "{other}");
    }
    let cut = gzip(outreach("b-1").to_string().as_bytes());
    problem(&send(&cut[..cut.len() - 9], "gzip"), 400, "malformed-body");
}

/// The answer as it came, and as it is.
fn answered(answer: ureq::http::Response<ureq::Body>) -> (Option<String>, Option<String>, Vec<u8>) {
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (coding, vary) = (header("content-encoding"), header("vary"));
    let bytes = answer.into_body().read_to_vec().expect("a body");
    let plain = match coding.as_deref() {
        Some("zstd") => zstd::decode_all(&*bytes).expect("zstd"),
        Some("gzip") => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut plain).expect("gzip");
            plain
        }
        _ => bytes,
    };
    (coding, vary, plain)
}

#[test]
fn long_answers_are_compressed_as_the_client_asks_and_short_ones_are_not() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let asked = |coding: Option<&str>, url: String, body: Option<&Value>| {
        let answer = match body {
            Some(body) => {
                let request = agent.post(url).content_type("application/json");
                coding
                    .iter()
                    .fold(request, |request, coding| request.header("accept-encoding", *coding))
                    .send(body.to_string())
            }
            None => {
                coding.iter().fold(agent.get(url), |request, coding| request.header("accept-encoding", *coding)).call()
            }
        };
        answered(answer.expect("answers"))
    };
    let public = |path: &str| format!("http://{}{path}", host.public.address);
    let admin = |path: &str| format!("http://{}{path}", host.admin.address);
    let batch = json!({ "requests": vec![outreach("b-1"); 20] });
    let read = [("/v1/decisions?limit=100", "decisions"), ("/v1/experiments/outreach-score/report", "metrics")];
    for (wanted, expected) in
        [(Some("gzip"), Some("gzip")), (Some("gzip, zstd"), Some("zstd")), (Some("br"), None), (None, None)]
    {
        let (coding, vary, bytes) = asked(wanted, public("/v1/decisions/batch"), Some(&batch));
        assert_eq!((coding.as_deref(), vary.as_deref()), (expected, Some("accept-encoding")), "{wanted:?}");
        let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(answer["results"].as_array().map(Vec::len), Some(20));
        for (path, key) in read {
            let (coding, _, bytes) = asked(wanted, admin(path), None);
            assert_eq!(coding.as_deref(), expected, "{path} {wanted:?}");
            let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
            assert!(answer.get(key).is_some(), "{path}: {answer}");
        }
        let (coding, _, bytes) = asked(wanted, admin("/metrics"), None);
        assert!(coding.as_deref() == expected && String::from_utf8_lossy(&bytes).contains("serin_decisions_total"));
    }
    let (coding, vary, _) = asked(Some("zstd"), public("/v1/decisions"), Some(&outreach("b-1")));
    assert_eq!((coding, vary), (None, None), "a single decision is not touched");
    let (coding, _, bytes) = asked(Some("zstd"), admin("/healthz"), None);
    assert_eq!((coding, &*bytes), (None, &b"ok\n"[..]));
}

#[test]
fn a_body_that_is_cut_off_is_told_as_that() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let body = outreach("b-1").to_string();
    for (coding, bytes) in [("gzip", gzip(body.as_bytes())), ("zstd", zstd(body.as_bytes()))] {
        let cut = &bytes[..bytes.len() - 5];
        let answer = host.public.post_bytes("/v1/decisions", cut, &[("content-encoding", coding)]).expect("answers");
        let said = problem(&answer, 400, "malformed-body");
        assert!(said.contains(&format!("cut off: its {coding} ends too early")), "{coding}: {said}");
    }
    let large = format!("{body}{}", " ".repeat(5 << 20));
    let answer = host.public.post_text("/v1/decisions", &large, &[]).expect("answers");
    assert!(problem(&answer, 413, "body-too-large").contains("server.max_body_bytes, which is 4194304"));
}

#[test]
fn what_follows_a_bodys_gzip_is_told_as_that() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let body = outreach("b-1").to_string();
    let send = |bytes: &[u8]| {
        host.public.post_bytes("/v1/decisions", bytes, &[("content-encoding", "gzip")]).expect("answers")
    };
    for more in [&b"x"[..], b"\x1f", b"some more bytes than a header has", &[0; 600]] {
        let answer = send(&[&gzip(body.as_bytes()), more].concat());
        assert!(problem(&answer, 400, "malformed-body").contains("after the body's gzip"), "{}", answer.text);
    }
    let whole = gzip(body.as_bytes());
    assert!(problem(&send(&whole[..whole.len() - 4]), 400, "malformed-body").contains("cut off"));
    let (one, two) = body.split_at(20);
    assert_eq!(send(&[gzip(one.as_bytes()), gzip(two.as_bytes())].concat()).status, 200, "a gzip may have members");
}
