//! What a partition's committed offset says beside the offset: how far each table is, and which load is on its way.
//!
//! Committed before a load's first byte (correctness rule 1), read by the next owner. The text is `tb1.` and base64 of a few
//! packed numbers; `tb2.` where a load's part is named, which an older relay must not pass over. Kafka takes 4096 UTF-16 characters; with [`MAX_TABLES`] tables per dataset (checked when the configuration
//! is read) the longest possible text is shorter, so there is no case of "does not fit" at run time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::label::{HASH_LEN, Label, Piece};

/// Kafka's bound (`offset.metadata.max.bytes`, counted in UTF-16 characters).
pub const MAX_METADATA: usize = 4096;
/// Tables one dataset may feed. The API's own limit is far lower.
pub const MAX_TABLES: usize = 32;

const PREFIX: &str = "tb1.";
const PREFIX_WITH_PIECE: &str = "tb2.";
/// Any version of this format.
const FAMILY: &str = "tb";

/// A table as metadata knows it: stable over configurations, unlike an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId([u8; 8]);

impl TableId {
    pub fn new(database: &str, table: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((database.len() as u64).to_be_bytes());
        hash.update(database.as_bytes());
        hash.update(table.as_bytes());
        let digest = hash.finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self(id)
    }
}

/// A load that was announced: the part that lies in one partition. It begins where the table's done position is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    pub label: Label,
    /// Exclusive.
    pub end: i64,
    /// How many partitions the load covers: whether an owner has all of it.
    pub partitions: u16,
    /// The load was rejected as a whole, and this part of it is on its way.
    pub piece: Option<Piece>,
}

/// What follows a table's position.
mod flag {
    pub(super) const INTENT: u8 = 1;
    pub(super) const PARTITION: u8 = 2;
    pub(super) const PIECE: u8 = 4;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableProgress {
    pub table: TableId,
    /// Everything below is in the table.
    pub done: i64,
    pub intent: Option<Intent>,
}

/// What is committed with one partition's offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub mapping_generation: u16,
    pub tables: Vec<TableProgress>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgressError {
    #[error("the offset's metadata was written by a newer relay ({0}…): upgrade this one")]
    Newer(String),
    #[error("the offset's metadata is damaged: it cannot be told which load was on its way")]
    Damaged,
}

impl Progress {
    /// As committed beside `offset`.
    pub fn encode(&self, offset: i64) -> String {
        let mut out = Vec::with_capacity(64);
        put(&mut out, u64::from(self.mapping_generation));
        put(&mut out, self.tables.len() as u64);
        for table in &self.tables {
            out.extend_from_slice(&table.table.0);
            put(&mut out, distance(offset, table.done));
            let Some(intent) = &table.intent else {
                out.push(0);
                continue;
            };
            let mut flags = flag::INTENT;
            if intent.label.part.is_some() {
                flags = flag::PARTITION;
            }
            if intent.piece.is_some() {
                flags |= flag::PIECE;
            }
            out.push(flags);
            put(&mut out, u64::from(intent.label.generation));
            out.extend_from_slice(&intent.label.hash);
            if let Some(part) = intent.label.part {
                put(&mut out, u64::from(part.unsigned_abs()));
            }
            put(&mut out, distance(table.done, intent.end));
            put(&mut out, u64::from(intent.partitions));
            if let Some(piece) = intent.piece {
                out.extend_from_slice(&piece.0);
            }
        }
        let named = |table: &TableProgress| table.intent.is_some_and(|intent| intent.piece.is_some());
        let prefix = match self.tables.iter().any(named) {
            true => PREFIX_WITH_PIECE,
            false => PREFIX,
        };
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(out))
    }

    /// `None`: nothing of ours was committed with this offset.
    pub fn decode(metadata: &str, offset: i64) -> Result<Option<Self>, ProgressError> {
        let text = metadata
            .strip_prefix(PREFIX)
            .or_else(|| metadata.strip_prefix(PREFIX_WITH_PIECE));
        let Some(text) = text else {
            let version = metadata.split_once('.').map_or("", |(version, _)| version);
            let ours = version
                .strip_prefix(FAMILY)
                .is_some_and(|n| n.parse::<u32>().is_ok());
            return match ours {
                true => Err(ProgressError::Newer(version.to_owned())),
                false => Ok(None),
            };
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ProgressError::Damaged)?;
        let mut input = &bytes[..];
        let progress = Self::read(&mut input, offset).ok_or(ProgressError::Damaged)?;
        if input.is_empty() {
            Ok(Some(progress))
        } else {
            Err(ProgressError::Damaged)
        }
    }

    fn read(input: &mut &[u8], offset: i64) -> Option<Self> {
        let mapping_generation = small(input)?;
        let count = get(input)?;
        let mut tables = Vec::new();
        for _ in 0..count.min(MAX_TABLES as u64 + 1) {
            let table = TableId(bytes(input)?);
            let done = offset.checked_add_unsigned(get(input)?)?;
            let flags = *input.split_off_first()?;
            let intent = match flags & !flag::PIECE {
                0 if flags == 0 => None,
                kind @ (flag::INTENT | flag::PARTITION) => {
                    let generation = small(input)?;
                    let hash = bytes(input)?;
                    let part = match kind {
                        flag::PARTITION => Some(i32::try_from(get(input)?).ok()?),
                        _ => None,
                    };
                    let end = done.checked_add_unsigned(get(input)?)?;
                    let partitions = small(input)?;
                    let piece = match flags & flag::PIECE {
                        0 => None,
                        _ => Some(Piece(bytes(input)?)),
                    };
                    Some(Intent {
                        label: Label {
                            generation,
                            hash,
                            part,
                        },
                        end,
                        partitions,
                        piece,
                    })
                }
                _ => return None,
            };
            tables.push(TableProgress { table, done, intent });
        }
        (tables.len() as u64 == count).then_some(Self {
            mapping_generation,
            tables,
        })
    }

    pub fn table(&self, table: TableId) -> Option<&TableProgress> {
        self.tables.iter().find(|progress| progress.table == table)
    }
}

/// Positions of one partition never lie before the offset they are committed with.
fn distance(from: i64, to: i64) -> u64 {
    to.saturating_sub(from).max(0).unsigned_abs()
}

/// LEB128.
fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn get(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *input.split_off_first()?;
        value |= u64::from(byte & 0x7F).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn small(input: &mut &[u8]) -> Option<u16> {
    u16::try_from(get(input)?).ok()
}

fn bytes<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    input.split_off(..N)?.try_into().ok()
}

const _: () = assert!(HASH_LEN == 12, "the bound below is computed with it");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::label::PIECE_LEN;
    use proptest::prelude::*;

    fn intent() -> impl Strategy<Value = (Label, u64, u16, Option<[u8; PIECE_LEN]>)> {
        let label = (
            any::<u16>(),
            any::<[u8; HASH_LEN]>(),
            proptest::option::of(0..i32::MAX),
        );
        let label = label.prop_map(|(generation, hash, part)| Label {
            generation,
            hash,
            part,
        });
        let piece = proptest::option::of(any::<[u8; PIECE_LEN]>());
        (label, 0..1u64 << 40, any::<u16>(), piece)
    }

    fn progress(offset: i64) -> impl Strategy<Value = Progress> {
        let table = (any::<[u8; 8]>(), 0..1u64 << 40, proptest::option::of(intent()));
        let table = table.prop_map(move |(id, ahead, intent)| {
            let done = offset + ahead as i64;
            let intent = intent.map(|(label, len, partitions, piece)| Intent {
                label,
                end: done + len as i64,
                partitions,
                piece: piece.map(Piece),
            });
            TableProgress {
                table: TableId(id),
                done,
                intent,
            }
        });
        (any::<u16>(), proptest::collection::vec(table, 0..=MAX_TABLES)).prop_map(
            |(mapping_generation, tables)| Progress {
                mapping_generation,
                tables,
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_committed_is_read_back(
            (offset, progress) in (0..1i64 << 41).prop_flat_map(|offset| (Just(offset), progress(offset)))
        ) {
            let text = progress.encode(offset);
            prop_assert!(text.encode_utf16().count() <= MAX_METADATA);
            prop_assert_eq!(Progress::decode(&text, offset), Ok(Some(progress)));
        }

        /// Never a panic and never a wrong state from a cut text.
        #[test]
        fn a_cut_text_is_damaged(progress in progress(7), cut in 0usize..4000) {
            let text = progress.encode(7);
            if cut >= PREFIX.len() && cut < text.len() {
                prop_assert_eq!(Progress::decode(&text[..cut], 7), Err(ProgressError::Damaged));
            }
        }

        #[test]
        fn foreign_text_is_no_state(text in "[^t]\\PC{0,50}") {
            prop_assert_eq!(Progress::decode(&text, 0), Ok(None));
        }
    }

    #[test]
    fn the_longest_text_fits() {
        let table = TableProgress {
            table: TableId([0xFF; 8]),
            done: i64::MAX / 2,
            intent: Some(Intent {
                label: Label {
                    generation: u16::MAX,
                    hash: [0xFF; HASH_LEN],
                    part: None,
                },
                end: i64::MAX,
                partitions: u16::MAX,
                piece: Some(Piece([0xFF; PIECE_LEN])),
            }),
        };
        let longest = |part| {
            let mut table = table;
            if let Some(intent) = &mut table.intent {
                intent.label.part = part;
            }
            let progress = Progress {
                mapping_generation: u16::MAX,
                tables: vec![table; MAX_TABLES],
            };
            progress.encode(0).encode_utf16().count()
        };
        assert!(longest(None) <= MAX_METADATA, "{}", longest(None));
        assert!(
            longest(Some(i32::MAX)) <= MAX_METADATA,
            "{}",
            longest(Some(i32::MAX))
        );
    }

    #[test]
    fn another_version_is_refused_and_nothing_is_nothing() {
        assert_eq!(Progress::decode("", 5), Ok(None));
        assert_eq!(Progress::decode("someone's note", 5), Ok(None));
        assert_eq!(
            Progress::decode("tb3.AAAA", 5),
            Err(ProgressError::Newer("tb3".into()))
        );
        assert_eq!(Progress::decode("tb1.!", 5), Err(ProgressError::Damaged));
    }
}
