//! The cookie of the console's sessions, over TLS and HTTP/2.

use axum::body::Bytes;
use axum::http::{HeaderMap, Request};
use h2::client::SendRequest;

use super::client::{connect, http2, read, run};
use super::{Authority, encrypted, start};
use crate::console::admit;

/// Sends a request; its answer's status, headers and body.
async fn send(client: &SendRequest<Bytes>, request: Request<()>, body: String) -> (u16, HeaderMap, String) {
    let mut client = client.clone().ready().await.expect("a stream");
    let (answer, mut sending) = client.send_request(request, body.is_empty()).expect("sends");
    if !body.is_empty() {
        sending.send_data(body.into(), true).expect("sends");
    }
    let answer = answer.await.expect("an answer");
    let headers = answer.headers().clone();
    let (status, text) = read(answer).await.expect("a body");
    (status, headers, text)
}

#[test]
fn a_session_by_http_2_has_its_port_in_its_cookies_name_and_is_sent_by_tls_alone() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "");
    let token = admit(&deployment, "ann", "read", &[]);
    let host = start(&deployment, &ca);
    let port = host.admin.address.rsplit(':').next().expect("a port").to_owned();
    let own = format!("https://localhost:{port}");
    run(async {
        let stream = connect(&host.admin.address, &ca.pem, None, &[b"h2"]).await.expect("connects");
        let client = http2(stream).await;
        let form = Request::post(format!("{own}/sign-in"))
            .header("origin", &own)
            .header("content-type", "application/x-www-form-urlencoded");
        let form = form.body(()).expect("a request");
        let (status, headers, text) = send(&client, form, format!("token={token}&next=/")).await;
        assert_eq!(status, 303, "{text}");
        let cookie = headers["set-cookie"].to_str().expect("text");
        assert!(cookie.starts_with(&format!("serin_session_{port}=")), "{cookie}");
        assert!(cookie.ends_with("; Secure"), "{cookie}");
        let kept = cookie.split(';').next().expect("a pair");
        let page = Request::get(format!("{own}/")).header("cookie", kept).body(()).expect("a request");
        let (status, _, text) = send(&client, page, String::new()).await;
        assert!(status == 200 && text.contains("as <b>ann</b>"), "{text}");
    });
}
