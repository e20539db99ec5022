//! `--test-memory`: writes memory in patterns and reads it back. Finds what is plainly broken; a machine that is
//! suspected deserves a tool that runs without a system under it.

use std::hint::black_box;

/// What a word holds in a pass, by its index.
type Pattern = fn(usize, usize) -> u64;

/// Times that all patterns are gone through.
const PASSES: usize = 5;

/// Tests so many bytes; tells each step.
///
/// # Errors
/// What was read back wrong, or that there is not so much memory.
pub fn test_memory(bytes: usize, tell: &mut dyn FnMut(&str)) -> Result<(), String> {
    let mut words: Vec<u64> = Vec::new();
    words.try_reserve_exact(bytes / size_of::<u64>()).map_err(|error| format!("cannot allocate: {error}"))?;
    words.resize(bytes / size_of::<u64>(), 0);
    let patterns: [(&str, Pattern); 5] = [
        ("addresses", |_, index| index as u64),
        ("complements of addresses", |_, index| !(index as u64)),
        ("zeros and ones", |_, index| if index.is_multiple_of(2) { 0 } else { u64::MAX }),
        (
            "a checkerboard",
            |_, index| if index.is_multiple_of(2) { 0x5555_5555_5555_5555 } else { 0xaaaa_aaaa_aaaa_aaaa },
        ),
        ("noise", |pass, index| noise(index as u64 ^ (pass as u64) << 48)),
    ];
    for pass in 0..PASSES {
        for (name, pattern) in patterns {
            tell(&format!("pass {} of {PASSES}: {name}", pass + 1));
            words.iter_mut().enumerate().for_each(|(index, word)| *word = pattern(pass, index));
            // The compiler may not believe that what was written is there.
            let read = black_box(&mut words);
            if let Some(index) = read.iter().enumerate().position(|(index, word)| *word != pattern(pass, index)) {
                let (found, wanted) = (read[index], pattern(pass, index));
                return Err(format!(
                    "MEMORY ERROR at offset {}: {found:#018x} was read where {wanted:#018x} was written. \
                     This machine cannot be trusted with data.",
                    index * size_of::<u64>()
                ));
            }
        }
    }
    Ok(())
}

/// Scatters bits: the finalizer of splitmix64.
fn noise(seed: u64) -> u64 {
    let mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_memory_passes_and_too_much_is_refused() {
        let mut steps = 0;
        assert_eq!(test_memory(1 << 16, &mut |_| steps += 1), Ok(()));
        assert_eq!(steps, 5 * PASSES);
        assert!(test_memory(usize::MAX, &mut |_| ()).is_err_and(|why| why.starts_with("cannot allocate")));
        assert_ne!(noise(1), noise(2));
    }
}
