//! A registry with TLS and an authority of its own, in a namespace of its own.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::{fs, io, thread};

use fake_runner::layout::guid;
use serde_json::{Value, json};

use test_support::cluster::{self, cluster, run};
use test_support::manifests::TEST_LABEL;
use test_support::wait::{s, until};
use test_support::{RunnerPod, Setup};

use super::NODE;
use super::deployed;
use super::tokens::{ISSUER, SERVICE, Tokens};
use crate::build_credentials::{HASH, PASSWORD, USER};
use e2e::authority::{Authority, Pair};

/// What a registry asks of its clients, and what it has.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// The registry is that of deploy/registry.yaml.
    pub(crate) deployed: bool,
    /// A token of a token service, for the password; otherwise the password itself.
    pub(crate) token: bool,
    /// A certificate, too.
    pub(crate) certificate: bool,
    /// Size of its storage; none: as much as the node has.
    pub(crate) storage: Option<&'static str>,
}

pub(crate) struct Secured {
    pub(super) namespace: String,
    /// Its address with its port, the same for builds, nodes and tests.
    pub(crate) host: String,
    port: u16,
    authority: Authority,
    certificate: Pair,
    pub(super) tokens: Option<Tokens>,
    wanted: Wanted,
    /// The authority, and what its clients on this machine need.
    folder: tempfile::TempDir,
}

impl Secured {
    pub(crate) fn start(wanted: Wanted) -> Self {
        let namespace = format!("hookd-test-{}", &guid().unwrap()[..8]);
        let mut labels = json!({TEST_LABEL: std::process::id().to_string()});
        if wanted.deployed {
            labels["pod-security.kubernetes.io/enforce"] = "restricted".into();
        }
        cluster::create(&[
            json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": namespace, "labels": labels}}),
            json!({"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "registry", "namespace": namespace},
                "spec": {"selector": {"app": "registry"}, "ports": [{"port": 5000}]}}),
        ]);
        let service = cluster::get(&["-n", &namespace, "service", "registry"]);
        let address = service["spec"]["clusterIP"].as_str().unwrap();
        let port = relay(format!("{address}:5000"));
        let authority = Authority::generate();
        let certificate = authority.sign_for(NODE);
        let tokens = wanted.token.then(|| Tokens::start(&certificate, USER, PASSWORD));
        let folder = tempfile::tempdir().unwrap();
        let host = format!("{NODE}:{port}");
        let registry =
            Self { namespace, host, port, authority, certificate, tokens, wanted, folder };
        cluster::create(&match wanted.deployed {
            true => deployed::objects(&registry.namespace, &registry.certificate),
            false => registry.objects(),
        });
        registry.show_to_node();
        registry.write_client_files();
        until("the registry answers", s(60), || registry.curl("", &[]).ok());
        registry
    }

    fn objects(&self) -> Vec<Value> {
        let users = format!("{USER}:{HASH}\n");
        let token_authority = self.tokens.as_ref().map(|tokens| tokens.authority.pem());
        let volume = match self.wanted.storage {
            Some(size) => json!({"medium": "Memory", "sizeLimit": size}),
            None => json!({}),
        };
        let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
        vec![
            json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "registry", "namespace": self.namespace},
            "stringData": {
                "config.yml": self.config().to_string(), "htpasswd": users,
                "tls.crt": self.certificate.certificate(), "tls.key": self.certificate.key(),
                "ca.crt": self.authority.pem(), "tokens.crt": token_authority.unwrap_or_default(),
            }}),
            json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "registry", "namespace": self.namespace,
                "labels": {"app": "registry"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "securityContext": {"runAsUser": 65534, "runAsGroup": 65534, "fsGroup": 65534},
                "containers": [{
                    "name": "registry",
                    "image": "localhost/hookd-devcluster/registry:1",
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["serve", "/etc/registry/config.yml"],
                    "volumeMounts": [mount("config", "/etc/registry"), mount("data", "/data")],
                }],
                "volumes": [{"name": "config", "secret": {"secretName": "registry"}},
                    {"name": "data", "emptyDir": volume}],
            }}),
        ]
    }

    fn config(&self) -> Value {
        let file = |name: &str| format!("/etc/registry/{name}");
        let mut tls = json!({"certificate": file("tls.crt"), "key": file("tls.key")});
        if self.wanted.certificate {
            tls["clientcas"] = json!([file("ca.crt")]);
        }
        let auth = match &self.tokens {
            Some(tokens) => json!({"token": {
                "realm": format!("https://{NODE}:{}/token", tokens.port),
                "service": SERVICE, "issuer": ISSUER, "rootcertbundle": file("tokens.crt"),
            }}),
            None => json!({"htpasswd": {"realm": "secured", "path": file("htpasswd")}}),
        };
        json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": "/data"}, "delete": {"enabled": true}},
            "http": {"addr": ":5000", "tls": tls},
            "auth": auth,
        })
    }

    /// Lets the node pull from it. containerd reads its folder of a registry at each pull.
    fn show_to_node(&self) {
        let (folder, server) = (self.node_config(), format!("https://{}", self.host));
        fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, content: String| {
            fs::write(folder.join(name), content).unwrap();
            folder.join(name).to_str().unwrap().to_owned()
        };
        let authority = file("ca.crt", self.authority.pem());
        let mut hosts = format!(
            "server = {server:?}\n[host.{server:?}]\n  capabilities = [\"pull\", \"resolve\"]\n  \
             ca = {authority:?}\n"
        );
        if self.wanted.certificate {
            let client = self.authority.sign_for(NODE);
            let certificate = file("client.crt", client.certificate());
            let key = file("client.key", client.key());
            hosts.push_str(&format!("  client = [[{certificate:?}, {key:?}]]\n"));
        }
        file("hosts.toml", hosts);
    }

    fn node_config(&self) -> PathBuf {
        cluster().state.join(format!("conf/registries/{NODE}_{}_", self.port))
    }

    /// What curl needs.
    fn write_client_files(&self) {
        let write = |name: &str, content: String| {
            fs::write(self.folder.path().join(name), content).unwrap();
        };
        write("ca.crt", self.authority.pem());
        let client = self.authority.sign_for(NODE);
        write("client.crt", client.certificate());
        write("client.key", client.key());
    }

    /// curl on this machine for a path of its API, with all that it asks for. crane trusts no token service
    /// at a private address.
    pub(super) fn curl(&self, path: &str, more: &[&str]) -> Result<String, String> {
        let login = format!("{USER}:{PASSWORD}");
        let user = match &self.tokens {
            None => ["-u".to_owned(), login],
            Some(tokens) => {
                let scope = "repository%3Ahookd%2Fbuild%3Apull%2Cpush";
                let query = format!("scope={scope}&service={SERVICE}");
                let url = format!("https://{NODE}:{}/token?{query}", tokens.port);
                let answer = self.run_curl(&["-u", &login, &url])?;
                let answer: Value = serde_json::from_str(&answer).map_err(|it| it.to_string())?;
                let token = answer["token"].as_str().unwrap_or_default();
                ["-H".to_owned(), format!("Authorization: Bearer {token}")]
            }
        };
        let url = format!("https://{}/v2/{path}", self.host);
        self.run_curl(&[&[&*user[0], &*user[1]], more, &[&*url]].concat())
    }

    fn run_curl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--noproxy", "*", "--cacert", "ca.crt", "--cert", "client.crt"]);
        curl.args(["--key", "client.key"]).args(arguments).current_dir(&self.folder);
        run(&mut curl, None)
    }

    /// The tags of built images.
    pub(crate) fn tags(&self) -> Vec<String> {
        let list = self.curl("hookd/build/tags/list", &[]).unwrap_or_default();
        let list: Value = serde_json::from_str(&list).unwrap_or_default();
        let tags = list["tags"].as_array().into_iter().flatten();
        let mut tags: Vec<_> = tags.map(|tag| tag.as_str().unwrap().to_owned()).collect();
        tags.sort();
        tags
    }

    /// What a tag of a built image names.
    pub(super) fn manifest(&self, tag: &str) -> Value {
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let other = "application/vnd.oci.image.manifest.v1+json";
        let accept = format!("Accept: {kind}, {other}");
        let manifest = self.curl(&format!("hookd/build/manifests/{tag}"), &["-H", &accept]);
        serde_json::from_str(&manifest.unwrap()).unwrap()
    }

    /// Gives another image a tag: that of a tag with one more annotation.
    pub(super) fn add_image(&self, like: &str, tag: &str) {
        let mut manifest = self.manifest(like);
        manifest["annotations"] = json!({"tag": tag});
        let kind = format!("Content-Type: {}", manifest["mediaType"].as_str().unwrap());
        let manifest = manifest.to_string();
        let put = ["-X", "PUT", "-H", &kind, "--data-binary", &manifest];
        self.curl(&format!("hookd/build/manifests/{tag}"), &put).unwrap();
    }

    /// What its other clients need to know it.
    pub(crate) fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    /// A runner that pushes to it and has all that it asks for, and these settings.
    pub(crate) fn runner(&self, settings: &[(&'static str, String)]) -> RunnerPod {
        let mut setup = Setup::default()
            .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST", NODE)
            .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PORT", self.port.to_string())
            .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_NODE_PORT", "")
            .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET", "login")
            .set("HOOKD_REGISTRY_TLS", format!("{}=registry-tls", self.host));
        for (name, value) in settings {
            setup = setup.set(name, value.as_str());
        }
        let runner = RunnerPod::with(&setup);
        give_login(&runner, "login", &[self], PASSWORD);
        self.give_certificates(&runner, "registry-tls");
        runner
    }

    /// Has the CronJob delete from it, with the Secret `registry-tls`.
    pub(super) fn show_to_gc(&self, cron_job: &mut Value) {
        let pod = &mut cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        let container = &mut pod["containers"][0];
        let variables = container["env"].as_array_mut().unwrap();
        for (name, value) in [
            ("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST", NODE.to_owned()),
            ("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PORT", self.port.to_string()),
            ("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_NODE_PORT", String::new()),
            ("HOOKD_REGISTRY_TLS", format!("{}=registry-tls", self.host)),
        ] {
            variables.retain(|variable| variable["name"] != name);
            variables.push(json!({"name": name, "value": value}));
        }
        let mount = json!({"name": "tls", "mountPath": "/run/hookd/tls/registry-tls"});
        container["volumeMounts"].as_array_mut().unwrap().push(mount);
        let volume = json!({"name": "tls", "secret": {"secretName": "registry-tls"}});
        pod["volumes"].as_array_mut().unwrap().push(volume);
    }

    /// The Secret that cert-manager would make for a client of the registry.
    pub(super) fn give_certificates(&self, runner: &RunnerPod, name: &str) {
        let client = self.authority.sign_for(NODE);
        let mut data = json!({"ca.crt": self.authority.pem()});
        if self.wanted.certificate {
            data["tls.crt"] = client.certificate().into();
            data["tls.key"] = client.key().into();
        }
        cluster::create(&[json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": runner.namespace},
            "stringData": data,
        })]);
    }
}

/// Passes connections on from a port of the node: a registry and its token service have one host then.
fn relay(target: String) -> u16 {
    let listener = TcpListener::bind((NODE, 0)).expect("the devcluster's bridge");
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(&target) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
                    continue;
                };
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    port
}

/// The Secret with the password of registries.
pub(crate) fn give_login(runner: &RunnerPod, name: &str, registries: &[&Secured], password: &str) {
    cluster::create(&[json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": runner.namespace},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": logins(registries, password)},
    })]);
}

/// A docker configuration.
fn logins(registries: &[&Secured], password: &str) -> String {
    let login = json!({"username": USER, "password": password});
    let auths: serde_json::Map<_, _> =
        registries.iter().map(|registry| (registry.host.clone(), login.clone())).collect();
    json!({"auths": auths}).to_string()
}

impl Drop for Secured {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = cluster::try_kubectl(
                &["-n", &self.namespace, "logs", "-l", "app=registry", "--tail=100"],
                None,
            );
            eprintln!("--- registry {}\n{}", self.host, log.unwrap_or_else(|error| error));
        }
        let _ = fs::remove_dir_all(self.node_config());
        cluster().delete(&self.namespace);
    }
}
