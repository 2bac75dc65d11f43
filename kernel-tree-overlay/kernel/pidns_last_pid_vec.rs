// SPDX-License-Identifier: GPL-2.0

//! The text form of a vector of last pids, as user space passes it.
//!
//! `"3:22:111"` names three levels from the inside outwards: the last pid of a pid namespace, of
//! its parent and of its grandparent. There is exactly one way to write a vector:
//!
//! * one to [`MAX_LEVELS`] numbers, joined by single `:`;
//! * each number decimal, without sign, blank or leading zero;
//! * at the end at most one NUL, so that a C string can be passed with its terminator.
//!
//! These rules do not depend on the kernel's configuration, and this file uses nothing but `core`.
//! It can be built, tested and fuzzed outside of the kernel as it is.

/// The largest number of levels: `MAX_PID_NS_LEVEL` and the initial namespace.
pub(crate) const MAX_LEVELS: usize = 33;

/// The largest last pid: `PID_MAX_LIMIT` where it is largest.
pub(crate) const MAX_PID: i32 = 4 * 1024 * 1024;

/// Decimal digits of [`MAX_PID`].
const MAX_DIGITS: usize = MAX_PID.ilog10() as usize + 1;

/// Length in bytes of the longest vector with numbers up to [`MAX_PID`], without a NUL.
pub(crate) const MAX_LEN: usize = MAX_LEVELS * (MAX_DIGITS + 1) - 1;

/// The text is not a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Parses `text` into `pids`, and returns the numbers, innermost first.
///
/// A number that is too large for an [`i32`] becomes [`i32::MAX`], which is above any limit.
pub(crate) fn parse<'a>(
    text: &[u8],
    pids: &'a mut [i32; MAX_LEVELS],
) -> Result<&'a [i32], Malformed> {
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    let mut levels = 0;

    for digits in text.split(|byte| *byte == b':') {
        *pids.get_mut(levels).ok_or(Malformed)? = parse_number(digits)?;
        levels += 1;
    }

    // `min()` changes nothing: it shows the compiler that the slice is in bounds.
    Ok(&pids[..levels.min(MAX_LEVELS)])
}

/// Parses one number.
fn parse_number(digits: &[u8]) -> Result<i32, Malformed> {
    if matches!(digits, [] | [b'0', _, ..]) {
        return Err(Malformed);
    }

    let mut number = 0_i32;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return Err(Malformed);
        }
        number = number
            .saturating_mul(10)
            .saturating_add(i32::from(byte & 0xf));
    }
    Ok(number)
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
            // CAST: It is one decimal digit.
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

    /// Room for the numbers.
    fn room() -> [i32; MAX_LEVELS] {
        [-1; MAX_LEVELS]
    }

    /// Room for the text.
    fn buf() -> [u8; MAX_LEN] {
        [0xff; MAX_LEN]
    }

    #[test]
    fn numbers_from_the_inside_outwards() {
        assert_eq!(parse(b"3:22:111", &mut room()), Ok([3, 22, 111].as_slice()));
        assert_eq!(parse(b"111:22:3", &mut room()), Ok([111, 22, 3].as_slice()));
        assert_eq!(
            parse(b"0:10:4194304:1", &mut room()),
            Ok([0, 10, 4_194_304, 1].as_slice())
        );
    }

    #[test]
    fn every_digit() {
        assert_eq!(
            parse(b"1234567:890", &mut room()),
            Ok([1_234_567, 890].as_slice())
        );
    }

    #[test]
    fn one_level() {
        assert_eq!(parse(b"0", &mut room()), Ok([0].as_slice()));
        assert_eq!(parse(b"7", &mut room()), Ok([7].as_slice()));
        assert_eq!(parse(b"300", &mut room()), Ok([300].as_slice()));
    }

    #[test]
    fn no_level() {
        assert_eq!(parse(b"", &mut room()), Err(Malformed));
        assert_eq!(parse(b"\0", &mut room()), Err(Malformed));
    }

    #[test]
    fn at_most_33_levels() {
        assert_eq!(
            parse(Repeated::new(b"1", 32).bytes(), &mut room()),
            Ok([1; 32].as_slice())
        );
        assert_eq!(
            parse(Repeated::new(b"1", 33).bytes(), &mut room()),
            Ok([1; 33].as_slice())
        );
        assert_eq!(
            parse(Repeated::new(b"1", 34).bytes(), &mut room()),
            Err(Malformed)
        );
    }

    #[test]
    fn longest_input() {
        let mut text = Repeated::new(b"4194304", MAX_LEVELS);
        assert_eq!(text.bytes().len(), 263);
        assert_eq!(
            parse(text.bytes(), &mut room()),
            Ok([4_194_304; 33].as_slice())
        );

        text.append(b"\0");
        assert_eq!(
            parse(text.bytes(), &mut room()),
            Ok([4_194_304; 33].as_slice())
        );

        text.append(b"\0");
        assert_eq!(parse(text.bytes(), &mut room()), Err(Malformed));

        let mut text = Repeated::new(b"4194304", MAX_LEVELS);
        text.append(b":");
        assert_eq!(parse(text.bytes(), &mut room()), Err(Malformed));
    }

    #[test]
    fn large_numbers() {
        // The limit is not that of the text: the caller compares with `pid_max`.
        assert_eq!(parse(b"4194304", &mut room()), Ok([4_194_304].as_slice()));
        assert_eq!(
            parse(b"1:4194305", &mut room()),
            Ok([1, 4_194_305].as_slice())
        );
        assert_eq!(
            parse(b"2147483646:1", &mut room()),
            Ok([i32::MAX - 1, 1].as_slice())
        );
    }

    #[test]
    fn numbers_too_large_for_i32() {
        // `i32::MAX`, and what wraps to a negative number, to 0 and to 1 in 32 and in 64 bits.
        let max = Ok([i32::MAX].as_slice());
        assert_eq!(parse(b"2147483647", &mut room()), max);
        assert_eq!(parse(b"2147483648", &mut room()), max);
        assert_eq!(parse(b"4294967295", &mut room()), max);
        assert_eq!(parse(b"4294967296", &mut room()), max);
        assert_eq!(parse(b"4294967297", &mut room()), max);
        assert_eq!(parse(b"18446744073709551616", &mut room()), max);
        assert_eq!(parse(b"18446744073709551617", &mut room()), max);
        assert_eq!(parse(&[b'9'; MAX_LEN], &mut room()), max);
        assert_eq!(parse(b"99999999999x", &mut room()), Err(Malformed));
    }

    #[test]
    fn leading_zero() {
        assert_eq!(parse(b"00", &mut room()), Err(Malformed));
        assert_eq!(parse(b"01", &mut room()), Err(Malformed));
        assert_eq!(parse(b"1:02", &mut room()), Err(Malformed));
        assert_eq!(parse(b"00:1", &mut room()), Err(Malformed));
        assert_eq!(parse(b"0000004194304", &mut room()), Err(Malformed));
        assert_eq!(parse(&[b'0'; MAX_LEN], &mut room()), Err(Malformed));
    }

    #[test]
    fn empty_entry() {
        assert_eq!(parse(b":", &mut room()), Err(Malformed));
        assert_eq!(parse(b"::", &mut room()), Err(Malformed));
        assert_eq!(parse(b":1", &mut room()), Err(Malformed));
        assert_eq!(parse(b"1:", &mut room()), Err(Malformed));
        assert_eq!(parse(b"1::2", &mut room()), Err(Malformed));
        assert_eq!(parse(b"1:\0", &mut room()), Err(Malformed));
        assert_eq!(parse(&[b':'; MAX_LEN], &mut room()), Err(Malformed));
    }

    #[test]
    fn nul_only_once_and_at_the_end() {
        assert_eq!(
            parse(b"3:22:111\0", &mut room()),
            Ok([3, 22, 111].as_slice())
        );
        assert_eq!(parse(b"3:22:111\0\0", &mut room()), Err(Malformed));
        for at in 0..8 {
            let mut text = *b"3:22:111";
            text[at] = 0;
            // At the end it cuts off a digit, and what is left is a vector.
            assert_eq!(parse(&text, &mut room()).is_err(), at != 7);
        }
    }

    #[test]
    fn any_other_byte() {
        for byte in 0..=u8::MAX {
            let plain = byte.is_ascii_digit();
            assert_eq!(parse(&[byte], &mut room()).is_ok(), plain);
            assert_eq!(
                parse(&[b'1', byte], &mut room()).is_ok(),
                plain || byte == 0
            );
            assert_eq!(
                parse(&[b'1', byte, b'1'], &mut room()).is_ok(),
                plain || byte == b':'
            );
        }
    }

    #[test]
    fn signs() {
        assert_eq!(parse(b"-1", &mut room()), Err(Malformed));
        assert_eq!(parse(b"+1", &mut room()), Err(Malformed));
        assert_eq!(parse(b"1:-1", &mut room()), Err(Malformed));
        assert_eq!(parse(b"1:+1", &mut room()), Err(Malformed));
    }

    #[test]
    fn what_2017_took() {
        assert_eq!(parse(b"5x: 7", &mut room()), Err(Malformed));
        assert_eq!(parse(b" 1", &mut room()), Err(Malformed));
        assert_eq!(parse(b"1 ", &mut room()), Err(Malformed));
        assert_eq!(parse(b"1\n", &mut room()), Err(Malformed));
        assert_eq!(parse(b"1,2", &mut room()), Err(Malformed));
        assert_eq!(parse(b"0x10", &mut room()), Err(Malformed));
    }

    #[test]
    fn format_one_level() {
        assert_eq!(format(&[0], &mut buf()), Some(b"0".as_slice()));
        assert_eq!(format(&[9], &mut buf()), Some(b"9".as_slice()));
        assert_eq!(format(&[10], &mut buf()), Some(b"10".as_slice()));
        assert_eq!(
            format(&[4_194_304], &mut buf()),
            Some(b"4194304".as_slice())
        );
    }

    #[test]
    fn format_many_levels() {
        assert_eq!(format(&[], &mut buf()), Some(b"".as_slice()));
        assert_eq!(
            format(&[3, 22, 111], &mut buf()),
            Some(b"3:22:111".as_slice())
        );
        assert_eq!(
            format(&[0, 100, 0], &mut buf()),
            Some(b"0:100:0".as_slice())
        );
        assert_eq!(
            format(&[MAX_PID; MAX_LEVELS], &mut buf()),
            Some(Repeated::new(b"4194304", MAX_LEVELS).bytes())
        );
    }

    #[test]
    fn format_only_what_fits() {
        assert_eq!(format(&[10_000_000; MAX_LEVELS], &mut buf()), None);
        assert_eq!(format(&[MAX_PID; MAX_LEVELS + 1], &mut buf()), None);
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
                let mut buf = buf();
                let text = format(pids, &mut buf).unwrap_or_default();
                assert_eq!(parse(text, &mut room()), Ok(pids));
            }
        }
    }
}
