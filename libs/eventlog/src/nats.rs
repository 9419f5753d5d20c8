//! The connection to NATS, every stream that Cooperage keeps there, and who may write to which.

use crate::{Blobs, Feed, JetStreamLog, OPERATOR, Output, Presence, Secrets, Unfit};
use anyhow::Context as _;
use async_nats::{
    ConnectOptions,
    connection::State,
    jetstream::{
        self,
        consumer::{AckPolicy, pull},
        context::ContextBuilder,
        object_store,
        stream::{Config, DiscardPolicy, StorageType},
    },
};
use std::{
    fmt::{Debug, Write as _},
    sync::atomic::Ordering,
    time::Duration,
};
use tokio::time::sleep;

pub(crate) const LOG: &str = "LOG";
pub(crate) const OUTPUT: &str = "BUILDLOG";
pub(crate) const EVENTS: &str = "EVENTS";
pub(crate) const CONTEXTS: &str = "contexts";
pub(crate) const PRESENCE: &str = "KV_PRESENCE";
pub(crate) const SECRETS: &str = "KV_SECRETS";

/// How long one request to the server may take before it counts as lost.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How often those who wait for an answer look whether the connection is still there.
const PULSE: Duration = Duration::from_millis(50);
/// What was given for a build waits no longer for it.
const SECRETS_AGE: Duration = Duration::from_hours(24);
const SECRETS_BYTES_MAX: i64 = 256 << 20;
const RECONNECT_DELAY: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// `nats://host:port`, without credentials.
    pub url: String,
    pub user: String,
    pub password: String,
    /// Copies of each stream: 1 on a private server, 3 on a cluster.
    pub replicas: usize,
    /// Where `LOG` ends. It must be well below the disk's size: a full disk shows only as time-outs.
    pub log_bytes_max: i64,
    /// Where the oldest build output goes first.
    pub output_bytes_max: i64,
}

#[derive(Clone)]
pub struct Nats {
    pub(crate) client: async_nats::Client,
    pub(crate) context: jetstream::Context,
    pub(crate) replicas: usize,
}

/// A consumer that goes soon after its reader, and that no acknowledgement holds up.
pub(crate) fn reader() -> pull::Config {
    pull::Config {
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: Duration::from_secs(30),
        ..pull::Config::default()
    }
}

impl Nats {
    /// Connects, and keeps connecting again for ever after that.
    pub async fn connect(config: &NatsConfig) -> anyhow::Result<Self> {
        let client = ConnectOptions::new()
            .user_and_password(config.user.clone(), config.password.clone())
            .custom_inbox_prefix(format!("_INBOX_{}", config.user))
            .name(&config.user)
            .request_timeout(Some(REQUEST_TIMEOUT))
            // Asked before the first attempt, too, which need not wait.
            .reconnect_delay_callback(|attempt| if attempt > 1 { RECONNECT_DELAY } else { Duration::ZERO })
            .max_reconnects(None)
            .connect(&config.url)
            .await
            .with_context(|| format!("no NATS server answers at {}", config.url))?;
        let context = ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(REQUEST_TIMEOUT)
            .build(client.clone());
        Ok(Self {
            client,
            context,
            replicas: config.replicas,
        })
    }

    /// Creates what is missing. A stream that is there with another configuration is [`Unfit`], never replaced.
    pub async fn prepare(&self, config: &NatsConfig) -> anyhow::Result<()> {
        for wanted in streams(config) {
            let name = wanted.name.clone();
            let opened = self.context.get_or_create_stream(wanted.clone()).await;
            if let Some(unfit) = opened.as_ref().err().and_then(|error| Unfit::unmade(error, &wanted)) {
                return Err(unfit.into());
            }
            let stream = opened.with_context(|| format!("the stream {name} can't be opened"))?;
            let found = &stream.cached_info().config;
            let drift = drift(found, &wanted);
            if !drift.is_empty() {
                return Err(Unfit::drifted(&name, &drift).into());
            }
            if let Some(unfit) = Unfit::limited(found, &wanted) {
                return Err(unfit.into());
            }
        }
        if self.context.get_object_store(CONTEXTS).await.is_err() {
            let bucket = object_store::Config {
                bucket: CONTEXTS.to_owned(),
                num_replicas: config.replicas,
                ..object_store::Config::default()
            };
            self.context
                .create_object_store(bucket)
                .await
                .context("the bucket for contexts can't be opened")?;
        }
        Ok(())
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Ends when the connection that there is now is lost: what was asked on it gets no answer any more.
    pub(crate) fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let (client, statistics) = (self.client.clone(), self.client.statistics());
        let connects = statistics.connects.load(Ordering::Relaxed);
        async move {
            while client.connection_state() == State::Connected
                && statistics.connects.load(Ordering::Relaxed) == connects
            {
                sleep(PULSE).await;
            }
        }
    }

    pub async fn log(&self) -> anyhow::Result<JetStreamLog> {
        JetStreamLog::open(self.clone()).await
    }

    pub fn output(&self) -> Output {
        Output::new(self.clone())
    }

    pub fn feed(&self) -> Feed {
        Feed::new(self.clone())
    }

    pub fn blobs(&self) -> Blobs {
        Blobs::new(self.clone())
    }

    pub fn presence(&self) -> Presence {
        Presence::new(self.clone())
    }

    pub fn secrets(&self) -> Secrets {
        Secrets::new(self.clone())
    }
}

fn streams(config: &NatsConfig) -> [Config; 5] {
    let base = Config {
        storage: StorageType::File,
        num_replicas: config.replicas,
        allow_direct: true,
        ..Config::default()
    };
    [
        Config {
            name: LOG.to_owned(),
            subjects: vec!["log.>".to_owned()],
            deny_delete: true,
            deny_purge: true,
            allow_atomic_publish: true,
            max_bytes: config.log_bytes_max,
            discard: DiscardPolicy::New,
            ..base.clone()
        },
        Config {
            name: OUTPUT.to_owned(),
            subjects: vec!["buildlog.*".to_owned()],
            max_bytes: config.output_bytes_max,
            ..base.clone()
        },
        Config {
            name: EVENTS.to_owned(),
            subjects: vec!["cooperage.events.>".to_owned()],
            allow_atomic_publish: true,
            ..base.clone()
        },
        Config {
            name: SECRETS.to_owned(),
            subjects: vec!["$KV.SECRETS.>".to_owned()],
            max_messages_per_subject: 1,
            max_age: SECRETS_AGE,
            max_bytes: SECRETS_BYTES_MAX,
            discard: DiscardPolicy::New,
            ..base
        },
        presence_bucket(config.replicas),
    ]
}

/// A single server forgets it when it restarts, and then the next worker makes it again.
pub(crate) fn presence_bucket(replicas: usize) -> Config {
    Config {
        name: PRESENCE.to_owned(),
        subjects: vec!["$KV.PRESENCE.>".to_owned()],
        storage: StorageType::Memory,
        num_replicas: replicas,
        max_messages_per_subject: 1,
        allow_message_ttl: true,
        allow_direct: true,
        ..Config::default()
    }
}

/// What must not drift, where it did. The server fills in the rest with its own defaults.
fn drift(found: &Config, wanted: &Config) -> Vec<String> {
    fn setting(name: &str, found: &impl Debug, wanted: &impl Debug) -> (String, String, String) {
        (name.to_owned(), format!("{found:?}"), format!("{wanted:?}"))
    }
    [
        setting("subjects", &found.subjects, &wanted.subjects),
        setting("storage", &found.storage, &wanted.storage),
        setting("discard", &found.discard, &wanted.discard),
        setting("retention", &found.retention, &wanted.retention),
        setting("max_age", &found.max_age, &wanted.max_age),
        setting("deny_delete", &found.deny_delete, &wanted.deny_delete),
        setting("deny_purge", &found.deny_purge, &wanted.deny_purge),
        setting("allow_rollup", &found.allow_rollup, &wanted.allow_rollup),
        setting(
            "allow_atomic",
            &found.allow_atomic_publish,
            &wanted.allow_atomic_publish,
        ),
    ]
    .into_iter()
    .filter(|(_, found, wanted)| found != wanted)
    .map(|(name, found, wanted)| format!("{name} is {found}, expected {wanted}"))
    .collect()
}

/// A user of the server, and what it alone may write.
pub struct Account {
    pub name: &'static str,
    /// Categories of the log.
    pub categories: &'static [&'static str],
    /// Subjects of the other planes.
    pub planes: &'static [&'static str],
}

/// The category with one stream per service.
pub const REFUSALS: &str = "refusal";

/// Who may write what, after the table of `readings.md`: each category has one writer.
pub const ACCOUNTS: [Account; 5] = [
    Account {
        name: "catalog",
        categories: &["workspace", "image", "name", "access", "checkpoint"],
        planes: &[],
    },
    Account {
        name: "editor",
        categories: &["spec"],
        planes: &["$O.contexts.>", "$JS.API.STREAM.PURGE.OBJ_contexts"],
    },
    Account {
        name: "builder",
        categories: &["builds"],
        planes: &[
            "buildlog.*",
            "$KV.PRESENCE.>",
            "$KV.SECRETS.>",
            "$JS.API.STREAM.MSG.DELETE.KV_SECRETS",
        ],
    },
    Account {
        name: "registry-pusher",
        categories: &["repository", "credential"],
        planes: &["buildlog.*"],
    },
    Account {
        name: "notifier",
        categories: &["subscription", "webhook"],
        planes: &["cooperage.events.>"],
    },
];

/// What every service needs of the JetStream API: looking, reading, and creating what is missing. Nothing here
/// changes or removes a stream, or makes one of another name, which could republish into `LOG`.
const READING: [&str; 15] = [
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.CREATE.LOG",
    "$JS.API.STREAM.CREATE.BUILDLOG",
    "$JS.API.STREAM.CREATE.EVENTS",
    "$JS.API.STREAM.CREATE.OBJ_contexts",
    "$JS.API.STREAM.CREATE.KV_PRESENCE",
    "$JS.API.STREAM.CREATE.KV_SECRETS",
    "$JS.API.STREAM.MSG.GET.*",
    "$JS.API.DIRECT.GET.>",
    "$JS.API.CONSUMER.CREATE.>",
    "$JS.API.CONSUMER.MSG.NEXT.>",
    "$JS.API.CONSUMER.DELETE.>",
    "$JS.API.CONSUMER.INFO.>",
    // A reader of contexts tells the server to go on.
    "$JS.FC.>",
];

/// What the operator may do besides: raise limits.
const OPERATING: [&str; 3] = [
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.UPDATE.LOG",
    "$JS.API.STREAM.UPDATE.BUILDLOG",
];

/// The accounts, in the format of the server's settings, which include them. `passwords` answers each account's.
pub fn server_accounts(passwords: impl Fn(&str) -> String) -> String {
    let mut users = String::new();
    let mut user = |name: &str, publish: &[String]| {
        let _ = writeln!(
            users,
            "    {{ user: {name:?}, password: {password:?}, permissions: {{\n      publish: [{publish}]\n      \
             subscribe: [\"_INBOX_{name}.>\"] }} }}",
            password = passwords(name),
            publish = publish.join(", "),
        );
    };
    for account in &ACCOUNTS {
        let own = account.categories.iter().map(|category| format!("log.{category}.>"));
        // Attempts that it refused: a stream of its own in a category of all.
        let refusals = format!("log.{REFUSALS}.{}", account.name);
        let planes = account.planes.iter().map(|&plane| plane.to_owned());
        let reading = READING.iter().map(|&subject| subject.to_owned());
        let publish: Vec<String> = own.chain([refusals]).chain(planes).chain(reading).map(quoted).collect();
        user(account.name, &publish);
    }
    user(OPERATOR, &OPERATING.map(quoted));
    format!("authorization {{\n  users: [\n{users}  ]\n}}\n")
}

fn quoted(subject: impl AsRef<str>) -> String {
    format!("{:?}", subject.as_ref())
}

/// All settings of a private server.
pub fn server_config(listen: &str, store: &str, passwords: impl Fn(&str) -> String) -> String {
    let accounts = server_accounts(passwords);
    format!(
        "listen: {listen:?}\nserver_name: \"cooperage\"\nmax_payload: 1MB\njetstream {{\n  store_dir: {store:?}\n  \
         # By default as much as is free now, and streams that promise more can't be created. Theirs are the limits.\n  \
         max_file_store: 1TB\n  \
         # The default of two minutes loses acknowledged entries in a power failure.\n  sync_interval: always\n}}\n\
         {accounts}"
    )
}
