//! The wire contract: every request, answer and event, generated from the `.proto` files beside this crate.

#![expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::large_enum_variant,
    reason = "generated code"
)]

pub mod admin {
    pub mod v1 {
        tonic::include_proto!("cooperage.admin.v1");
    }
}
pub mod catalog {
    pub mod v1 {
        tonic::include_proto!("cooperage.catalog.v1");
    }
}
pub mod editor {
    pub mod v1 {
        tonic::include_proto!("cooperage.editor.v1");

        impl std::fmt::Debug for GitCredential {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("GitCredential(***)")
            }
        }
    }
}
pub mod builder {
    pub mod v1 {
        tonic::include_proto!("cooperage.builder.v1");

        impl std::fmt::Debug for BuildCredentials {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("BuildCredentials(***)")
            }
        }
    }
}
pub mod registry {
    pub mod v1 {
        tonic::include_proto!("cooperage.registry.v1");
    }
}
pub mod notifier {
    pub mod v1 {
        tonic::include_proto!("cooperage.notifier.v1");
    }
}

/// The whole contract as an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Makes a message's `oneof kind` the event type itself, so that the domain matches on it directly.
macro_rules! events {
    ($($message:path => $kind:path as $name:ident),+ $(,)?) => {
        $(
            pub use $kind as $name;

            impl aggregate::Event for $name {
                fn to_bytes(&self) -> Vec<u8> {
                    $message { kind: Some(self.clone()) }.encode_to_vec()
                }

                fn from_bytes(bytes: &[u8]) -> Option<Self> {
                    <$message>::decode(bytes).ok()?.kind
                }
            }
        )+
    };
}

/// The events of every category of the log, by their short names.
pub mod events {
    use super::{builder, catalog, editor, registry};
    use prost::Message as _;

    events! {
        catalog::v1::WorkspaceEvent => catalog::v1::workspace_event::Kind as WorkspaceEvent,
        catalog::v1::ImageEvent => catalog::v1::image_event::Kind as ImageEvent,
        catalog::v1::NameEvent => catalog::v1::name_event::Kind as NameEvent,
        catalog::v1::AccessEvent => catalog::v1::access_event::Kind as AccessEvent,
        catalog::v1::CheckpointEvent => catalog::v1::checkpoint_event::Kind as CheckpointEvent,
        catalog::v1::RefusalEvent => catalog::v1::refusal_event::Kind as RefusalEvent,
        editor::v1::SpecEvent => editor::v1::spec_event::Kind as SpecEvent,
        builder::v1::BuildsEvent => builder::v1::builds_event::Kind as BuildsEvent,
        registry::v1::RepositoryEvent => registry::v1::repository_event::Kind as RepositoryEvent,
    }
}
