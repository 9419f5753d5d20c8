//! `cooper login`, `logout` and `whoami`.

use super::workspace;
use crate::{
    cli::LoginArgs,
    client::{Home, Shell, TokenSource, token_for},
    failure::{Exit, Failure},
    output::{Cell, Table, Tone, moment, now, plural, role_word},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use serde::Deserialize;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

pub(crate) async fn login(shell: &Shell, args: &LoginArgs) -> Result<(), Failure> {
    let server = shell.server()?;
    let home = Home::of(&server).ok_or_else(homeless)?;
    let token = if args.token_stdin { read_all() } else { ask(shell) };
    let token = token.map_err(|error| Failure::new(Exit::Invalid, format!("the token can't be read: {error}")))?;
    let token = token.trim();
    let Some(claims) = Claims::of(token) else {
        return Err(Failure::new(
            Exit::Invalid,
            "this is not a token: it has three parts with dots between them",
        ));
    };
    // Only a token that the server takes is kept.
    let session = shell.session_with(server.clone(), Some(token)).await?;
    workspace::all(&session).await?;
    home.keep_token(token)
        .map_err(|error| Failure::new(Exit::Internal, format!("{error:#}")))?;
    let sentence = format!("you are {} at {server} now", claims.sub);
    if shell.output.is_json() {
        return shell
            .output
            .value(&serde_json::json!({ "server": server.to_string(), "user": claims.sub }));
    }
    shell
        .output
        .line(if shell.output.quiet { claims.sub } else { sentence })
}

pub(crate) fn logout(shell: &Shell) -> Result<(), Failure> {
    let server = shell.server()?;
    let forgotten = Home::of(&server).ok_or_else(homeless)?.forget_token();
    let was_there =
        forgotten.map_err(|error| Failure::new(Exit::Internal, format!("the token can't be removed: {error}")))?;
    shell.output.notice(if was_there {
        format!("the token for {server} is forgotten")
    } else {
        format!("there was no token for {server}")
    });
    match token_for(&server) {
        Some((_, TokenSource::Environment)) => shell.output.notice("COOPERAGE_TOKEN still says who you are"),
        Some((_, TokenSource::DataFolder)) => shell.output.notice("the token of the data folder says who you are now"),
        Some((_, TokenSource::Login)) | None => {}
    }
    Ok(())
}

pub(crate) async fn whoami(shell: &Shell) -> Result<(), Failure> {
    let server = shell.server()?;
    let Some((token, source)) = token_for(&server) else {
        let sentence = format!("you are nobody at {server}: run `cooper login`, or set COOPERAGE_TOKEN");
        return Err(Failure::new(Exit::NotAllowed, sentence));
    };
    let session = shell.session_with(server.clone(), Some(&token)).await?;
    // Whoever wrote the token, only the server knows whether it is good.
    let workspaces = workspace::all(&session).await?;
    let claims = Claims::of(&token).unwrap_or_default();
    let source = match source {
        TokenSource::Environment => "COOPERAGE_TOKEN",
        TokenSource::Login => "cooper login",
        TokenSource::DataFolder => "the data folder",
    };
    let role = |workspace: &proto::catalog::v1::Workspace| {
        let member = workspace.members.iter().find(|member| member.user == claims.sub)?;
        Some(format!("{} ({})", workspace.name, role_word(member.role())))
    };
    let roles: Vec<String> = workspaces.iter().filter_map(role).collect();
    let expires = prost_types::Timestamp {
        seconds: claims.exp,
        nanos: 0,
    };
    if shell.output.is_json() {
        return shell.output.value(&serde_json::json!({
            "user": claims.sub,
            "admin": claims.admin,
            "server": server.to_string(),
            "tokenFrom": source,
            "tokenExpires": expires.to_string(),
            "workspaces": workspaces.iter().map(|workspace| workspace.id.as_str()).collect::<Vec<_>>(),
        }));
    }
    if shell.output.quiet {
        return shell.output.line(&claims.sub);
    }
    let mut facts = Table::new(&[]);
    let mut fact = |title: &str, value: &str| facts.row("", [Cell::new(Tone::Faint, title), value.into()]);
    fact("user", &claims.sub);
    if claims.admin {
        fact("", "an administrator of the platform");
    }
    fact("server", &server.to_string());
    fact(
        "token",
        &format!("from {source}, until {} ({})", moment(Some(&expires)), left(claims.exp)),
    );
    fact("workspaces", roles.first().map_or("none yet", String::as_str));
    for role in roles.iter().skip(1) {
        fact("", role);
    }
    shell.output.facts(&facts)
}

fn homeless() -> Failure {
    Failure::new(
        Exit::Usage,
        "there is no folder for the token: set HOME or XDG_CONFIG_HOME, or use COOPERAGE_TOKEN",
    )
}

/// How long a token lives on.
fn left(expires: i64) -> String {
    let seconds = expires.saturating_sub(now().as_second());
    match seconds {
        ..=0 => "expired".to_owned(),
        1..7_200 => format!("{} left", plural(seconds / 60, "minute")),
        7_200..172_800 => format!("{} left", plural(seconds / 3_600, "hour")),
        _ => format!("{} left", plural(seconds / 86_400, "day")),
    }
}

/// What a token says, for showing only: nothing here is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Claims {
    sub: String,
    exp: i64,
    admin: bool,
}

impl Claims {
    fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_head, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

fn read_all() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

/// Asks for the token without showing it.
fn ask(shell: &Shell) -> io::Result<String> {
    let stdin = io::stdin();
    let mut line = String::new();
    if !stdin.is_terminal() {
        stdin.lock().read_line(&mut line)?;
        return Ok(line);
    }
    shell.output.aside(b"Token: ");
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&stdin, SetArg::TCSANOW, &hidden)?;
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, SetArg::TCSANOW, &shown)?;
    shell.output.aside(b"\n");
    read?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_and_not_believed() {
        // {"alg":"none"} . {"sub":"ada","exp":1700000000,"other":[]} . nothing
        let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEiLCJleHAiOjE3MDAwMDAwMDAsIm90aGVyIjpbXX0.";
        let claims = Claims::of(token).unwrap();
        assert_eq!(
            (claims.sub.as_str(), claims.exp, claims.admin),
            ("ada", 1_700_000_000, false)
        );
        for nonsense in ["", "a.b", "a.!.c", "password"] {
            assert!(Claims::of(nonsense).is_none(), "{nonsense}");
        }
    }
}
