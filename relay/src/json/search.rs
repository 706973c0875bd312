//! Searches in short texts, and their numbers.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

/// The high bit of every byte that is zero; bits above the first such byte may be wrong.
#[inline]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// The high bit of every byte that equals `byte`, exactly.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    let differs = word ^ (ONES * u64::from(byte));
    !(((differs & !HIGHS) + !HIGHS) | differs) & HIGHS
}

/// Where the first quote without a backslash before it stands, if every backslash before it stands before a quote.
pub(crate) fn end_of_quoted(text: &[u8]) -> Option<usize> {
    /// A few vector registers, whatever the processor has.
    const BLOCK: usize = 64;
    if *text.first()? == b'"' {
        return Some(0);
    }
    let mut at = 1;
    while let (Some(block), Some(before)) = (text.get(at..at + BLOCK), text.get(at - 1..at - 1 + BLOCK)) {
        // No early end: so the compiler makes vector instructions of it.
        let odd = block.iter().zip(before).fold(0, |odd, (byte, before)| {
            odd | (u8::from(*byte == b'"') ^ u8::from(*before == b'\\'))
        });
        if odd != 0 {
            break;
        }
        at += BLOCK;
    }
    Some(at + end_of_quoted_after(text[at - 1], &text[at..])?)
}

/// The same, eight bytes at a time and exactly; `before` stands before `text`.
fn end_of_quoted_after(before: u8, text: &[u8]) -> Option<usize> {
    let (words, _) = text.as_chunks::<8>();
    // The backslash that ends a word escapes the first byte of the next.
    let mut carry = u64::from(before == b'\\') << 7;
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quotes = equal(word, b'"');
        let backslashes = equal(word, b'\\');
        let escaped = (backslashes << 8) | carry;
        if quotes != escaped {
            let odd = quotes ^ escaped;
            let at = odd.trailing_zeros() / 8;
            // The first disagreement is the end, or another escape than a quote's.
            return ((quotes >> (at * 8 + 7)) & 1 == 1).then_some(i * 8 + at as usize);
        }
        carry = backslashes >> 56;
    }
    let mut escaped = carry != 0;
    for (i, byte) in text.iter().enumerate().skip(words.len() * 8) {
        match byte {
            b'"' if escaped => escaped = false,
            b'"' => return Some(i),
            _ if escaped => return None,
            b'\\' => escaped = true,
            _ => {}
        }
    }
    None
}

/// No bracket opens, nothing is escaped, and quotes come in pairs.
pub(super) fn flat(text: &[u8]) -> bool {
    const BLOCK: usize = 64;
    // Without an early end inside a block, so that the compiler makes vector instructions of it.
    let judge = |block: &[u8; BLOCK]| {
        block.iter().fold((0, 0), |(opens, odd): (u8, u8), byte| {
            let opening = u8::from(*byte == b'{') | u8::from(*byte == b'[') | u8::from(*byte == b'\\');
            (opens | opening, odd ^ u8::from(*byte == b'"'))
        })
    };
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let (opens, odd) = blocks
        .iter()
        .chain([&last])
        .map(judge)
        .fold((0, 0), |(a, b), (c, d)| (a | c, b ^ d));
    opens == 0 && odd == 0
}

/// A number of 1 to 18 digits at the beginning of a text and how many they are.
#[inline]
pub(crate) fn natural(text: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0i64;
    for (i, byte) in text.iter().enumerate().take(19) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (i > 0).then_some((value, i));
        }
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
    }
    None
}

/// Where a byte first stands, or the length. Names and most values are short: eight bytes at a time without the set-up of a
/// vector search, which takes over for the long ones.
#[inline]
pub(crate) fn find(text: &[u8], byte: u8) -> usize {
    search(
        text,
        |word| zeros(word ^ (ONES * u64::from(byte))),
        |b| b == byte,
        |tail| memchr::memchr(byte, tail),
    )
}

#[inline]
pub(crate) fn find2(text: &[u8], one: u8, two: u8) -> usize {
    search(
        text,
        |word| zeros(word ^ (ONES * u64::from(one))) | zeros(word ^ (ONES * u64::from(two))),
        |b| b == one || b == two,
        |tail| memchr::memchr2(one, two, tail),
    )
}

#[inline(always)]
fn search(
    text: &[u8],
    hits: impl Fn(u64) -> u64,
    hit: impl Fn(u8) -> bool,
    long: impl Fn(&[u8]) -> Option<usize>,
) -> usize {
    const SHORT: usize = 32;
    let (words, _) = text.as_chunks::<8>();
    for (i, word) in words.iter().take(SHORT / 8).enumerate() {
        let found = hits(u64::from_le_bytes(*word));
        if found != 0 {
            return i * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let done = (words.len() * 8).min(SHORT);
    let rest = &text[done..];
    if rest.len() < 8 {
        return done + rest.iter().position(|b| hit(*b)).unwrap_or(rest.len());
    }
    done + long(rest).unwrap_or(rest.len())
}
