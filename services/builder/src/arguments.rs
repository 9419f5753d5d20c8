//! Which build arguments a build takes. They stand in the log and in the image for ever, so no secret may be one; and
//! some would change how the engine works.

use service::BuilderSettings;

const NAME_LENGTH_MAX: usize = 128;
/// Engines take them for the proxies of every step, declared or not.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];
/// As in Docker's check `SecretsUsedInArgOrEnv`.
const SECRETS: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];
pub(crate) const SYNTAX: &str = "BUILDKIT_SYNTAX";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("`{0}` is no name of a build argument: letters, digits and `_`, at most {NAME_LENGTH_MAX}, no digit first")]
    Name(String),
    #[error("the build argument {0} would send the downloads of all steps elsewhere, so it is not taken")]
    Proxy(String),
    #[error(
        "the build argument {0} looks like a secret, and would stand in the log and in the image for ever: give it with \
         --secret id={0},env={0} and use it with RUN --mount=type=secret,id={0}"
    )]
    Secret(String),
    #[error("the frontend `{0}` ({SYNTAX}) is not allowed")]
    Syntax(String),
}

impl Wrong {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Secret(_) => "BUILD_ARG_LOOKS_SECRET",
            Self::Name(_) | Self::Proxy(_) | Self::Syntax(_) => "INVALID_ARGUMENT",
        }
    }
}

pub(crate) fn check<'a>(
    arguments: impl IntoIterator<Item = (&'a String, &'a String)>,
    settings: &BuilderSettings,
) -> Result<(), Wrong> {
    for (name, value) in arguments {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_name = name.len() <= NAME_LENGTH_MAX
            && name.starts_with(|c: char| is_letter(c) && !c.is_ascii_digit())
            && name.chars().all(is_letter);
        if !is_name {
            return Err(Wrong::Name(name.chars().take(NAME_LENGTH_MAX).collect()));
        }
        let lower = name.to_ascii_lowercase();
        if PROXIES.contains(&lower.as_str()) {
            return Err(Wrong::Proxy(name.clone()));
        }
        let mut words = lower.split('_');
        let is_plain = settings.plain_args.contains(name) || words.clone().any(|word| word == "public");
        if !is_plain && words.any(|word| SECRETS.contains(&word)) {
            return Err(Wrong::Secret(name.clone()));
        }
        if name == SYNTAX && !is_allowed(value, settings) {
            return Err(Wrong::Syntax(value.clone()));
        }
    }
    Ok(())
}

fn is_allowed(value: &str, settings: &BuilderSettings) -> bool {
    let asked = dockerfile::Syntax {
        reference: value.split_whitespace().next().unwrap_or_default().to_owned(),
        line: 0,
    };
    asked.is_allowed(&settings.syntax_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::Config;

    fn checked(name: &str, value: &str) -> Result<(), Wrong> {
        let mut settings = Config::defaults().unwrap().builder;
        settings.plain_args = vec!["SORT_KEY".to_owned()];
        check([(&name.to_owned(), &value.to_owned())], &settings)
    }

    #[test]
    fn an_argument_is_a_plain_value_with_a_plain_name() {
        for name in [
            "VERSION",
            "_a1",
            "KEYBOARD",
            "TOKENIZER",
            "SORT_KEY",
            "PUBLIC_KEY",
            "BUILDKIT_INLINE_CACHE",
        ] {
            assert_eq!(checked(name, "1"), Ok(()), "{name}");
        }
        let long = "A".repeat(129);
        for name in ["", "1A", "A-B", "A B", "A=B", "\u{c4}", &long] {
            assert!(matches!(checked(name, "1"), Err(Wrong::Name(_))), "{name}");
        }
        for name in ["HTTP_PROXY", "https_proxy", "No_Proxy", "ALL_PROXY"] {
            assert_eq!(checked(name, "http://evil"), Err(Wrong::Proxy(name.to_owned())));
        }
        for name in ["AWS_SECRET_ACCESS_KEY", "npm_token", "PASSWORD", "DB_PASSWD", "ApiKey"] {
            let wrong = checked(name, "x").unwrap_err();
            assert_eq!(
                (wrong.reason(), &wrong),
                ("BUILD_ARG_LOOKS_SECRET", &Wrong::Secret(name.to_owned()))
            );
            assert!(wrong.to_string().contains(&format!("--secret id={name}")), "{wrong}");
        }
    }

    #[test]
    fn a_frontend_comes_by_argument_only_if_it_is_allowed() {
        assert_eq!(checked(SYNTAX, "docker/dockerfile:1.7"), Ok(()));
        assert_eq!(checked(SYNTAX, "docker.io/docker/dockerfile:1 extra"), Ok(()));
        for evil in ["evil/x", "", "docker/dockerfile-upstream:master"] {
            assert_eq!(checked(SYNTAX, evil), Err(Wrong::Syntax(evil.to_owned())));
        }
    }
}
