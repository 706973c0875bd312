//! Decimal numbers of `decimal()`: exact, up to 38 digits, an error beyond.

use std::cmp::Ordering;
use std::fmt;

/// `mantissa × 10^-scale`, without trailing zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    mantissa: i128,
    scale: u32,
}

impl Decimal {
    pub fn from_int(value: i64) -> Self {
        Self::normal(i128::from(value), 0)
    }

    /// Reads `-12.340`, `1E+3`. `None` for `NaN`, infinities, more than 38 digits and anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => {
                let exponent = &text[at + 1..];
                let digits = exponent.strip_prefix('+').unwrap_or(exponent);
                (&text[..at], digits.parse::<i32>().ok()?)
            }
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.trim_start_matches(['-', '+']).is_empty() && fraction.is_empty() {
            return None;
        }
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        match u32::try_from(scale) {
            Ok(scale) => Some(Self::normal(digits, scale)),
            Err(_) => Some(Self::normal(digits.checked_mul(power(scale.unsigned_abs())?)?, 0)),
        }
    }

    fn normal(mut mantissa: i128, mut scale: u32) -> Self {
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Self { mantissa, scale }
    }

    /// Both mantissas at the larger scale.
    fn aligned(self, other: Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let at = |d: Self| d.mantissa.checked_mul(power(scale - d.scale)?);
        Some((at(self)?, at(other)?, scale))
    }

    pub fn plus(self, other: Self) -> Option<Self> {
        let (a, b, scale) = self.aligned(other)?;
        Some(Self::normal(a.checked_add(b)?, scale))
    }

    pub fn subtract(self, other: Self) -> Option<Self> {
        self.plus(other.negate()?)
    }

    pub fn multiply(self, other: Self) -> Option<Self> {
        let mantissa = self.mantissa.checked_mul(other.mantissa)?;
        Some(Self::normal(mantissa, self.scale.checked_add(other.scale)?))
    }

    pub fn negate(self) -> Option<Self> {
        Some(Self {
            mantissa: self.mantissa.checked_neg()?,
            ..self
        })
    }

    pub fn compare(self, other: Self) -> Option<Ordering> {
        let (a, b, _) = self.aligned(other)?;
        Some(a.cmp(&b))
    }
}

fn power(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == 0 {
            return write!(f, "{}", self.mantissa);
        }
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = format!("{:0>1$}", self.mantissa.unsigned_abs(), self.scale as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - self.scale as usize);
        write!(f, "{sign}{whole}.{fraction}")
    }
}
