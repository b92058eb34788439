//! The container without its engine: the program under what `deploy/compose.yaml` and the Dockerfile
//! say, given to systemd instead of Docker. Every line of the compose file is either here or unknown
//! to this test, which then fails.

use serde_json::Value;

use crate::{
    deployment::{compose, instruction},
    walk::Machine,
};

/// The image: what the Dockerfile copies, with the libraries that the program is linked with, and
/// nothing else. That is less than the Debian that it really begins with.
const IMAGE: &str = r#"
cargo build --release
install -D -m 0755 target/release/entitled /image/usr/local/bin/entitled
install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt
ldd target/release/entitled | grep -o '/[^ ]*' | while read -r library; do
    install -D "$library" "/image$library"
done
install -d /image/data /image/tmp /image/proc /image/sys /image/dev /image/run
install -d -m 1777 /image/var/tmp
"#;

/// How systemd says what a line of the compose file says; none where it is about something else than
/// what the process may do.
fn properties(name: &str, value: &Value) -> Vec<String> {
    let text = || value.as_str().unwrap();
    let list = || value.as_array().unwrap().iter().map(|item| item.as_str().unwrap());
    match name {
        "user" => {
            let (user, group) = text().split_once(':').unwrap();
            vec![format!("User={user}"), format!("Group={group}")]
        }
        "read_only" => {
            assert_eq!(value, true);
            vec!["ReadOnlyPaths=+/".into()]
        }
        "volumes" => {
            let mounts = list().map(|mount| mount.split_once(':').unwrap());
            mounts.map(|(_, place)| format!("BindPaths={place}")).collect()
        }
        "tmpfs" => list().map(|mount| format!("TemporaryFileSystem={mount}")).collect(),
        "cap_drop" => {
            assert!(list().eq(["ALL"]));
            vec!["CapabilityBoundingSet=".into(), "AmbientCapabilities=".into()]
        }
        "security_opt" => {
            assert!(list().eq(["no-new-privileges:true"]));
            vec!["NoNewPrivileges=yes".into()]
        }
        "stop_grace_period" => vec![format!("TimeoutStopSec={}", text())],
        "image" | "build" | "restart" | "ports" | "healthcheck" | "logging" => Vec::new(),
        other => panic!("{other}: how would that be here?"),
    }
}

/// The options of `systemd-run` for a process in the container.
fn options() -> String {
    let service = compose()["services"]["entitled"].clone();
    let of_compose = service.as_object().unwrap().iter();
    let properties = of_compose.flat_map(|(name, value)| properties(name, value));
    let environment = instruction("ENV");
    let environment = environment.split_whitespace().map(|set| format!("--setenv={set}"));
    let fixed = ["RootDirectory=/image", "MountAPIVFS=yes", "PrivateDevices=yes"];
    let properties = properties.chain(fixed.map(str::to_owned));
    let properties = properties.map(|property| format!("--property='{property}'"));
    properties.chain(environment).collect::<Vec<_>>().join(" ")
}

fn words(list: &Value) -> String {
    let words = list.as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    words
        .map(|word| word.replace("entitled", "/usr/local/bin/entitled"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_program_is_well_under_the_constraints_of_the_compose_file() {
    let machine = Machine::boot();
    machine.run(IMAGE);
    // The user, and the directory that a new volume is made like.
    machine.run(&instruction("RUN"));
    let list = |name: &str| serde_json::from_str::<Value>(&instruction(name)).unwrap();
    let command = format!("{} serve", words(&list("ENTRYPOINT")));
    assert_eq!(list("CMD"), serde_json::json!(["serve"]));
    let options = options();
    machine.run(&format!("systemd-run --unit=container {options} {command}"));
    // As Docker asks, from inside.
    let test = compose()["services"]["entitled"]["healthcheck"]["test"].clone();
    let asks = words(&Value::from(test.as_array().unwrap()[1..].to_vec()));
    machine.eventually(&format!("systemd-run --wait --quiet --pipe {options} {asks}"));
    // It is so, and not only said so.
    let pid = machine.value("systemctl show --property=MainPID --value container");
    let status = machine.run(&format!("cat /proc/{pid}/status"));
    for line in [
        "Uid:\t10001\t10001\t10001\t10001",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.lines().any(|found| found == line), "{line}\n{status}");
    }
    let touch = |file: &str| {
        let block =
            format!("systemd-run --wait --quiet --pipe {options} /usr/local/bin/touch {file}");
        machine.code(&block)
    };
    machine.run(
        "install /usr/bin/touch /image/usr/local/bin/touch; \
         ldd /usr/bin/touch | grep -o '/[^ ]*' | while read -r file; do install -D $file /image$file; done",
    );
    assert_eq!(touch("/data/x"), Some(0));
    assert_eq!(touch("/tmp/x"), Some(0));
    for file in ["/x", "/etc/x", "/usr/local/bin/x", "/var/tmp/x"] {
        assert_eq!(touch(file), Some(1), "{file}");
    }
    assert_eq!(machine.value("ls /data | grep -c entitled.db$"), "1");
    // STOPSIGNAL, within the grace period.
    assert_eq!(instruction("STOPSIGNAL"), "SIGTERM");
    machine.run("systemctl stop container");
    let said = machine.run("journalctl --no-pager --unit container --output cat");
    assert!(said.contains("Deactivated successfully"), "{said}");
}
