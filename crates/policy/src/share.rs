//! Sharing a room of bytes among teams that nobody counted beforehand: memory for bodies, space in a stream.
//!
//! A team may take more while it then holds no more than what is left free. So one that is alone may have half of the room,
//! two that are busy a third each, `n` an `n + 1`th; there is always room for the next one, and nothing is set aside for
//! those who do not come. (Choudhury and Hahne, *Dynamic queue length thresholds for shared-memory packet switches*, 1998,
//! with a factor of 1.)
//!
//! The first thing that a team has is taken as long as it fits at all: else nothing could be taken that is larger than half
//! of the room.

use std::collections::HashMap;

/// A room, and who has how much of it.
#[derive(Clone, Debug)]
pub struct Room {
    size: u64,
    taken: u64,
    held: HashMap<String, u64>,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Everybody together has too much.
    Full,
    /// The team has its share.
    OverShare,
}

/// Whether a team may hold as much, when so much is left free then.
pub fn is_within_share(held: u64, free: u64) -> bool {
    held <= free
}

impl Room {
    /// A room of so many bytes, or whatever is counted.
    pub fn new(size: u64) -> Room {
        Room { size, taken: 0, held: HashMap::new() }
    }

    /// Takes `more` for something of a team that has `own` already.
    ///
    /// # Errors
    /// Why not; nothing is taken then.
    pub fn take(&mut self, team: &str, more: u64, own: u64) -> Result<(), NoRoom> {
        let held = self.held(team);
        let free = self.free().checked_sub(more).ok_or(NoRoom::Full)?;
        // It is the only thing that the team has here.
        let first = held <= own;
        if !first && !is_within_share(held + more, free) {
            return Err(NoRoom::OverShare);
        }
        self.taken += more;
        *self.held.entry(team.to_owned()).or_default() += more;
        Ok(())
    }

    /// Gives back what was taken.
    pub fn give_back(&mut self, team: &str, much: u64) {
        self.taken = self.taken.saturating_sub(much);
        if let Some(held) = self.held.get_mut(team) {
            *held = held.saturating_sub(much);
            if *held == 0 {
                self.held.remove(team);
            }
        }
    }

    /// What a team has.
    pub fn held(&self, team: &str) -> u64 {
        self.held.get(team).copied().unwrap_or(0)
    }

    /// What nobody has.
    pub fn free(&self) -> u64 {
        self.size - self.taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes pieces of one until there is no room, and says how many.
    fn fill(room: &mut Room, team: &str) -> u64 {
        (0..).take_while(|_| room.take(team, 1, 0).is_ok()).count() as u64
    }

    #[test]
    fn one_who_is_alone_has_half_and_those_who_come_find_room() {
        let mut room = Room::new(120);
        assert_eq!(fill(&mut room, "a"), 60);
        assert_eq!(fill(&mut room, "b"), 30);
        assert_eq!(room.take("a", 1, 0), Err(NoRoom::OverShare));
        room.give_back("a", 60);
        room.give_back("b", 30);
        // Taking turns, all end up with the same.
        for _ in 0..120 {
            let _taken = ["a", "b", "c"].map(|team| room.take(team, 1, 0));
        }
        assert_eq!([room.held("a"), room.held("b"), room.held("c"), room.free()], [30; 4]);
    }

    #[test]
    fn the_first_thing_of_a_team_is_taken_as_long_as_it_fits() {
        let mut room = Room::new(10);
        // It grows as it is read.
        assert_eq!(room.take("a", 6, 0), Ok(()));
        assert_eq!(room.take("a", 3, 6), Ok(()));
        assert_eq!(room.take("a", 1, 0), Err(NoRoom::OverShare), "a second one");
        assert_eq!(room.take("b", 2, 0), Err(NoRoom::Full));
        assert_eq!(room.take("b", 1, 0), Ok(()));
        room.give_back("a", 9);
        room.give_back("b", 1);
        assert_eq!((room.free(), room.held.len()), (10, 0), "nothing is left of those who went");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_and_given_back_the_room_is_never_overfull_and_nobody_with_more_things_has_more_than_is_free(
            steps in prop::collection::vec((0_usize..4, 1_u64..20, any::<bool>()), 1..200),
        ) {
            let teams = ["a", "b", "c", "d"];
            let mut room = Room::new(100);
            let mut things: Vec<Vec<u64>> = vec![Vec::new(); teams.len()];
            for (team, much, takes) in steps {
                if takes {
                    if room.take(teams[team], much, 0).is_ok() {
                        things[team].push(much);
                        prop_assert!(things[team].len() == 1 || room.held(teams[team]) <= room.free());
                    }
                } else if let Some(much) = things[team].pop() {
                    room.give_back(teams[team], much);
                }
                let held: u64 = things.iter().flatten().sum();
                prop_assert_eq!(room.free() + held, 100);
                for (team, things) in things.iter().enumerate() {
                    prop_assert_eq!(room.held(teams[team]), things.iter().sum::<u64>());
                }
            }
        }
    }
}
