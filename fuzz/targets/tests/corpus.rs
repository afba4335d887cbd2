//! Replays every committed input: what the fuzzers found once stays found, without a fuzzer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{collections::BTreeSet, fs, path::Path};

use felund_fuzz_targets::TARGETS;

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    entries.map(|entry| entry.expect("a readable folder").file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn every_committed_input_is_taken() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for (name, run) in TARGETS {
        let inputs = names(&corpus.join(name));
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            let path = corpus.join(name).join(input);
            println!("{}", path.display());
            run(&fs::read(&path).unwrap());
        }
    }
}

#[test]
fn targets_programs_and_corpora_are_the_same_ones() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz.join("corpus")), targets);
    let programs = names(&fuzz.join("fuzz_targets"));
    assert_eq!(programs, targets.iter().map(|name| format!("{name}.rs")).collect());
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for name in &targets {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml lacks {name}");
    }
}
