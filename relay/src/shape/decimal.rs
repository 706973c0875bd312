//! Decimal numbers by their digits: exact, whatever BSON type they came from.

/// `(-1)^negative × digits × 10^exponent`, without leading or trailing zeros; zero has no digits and no sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i32,
}

impl Decimal {
    /// Reads `-12.340`, `1E+3`, `1.0E-7`. `None` for `NaN`, infinities and anything else.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let (mantissa, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => {
                let exponent = std::str::from_utf8(&text[at + 1..]).ok()?;
                (
                    &text[..at],
                    exponent
                        .strip_prefix('+')
                        .unwrap_or(exponent)
                        .parse::<i32>()
                        .ok()?,
                )
            }
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|b| *b == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        let mut digits = [whole, fraction].concat();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent = exponent.checked_add(1)?;
        }
        let leading = digits.iter().take_while(|b| **b == b'0').count();
        digits.drain(..leading);
        if digits.is_empty() {
            return Some(Self {
                negative: false,
                digits,
                exponent: 0,
            });
        }
        Some(Self {
            negative,
            digits,
            exponent,
        })
    }

    /// Appends plain notation when `DECIMAL(precision, scale)` holds the number exactly.
    pub(super) fn write_fixed(&self, precision: u8, scale: u8, out: &mut Vec<u8>) -> bool {
        if self.digits.is_empty() {
            out.push(b'0');
            return true;
        }
        // Digits before the point, when written out; negative: zeros after it.
        let whole = self.digits.len() as i64 + i64::from(self.exponent);
        if -i64::from(self.exponent) > i64::from(scale) || whole > i64::from(precision - scale) {
            return false;
        }
        if self.negative {
            out.push(b'-');
        }
        if whole <= 0 {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', -whole as usize));
            out.extend_from_slice(&self.digits);
        } else if self.exponent >= 0 {
            out.extend_from_slice(&self.digits);
            out.extend(std::iter::repeat_n(b'0', self.exponent as usize));
        } else {
            out.extend_from_slice(&self.digits[..whole as usize]);
            out.push(b'.');
            out.extend_from_slice(&self.digits[whole as usize..]);
        }
        true
    }

    /// The number when it is whole and fits.
    pub(super) fn to_integer(&self) -> Option<i128> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let zeros = u32::try_from(self.exponent).ok()?;
        let digits: i128 = std::str::from_utf8(&self.digits).ok()?.parse().ok()?;
        let value = digits.checked_mul(10i128.checked_pow(zeros)?)?;
        Some(if self.negative { -value } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fixed(text: &str, precision: u8, scale: u8) -> Option<String> {
        let mut out = Vec::new();
        Decimal::parse(text.as_bytes())?
            .write_fixed(precision, scale, &mut out)
            .then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn fits_exactly_or_not_at_all() {
        assert_eq!(fixed("12.340", 38, 2).as_deref(), Some("12.34"));
        assert_eq!(fixed("1E+3", 38, 2).as_deref(), Some("1000"));
        assert_eq!(fixed("1.0E-2", 4, 2).as_deref(), Some("0.01"));
        assert_eq!(fixed("-0.00", 4, 2).as_deref(), Some("0"));
        assert_eq!(fixed("-99.99", 4, 2).as_deref(), Some("-99.99"));
        for wrong in [
            "12.345",
            "100",
            "NaN",
            "Infinity",
            "",
            "1e999999999999",
            "1.2.3",
            "0x1",
        ] {
            assert_eq!(fixed(wrong, 4, 2), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn integers_come_back(n in any::<i64>(), zeros in 0usize..6) {
            let text = format!("{n}.{}", "0".repeat(zeros.max(1)));
            prop_assert_eq!(Decimal::parse(text.as_bytes()).unwrap().to_integer(), Some(i128::from(n)));
        }
    }
}
