//! SCRAM-SHA-256, the server's side (RFC 5802, RFC 7677): who there is, and one login's exchange of messages.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bson::Uuid;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

pub const MECHANISM: &str = "SCRAM-SHA-256";
/// What MongoDB asks for by default.
const ITERATIONS: u32 = 15_000;
/// The header `n,,` in base64: no channel binding, nobody else's name.
const NO_BINDING: &str = "biws";

/// What the server keeps of a password.
#[derive(Clone)]
struct Credentials {
    salt: [u8; 16],
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl Credentials {
    fn new(password: &str) -> Self {
        // A password that SASLprep refuses is used as it is, which is what drivers do for none that people have.
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        let salt = Uuid::new().bytes();
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(prepared.as_bytes(), &salt, ITERATIONS, &mut salted);
        Self {
            salt,
            stored_key: Sha256::digest(hmac(&salted, "Client Key")).into(),
            server_key: hmac(&salted, "Server Key"),
        }
    }
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key"));
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The users by `database.name`. As long as there is none, nobody needs to log in.
#[derive(Default)]
pub struct Users(RwLock<HashMap<String, Credentials>>);

/// A login that was refused. Why is not told, as MongoDB does not.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

impl Users {
    /// Adds one, or gives it another password.
    pub fn put(&self, id: &str, password: &str) {
        let credentials = Credentials::new(password);
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned(), credentials);
    }

    /// Connections that logged in as this user are strangers from now on.
    pub fn remove(&self, id: &str) -> bool {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id)
            .is_some()
    }

    pub fn exists(&self, id: &str) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(id)
    }

    pub fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn credentials(&self, id: &str) -> Option<Credentials> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Answers a client's first message (`n,,n=<user>,r=<nonce>`) with the challenge.
    pub fn challenge(&self, db: &str, client_first: &[u8]) -> Result<Exchange, Refused> {
        let text = std::str::from_utf8(client_first).map_err(|_| Refused)?;
        let bare = text.strip_prefix("n,,").ok_or(Refused)?;
        let (name, nonce) = bare
            .strip_prefix("n=")
            .and_then(|rest| rest.split_once(",r="))
            .ok_or(Refused)?;
        let name = name.replace("=2C", ",").replace("=3D", "=");
        let user = format!("{db}.{name}");
        let credentials = self.credentials(&user).ok_or(Refused)?;
        let nonce = format!("{nonce}{}", BASE64.encode(Uuid::new().bytes()));
        let challenge = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(credentials.salt));
        Ok(Exchange {
            user,
            client_first: bare.to_owned(),
            challenge,
            nonce,
            credentials,
        })
    }
}

/// A login between the challenge and the proof.
pub struct Exchange {
    pub user: String,
    /// The server's first message.
    pub challenge: String,
    client_first: String,
    nonce: String,
    credentials: Credentials,
}

impl Exchange {
    /// Checks the client's final message (`c=biws,r=<nonce>,p=<proof>`); the answer proves the server to the client.
    pub fn prove(&self, client_final: &[u8]) -> Result<String, Refused> {
        let text = std::str::from_utf8(client_final).map_err(|_| Refused)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Refused)?;
        if without_proof != format!("c={NO_BINDING},r={}", self.nonce) {
            return Err(Refused);
        }
        let auth_message = format!("{},{},{without_proof}", self.client_first, self.challenge);
        let signature = hmac(&self.credentials.stored_key, &auth_message);
        let proof: [u8; 32] = BASE64
            .decode(proof)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(Refused)?;
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(p, s)| p ^ s).collect();
        if *Sha256::digest(client_key) != self.credentials.stored_key {
            return Err(Refused);
        }
        let server_signature = hmac(&self.credentials.server_key, &auth_message);
        Ok(format!("v={}", BASE64.encode(server_signature)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677 §3, with its salt and nonces put in place of ours.
    #[test]
    fn the_exchange_of_rfc_7677_is_reproduced() {
        let salt: [u8; 16] = BASE64
            .decode("W22ZaJ0SNY7soEsUEjb6gQ==")
            .unwrap()
            .try_into()
            .unwrap();
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(b"pencil", &salt, 4096, &mut salted);
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let exchange = Exchange {
            user: "admin.user".into(),
            challenge: format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
            client_first: "n=user,r=rOprNGfwEbeRWgbNEkqO".into(),
            nonce: nonce.into(),
            credentials: Credentials {
                salt,
                stored_key: Sha256::digest(hmac(&salted, "Client Key")).into(),
                server_key: hmac(&salted, "Server Key"),
            },
        };
        let proof = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(
            exchange.prove(proof.as_bytes()).as_deref(),
            Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        );
        let forged = format!("c=biws,r={nonce},p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        assert_eq!(exchange.prove(forged.as_bytes()), Err(Refused));
        assert_eq!(exchange.prove(b"c=biws,r=another,p=AAAA"), Err(Refused));
    }

    #[test]
    fn a_stranger_gets_no_challenge() {
        let users = Users::default();
        assert!(users.is_empty());
        users.put("admin.acme", "secret");
        assert!(users.challenge("admin", b"n,,n=acme,r=abc").is_ok());
        assert!(users.challenge("admin", b"n,,n=globex,r=abc").is_err());
        assert!(users.challenge("shop_acme", b"n,,n=acme,r=abc").is_err());
        assert!(users.challenge("admin", b"y,,n=acme").is_err());
        assert!(users.remove("admin.acme") && !users.exists("admin.acme"));
    }
}
