//! What a certificate says: its names, its digest and its dates.

use rustls::pki_types::CertificateDer;
use yasna::tags::TAG_UTCTIME;
use yasna::{ASN1Result, BERReaderSeq, Tag};

/// The certificate of a client. The handshake has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The DNS names of its subject.
    pub dns_names: Vec<String>,
    /// SHA-256 of the certificate (DER), in hexadecimal.
    pub sha256: String,
    /// The end of its validity, in milliseconds since 1970; none if it has no end.
    pub not_after_ms: Option<u64>,
}

impl ClientCertificate {
    /// Reads a verified certificate.
    pub fn of(der: &CertificateDer<'_>) -> Self {
        let names = webpki::EndEntityCert::try_from(der)
            .map(|cert| cert.valid_dns_names().map(str::to_owned).collect())
            .unwrap_or_default();
        let digest = crate::digest::digest(der);
        Self {
            dns_names: names,
            sha256: digest.strip_prefix("sha256:").unwrap_or(&digest).to_owned(),
            not_after_ms: Validity::of(der).ok().map(|validity| validity.not_after_ms),
        }
    }
}

/// The dates of a certificate, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    pub(super) not_before_ms: u64,
    pub(super) not_after_ms: u64,
}

impl Validity {
    pub(super) fn of(der: &CertificateDer<'_>) -> Result<Self, String> {
        let dates = yasna::parse_der(der, |certificate| {
            certificate.read_sequence(|parts| {
                let dates = parts.next().read_sequence(|signed| {
                    // The version, then serial number, algorithm and issuer.
                    signed
                        .read_optional(|version| version.read_tagged(Tag::context(0), |version| version.read_der()))?;
                    for _ in 0..3 {
                        signed.next().read_der()?;
                    }
                    let dates = signed.next().read_sequence(|dates| Ok([seconds(dates)?, seconds(dates)?]))?;
                    skip_rest(signed)?;
                    Ok(dates)
                })?;
                skip_rest(parts)?;
                Ok(dates)
            })
        });
        // Before 1970 is as good as 1970.
        let dates = dates.map_err(|error| format!("holds no certificate of X.509: {error}"))?;
        let [not_before_ms, not_after_ms] = dates.map(|date| u64::try_from(date).unwrap_or(0) * 1000);
        Ok(Self { not_before_ms, not_after_ms })
    }
}

/// The next time of a certificate, in seconds since 1970.
fn seconds(times: &mut BERReaderSeq<'_, '_>) -> ASN1Result<i64> {
    let time = times.next();
    Ok(match time.lookahead_tag()? {
        TAG_UTCTIME => time.read_utctime()?.datetime().unix_timestamp(),
        _ => time.read_generalized_time()?.datetime().unix_timestamp(),
    })
}

fn skip_rest(parts: &mut BERReaderSeq<'_, '_>) -> ASN1Result<()> {
    while parts.read_optional(|part| part.read_der())?.is_some() {}
    Ok(())
}
