//! How near one word is to another, to say what somebody may have meant.

/// How many letters must be added, left out or changed to make one word of the other. Of the second word the first 64
/// letters count, because it can come from anybody.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let next = (diagonal + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_as_far_apart_as_the_letters_that_differ() {
        for (a, b, far) in [
            ("", "", 0),
            ("good", "good", 0),
            ("good", "goood", 1),
            ("larger", "lager", 1),
            ("a", "", 1),
            ("ab", "ba", 2),
            ("wörd", "word", 1),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (far, far), "{a} {b}");
        }
        assert_eq!(distance("", &"x".repeat(10_000)), 64);
    }
}
