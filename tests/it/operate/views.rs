//! `cooper admin views`: what each process computed from the log, and computing it anew.

use super::said;
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::process::Output;
use tests::{Platform, Shape};

fn views(platform: &Platform, words: &[&str]) -> Output {
    let mut command = platform.administrators_cooper("root").unwrap();
    command.args(["admin", "views"]).args(words).output().unwrap()
}

/// Behind the back of the process.
async fn damage(platform: &Platform, shape: Shape) {
    let folder = match shape {
        Shape::One => platform.data(),
        Shape::Many => platform.data().join("catalog"),
    };
    let options = SqliteConnectOptions::new().filename(folder.join("views/catalog.db"));
    let mut file = SqliteConnection::connect_with(&options).await.unwrap();
    for statement in ["DELETE FROM image", "UPDATE workspace SET name = 'other'"] {
        sqlx::query(statement).execute(&mut file).await.unwrap();
    }
    file.close().await.unwrap();
}

// covers E9
#[tokio::test]
async fn a_view_that_is_not_what_the_log_says_is_put_right() {
    for shape in [Shape::One, Shape::Many] {
        let platform = Platform::start(shape).await.unwrap();
        let ada = platform.user("ada").unwrap();
        let workspace = ada.workspace("vision").await.unwrap();
        let image = ada.image(&workspace, "vision/tool").await.unwrap();
        let listed = said(&views(&platform, &[]));
        let count = if shape == Shape::One { 6 } else { 10 };
        assert_eq!(listed.matches("works").count(), count, "{listed}");

        damage(&platform, shape).await;
        assert!(ada.tile(&image).await.is_err());
        let rebuilt = said(&views(&platform, &["rebuild", "catalog"]));
        let differences = "replaced: image had 0 rows instead of 1, workspace had other values in its 1 rows";
        assert!(rebuilt.contains(differences), "{rebuilt}");
        assert_eq!(ada.tile(&image).await.unwrap().id, image);
        // It goes on from there.
        let another = ada.image(&workspace, "vision/other").await.unwrap();
        assert_eq!(ada.tile(&another).await.unwrap().id, another);

        let again = said(&views(&platform, &["rebuild"]));
        assert_eq!(again.matches(": the same (").count(), count, "{again}");
        let absent = views(&platform, &["rebuild", "nothing"]);
        assert_eq!(absent.status.code(), Some(72), "{}", said(&absent));
        let refused = platform
            .cooper("ada")
            .unwrap()
            .args(["admin", "views"])
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(77), "{}", said(&refused));
    }
}
