//! Hostile inputs for parsers: made from seeds and words by chance, the same for the same number.
//!
//! For `make fuzz` and the tests of memory. There is no coverage to guide it, but each change that it
//! makes is of a kind that has broken parsers: repetition, nesting, cuts, odd bytes, large numbers.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use it")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Longest input that is made.
const LONGEST: usize = 64 << 10;
/// For one input, in a debug build on a busy machine.
const SLOWEST: Duration = Duration::from_secs(10);
/// Words that are odd everywhere.
const WORDS: [&str; 24] = [
    "\0",
    "\u{feff}",
    "\u{2028}",
    "\r\n",
    "\n",
    " ",
    "\t",
    "\"",
    "'",
    "\\",
    "$",
    "${{",
    "}}",
    "{",
    "[",
    "&a ",
    "*a",
    "é",
    "🦀",
    "-1",
    "18446744073709551616",
    "1e999",
    "../../..",
    "%2e",
];

/// Numbers by chance.
pub struct Chance(u64);

impl Chance {
    /// The row of numbers that begins with `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn one<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// A place in `text`, also right behind it.
    fn place(&mut self, text: &[u8]) -> usize {
        self.below(text.len() + 1)
    }

    /// An input made of `seeds` and `words`.
    pub fn input(&mut self, seeds: &[&str], words: &[&str]) -> Vec<u8> {
        let mut text = self.one(seeds).as_bytes().to_vec();
        for _ in 0..self.below(8) {
            self.change(&mut text, seeds, words);
            text.truncate(LONGEST);
        }
        text
    }

    fn change(&mut self, text: &mut Vec<u8>, seeds: &[&str], words: &[&str]) {
        let (from, to) = (self.place(text), self.place(text));
        let (from, to) = (from.min(to), from.max(to));
        match self.below(9) {
            0 => drop(text.drain(from..to)),
            1 => text.truncate(from),
            2 => {
                let times = 1 << self.below(14);
                let part = text[from..to].repeat(times.min(LONGEST / (to - from).max(1)));
                text.splice(from..to, part);
            }
            3 if !text.is_empty() => {
                let at = self.below(text.len());
                text[at] = u8::try_from(self.below(256)).unwrap();
            }
            4 => {
                let word = self.one(&WORDS).repeat(1 << self.below(8));
                text.splice(from..from, word.into_bytes());
            }
            5 => {
                let other = self.one(seeds).as_bytes();
                text.splice(from..to, other.to_vec());
            }
            6 => {
                // Nesting: an opening word many times before, a closing one behind.
                let (times, open) = (1 << self.below(12), self.one(words));
                let close = self.one(words);
                let inner = std::mem::take(text);
                *text = [open.repeat(times).into_bytes(), inner, close.repeat(times).into_bytes()]
                    .concat();
            }
            _ => {
                let word = self.one(words).as_bytes().to_vec();
                text.splice(from..to, word);
            }
        }
    }
}

/// Seconds of each target: `FUZZ_SECONDS`, or 1.
fn budget() -> Duration {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

/// Feeds `check` with inputs until the time is over; one that panics or is slow fails the test and is
/// printed. `FUZZ_SEED` begins elsewhere.
pub fn fuzz(name: &str, seeds: &[&str], words: &[&str], mut check: impl FnMut(&[u8])) {
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut chance = Chance::new(seed);
    let (began, mut inputs, mut slowest) = (Instant::now(), 0_u64, Duration::ZERO);
    while began.elapsed() < budget() {
        let input = chance.input(seeds, words);
        let started = Instant::now();
        let checked = catch_unwind(AssertUnwindSafe(|| check(&input)));
        slowest = slowest.max(started.elapsed());
        let shown = String::from_utf8_lossy(&input[..input.len().min(2000)]);
        assert!(
            checked.is_ok(),
            "{name}, input {inputs} of seed {seed}, {} bytes: {shown:?}",
            input.len()
        );
        assert!(slowest < SLOWEST, "{name}, input {inputs} of seed {seed}, {slowest:?}: {shown:?}");
        inputs += 1;
    }
    eprintln!("{name}: {inputs} inputs, the slowest took {slowest:?}");
}
