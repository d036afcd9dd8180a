//! Python's objects that outlive every decision: the interpreter need not count references to them.
//!
//! The SDK leaves a map of them in the memory (`guest-sdk/python/serin_guest/snapshot.py`). A reference that is
//! taken and given back is a write, and each page that is written costs a copy of it. An object
//! whose count says that it is immortal is not written to.

/// How the map begins; its length and the number of its bits follow.
const NAME: &[u8] = b"serin:lasting-objects";
/// A bit of the map stands for so many bytes of memory.
const GRAIN: usize = 8;
/// The count of an immortal object, in a Python 3.14 of 32 bits.
const IMMORTAL: u32 = 5 << 28;
/// More references than any object has that is not immortal, and less than an address on the heap.
const MOST: u32 = 1 << 20;
/// Types of types of types: more than there are.
const DEEPEST: usize = 8;

/// Makes the objects of the map immortal, and removes the map. The number of objects.
pub(super) fn settle(memory: &mut [u8]) -> usize {
    let Some((start, length)) = map(memory) else { return 0 };
    let map = memory[start..start + length].to_vec();
    memory[start..start + length].fill(0);
    let places = map.iter().enumerate().flat_map(|(byte, bits)| {
        (0..8).filter(move |bit| bits & (1 << bit) != 0).map(move |bit| (byte * 8 + bit) * GRAIN)
    });
    let mut settled = 0;
    for place in places {
        // What is no object any more is left alone, and so is one that is immortal already.
        let is_counted = word(memory, place).is_some_and(|count| (1..MOST).contains(&count));
        if is_counted && is_object(memory, place) {
            memory[place..place + 4].copy_from_slice(&IMMORTAL.to_le_bytes());
            settled += 1;
        }
    }
    settled
}

fn word(memory: &[u8], place: usize) -> Option<u32> {
    memory.get(place..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
}

/// An object has a type, whose type has one, and so on to the one that is its own.
fn is_object(memory: &[u8], place: usize) -> bool {
    let mut at = place as u32;
    for _ in 0..DEEPEST {
        match word(memory, at as usize + 4) {
            Some(0) | None => return false,
            Some(of_type) if of_type == at => return true,
            Some(of_type) => at = of_type,
        }
    }
    false
}

/// Where the map's bits are, if exactly one is there.
fn map(memory: &[u8]) -> Option<(usize, usize)> {
    let mut found =
        memory.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME).filter_map(|(at, _)| {
            let (length, rest) = memory.get(at + NAME.len()..)?.split_first_chunk::<4>()?;
            let (count, rest) = rest.split_first_chunk::<4>()?;
            let (length, count) = (u32::from_le_bytes(*length) as usize, u32::from_le_bytes(*count));
            let bits: u32 = rest.get(..length)?.iter().map(|byte| byte.count_ones()).sum();
            (length > 0 && bits == count).then_some((at + NAME.len() + 8, length))
        });
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory with the type of types at 64, and objects of it with these counts from 128 on.
    fn memory(counts: &[u32]) -> Vec<u8> {
        let mut memory = vec![0; 4096];
        let mut set = |place: usize, word: u32| memory[place..place + 4].copy_from_slice(&word.to_le_bytes());
        set(64, 1);
        set(68, 64);
        for (position, count) in counts.iter().enumerate() {
            set(128 + 8 * position, *count);
            set(132 + 8 * position, 64);
        }
        memory
    }

    fn put_map(memory: &mut [u8], at: usize, bits: &[u8], count: u32) {
        let head = [NAME, &(bits.len() as u32).to_le_bytes(), &count.to_le_bytes(), bits].concat();
        memory[at..at + head.len()].copy_from_slice(&head);
    }

    #[test]
    fn objects_of_the_map_become_immortal_and_nothing_else_changes() {
        let mut given = memory(&[1, 7, 0, MOST, 3]);
        // The last is no object: nothing is at its type's place.
        given[164..168].copy_from_slice(&4000_u32.to_le_bytes());
        let mut expected = given.clone();
        put_map(&mut given, 1024, &[0, 0, 0b0001_1111], 5);
        put_map(&mut expected, 1024, &[0, 0, 0], 5);
        for place in [128, 136] {
            expected[place..place + 4].copy_from_slice(&IMMORTAL.to_le_bytes());
        }
        assert_eq!(settle(&mut given), 2);
        assert!(given == expected);
    }

    #[test]
    fn a_map_that_is_not_whole_or_not_the_only_one_is_none() {
        let mut wrong = memory(&[1]);
        put_map(&mut wrong, 1024, &[0, 0, 1], 2);
        let mut twice = memory(&[1]);
        put_map(&mut twice, 1024, &[0, 0, 1], 1);
        put_map(&mut twice, 2048, &[0, 0, 1], 1);
        for mut given in [memory(&[1]), wrong, twice] {
            let before = given.clone();
            assert!(settle(&mut given) == 0 && given == before);
        }
    }
}
