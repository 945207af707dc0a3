//! `--chmod`: modes that Kaniko does not set as docker does are given to the files themselves.
//!
//! Kaniko loses the setuid, setgid and sticky bits, and the original one knows numbers only. The rules of
//! symbolic modes are those of chmod(1) without an umask, as BuildKit has them.

/// The permissions that `--chmod` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Modes {
    /// The same for all.
    Octal(u32),
    /// Changes of what each has.
    Symbolic(Vec<Clause>),
}

/// `u=rwx`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clause {
    /// The bits of those that it is for.
    who: u32,
    action: char,
    permissions: String,
}

impl Modes {
    /// The value of `--chmod`; none: it is no mode.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(Self::Octal);
        }
        text.split(',')
            .map(clauses)
            .collect::<Option<Vec<_>>>()
            .map(|all| Self::Symbolic(all.concat()))
    }

    /// Kaniko sets them as docker does.
    pub(super) fn are_plain(&self) -> bool {
        matches!(self, Self::Octal(mode) if *mode <= 0o777)
    }

    /// The permissions of a target that is made for them.
    pub(super) fn of_new(&self) -> u32 {
        match self {
            Self::Octal(mode) => mode & 0o777,
            Self::Symbolic(_) => 0o755,
        }
    }

    /// The permissions of what has these now.
    pub(super) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => {
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_directory))
            }
        }
    }
}

/// One clause without a comma may have several actions: `u=rw+x`.
fn clauses(text: &str) -> Option<Vec<Clause>> {
    let end = text.find(['+', '-', '='])?;
    let mut who = 0;
    for letter in text[..end].chars() {
        who |= match letter {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    let who = if end == 0 { 0o7777 } else { who };
    let mut clauses: Vec<Clause> = Vec::new();
    for letter in text[end..].chars() {
        match (letter, clauses.last_mut()) {
            ('+' | '-' | '=', _) => {
                clauses.push(Clause { who, action: letter, permissions: String::new() });
            }
            ('r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o', Some(clause)) => {
                clause.permissions.push(letter)
            }
            _ => return None,
        }
    }
    Some(clauses)
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let bits = self.permissions.chars().fold(0, |bits, letter| {
            bits | match letter {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if is_directory || mode & 0o111 != 0 => 0o111,
                's' => 0o6000,
                't' => 0o1000,
                // What these have.
                'u' => (mode >> 6 & 0o7) * 0o111,
                'g' => (mode >> 3 & 0o7) * 0o111,
                'o' => (mode & 0o7) * 0o111,
                _ => 0,
            }
        });
        let bits = bits & self.who;
        match self.action {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => mode & !(self.who & 0o777) | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_chmod() {
        for (text, before, file, directory) in [
            ("4755", 0o600, 0o4755, 0o4755),
            ("0750", 0o600, 0o750, 0o750),
            ("u=rwx,go=rx", 0o600, 0o755, 0o755),
            ("+x", 0o644, 0o755, 0o755),
            ("a-w", 0o666, 0o444, 0o444),
            ("u=rwX,go=rX", 0o640, 0o644, 0o755),
            ("g-rwx,o-rwx", 0o755, 0o700, 0o700),
            ("u+s", 0o755, 0o4755, 0o4755),
            ("u=rw+x", 0o600, 0o700, 0o700),
            ("g=u", 0o640, 0o660, 0o660),
            ("o+g,u-x", 0o751, 0o655, 0o655),
        ] {
            let modes = Modes::parse(text).unwrap();
            assert_eq!(modes.apply(before, false), file, "{text}");
            assert_eq!(modes.apply(before, true), directory, "{text}");
        }
        for wrong in ["", "rwx", "z+x", "u=q", "=q", "17777", "0x1"] {
            assert_eq!(Modes::parse(wrong), None, "{wrong}");
        }
        assert!(Modes::parse("755").unwrap().are_plain());
        assert!(!Modes::parse("1777").unwrap().are_plain());
    }
}
