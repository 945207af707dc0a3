//! What builds, as `doctor` finds it.

use tokio::net::TcpListener;

use super::*;

const BUILDKITD: [&str; 4] = ["--registry-host", "r.example", "--buildkit-tls-secret", "client"];

#[tokio::test]
async fn a_buildkitd_that_does_not_listen_is_a_warning() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let named = ["--buildkit-address", &address];
    let of = async |more: &[&str]| {
        found("builder", &[&BUILDKITD, &named[..], more].concat(), "v1.36.1", []).await
    };
    let outcome = of(&["--builder", "buildkit"]).await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    assert!(outcome.found.contains(&address), "{outcome:?}");
    let unused = of(&[]).await;
    assert_eq!(unused.status, Status::Warning, "{unused:?}");
    assert!(unused.remedy.contains("HOOKD_BUILDER=buildkit"), "{unused:?}");
    drop(listener);
    let outcome = of(&["--builder", "buildkit"]).await;
    assert_eq!(outcome.status, Status::Warning, "{outcome:?}");
    assert!(outcome.remedy.contains("HOOKD_BUILDKIT_ADDRESS"), "{outcome:?}");
}

#[tokio::test]
async fn a_secret_that_only_pods_mount_need_not_be_readable() {
    let of = async |script: Expected| found("secrets", &BUILDKITD, "v1.36.1", [script]).await;
    let secret = || get("/api/v1/namespaces/ns/secrets/client");
    let refused = of(secret().refuses(403, "Forbidden", "secrets is forbidden")).await;
    assert_eq!(refused.status, Status::Ok, "{refused:?}");
    assert!(refused.found.contains("may not look"), "{refused:?}");
    let data = json!({"tls.crt": "", "tls.key": ""});
    let secret = secret().answers(200, json!({"metadata": {"name": "client"}, "data": data}));
    let incomplete = of(secret).await;
    assert_eq!(incomplete.status, Status::Failure, "{incomplete:?}");
    assert!(incomplete.found.contains("HOOKD_BUILDKIT_TLS_SECRET"), "{incomplete:?}");
}
