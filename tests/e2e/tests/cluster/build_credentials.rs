//! The password of a registry, and what a Dockerfile's commands can do with it: nothing.

use std::process::Command;

use e2e::parity::buildkit;
use fake_runner::layout::guid;
use serde_json::{Value, json};

use test_support::cluster::{self, cluster, kubectl, run};
use test_support::manifests::TEST_LABEL;
use test_support::wait::{s, until};
use test_support::{RunnerPod, Setup};

pub(crate) const USER: &str = "pusher";
pub(crate) const PASSWORD: &str = "s3cret-push-password";
/// bcrypt of the password.
pub(crate) const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuT2LR3cXnyxvY3BFdQtnyD0z0DLbOfvy";
/// Searches all files, also those of other processes, and every environment. The patterns do not find
/// themselves: they are of the password, of its base64 with the user before it, and of a token.
const SEARCH: &str = r"find / -path /proc -prune -o -path /sys -prune -o -type f -size -20000k -print0 \
    | xargs -0 grep -la -e 's3cret-pus[h]' -e 'cHVzaGVyOnMzY3Jld[C]' -e 'eyJhbGciOiJSUz[I]' | sed 's/^/FOUND /'; \
    for process in /proc/[0-9]*; do \
      cat $process/environ $process/cmdline | grep -ac 's3cret-pus[h]' | sed '/^0/d; s/^/FOUND in a process /'; \
      find $process/root/run $process/root/kaniko/.docker -name config.json | sed 's/^/FOUND /'; \
    done; echo searched $(ls -d /proc/[0-9]* | wc -l) processes; true";

/// A registry that needs a password, in a namespace of its own. It keeps its images
/// where the cluster's registry does, from which the node pulls them: the node knows no other.
pub(crate) struct Guarded {
    namespace: String,
    host: String,
    pub(crate) node_port: u64,
}

impl Guarded {
    pub(crate) fn start() -> Self {
        let namespace = format!("hookd-test-{}", &guid().unwrap()[..8]);
        cluster::create(&objects(&namespace));
        let mut registry = Self { namespace, host: String::new(), node_port: 0 };
        let namespaced = ["-n", &registry.namespace];
        kubectl(
            &[&namespaced[..], &["wait", "--for=condition=Ready", "pod/registry", "--timeout=60s"]]
                .concat(),
        );
        let service = cluster::get(&[&namespaced[..], &["service", "registry"]].concat());
        registry.host = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
        registry.node_port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
        until("the registry answers", s(30), || registry.try_ask("/v2/"));
        registry
    }

    /// Lets the node pull from it, at its node port.
    pub(crate) fn show_to_node(&self) {
        let server = format!("http://127.0.0.1:{}", self.node_port);
        let hosts = format!(
            "server = {server:?}\n[host.{server:?}]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
        std::fs::create_dir_all(self.node_config()).unwrap();
        std::fs::write(self.node_config().join("hosts.toml"), hosts).unwrap();
    }

    /// containerd's folder for it, which it reads at each pull.
    fn node_config(&self) -> std::path::PathBuf {
        let folder = format!("conf/registries/localhost_{}_", self.node_port);
        cluster().state.join(folder)
    }

    /// What it answers to its user on this machine.
    fn try_ask(&self, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.node_port);
        let login = format!("{USER}:{PASSWORD}");
        run(Command::new("curl").args(["-sf", "--noproxy", "*", "-u", &login, &url]), None).ok()
    }

    fn ask(&self, path: &str) -> Value {
        serde_json::from_str(&self.try_ask(path).unwrap()).unwrap()
    }

    /// A runner that pushes to it with the Secret "login".
    fn runner(&self) -> RunnerPod {
        self.runner_with(Setup::default())
    }

    fn runner_with(&self, setup: Setup) -> RunnerPod {
        let cluster = cluster();
        let bases = format!("{}:{}", cluster.registry_host, cluster.registry_port);
        let setup = setup
            .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST", &self.host)
            .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PORT", "5000")
            .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_NODE_PORT", self.node_port.to_string())
            .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET", "login")
            .set(
                "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PULL_HOST",
                format!("localhost:{}", cluster.registry_node_port),
            )
            .set("HOOKD_INSECURE_REGISTRIES", bases);
        let runner = RunnerPod::with(&setup);
        let host = |host: String| (host, json!({"username": USER, "password": PASSWORD}));
        let hosts =
            [host(format!("{}:5000", self.host)), host(format!("localhost:{}", self.node_port))];
        let auths: serde_json::Map<_, _> = hosts.into_iter().collect();
        cluster::create(&[json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "login", "namespace": runner.namespace},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": json!({"auths": auths}).to_string()},
        })]);
        runner
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.node_config());
        cluster().delete(&self.namespace);
    }
}

fn objects(namespace: &str) -> Vec<Value> {
    let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: /data}}\nhttp: {addr: ':5000'}\n\
                  auth: {htpasswd: {realm: guarded, path: /etc/registry/htpasswd}}\n";
    let labels = json!({TEST_LABEL: std::process::id().to_string()});
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": labels}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "registry", "namespace": namespace},
            "data": {"config.yml": config, "htpasswd": format!("{USER}:{HASH}\n")}}),
        json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "registry", "namespace": namespace, "labels": {"app": "registry"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            // As the cluster's registry, which writes to the same storage.
            "securityContext": {"runAsUser": 65534, "runAsGroup": 65534},
            "containers": [{
                "name": "registry",
                "image": "localhost/hookd-devcluster/registry:1",
                "imagePullPolicy": "IfNotPresent",
                "args": ["serve", "/etc/registry/config.yml"],
                "volumeMounts": [mount("config", "/etc/registry"), mount("data", "/data")],
            }],
            "volumes": [{"name": "config", "configMap": {"name": "registry"}},
                {"name": "data", "hostPath": {"path": cluster().state.join("registry")}}],
        }}),
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "registry", "namespace": namespace},
            "spec": {"type": "NodePort", "selector": {"app": "registry"},
                "ports": [{"port": 5000}]}}),
    ]
}

/// A line that a `RUN` has printed; BuildKit puts a number and a time before it.
fn printed(line: &str) -> &str {
    let Some((number, rest)) = line.split_once(' ').filter(|(first, _)| first.starts_with('#'))
    else {
        return line;
    };
    let is_number = number[1..].bytes().all(|byte| byte.is_ascii_digit());
    let time = rest.split_once(' ').filter(|(time, _)| time.parse::<f64>().is_ok());
    time.filter(|_| is_number).map_or(line, |(_, text)| text)
}

#[test]
fn a_run_finds_no_credentials_and_pushes_only_its_own_image() {
    let registry = Guarded::start();
    let text = steal(&registry, Setup::default());
    // The user reads the registry's name: the endpoint's address is only that of the pod.
    assert!(
        text.contains(&format!("Pushing image to {}:5000/hookd/build:", registry.host)),
        "{text}"
    );
}

#[test]
#[ignore = "make parity BUILDER=buildkit makes BuildKit"]
fn a_run_in_buildkit_finds_no_credentials_either() {
    let registry = Guarded::start();
    let text = steal(&registry, buildkit(Setup::default()));
    assert!(text.contains(&format!("{}:5000/hookd/build:", registry.host)), "{text}");
}

/// Builds a Dockerfile that looks for credentials and misuses the endpoint, all in vain; its log.
fn steal(registry: &Guarded, setup: Setup) -> String {
    let runner = registry.runner_with(setup);
    let post =
        |path: &str| format!("RUN wget -O- --post-data= http://127.0.0.1:5077{path} 2>&1; true\n");
    // Its input stays open: a server drops a request whose client has closed its half.
    let put = "{ printf 'PUT /v2/push/hookd/build/manifests/stolen HTTP/1.1\\r\\nHost: 127.0.0.1:5077\\r\\n\
               Connection: close\\r\\nContent-Length: 2\\r\\n\\r\\n{}'; sleep 5; } | nc 127.0.0.1 5077";
    let dockerfile = [
        "FROM busybox:1\n".to_owned(),
        format!("RUN {SEARCH}\n"),
        "RUN cat /kaniko/.docker/config.json /run/hookd/credentials/config.json; true\n".to_owned(),
        post("/v2/push/stolen/image/blobs/uploads/"),
        post("/v2/push/hookd/build/../stolen/blobs/uploads/"),
        format!("RUN {put}; true\n"),
        "RUN wget -O- http://127.0.0.1:5077/v2/_catalog 2>&1; true\n".to_owned(),
        "RUN wget -O- http://127.0.0.1:5077/v2/pull/index.docker.io/library/debian/manifests/latest 2>&1; \
         true\n"
            .to_owned(),
        format!("RUN wget -O- http://{}:5000/v2/_catalog 2>&1; true\n", registry.host),
        "ENTRYPOINT [\"/bin/echo\", \"it runs\"]\n".to_owned(),
    ];
    let outcome = runner.run(&runner.action("thief", &[("Dockerfile", &dockerfile.concat())]));
    outcome.assert_code(0);
    assert_eq!(outcome.after_build(), "it runs\n");
    let text = outcome.log();
    assert!(!text.contains(PASSWORD), "{text}");
    let lines = outcome.log_lines();
    let found: Vec<_> = lines.iter().filter(|line| printed(line).starts_with("FOUND")).collect();
    assert_eq!(found, Vec::<&String>::new(), "{text}");
    assert!(lines.iter().any(|line| printed(line).starts_with("searched ")), "{text}");
    // Two uploads, a manifest, a list and an image through the endpoint; the list without it.
    assert_eq!(
        text.matches("403 Forbidden").count() + text.matches("400 Bad Request").count(),
        5,
        "{text}"
    );
    assert_eq!(text.matches("401 Unauthorized").count(), 1, "{text}");
    assert!(!text.contains("127.0.0.1:5077/push"), "{text}");
    // The other registry's images are there too: of these, none is what the RUNs tried to push.
    assert_eq!(registry.try_ask("/v2/stolen/image/tags/list"), None);
    let tags = registry.ask("/v2/hookd/build/tags/list")["tags"].as_array().unwrap().clone();
    assert!(!tags.contains(&"stolen".into()), "{tags:?}");
    runner.assert_nothing_left();
    text
}

#[test]
fn a_password_that_is_wrong_is_told_with_the_setting() {
    let registry = Guarded::start();
    let runner = registry.runner();
    runner.k(&["delete", "secret", "login"]);
    runner.k(&[
        "create",
        "secret",
        "docker-registry",
        "login",
        "--docker-username=pusher",
        "--docker-password=wrong",
        &format!("--docker-server={}:5000", registry.host),
    ]);
    let outcome =
        runner.run(&runner.action("wrong", &[("Dockerfile", "FROM busybox:1\nRUN true\n")]));
    let setting = "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET";
    let host = format!("{}:5000", registry.host);
    outcome.assert_failed_with(30, &[&host, "UNAUTHORIZED", "does not take the image", setting]);
    runner.assert_nothing_left();
}

#[test]
fn a_base_image_behind_a_password_is_pulled_with_it() {
    let registry = Guarded::start();
    let runner = registry.runner();
    let base = runner.action(
        "base",
        &[("Dockerfile", "FROM busybox:1\nRUN echo base > /base\nCMD [\"true\"]\n")],
    );
    let built = runner.run(&base);
    let text = built.assert_code(0).log();
    let (_, digest) = text.split_once("hookd/build@").expect("the digest in Kaniko's log");
    let digest = digest.split_whitespace().next().unwrap();
    let dockerfile = format!(
        "ARG DIGEST={digest}\nFROM {host}:5000/hookd/build@${{DIGEST}} AS base\nFROM busybox:1\n\
         COPY --from=base /base /from-stage\nCOPY --from={host}:5000/hookd/build@{digest} /base /from-image\n\
         ENTRYPOINT [\"/bin/cat\", \"/from-stage\", \"/from-image\"]\n",
        host = registry.host,
    );
    let outcome = runner.run(&runner.action("above", &[("Dockerfile", &dockerfile)]));
    assert_eq!(outcome.assert_code(0).after_build(), "base\nbase\n");
    runner.assert_nothing_left();
}
