//! A gzip body that is small on the wire and huge when unpacked, made without ever holding it unpacked.

use std::io;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress};
use futures_util::{Stream, stream};

const MIB: usize = 1 << 20;
/// <https://www.rfc-editor.org/rfc/rfc1952#section-2.3>: deflate, no name, no time, unknown system.
const GZIP_HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// One gzip member that unpacks to `mib` MiB of spaces, as pieces.
///
/// The first two MiB are compressed for real, each up to a byte boundary. Since all of them are the same spaces, the
/// second piece unpacks to a MiB of spaces wherever it is repeated.
pub(crate) fn pieces(mib: u32) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    static PARTS: OnceLock<Parts> = OnceLock::new();
    let parts = PARTS.get_or_init(Parts::squeezed);
    let mut all = Crc::new();
    (0..mib).for_each(|_| all.combine(&parts.crc));
    let mut tail = parts.last.to_vec();
    tail.extend_from_slice(&all.sum().to_le_bytes());
    tail.extend_from_slice(&(u64::from(mib) * MIB as u64).to_le_bytes()[..4]);
    let head = [Bytes::from_static(GZIP_HEADER), parts.first.clone()];
    let middle = std::iter::repeat_n(parts.repeated.clone(), mib as usize - 1);
    stream::iter(head.into_iter().chain(middle).chain([Bytes::from(tail)]).map(Ok))
}

/// What every bomb is made of.
struct Parts {
    first: Bytes,
    repeated: Bytes,
    last: Bytes,
    /// The checksum of one MiB.
    crc: Crc,
}

impl Parts {
    fn squeezed() -> Self {
        let spaces = vec![b' '; MIB];
        let mut deflate = Compress::new(Compression::best(), false);
        let mut crc = Crc::new();
        crc.update(&spaces);
        Self {
            first: squeeze(&mut deflate, &spaces, FlushCompress::Sync),
            repeated: squeeze(&mut deflate, &spaces, FlushCompress::Sync),
            last: squeeze(&mut deflate, &[], FlushCompress::Finish),
            crc,
        }
    }
}

fn squeeze(deflate: &mut Compress, input: &[u8], flush: FlushCompress) -> Bytes {
    // A MiB of one byte takes about a KiB; the room is for the worst case of deflate.
    let mut output = Vec::with_capacity(2 * MIB);
    deflate.compress_vec(input, &mut output, flush).expect("deflating from memory into enough room does not fail");
    Bytes::copy_from_slice(&output)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn it_unpacks_to_the_size_it_says() {
        for mib in [1, 2, 9] {
            let parts: Vec<Bytes> = pieces(mib).map(Result::unwrap).collect().await;
            let packed = parts.concat();
            assert!(packed.len() < mib as usize * 4_096 + 64, "{} bytes", packed.len());
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked.len(), mib as usize * MIB);
            assert!(unpacked.iter().all(|byte| *byte == b' '));
        }
    }
}
