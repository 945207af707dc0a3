//! Lines that are longer than docker's and Kaniko's parsers read.

/// Bytes after which a line is continued: parsers read 65,535.
const LONGEST: usize = 32 << 10;

/// The line, continued where it is longer than docker's and Kaniko's parser read.
pub(super) fn wrapped(line: &str) -> String {
    let mut written = String::with_capacity(line.len());
    let mut length = 0;
    let mut before = ' ';
    for letter in line.chars() {
        // A line that begins with a space or a number sign may be taken for none.
        if length > LONGEST && letter.is_ascii_alphanumeric() && before.is_ascii_alphanumeric() {
            written.push_str("\\\n");
            length = 0;
        }
        written.push(letter);
        length += letter.len_utf8();
        before = letter;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_continued_between_letters() {
        let line = "RUN echo '  #a' && ".repeat(8000);
        let written = wrapped(&line);
        assert!(written.lines().count() > 4);
        for line in written.lines() {
            assert!(
                line.len() < 65_000 && line.starts_with(|one: char| one.is_ascii_alphanumeric())
            );
        }
        assert_eq!(written.replace("\\\n", ""), line);
        assert_eq!(wrapped("RUN x"), "RUN x");
    }
}
