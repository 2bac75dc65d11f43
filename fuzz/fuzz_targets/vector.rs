// SPDX-License-Identifier: GPL-2.0

#![no_main]

use libfuzzer_sys::fuzz_target;
use pidns_vec_fuzz::{check_pids, check_text};

fuzz_target!(|data: &[u8]| {
    check_text(data);

    // The same bytes, mapped to a text that is nearly a vector.
    let alphabet = b"0123456789:::1\0+";
    let text = data.iter().map(|byte| alphabet[usize::from(byte & 15)]);
    check_text(&text.collect::<Vec<_>>());

    // The same bytes as numbers: of 4 bytes, mostly far too large, and of 3 bytes, often all
    // valid.
    let wide = data
        .chunks_exact(4)
        .map(|bytes| i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3] & 0x7f]));
    check_pids(&wide.collect::<Vec<_>>());
    let narrow = data
        .chunks_exact(3)
        .map(|bytes| i32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]) % (4_194_304 + 2));
    check_pids(&narrow.collect::<Vec<_>>());
});
