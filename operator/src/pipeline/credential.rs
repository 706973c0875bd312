//! The source's credential on its way to Kafka Connect. Pure.
//!
//! Connect's pods see a changed Secret a minute or so later, and a running task never re-reads one. So every content gets keys of
//! its own, `<namespace>.<pipeline>.<field>.<n>`: the connector is reconfigured to generation n only when Connect's validation has
//! used it against the source, the older one stays until then, and a change of content is a change of configuration, which is
//! what restarts a task. The number says nothing about the content, unlike a digest.

use std::collections::BTreeMap;

use tributary_crds::names::Owner;

use crate::backend::Redactor;
use crate::backend::connect::ConnectorConfig;
use crate::backend::connect::connector::{CONNECTION_STRING_KEY, CredentialFiles};

use super::uri;

/// Field of the connection string; the others are `user` and `password`.
pub const URI: &str = "uri";
pub const USER: &str = "user";
pub const PASSWORD: &str = "password";

/// What a source's Secrets say, by field. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credential(pub BTreeMap<&'static str, String>);

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({} fields)", self.0.len())
    }
}

impl Credential {
    pub fn uri(&self) -> &str {
        self.0.get(URI).map_or("", String::as_str)
    }

    /// Masks every value, and the password inside the connection string, wherever a server repeats them.
    pub fn redactor(&self) -> Redactor {
        // A user's name is often a common word, and no secret.
        let whole = [URI, PASSWORD].into_iter().filter_map(|f| self.0.get(f).cloned());
        Redactor::new(whole.chain(uri::secrets(self.uri())))
    }
}

/// Keys and values of the mirrored Secret that are this pipeline's. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Mirrored(pub BTreeMap<String, String>);

impl std::fmt::Debug for Mirrored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mirrored({:?})", self.0.keys())
    }
}

/// Which generation the connector should read, and what the Secret should hold for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub generation: u32,
    /// The generation is in the Secret.
    pub mirrored: bool,
    /// All of this pipeline's keys as they should be, when they are not.
    pub write: Option<Mirrored>,
}

/// Files of one generation, as the connector's configuration names them.
pub fn files(
    owner: &Owner,
    provider: &str,
    mount_path: &str,
    credential: &Credential,
    generation: u32,
) -> CredentialFiles {
    let file = |field: &str| format!("{}.{generation}", owner.mirrored_key(field));
    let optional = |field: &str| credential.0.contains_key(field).then(|| file(field));
    CredentialFiles {
        provider: provider.to_owned(),
        mount_path: mount_path.to_owned(),
        uri: file(URI),
        user: optional(USER),
        password: optional(PASSWORD),
    }
}

/// The generation that a live configuration reads.
pub fn generation_of(config: &ConnectorConfig) -> Option<u32> {
    let reference = config.get(CONNECTION_STRING_KEY)?.strip_suffix('}')?;
    reference.rsplit_once('.')?.1.parse().ok()
}

/// Decides from what is wanted, what is mirrored and what the connector reads now.
pub fn decide(owner: &Owner, wanted: &Credential, mirrored: &Mirrored, live: Option<u32>) -> Decision {
    let generations = generations(owner, mirrored);
    let same = |n: &u32| generations.get(n) == Some(&wanted.0);
    // The one in use if it is right: another of the same content would restart the task for nothing.
    let found = live
        .filter(same)
        .or_else(|| generations.keys().copied().rev().find(same));
    let generation = found.unwrap_or_else(|| {
        let newest = generations.keys().copied().chain(live).max();
        newest.map_or(1, |n| n.saturating_add(1))
    });
    let mut keep = BTreeMap::from([(generation, &wanted.0)]);
    if let Some(old) = live.and_then(|n| generations.get(&n)) {
        keep.entry(live.unwrap_or_default()).or_insert(old);
    }
    let keys = keep.into_iter().flat_map(|(n, fields)| {
        fields
            .iter()
            .map(move |(field, value)| (format!("{}.{n}", owner.mirrored_key(field)), value.clone()))
    });
    let keys = Mirrored(keys.collect());
    Decision {
        generation,
        mirrored: found.is_some(),
        write: (keys != *mirrored).then_some(keys),
    }
}

fn generations(owner: &Owner, mirrored: &Mirrored) -> BTreeMap<u32, BTreeMap<&'static str, String>> {
    let mut found: BTreeMap<u32, BTreeMap<&'static str, String>> = BTreeMap::new();
    for (key, value) in &mirrored.0 {
        for field in [URI, USER, PASSWORD] {
            let number = key
                .strip_prefix(&owner.mirrored_key(field))
                .and_then(|rest| rest.strip_prefix('.')?.parse().ok());
            if let Some(number) = number {
                found.entry(number).or_default().insert(field, value.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner::new("test", "tenant-acme", "acme")
    }

    fn credential(password: &str) -> Credential {
        Credential(BTreeMap::from([
            (URI, "mongodb://h/?replicaSet=rs0".to_owned()),
            (PASSWORD, password.to_owned()),
        ]))
    }

    #[test]
    fn a_new_content_gets_new_keys_and_the_old_ones_stay_until_the_connector_left_them() {
        let first = decide(&owner(), &credential("one"), &Mirrored::default(), None);
        assert_eq!((first.generation, first.mirrored), (1, false));
        let mirrored = first.write.expect("keys");
        assert!(mirrored.0.contains_key("tenant-acme.acme.uri.1"), "{mirrored:?}");
        let settled = decide(&owner(), &credential("one"), &mirrored, Some(1));
        assert_eq!(
            settled,
            Decision {
                generation: 1,
                mirrored: true,
                write: None
            }
        );

        let rotated = decide(&owner(), &credential("two"), &mirrored, Some(1));
        assert_eq!((rotated.generation, rotated.mirrored), (2, false));
        let both = rotated.write.expect("keys");
        assert_eq!(both.0.len(), 4, "the running task may restart: {both:?}");
        let waiting = decide(&owner(), &credential("two"), &both, Some(1));
        assert_eq!(
            waiting,
            Decision {
                generation: 2,
                mirrored: true,
                write: None
            }
        );
        let moved = decide(&owner(), &credential("two"), &both, Some(2));
        assert_eq!(moved.write.expect("pruned").0.len(), 2);
    }

    #[test]
    fn a_lost_secret_never_reuses_the_number_the_connector_reads() {
        let lost = decide(&owner(), &credential("three"), &Mirrored::default(), Some(7));
        assert_eq!(lost.generation, 8);
    }

    #[test]
    fn nothing_of_it_is_printed_and_everything_of_it_is_masked() {
        let uri = "mongodb://u:p%40ss-word@h/?replicaSet=rs0".to_owned();
        let credential = Credential(BTreeMap::from([(URI, uri), (PASSWORD, "hunter22".to_owned())]));
        let mirrored = decide(&owner(), &credential, &Mirrored::default(), None);
        let printed = format!("{credential:?} {mirrored:?}");
        let echoed = credential
            .redactor()
            .mask("got p%40ss-word, p@ss-word and hunter22");
        for secret in ["p%40ss", "p@ss-word", "hunter22"] {
            assert!(!printed.contains(secret), "{printed}");
            assert!(!echoed.contains(secret), "{echoed}");
        }
    }

    #[test]
    fn the_live_generation_is_read_from_the_configuration() {
        let config =
            |text: &str| ConnectorConfig::from([(CONNECTION_STRING_KEY.to_owned(), text.to_owned())]);
        assert_eq!(
            generation_of(&config("${dir:/s:tenant-acme.acme.uri.12}")),
            Some(12)
        );
        assert_eq!(generation_of(&config("${dir:/s:tenant-acme.acme.uri}")), None);
        assert_eq!(generation_of(&ConnectorConfig::new()), None);
    }
}
