//! The file `attributes`: what git does not keep of the files of contexts.

/// What a path of a context is beside what git keeps of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    /// It has this mode; a directory if it is not there.
    Mode(u32),
    /// It is a symbolic link to this target.
    Link(String),
    /// It is a hard link to this path.
    HardLink(String),
    /// It is a program that is built from source.
    Built,
}

/// Paths, each below the folder of all contexts, and what they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes(Vec<(String, Attribute)>);

impl Attributes {
    /// Reads the file's text.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(line).collect())
    }

    /// Those of the context of this name; the paths are below it.
    pub(crate) fn of(&self, context: &str) -> Vec<(&str, Attribute)> {
        let below =
            |path: &'_ str| path.strip_prefix(context).is_some_and(|rest| rest.starts_with('/'));
        let all = self.0.iter().filter(|(path, _)| below(path));
        let cut = |path: &'_ str| path.len().min(context.len() + 1);
        all.map(|(path, attribute)| {
            let attribute = match attribute {
                Attribute::HardLink(other) => {
                    assert!(below(other), "{path} is a hard link to another context's file");
                    Attribute::HardLink(other[cut(other)..].to_owned())
                }
                other => other.clone(),
            };
            (&path[cut(path)..], attribute)
        })
        .collect()
    }
}

fn line(line: &str) -> (String, Attribute) {
    let (path, attribute) = if let Some((path, target)) = line.split_once(" -> ") {
        (path, Attribute::Link(target.to_owned()))
    } else if let Some((path, other)) = line.split_once(" = ") {
        (path, Attribute::HardLink(other.to_owned()))
    } else {
        let (path, word) = line.rsplit_once(' ').unwrap_or_else(|| panic!("attributes: {line:?}"));
        let mode = |_| panic!("attributes: {word:?} of {path} is no mode");
        let is_built = word == "built";
        let attribute = if is_built {
            Attribute::Built
        } else {
            Attribute::Mode(u32::from_str_radix(word, 8).unwrap_or_else(mode))
        };
        (path, attribute)
    };
    (path.to_owned(), attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_those_of_one_context() {
        let text =
            "# comment\n\n1-a/m/my file 4755\n1-a/l -> ../x\n1-a/h = 1-a/m/f\n1-ab/x built\n";
        let all = Attributes::parse(text);
        let expected = [
            ("m/my file", Attribute::Mode(0o4755)),
            ("l", Attribute::Link("../x".to_owned())),
            ("h", Attribute::HardLink("m/f".to_owned())),
        ];
        assert_eq!(all.of("1-a"), expected);
        assert_eq!(all.of("1-ab"), [("x", Attribute::Built)]);
        assert_eq!(all.of("1"), []);
    }
}
