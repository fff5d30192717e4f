//! Keys: none, wrong, too weak, ended.

use axum::body::Body;
use axum::http::Request;
use forecart_serve::store::{self, KeyRecord, Scope};

use crate::served::Served;

async fn status(served: &Served, method: &str, path: &str, header: Option<(&str, &str)>) -> u16 {
    let mut request = Request::builder().method(method).uri(path);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    served.send(request.body(Body::from("{}")).unwrap()).await.status.as_u16()
}

#[tokio::test]
async fn a_key_may_what_its_scope_says_and_nothing_after_its_end() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    let path = folder.path().join("store.sqlite");
    let store = store::open(path.to_str().unwrap()).await.unwrap();
    let read = forecart_serve::generate_key(Scope::Read, 1);
    let admin = forecart_serve::generate_key(Scope::Admin, 1);
    let ended = forecart_serve::generate_key(Scope::Admin, 1);
    for key in
        [&read.record, &admin.record, &KeyRecord { ends_ms: Some(2), ..ended.record.clone() }]
    {
        store.put_key(key).await.unwrap();
    }
    store.close().await;
    let bytes = std::fs::read(&path).unwrap();
    let secret = read.token.rsplit('_').next().unwrap().as_bytes();
    assert!(
        !bytes.windows(secret.len()).any(|window| window == secret),
        "the secret is in the store"
    );
    let served = Served::at(folder, Default::default()).await;
    let bearer = |token: &str| format!("Bearer {token}");
    let (read, admin, ended) = (read.token, admin.token, ended.token);
    let wrong = format!("{}0", &admin[..admin.len() - 1]);
    let wrong = if wrong == admin { format!("{}1", &admin[..admin.len() - 1]) } else { wrong };
    for (method, path, needs) in [
        ("GET", "/v1/models", Scope::Read),
        ("GET", "/metrics", Scope::Read),
        ("POST", "/v1/events", Scope::Write),
        ("DELETE", "/v1/users/u", Scope::Admin),
        ("POST", "/v1/models/refresh", Scope::Admin),
    ] {
        assert_eq!(status(&served, method, path, None).await, 401, "{path}");
        for token in [&wrong, &ended, &"forecart_x_y".to_owned(), &"\u{20}".to_owned()] {
            let header = bearer(token);
            assert_eq!(status(&served, method, path, Some(("authorization", &header))).await, 401);
        }
        let with_read = status(&served, method, path, Some(("x-api-key", &read))).await;
        assert_eq!(with_read == 403, needs > Scope::Read, "{path}: {with_read}");
        let header = bearer(&admin);
        let with_admin = status(&served, method, path, Some(("authorization", &header))).await;
        assert!(![401, 403].contains(&with_admin), "{path}: {with_admin}");
    }
    assert_eq!(status(&served, "GET", "/health/ready", None).await, 200);
}
