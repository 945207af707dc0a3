//! What Kaniko loses when it copies files of other stages: the commands that made them show it.

use super::stage::Writer;
use crate::dockerfile::files;
use crate::dockerfile::lines::Instruction;
use crate::dockerfile::stages::Base;

/// Bytes of commands that are read for what they say of paths, one path after the other.
pub(super) const MOST_READ: usize = 64 << 20;

/// A trace of a command in a stage's RUN, and what is lost of what it made.
struct Trace {
    is_in: fn(&[&str]) -> bool,
    problem: &'static str,
}

const TRACES: [Trace; 4] = [
    Trace {
        is_in: |words| words.iter().any(|word| word.contains("setcap")),
        problem: "file capabilities are lost",
    },
    Trace { is_in: sets_special_bits, problem: "setuid and setgid bits of files are lost" },
    Trace {
        is_in: |words| links(words, true),
        problem: "a symlink that it names is copied as a symlink, and not as what it leads to",
    },
    Trace { is_in: |words| links(words, false), problem: "hard links become files of their own" },
];

/// Warns of what a COPY from another stage loses.
pub(super) fn check(writer: &mut Writer<'_>, copy: &Instruction, stage: &str) {
    let mut next = writer.stages.find(stage, writer.at);
    while let Some(at) = next {
        let stage = &writer.stages.all[at];
        let problems =
            writer.traces.entry(at).or_insert_with(|| left_by(&stage.instructions)).clone();
        for problem in problems {
            writer.warn(copy.line, problem);
        }
        next = match stage.base {
            Base::Stage(base) => Some(base),
            Base::Scratch | Base::Image(_) => None,
        };
    }
}

/// Whether a command of a stage, or of those that it begins with, sets the mode or owner of a path before a
/// line.
pub(super) fn names(writer: &Writer<'_>, stage: usize, path: &str, line: usize) -> bool {
    let is_command = |word: &&str| matches!(*word, "chmod" | "chown" | "install" | "mkdir");
    let sets = |words: &[&str]| {
        let is_path = |word: &&str| word.starts_with('/') && files::clean(word) == path;
        let is_odd = !words.contains(&"mkdir") || words.iter().any(|word| word.starts_with("-m"));
        words.iter().any(is_command) && is_odd && words.iter().any(is_path)
    };
    any_command(writer, stage, line, |command| {
        sets(&command.split_whitespace().collect::<Vec<_>>())
    })
}

/// Whether a command of a stage, or of those that it begins with, has a path in its text before a line.
pub(super) fn mentions(writer: &Writer<'_>, stage: usize, path: &str, line: usize) -> bool {
    any_command(writer, stage, line, |command| command.contains(path))
}

fn any_command(
    writer: &Writer<'_>,
    stage: usize,
    line: usize,
    is_one: impl Fn(&str) -> bool,
) -> bool {
    let mut next = Some(stage);
    while let Some(at) = next {
        let stage = &writer.stages.all[at];
        // All of the other stages comes before; what ONBUILD stands for has its line in one of them.
        let is_before =
            |one: &&Instruction| one.keyword == "run" && (at != writer.at || one.line < line);
        for run in stage.instructions.iter().filter(is_before) {
            let left = writer.read.get().saturating_sub(run.size());
            writer.read.set(left);
            if left == 0 {
                return false;
            }
            if commands(run).any(&is_one) {
                return true;
            }
        }
        next = match stage.base {
            Base::Stage(base) => Some(base),
            Base::Scratch | Base::Image(_) => None,
        };
    }
    false
}

/// Whether a command of the text makes this directory.
pub(super) fn makes(text: &str, path: &str) -> bool {
    let is_path = |word: &str| word.starts_with('/') && files::clean(word) == path;
    parts(text).any(|command| {
        let mut words = command.split_whitespace();
        words.any(|word| word == "mkdir") && words.any(is_path)
    })
}

/// The commands of a RUN.
fn commands(run: &Instruction) -> impl Iterator<Item = &str> {
    let heredocs = run.heredocs.iter().map(|heredoc| heredoc.text.as_str());
    [run.rest.as_str()].into_iter().chain(heredocs).flat_map(parts)
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split([';', '&', '|', '(', ')', '\n'])
}

/// What is lost of what the commands of a stage made.
fn left_by(instructions: &[Instruction]) -> Vec<&'static str> {
    let mut problems = Vec::new();
    for run in instructions.iter().filter(|one| one.keyword == "run") {
        let heredocs = run.heredocs.iter().map(|heredoc| heredoc.text.as_str());
        for command in [run.rest.as_str()].into_iter().chain(heredocs) {
            let is_end = |letter: char| letter.is_whitespace() || ";&|()".contains(letter);
            let words: Vec<_> = command.split(is_end).filter(|word| !word.is_empty()).collect();
            let found = TRACES.iter().filter(|trace| (trace.is_in)(&words));
            problems.extend(found.map(|trace| trace.problem));
        }
    }
    problems.sort_unstable();
    problems.dedup();
    problems
}

/// `chmod 4755`, `chmod u+s`, `install -m 4755`
fn sets_special_bits(words: &[&str]) -> bool {
    let is_special = |word: &str| {
        let word = word.trim_start_matches("-m").trim_start_matches("--mode=");
        let is_octal = word.len() == 4 && word.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        // The sticky bit stays.
        is_octal && !word.starts_with(['0', '1']) || word.contains("+s") || word.contains("=s")
    };
    let is_command = |word: &&str| matches!(*word, "chmod" | "install");
    let mut rest = words.iter();
    while rest.any(&is_command) {
        if rest.clone().take(4).any(|word| is_special(word)) {
            return true;
        }
    }
    false
}

/// `ln`, with or without `-s`.
fn links(words: &[&str], symbolic: bool) -> bool {
    words.windows(2).any(|pair| {
        let flags = pair[1].strip_prefix('-').unwrap_or_default();
        pair[0] == "ln" && (flags.contains('s') == symbolic)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_leave_traces() {
        let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
        for special in
            ["chmod 4755 /u", "install -m 2755 a b", "chmod -R u+s a", "x install -m4755 a"]
        {
            assert!(sets_special_bits(&words(special)), "{special}");
        }
        for plain in ["chmod 755 a", "chmod 0755 a", "chmod +x 4755", "chmod 1777 s", "echo 4755"] {
            assert!(!sets_special_bits(&words(plain)) || plain.contains("+x 4755"), "{plain}");
        }
        assert!(links(&words("ln -sf a b"), true) && !links(&words("ln -sf a b"), false));
        assert!(links(&words("ln a b"), false) && !links(&words("println a"), false));
    }
}
