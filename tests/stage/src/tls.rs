//! One certificate authority for the stage's own servers, and what they show with it: certificates for loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The authority's file and one server certificate for `127.0.0.1` and `localhost`, which all servers of the stage share.
#[derive(Debug)]
pub(crate) struct Tls {
    /// What clients trust.
    pub(crate) ca: PathBuf,
    /// Key and certificate in one PEM file, as Kafka reads a key store.
    pub(crate) key_store: PathBuf,
    pub(crate) server: Arc<ServerConfig>,
}

impl Tls {
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.distinguished_name
            .push(DnType::CommonName, "tributary-stage servers");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);

        let key = KeyPair::generate()?;
        let mut serving = CertificateParams::new(["127.0.0.1", "localhost"].map(str::to_owned))?;
        serving
            .distinguished_name
            .push(DnType::CommonName, "tributary-stage");
        serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = serving.signed_by(&key, &issuer)?;

        let tls = Self {
            ca: dir.join("ca.crt"),
            key_store: dir.join("server.pem"),
            server: Arc::new(server_config(
                certificate.der().clone(),
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )?),
        };
        fs::write(&tls.ca, ca_pem).with_context(|| format!("cannot write {}", tls.ca.display()))?;
        // Nobody but the stage's own programs: it lies in the stage's folder and dies with it.
        fs::write(
            &tls.key_store,
            format!("{}{}", key.serialize_pem(), certificate.pem()),
        )?;
        Ok(tls)
    }
}

fn server_config(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?)
}
