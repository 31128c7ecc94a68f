//! ClickHouse's own compression of bodies: a sequence of blocks, each with a checksum.
//!
//! A block is a CityHash128 (16 bytes, version 1.0.2) over what follows; the method (1 byte); the compressed size with
//! these nine bytes of header and the raw size (4 bytes each, little endian); the data.
//! Source: <https://clickhouse.com/docs/native-protocol/compression>.

use crate::errors::Exception;

const CHECKSUM_BYTES: usize = 16;
const HEADER_BYTES: usize = 9;

const METHOD_NONE: u8 = 0x02;
const METHOD_LZ4: u8 = 0x82;
const METHOD_ZSTD: u8 = 0x90;

/// Raw bytes in one block we write: ClickHouse's own `max_compress_block_size`.
const BLOCK_BYTES: usize = 1 << 20;

/// No LZ4 block grows more than this from its compressed to its raw size, by its format.
const LZ4_RATIO_MAX: usize = 255;

fn corrupted(message: &str) -> Exception {
    Exception::new(271, "CANNOT_DECOMPRESS", message)
}

/// The numbers in front of a block's data.
struct Header {
    method: u8,
    raw_bytes: usize,
}

/// Takes the next block off `body`: its header, and its data.
fn next_block<'a>(body: &mut &'a [u8]) -> Result<(Header, &'a [u8]), Exception> {
    let (checksum, rest) = body.split_first_chunk::<CHECKSUM_BYTES>().ok_or_else(|| corrupted("truncated block"))?;
    let header = rest.first_chunk::<HEADER_BYTES>().ok_or_else(|| corrupted("truncated block header"))?;
    let [method, c0, c1, c2, c3, r0, r1, r2, r3] = *header;
    let sized = u32::from_le_bytes([c0, c1, c2, c3]) as usize;
    let raw_bytes = u32::from_le_bytes([r0, r1, r2, r3]) as usize;
    if sized < HEADER_BYTES {
        return Err(corrupted("a block smaller than its own header"));
    }
    let (summed, rest) = rest.split_at_checked(sized).ok_or_else(|| corrupted("truncated block"))?;
    if checksum_of(summed) != *checksum {
        return Err(Exception::new(40, "CHECKSUM_DOESNT_MATCH", "a block's checksum does not match its content"));
    }
    *body = rest;
    Ok((Header { method, raw_bytes }, &summed[HEADER_BYTES..]))
}

/// ClickHouse stores the upper half of the hash first.
fn checksum_of(summed: &[u8]) -> [u8; CHECKSUM_BYTES] {
    cityhash_rs::cityhash_102_128(summed).rotate_left(64).to_le_bytes()
}

/// Undoes the framing of a whole body (`decompress=1`).
///
/// # Errors
///
/// Blocks that are cut off, altered or of an unknown method; more than `bytes_max` raw bytes.
pub(crate) fn decompress(mut body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Exception> {
    let mut raw = Vec::new();
    while !body.is_empty() {
        let (header, data) = next_block(&mut body)?;
        // Before anything of the declared size is allocated.
        if header.raw_bytes > bytes_max - raw.len() {
            return Err(Exception::too_large(bytes_max));
        }
        let at = raw.len();
        let written = match header.method {
            METHOD_NONE => {
                raw.extend_from_slice(data);
                data.len()
            }
            METHOD_LZ4 => {
                if header.raw_bytes / LZ4_RATIO_MAX > data.len() {
                    return Err(corrupted("a block declares more than LZ4 can hold"));
                }
                raw.resize(at + header.raw_bytes, 0);
                lz4_flex::block::decompress_into(data, &mut raw[at..]).map_err(|error| corrupted(&error.to_string()))?
            }
            METHOD_ZSTD => {
                raw.resize(at + header.raw_bytes, 0);
                zstd::bulk::decompress_to_buffer(data, &mut raw[at..]).map_err(|error| corrupted(&error.to_string()))?
            }
            _ => return Err(Exception::new(89, "UNKNOWN_COMPRESSION_METHOD", "unknown method of a compressed block")),
        };
        if written != header.raw_bytes {
            return Err(corrupted("a block holds less or more than it declares"));
        }
    }
    Ok(raw)
}

/// Frames a whole answer in LZ4 blocks (`compress=1`).
pub(crate) fn compress(raw: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(raw.len() / 2);
    for chunk in raw.chunks(BLOCK_BYTES) {
        let data = lz4_flex::block::compress(chunk);
        let at = framed.len();
        framed.extend([0; CHECKSUM_BYTES]);
        framed.push(METHOD_LZ4);
        framed.extend(block_size(HEADER_BYTES + data.len()));
        framed.extend(block_size(chunk.len()));
        framed.extend(data);
        let checksum = checksum_of(&framed[at + CHECKSUM_BYTES..]);
        framed[at..at + CHECKSUM_BYTES].copy_from_slice(&checksum);
    }
    framed
}

fn block_size(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("LZ4 adds less than 1 % to a block of 1 MiB").to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 24;

    /// A block with a right checksum, whatever its header says.
    fn block(method: u8, sized: u32, raw_bytes: u32, data: &[u8]) -> Vec<u8> {
        let mut summed = vec![method];
        summed.extend(sized.to_le_bytes());
        summed.extend(raw_bytes.to_le_bytes());
        summed.extend(data);
        [&checksum_of(&summed)[..], &summed].concat()
    }

    fn right(method: u8, raw_bytes: usize, data: &[u8]) -> Vec<u8> {
        block(method, (HEADER_BYTES + data.len()) as u32, raw_bytes as u32, data)
    }

    fn check_refused(framed: &[u8], code: u32) {
        assert_eq!(decompress(framed, MAX).map_err(|error| error.code()), Err(code));
    }

    #[test]
    fn every_method_is_read_and_blocks_follow_each_other() {
        let raw = b"hello hello hello hello".repeat(100);
        let framed = [
            right(METHOD_NONE, raw.len(), &raw),
            right(METHOD_LZ4, raw.len(), &lz4_flex::block::compress(&raw)),
            right(METHOD_ZSTD, raw.len(), &zstd::bulk::compress(&raw, 1).unwrap()),
        ]
        .concat();
        assert_eq!(decompress(&framed, MAX).unwrap(), raw.repeat(3));
        assert_eq!(decompress(&[], MAX).unwrap(), b"");
    }

    #[test]
    fn an_answer_larger_than_a_block_is_split_and_comes_back() {
        let raw = vec![7_u8; 3 * BLOCK_BYTES + 5];
        let framed = compress(&raw);
        assert!(framed.len() < raw.len() / 100);
        assert_eq!(decompress(&framed, MAX).unwrap(), raw);
    }

    #[test]
    fn a_damaged_block_is_refused() {
        let whole = compress(b"some data, some data");
        for length in 1..whole.len() {
            check_refused(&whole[..length], 271);
        }
        for at in (0..16).chain(25..whole.len()) {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            check_refused(&altered, 40);
        }
    }

    #[test]
    fn a_block_that_lies_about_its_size_is_refused_without_the_memory_for_it() {
        let data = lz4_flex::block::compress(&[0; 1000]);
        check_refused(&right(METHOD_LZ4, u32::MAX as usize, &data), 307);
        check_refused(&right(METHOD_LZ4, MAX, &data[..4]), 271);
        check_refused(&right(METHOD_LZ4, 999, &data), 271);
        check_refused(&right(METHOD_LZ4, 1001, &data), 271);
        check_refused(&right(METHOD_NONE, 4, b"12345"), 271);
        check_refused(&right(METHOD_ZSTD, 9, &zstd::bulk::compress(b"12345", 1).unwrap()), 271);
        check_refused(&right(0x55, 4, b"1234"), 89);
        check_refused(&block(METHOD_NONE, 8, 4, b"1234"), 271);
        check_refused(&block(METHOD_NONE, u32::MAX, 4, b"1234"), 271);
    }

    #[test]
    fn the_limit_holds_over_all_blocks() {
        let framed = compress(&[0; 600]).repeat(2);
        assert_eq!(decompress(&framed, 1200).unwrap().len(), 1200);
        assert_eq!(decompress(&framed, 1199).map_err(|error| error.code()), Err(307));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            body in prop::collection::vec(any::<u8>(), 0..200),
            method in prop::sample::select(vec![METHOD_NONE, METHOD_LZ4, METHOD_ZSTD, 0]),
            raw_bytes in 0_usize..4096,
        ) {
            let _ = decompress(&body, MAX);
            let _ = decompress(&right(method, raw_bytes, &body), MAX);
        }

        #[test]
        fn what_is_framed_comes_back(raw in prop::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(decompress(&compress(&raw), MAX).unwrap(), raw);
        }
    }
}
