//! What dimpl computes with: ring, as rustls does, so that no second cryptographic library comes in.

use std::cell::Cell;
use std::fmt;

use dimpl::crypto::{
    ActiveKeyExchange, Buf, CryptoProvider, HashAlgorithm, HashContext, HashProvider, HmacProvider,
    KeyProvider, NamedGroup, SecureRandom, SignatureAlgorithm, SignatureVerifier, SigningKey,
    SupportedKxGroup, check_verify_scheme,
};
use dimpl::{CryptoError, CryptoOperation};
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, signature};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::Signer;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384};
use x509_parser::parse_x509_certificate;

use super::suites;

/// Everything dimpl asks for.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: GROUPS,
        signature_verification: &Verifier,
        key_provider: &Keys,
        secure_random: &Random,
        hash_provider: &Hashes,
        hmac_provider: &Hmac,
        cipher_suites: suites::DTLS12,
        dtls13_cipher_suites: suites::DTLS13,
    }
}

thread_local! {
    static COOKIE: Cell<Option<[u8; 32]>> = const { Cell::new(None) };
}

/// Has dimpl take this for the cookie that it would have given.
///
/// dimpl makes the key of its cookies anew for each association, when there is one already: a cookie of its own proves
/// nothing before. Ours were given and checked without one (RFC 6347 section 4.2.1), and dimpl goes through the exchange once
/// more to number its messages as the client does. It computes cookies by [`HmacProvider::hmac_sha256`], and nothing
/// else by that.
pub(super) fn with_cookie<T>(cookie: [u8; 32], work: impl FnOnce() -> T) -> T {
    COOKIE.set(Some(cookie));
    let done = work();
    COOKIE.set(None);
    done
}

const fn failed(operation: CryptoOperation) -> CryptoError {
    CryptoError::OperationFailed(operation)
}

#[derive(Debug)]
struct Hmac;

impl HmacProvider for Hmac {
    fn hmac_sha256(&self, key: &[u8], data: &[u8]) -> Result<[u8; 32], CryptoError> {
        if let Some(cookie) = COOKIE.get() {
            return Ok(cookie);
        }
        let mut out = [0; 32];
        self.hmac(HashAlgorithm::SHA256, key, data, &mut out)?;
        Ok(out)
    }

    fn hmac(
        &self,
        hash: HashAlgorithm,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let algorithm = match hash {
            HashAlgorithm::SHA256 => hmac::HMAC_SHA256,
            HashAlgorithm::SHA384 => hmac::HMAC_SHA384,
            other => return Err(CryptoError::UnsupportedHmacHash(other)),
        };
        let tag = hmac::sign(&hmac::Key::new(algorithm, key), data);
        let tag = tag.as_ref();
        out[..tag.len()].copy_from_slice(tag);
        Ok(tag.len())
    }
}

#[derive(Debug)]
struct Hashes;

impl HashProvider for Hashes {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        let algorithm = match algorithm {
            HashAlgorithm::SHA384 => &digest::SHA384,
            // The suites have no third.
            _ => &digest::SHA256,
        };
        Box::new(Hash(digest::Context::new(algorithm)))
    }
}

struct Hash(digest::Context);

impl HashContext for Hash {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn clone_and_finalize(&self, out: &mut Buf) {
        out.clear();
        out.extend_from_slice(self.0.clone().finish().as_ref());
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

#[derive(Debug)]
struct Random;

impl SecureRandom for Random {
    fn fill(&self, buf: &mut [u8]) -> Result<(), CryptoError> {
        SystemRandom::new().fill(buf).map_err(|_| failed(CryptoOperation::FillRandom))
    }
}

/// A group, by its name in TLS and in ring.
struct Group(NamedGroup, &'static agreement::Algorithm);

static X25519: Group = Group(NamedGroup::X25519, &agreement::X25519);
static P256: Group = Group(NamedGroup::Secp256r1, &agreement::ECDH_P256);
static P384: Group = Group(NamedGroup::Secp384r1, &agreement::ECDH_P384);

static GROUPS: &[&dyn SupportedKxGroup] = &[&X25519, &P256, &P384];

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl SupportedKxGroup for Group {
    fn name(&self) -> NamedGroup {
        self.0
    }

    fn start_exchange(&self, mut buf: Buf) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        let secret = EphemeralPrivateKey::generate(self.1, &SystemRandom::new())
            .map_err(|_| failed(CryptoOperation::GenerateEphemeralKey))?;
        let public = secret.compute_public_key().map_err(|_| failed(CryptoOperation::ComputePublicKey))?;
        buf.clear();
        buf.extend_from_slice(public.as_ref());
        Ok(Box::new(Exchange { group: self.0, secret, public: buf }))
    }
}

#[derive(Debug)]
struct Exchange {
    group: NamedGroup,
    secret: EphemeralPrivateKey,
    public: Buf,
}

impl ActiveKeyExchange for Exchange {
    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn complete(self: Box<Self>, peer_pub: &[u8], out: &mut Buf) -> Result<(), CryptoError> {
        let peer = UnparsedPublicKey::new(self.secret.algorithm(), peer_pub);
        agree_ephemeral(self.secret, &peer, |secret| {
            out.clear();
            out.extend_from_slice(secret);
        })
        .map_err(|_| CryptoError::InvalidPublicKey(self.group))
    }

    fn group(&self) -> NamedGroup {
        self.group
    }
}

#[derive(Debug)]
struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, key_der: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        let invalid = |_| CryptoError::InvalidPrivateKey;
        let key = PrivateKeyDer::try_from(key_der).map_err(invalid)?;
        let key = any_ecdsa_type(&key).map_err(|_| CryptoError::InvalidPrivateKey)?;
        let with = |(scheme, hash)| key.choose_scheme(&[scheme]).map(|signer| Key { signer, hash });
        let key = SCHEMES.into_iter().find_map(with).ok_or(CryptoError::InvalidPrivateKey)?;
        Ok(Box::new(key))
    }
}

/// How keys sign: each curve has one hash.
const SCHEMES: [(SignatureScheme, HashAlgorithm); 2] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, HashAlgorithm::SHA256),
    (SignatureScheme::ECDSA_NISTP384_SHA384, HashAlgorithm::SHA384),
];

/// Whether DTLS can be served with a key.
pub(crate) fn can_sign(key: &dyn rustls::sign::SigningKey) -> bool {
    SCHEMES.iter().any(|(scheme, _)| key.choose_scheme(&[*scheme]).is_some())
}

struct Key {
    signer: Box<dyn Signer>,
    hash: HashAlgorithm,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

// A signer holds a key that nothing changes.
impl std::panic::UnwindSafe for Key {}
impl std::panic::RefUnwindSafe for Key {}

impl SigningKey for Key {
    fn sign(&mut self, data: &[u8], hash_alg: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        if hash_alg != self.hash {
            return Err(CryptoError::SigningKeyHashMismatch { key_hash: self.hash, requested: hash_alg });
        }
        let signature = self.signer.sign(data).map_err(|_| failed(CryptoOperation::Sign))?;
        out.clear();
        out.extend_from_slice(&signature);
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.hash
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        std::slice::from_ref(&self.hash)
    }
}

#[derive(Debug)]
struct Verifier;

impl SignatureVerifier for Verifier {
    fn verify_signature(
        &self,
        cert_der: &[u8],
        data: &[u8],
        signature: &[u8],
        hash_alg: HashAlgorithm,
        sig_alg: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        let (_, certificate) =
            parse_x509_certificate(cert_der).map_err(|_| CryptoError::CertificateParseFailed)?;
        let key = certificate.public_key();
        if key.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
            return Err(CryptoError::UnsupportedPublicKeyAlgorithm);
        }
        let curve = key.algorithm.parameters.as_ref().ok_or(CryptoError::MissingEcCurveParameter)?;
        let curve = curve.as_oid().map_err(|_| CryptoError::InvalidEcCurveParameter)?;
        let group = match curve {
            curve if curve == OID_EC_P256 => NamedGroup::Secp256r1,
            curve if curve == OID_NIST_EC_P384 => NamedGroup::Secp384r1,
            _ => return Err(CryptoError::UnsupportedEcCurve),
        };
        check_verify_scheme(sig_alg, hash_alg, group)?;
        let algorithm: &dyn signature::VerificationAlgorithm = match (group, hash_alg) {
            (NamedGroup::Secp256r1, HashAlgorithm::SHA384) => &signature::ECDSA_P256_SHA384_ASN1,
            (NamedGroup::Secp256r1, _) => &signature::ECDSA_P256_SHA256_ASN1,
            (_, HashAlgorithm::SHA256) => &signature::ECDSA_P384_SHA256_ASN1,
            _ => &signature::ECDSA_P384_SHA384_ASN1,
        };
        let key = signature::UnparsedPublicKey::new(algorithm, &key.subject_public_key.data);
        key.verify(data, signature).map_err(|_| CryptoError::SignatureVerificationFailed {
            signature: sig_alg,
            hash: hash_alg,
            group,
        })
    }
}
