//! The examples of docs/testing.md run word for word as they stand there, against this program. That
//! in TypeScript is run by the tests of the client.

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::sources::root;

/// The one block of the page in this language.
fn example(language: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let begin = format!("```{language}\n");
    let mut blocks = page.split(begin.as_str()).skip(1);
    let block = blocks.next().unwrap().split("```").next().unwrap().to_owned();
    assert!(blocks.next().is_none(), "there is more than one example in {language}");
    block
}

/// Runs a command that finds this program by its name, as the page does, and nothing else of ours in
/// its environment.
fn run(command: &mut Command) -> (Output, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_entitled"));
    let path = std::env::var_os("PATH").unwrap();
    let folders = [program.parent().unwrap().to_owned()];
    let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path)));
    // What cargo tells a test about its package would have the build of dependencies repeated.
    let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "ENTITLED_", "NEXTEST"];
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if told.iter().any(|start| name.starts_with(start)) {
            command.env_remove(&name);
        }
    }
    let output = command.current_dir(root()).env("PATH", path.unwrap()).output().unwrap();
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let said = said.concat();
    (output, said)
}

/// `tests/testing_page.rs` is a test of its own, which cargo builds only when it is named.
#[test]
fn the_example_in_rust_is_a_test_that_passes() {
    let built = std::fs::read_to_string(root().join("tests/testing_page.rs")).unwrap();
    assert_eq!(example("rust"), built, "copy the example to tests/testing_page.rs");
    let words = ["test", "--offline", "--locked", "--test", "testing_page"];
    let (output, said) = run(Command::new(env!("CARGO")).args(words));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("test a_trial_ends_after_two_weeks ... ok"), "{said}");
}

#[test]
fn the_example_in_python_is_a_test_that_passes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test_trials.py");
    std::fs::write(&file, example("python")).unwrap();
    let (output, said) = run(Command::new("python3").arg(&file));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Ran 1 test") && said.contains("OK"), "{said}");
}
