//! One trace, from the click to what the world is told.

use super::{in_both_shapes, platform, save_hello};
use proto::{
    builder::v1::StartBuildRequest,
    notifier::v1::{SubscribeRequest, SubscribeResponse},
};
use tests::{Collector, Sent, Shape};
use tonic::Request;

in_both_shapes!(engine_one_trace_leads_from_the_click_to_the_public_event);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn is_of_the_click(sent: &Sent) -> bool {
    let id: Result<[u8; 16], _> = sent.span.trace_id.clone().try_into();
    id.is_ok_and(|id| format!("{:032x}", u128::from_be_bytes(id)) == TRACE)
}

// covers E15
async fn engine_one_trace_leads_from_the_click_to_the_public_event(shape: Shape) -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    let settings = collector.settings();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (_platform, ada, image) = platform(shape, &settings).await?;
    save_hello(&ada, &image, "one").await?;

    let mut click = Request::new(StartBuildRequest {
        image: image.clone(),
        ..StartBuildRequest::default()
    });
    let caller = format!("00-{TRACE}-b7ad6b7169203331-01");
    click.metadata_mut().insert("traceparent", caller.parse()?);
    let started = ada.builds().start_build(click).await?.into_inner();
    ada.saw(started.position);
    let build = started.build.unwrap_or_default().id;
    ada.until(&image, &build, |_| false).await?;

    // The call, the build, its publication, and each event of it that was made public.
    let wanted = ["call", "build", "publish", "publish event"];
    let sent = collector
        .until(|sent| {
            let has = |name: &&str| sent.iter().any(|sent| is_of_the_click(sent) && sent.span.name == *name);
            wanted.iter().all(has)
        })
        .await?;
    let of_the_click = |name: &str| sent.iter().find(|sent| is_of_the_click(sent) && sent.span.name == name);
    let call = of_the_click("call")
        .map(|call| call.span.span_id.clone())
        .unwrap_or_default();
    let services = match shape {
        Shape::One => ["cooper"; 4],
        Shape::Many => ["builder", "builder", "registry-pusher", "notifier"],
    };
    for (name, service) in wanted.into_iter().zip(services) {
        assert_eq!(
            of_the_click(name).map(|sent| sent.service.as_str()),
            Some(service),
            "{name}"
        );
    }
    let links = of_the_click("build")
        .map(|build| build.span.links.clone())
        .unwrap_or_default();
    assert_eq!(
        links[0].span_id, call,
        "the build is linked to the call that asked for it"
    );

    let all = SubscribeRequest {
        image,
        after_position: Some(0),
        ..SubscribeRequest::default()
    };
    let mut events = ada.events().subscribe(all).await?.into_inner();
    let mut published = SubscribeResponse::default();
    while let Some(event) = events.message().await? {
        if event.r#type == "image.published" {
            published = event;
        }
    }
    assert_eq!(published.traceparent.split('-').nth(1), Some(TRACE));
    Ok(())
}
