//! Ciphers, and the suites that they are parts of.

use std::fmt;

use dimpl::crypto::{
    Aad, Buf, Cipher, Dtls12CipherSuite, Dtls13CipherSuite, HashAlgorithm, Nonce, SupportedDtls12CipherSuite,
    SupportedDtls13CipherSuite, TmpBuf,
};
use dimpl::{CryptoError, CryptoOperation};
use ring::aead::{self, AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, LessSafeKey, UnboundKey, quic};

/// The suites of DTLS 1.2 that dimpl knows.
pub(super) const DTLS12: &[&dyn SupportedDtls12CipherSuite] = &[&CHACHA20, &AES_128, &AES_256];

/// Of DTLS 1.3, which is not spoken yet, dimpl demands one, and checks it.
pub(super) const DTLS13: &[&dyn SupportedDtls13CipherSuite] = &[&ChaCha20OfDtls13];

/// Bytes of the tag of each cipher here.
const TAG: usize = 16;

/// A suite of DTLS 1.2.
struct Suite {
    suite: Dtls12CipherSuite,
    hash: HashAlgorithm,
    cipher: &'static aead::Algorithm,
    /// Bytes of a nonce that are the same for all records, and such as each record brings.
    nonce: (usize, usize),
}

static AES_128: Suite = Suite {
    suite: Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256,
    hash: HashAlgorithm::SHA256,
    cipher: &AES_128_GCM,
    nonce: (4, 8),
};

static AES_256: Suite = Suite {
    suite: Dtls12CipherSuite::ECDHE_ECDSA_AES256_GCM_SHA384,
    hash: HashAlgorithm::SHA384,
    cipher: &AES_256_GCM,
    nonce: (4, 8),
};

static CHACHA20: Suite = Suite {
    suite: Dtls12CipherSuite::ECDHE_ECDSA_CHACHA20_POLY1305_SHA256,
    hash: HashAlgorithm::SHA256,
    cipher: &CHACHA20_POLY1305,
    nonce: (12, 0),
};

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.suite.fmt(f)
    }
}

impl SupportedDtls12CipherSuite for Suite {
    fn suite(&self) -> Dtls12CipherSuite {
        self.suite
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.hash
    }

    fn key_lengths(&self) -> (usize, usize, usize) {
        (0, self.cipher.key_len(), self.nonce.0)
    }

    fn explicit_nonce_len(&self) -> usize {
        self.nonce.1
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        Keyed::boxed(self.cipher, key)
    }
}

/// A cipher with its key.
struct Keyed(LessSafeKey);

impl Keyed {
    fn boxed(algorithm: &'static aead::Algorithm, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        let key = UnboundKey::new(algorithm, key)
            .map_err(|_| CryptoError::OperationFailed(CryptoOperation::CreateCipher))?;
        Ok(Box::new(Self(LessSafeKey::new(key))))
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed")
    }
}

impl Cipher for Keyed {
    fn encrypt(&mut self, plaintext: &mut Buf, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce.0);
        self.0
            .seal_in_place_append_tag(nonce, aead::Aad::from(&aad[..]), plaintext)
            .map_err(|_| CryptoError::OperationFailed(CryptoOperation::Encrypt))
    }

    fn decrypt(&mut self, ciphertext: &mut TmpBuf<'_>, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce.0);
        let plaintext = self
            .0
            .open_in_place(nonce, aead::Aad::from(&aad[..]), ciphertext.as_mut())
            .map_err(|_| CryptoError::OperationFailed(CryptoOperation::Decrypt))?;
        let length = plaintext.len();
        ciphertext.truncate(length);
        Ok(())
    }
}

#[derive(Debug)]
struct ChaCha20OfDtls13;

impl SupportedDtls13CipherSuite for ChaCha20OfDtls13 {
    fn suite(&self) -> Dtls13CipherSuite {
        Dtls13CipherSuite::CHACHA20_POLY1305_SHA256
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn key_len(&self) -> usize {
        CHACHA20_POLY1305.key_len()
    }

    fn iv_len(&self) -> usize {
        CHACHA20_POLY1305.nonce_len()
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        Keyed::boxed(&CHACHA20_POLY1305, key)
    }

    fn encrypt_sn(&self, sn_key: &[u8], sample: &[u8; 16]) -> [u8; 16] {
        let mut mask = [0; 16];
        let key = quic::HeaderProtectionKey::new(&quic::CHACHA20, sn_key);
        if let Ok(bytes) = key.and_then(|key| key.new_mask(sample)) {
            mask[..bytes.len()].copy_from_slice(&bytes);
        }
        mask
    }
}
