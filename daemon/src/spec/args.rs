//! STUB
/// split
pub fn split(pieces: &[String]) -> Vec<String> { pieces.to_vec() }
/// quote
pub fn quote_dollars(text: &str) -> String { text.replace('$', "$$") }
