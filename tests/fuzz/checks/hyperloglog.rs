//! Strings that claim to be HyperLogLogs: they are, or are refused, and counting, merging and raising agree.

use corering::structure::hyperloglog::{
    Encoding, count, count_registers, encoding, make_dense, merge_into, observation, raise, runs,
};

/// Panics when the input shows a mistake.
pub fn check(input: &[u8]) {
    let Some(form) = encoding(input) else {
        assert!(count(input).is_err());
        return;
    };
    let mut registers = [0; 16_384];
    let counted = count(input);
    assert_eq!(merge_into(&mut registers, input).is_ok(), counted.is_ok());
    assert_eq!(counted.map(|_| ()), counted.map(|count| assert_eq!(count, count_registers(&registers))));
    let mut dense = input.to_vec();
    assert_eq!(make_dense(&mut dense).is_ok(), counted.is_ok());
    if counted.is_ok() {
        assert_eq!((encoding(&dense), count(&dense)), (Some(Encoding::Dense), counted));
    }
    if form == Encoding::Sparse {
        let longest = runs(input).map(|runs| runs.map(|run| run.len).max());
        assert!(longest.is_err() || longest.is_ok_and(|len| len <= Some(16_384)));
    }
    let mut raised = input.to_vec();
    for element in [&b"a"[..], b"b", &input[..input.len().min(20)]] {
        let (index, value) = observation(element);
        let Ok(_) = raise(&mut raised, index, value, 3000) else { return };
        registers[index] = registers[index].max(value);
        // A string that is refused as a whole may be raised where its runs can be read: so it is in Redis.
        if counted.is_ok() {
            assert_eq!(count(&raised), Ok(count_registers(&registers)));
        }
    }
}
