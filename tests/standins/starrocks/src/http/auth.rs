//! Basic credentials, the only kind StarRocks takes over HTTP.

use base64::Engine as _;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

#[derive(Debug, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

/// `user@cluster` is cut at '@'.
pub fn basic(headers: &HeaderMap) -> Option<Credentials> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (user, password) = decoded.split_once(':')?;
    let user = user.split('@').next().unwrap_or(user);
    Some(Credentials {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_suffix_is_cut() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Basic cm9vdEBjbHVzdGVyOnB3".parse().unwrap());
        assert_eq!(
            basic(&headers),
            Some(Credentials {
                user: "root".into(),
                password: "pw".into()
            })
        );
        headers.insert(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert_eq!(basic(&headers), None);
    }
}
