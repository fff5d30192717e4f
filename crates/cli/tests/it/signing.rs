//! Keys that sign model files, on the command line and in the server's process.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::commands::{json, ok, stderr, write_log};
use crate::program::{forecart, refused};

/// A dataset in `root`, and a key; its public part.
fn prepared(root: &Path) -> String {
    write_log(root);
    ok(root, &["init", "--from", "log.csv"]);
    ok(root, &["import", "log.csv"]);
    ok(root, &["prepare", "--protocol", "loo-full"]);
    let made = json(root, &["keygen", "--signing", "--out", "signing.key"]);
    assert_eq!(made["file"], "signing.key");
    made["public"].as_str().unwrap().to_owned()
}

#[test]
fn a_file_is_signed_verified_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let public = prepared(root);
    let secret = std::fs::read_to_string(root.join("signing.key")).unwrap();
    let again = forecart(root, &["keygen", "--signing", "--out", "signing.key"]);
    assert!(refused(&again, 2).contains("no key is written over"));
    assert_eq!(std::fs::read_to_string(root.join("signing.key")).unwrap(), secret);

    ok(root, &["train", "--model", "popularity", "--out", "plain.forecart"]);
    assert_eq!(
        json(root, &["model", "show", "plain.forecart"])["signed_by"],
        serde_json::Value::Null
    );
    let verify =
        |file: &str, key: &str| forecart(root, &["model", "verify", file, "--public", key]);
    assert!(refused(&verify("plain.forecart", &public), 3).contains("not signed"));
    let signed = json(root, &["model", "sign", "plain.forecart", "--key", "signing.key"]);
    assert_eq!(signed["public"], public.as_str());
    ok(root, &["model", "verify", "plain.forecart", "--public", &public]);
    std::fs::write(root.join("trusted"), format!("# ours\n{public}\n")).unwrap();
    ok(root, &["model", "verify", "plain.forecart", "--public", "trusted"]);
    assert!(
        ok(root, &["model", "show", "plain.forecart"]).contains(signed["key_id"].as_str().unwrap())
    );

    // What `train` signs is the same file.
    let train = ["train", "--model", "popularity", "--out", "signed.forecart", "--sign-key"];
    ok(root, &[&train[..], &["signing.key"]].concat());
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    assert_eq!(read("signed.forecart"), read("plain.forecart"));
    let mut altered = read("signed.forecart");
    *altered.last_mut().unwrap() ^= 1;
    std::fs::write(root.join("altered.forecart"), altered).unwrap();
    assert!(refused(&verify("altered.forecart", &public), 3).contains("altered"));
    // What is no key is said before anything is fitted, and is not repeated.
    std::fs::write(root.join("no.key"), "forecart-sign-1234").unwrap();
    let said = refused(&forecart(root, &[&train[..], &["no.key"]].concat()), 2);
    assert!(said.contains("no.key") && !said.contains("1234"), "{said}");
    let said = refused(&verify("signed.forecart", secret.trim()), 2);
    assert!(said.contains("public key is needed") && !said.contains(secret.trim()), "{said}");
    refused(&forecart(root, &["model", "verify", "signed.forecart"]), 2);
    refused(&forecart(root, &["keygen", "--signing"]), 2);
}

#[test]
fn the_gate_signs_what_it_writes_or_says_that_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let public = prepared(root);
    ok(root, &["train", "--model", "seq-rules", "--sign-key", "signing.key"]);
    let gate = [
        "evaluate",
        "--data",
        "dataset",
        "--model",
        "model.forecart",
        "--gate",
        "ndcg@10",
        "--gate-override",
        "a test",
    ];
    ok(root, &[&gate[..], &["--sign-key", "signing.key"]].concat());
    ok(root, &["model", "verify", "--public", &public]);
    assert!(!json(root, &["model", "show"])["header"]["gate"].is_null());
    let run = |name: &str| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forecart"));
        command.current_dir(root).args(gate).env("FORECART_SIGNING_KEY", name).output().unwrap()
    };
    assert!(run("signing.key").status.success());
    ok(root, &["model", "verify", "--public", &public]);
    assert!(!run("missing.key").status.success());
    ok(root, &["model", "verify", "--public", &public]);
    let unsigned = forecart(root, &gate);
    assert!(
        unsigned.status.success() && stderr(&unsigned).contains("signed no more"),
        "{}",
        stderr(&unsigned)
    );
    refused(&forecart(root, &["model", "verify", "--public", &public]), 3);
}

#[test]
fn a_server_serves_whom_it_trusts_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let public = prepared(root);
    std::fs::create_dir(root.join("models")).unwrap();
    ok(root, &["train", "--model", "popularity", "--out", "models/unsigned.forecart"]);
    let train = ["train", "--model", "seq-rules", "--out", "models/signed.forecart"];
    ok(root, &[&train[..], &["--sign-key", "signing.key"]].concat());
    let toml = format!("[serve]\nmodels = [\"models\"]\ntrusted_keys = [\"{public}\"]\nport = 0\n");
    std::fs::write(root.join("serve.toml"), toml).unwrap();
    ok(root, &["model", "verify", "models/signed.forecart", "--config", "serve.toml"]);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../serve/tests/fixtures/tls");
    let (certificate, key) =
        (fixtures.join("first.certificate.pem"), fixtures.join("first.key.pem"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_forecart"));
    command.current_dir(root).args(["serve", "--config", "serve.toml", "--tls-certificate"]);
    command.arg(&certificate).arg("--tls-key").arg(&key);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let said: Vec<String> = lines.by_ref().take(3).map(|line| line.unwrap()).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said[0].contains("https://127.0.0.1:"), "{said:?}");
    assert!(said[1].contains("recommend: seq-rules"), "{said:?}");
    assert!(
        said[2].contains("left out: unsigned.forecart") && said[2].contains("not signed"),
        "{said:?}"
    );
    // A pair that does not fit is a fault of who set it up.
    let mixed = fixtures.join("second.key.pem");
    let serve =
        ["serve", "--port", "0", "--tls-certificate", certificate.to_str().unwrap(), "--tls-key"];
    let said = refused(&forecart(root, &[&serve[..], &[mixed.to_str().unwrap()]].concat()), 2);
    assert!(said.contains("serve.tls_key"), "{said}");
}
