//! The lab's certificates: an authority that the clients trust, and one of a company whose proxy reads along.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::topology::{NAME, TCP_NAME};

/// Everything as PEM.
#[derive(Debug)]
pub(super) struct Pki {
    /// The authority that has signed the server's certificate.
    pub(super) authority: String,
    /// The server's, for its names.
    pub(super) server_certificate: String,
    pub(super) server_key: String,
    /// The authority of an intercepting proxy.
    pub(super) company: String,
    pub(super) company_key: String,
}

impl Pki {
    pub(super) fn new() -> Self {
        let (authority, issuer) = authority("The lab's authority");
        let (company, company_issuer) = self::authority("The company's proxy");
        let names = [NAME, TCP_NAME].map(String::from);
        let mut server = CertificateParams::new(names).expect("names");
        server.distinguished_name.push(DnType::CommonName, NAME);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = server.signed_by(&key, &issuer).expect("signed");
        Self {
            authority,
            server_certificate: certificate.pem(),
            server_key: key.serialize_pem(),
            company,
            company_key: company_issuer.key().serialize_pem(),
        }
    }
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("signed");
    (certificate.pem(), Issuer::new(parameters, key))
}
