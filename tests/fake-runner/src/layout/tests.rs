use super::*;

fn layout(folder: &Path) -> Layout {
    Layout::new(WorkDir::new("/home/runner/_work/", folder), "octo/demo")
}

#[test]
fn names_are_the_runners_and_files_lie_where_this_process_sees() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    layout.make_folders().unwrap();
    let files = layout.make_step_files().unwrap();
    let output = files.command_file(FileCommand::SetOutput);
    assert!(output.starts_with("/home/runner/_work/_temp/_runner_file_commands/set_output_"));
    assert!(layout.work().local(&output).is_file());
    assert_eq!(fs::read(layout.work().local(&files.response)).unwrap(), b"");
    assert!(folder.path().join("_temp/_github_workflow/event.json").is_file());
    assert!(folder.path().join("demo/demo").is_dir());
    let commands = fs::read_dir(folder.path().join("_temp/_runner_file_commands")).unwrap();
    assert_eq!(commands.count(), 7);
}

#[test]
fn an_action_replaces_the_one_before_it() {
    let (folder, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let layout = layout(folder.path());
    let uses: Uses = "a/b/sub@v1".parse().unwrap();
    fs::write(source.path().join("old"), "").unwrap();
    layout.place_action(&uses, source.path()).unwrap();
    fs::rename(source.path().join("old"), source.path().join("new")).unwrap();
    let path = layout.place_action(&uses, source.path()).unwrap().unwrap();
    assert_eq!(path, "/home/runner/_work/_actions/a/b/v1/sub");
    let names: Vec<_> = fs::read_dir(layout.work().local(&path))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["new"]);
    assert!(folder.path().join("_actions/a/b/v1.completed").is_file());
}

#[test]
fn a_new_job_starts_with_an_empty_temp() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    layout.make_folders().unwrap();
    layout.make_step_files().unwrap();
    fs::write(folder.path().join("demo/demo/kept"), "").unwrap();
    layout.start_job().unwrap();
    layout.make_folders().unwrap();
    let commands = folder.path().join("_temp/_runner_file_commands");
    assert_eq!(fs::read_dir(commands).unwrap().count(), 0);
    assert!(folder.path().join("demo/demo/kept").is_file());
}

#[test]
fn guids_are_random_and_of_version_4() {
    let one = guid().unwrap();
    assert_eq!(one.len(), 36);
    assert_eq!(&one[14..15], "4");
    assert_ne!(one, guid().unwrap());
}
