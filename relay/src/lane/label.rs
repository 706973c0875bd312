//! Labels: the name under which StarRocks remembers a load.
//!
//! Equal labels must mean equal bytes: the same label with other bytes would be taken for a repetition and its rows dropped.
//! So a label hashes everything a body depends on: owner, table, topic generation, mapping, and the exact ranges.

use sha2::{Digest, Sha256};
use tributary_crds::relay::PipelineIdentity;

/// Longest label StarRocks takes; its characters are `[-\w]`.
pub const MAX_LEN: usize = 128;

/// Bytes of the hash a label carries.
pub const HASH_LEN: usize = 12;

/// A label without what can be computed again: the form in which it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The mapping it was made under.
    pub generation: u16,
    pub hash: [u8; HASH_LEN],
    /// The partition it was settled for alone, after its load's partitions had come to different owners.
    pub part: Option<i32>,
}

/// Bytes of the hash that names a part of a load.
pub const PIECE_LEN: usize = 8;

/// A part of a load that was taken apart, named by its very bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece(pub [u8; PIECE_LEN]);

impl Piece {
    pub fn of(body: &[u8]) -> Self {
        let mut taken = [0; PIECE_LEN];
        taken.copy_from_slice(&Sha256::digest(body)[..PIECE_LEN]);
        Self(taken)
    }

    /// Its label, below that of the load.
    pub fn label(self, load: &str) -> String {
        format!("{load}-s{}", hex(&self.0))
    }
}

/// The part of a label that is fixed for one table of one relay.
#[derive(Clone, Debug)]
pub struct Labels {
    pipeline: String,
    readable: String,
    generation: u16,
    /// Hash state of everything but the ranges.
    fixed: Sha256,
}

/// A partition as a label knows it: the topic's name, not the relay's index of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedRange<'a> {
    pub topic: &'a str,
    pub generation: u16,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

impl Labels {
    /// `mappings`: (mapping generation, configuration digest) of each dataset that feeds the table.
    pub fn new(owner: &PipelineIdentity, database: &str, table: &str, mappings: &[(u16, &str)]) -> Self {
        let mut fixed = Sha256::new();
        for part in [&owner.owner, &owner.namespace, &owner.name] {
            field(&mut fixed, part.as_bytes());
        }
        let pipeline = short(&fixed, 8);
        field(&mut fixed, database.as_bytes());
        field(&mut fixed, table.as_bytes());
        let generation = mappings
            .iter()
            .map(|(generation, _)| *generation)
            .max()
            .unwrap_or(0);
        for (generation, digest) in mappings {
            field(&mut fixed, &generation.to_be_bytes());
            field(&mut fixed, digest.as_bytes());
        }
        let readable: String = table
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .take(32)
            .collect();
        Self {
            pipeline,
            readable,
            generation,
            fixed,
        }
    }

    pub fn label<'a>(&self, ranges: impl IntoIterator<Item = NamedRange<'a>>) -> Label {
        let mut hash = self.fixed.clone();
        for range in ranges {
            field(&mut hash, range.topic.as_bytes());
            field(&mut hash, &range.generation.to_be_bytes());
            field(&mut hash, &range.partition.to_be_bytes());
            field(&mut hash, &range.start.to_be_bytes());
            field(&mut hash, &range.end.to_be_bytes());
        }
        let mut taken = [0; HASH_LEN];
        taken.copy_from_slice(&hash.finalize()[..HASH_LEN]);
        Label {
            generation: self.generation,
            hash: taken,
            part: None,
        }
    }

    /// As StarRocks knows it.
    pub fn text(&self, label: &Label) -> String {
        let Self {
            pipeline, readable, ..
        } = self;
        let part = label
            .part
            .map_or_else(String::new, |partition| format!("-p{partition}"));
        format!(
            "tb-{pipeline}-{}-{readable}-{}{part}",
            label.generation,
            hex(&label.hash)
        )
    }
}

/// Length-prefixed, so that ("ab","c") and ("a","bc") differ.
fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

fn short(hash: &Sha256, digits: usize) -> String {
    hex(&hash.clone().finalize())[..digits].to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner(name: &str) -> PipelineIdentity {
        PipelineIdentity {
            owner: "prod/shop-acme/acme".into(),
            namespace: "shop-acme".into(),
            name: name.into(),
            tenant: "acme".into(),
        }
    }

    fn range(partition: i32, start: i64, end: i64) -> NamedRange<'static> {
        NamedRange {
            topic: "acme.shop.orders",
            generation: 1,
            partition,
            start,
            end,
        }
    }

    proptest! {
        #[test]
        fn labels_are_legal_and_name_exactly_their_ranges(
            table in "\\PC{1,80}", name in "[a-z0-9-]{1,63}", generation in any::<u16>(),
            a in (0i64..1000, 1i64..1000), b in (0i64..1000, 1i64..1000),
        ) {
            let labels = Labels::new(&owner(&name), "db", &table, &[(generation, "sha256:1")]);
            let (ra, rb) = (range(0, a.0, a.0 + a.1), range(0, b.0, b.0 + b.1));
            let label = labels.text(&Label { part: Some(i32::MAX), ..labels.label([ra]) });
            let label = Piece::of(b"[]").label(&label);
            prop_assert!(label.len() <= MAX_LEN && !label.is_empty());
            prop_assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
            let label = labels.label([ra]);
            prop_assert_eq!(label, Labels::new(&owner(&name), "db", &table, &[(generation, "sha256:1")]).label([ra]));
            prop_assert_eq!(labels.text(&label) == labels.text(&labels.label([rb])), ra == rb);
        }
    }

    #[test]
    fn everything_a_body_depends_on_changes_the_label() {
        let base = Labels::new(&owner("a"), "db", "t", &[(1, "d")]).label([range(0, 0, 5)]);
        for other in [
            Labels::new(&owner("b"), "db", "t", &[(1, "d")]).label([range(0, 0, 5)]),
            Labels::new(&owner("a"), "db2", "t", &[(1, "d")]).label([range(0, 0, 5)]),
            Labels::new(&owner("a"), "db", "t", &[(2, "d")]).label([range(0, 0, 5)]),
            Labels::new(&owner("a"), "db", "t", &[(1, "e")]).label([range(0, 0, 5)]),
            Labels::new(&owner("a"), "db", "t", &[(1, "d")]).label([range(1, 0, 5)]),
            Labels::new(&owner("a"), "db", "t", &[(1, "d")]).label([range(0, 0, 5), range(1, 0, 1)]),
            Labels::new(&owner("a"), "db", "t", &[(1, "d")]).label([NamedRange {
                generation: 2,
                ..range(0, 0, 5)
            }]),
        ] {
            assert_ne!(base, other);
        }
    }
}
