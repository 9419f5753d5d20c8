//! What is given with a build is used by it, and found nowhere.

use super::{in_both_shapes, platform, save_hello};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proto::{
    builder::v1::{Build, BuildCredentials, BuildOptions, RegistryCredential, StartBuildRequest},
    catalog::v1::BuildOutcome,
    editor::v1::GitCredential,
};
use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, time::UNIX_EPOCH};
use tests::{BUSYBOX, EngineDoor, LockedRegistry, Shape, User, busybox, engine, reason};

in_both_shapes!(
    engine_a_secret_is_seen_by_its_step_alone,
    engine_a_password_opens_the_registry_of_a_base,
    engine_a_second_attempt_has_the_same_secrets,
    what_is_too_much_is_refused,
);

fn secrets(given: &[(&str, &str)]) -> BuildCredentials {
    let owned = |(id, value): &(&str, &str)| ((*id).to_owned(), value.as_bytes().to_vec().into());
    BuildCredentials {
        secrets: given.iter().map(owned).collect(),
        ..BuildCredentials::default()
    }
}

async fn start(ada: &User, image: &str, credentials: BuildCredentials) -> Result<Build, tonic::Status> {
    let request = StartBuildRequest {
        image: image.to_owned(),
        credentials: Some(credentials),
        options: Some(BuildOptions {
            no_cache: true,
            ..BuildOptions::default()
        }),
        ..StartBuildRequest::default()
    };
    let started = ada.builds().start_build(request).await?.into_inner();
    ada.saw(started.position);
    Ok(started.build.unwrap_or_default())
}

async fn build(ada: &User, image: &str, credentials: BuildCredentials) -> anyhow::Result<Build> {
    let started = start(ada, image, credentials).await?;
    Ok(ada.until(image, &started.id, |_| false).await?)
}

// covers R25
async fn engine_a_secret_is_seen_by_its_step_alone(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let (_platform, ada, image) = platform(shape, &[]).await?;
    let dockerfile = format!(
        "FROM {BUSYBOX}\nRUN --mount=type=secret,id=token,required=true busybox wc -c </run/secrets/token >/size\n\
         RUN busybox find /run >/after 2>&1 || true\n"
    );
    ada.save(&image, &dockerfile, None).await?;
    let without = build(&ada, &image, BuildCredentials::default()).await?;
    assert_eq!(without.outcome(), BuildOutcome::Failed);
    assert!(without.cause.contains("token"), "{}", without.cause);

    let built = build(&ada, &image, secrets(&[("token", "correct horse")])).await?;
    assert_eq!(built.outcome(), BuildOutcome::Succeeded, "{}", built.cause);
    let reference = ada.resolve(&image).await?;
    tests::fetch(&reference).await?;
    let files = tests::files(&reference).await?;
    assert_eq!(files["size"].trim_ascii(), b"13");
    assert!(!files.contains_key("run/secrets/token"));
    assert!(!String::from_utf8_lossy(&files["after"]).contains("secrets/token"));
    Ok(())
}

// covers R25
async fn engine_a_password_opens_the_registry_of_a_base(shape: Shape) -> anyhow::Result<()> {
    let registry = LockedRegistry::start().await?;
    let (_platform, ada, image) = platform(shape, &[]).await?;
    let now = UNIX_EPOCH.elapsed()?.as_nanos();
    let dockerfile = format!("FROM {}\nRUN echo {now} >/now\n", registry.base());
    ada.save(&image, &dockerfile, None).await?;
    let given = |host: &str, password: &str| BuildCredentials {
        registries: vec![RegistryCredential {
            host: host.to_owned(),
            user: LockedRegistry::USER.to_owned(),
            password: password.to_owned(),
        }],
        ..BuildCredentials::default()
    };
    for refused in [
        BuildCredentials::default(),
        given(&registry.host(), "wrong-password"),
        given("elsewhere.example", LockedRegistry::PASSWORD),
    ] {
        let failed = build(&ada, &image, refused).await?;
        assert_eq!(failed.outcome(), BuildOutcome::Failed);
        assert!(failed.cause.contains(&registry.host()), "{}", failed.cause);
    }
    let built = build(&ada, &image, given(&registry.host(), LockedRegistry::PASSWORD)).await?;
    assert_eq!(built.outcome(), BuildOutcome::Succeeded, "{}", built.cause);
    Ok(())
}

// covers E1, E2
async fn engine_a_second_attempt_has_the_same_secrets(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let door = EngineDoor::new().await?;
    let (_platform, ada, image) = platform(shape, &[("COOPERAGE_ENGINE__HOST", &door.host())]).await?;
    let dockerfile = format!(
        "FROM {BUSYBOX}\nRUN --mount=type=secret,id=token,required=true busybox wc -c </run/secrets/token && sleep 3\n"
    );
    ada.save(&image, &dockerfile, None).await?;
    let started = start(&ada, &image, secrets(&[("token", "correct horse")])).await?;
    let is_building = |build: &Build| build.phase() == proto::builder::v1::BuildPhase::Building;
    ada.until(&image, &started.id, is_building).await?;
    door.shut().await?;
    ada.until(&image, &started.id, |build| !is_building(build)).await?;
    door.open().await?;
    let ended = ada.until(&image, &started.id, |_| false).await?;
    assert_eq!(
        (ended.outcome(), ended.attempt),
        (BuildOutcome::Succeeded, 2),
        "{}",
        ended.cause
    );
    Ok(())
}

async fn what_is_too_much_is_refused(shape: Shape) -> anyhow::Result<()> {
    let (_platform, ada, image) = platform(shape, &[]).await?;
    save_hello(&ada, &image, "one").await?;
    let large = "x".repeat(500 * 1024 + 1);
    let refused = start(&ada, &image, secrets(&[("token", &large)])).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "credentials: the secret `token` has 512001 bytes, it may have 512000"
    );
    Ok(())
}

/// What people keep secret, each with something in it that is nowhere else.
fn canaries() -> BTreeMap<&'static str, String> {
    let mut number = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let mut chance = |length: usize| -> String {
        // A sequence that no other run has.
        let mut next = || {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from(
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                    [usize::try_from((number >> 64) % 62).unwrap_or_default()],
            )
        };
        (0..length).map(|_| next()).collect()
    };
    BTreeMap::from([
        ("aws-key-id", format!("AKIA{}", chance(16))),
        (
            "aws-secret-key",
            format!("{}/{}+{}", chance(13), chance(13), chance(12)),
        ),
        ("github-token", format!("ghp_{}", chance(36))),
        ("gitlab-token", format!("glpat-{}", chance(20))),
        ("npm-token", format!("npm_{}", chance(36))),
        ("pypi-token", format!("pypi-AgEIcHlwaS5vcmc{}", chance(60))),
        ("crates-token", format!("cio{}", chance(32))),
        ("docker-token", format!("dckr_pat_{}", chance(27))),
        ("slack-token", format!("xoxb-{}-{}", chance(12), chance(24))),
        ("stripe-key", format!("sk_live_{}", chance(24))),
        ("google-key", format!("AIza{}", chance(35))),
        ("sendgrid-key", format!("SG.{}.{}", chance(22), chance(43))),
        ("twilio-key", format!("SK{}", chance(32))),
        ("jwt", format!("eyJhbGciOiJIUzI1NiJ9.{}.{}", chance(60), chance(43))),
        ("password", format!("{} {}&={}%", chance(8), chance(8), chance(8))),
        ("passphrase", format!("b\u{e4}r {} \u{2603}", chance(20))),
        ("database-url", format!("postgres://app:{}@db.internal/app", chance(24))),
        (
            "netrc",
            format!("machine git.internal login ci password {}\n", chance(24)),
        ),
        (
            "npmrc",
            format!("//registry.internal/:_authToken={}\nalways-auth=true\n", chance(40)),
        ),
        (
            "azure-storage",
            format!("AccountName=x;AccountKey={}==;EndpointSuffix=y", chance(86)),
        ),
        (
            "service-account",
            format!("{{\n  \"private_key_id\": \"{}\"\n}}\n", chance(40)),
        ),
        ("ssh-key", pem("OPENSSH PRIVATE KEY", &chance(400))),
        ("tls-key", pem("RSA PRIVATE KEY", &chance(800))),
        ("hex-key", base16ct::lower::encode_string(chance(32).as_bytes())),
    ])
}

fn pem(kind: &str, body: &str) -> String {
    let lines: Vec<_> = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    let body = lines.join("\n");
    format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n")
}

/// What of a secret would tell it, however it was written: a piece of each line that is long enough to stand nowhere else.
fn traces(secret: &str) -> Vec<Vec<u8>> {
    let long = |line: &&str| line.len() >= 12 && !line.starts_with("-----") && *line != "always-auth=true";
    let mut all = Vec::new();
    for line in secret.lines().filter(long) {
        let end = line.ceil_char_boundary(line.len() - 12);
        all.push(line.as_bytes().to_vec());
        all.push(line.as_bytes()[end..].to_vec());
        all.push(base16ct::lower::encode_string(line.as_bytes()).into());
        all.push(
            url::form_urlencoded::byte_serialize(line.as_bytes())
                .collect::<String>()
                .into(),
        );
    }
    let base64 = STANDARD.encode(secret);
    all.extend(base64.as_bytes().chunks_exact(60).map(<[u8]>::to_vec));
    all.push(base64.as_bytes()[..base64.len() / 4 * 3].to_vec());
    all
}

fn each_file(folder: &Path, see: &mut impl FnMut(&Path, &[u8])) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            each_file(&path, see)?;
        } else if path.is_file() {
            // What goes while it is looked at is not kept.
            see(&path, &fs::read(&path).unwrap_or_default());
        }
    }
    Ok(())
}

// covers E9, E11
#[tokio::test]
async fn engine_no_canary_is_found_anywhere() {
    let registry = LockedRegistry::start().await.unwrap();
    let (platform, ada, image) = platform(Shape::One, &[]).await.unwrap();
    let canaries = canaries();
    let given = BuildCredentials {
        secrets: canaries
            .iter()
            .map(|(id, value)| ((*id).to_owned(), value.clone().into()))
            .collect(),
        registries: vec![RegistryCredential {
            host: registry.host(),
            user: LockedRegistry::USER.to_owned(),
            password: LockedRegistry::PASSWORD.to_owned(),
        }],
        git: Some(GitCredential {
            token: canaries.values().next().cloned().unwrap_or_default(),
            ..GitCredential::default()
        }),
    };
    let mut told = String::new();

    // Every step prints what it was given, as it is and encoded.
    let mounts = canaries
        .keys()
        .map(|id| format!("--mount=type=secret,id={id},required=true "));
    let mounts = mounts.collect::<Vec<_>>().concat();
    let print =
        "for f in /run/secrets/*; do cat $f; echo; busybox base64 $f; busybox xxd -p $f; done; echo all-was-printed";
    for end in ["true", "exit 7"] {
        let dockerfile = format!("FROM {}\nRUN {mounts}{print}; {end}\n", registry.base());
        ada.save(&image, &dockerfile, None).await.unwrap();
        let built = build(&ada, &image, given.clone()).await.unwrap();
        let log = ada.log(&image, &built.id, 0).await.unwrap();
        assert!(log.contains("all-was-printed") && log.contains("***"), "{log}");
        let _ = write!(told, "{built:?}{log}");
    }
    let reference = ada.resolve(&image).await.unwrap();
    let docker = tests::fetch(&reference).await.unwrap();
    let _ = write!(told, "{:?}", docker.image_history(&reference).await.unwrap());
    let _ = write!(told, "{:?}", docker.inspect_image(&reference).await.unwrap());
    for (path, content) in tests::files(&reference).await.unwrap() {
        let _ = write!(told, "{path}{}", String::from_utf8_lossy(&content));
    }

    // Refused, and logged in with the wrong password.
    let mut large = given.clone();
    large.secrets.insert("large".to_owned(), "x".repeat(600 * 1024).into());
    let refused = start(&ada, &image, large).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_ARGUMENT");
    let _ = write!(told, "{refused:?}");
    let fresh = LockedRegistry::start().await.unwrap();
    ada.save(&image, &format!("FROM {}\n", fresh.base()), None)
        .await
        .unwrap();
    let mut wrong = given.clone();
    let password = canaries["password"].clone();
    wrong.registries[0] = RegistryCredential {
        host: fresh.host(),
        user: "robot".to_owned(),
        password,
    };
    let failed = build(&ada, &image, wrong).await.unwrap();
    assert_eq!(failed.outcome(), BuildOutcome::Failed);
    let _ = write!(told, "{failed:?}{}", ada.log(&image, &failed.id, 0).await.unwrap());

    let processes = ["builder"].iter().filter_map(|name| platform.child(name));
    told += &processes.flat_map(tests::Child::said).collect::<Vec<_>>().join("\n");

    let mut secret: Vec<Vec<u8>> = canaries.values().flat_map(|value| traces(value)).collect();
    secret.extend(traces(LockedRegistry::PASSWORD));
    let search = aho_corasick::AhoCorasick::new(&secret).unwrap();
    let marker = "all-was-printed";
    let (mut found, mut marked) = (Vec::new(), 0);
    let mut see = |path: &Path, content: &[u8]| {
        if let Some(found_at) = search.find(content) {
            let trace = String::from_utf8_lossy(&secret[found_at.pattern()]).into_owned();
            found.push(format!("{}: {trace}", path.display()));
        }
        marked += usize::from(content.windows(marker.len()).any(|part| part == marker.as_bytes()));
    };
    see(Path::new("what was told"), told.as_bytes());
    each_file(&platform.data(), &mut see).unwrap();
    assert_eq!(found, [""; 0]);
    assert!(
        marked >= 3,
        "the answers, the log's messages and the views are searched: {marked}"
    );
    assert!(engine().await.is_ok() && canaries.len() >= 24);
}
