//! What a certificate says: its names, its digest and its dates.

use rustls::pki_types::CertificateDer;
use yasna::models::ObjectIdentifier;
use yasna::tags::TAG_UTCTIME;
use yasna::{ASN1Result, BERReaderSeq, Tag, TagClass};

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

/// The tag of a certificate's extensions.
const EXTENSIONS: Tag = Tag { tag_class: TagClass::ContextSpecific, tag_number: 3 };

/// Says whether a certificate may be a CA's: its basic constraints say so. One of the first version of X.509 has
/// none, and may be where it is its own issuer.
pub(super) fn is_authority(der: &CertificateDer<'_>) -> bool {
    let constraints = yasna::parse_der(der, |certificate| {
        certificate.read_sequence(|parts| {
            let constraints = parts.next().read_sequence(|signed| {
                let version = signed.read_optional(|version| version.read_tagged(Tag::context(0), |v| v.read_u8()))?;
                // Serial number, algorithm, issuer, dates, subject, key.
                let parts: Vec<Vec<u8>> = (0..6).map(|_| signed.next().read_der()).collect::<Result<_, _>>()?;
                // Unique ids of old, then the extensions.
                let mut extensions = Vec::new();
                while let Some(more) = signed.read_optional(|part| match part.lookahead_tag()? {
                    tag if tag == EXTENSIONS => part.read_tagged(tag, |all| all.collect_sequence_of(extension)),
                    _ => part.read_der().map(|_| Vec::new()),
                })? {
                    extensions.extend(more);
                }
                let of_authority = extensions.into_iter().flatten().next();
                Ok((version.unwrap_or(0) == 0 && parts[2] == parts[4], of_authority))
            })?;
            skip_rest(parts)?;
            Ok(constraints)
        })
    });
    match constraints {
        Ok((is_old_root, is_ca)) => is_ca.unwrap_or(is_old_root),
        // It has been read before: what is unusual in it is no reason to refuse it.
        Err(_) => true,
    }
}

/// What an extension says of being a CA; none where it is about something else.
fn extension(reader: yasna::BERReader<'_, '_>) -> ASN1Result<Option<bool>> {
    reader.read_sequence(|parts| {
        let id = parts.next().read_oid()?;
        parts.read_optional(|critical| critical.read_bool())?;
        let value = parts.next().read_bytes()?;
        if id != ObjectIdentifier::from_slice(&[2, 5, 29, 19]) {
            return Ok(None);
        }
        yasna::parse_der(&value, |constraints| {
            constraints.read_sequence(|parts| {
                let is_ca = parts.read_optional(|is_ca| is_ca.read_bool())?;
                skip_rest(parts)?;
                Ok(Some(is_ca.unwrap_or(false)))
            })
        })
    })
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
