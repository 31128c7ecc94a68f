//! Files of requests as batches: read, check, submit, follow, and write what came of them, in constant memory.
//!
//! [`source`] takes a file apart, whatever its format; [`check`] says what is wrong with it before anything is submitted;
//! [`Bulk`] submits it with many acknowledgements under way and reads how it stands; [`render`] gives results the format
//! that came in, [`files`] writes them so that a crash neither loses nor doubles a line, and [`side`] streams those of an
//! ended batch.
//!
//! What must be remembered lives in NATS, in records that a team may write and read under its own rights (see
//! [`tollgate_types::batch`]); a file of results has a note beside it. A connection and a source of bytes are all that is
//! needed, so a broker can do for others what the command line does for itself.
//!
//! Deliberately absent: counting results (that is the broker's), and any retry of a job.

pub mod anthropic;
mod bulk;
pub mod check;
pub mod files;
mod line;
mod records;
pub mod render;
pub mod results;
pub mod side;
pub mod source;
mod submit;

pub use bulk::{BeginError, Begun, Bulk, Plan, Standing, shape};
pub use check::{Checked, LineError};
pub use line::Shape;
pub use records::RecordError;
pub use submit::{Chosen, Submission, SubmitFailure};
