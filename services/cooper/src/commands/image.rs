//! `cooper image create`, `rename`, `describe`, `delete` and `check`.

use super::{lint, save::Prepared};
use crate::{
    cli::CreateArgs,
    client::{Shell, request_id},
    failure::{Exit, Failure},
    output::{object_of, short_name},
    reference::Reference,
};
use proto::catalog::v1::{
    CheckNameRequest, CreateImageRequest, CreateImageResponse, DeleteImageRequest, DescribeImageRequest,
    RenameImageRequest,
};

pub(crate) async fn create(shell: &Shell, args: CreateArgs) -> Result<(), Failure> {
    // What can't be read is found out before anything is made.
    let spec = (!args.spec.is_empty())
        .then(|| Prepared::read(shell, &args.spec))
        .transpose()?;
    let session = shell.session().await?;
    if let Some(spec) = &spec {
        Box::pin(spec.check(&session)).await?;
    }
    let request = CreateImageRequest {
        request_id: request_id(),
        id: String::new(),
        workspace: session.workspace(shell).await?,
        name: name_in(&args.name),
        description: args.description,
    };
    let made = session
        .change(async || session.images().create_image(request.clone()).await)
        .await;
    let made = match made {
        Err(failure) if failure.is("NAME_TAKEN") && session.image(&request.name).await.is_ok() => {
            let advice = format!("you may see that image: `cooper image show {}`", request.name);
            return Err(failure.advising(advice));
        }
        made => made?,
    };
    say_inherited(shell, &made);
    let Some(spec) = spec else {
        let sentence = format!(
            "image {} is made ({}): next, `cooper image edit {}`",
            request.name, made.id, request.name
        );
        return shell.output.answer(&made, &made.id, &sentence);
    };
    let saved = Box::pin(spec.save(shell, &session, &made.id, Some(0)))
        .await
        .map_err(|failure| {
            let done = format!(
                "image {} is made ({}) and nothing is saved in it",
                request.name, made.id
            );
            failure
                .after(done)
                .advising(format!("`cooper image save {}` saves a first revision", request.name))
        })?;
    lint::say(shell, &request.name, &saved.diagnostics);
    if shell.output.is_json() {
        let mut fields = object_of(&made);
        fields.extend(object_of(&saved));
        return shell.output.value(&fields.into());
    }
    let sentence = format!(
        "image {} is made ({}) and revision {} saved",
        request.name, made.id, saved.revision
    );
    shell.output.answer(
        &made,
        &made.id,
        &format!("{sentence}: next, `cooper image build {}`", request.name),
    )
}

/// Says what is in the repository of a new image.
pub(crate) fn say_inherited(shell: &Shell, made: &CreateImageResponse) {
    if made.inherits_content {
        shell.output.notice(
            "an image of this name was deleted before, and what it published is still in the repository: \
             `cooper image delete --purge` removes it with this image",
        );
    }
}

/// A name may be given as an address.
fn name_in(text: &str) -> String {
    text.strip_prefix("image:").unwrap_or(text).to_owned()
}

pub(crate) async fn rename(shell: &Shell, image: &Reference, name: String) -> Result<(), Failure> {
    let session = shell.session().await?;
    // By its id: a call whose answer got lost is made again, and by then the old name is nobody's.
    let found = session.image(&session.locate(image).await?).await?;
    let request = RenameImageRequest {
        request_id: request_id(),
        image: found.id,
        name: name_in(&name),
        expected_version: 0,
    };
    let done = session
        .change(async || session.images().rename_image(request.clone()).await)
        .await?;
    shell.output.answer(
        &done,
        &request.name,
        &format!("{} is called {} now", image.image, request.name),
    )
}

pub(crate) async fn describe(shell: &Shell, image: &Reference, description: String) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = DescribeImageRequest {
        request_id: request_id(),
        image: session.locate(image).await?,
        description,
        expected_version: 0,
    };
    let done = session
        .change(async || session.images().describe_image(request.clone()).await)
        .await?;
    shell.output.answer(
        &done,
        &image.image,
        &format!("{} has another description now", image.image),
    )
}

pub(crate) async fn delete(shell: &Shell, image: &Reference, purge: bool) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = DeleteImageRequest {
        request_id: request_id(),
        image: session.locate(image).await?,
        purge,
        expected_version: 0,
    };
    let done = session
        .change(async || session.images().delete_image(request.clone()).await)
        .await?;
    let name = &image.image;
    let rest = if purge {
        "all content under its name is being removed, also what earlier images of this name left".to_owned()
    } else {
        format!("its content stays in the registry until `cooper image delete {name} --purge`")
    };
    shell.output.answer(
        &done,
        name,
        &format!("image {name} is deleted, and its history stays; {rest}"),
    )
}

pub(crate) async fn check(shell: &Shell, name: String) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = CheckNameRequest {
        name: name_in(&name),
        // Only a workspace of one's own makes a difference: it may take again what it deleted.
        workspace: session.workspace(shell).await.unwrap_or_default(),
    };
    let answer = session
        .call(async || session.images().check_name(request.clone()).await)
        .await?;
    let read_as = short_name(answer.name.as_ref());
    if !answer.free {
        if shell.output.is_json() {
            shell.output.json(&answer)?;
        }
        let sentence = format!("the name {read_as} is taken: choose another");
        return Err(Failure::new(Exit::AlreadyExists, sentence));
    }
    shell
        .output
        .answer(&answer, &read_as, &format!("the name {read_as} is free"))
}
