//! Whose certificates StarRocks' servers may show.

use std::sync::Arc;

use mysql_async::SslOpts;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::access::Authority;

#[derive(Clone)]
pub struct Trust {
    certificates: Vec<CertificateDer<'static>>,
    pub(super) connector: TlsConnector,
    /// For messages: where they come from.
    whom: String,
}

impl Trust {
    /// `None`: whom the machine believes.
    pub fn new(authority: Option<&Authority>) -> Result<Self, String> {
        let (certificates, whom) = match authority {
            Some(authority) => {
                let certificates = authority.certificates().map_err(|error| error.to_string())?;
                (
                    certificates,
                    format!("the authority in {}", authority.path.display()),
                )
            }
            None => {
                // Some of a machine's certificates are always odd: only having none is an error, and shows at the first use.
                let found = rustls_native_certs::load_native_certs();
                (
                    found.certs,
                    "an authority this machine knows (no caFile is given)".to_owned(),
                )
            }
        };
        let mut roots = RootCertStore::empty();
        let (known, odd) = roots.add_parsable_certificates(certificates.iter().cloned());
        if known == 0 && authority.is_some() {
            return Err(format!("{whom}: none of {odd} certificates can be used"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            certificates,
            connector: TlsConnector::from(Arc::new(config)),
            whom,
        })
    }

    /// For sessions by the MySQL protocol.
    pub(super) fn mysql(&self) -> SslOpts {
        let roots = self.certificates.iter().map(|der| der.to_vec().into()).collect();
        SslOpts::default()
            .with_disable_built_in_roots(true)
            .with_root_certs(roots)
    }

    /// What failed with a server, and what to do.
    pub(super) fn explain(&self, failure: &rustls::Error) -> String {
        match failure {
            rustls::Error::InvalidCertificate(why) => format!(
                "its certificate is not to be trusted ({why}): it must name this host and be signed by {}",
                self.whom
            ),
            rustls::Error::InvalidMessage(_) => {
                format!("it does not speak TLS ({failure}): is the endpoint's scheme or port right?")
            }
            other => other.to_string(),
        }
    }
}

/// The failure of a TLS handshake, if that is what an error of a connection is.
pub(super) fn tls_failure(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
