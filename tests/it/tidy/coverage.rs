//! Which requirements the tests name: of this slice, every one.

use super::{
    assert_tidy,
    files::{Source, sources},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

/// What the first slice has to show, as numbers of the requirements.
const SLICE: [(char, RangeInclusive<u32>); 17] = [
    ('R', 1..=3),
    ('R', 5..=9),
    ('R', 11..=36),
    ('R', 37..=45),
    ('R', 47..=47),
    ('R', 49..=50),
    ('R', 52..=52),
    ('R', 54..=54),
    ('R', 60..=60),
    ('R', 80..=80),
    ('R', 82..=85),
    ('R', 87..=88),
    ('R', 96..=96),
    ('R', 110..=110),
    ('E', 2..=6),
    ('E', 9..=11),
    ('E', 18..=18),
];
const HIGHEST: [(char, u32); 2] = [('R', 127), ('E', 20)];

type Requirement = (char, u32);

/// The numbers of a `// covers R12, R14-R16` comment.
fn covered(line: &str) -> Vec<Requirement> {
    let Some((_, list)) = line.split_once("// covers ") else {
        return Vec::new();
    };
    let number = |text: &str| {
        let text = text.trim();
        let kind = text.chars().next().filter(char::is_ascii_uppercase)?;
        Some((
            kind,
            text[1..].trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()?,
        ))
    };
    let mut found = Vec::new();
    for part in list.split(',') {
        match part.split_once('-') {
            Some((from, to)) => {
                if let (Some((kind, from)), Some((_, to))) = (number(from), number(to)) {
                    found.extend((from..=to).map(|number| (kind, number)));
                }
            }
            None => found.extend(number(part)),
        }
    }
    found
}

/// The lines that are compiled for tests only.
fn lines_of_tests(source: &Source) -> impl Iterator<Item = &str> {
    let all = source.is_test || source.path.starts_with("tests/");
    source
        .text
        .lines()
        .skip_while(move |line| !all && *line != "#[cfg(test)]")
}

/// `cargo nextest run -p tests every_requirement --success-output final` shows where each is.
#[test]
fn every_requirement_of_this_slice_is_named_by_a_test() {
    let mut found: BTreeMap<Requirement, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        for requirement in lines_of_tests(&source).flat_map(covered) {
            found.entry(requirement).or_default().insert(source.path.clone());
        }
    }
    for ((kind, number), places) in &found {
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        eprintln!("{kind}{number}\t{}", places.join(" "));
        let exists = HIGHEST
            .iter()
            .any(|(known, highest)| kind == known && (1..=*highest).contains(number));
        assert!(exists, "{kind}{number} is no requirement");
    }
    let wanted = SLICE
        .into_iter()
        .flat_map(|(kind, numbers)| numbers.map(move |number| (kind, number)));
    let missing = wanted
        .filter(|requirement| !found.contains_key(requirement))
        .map(|(kind, number)| format!("{kind}{number}"));
    assert_tidy("no test names these requirements, `// covers R12`", missing);
}

#[test]
fn a_list_of_requirements_is_read_as_it_is_meant() {
    assert_eq!(
        covered("// covers R12, R14-R16, E4"),
        [('R', 12), ('R', 14), ('R', 15), ('R', 16), ('E', 4)]
    );
    assert_eq!(covered("no such comment"), []);
}
