//! Certificates of an authority that nobody else knows.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use super::NODE;

/// Who signs certificates.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate, and its key.
pub(super) struct Pair {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "hookd-test-authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for servers on the node, and for their clients.
    pub(super) fn sign(&self) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([NODE.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Pair { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }
}

impl Pair {
    pub(super) fn certificate(&self) -> String {
        self.certificate.pem()
    }

    pub(super) fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    pub(super) fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// PKCS #8.
    pub(super) fn key_der(&self) -> &[u8] {
        self.key.serialized_der()
    }

    /// Of a server that has it.
    pub(super) fn server(&self) -> ServerConfig {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let chain = vec![self.certificate.der().clone()];
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()
    }
}
