//! StarRocks versions and what each of them can do: the one table of version gates.

use std::fmt;
use std::str::FromStr;

/// `major.minor.patch`; a build before the release of its own number (`4.0-dev`) sorts below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
    pub patch: u16,
    /// False for `-dev`, `-rc…`, `-preview`: false sorts before true.
    pub released: bool,
}

impl Version {
    /// The oldest version this operator writes DDL for.
    pub const MINIMUM: Self = Self::new(3, 2, 0);

    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
            released: true,
        }
    }

    pub fn has(self, feature: Feature) -> bool {
        feature.versions().contains(self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no StarRocks version")]
pub struct VersionError(String);

impl FromStr for Version {
    type Err = VersionError;

    /// Reads what servers say: `3.5.2 269e832` (`current_version()`), `3.5.2-269e832` (SHOW FRONTENDS), `3.3-dev`,
    /// `4.0.0-rc01 abc`; `main-…` is refused.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || VersionError(text.chars().take(64).collect());
        let word = text.split_whitespace().next().ok_or_else(error)?;
        let (numbers, suffix) = match word.split_once('-') {
            Some((numbers, suffix)) => (numbers, Some(suffix)),
            None => (word, None),
        };
        let mut parts = numbers.split('.');
        let mut number = || parts.next().map(str::parse::<u16>);
        let major = number().and_then(Result::ok).ok_or_else(error)?;
        let minor = number().and_then(Result::ok).ok_or_else(error)?;
        let patch = match number() {
            Some(patch) => patch.map_err(|_| error())?,
            None => 0,
        };
        Ok(Self {
            major,
            minor,
            patch,
            released: suffix.is_none_or(is_commit),
        })
    }
}

/// A suffix that names a commit says nothing about the release.
fn is_commit(suffix: &str) -> bool {
    suffix.len() >= 7 && suffix.chars().all(|c| c.is_ascii_hexdigit())
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        f.write_str(if self.released { "" } else { "-dev" })
    }
}

/// Something only some versions know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    /// `RENAME COLUMN a TO b`.
    RenameColumnTo,
    /// `RENAME COLUMN a b`: parsed by 3.2, never implemented.
    RenameColumnBare,
    /// `RENAME COLUMN` does something.
    RenameColumnWorks,
    /// `MODIFY COLUMN c COMMENT "…"` alone.
    ModifyColumnComment,
    /// `CREATE … CATALOG IF NOT EXISTS`, `DROP CATALOG IF EXISTS`.
    CatalogIfExists,
    NgramBloomFilterIndex,
    /// `DROP PARTITIONS WHERE …` parses.
    DropPartitionsWhere,
    /// `partition_retention_condition` means something.
    RetentionCondition,
    DefaultBuckets,
    ViewSecurity,
    /// `CREATE ROW ACCESS POLICY`: parsed by 3.2 only.
    RowAccessPolicy,
    Warehouse,
    /// `DECIMAL256`, precision up to 76.
    Decimal256,
    /// `MODIFY COLUMN … ADD FIELD` is carried out.
    StructFieldWorks,
    /// `enable_fast_schema_evolution` is the default.
    FastSchemaEvolutionDefault,
    /// `flat_json.*` as table properties.
    FlatJsonProperties,
    /// VARCHAR longer than 1 MiB.
    LongVarchar,
    /// Compression level, `zstd(3)`.
    CompressionLevel,
}

/// Versions from `since` up to, not including, `until`; plus a branch of backports.
struct Versions {
    since: Version,
    until: Option<Version>,
    /// `(from, below)`: a patch series that got it earlier than `since`.
    backport: Option<(Version, Version)>,
}

impl Versions {
    fn contains(&self, v: Version) -> bool {
        let backported = self.backport.is_some_and(|(from, below)| v >= from && v < below);
        backported || (v >= self.since && self.until.is_none_or(|until| v < until))
    }
}

const fn since(major: u16, minor: u16, patch: u16) -> Versions {
    // A development build of x.y has the grammar of x.y: the bound itself counts as unreleased.
    let mut since = Version::new(major, minor, patch);
    since.released = false;
    Versions {
        since,
        until: None,
        backport: None,
    }
}

const fn since_release(major: u16, minor: u16, patch: u16) -> Versions {
    Versions {
        since: Version::new(major, minor, patch),
        until: None,
        backport: None,
    }
}

impl Feature {
    /// Source: the grammars of the versions, run over the corpus; starrocks-ddl-and-schema-evolution.md §1.7.
    const fn versions(self) -> Versions {
        match self {
            Self::RenameColumnTo => since(3, 3, 0),
            Self::RenameColumnBare | Self::RowAccessPolicy => Versions {
                since: Version::new(3, 0, 0),
                until: Some(unreleased(3, 3)),
                backport: None,
            },
            Self::RenameColumnWorks => since_release(3, 3, 2),
            Self::ModifyColumnComment | Self::DropPartitionsWhere | Self::ViewSecurity => since(3, 4, 0),
            Self::CatalogIfExists | Self::NgramBloomFilterIndex | Self::Warehouse => since(3, 3, 0),
            Self::FastSchemaEvolutionDefault => since(3, 3, 0),
            Self::RetentionCondition => since(3, 5, 0),
            Self::DefaultBuckets => Versions {
                since: Version::new(4, 0, 1),
                until: None,
                backport: Some((Version::new(3, 5, 8), unreleased(4, 0))),
            },
            Self::Decimal256 | Self::FlatJsonProperties => since_release(4, 0, 0),
            Self::StructFieldWorks => Versions {
                since: Version::new(3, 3, 2),
                until: None,
                backport: Some((Version::new(3, 2, 10), unreleased(3, 3))),
            },
            Self::LongVarchar => since_release(4, 2, 0),
            Self::CompressionLevel => since_release(3, 3, 2),
        }
    }
}

const fn unreleased(major: u16, minor: u16) -> Version {
    let mut version = Version::new(major, minor, 0);
    version.released = false;
    version
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        text.parse().expect(text)
    }

    #[test]
    fn what_servers_answer_is_read() {
        assert_eq!(v("3.5.2 269e832"), Version::new(3, 5, 2));
        assert_eq!(v("3.5.0-5be9c5e"), Version::new(3, 5, 0));
        assert_eq!(v("3.2"), Version::new(3, 2, 0));
        assert!(v("4.0-dev") < v("4.0.0") && v("4.0.0-rc01") < v("4.0.0"));
        assert!(v("4.0-dev") > v("3.5.9"));
        for text in ["", "main-37c7c51", "x.y", "3"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn gates_open_where_the_table_says() {
        let gates = [
            (Feature::DefaultBuckets, "3.5.7", false),
            (Feature::DefaultBuckets, "3.5.8", true),
            (Feature::DefaultBuckets, "4.0-dev", false),
            (Feature::DefaultBuckets, "4.0.0", false),
            (Feature::DefaultBuckets, "4.0.1", true),
            (Feature::RenameColumnBare, "3.2.9", true),
            (Feature::RenameColumnBare, "3.3", false),
            (Feature::StructFieldWorks, "3.2.10", true),
            (Feature::StructFieldWorks, "3.3.1", false),
            (Feature::Decimal256, "4.0-dev", false),
            (Feature::Decimal256, "4.0.0", true),
        ];
        for (feature, version, expected) in gates {
            assert_eq!(v(version).has(feature), expected, "{feature:?} {version}");
        }
    }
}
