//! Credentials and certificate authorities: what the files hold that the configuration only names.
//!
//! Read with the configuration and compared with it: a rotated Secret is a changed configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tributary_crds::relay::{KafkaSecurity, RelayConfig};

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(
        "cannot read {path}: {source}. The operator mounts it from a Secret or ConfigMap: has that the key?"
    )]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} holds no certificate in PEM form: {why}")]
    NoCertificate { path: PathBuf, why: String },
}

/// Who the relay is to Kafka, and whom it believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub kafka_login: Option<Login>,
    pub kafka_authority: Option<Authority>,
    pub starrocks_authority: Option<Authority>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// One or more certificates whose holders may vouch for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub path: PathBuf,
    pub pem: String,
}

impl Access {
    /// As the files are now.
    pub fn read(relay: &RelayConfig) -> Result<Self, AccessError> {
        let KafkaSecurity { tls, sasl } = relay.kafka.security.clone().unwrap_or_default();
        let starrocks = relay.starrocks.tls.clone().unwrap_or_default();
        Ok(Self {
            kafka_login: sasl.map(|sasl| Login::read(&sasl.credentials_dir)).transpose()?,
            kafka_authority: tls.and_then(|tls| tls.ca_file).map(Authority::read).transpose()?,
            starrocks_authority: starrocks.ca_file.map(Authority::read).transpose()?,
        })
    }
}

impl Login {
    /// From the files `username` and `password`.
    pub fn read(dir: &Path) -> Result<Self, AccessError> {
        // Secrets written by hand often end in a newline; a password never does on purpose.
        let line = |name| Ok(text(dir.join(name))?.trim_end_matches(['\r', '\n']).to_owned());
        Ok(Self {
            username: line("username")?,
            password: line("password")?,
        })
    }
}

impl Authority {
    fn read(path: PathBuf) -> Result<Self, AccessError> {
        let pem = text(path.clone())?;
        let authority = Self { path, pem };
        authority.certificates()?;
        Ok(authority)
    }

    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, AccessError> {
        let wrong = |why: String| AccessError::NoCertificate {
            path: self.path.clone(),
            why,
        };
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.pem.as_bytes()).collect();
        match found {
            Ok(certificates) if certificates.is_empty() => Err(wrong("it has no CERTIFICATE section".into())),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(wrong(error.to_string())),
        }
    }
}

fn text(path: PathBuf) -> Result<String, AccessError> {
    std::fs::read_to_string(&path).map_err(|source| AccessError::Read { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed_and_loses_only_its_newline() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("username"), "relay\r\n").unwrap();
        std::fs::write(dir.path().join("password"), " secret \n").unwrap();
        let login = Login::read(dir.path()).unwrap();
        assert_eq!((&*login.username, &*login.password), ("relay", " secret "));
        assert!(!format!("{login:?}").contains("secret"));
        std::fs::remove_file(dir.path().join("password")).unwrap();
        let error = Login::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("/password: "), "{error}");
    }

    #[test]
    fn what_is_no_certificate_is_refused_before_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        for wrong in [
            "",
            "not PEM",
            "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n",
        ] {
            std::fs::write(&path, wrong).unwrap();
            let error = Authority::read(path.clone()).unwrap_err().to_string();
            assert!(error.contains("ca.crt holds no certificate"), "{error}");
        }
    }
}
