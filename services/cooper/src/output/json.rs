//! Messages as proto3 JSON.
//!
//! Fields without presence are written even when they are empty, so that a script finds the list of no images.

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Map, Value};
use std::sync::LazyLock;

static CONTRACT: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(proto::DESCRIPTORS).ok());

/// A message as JSON.
pub(crate) fn object<M: prost::Name>(message: &M) -> Value {
    Value::Object(object_of(message))
}

/// A message as a JSON object to which more is added.
pub(crate) fn object_of<M: prost::Name>(message: &M) -> Map<String, Value> {
    let options = SerializeOptions::new().skip_default_fields(false);
    let written = CONTRACT
        .as_ref()
        .and_then(|contract| contract.get_message_by_name(&M::full_name()))
        .and_then(|kind| {
            let dynamic = DynamicMessage::decode(kind, &*message.encode_to_vec()).ok()?;
            dynamic
                .serialize_with_options(serde_json::value::Serializer, &options)
                .ok()
        });
    match written {
        Some(Value::Object(fields)) => fields,
        // Not reached: every message is part of the contract.
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::catalog::v1::{Image, ImageStatus, ListImagesResponse};

    #[test]
    fn a_list_of_nothing_is_an_empty_list() {
        let json = object(&ListImagesResponse::default()).to_string();
        assert_eq!(json, r#"{"images":[],"nextPageToken":"","position":"0"}"#);
    }

    #[test]
    fn what_is_absent_stays_absent_and_enums_have_names() {
        let image = Image {
            status: ImageStatus::NotBuilt.into(),
            ..Image::default()
        };
        let json = object_of(&image);
        assert_eq!(json["status"], "IMAGE_STATUS_NOT_BUILT");
        assert_eq!(json["currentRevision"], 0);
        assert!(!json.contains_key("published"));
    }
}
