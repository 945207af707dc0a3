//! What arrived, beside what was written: lost and repeated bytes.

/// Lines of a program: "~o1", "~o2", ..., each with its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequence {
    /// Letter after the tilde.
    pub(crate) mark: char,
    /// Number of the last line.
    pub(crate) last: u64,
    /// Letters "x" behind the number, which then has six digits; 0: the number alone.
    pub(crate) pad: usize,
}

/// All that an operation's program prints.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExpectedOutput {
    pub(crate) stdout: Vec<Sequence>,
    pub(crate) stderr: Vec<Sequence>,
}

/// What is wrong with what arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Bytes that did not arrive.
    pub(crate) lost: u64,
    /// Bytes that came more than once, in the wrong place, or were never written.
    pub(crate) repeated: u64,
}

impl Sequence {
    fn line(&self, number: u64) -> String {
        match self.pad {
            0 => format!("~{}{number}\n", self.mark),
            pad => format!("~{}{number:06} {}\n", self.mark, "x".repeat(pad)),
        }
    }

    /// `whole`: the program ran to its end, so that the last line must be there too.
    fn check(&self, output: &[u8], whole: bool) -> Damage {
        let mut damage = Damage::default();
        let mut next = 1;
        let start = [b'~', self.mark as u8];
        for line in output.split_inclusive(|byte| *byte == b'\n') {
            if !line.starts_with(&start) {
                continue;
            }
            let digits = line[2..].iter().take_while(|byte| byte.is_ascii_digit());
            let number = digits.fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
            // What was cut off with its process; hook ends the line for lines of its own.
            let cut = !whole && self.line(next).as_bytes().starts_with(line.trim_ascii_end());
            if number < next || number > self.last || self.line(number).as_bytes() != line {
                damage.repeated += if cut { 0 } else { line.len() as u64 };
                continue;
            }
            damage.lost += self.bytes(next..number);
            next = number + 1;
        }
        if whole {
            damage.lost += self.bytes(next..self.last + 1);
        }
        damage
    }

    fn bytes(&self, numbers: std::ops::Range<u64>) -> u64 {
        numbers.map(|number| self.line(number).len() as u64).sum()
    }
}

impl ExpectedOutput {
    /// Compares. Whatever starts with a tilde is a program's.
    pub(crate) fn check(&self, stdout: &[u8], stderr: &[u8], whole: bool) -> Damage {
        let mut all = Damage::default();
        for (sequences, output) in [(&self.stdout, stdout), (&self.stderr, stderr)] {
            for script in sequences {
                let damage = script.check(output, whole);
                all.lost += damage.lost;
                all.repeated += damage.repeated;
            }
            let known =
                |line: &&[u8]| sequences.iter().any(|one| line.get(1) == Some(&(one.mark as u8)));
            let lines = output.split_inclusive(|byte| *byte == b'\n');
            let unexpected = lines.filter(|line| line.starts_with(b"~") && !known(line));
            all.repeated += unexpected.map(|line| line.len() as u64).sum::<u64>();
        }
        all
    }
}

/// Lines that hook and hookd print themselves.
pub(crate) fn own_lines(stderr: &[u8]) -> Vec<String> {
    let lines = String::from_utf8_lossy(stderr).lines().map(str::to_owned).collect::<Vec<_>>();
    lines.into_iter().filter(|line| !line.starts_with('~')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damage(output: &str, whole: bool) -> (u64, u64) {
        let expected_output = ExpectedOutput {
            stdout: vec![Sequence { mark: 'o', last: 3, pad: 0 }],
            stderr: vec![],
        };
        let Damage { lost, repeated } = expected_output.check(output.as_bytes(), b"", whole);
        (lost, repeated)
    }

    #[test]
    fn what_is_lost_repeated_or_strange_is_counted() {
        assert_eq!(damage("hook\n~o1\n~o2\nhook\n~o3\n", true), (0, 0));
        assert_eq!(damage("~o1\n~o3\n", true), (4, 0));
        assert_eq!(damage("~o1\n~o2\n", true), (4, 0));
        assert_eq!(damage("~o1\n~o2\n~o", false), (0, 0));
        assert_eq!(damage("~o1\n~o2\n~o2\n~o3\n", true), (0, 4));
        assert_eq!(damage("~o2\n~o1\n~o3\n", true), (4, 4));
        assert_eq!(damage("~o1\n~o2\n~o3~o3\n", true), (4, 7));
        assert_eq!(damage("~o1\n~o2\n~o3\n~e1\n", true), (0, 4));
    }
}
