//! mysql_native_password.

use sha1::{Digest as _, Sha1};

/// Does `response` prove knowledge of `password` for this `salt`?
pub fn check(password: &str, salt: &[u8], response: &[u8]) -> bool {
    if password.is_empty() {
        return response.is_empty();
    }
    let stage1 = Sha1::digest(password.as_bytes());
    let stage2 = Sha1::digest(stage1);
    let mask = Sha1::new().chain_update(salt).chain_update(stage2).finalize();
    let expected: Vec<u8> = stage1.iter().zip(mask).map(|(a, b)| a ^ b).collect();
    expected == response
}

/// A fresh scramble of 20 printable bytes.
pub fn salt() -> [u8; 20] {
    let random = uuid::Uuid::new_v4().into_bytes();
    let more = uuid::Uuid::new_v4().into_bytes();
    let mut salt = [0; 20];
    for (out, byte) in salt.iter_mut().zip(random.iter().chain(&more)) {
        // 'A' to '`' but for '$' and NUL, which some clients cannot take.
        *out = b'A' + byte % 26;
    }
    salt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_answer_passes_and_a_wrong_one_does_not() {
        let salt = salt();
        let stage1 = Sha1::digest(b"pw");
        let mask = Sha1::new()
            .chain_update(salt)
            .chain_update(Sha1::digest(stage1))
            .finalize();
        let response: Vec<u8> = stage1.iter().zip(mask).map(|(a, b)| a ^ b).collect();
        assert!(check("pw", &salt, &response));
        assert!(!check("other", &salt, &response));
        assert!(check("", &salt, &[]));
        assert!(!check("", &salt, &response));
    }
}
