//! Logging in: `saslStart`, `saslContinue`, and the first step hidden in the handshake.

use std::sync::{MutexGuard, PoisonError};

use bson::{Binary, RawArrayBuf, RawBsonRef, RawDocumentBuf, raw::RawDocument, rawdoc, spec::BinarySubtype};

use super::{Context, is_true};
use crate::{
    error::{Code, CommandError, Result},
    scram::{Exchange, MECHANISM, Refused},
};

/// Each connection has at most one conversation at a time.
const CONVERSATION: i32 = 1;

/// Commands that strangers may send.
const OPEN_TO_ALL: [&str; 10] = [
    "hello",
    "isMaster",
    "ismaster",
    "ping",
    "buildInfo",
    "buildinfo",
    "connectionStatus",
    "saslStart",
    "saslContinue",
    "endSessions",
];

/// How far a connection's login has come.
#[derive(Default)]
pub(crate) enum Login {
    #[default]
    Stranger,
    Challenged {
        exchange: Exchange,
        skip_empty_exchange: bool,
    },
    /// The proof was right; a client that does not skip the empty exchange has yet to acknowledge.
    Proven(String),
    User(String),
}

impl From<Refused> for CommandError {
    fn from(_: Refused) -> Self {
        CommandError::new(Code::AuthenticationFailed, "Authentication failed.")
    }
}

impl Context<'_> {
    fn login(&self) -> MutexGuard<'_, Login> {
        self.connection
            .login
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refuse_strangers(&self, name: &str) -> Result<()> {
        let users = &self.server.users;
        if users.is_empty() || OPEN_TO_ALL.contains(&name) {
            return Ok(());
        }
        match &*self.login() {
            Login::User(user) if users.exists(user) => Ok(()),
            _ => Err(CommandError::new(
                Code::Unauthorized,
                format!("Command {name} requires authentication"),
            )),
        }
    }

    pub(super) fn sasl_start(&self) -> Result<RawDocumentBuf> {
        self.start(self.body(), self.request.db())
    }

    fn start(&self, request: &RawDocument, db: &str) -> Result<RawDocumentBuf> {
        let mut login = self.login();
        *login = Login::Stranger;
        // A client that does not know the user's mechanisms falls back to SHA-1, which no user here has.
        if request.get_str("mechanism").ok() != Some(MECHANISM) {
            return Err(Refused.into());
        }
        let exchange = self.server.users.challenge(db, payload(request)?)?;
        let reply = step(false, &exchange.challenge);
        let options = request.get_document("options").ok();
        *login = Login::Challenged {
            exchange,
            skip_empty_exchange: options.is_some_and(|options| is_true(options, "skipEmptyExchange")),
        };
        Ok(reply)
    }

    pub(super) fn sasl_continue(&self) -> Result<RawDocumentBuf> {
        let mut login = self.login();
        match std::mem::take(&mut *login) {
            Login::Challenged {
                exchange,
                skip_empty_exchange,
            } => {
                let proof = exchange.prove(payload(self.body())?)?;
                *login = if skip_empty_exchange {
                    Login::User(exchange.user)
                } else {
                    Login::Proven(exchange.user)
                };
                Ok(step(skip_empty_exchange, &proof))
            }
            Login::Proven(user) => {
                *login = Login::User(user);
                Ok(step(true, ""))
            }
            Login::Stranger | Login::User(_) => Err(CommandError::new(
                Code::ProtocolError,
                "No SASL session state found",
            )),
        }
    }

    /// What the handshake says about logging in: the mechanisms of the user it names, and the answer to a first step
    /// that the client sent along. A step that fails is not answered; the client then starts over and is refused.
    pub(super) fn handshake_login(&self) -> RawDocumentBuf {
        let mut reply = RawDocumentBuf::new();
        if let Ok(user) = self.body().get_str("saslSupportedMechs")
            && self.server.users.exists(user)
        {
            reply.append(
                bson::raw::cstr!("saslSupportedMechs"),
                RawArrayBuf::from_iter([MECHANISM]),
            );
        }
        if let Ok(step) = self.body().get_document("speculativeAuthenticate")
            && let Ok(answer) = self.start(step, step.get_str("db").unwrap_or("admin"))
        {
            reply.append(bson::raw::cstr!("speculativeAuthenticate"), answer);
        }
        reply
    }

    pub(super) fn connection_status(&self) -> RawDocumentBuf {
        let mut users = RawArrayBuf::new();
        if let Login::User(id) = &*self.login()
            && let Some((db, name)) = id.split_once('.')
        {
            users.push(rawdoc! { "user": name, "db": db });
        }
        rawdoc! { "authInfo": { "authenticatedUsers": users, "authenticatedUserRoles": [] } }
    }
}

fn payload(request: &RawDocument) -> Result<&[u8]> {
    match request.get("payload")? {
        Some(RawBsonRef::Binary(binary)) => Ok(binary.bytes),
        _ => Err(Refused.into()),
    }
}

fn step(done: bool, message: &str) -> RawDocumentBuf {
    let payload = Binary {
        subtype: BinarySubtype::Generic,
        bytes: message.as_bytes().to_vec(),
    };
    rawdoc! { "conversationId": CONVERSATION, "done": done, "payload": payload }
}
