//! COPY and ADD.

use super::*;

/// What a COPY becomes, and the files that it takes.
fn copied(copy: &str) -> (String, Vec<String>) {
    let lowered = lowered(&format!("FROM a\n{copy}\n"));
    let shown = |file: &BuilderFile| match &file.content {
        Content::Bytes(_) => format!("{} text", file.path),
        Content::Link(to) => format!("{} = {to}", file.path),
        Content::Copy(from) => format!("{} {:o} = {from}", file.path, file.mode),
        Content::Symlink(to) => format!("{} -> {to}", file.path),
        Content::Directory => format!("{}/", file.path),
    };
    let body = lowered.dockerfile.trim_start_matches("FROM a\n").trim_end().to_owned();
    (body, lowered.files.iter().map(shown).collect())
}

#[test]
fn symlinks_are_copied_as_what_they_lead_to() {
    let (copy, files) = copied("COPY link a /x/");
    assert_eq!(copy, r#"COPY ["../hookd/copy-1/link","a","/x/"]"#);
    assert_eq!(files, ["copy-1/link = src/one/a.txt"]);
    assert_eq!(copied("COPY dir /x"), (r#"COPY ["src/two","/x"]"#.to_owned(), vec![]));
    assert_eq!(copied("ADD dir/b.txt /x").1, ["copy-1/b.txt = src/two/b.txt"]);
    for missing in ["COPY out /x", "COPY none /x", "ADD out /x"] {
        let (line, problem) = refused(&format!("FROM a\n\n{missing}\n"));
        assert!(line == 3 && problem.contains("not found in the build context"), "{problem}");
    }
}

#[test]
fn a_pattern_that_matches_nothing_copies_nothing() {
    let (copy, _) = copied("COPY top.txt yarn.lock* /app/");
    assert_eq!(copy, r#"COPY ["top.txt","/app/"]"#);
    assert_eq!(copied("COPY none* /app/").0, "");
    assert_eq!(copied("COPY *.txt /app/").0, "COPY *.txt /app/");
}

#[test]
fn parents_and_excluded_files_are_picked_from_the_context() {
    let (copy, files) = copied("COPY --parents src/*/a.txt top.txt /dst/");
    assert_eq!(copy, r#"COPY ["../hookd/copy-1/","../hookd/copy-2/","/dst/"]"#);
    let expected = [
        "copy-1/",
        "copy-1/src/",
        "copy-1/src/one/",
        "copy-1/src/one/a.txt = src/one/a.txt",
        "copy-1/src/two/",
        "copy-1/src/two/a.txt = src/two/a.txt",
        "copy-2/",
        "copy-2/top.txt = top.txt",
    ];
    assert_eq!(files, expected);
    let (_, files) = copied("COPY --parents ./src/./one/a.txt /cut/");
    assert_eq!(files, ["copy-1/", "copy-1/one/", "copy-1/one/a.txt = src/one/a.txt"]);
    let (copy, files) =
        copied("COPY --chmod=644 --exclude=*.txt --exclude=x.md --exclude=a* . /dst");
    assert_eq!(copy, r#"COPY --chmod=644 ["../hookd/copy-1/0","/dst"]"#);
    assert!(files.contains(&"copy-1/0/link -> src/one/a.txt".to_owned()), "{files:?}");
    assert!(!files.iter().any(|file| file.contains(".md")), "{files:?}");
    assert_eq!(refused("FROM a\nFROM b\nCOPY --from=0 --parents a /b\n").0, 3);
}

#[test]
fn what_add_would_unpack_otherwise_is_copied_or_refused() {
    assert_eq!(copied("ADD f /x").0, r#"COPY ["f","/x"]"#);
    assert_eq!(copied("ADD --unpack=false f /x").0, r#"COPY ["f","/x"]"#);
    assert_eq!(copied("ADD http://h/a.tar /x").0, "ADD http://h/a.tar /x");
    assert_eq!(refused("FROM a\nADD --unpack=true http://h/a.tar /x\n").0, 2);
}

#[test]
fn modes_that_kaniko_does_not_set_are_those_of_the_files() {
    let (copy, files) = copied("COPY --chmod=4755 --chown=1:2 f /x");
    assert_eq!(copy, r#"COPY --chown=1:2 ["../hookd/copy-1/0/f","/x"]"#);
    assert_eq!(files, ["copy-1/0/f 4755 = f"]);
    let (copy, files) = copied("COPY --chmod=u=rwX,go=rX src /x/");
    assert_eq!(copy, r#"COPY ["../hookd/copy-1/0","/x/"]"#);
    assert_eq!(files[..2], ["copy-1/0/", "copy-1/0/one/"]);
    assert_eq!(files[2], "copy-1/0/one/a.txt 644 = src/one/a.txt");
    assert_eq!(copied("COPY --chmod=0755 f /x").0, "COPY --chmod=0755 f /x");
    assert_eq!(warned("FROM a AS b\nFROM a\nCOPY --from=b --chmod=4755 /f /x\n"), [3]);
}

#[test]
fn sources_without_a_directory_are_copied_in_turn() {
    assert_body("COPY a f /x", "COPY [\"a\",\"/x\"]\nCOPY [\"f\",\"/x\"]");
    for same in ["COPY a f /x/", "COPY a f .", "COPY a /x"] {
        assert_body(same, same);
    }
    assert_body("COPY --chown=:team f /x", "COPY --chown=0:team [\"f\",\"/x\"]");
}

#[test]
fn a_pattern_without_a_match_needs_its_directory() {
    assert_eq!(copied("COPY none* /x/").0, "");
    for wrong in ["COPY src/none* /x/", "COPY none/* /x/", "COPY top.txt src/none* /x/"] {
        let (line, problem) = refused(&format!("FROM a\n{wrong}\n"));
        assert!(line == 2 && problem.contains("not found in the build context"), "{problem}");
    }
    // What another instruction needs of it is there.
    for other in
        ["COPY . /all", "COPY src/two/a.txt /a", "ADD s*/one /o", "RUN --mount=target=/c x"]
    {
        let text = format!("FROM a\n{other}\nCOPY src/none* /x/\n");
        assert!(!lowered(&text).dockerfile.contains("none"), "{other}");
    }
    let unneeded = "FROM a AS b\nCOPY . /all\nFROM a\nCOPY src/none* /x/\n";
    assert_eq!(refused(unneeded).0, 4);
}

#[test]
fn unknown_variables_of_a_heredoc_are_empty() {
    let lowered = lowered("FROM a\nENV K=v\nCOPY <<EOF /x\n$K [$PATH] \\$N $1\nEOF\n");
    assert_eq!(lowered.files[0].content, Content::Bytes(b"v [] $N \n".to_vec()));
    let problem = "$PATH is empty here: variables of the base image are not known";
    let found: Vec<_> = lowered.warnings.iter().map(|one| (one.line, &*one.problem)).collect();
    assert_eq!(found, [(3, problem)]);
    assert_eq!(refused("FROM a\nCOPY <<EOF /x\n${K!}\nEOF\n").0, 2);
}

#[test]
fn a_directory_of_the_context_in_a_workdir_is_no_usual_one() {
    assert_eq!(warned("FROM a\nWORKDIR /w\nCOPY . .\n"), [0; 0]);
}

/// Below a symlink, which Kaniko's patterns do not follow.
#[test]
fn a_pattern_goes_through_symlinks() {
    let (copy, files) = copied("COPY dir/*.txt /x/");
    assert_eq!(copy, r#"COPY ["../hookd/copy-1/a.txt","../hookd/copy-2/b.txt","/x/"]"#);
    assert_eq!(files, ["copy-1/a.txt = src/two/a.txt", "copy-2/b.txt = src/two/b.txt"]);
}

#[test]
fn names_are_kept_from_the_pivot_on() {
    let (_, files) = copied("COPY --parents src/*/./a.txt /cut/");
    assert_eq!(files, ["copy-1/", "copy-1/a.txt = src/one/a.txt"]);
    assert_eq!(refused("FROM a\nCOPY --parents **/a.txt /b\n").0, 2);
}
