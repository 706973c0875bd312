//! The cluster's certificates and tokens, new for every stage.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Who talks to the API server, each by a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    Admin,
    ControllerManager,
    Scheduler,
    Kubelet,
}

/// Files of the cluster's trust, all below one folder.
#[derive(Debug)]
pub(super) struct Pki {
    dir: PathBuf,
    pub(super) ca_pem: String,
    tokens: [(User, String); 4],
}

impl Pki {
    /// Makes a certificate authority, the API server's serving certificate, its client certificate towards the kubelet,
    /// the key that signs service account tokens, and one token per user.
    pub(super) fn create(dir: &Path, node: &str) -> Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.distinguished_name.push(DnType::CommonName, "tributary-stage");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);

        let names = [
            "127.0.0.1",
            "10.96.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ];
        let mut serving = CertificateParams::new(names.map(str::to_owned))?;
        serving
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut kubelet_client = CertificateParams::new(Vec::new())?;
        kubelet_client
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver-kubelet-client");
        kubelet_client
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        kubelet_client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];

        let tokens = [
            User::Admin,
            User::ControllerManager,
            User::Scheduler,
            User::Kubelet,
        ]
        .map(|user| (user, secret()));
        let pki = Self {
            dir: dir.to_owned(),
            ca_pem,
            tokens,
        };
        pki.write("ca.crt", &pki.ca_pem)?;
        for (name, params) in [("apiserver", serving), ("kubelet-client", kubelet_client)] {
            let key = KeyPair::generate()?;
            pki.write(&format!("{name}.crt"), &params.signed_by(&key, &issuer)?.pem())?;
            pki.write(&format!("{name}.key"), &key.serialize_pem())?;
        }
        let service_accounts = KeyPair::generate()?;
        pki.write("service-accounts.key", &service_accounts.serialize_pem())?;
        pki.write("service-accounts.pub", &service_accounts.public_key_pem())?;
        pki.write(
            "tokens.csv",
            &pki.tokens
                .iter()
                .map(|(user, token)| user.line(token, node))
                .collect::<String>(),
        )?;
        Ok(pki)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A kubeconfig for that user, written as `<name>.kubeconfig`.
    pub(super) fn kubeconfig(&self, user: User, server: &str) -> Result<PathBuf> {
        let token = self
            .tokens
            .iter()
            .find(|(of, _)| *of == user)
            .map(|(_, token)| token)
            .context("every user has one")?;
        let ca = self.path("ca.crt");
        let text = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "stage",
            "clusters": [{"name": "stage", "cluster": {"server": server, "certificate-authority": ca}}],
            "users": [{"name": user.name(), "user": {"token": token}}],
            "contexts": [{"name": "stage", "context": {"cluster": "stage", "user": user.name()}}],
        });
        let name = format!("{}.kubeconfig", user.name());
        self.write(&name, &format!("{text:#}\n"))?;
        Ok(self.path(&name))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        use std::io::Write as _;
        let path = self.path(name);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

impl User {
    fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Kubelet => "kubelet",
        }
    }

    /// A line of kube-apiserver's token file: token, user, uid, groups.
    fn line(self, token: &str, node: &str) -> String {
        let (user, group) = match self {
            Self::Admin => ("admin".to_owned(), "system:masters"),
            Self::ControllerManager => ("system:kube-controller-manager".to_owned(), ""),
            Self::Scheduler => ("system:kube-scheduler".to_owned(), ""),
            Self::Kubelet => (format!("system:node:{node}"), "system:nodes"),
        };
        format!("{token},{user},{},\"{group}\"\n", self.name())
    }
}

/// 128 unguessable enough bits for a server on loopback that lives for minutes.
fn secret() -> String {
    let half = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", half(), half())
}
