//! What was found, for people and for programs.

use crate::{
    client::Shell,
    failure::{Exit, Failure},
};
use serde_json::{Value, json};
use transparency::{Checkpoint, How, Wrong};

fn facts(checkpoint: &Checkpoint) -> Value {
    json!({ "size": checkpoint.size, "time": checkpoint.time.to_string() })
}

fn of(checkpoint: &Checkpoint) -> String {
    let entries = counted(checkpoint.size);
    format!("the checkpoint of {entries} signed at {}", checkpoint.time)
}

fn counted(entries: u64) -> String {
    if entries == 1 {
        "1 entry".to_owned()
    } else {
        format!("{entries} entries")
    }
}

fn later(unsigned: u64) -> String {
    match unsigned {
        0 => String::new(),
        1 => "; 1 newer entry is not signed yet".to_owned(),
        more => format!("; {more} newer entries are not signed yet"),
    }
}

pub(super) fn whole(shell: &Shell, newest: Option<&Checkpoint>, unsigned: u64) -> Result<(), Failure> {
    let Some(newest) = newest else {
        let entries = counted(unsigned);
        let sentence =
            format!("{entries} without a gap, and no checkpoint, so nothing is proved: try again in a minute");
        return Err(Failure::new(Exit::NotNow, sentence));
    };
    let end = newest.size + unsigned;
    let against = of(newest);
    let sentence = format!(
        "verified the log up to position {} of {end} against {against}",
        newest.size
    );
    said(shell, newest, newest.size, unsigned, &sentence)
}

pub(super) fn image(shell: &Shell, newest: &Checkpoint, proved: u64, unsigned: u64) -> Result<(), Failure> {
    let sentence = format!(
        "verified {} of the image against {}{}",
        counted(proved),
        of(newest),
        later(unsigned)
    );
    said(shell, newest, proved, unsigned, &sentence)
}

fn said(shell: &Shell, newest: &Checkpoint, entries: u64, unsigned: u64, sentence: &str) -> Result<(), Failure> {
    if shell.output.is_json() {
        return shell.output.value(&json!({
            "verified": true, "entries": entries, "unsigned": unsigned, "checkpoint": facts(newest),
        }));
    }
    if shell.output.quiet {
        return Ok(());
    }
    shell.output.line(sentence)
}

/// The log is not the one that was signed: with the first wrong position, if it is known.
pub(super) fn wrong(shell: &Shell, wrong: &Wrong, located: Option<u64>) -> Failure {
    let (after, latest) = (wrong.proved(), wrong.at_latest());
    let checkpoint = wrong.checkpoint.as_ref().map(of);
    let against = checkpoint.as_deref().unwrap_or("any checkpoint");
    let what = match (wrong.how, located.unwrap_or(latest)) {
        (How::Ends, first) if first > wrong.read => {
            format!("the log ends at {}, before {against}", wrong.read)
        }
        (How::Missing, first) if first > wrong.read => format!("the entry at position {first} is missing"),
        (_, first) if located.is_some() => {
            format!("the entry at position {first} is not the one that {against} tells of")
        }
        _ if after == latest => format!("{against} contradicts another of the same size"),
        _ => format!(
            "an entry from position {} to {latest} is not the one that {against} tells of",
            after + 1
        ),
    };
    let is_certain = located.is_some() || after + 1 == latest;
    let before = match located {
        Some(_) => String::new(),
        None if after == 0 => String::new(),
        None if is_certain || after == latest => format!("; all up to position {after} is as it was signed"),
        None => format!("; position {after} is the last that is certainly as it was signed"),
    };
    refused(
        shell,
        &format!("{what}{before}"),
        &json!({
            "verified": false,
            "position": located.or(is_certain.then_some(latest)),
            "from": after + 1,
            "to": latest,
            "checkpoint": wrong.checkpoint.as_ref().map(facts),
        }),
    )
}

pub(super) fn unproved(shell: &Shell, position: u64, newest: &Checkpoint) -> Failure {
    refused(
        shell,
        &format!(
            "the entry at position {position} is not the one that {} tells of",
            of(newest)
        ),
        &json!({ "verified": false, "position": position, "checkpoint": facts(newest) }),
    )
}

/// What the server shows is not of the image that was asked for.
pub(super) fn another(shell: &Shell, why: &str) -> Failure {
    let sentence = format!("the entries that the server shows are not those of the image: {why}");
    refused(shell, &sentence, &json!({ "verified": false }))
}

pub(super) fn shorter(shell: &Shell, older: &Checkpoint, newest: &Checkpoint) -> Failure {
    refused(
        shell,
        &format!(
            "the log's newest checkpoint tells of {}, before {}",
            counted(newest.size),
            of(older)
        ),
        &json!({ "verified": false, "checkpoint": facts(older) }),
    )
}

pub(super) fn forked(shell: &Shell, older: &Checkpoint, newest: &Checkpoint) -> Failure {
    refused(
        shell,
        &format!(
            "{} does not go on from {}: something before it was changed",
            of(newest),
            of(older)
        ),
        &json!({ "verified": false, "checkpoint": facts(older) }),
    )
}

fn refused(shell: &Shell, sentence: &str, answer: &Value) -> Failure {
    if shell.output.is_json()
        && let Err(failure) = shell.output.value(answer)
    {
        return failure;
    }
    Failure::new(Exit::Failed, sentence)
}
