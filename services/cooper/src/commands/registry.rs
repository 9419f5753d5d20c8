//! `cooper image tags`, `inspect`, `digest` and `push-retry`, and `cooper resolve`: what is in the registry.

use super::{
    build::{advise, get},
    pages,
};
use crate::{
    cli::OfBuild,
    client::{Session, Shell, request_id},
    failure::Failure,
    output::{Cell, Table, Tone, ago, bytes, moment, now, short_digest},
    reference::Reference,
};
use proto::registry::v1::{
    InspectImageRequest, InspectImageResponse, ListTagsRequest, ListTagsResponse, ResolveReferenceRequest,
    ResolveReferenceResponse, RetryPushRequest,
};

async fn resolved(session: &Session, reference: &Reference) -> Result<ResolveReferenceResponse, Failure> {
    let request = ResolveReferenceRequest {
        image: session.locate(reference).await?,
        reference: reference.version.to_field(),
    };
    let answer = session
        .call(async || session.registry().resolve_reference(request.clone()).await)
        .await;
    answer.map_err(|failure| advise(failure, reference))
}

pub(crate) async fn resolve(shell: &Shell, reference: &Reference) -> Result<(), Failure> {
    let session = shell.session().await?;
    let answer = resolved(&session, reference).await?;
    shell.output.answer(&answer, &answer.reference, &answer.reference)
}

pub(crate) async fn digest(shell: &Shell, reference: &Reference) -> Result<(), Failure> {
    let session = shell.session().await?;
    let answer = resolved(&session, reference).await?;
    shell.output.answer(&answer, &answer.digest, &answer.digest)
}

// covers R39, R110
pub(crate) async fn tags(shell: &Shell, reference: &Reference) -> Result<(), Failure> {
    let session = shell.session().await?;
    let image = session.locate(reference).await?;
    let (tags, _) = pages(None, async |page_size, page_token| {
        let request = ListTagsRequest {
            image: image.clone(),
            page_size,
            page_token,
        };
        let answer = session
            .call(async || session.registry().list_tags(request.clone()).await)
            .await?;
        Ok((answer.tags, answer.next_page_token))
    })
    .await?;
    let now = now();
    let mut table = Table::new(&["REFERENCE", "DIGEST", "SIZE", "PLATFORM", "MOVED", "BY"]);
    for tag in &tags {
        let cells = [
            Cell::new(Tone::Strong, &tag.reference),
            short_digest(&tag.digest).into(),
            bytes(tag.size_bytes).into(),
            tag.platforms.join(" ").into(),
            ago(tag.time.as_ref(), now).into(),
            (&tag.actor).into(),
        ];
        table.row(&tag.reference, cells);
    }
    let answer = ListTagsResponse {
        tags,
        next_page_token: String::new(),
    };
    let name = &reference.image;
    shell.output.list(
        &answer,
        &table,
        &format!("nothing is published yet: `cooper image build {name}` publishes it"),
    )
}

// covers R40, R41, R42, R78
pub(crate) async fn inspect(shell: &Shell, reference: &Reference) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = InspectImageRequest {
        image: session.locate(reference).await?,
        reference: reference.version.to_field(),
    };
    let answer = session
        .call(async || session.registry().inspect_image(request.clone()).await)
        .await;
    let content = answer.map_err(|failure| advise(failure, reference))?;
    if shell.output.is_json() {
        return shell.output.json(&content);
    }
    if shell.output.quiet {
        return shell.output.line(&content.digest);
    }
    shell.output.facts(&facts(&content))
}

fn facts(content: &InspectImageResponse) -> Table {
    let mut facts = Table::new(&[]);
    let mut fact = |title: &str, value: &str| {
        if !value.is_empty() {
            facts.row("", [Cell::new(Tone::Faint, title), value.into()]);
        }
    };
    fact("reference", &content.reference);
    fact("digest", &content.digest);
    fact("platform", &format!("{}/{}", content.os, content.architecture));
    fact("size", &bytes(content.size_bytes));
    fact("created", &moment(content.created.as_ref()));
    fact("entrypoint", &words(&content.entrypoint));
    fact("command", &words(&content.cmd));
    fact("directory", &content.working_dir);
    fact("user", &content.user);
    fact("ports", &content.exposed_ports.join(" "));
    let mut lines = |title: &str, lines: Vec<String>| {
        for (index, line) in lines.iter().enumerate() {
            fact(if index == 0 { title } else { "" }, line);
        }
    };
    lines("environment", content.env.clone());
    lines(
        "labels",
        content
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
    );
    let layer = |layer: &proto::registry::v1::Layer| format!("{} {}", layer.digest, bytes(layer.size_bytes));
    lines("layers", content.layers.iter().map(layer).collect());
    facts
}

/// Words as the Dockerfile's exec form writes them, so that their ends are seen.
fn words(words: &[String]) -> String {
    if words.is_empty() {
        String::new()
    } else {
        serde_json::Value::from(words).to_string()
    }
}

pub(crate) async fn push_retry(shell: &Shell, of: OfBuild) -> Result<(), Failure> {
    let session = shell.session().await?;
    let image = session.locate(&of.image).await?;
    let request = RetryPushRequest {
        request_id: request_id(),
        image: image.clone(),
        build: of.id,
    };
    let done = session
        .change(async || session.registry().retry_push(request.clone()).await)
        .await?;
    let build = get(&session, &image, request.build).await?;
    let name = &of.image.image;
    let sentence = format!(
        "the push of {} is tried again: `cooper image builds {name}` tells how it went",
        build.id
    );
    shell.output.answer(&done, &build.id, &sentence)
}
