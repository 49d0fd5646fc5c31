//! Masking (RFC 6455 §5.3): the same operation both ways, in place.

/// Applies `mask` to `bytes`, of which the first is at position `phase` of the payload (only its low two bits
/// count).
pub(crate) fn apply(bytes: &mut [u8], mask: [u8; 4], phase: u8) {
    let mut key = mask;
    key.rotate_left(usize::from(phase & 3));
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_the_definition_at_every_phase(bytes in prop::collection::vec(any::<u8>(), 0..200), mask: [u8; 4], phase in 0..4_u8) {
            let expected: Vec<u8> = bytes.iter().zip(mask.iter().cycle().skip(usize::from(phase))).map(|(b, k)| b ^ k).collect();
            let mut masked = bytes;
            apply(&mut masked, mask, phase);
            prop_assert_eq!(masked, expected);
        }
    }
}
