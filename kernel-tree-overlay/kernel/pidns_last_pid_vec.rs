// SPDX-License-Identifier: GPL-2.0

//! The text form of a vector of last pids, as user space passes it.
//!
//! `"3:22:111"` names three levels from the inside outwards: the last pid of a pid namespace, of
//! its parent and of its grandparent. There is exactly one way to write a vector:
//!
//! * one to [`MAX_LEVELS`] numbers, joined by single `:`;
//! * each number decimal, from 0 to [`MAX_PID`], without sign, blank or leading zero;
//! * at the end at most one NUL, so that a C string can be passed with its terminator.
//!
//! These rules do not depend on the kernel's configuration, and this file uses nothing but `core`.
//! It can be built, tested and fuzzed outside of the kernel as it is.

use core::{
    mem::MaybeUninit,
    ptr, //
};

/// The largest number of levels: `MAX_PID_NS_LEVEL` and the initial namespace.
pub(crate) const MAX_LEVELS: usize = 33;

/// The largest last pid: `PID_MAX_LIMIT` where it is largest.
pub(crate) const MAX_PID: i32 = 4 * 1024 * 1024;

/// Decimal digits of [`MAX_PID`].
const MAX_DIGITS: usize = 7;

/// Length in bytes of the longest vector, without a NUL.
pub(crate) const MAX_LEN: usize = MAX_LEVELS * (MAX_DIGITS + 1) - 1;

/// The text is not a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Parses `text` into `pids`, and returns the part of it that was needed, innermost first.
pub(crate) fn parse<'a>(
    text: &[u8],
    pids: &'a mut [MaybeUninit<i32>; MAX_LEVELS],
) -> Result<&'a [i32], Malformed> {
    let mut rest = text.strip_suffix(b"\0").unwrap_or(text);

    for last in 0..MAX_LEVELS {
        let (number, digits) = leading_number(rest);
        let leading_zero = digits > 1 && rest.first() == Some(&b'0');
        if !(1..=MAX_DIGITS).contains(&digits) || leading_zero || number > MAX_PID {
            return Err(Malformed);
        }
        pids.get_mut(last).ok_or(Malformed)?.write(number);

        rest = match rest.get(digits..) {
            Some([b':', tail @ ..]) => tail,
            Some([]) => {
                let pids = pids.get(..=last).ok_or(Malformed)?;
                // SAFETY: Each has been initialized on the way here. `MaybeUninit<i32>` and `i32`
                // have the same layout. `pids` is borrowed for `'a`, and not used after this.
                return Ok(unsafe { &*(ptr::from_ref(pids) as *const [i32]) });
            }
            _ => return Err(Malformed),
        };
    }

    Err(Malformed)
}

/// Returns the number that `text` starts with, and how many digits it has.
///
/// It is the right number if there are no more than [`MAX_DIGITS`].
fn leading_number(text: &[u8]) -> (i32, usize) {
    let mut number = 0_i32;
    let mut digits = 0_usize;

    for byte in text {
        let digit = i32::from(*byte).wrapping_sub(i32::from(b'0'));
        if !(0..=9).contains(&digit) {
            break;
        }
        // OVERFLOW: `MAX_DIGITS` digits fit. What wraps is refused for its digits.
        number = number.wrapping_mul(10).wrapping_add(digit);
        // OVERFLOW: There are no more digits than bytes.
        digits = digits.wrapping_add(1);
    }

    (number, digits)
}

/// Writes the text form of `pids`, without a NUL, to the end of `buf` and returns it.
///
/// Returns [`None`] if it does not fit, which cannot be if there are no more than [`MAX_LEVELS`]
/// numbers and none is above [`MAX_PID`].
pub(crate) fn format<'a>(pids: &[i32], buf: &'a mut [u8; MAX_LEN]) -> Option<&'a [u8]> {
    let mut free = buf.iter_mut();
    let mut outermost = true;

    // Digits come out of a number from its end, so the whole text is written from its end.
    for &pid in pids.iter().rev() {
        if !outermost {
            *free.next_back()? = b':';
        }
        outermost = false;

        let mut rest = pid.unsigned_abs();
        loop {
            *free.next_back()? = b'0' | (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
    }

    let start = free.len();
    buf.get(start..)
}

#[cfg(CONFIG_PID_NS_IOCTL_KUNIT_TEST)]
#[kernel::macros::kunit_tests(pidns_last_pid_vec)]
mod tests {
    use super::*;

    /// `"1:1:...:1"` in which `number` stands `levels` times.
    struct Repeated {
        buf: [u8; 2 * MAX_LEN],
        len: usize,
    }

    impl Repeated {
        fn new(number: &[u8], levels: usize) -> Self {
            let mut text = Self {
                buf: [0; 2 * MAX_LEN],
                len: 0,
            };
            for level in 0..levels {
                if level > 0 {
                    text.append(b":");
                }
                text.append(number);
            }
            text
        }

        fn append(&mut self, bytes: &[u8]) {
            self.buf[self.len..][..bytes.len()].copy_from_slice(bytes);
            self.len += bytes.len();
        }

        fn bytes(&self) -> &[u8] {
            &self.buf[..self.len]
        }
    }

    fn is_parsed_to(text: &[u8], pids: &[i32]) -> bool {
        parse(text, &mut [MaybeUninit::uninit(); MAX_LEVELS]) == Ok(pids)
    }

    fn is_malformed(text: &[u8]) -> bool {
        parse(text, &mut [MaybeUninit::uninit(); MAX_LEVELS]).is_err()
    }

    fn is_formatted_to(pids: &[i32], text: &[u8]) -> bool {
        format(pids, &mut [0; MAX_LEN]) == Some(text)
    }

    #[test]
    fn numbers_from_the_inside_outwards() {
        assert!(is_parsed_to(b"3:22:111", &[3, 22, 111]));
        assert!(is_parsed_to(b"111:22:3", &[111, 22, 3]));
        assert!(is_parsed_to(b"0:10:4194304:1", &[0, 10, 4_194_304, 1]));
    }

    #[test]
    fn every_digit() {
        assert!(is_parsed_to(b"1234567:890", &[1_234_567, 890]));
    }

    #[test]
    fn one_level() {
        assert!(is_parsed_to(b"0", &[0]));
        assert!(is_parsed_to(b"7", &[7]));
        assert!(is_parsed_to(b"300", &[300]));
    }

    #[test]
    fn no_level() {
        assert!(is_malformed(b""));
        assert!(is_malformed(b"\0"));
    }

    #[test]
    fn at_most_33_levels() {
        assert!(is_parsed_to(Repeated::new(b"1", 32).bytes(), &[1; 32]));
        assert!(is_parsed_to(Repeated::new(b"1", 33).bytes(), &[1; 33]));
        assert!(is_malformed(Repeated::new(b"1", 34).bytes()));
    }

    #[test]
    fn longest_input() {
        let mut text = Repeated::new(b"4194304", MAX_LEVELS);
        assert_eq!(text.bytes().len(), 263);
        assert!(is_parsed_to(text.bytes(), &[4_194_304; 33]));

        text.append(b"\0");
        assert!(is_parsed_to(text.bytes(), &[4_194_304; 33]));

        text.append(b"\0");
        assert!(is_malformed(text.bytes()));

        let mut text = Repeated::new(b"4194304", MAX_LEVELS);
        text.append(b":");
        assert!(is_malformed(text.bytes()));

        let mut text = Repeated::new(b"4194304", MAX_LEVELS);
        text.append(b"0");
        assert!(is_malformed(text.bytes()));
    }

    #[test]
    fn largest_number() {
        assert!(is_parsed_to(b"4194303", &[4_194_303]));
        assert!(is_parsed_to(b"4194304", &[4_194_304]));
        assert!(is_malformed(b"4194305"));
        assert!(is_malformed(b"1:4194305"));
        assert!(is_malformed(b"4194305:1"));
        assert!(is_malformed(b"9999999"));
        assert!(is_malformed(b"10000000"));
    }

    #[test]
    fn overflow() {
        // `i32::MAX`, and what wraps to 0 and to 1 in 32 and in 64 bits.
        assert!(is_malformed(b"2147483647"));
        assert!(is_malformed(b"2147483648"));
        assert!(is_malformed(b"4294967295"));
        assert!(is_malformed(b"4294967296"));
        assert!(is_malformed(b"4294967297"));
        assert!(is_malformed(b"18446744073709551616"));
        assert!(is_malformed(b"18446744073709551617"));
        assert!(is_malformed(&[b'9'; MAX_LEN]));
    }

    #[test]
    fn leading_zero() {
        assert!(is_malformed(b"00"));
        assert!(is_malformed(b"01"));
        assert!(is_malformed(b"1:02"));
        assert!(is_malformed(b"00:1"));
        assert!(is_malformed(b"0000004194304"));
        assert!(is_malformed(&[b'0'; MAX_LEN]));
    }

    #[test]
    fn empty_entry() {
        assert!(is_malformed(b":"));
        assert!(is_malformed(b"::"));
        assert!(is_malformed(b":1"));
        assert!(is_malformed(b"1:"));
        assert!(is_malformed(b"1::2"));
        assert!(is_malformed(b"1:\0"));
        assert!(is_malformed(&[b':'; MAX_LEN]));
    }

    #[test]
    fn nul_only_once_and_at_the_end() {
        assert!(is_parsed_to(b"3:22:111\0", &[3, 22, 111]));
        assert!(is_malformed(b"3:22:111\0\0"));
        for at in 0..8 {
            let mut text = *b"3:22:111";
            text[at] = 0;
            // At the end it cuts off a digit, and what is left is a vector.
            assert_eq!(is_malformed(&text), at != 7);
        }
    }

    #[test]
    fn any_other_byte() {
        for byte in 0..=u8::MAX {
            let plain = byte.is_ascii_digit();
            assert_eq!(is_malformed(&[byte]), !plain);
            assert_eq!(is_malformed(&[b'1', byte]), !plain && byte != 0);
            assert_eq!(is_malformed(&[b'1', byte, b'1']), !plain && byte != b':');
        }
    }

    #[test]
    fn what_2017_took() {
        assert!(is_malformed(b"5x:+7"));
        assert!(is_malformed(b"-1"));
        assert!(is_malformed(b"+1"));
        assert!(is_malformed(b" 1"));
        assert!(is_malformed(b"1 "));
        assert!(is_malformed(b"1\n"));
        assert!(is_malformed(b"1,2"));
        assert!(is_malformed(b"0x10"));
    }

    #[test]
    fn format_one_level() {
        assert!(is_formatted_to(&[0], b"0"));
        assert!(is_formatted_to(&[9], b"9"));
        assert!(is_formatted_to(&[10], b"10"));
        assert!(is_formatted_to(&[4_194_304], b"4194304"));
    }

    #[test]
    fn format_many_levels() {
        assert!(is_formatted_to(&[], b""));
        assert!(is_formatted_to(&[3, 22, 111], b"3:22:111"));
        assert!(is_formatted_to(&[0, 100, 0], b"0:100:0"));
        assert!(is_formatted_to(
            &[MAX_PID; MAX_LEVELS],
            Repeated::new(b"4194304", MAX_LEVELS).bytes()
        ));
    }

    #[test]
    fn format_only_what_fits() {
        assert!(format(&[10_000_000; MAX_LEVELS], &mut [0; MAX_LEN]).is_none());
        assert!(format(&[MAX_PID; MAX_LEVELS + 1], &mut [0; MAX_LEN]).is_none());
    }

    #[test]
    fn round_trip() {
        // Every power of ten and its neighbours, at every level.
        for shift in 0..7 * 3 {
            let mut pids = [0; MAX_LEVELS];
            for (at, pid) in pids.iter_mut().enumerate() {
                let which = at + shift;
                *pid = 10_i32.pow(which as u32 % 7) - 1 + which as i32 % 3;
            }

            for levels in 1..=MAX_LEVELS {
                let pids = &pids[..levels];
                let mut buf = [0; MAX_LEN];
                let text = format(pids, &mut buf).unwrap_or_default();
                assert!(is_parsed_to(text, pids));
            }
        }
    }
}
