//! What runs the service: the unit of systemd, the container, the compose file. Each is held against
//! the others and against the settings.

use std::process::Command;

use entitled::config::Settings;
use serde_json::{Value, json};

use crate::{
    cli::{Running, ended, entitled, stdout},
    sources::root,
};

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

/// The lines of a unit, without comments: name and value.
fn unit() -> Vec<(String, String)> {
    let text = read("deploy/systemd/entitled.service");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.filter_map(|line| line.split_once('='));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn said(name: &str) -> Vec<String> {
    unit().into_iter().filter(|(found, _)| found == name).map(|(_, value)| value).collect()
}

#[test]
fn the_unit_is_kept_from_what_the_service_does_not_need() {
    for (name, value) in [
        ("Type", "notify"),
        ("TimeoutStartSec", "infinity"),
        ("DynamicUser", "yes"),
        ("StateDirectory", "entitled"),
        ("StateDirectoryMode", "0700"),
        ("UMask", "0077"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("SystemCallArchitectures", "native"),
        ("Environment", "ENTITLED_DATA=/var/lib/entitled"),
    ] {
        assert_eq!(said(name), [value], "{name}");
    }
}

#[test]
fn the_unit_restarts_what_a_restart_can_help_and_waits_for_the_end() {
    assert_eq!(said("Restart"), ["on-failure"]);
    // Those of docs/exit-codes.md that end the same way each time, and a command line that is wrong.
    assert_eq!(said("RestartPreventExitStatus"), ["2 73 76 78 79"]);
    assert!(read("docs/exit-codes.md").contains("leave it at 73, 76, 78 and 79"));
    let patience: u32 = said("TimeoutStopSec")[0].parse().unwrap();
    let compose = compose()["services"]["entitled"]["stop_grace_period"].clone();
    let of_compose: u32 = compose.as_str().unwrap().strip_suffix('s').unwrap().parse().unwrap();
    let needed = Settings::default().limits.shutdown_seconds;
    assert!(patience > needed && of_compose > needed, "{patience} {of_compose} {needed}");
}

/// Where there is systemd, it says itself whether the unit is one, and how exposed it is.
#[test]
fn systemd_takes_the_unit() {
    let dir = tempfile::tempdir().unwrap();
    let text = read("deploy/systemd/entitled.service");
    // It looks for the program.
    let here = env!("CARGO_BIN_EXE_entitled");
    let text = text.replace("/usr/local/bin/entitled", here);
    let path = dir.path().join("entitled.service");
    std::fs::write(&path, text).unwrap();
    let run = |args: &[&str]| Command::new("systemd-analyze").args(args).arg(&path).output();
    let verified = match run(&["verify", "--man=no"]) {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("there is no systemd-analyze here: the unit was only read");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let complaints = String::from_utf8_lossy(&verified.stderr).into_owned();
    let of_ours: Vec<_> =
        complaints.lines().filter(|line| line.contains("entitled.service")).collect();
    assert!(of_ours.is_empty(), "{of_ours:#?}");
    // At most 2.0 of 10.
    let rated = run(&["security", "--offline=true", "--threshold=20", "--no-pager"]).unwrap();
    assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
}

pub fn compose() -> Value {
    serde_yaml::from_str(&read("deploy/compose.yaml")).unwrap()
}

/// The rest of the line of an instruction, continued lines joined.
pub fn instruction(name: &str) -> String {
    let text = read("Dockerfile").replace("\\\n", "");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(&format!("{name} ")));
    lines.next_back().unwrap_or_else(|| panic!("no {name}")).to_owned()
}

#[test]
fn the_container_has_one_place_to_write_nobodys_rights_and_a_health_check() {
    let compose = compose();
    let service = &compose["services"]["entitled"];
    assert_eq!(service["read_only"], true);
    assert_eq!(service["cap_drop"], json!(["ALL"]));
    assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]));
    assert_eq!(service["volumes"], json!(["data:/data"]));
    assert_eq!(compose["volumes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["data"]);
    let ports = service["ports"].as_array().unwrap();
    assert!(ports.iter().all(|port| port.as_str().unwrap().starts_with("127.0.0.1:")));
    // As in the image.
    assert_eq!(service["user"], instruction("USER"));
    assert_ne!(instruction("USER").split(':').next(), Some("0"));
    assert_eq!(instruction("VOLUME"), "/data");
    let test = service["healthcheck"]["test"].as_array().unwrap();
    let asks = instruction("HEALTHCHECK");
    let asks: Value = serde_json::from_str(asks.split_once("CMD ").unwrap().1).unwrap();
    assert_eq!(test[1..], asks.as_array().unwrap()[..]);
    assert_eq!(test[0], "CMD");
}

#[test]
fn shells_complete_every_command_and_the_page_has_a_section_for_each() {
    let help = ended(&mut entitled(&["--help"]), 0);
    let help = stdout(&help);
    let commands = help.split_once("Commands:").unwrap().1.split_once("Options:").unwrap().0;
    let commands: Vec<_> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(commands.contains(&"serve") && commands.contains(&"man"), "{commands:?}");
    let page = ended(&mut entitled(&["man"]), 0);
    for shell in ["bash", "zsh", "fish"] {
        let script = ended(&mut entitled(&["completions", shell]), 0);
        for command in &commands {
            assert!(stdout(&script).contains(command), "{shell}: {command}");
            assert!(stdout(&page).contains(&format!(".SS \"entitled {command}")), "{command}");
        }
    }
    let script = ended(&mut entitled(&["completions", "bash"]), 0);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), stdout(&script)).unwrap();
    let checked = Command::new("bash").arg("-n").arg(file.path()).status().unwrap();
    assert!(checked.success());
    ended(&mut entitled(&["completions", "nonsense"]), 2);
}

/// Read as somebody reads it who types `man entitled`.
#[test]
fn the_manual_page_is_rendered_without_a_warning_and_names_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("entitled.1");
    let page = ended(&mut entitled(&["man"]), 0);
    std::fs::write(&file, &page.stdout).unwrap();
    let mut man = Command::new("man");
    man.args(["--warnings", "--local-file"]).arg(&file);
    man.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
    let output = man.output().unwrap_or_else(|error| {
        panic!("man: {error}; apt-get install man-db groff-base");
    });
    let (read, said) = (stdout(&output), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
    assert!(read.starts_with("ENTITLED(1)") && read.contains("User Commands"), "{read}");
    assert!(read.lines().all(|line| line.chars().count() <= 80), "{read}");
    for command in ["serve", "keys create", "catalog apply", "audit verify", "man"] {
        assert!(read.lines().any(|line| line.trim() == format!("entitled {command}")), "{command}");
    }
    for title in ["NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES"]
    {
        assert!(read.lines().any(|line| line == title), "{title}");
    }
}

/// The protocol of systemd, by a supervisor that is this test.
#[test]
fn the_supervisor_is_told_when_the_service_answers_and_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let supervisor = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    supervisor.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let heard = || {
        let mut buffer = [0; 64];
        let length = supervisor.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let data = dir.path().join("data");
    let running = Running::serve(&data, &[("NOTIFY_SOCKET", socket.to_str().unwrap())]);
    assert_eq!(heard(), "READY=1");
    ended(&mut entitled(&["health", "--url", &running.url()]), 0);
    assert_eq!(running.terminate(), Some(0));
    assert_eq!(heard(), "STOPPING=1");
}
