//! MongoDB's total order over BSON values: by type bracket first, then by value, numbers of all four types as one.
//!
//! It decides what an `_id` is equal to (`Int32(43)`, `Int64(43)` and `43.0` are one key), what `$lt` means and how
//! `sort` answers, so it is written once, here.

use std::cmp::Ordering;

use bson::{RawBson, RawBsonRef, raw::RawDocument};

/// A value that may serve as a key of an ordered map: `_id`s, group keys.
#[derive(Debug, Clone)]
pub struct Key(pub RawBson);

impl Key {
    pub fn of(value: RawBsonRef<'_>) -> Self {
        Self(value.into())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.0.as_raw_bson_ref(), other.0.as_raw_bson_ref())
    }
}

/// The type bracket: values of different brackets compare by it alone, and `$lt` and friends never cross it.
pub fn bracket(value: RawBsonRef<'_>) -> u8 {
    use RawBsonRef as V;
    match value {
        V::MinKey => 0,
        V::Undefined => 1,
        V::Null => 2,
        V::Int32(_) | V::Int64(_) | V::Double(_) | V::Decimal128(_) => 10,
        V::String(_) | V::Symbol(_) => 15,
        V::Document(_) => 20,
        V::Array(_) => 25,
        V::Binary(_) => 30,
        V::ObjectId(_) => 35,
        V::Boolean(_) => 40,
        V::DateTime(_) => 45,
        V::Timestamp(_) => 47,
        V::RegularExpression(_) => 50,
        V::DbPointer(_) => 55,
        V::JavaScriptCode(_) => 60,
        V::JavaScriptCodeWithScope(_) => 65,
        V::MaxKey => 127,
    }
}

pub fn compare(a: RawBsonRef<'_>, b: RawBsonRef<'_>) -> Ordering {
    use RawBsonRef as V;
    match (a, b) {
        (V::String(x) | V::Symbol(x), V::String(y) | V::Symbol(y)) => x.as_bytes().cmp(y.as_bytes()),
        (V::Document(x), V::Document(y)) => compare_documents(x, y),
        (V::Array(x), V::Array(y)) => {
            let mut xs = x.into_iter().map_while(Result::ok);
            let mut ys = y.into_iter().map_while(Result::ok);
            by_elements(|| xs.next(), || ys.next(), compare)
        }
        (V::Binary(x), V::Binary(y)) => {
            (x.bytes.len(), u8::from(x.subtype), x.bytes).cmp(&(y.bytes.len(), u8::from(y.subtype), y.bytes))
        }
        (V::ObjectId(x), V::ObjectId(y)) => x.bytes().cmp(&y.bytes()),
        (V::Boolean(x), V::Boolean(y)) => x.cmp(&y),
        (V::DateTime(x), V::DateTime(y)) => x.timestamp_millis().cmp(&y.timestamp_millis()),
        (V::Timestamp(x), V::Timestamp(y)) => (x.time, x.increment).cmp(&(y.time, y.increment)),
        (V::RegularExpression(x), V::RegularExpression(y)) => {
            (x.pattern.as_str(), x.options.as_str()).cmp(&(y.pattern.as_str(), y.options.as_str()))
        }
        (V::JavaScriptCode(x), V::JavaScriptCode(y)) => x.cmp(y),
        (V::JavaScriptCodeWithScope(x), V::JavaScriptCodeWithScope(y)) => x
            .code
            .cmp(y.code)
            .then_with(|| compare_documents(x.scope, y.scope)),
        _ => match (Number::of(a), Number::of(b)) {
            (Some(x), Some(y)) => x.compare(&y),
            _ => bracket(a).cmp(&bracket(b)),
        },
    }
}

fn compare_documents(x: &RawDocument, y: &RawDocument) -> Ordering {
    let mut xs = x.iter().map_while(Result::ok);
    let mut ys = y.iter().map_while(Result::ok);
    by_elements(
        || xs.next(),
        || ys.next(),
        |(xk, xv), (yk, yv)| {
            bracket(xv)
                .cmp(&bracket(yv))
                .then_with(|| xk.as_str().cmp(yk.as_str()))
                .then_with(|| compare(xv, yv))
        },
    )
}

fn by_elements<T>(
    mut x: impl FnMut() -> Option<T>,
    mut y: impl FnMut() -> Option<T>,
    each: impl Fn(T, T) -> Ordering,
) -> Ordering {
    loop {
        match (x(), y()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match each(a, b) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
        }
    }
}

pub fn is_nan(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Double(d) => d.is_nan(),
        RawBsonRef::Decimal128(d) => d.to_string().contains("NaN"),
        _ => false,
    }
}

enum Number {
    Int(i64),
    Double(f64),
    Decimal(Decimal),
}

impl Number {
    fn of(value: RawBsonRef<'_>) -> Option<Self> {
        match value {
            RawBsonRef::Int32(i) => Some(Self::Int(i.into())),
            RawBsonRef::Int64(i) => Some(Self::Int(i)),
            RawBsonRef::Double(d) => Some(Self::Double(d)),
            RawBsonRef::Decimal128(d) => Some(Self::Decimal(Decimal::parse(&d.to_string()))),
            _ => None,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(x), Self::Int(y)) => x.cmp(y),
            (Self::Double(x), Self::Double(y)) => {
                x.partial_cmp(y).unwrap_or_else(|| y.is_nan().cmp(&x.is_nan()))
            }
            (Self::Int(x), Self::Double(y)) => int_with_double(*x, *y),
            (Self::Double(x), Self::Int(y)) => int_with_double(*y, *x).reverse(),
            (x, y) => x.decimal().compare(&y.decimal()),
        }
    }

    fn decimal(&self) -> Decimal {
        match self {
            Self::Int(i) => Decimal::parse(&i.to_string()),
            // Every finite double has an exact decimal expansion; 1074 places hold the smallest one.
            Self::Double(d) if d.is_finite() => Decimal::parse(&format!("{d:.1074}")),
            Self::Double(d) if d.is_nan() => Decimal::parse("NaN"),
            Self::Double(d) => Decimal::parse(if *d > 0.0 { "Infinity" } else { "-Infinity" }),
            Self::Decimal(d) => d.clone(),
        }
    }
}

/// Exact: neither side is rounded to the other's type.
fn int_with_double(int: i64, double: f64) -> Ordering {
    const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() || double < -TWO_POW_63 {
        return Ordering::Greater;
    }
    if double >= TWO_POW_63 {
        return Ordering::Less;
    }
    #[allow(clippy::cast_possible_truncation)] // the range was checked above
    let whole = double.trunc() as i64;
    int.cmp(&whole)
        .then_with(|| 0.0.partial_cmp(&double.fract()).unwrap_or(Ordering::Equal))
}

/// A decimal as text arithmetic sees it: `digits` without leading or trailing zeros, value `0.digits × 10^magnitude`.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Decimal {
    Nan,
    Infinite {
        negative: bool,
    },
    Finite {
        negative: bool,
        magnitude: i64,
        digits: Vec<u8>,
    },
}

impl Decimal {
    fn parse(text: &str) -> Self {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |r| (true, r));
        match rest.as_bytes().first() {
            Some(b'N' | b'n') => return Self::Nan,
            Some(b'I' | b'i') => return Self::Infinite { negative },
            _ => {}
        }
        let (mantissa, exponent) = rest.split_once(['E', 'e']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent: i64 = exponent.parse().unwrap_or(0);
        let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let Some(first) = all.iter().position(|d| *d != b'0') else {
            return Self::Finite {
                negative: false,
                magnitude: i64::MIN,
                digits: Vec::new(),
            };
        };
        let last = all.iter().rposition(|d| *d != b'0').unwrap_or(first);
        let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        Self::Finite {
            negative,
            magnitude: exponent + signed(whole.len()) - signed(first),
            digits: all[first..=last].to_vec(),
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank()).then_with(|| match (self, other) {
            (
                Self::Finite {
                    negative,
                    magnitude: xm,
                    digits: xd,
                },
                Self::Finite {
                    magnitude: ym,
                    digits: yd,
                    ..
                },
            ) => {
                let absolute = (xm, xd).cmp(&(ym, yd));
                if *negative { absolute.reverse() } else { absolute }
            }
            _ => Ordering::Equal,
        })
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Nan => 0,
            Self::Infinite { negative: true } => 1,
            Self::Finite { negative: true, .. } => 2,
            Self::Finite { digits, .. } if digits.is_empty() => 3,
            Self::Finite { .. } => 4,
            Self::Infinite { negative: false } => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::{Decimal128, oid::ObjectId, rawbson};
    use proptest::prelude::*;

    use super::*;

    fn order(a: impl Into<RawBson>, b: impl Into<RawBson>) -> Ordering {
        compare(a.into().as_raw_bson_ref(), b.into().as_raw_bson_ref())
    }

    #[test]
    fn numbers_of_all_types_are_one_key() {
        let decimal: Decimal128 = "43.00".parse().unwrap();
        assert_eq!(order(43_i32, 43_i64), Ordering::Equal);
        assert_eq!(order(43_i64, 43.0), Ordering::Equal);
        assert_eq!(order(decimal, 43_i32), Ordering::Equal);
        assert_eq!(order(decimal, 43.5), Ordering::Less);
    }

    #[test]
    fn nothing_is_rounded_on_the_way() {
        assert_eq!(
            order(9_007_199_254_740_993_i64, 9_007_199_254_740_992.0),
            Ordering::Greater
        );
        assert_eq!(order(i64::MAX, 9_223_372_036_854_775_808.0), Ordering::Less);
        let tenth: Decimal128 = "0.1".parse().unwrap();
        assert_eq!(
            order(0.1, tenth),
            Ordering::Greater,
            "0.1 as a double is a little more than a tenth"
        );
        assert_eq!(order(f64::NAN, f64::NEG_INFINITY), Ordering::Less);
        assert_eq!(order(f64::NAN, f64::NAN), Ordering::Equal);
    }

    #[test]
    fn type_brackets_come_in_mongodbs_order() {
        let values = [
            RawBson::MinKey,
            RawBson::Null,
            rawbson!(7),
            rawbson!("a"),
            rawbson!({ "a": 1 }),
            rawbson!([1]),
            RawBson::Binary(bson::Uuid::from_bytes([1; 16]).into()),
            RawBson::ObjectId(ObjectId::from_bytes([1; 12])),
            rawbson!(false),
            RawBson::DateTime(bson::DateTime::from_millis(0)),
            RawBson::Timestamp(bson::Timestamp {
                time: 0,
                increment: 0,
            }),
            RawBson::MaxKey,
        ];
        for pair in values.windows(2) {
            assert_eq!(
                compare(pair[0].as_raw_bson_ref(), pair[1].as_raw_bson_ref()),
                Ordering::Less,
                "{pair:?}"
            );
        }
    }

    fn any_id() -> impl Strategy<Value = RawBson> {
        prop_oneof![
            any::<i32>().prop_map(RawBson::Int32),
            any::<i64>().prop_map(RawBson::Int64),
            (-50_i32..50).prop_map(RawBson::Int32),
            (-50_i64..50).prop_map(RawBson::Int64),
            any::<f64>().prop_map(RawBson::Double),
            (-50_i32..50, 0_i32..3)
                .prop_map(|(n, e)| RawBson::Decimal128(format!("{n}E-{e}").parse().unwrap())),
            ".{0,4}".prop_map(RawBson::String),
            any::<[u8; 12]>().prop_map(|b| RawBson::ObjectId(ObjectId::from_bytes(b))),
            any::<bool>().prop_map(RawBson::Boolean),
            any::<i64>().prop_map(|ms| RawBson::DateTime(bson::DateTime::from_millis(ms))),
            (any::<i32>(), "[a-c]{1,2}").prop_map(|(n, k)| {
                let mut doc = bson::RawDocumentBuf::new();
                doc.append(bson::raw::CString::try_from(k).unwrap(), n);
                RawBson::Document(doc)
            }),
            Just(RawBson::Null),
            Just(RawBson::MinKey),
            Just(RawBson::MaxKey),
        ]
    }

    proptest! {
        #[test]
        fn mixed_ids_have_one_total_order(a in any_id(), b in any_id(), c in any_id()) {
            let (a, b, c) = (Key(a), Key(b), Key(c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a.cmp(&a), Ordering::Equal);
            let mut sorted = [a, b, c];
            sorted.sort();
            prop_assert!(sorted[0] <= sorted[1] && sorted[1] <= sorted[2] && sorted[0] <= sorted[2]);
        }

        #[test]
        fn decimals_and_doubles_agree_with_plain_arithmetic(x in -1000_i32..1000, y in -1000_i32..1000, scale in 0_u32..3) {
            // Quarters and their kin are exact in both bases.
            let double = f64::from(x) / f64::from(1 << scale);
            let decimal: Decimal128 = format!("{}", f64::from(y) / f64::from(1 << scale)).parse().unwrap();
            prop_assert_eq!(order(double, decimal), x.cmp(&y));
        }
    }
}
