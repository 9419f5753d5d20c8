//! What is said about a Dockerfile, as the contract says it. Nothing of it is stored: the rules get better.

use dockerfile::{LintOptions, lint, platform_arguments};
use proto::editor::v1::{BuildSpec, ContextKind, Diagnostic, Severity};
use service::World;
use tokio::task::spawn_blocking;

/// About the Dockerfile of a spec; nothing where it is not used.
pub(crate) async fn of_spec(world: &World, spec: &BuildSpec) -> Vec<Diagnostic> {
    match spec.context_kind() {
        ContextKind::GitRepository => Vec::new(),
        ContextKind::LocalFolder | ContextKind::Unspecified => of_text(world, spec.dockerfile.clone(), spec).await,
    }
}

/// About a text that is built with a spec's arguments. A large one takes some milliseconds, so it holds up no other call.
pub(crate) async fn of_text(world: &World, text: String, spec: &BuildSpec) -> Vec<Diagnostic> {
    let mut options = LintOptions {
        syntax_allowed: world.config.builder.syntax_allowed.clone(),
        ..LintOptions::default()
    };
    if let Some(platform) = spec.platforms.first() {
        options.arguments = platform_arguments(platform);
    }
    options.arguments.extend(spec.build_args.clone());
    let found = spawn_blocking(move || lint(&text, &options)).await;
    found.unwrap_or_default().into_iter().map(told).collect()
}

fn told(found: dockerfile::Diagnostic) -> Diagnostic {
    let severity = match found.severity {
        dockerfile::Severity::Info => Severity::Info,
        dockerfile::Severity::Warning => Severity::Warning,
        dockerfile::Severity::Error => Severity::Error,
    };
    Diagnostic {
        line: found.line,
        column: found.column,
        end_line: found.end_line,
        end_column: found.end_column,
        severity: severity.into(),
        rule: found.rule.to_owned(),
        message: found.message,
        hint: found.hint,
    }
}
