//! What an allocation really takes. Memory is counted in these sizes, and entries are allocated in them, so that the
//! bytes between what was asked for and what the allocator gives are ours to use.
//!
//! The classes are mimalloc's when it is built with `MI_MAX_ALIGN_SIZE=8` (`.cargo/config.toml` sees to that, and a
//! test asks the allocator): multiples of 8 up to 64 bytes, then four per doubling (80, 96, 112, 128, 160, …). From
//! 4 MiB on it is whole pages (see `crate::memory`). With another allocator the sums would be a little off; nothing
//! would break.

/// Bytes that an allocation of `bytes` takes, the allocator's rounding included.
pub const fn allocated_bytes(bytes: usize) -> usize {
    if bytes == 0 {
        0
    } else if bytes <= CLASSED_BYTES_MAX {
        class_bytes(class_for(bytes))
    } else {
        bytes.next_multiple_of(large_unit_bytes(bytes))
    }
}

/// Largest allocation that comes from a size class, in bytes; larger ones come in units.
const CLASSED_BYTES_MAX: usize = 512 * 1024;

/// Unit of larger allocations, in bytes: it grows with them, so that an eighth is lost at most.
const fn large_unit_bytes(bytes: usize) -> usize {
    if bytes < 2 << 20 {
        64 << 10
    } else if bytes < 4 << 20 {
        256 << 10
    } else {
        4 << 10
    }
}

/// Number of the smallest class that holds `bytes` (at least 1, at most 512 KiB): below 128.
pub(crate) const fn class_for(bytes: usize) -> u8 {
    assert!(0 < bytes && bytes <= CLASSED_BYTES_MAX);
    let words = bytes.div_ceil(8);
    if words <= 8 {
        return words as u8;
    }
    // Of the largest offset in words, the power of two and the two bits below it.
    let last = words - 1;
    let power = last.ilog2();
    (((power as usize) << 2) + ((last >> (power - 2)) & 3) - 3) as u8
}

/// Bytes of a class.
pub(crate) const fn class_bytes(class: u8) -> usize {
    let class = class as usize;
    if class <= 8 {
        return class * 8;
    }
    let power = 3 + (class - 9) / 4;
    ((5 + (class - 9) % 4) << (power - 2)) * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_the_smallest_that_holds_its_bytes() {
        for bytes in 1..=CLASSED_BYTES_MAX {
            let class = class_for(bytes);
            assert!(bytes <= class_bytes(class), "{bytes}");
            assert!(class == 1 || class_bytes(class - 1) < bytes, "{bytes}");
        }
        let small: Vec<usize> = (1..=16).map(class_bytes).collect();
        assert_eq!(small, [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256]);
    }

    #[test]
    fn large_allocations_are_whole_units() {
        assert_eq!(allocated_bytes(0), 0);
        assert_eq!(allocated_bytes(512 * 1024), 512 * 1024);
        assert_eq!(allocated_bytes(512 * 1024 + 1), 576 * 1024);
    }
}
