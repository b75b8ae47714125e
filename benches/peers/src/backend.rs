//! The cryptography of `jsonwebtoken`, for the peers that leave the choice to it.
//!
//! Since its version 10, a process chooses once. What is chosen here asks each time, so that both
//! kinds can have their turns in one process; that costs a load and an indirect call.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use jsonwebtoken10::crypto as ten;
use jsonwebtoken11::crypto as eleven;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    AwsLc,
    RustCrypto,
}

static AWS_LC: AtomicBool = AtomicBool::new(true);

impl Backend {
    pub fn select(self) {
        AWS_LC.store(self == Self::AwsLc, Relaxed);
    }
}

/// Makes it so. Once, before any peer is built.
pub fn install() {
    TEN.install_default().expect("nobody has chosen before");
    ELEVEN.install_default().expect("nobody has chosen before");
}

static TEN: ten::CryptoProvider = ten::CryptoProvider {
    signer_factory: |algorithm, key| (ten().signer_factory)(algorithm, key),
    verifier_factory: |algorithm, key| (ten().verifier_factory)(algorithm, key),
    jwk_utils: ten::JwkUtils::new_unimplemented(),
};

static ELEVEN: eleven::CryptoProvider = eleven::CryptoProvider {
    signer_factory: |algorithm, key| (eleven().signer_factory)(algorithm, key),
    verifier_factory: |algorithm, key| (eleven().verifier_factory)(algorithm, key),
    key_utils: eleven::KeyUtils::new_unimplemented(),
};

fn ten() -> &'static ten::CryptoProvider {
    if AWS_LC.load(Relaxed) {
        &ten::aws_lc::DEFAULT_PROVIDER
    } else {
        &ten::rust_crypto::DEFAULT_PROVIDER
    }
}

fn eleven() -> &'static eleven::CryptoProvider {
    if AWS_LC.load(Relaxed) {
        &eleven::aws_lc::DEFAULT_PROVIDER
    } else {
        &eleven::rust_crypto::DEFAULT_PROVIDER
    }
}
