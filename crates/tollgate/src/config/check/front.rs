//! What `[front]` may not say.

use super::{Checker, DAY, MINUTE, SECOND};

/// An upload that is not whole after twelve hours is removed; who sends 64 KiB a second has sent this much in nine.
const FILE_BYTES_MAX: u64 = 2 << 30;

impl Checker<'_> {
    pub(super) fn front(&mut self) {
        let front = &self.config.front;
        self.period("front.wait", front.wait, SECOND, DAY);
        self.period("front.heartbeat", front.heartbeat, SECOND, 10 * MINUTE);
        self.number("front.calls_max", front.calls_max, 1, 1 << 20);
        self.size("front.bodies_bytes_max", front.bodies_bytes_max, 1 << 20);
        self.size("front.file_bytes_max", front.file_bytes_max, 1 << 10);
        self.size("front.team_files_bytes_max", front.team_files_bytes_max, 1 << 20);
        if front.file_bytes_max.0 > FILE_BYTES_MAX {
            self.problem(
                "front.file_bytes_max",
                "is more than 2GiB, which the slowest sender could not send in half a day",
            );
        }
        if front.team_files_bytes_max.0 < front.file_bytes_max.0 {
            self.problem("front.team_files_bytes_max", "is less than one file may have, `front.file_bytes_max`");
        }
        if front.listen.is_some_and(|listen| listen == self.config.http.listen && listen.port() != 0) {
            self.problem("front.listen", "is the address of [http]; leave it out to be served there");
        }
    }
}
