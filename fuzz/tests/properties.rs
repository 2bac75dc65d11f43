// SPDX-License-Identifier: GPL-2.0

//! Properties of every text and of every vector.

use pidns_vec_fuzz::{
    check_pids, check_text, kernel_format, kernel_parse,
    rules::{self, MAX_LEVELS, MAX_PID, TOO_LARGE},
};
use proptest::{collection::vec, prelude::*};

/// Any number of a vector. Short and large numbers come more often than their share.
fn pid() -> impl Strategy<Value = i32> {
    prop_oneof![
        0..=MAX_PID,
        0..=9,
        MAX_PID - 2..=MAX_PID,
        (0..=6u32, -1..=1_i32).prop_map(|(power, off)| (10_i32.pow(power) + off).max(0)),
    ]
}

fn pids() -> impl Strategy<Value = Vec<i32>> {
    vec(pid(), 1..=MAX_LEVELS)
}

/// A byte that is likely to break a vector.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        prop::sample::select(b"0123456789".to_vec()),
        prop::sample::select(b":\0+- /;x\n\t.,".to_vec()),
        any::<u8>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_vector_is_parsed(pids in pids(), nul: bool) {
        let mut text = rules::format(&pids).into_bytes();
        if nul {
            text.push(0);
        }
        prop_assert_eq!(kernel_parse(&text), Some(pids));
    }

    #[test]
    fn every_vector_is_formatted(pids in pids()) {
        prop_assert_eq!(kernel_format(&pids), Some(rules::format(&pids).into_bytes()));
        check_pids(&pids);
    }

    #[test]
    fn what_is_formatted_is_parsed_to_the_same(pids in pids()) {
        let text = kernel_format(&pids).unwrap();
        prop_assert_eq!(kernel_parse(&text), Some(pids));
    }

    #[test]
    fn number_above_any_pid_max(pids in pids(), at: prop::sample::Index, above in MAX_PID + 1..) {
        let mut pids = pids;
        *at.get_mut(&mut pids) = above;
        let text = rules::format(&pids);
        *at.get_mut(&mut pids) = TOO_LARGE;
        prop_assert_eq!(kernel_parse(text.as_bytes()), Some(pids));
    }

    #[test]
    fn number_above_i32(first in 1..=9, rest in "[0-9]{10,250}", nul in "\0?") {
        let text = format!("7:{first}{rest}{nul}");
        prop_assert_eq!(kernel_parse(text.as_bytes()), Some(vec![7, TOO_LARGE]));
    }

    #[test]
    fn too_many_numbers(pids in vec(pid(), MAX_LEVELS + 1..=2 * MAX_LEVELS)) {
        prop_assert_eq!(kernel_parse(rules::format(&pids).as_bytes()), None);
        check_pids(&pids);
    }

    #[test]
    fn any_numbers(pids in vec(0.., 0..=2 * MAX_LEVELS)) {
        check_pids(&pids);
    }

    #[test]
    fn any_bytes(text in vec(any::<u8>(), 0..300)) {
        check_text(&text);
    }

    #[test]
    fn bytes_that_look_like_a_vector(text in vec(byte(), 0..12)) {
        check_text(&text);
    }

    #[test]
    fn vector_with_a_byte_replaced(pids in pids(), at: prop::sample::Index, byte in byte()) {
        let mut text = rules::format(&pids).into_bytes();
        *at.get_mut(&mut text) = byte;
        check_text(&text);
    }

    #[test]
    fn vector_with_a_byte_more(pids in pids(), at: prop::sample::Index, byte in byte()) {
        let mut text = rules::format(&pids).into_bytes();
        text.insert(at.index(text.len() + 1), byte);
        check_text(&text);
    }

    #[test]
    fn vector_with_a_byte_less(pids in pids(), at: prop::sample::Index) {
        let mut text = rules::format(&pids).into_bytes();
        text.remove(at.index(text.len()));
        check_text(&text);
    }

    #[test]
    fn vector_cut_off(pids in pids(), at: prop::sample::Index, nul: bool) {
        let mut text = rules::format(&pids).into_bytes();
        text.truncate(at.index(text.len() + 1));
        if nul {
            text.push(0);
        }
        check_text(&text);
    }
}

/// Checks every text of up to `len` bytes from `alphabet`.
fn check_all(alphabet: &[u8], len: usize) {
    let mut text = Vec::new();
    fn extend(alphabet: &[u8], len: usize, text: &mut Vec<u8>) {
        check_text(text);
        if text.len() < len {
            for byte in alphabet {
                text.push(*byte);
                extend(alphabet, len, text);
                text.pop();
            }
        }
    }
    extend(alphabet, len, &mut text);
}

#[test]
fn all_texts_of_two_bytes() {
    check_all(&Vec::from_iter(0..=u8::MAX), 2);
}

#[test]
fn all_short_texts_of_what_matters() {
    check_all(b"019:\0+", 7);
}

#[test]
fn all_numbers_of_up_to_seven_digits() {
    for number in 0..=9_999_999 {
        check_pids(&[number]);
        check_text(number.to_string().as_bytes());
    }
}
