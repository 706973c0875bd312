//! Compressed bodies.

use std::io::Read;

use bytes::Bytes;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Deflate,
    Zstd,
    Lz4Frame,
}

/// A bound on what a compressed body may become.
const MAX_DECODED: u64 = 2 << 30;

impl Compression {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "" | "none" | "identity" => Self::None,
            "gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            "zstd" => Self::Zstd,
            "lz4_frame" | "lz4" => Self::Lz4Frame,
            _ => return None,
        })
    }

    pub fn decode(self, body: Bytes) -> Result<Bytes, String> {
        let reader: Box<dyn Read + '_> = match self {
            Self::None => return Ok(body),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(&body[..])),
            Self::Deflate => Box::new(flate2::read::ZlibDecoder::new(&body[..])),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(&body[..]).map_err(|e| e.to_string())?),
            Self::Lz4Frame => Box::new(lz4_flex::frame::FrameDecoder::new(&body[..])),
        };
        let mut out = Vec::new();
        reader
            .take(MAX_DECODED)
            .read_to_end(&mut out)
            .map_err(|e| format!("decompress failed: {e}"))?;
        Ok(out.into())
    }
}
