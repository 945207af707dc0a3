//! VOLUME: what a later instruction writes there is lost in Kaniko's image, and kept in docker's.

use super::stage::Writer;
use super::variables;
use crate::dockerfile::lines::Instruction;

/// Writes the stage's volumes, at its end.
pub(super) fn write(writer: &mut Writer<'_>) {
    for volume in std::mem::take(&mut writer.volumes) {
        writer.same(&volume);
    }
}

/// Puts in place the variables of volumes that are not written yet, before an instruction that may change
/// them.
pub(super) fn before_variables(writer: &mut Writer<'_>, changing: &Instruction) {
    let names = variables::names(changing, writer.escape);
    for mut volume in std::mem::take(&mut writer.volumes) {
        let uses = |name: &String| volume.rest.contains(name.as_str());
        if volume.rest.contains('$') && names.iter().any(uses) {
            let words = volume
                .json()
                .unwrap_or_else(|| volume.rest.split_whitespace().map(str::to_owned).collect());
            let words = words.iter().map(|word| writer.scope.expand(word, writer.escape));
            match words.collect::<Option<Vec<_>>>() {
                Some(words) => {
                    let words: Vec<_> = words.iter().map(|word| variables::escaped(word)).collect();
                    // To a list of texts it cannot fail.
                    let list = serde_json::to_string(&words).unwrap_or_default();
                    volume.rest.clone_from(&list);
                    volume.text = list;
                }
                None => {
                    let problem = "what later instructions write to the volume is lost";
                    writer.warn(volume.line, problem);
                    writer.same(&volume);
                    continue;
                }
            }
        }
        writer.volumes.push(volume);
    }
}
