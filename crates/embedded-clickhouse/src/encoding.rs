//! HTTP's own compression: `Content-Encoding` of requests, `Accept-Encoding` of answers.

use std::io::{self, Read, Write};

use bytes::Bytes;

use crate::errors::Exception;

/// Answers below this many bytes are sent plain: a frame's header would cost more than it saves.
const WORTHWHILE_BYTES: usize = 512;

/// Undoes the `Content-Encoding` named `encoding`.
///
/// # Errors
///
/// An encoding other than gzip, deflate, zstd, lz4; content that is not what it says; more than `bytes_max` raw bytes.
pub(crate) fn decode(encoding: &str, body: Bytes, bytes_max: usize) -> Result<Bytes, Exception> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        _ if body.is_empty() => Ok(body),
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => read_bounded(flate2::read::MultiGzDecoder::new(&body[..]), bytes_max),
        "deflate" => read_bounded(flate2::read::ZlibDecoder::new(&body[..]), bytes_max),
        "zstd" => read_bounded(zstd::stream::read::Decoder::with_buffer(&body[..]).map_err(undecodable)?, bytes_max),
        "lz4" => read_lz4_frames(&body, bytes_max),
        _ => Err(Exception::new(89, "UNKNOWN_COMPRESSION_METHOD", "a Content-Encoding that is not supported")),
    }
}

fn read_bounded(decoder: impl Read, bytes_max: usize) -> Result<Bytes, Exception> {
    let mut raw = Vec::new();
    // One byte more than allowed tells a body that is too large from one that just fits.
    decoder.take(bytes_max as u64 + 1).read_to_end(&mut raw).map_err(undecodable)?;
    if raw.len() > bytes_max { Err(Exception::too_large(bytes_max)) } else { Ok(raw.into()) }
}

/// Reads LZ4 frames to the end of the last.
///
/// The decoder takes a frame that is cut off between two blocks for a whole one, which would insert half a body. So the
/// mark that ends a frame is put behind the body: the decoder reaches it only when the body has none of its own.
fn read_lz4_frames(body: &[u8], bytes_max: usize) -> Result<Bytes, Exception> {
    const END_MARK: [u8; 4] = [0; 4];
    let mut raw = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let decoder = lz4_flex::frame::FrameDecoder::new(rest.chain(&END_MARK[..]));
        let mut bounded = decoder.take((bytes_max - raw.len()) as u64 + 1);
        bounded.read_to_end(&mut raw).map_err(undecodable)?;
        if raw.len() > bytes_max {
            return Err(Exception::too_large(bytes_max));
        }
        let (left, mark) = bounded.into_inner().into_inner().into_inner();
        if mark.len() < END_MARK.len() {
            return Err(undecodable(io::ErrorKind::UnexpectedEof.into()));
        }
        rest = left;
    }
    Ok(raw.into())
}

fn undecodable(error: io::Error) -> Exception {
    Exception::new(271, "CANNOT_DECOMPRESS", format_args!("the body is not what its Content-Encoding says: {error}"))
}

/// A `Content-Encoding` for answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Lz4,
    Zstd,
    Gzip,
}

impl Encoding {
    /// The encoding we like best (the cheapest first) among those that `accept`, an `Accept-Encoding`, allows.
    pub(crate) fn accepted(accept: &str) -> Option<Self> {
        let allows = |encoding: &Encoding| {
            accept.split(',').any(|offer| {
                let (name, weight) = offer.split_once(';').unwrap_or((offer, ""));
                name.trim().eq_ignore_ascii_case(encoding.name()) && !is_zero(weight)
            })
        };
        [Self::Lz4, Self::Zstd, Self::Gzip].into_iter().find(allows)
    }

    /// The encoding's name in `Content-Encoding`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Encodes a whole answer; `None` when it is too small to be worth it.
    ///
    /// # Errors
    ///
    /// The encoder's own failure.
    pub(crate) fn encode(self, raw: &[u8]) -> Result<Option<Vec<u8>>, Exception> {
        if raw.len() < WORTHWHILE_BYTES {
            return Ok(None);
        }
        self.write(raw).map(Some).map_err(|error| {
            Exception::new(270, "CANNOT_COMPRESS", format_args!("the answer cannot be encoded: {error}"))
        })
    }

    fn write(self, raw: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(raw)?;
                Ok(encoder.finish()?)
            }
            Self::Zstd => zstd::bulk::compress(raw, 1),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(raw)?;
                encoder.finish()
            }
        }
    }
}

/// Whether a weight such as `q=0` rules its encoding out.
fn is_zero(weight: &str) -> bool {
    weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse().ok()) == Some(0.0_f32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 20;
    const ALL: [Encoding; 3] = [Encoding::Lz4, Encoding::Zstd, Encoding::Gzip];

    #[test]
    fn what_is_encoded_is_decoded() {
        let raw = b"a line of an answer\n".repeat(1000);
        for encoding in ALL {
            let encoded = encoding.encode(&raw).unwrap().unwrap();
            assert!(encoded.len() < raw.len() / 10, "{encoding:?}");
            assert_eq!(decode(encoding.name(), encoded.into(), MAX).unwrap(), raw, "{encoding:?}");
        }
        let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        deflate.write_all(&raw).unwrap();
        assert_eq!(decode("Deflate", deflate.finish().unwrap().into(), MAX).unwrap(), raw);
        assert_eq!(decode(" identity ", raw.clone().into(), MAX).unwrap(), raw);
    }

    #[test]
    fn a_body_that_is_cut_off_anywhere_is_refused() {
        // Among the cuts is the one right behind an LZ4 block, which its decoder forgives.
        let raw: Vec<u8> = (0..40_000_u32).flat_map(|number| (number % 1000).to_le_bytes()).collect();
        for encoding in ALL {
            let encoded = Bytes::from(encoding.encode(&raw).unwrap().unwrap());
            for length in 1..encoded.len() {
                let cut = decode(encoding.name(), encoded.slice(..length), MAX);
                assert!(cut.is_err(), "{encoding:?} cut to {length} of {}", encoded.len());
            }
            let twice = [&encoded[..], &encoded[..]].concat();
            assert_eq!(decode(encoding.name(), twice.into(), MAX).unwrap(), raw.repeat(2), "{encoding:?} twice");
            assert_eq!(decode(encoding.name(), Bytes::new(), MAX).unwrap(), "");
        }
    }

    #[test]
    fn a_small_answer_stays_plain() {
        for encoding in ALL {
            assert_eq!(encoding.encode(&[0; WORTHWHILE_BYTES - 1]), Ok(None));
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let raw = vec![0; MAX + 1];
        for encoding in ALL {
            let encoded = Bytes::from(encoding.encode(&raw).unwrap().unwrap());
            assert_eq!(decode(encoding.name(), encoded.clone(), MAX).map_err(|error| error.code()), Err(307));
            assert_eq!(decode(encoding.name(), encoded, MAX + 1).unwrap().len(), MAX + 1);
        }
    }

    #[test]
    fn the_cheapest_encoding_that_the_client_takes_is_chosen() {
        for (accept, encoding) in [
            ("", None),
            ("br", None),
            ("gzip", Some(Encoding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Encoding::Zstd)),
            ("LZ4;q=0.5, gzip", Some(Encoding::Lz4)),
            ("lz4;q=0, gzip", Some(Encoding::Gzip)),
            ("lz4hc, xgzip", None),
        ] {
            assert_eq!(Encoding::accepted(accept), encoding, "{accept}");
        }
    }

    #[test]
    fn an_unknown_encoding_is_refused() {
        assert_eq!(decode("br", "x".into(), MAX).map_err(|error| error.code()), Err(89));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..300) {
            for encoding in ALL {
                let _ = decode(encoding.name(), body.clone().into(), MAX);
                // Past the magic number, too.
                let mut damaged = encoding.write(&[7; 2000]).unwrap();
                let at = cut.min(damaged.len());
                damaged.truncate(at);
                damaged.extend(&body);
                let _ = decode(encoding.name(), damaged.into(), MAX);
            }
        }
    }
}
