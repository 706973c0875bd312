//! What a MongoDB connection string points to. It is a tenant's text that a shared system will dial: hosts are checked against
//! the platform's list, and nothing in it may look like a reference to somebody else's secret.

/// Why a connection string is refused. Never holds any part of the string but hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error("the connection string must start with mongodb:// or mongodb+srv://")]
    Scheme,
    #[error(
        "the connection string contains \"${{\", which Kafka Connect would read as a reference to a secret"
    )]
    Substitution,
    #[error("the connection string contains a line break or another control character")]
    Control,
    #[error("the connection string names no host")]
    NoHost,
    #[error("the connection string must name its replica set (?replicaSet=…): change streams need one")]
    NoReplicaSet,
    #[error("host {0} is outside what the platform permits (limits.sourceHosts)")]
    HostNotPermitted(String),
}

/// Hosts of a sane connection string, without ports.
pub fn hosts(uri: &str) -> Result<Vec<String>, UriError> {
    if uri.contains("${") {
        return Err(UriError::Substitution);
    }
    if uri.chars().any(char::is_control) {
        return Err(UriError::Control);
    }
    let (rest, srv) = match (uri.strip_prefix("mongodb://"), uri.strip_prefix("mongodb+srv://")) {
        (Some(rest), _) => (rest, false),
        (_, Some(rest)) => (rest, true),
        _ => return Err(UriError::Scheme),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, options) = rest.split_at(end);
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let hosts: Vec<String> = hosts
        .split(',')
        .map(|host| without_port(host).to_ascii_lowercase())
        .collect();
    if hosts.iter().any(String::is_empty) {
        return Err(UriError::NoHost);
    }
    // An SRV record may carry the replica set in its TXT record.
    let options = options.to_ascii_lowercase();
    if !srv && !options.contains("replicaset=") {
        return Err(UriError::NoReplicaSet);
    }
    Ok(hosts)
}

/// Every spelling of the password inside a connection string, for masking: as written and decoded.
pub fn secrets(uri: &str) -> Vec<String> {
    let authority = uri.split_once("://").map_or("", |(_, rest)| rest);
    let end = authority.find(['/', '?']).unwrap_or(authority.len());
    let Some((user_info, _)) = authority[..end].rsplit_once('@') else {
        return Vec::new();
    };
    let Some((_, password)) = user_info.split_once(':') else {
        return Vec::new();
    };
    let decoded = decoded(password);
    if decoded == password {
        vec![decoded]
    } else {
        vec![password.to_owned(), decoded]
    }
}

/// `%40` as `@`; what is no escape stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escape = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match escape {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Checks every host against the platform's patterns; none means anywhere.
pub fn permitted(hosts: &[String], patterns: &[String]) -> Result<(), UriError> {
    if patterns.is_empty() {
        return Ok(());
    }
    match hosts
        .iter()
        .find(|host| !patterns.iter().any(|p| matches(p, host)))
    {
        Some(host) => Err(UriError::HostNotPermitted(host.clone())),
        None => Ok(()),
    }
}

/// `*.example.com` matches any subdomain, not `example.com` itself.
fn matches(pattern: &str, host: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    match pattern.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => host == pattern,
    }
}

fn without_port(host: &str) -> &str {
    if let Some(v6) = host.strip_prefix('[') {
        return v6.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_whatever_the_password_holds() {
        assert_eq!(
            hosts("mongodb://u:p@ss@Mongo-0.mongodb.svc:27017,mongo-1.mongodb.svc/db?replicaSet=rs0")
                .unwrap(),
            ["mongo-0.mongodb.svc", "mongo-1.mongodb.svc"]
        );
        assert_eq!(hosts("mongodb://[::1]:27017/?replicaSet=rs0").unwrap(), ["::1"]);
        assert_eq!(
            hosts("mongodb+srv://cluster.example.com").unwrap(),
            ["cluster.example.com"]
        );
    }

    #[test]
    fn what_would_not_work_or_leak_is_refused() {
        for (uri, error) in [
            ("postgres://x/", UriError::Scheme),
            ("mongodb://h/?replicaSet=${dir:/x:y}", UriError::Substitution),
            ("mongodb://h\n/?replicaSet=a", UriError::Control),
            ("mongodb:///?replicaSet=a", UriError::NoHost),
            ("mongodb://h:27017/db", UriError::NoReplicaSet),
        ] {
            assert_eq!(hosts(uri), Err(error), "{uri}");
        }
    }

    #[test]
    fn a_star_matches_subdomains_only() {
        let patterns = ["*.mongodb.svc".to_owned(), "127.0.0.1".to_owned()];
        let check = |host: &str| permitted(&[host.to_owned()], &patterns);
        assert_eq!(check("a.mongodb.svc"), Ok(()));
        assert_eq!(check("127.0.0.1"), Ok(()));
        assert!(check("mongodb.svc").is_err());
        assert!(check("evilmongodb.svc").is_err());
        assert!(check("a.mongodb.svc.evil.com").is_err());
    }
}
