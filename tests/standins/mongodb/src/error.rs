//! Command errors as MongoDB words them: a number, its code name, a message and the labels drivers act on.

use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};

/// The codes this server can answer or be told to inject. The variant is the `codeName` clients read.
macro_rules! codes {
    ($($name:ident = $number:literal),+ $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($name),+ }

        impl Code {
            pub fn number(self) -> i32 {
                match self { $(Self::$name => $number),+ }
            }

            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// The code name MongoDB gives a number, if it is one this server knows.
            pub fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

codes! {
    InternalError = 1,
    BadValue = 2,
    HostUnreachable = 6,
    FailedToParse = 9,
    Unauthorized = 13,
    TypeMismatch = 14,
    ProtocolError = 17,
    AuthenticationFailed = 18,
    IllegalOperation = 20,
    InvalidBSON = 22,
    NamespaceNotFound = 26,
    IndexNotFound = 27,
    PathNotViable = 28,
    ConflictingUpdateOperators = 40,
    CursorNotFound = 43,
    NamespaceExists = 48,
    NoMatchingDocument = 47,
    MaxTimeMSExpired = 50,
    CommandNotFound = 59,
    WriteConcernFailed = 64,
    ImmutableField = 66,
    CannotCreateIndex = 67,
    InvalidOptions = 72,
    InvalidNamespace = 73,
    NetworkTimeout = 89,
    ShutdownInProgress = 91,
    PrimarySteppedDown = 189,
    CursorKilled = 237,
    InvalidResumeToken = 260,
    ExceededTimeLimit = 262,
    OperationNotSupportedInTransaction = 263,
    ChangeStreamFatalError = 280,
    ChangeStreamHistoryLost = 286,
    Location10065 = 10065,
    NotWritablePrimary = 10107,
    BSONObjectTooLarge = 10334,
    DuplicateKey = 11000,
    InterruptedAtShutdown = 11600,
    InterruptedDueToReplStateChange = 11602,
    Location17419 = 17419,
    NotPrimaryNoSecondaryOk = 13435,
    NotPrimaryOrSecondary = 13436,
    Location40324 = 40324,
    Location40415 = 40415,
    Location40573 = 40573,
}

#[derive(Debug, Clone)]
pub struct CommandError {
    pub code: i32,
    pub name: String,
    pub message: String,
    pub labels: Vec<String>,
}

pub type Result<T> = std::result::Result<T, CommandError>;

impl CommandError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code: code.number(),
            name: code.name().to_owned(),
            message: message.into(),
            labels: Vec::new(),
        }
    }

    /// An error given by number, as the admin API does. An unknown number is named the way MongoDB names its unnamed ones.
    pub fn from_number(number: i32, message: impl Into<String>, labels: Vec<String>) -> Self {
        let name =
            Code::from_number(number).map_or_else(|| format!("Location{number}"), |c| c.name().to_owned());
        Self {
            code: number,
            name,
            message: message.into(),
            labels,
        }
    }

    pub fn label(mut self, label: &str) -> Self {
        self.labels.push(label.to_owned());
        self
    }

    pub fn is(&self, code: Code) -> bool {
        self.code == code.number()
    }

    /// The failed reply, without the cluster time the dispatcher adds to every reply.
    pub fn to_reply(&self) -> RawDocumentBuf {
        let mut reply = rawdoc! { "ok": 0.0, "errmsg": self.message.as_str(), "code": self.code, "codeName": self.name.as_str() };
        if !self.labels.is_empty() {
            let labels: RawArrayBuf = self.labels.iter().map(String::as_str).collect();
            reply.append(bson::raw::cstr!("errorLabels"), labels);
        }
        reply
    }
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name, self.code, self.message)
    }
}

impl std::error::Error for CommandError {}

pub(crate) fn bad_value(message: impl Into<String>) -> CommandError {
    CommandError::new(Code::BadValue, message)
}

impl From<bson::error::Error> for CommandError {
    fn from(error: bson::error::Error) -> Self {
        CommandError::new(Code::InvalidBSON, error.to_string())
    }
}
