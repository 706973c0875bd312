//! Calendar text for StarRocks: UTC, years 0000 to 9999, no allocation.

/// A moment of the proleptic Gregorian calendar in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    year: u16,
    month: u8,
    day: u8,
    second_of_day: u32,
    ms: u16,
}

const DAY_MS: i64 = 86_400_000;

impl Civil {
    /// `None` outside years 0000 to 9999: neither StarRocks nor RFC 3339 can hold it.
    pub fn from_ms(ms: i64) -> Option<Self> {
        let days = ms.div_euclid(DAY_MS);
        let of_day = ms.rem_euclid(DAY_MS);
        // Howard Hinnant's civil_from_days: eras of 400 years that begin on 1 March.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        if !(0..=9999).contains(&year) {
            return None;
        }
        Some(Self {
            year: year as u16,
            month: month as u8,
            day: day as u8,
            second_of_day: (of_day / 1000) as u32,
            ms: (of_day % 1000) as u16,
        })
    }

    pub fn is_midnight(&self) -> bool {
        self.second_of_day == 0 && self.ms == 0
    }

    /// `2024-01-02`
    pub fn write_date(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text(b' ')[..10]);
    }

    /// `2024-01-02 03:04:05` and milliseconds when there are any.
    pub fn write_datetime(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text(b' ')[..self.len()]);
    }

    /// `2024-01-02T03:04:05.678Z`, as Extended JSON v2 relaxed writes dates.
    pub fn write_rfc3339(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text(b'T')[..self.len()]);
        out.push(b'Z');
    }

    /// Milliseconds only when there are any.
    fn len(&self) -> usize {
        if self.ms == 0 { 19 } else { 23 }
    }

    #[inline]
    fn text(&self, between: u8) -> [u8; 23] {
        let [y1, y2] = pair(u32::from(self.year / 100));
        let [y3, y4] = pair(u32::from(self.year % 100));
        let [m1, m2] = pair(u32::from(self.month));
        let [d1, d2] = pair(u32::from(self.day));
        let [h1, h2] = pair(self.second_of_day / 3600);
        let [i1, i2] = pair(self.second_of_day / 60 % 60);
        let [s1, s2] = pair(self.second_of_day % 60);
        let f1 = b'0' + (self.ms / 100) as u8;
        let [f2, f3] = pair(u32::from(self.ms % 100));
        [
            y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, between, h1, h2, b':', i1, i2, b':', s1, s2, b'.',
            f1, f2, f3,
        ]
    }
}

/// Two digits of a number below 100.
#[inline]
fn pair(value: u32) -> [u8; 2] {
    [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]
}

/// Milliseconds of an RFC 3339 moment with a zone. `None` when it is none or has more than milliseconds.
pub fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    (moment.subsec_nanosecond() % 1_000_000 == 0).then(|| moment.as_millisecond())
}

/// Checks `YYYY-MM-DD`.
pub fn is_date(text: &str) -> bool {
    text.len() == 10 && text.as_bytes()[4] == b'-' && text.parse::<jiff::civil::Date>().is_ok()
}

/// StarRocks' text of `YYYY-MM-DDTHH:MM:SS[.f{1,6}]Z`: the form that says UTC and loses nothing in a `DATETIME`.
pub fn datetime_of_rfc3339_utc(text: &str) -> Option<String> {
    let local = text.strip_suffix('Z')?;
    datetime_of_local(local).filter(|_| local.as_bytes().get(10) == Some(&b'T'))
}

/// StarRocks' text of `YYYY-MM-DD[T ]HH:MM:SS[.f{1,6}]`.
pub fn datetime_of_local(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if !matches!(bytes.get(10), Some(b'T' | b' ')) || bytes.get(16) != Some(&b':') {
        return None;
    }
    let fraction = text.get(19..)?;
    let digits = fraction.strip_prefix('.');
    let fraction_fits = fraction.is_empty()
        || digits.is_some_and(|d| (1..=6).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()));
    if !fraction_fits || text.parse::<jiff::civil::DateTime>().is_err() || &text[17..19] == "60" {
        return None;
    }
    let fraction = digits.unwrap_or("").trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(format!("{} {}{dot}{fraction}", &text[..10], &text[11..19]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The same text as jiff, over the whole range.
        #[test]
        fn agrees_with_a_calendar_library(ms in -62_167_219_200_000i64..253_402_207_200_000) {
            let civil = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(jiff::tz::TimeZone::UTC).datetime();
            let mut out = Vec::new();
            Civil::from_ms(ms).unwrap().write_datetime(&mut out);
            let expected = civil.strftime(if ms.rem_euclid(1000) == 0 { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S.%3f" }).to_string();
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn years_outside_four_digits_are_refused() {
        assert!(Civil::from_ms(-62_167_219_200_001).is_none());
        assert!(Civil::from_ms(253_402_300_800_000).is_none());
        assert!(Civil::from_ms(i64::MIN).is_none() && Civil::from_ms(i64::MAX).is_none());
    }

    #[test]
    fn only_lossless_text_is_a_datetime() {
        assert_eq!(
            datetime_of_rfc3339_utc("2024-01-02T03:04:05.120Z").as_deref(),
            Some("2024-01-02 03:04:05.12")
        );
        assert_eq!(
            datetime_of_rfc3339_utc("2024-01-02T03:04:05Z").as_deref(),
            Some("2024-01-02 03:04:05")
        );
        for wrong in [
            "2024-01-02T03:04:05+01:00",
            "2024-01-02 03:04:05Z",
            "2024-02-30T03:04:05Z",
            "2024-01-02T03:04:05.1234567Z",
            "2024-01-02T03:04:60Z",
            "Z",
            "2024-01-02T03:04Z",
        ] {
            assert_eq!(datetime_of_rfc3339_utc(wrong), None, "{wrong}");
        }
        assert!(is_date("2024-02-29") && !is_date("2023-02-29") && !is_date("20240229"));
    }
}
