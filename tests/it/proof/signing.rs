//! The catalog signs what was written, proves it to members, and signs nothing that is not what it signed before.

use axum::{Router, extract::State, routing::post};
use eventlog::{Append, Entry, EventLog as _, Position};
use futures::StreamExt as _;
use proto::{
    catalog::v1::{
        AddMemberRequest, LeafRange, Role, SignedCheckpoints, StoredEntry, VerifyHistoryRequest,
        verify_history_response::Part,
    },
    events::CheckpointEvent,
};
use service::Config;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
};
use tests::{Home, User, reason};
use tokio::{net::TcpListener, sync::watch};
use tonic::{Code, Status};
use transparency::{Audit, Checkpoint, How, PublicKey, Wrong, follows, includes, leaf};

/// Everything is signed at once.
fn eager(config: &Config) -> anyhow::Result<Config> {
    config.with("catalog.checkpoint_entries", 1)
}

async fn given() -> (Home, User, String) {
    let home = Home::with(&[catalog::SERVICE], |config| eager(&config)).await.unwrap();
    let ada = home.user("ada").unwrap();
    let workspace = ada.workspace("vision").await.unwrap();
    (home, ada, workspace)
}

#[derive(Default)]
struct Answer {
    signed: SignedCheckpoints,
    entries: Vec<StoredEntry>,
    leaves: Vec<u8>,
}

impl Answer {
    fn key(&self) -> PublicKey {
        self.signed.public_key.parse().unwrap()
    }

    fn newest(&self) -> Checkpoint {
        self.key().open(self.signed.notes.last().unwrap()).unwrap()
    }

    /// Up to where the whole log is what was signed.
    fn audit(&self) -> Result<u64, Box<Wrong>> {
        let checkpoints = self.signed.notes.iter().map(|note| self.key().open(note).unwrap());
        let mut audit = Audit::new(checkpoints);
        for entry in &self.entries {
            audit.entry(entry.position, &entry.stream, &entry.content)?;
        }
        Ok(audit.end()?.0.unwrap().size)
    }

    /// The entries that are proved.
    fn proved(&self) -> usize {
        let newest = self.newest();
        let is_proved = |entry: &&StoredEntry| {
            let path: Vec<_> = entry.path.iter().map(|hash| hash[..].try_into().unwrap()).collect();
            let leaf = leaf(&entry.stream, &entry.content);
            includes(&newest.root, newest.size, entry.position - 1, &leaf, &path)
        };
        self.entries.iter().filter(is_proved).count()
    }
}

async fn ask(user: &User, request: VerifyHistoryRequest) -> Result<Answer, Status> {
    let mut parts = user.history().verify_history(request).await?.into_inner();
    let mut answer = Answer::default();
    while let Some(message) = parts.message().await? {
        match message.part {
            Some(Part::Checkpoints(signed)) => {
                answer.signed.public_key = signed.public_key;
                answer.signed.notes.extend(signed.notes);
                answer.signed.consistency.extend(signed.consistency);
            }
            Some(Part::Entries(stored)) => answer.entries.extend(stored.entries),
            Some(Part::Leaves(kept)) => answer.leaves.extend_from_slice(&kept.hashes),
            None => (),
        }
    }
    Ok(answer)
}

/// The answer once a checkpoint tells of a position: it is asked for as one that the caller holds.
async fn verify(user: &User, image: &str, position: u64) -> Result<Answer, Status> {
    let request = VerifyHistoryRequest {
        image: image.to_owned(),
        held_sizes: vec![position],
        ..VerifyHistoryRequest::default()
    };
    ask(user, request).await
}

async fn log(home: &Home) -> Vec<Entry> {
    let log = home.server.connect("catalog").await.unwrap().log().await.unwrap();
    let head = log.head().await.unwrap();
    let count = usize::try_from(head.0).unwrap();
    let entries = log.follow(Position::default()).await.unwrap();
    entries.take(count).map(Result::unwrap).collect().await
}

// covers E11
#[tokio::test]
async fn what_was_written_is_signed_and_a_signature_alone_is_not() {
    let (home, ada, workspace) = given().await;
    let mut held: Vec<Checkpoint> = Vec::new();
    for n in 0..4 {
        let image = ada.image(&workspace, &format!("vision/tool{n}")).await.unwrap();
        let request = VerifyHistoryRequest {
            image,
            held_sizes: held.iter().map(|held| held.size).chain([ada.saw(0)]).collect(),
            ..VerifyHistoryRequest::default()
        };
        let answer = ask(&ada, request).await.unwrap();
        assert_eq!((answer.entries.len(), answer.proved()), (1, 1));
        let newest = answer.newest();
        assert!(newest.size >= ada.saw(0));
        for (older, proof) in held.iter().zip(&answer.signed.consistency) {
            let path: Vec<_> = proof.hashes.iter().map(|hash| hash[..].try_into().unwrap()).collect();
            assert!(follows(&older.root, older.size, &newest.root, newest.size, &path));
        }
        held.push(newest);
    }
    let entries = log(&home).await;
    let is_signature = |entry: &Entry| entry.stream.category == "checkpoint";
    assert!(entries.iter().filter(|entry| is_signature(entry)).count() >= 4);
    let mut last = 0;
    for entry in entries.iter().filter(|entry| is_signature(entry)) {
        let CheckpointEvent::Signed(event) = &entry.events().unwrap()[0];
        let from = usize::try_from(last).unwrap();
        let to = usize::try_from(event.size).unwrap();
        assert!(
            !entries[from..to].iter().all(is_signature),
            "nothing but signatures is signed at {to}"
        );
        last = event.size;
    }
    let file = fs::read_to_string(home.config().data.join("checkpoints")).unwrap();
    let key: PublicKey = fs::read_to_string(home.config().data.join("keys/checkpoint.pub"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(!key.open_all(&file).unwrap().is_empty());
}

// covers E11
#[tokio::test]
async fn members_verify_their_images_and_administrators_the_whole_log() {
    let (home, ada, workspace) = given().await;
    let image = ada.image(&workspace, "vision/tool").await.unwrap();
    let add = AddMemberRequest {
        workspace,
        user: "bob".to_owned(),
        role: Role::Participant.into(),
        ..AddMemberRequest::default()
    };
    let position = ada.saw(ada.workspaces().add_member(add).await.unwrap().into_inner().position);
    for (name, is_administrator) in [("ada", false), ("bob", false), ("root", true)] {
        let token = home.token(name, is_administrator, &eventlog::Clock::system()).unwrap();
        let member = home.bearer(&token).unwrap();
        member.saw(position);
        assert_eq!(verify(&member, &image, position).await.unwrap().proved(), 1, "{name}");
        let whole = ask(&member, VerifyHistoryRequest::default()).await;
        if !is_administrator {
            let refused = whole.err().unwrap();
            assert_eq!(
                (refused.code(), reason(&refused).as_str()),
                (Code::PermissionDenied, "ADMIN_ONLY")
            );
            continue;
        }
        let whole = whole.unwrap();
        assert!(whole.audit().unwrap() >= position);
        let leaves = Some(LeafRange { start: 1, end: 3 });
        let kept = ask(
            &member,
            VerifyHistoryRequest {
                leaves,
                ..VerifyHistoryRequest::default()
            },
        )
        .await
        .unwrap();
        let expected = whole.entries[1..3]
            .iter()
            .map(|entry| leaf(&entry.stream, &entry.content));
        assert_eq!(kept.leaves, expected.collect::<Vec<_>>().concat());
    }
    let eve = home.user("eve").unwrap();
    eve.saw(position);
    let hidden = verify(&eve, &image, 0).await.err().unwrap();
    let absent = verify(&eve, "img_01ARZ3NDEKTSV4RRFFQ69G5FAV", 0).await.err().unwrap();
    assert_eq!((hidden.code(), hidden.message()), (Code::NotFound, absent.message()));
}

// covers E11
#[tokio::test]
async fn a_tree_that_is_lost_or_wrong_grows_back() {
    let (mut home, ada, workspace) = given().await;
    let image = ada.image(&workspace, "vision/tool").await.unwrap();
    let before = verify(&ada, &image, ada.saw(0)).await.unwrap();
    let tree = home.views().join("log.tree");
    for damage in [None, Some(b"nonsense".to_vec()), Some(vec![7; 4096])] {
        home.stop().await.unwrap();
        match damage {
            None => fs::remove_file(&tree).unwrap(),
            Some(bytes) => fs::write(&tree, bytes).unwrap(),
        }
        home.go_on().await.unwrap();
        let ada = home.user("ada").unwrap();
        let after = verify(&ada, &image, before.newest().size).await.unwrap();
        assert_eq!((after.key(), after.proved()), (before.key(), 1));
        assert!(after.newest().size >= before.newest().size);
    }
}

// covers E11
#[tokio::test]
async fn a_log_that_was_changed_is_not_signed_again() {
    let (mut home, ada, workspace) = given().await;
    let image = ada.image(&workspace, "vision/tool").await.unwrap();
    verify(&ada, &image, ada.saw(0)).await.unwrap();
    let mut entries = log(&home).await;
    home.stop().await.unwrap();
    home.server.stop().unwrap();
    fs::remove_dir_all(home.server.store()).unwrap();
    fs::remove_dir_all(home.views()).unwrap();
    home.server.restart().await.unwrap();
    // Somebody else made the workspace now.
    entries[0].envelope.actor = "eve".to_owned();
    entries[0].bytes = prost::Message::encode_to_vec(&entries[0].envelope).into();
    let again = home.server.connect("catalog").await.unwrap().log().await.unwrap();
    let mut versions = HashMap::new();
    for entry in &entries {
        let append = Append {
            expected: versions.get(&entry.stream).copied().unwrap_or_default(),
            stream: entry.stream.clone(),
            bytes: entry.bytes.clone(),
        };
        versions.insert(entry.stream.clone(), again.append(vec![append]).await.unwrap());
    }
    home.go_on().await.unwrap();
    let ada = home.user("ada").unwrap();
    let other = ada.image(&workspace, "vision/other").await.unwrap();
    let refused = verify(&ada, &other, ada.saw(0)).await.err().unwrap();
    assert_eq!(reason(&refused), "LOG_CHANGED");
    let root = home.administrator("root").unwrap();
    let wrong = ask(&root, VerifyHistoryRequest::default()).await.unwrap().audit();
    assert_eq!(wrong.unwrap_err().how, How::Differs);
    let count = |entries: &[Entry]| {
        entries
            .iter()
            .filter(|entry| entry.stream.category == "checkpoint")
            .count()
    };
    assert_eq!(count(&log(&home).await), count(&entries));
}

#[tokio::test]
async fn checkpoints_go_to_whoever_takes_them() {
    let (notes, mut taken) = watch::channel(BTreeMap::new());
    let take = async |State(notes): State<watch::Sender<BTreeMap<usize, String>>>, note: String| {
        notes.send_modify(|notes| drop(notes.insert(notes.len(), note)));
    };
    let app = Router::new().route("/checkpoints", post(take)).with_state(notes);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let story = async {
        let home = Home::with(&[catalog::SERVICE], |config| {
            eager(&config)?.with("catalog.checkpoints_to", format!("http://{address}/checkpoints"))
        })
        .await
        .unwrap();
        home.user("ada").unwrap().workspace("vision").await.unwrap();
        let text = fs::read_to_string(home.config().data.join("keys/checkpoint.pub"));
        taken.wait_for(|notes| !notes.is_empty()).await.unwrap();
        let key: PublicKey = text.unwrap().parse().unwrap();
        assert_eq!(key.open(&taken.borrow()[&0]).unwrap().size, 1);
    };
    tokio::select! {
        ended = async { axum::serve(listener, app).await } => panic!("{ended:?}"),
        () = story => (),
    }
}
