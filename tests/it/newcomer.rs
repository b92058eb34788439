//! The way of somebody who has just the repository: the README and docs/quickstart.md, word for word,
//! on a machine with a systemd of its own. On the way the machine is asked whether it is so.

use serde_json::{Value, json};

use crate::{
    sources::root,
    walk::{Machine, matches, sections},
};

const PAGE: &str = "docs/quickstart.md";

/// A machine on which the page was walked up to and with a section.
fn walked_to(title: &str) -> Machine {
    let sections = sections(PAGE);
    let last = sections.iter().position(|section| section.title == title);
    let last = last.unwrap_or_else(|| panic!("no section {title}"));
    let machine = Machine::boot();
    sections[..=last].iter().for_each(|section| machine.walk(section));
    machine
}

/// A property of the unit as systemd has it.
#[track_caller]
fn property(machine: &Machine, name: &str) -> String {
    machine.value(&format!("systemctl show --property={name} --value entitled"))
}

#[test]
fn what_a_page_says_is_compared_and_not_only_read() {
    assert!(matches("a …\n…\nz", "a 1\nb\nc\nz\n"));
    assert!(matches("…\nz", "z\n"));
    assert!(!matches("a …", "a 1\nb"));
    assert!(!matches("a", "ab"));
    assert!(!matches("…\nz", "y"));
    let steps: Vec<_> = sections(PAGE).into_iter().flat_map(|section| section.steps).collect();
    assert!(steps.len() > 15 && steps.iter().filter(|step| step.prints.is_some()).count() > 10);
}

#[test]
fn the_quickstart_leads_to_a_service_that_is_backed_up_and_watched_and_away_again() {
    let machine = Machine::boot();
    let repository = machine.value("pwd");
    for section in sections(PAGE) {
        machine.walk(&section);
        match section.title.as_str() {
            "6. Backups" => {
                // What the page has set to an hour, so that the walk sees a second one.
                machine
                    .run("sed -i 's/EVERY_MINUTES=60/EVERY_MINUTES=1/' /etc/entitled/environment");
                machine.run("systemctl restart entitled");
            }
            "8. Prometheus and its alerts" => is_watched(&machine),
            "9. An upgrade" => {
                let runs = property(&machine, "MainPID");
                let inode = |file: &str| machine.value(&format!("stat --dereference -c %i {file}"));
                assert_eq!(inode(&format!("/proc/{runs}/exe")), inode("/usr/local/bin/entitled"));
                machine.eventually("[ $(ls /var/lib/entitled/backups/*.db | wc -l) -ge 2 ]");
            }
            _ => {}
        }
    }
    let left = format!(
        "find / -xdev -name '*entitled*' -not -path '{repository}*' -not -path '/var/backups/*' \
         -not -path '/proc/*' -not -path '/sys/*' -not -path '/.walk/*' \
         -not -path /usr/local/lib/entitled-as-built"
    );
    assert_eq!(machine.value(&left), "");
    assert_eq!(machine.code("systemctl cat entitled"), Some(1));
}

/// The alerts that Prometheus has are those of the file, each section that they name is on the
/// machine, and what the service says of its backups has arrived.
fn is_watched(machine: &Machine) {
    let rules = machine.run("curl -fsS http://127.0.0.1:9090/api/v1/rules");
    let rules: Value = serde_json::from_str(&rules).unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    let text = std::fs::read_to_string(root().join("deploy/prometheus/alerts.yaml")).unwrap();
    assert_eq!(rules.len(), text.matches("- alert: ").count());
    assert!(rules.iter().all(|rule| rule["health"] != "err"), "{rules:#?}");
    machine.run("grep '^### The service is down' /usr/local/share/doc/entitled/runbook.md");
    machine.eventually(
        "curl -fsSG http://127.0.0.1:9090/api/v1/query --data-urlencode \
         'query=time() - entitlement_backup_last_success_timestamp_seconds < 600' |
         jq -e '.data.result[0]'",
    );
}

#[test]
fn systemd_keeps_the_service_from_what_it_does_not_need() {
    let machine = walked_to("4. Start it");
    let pid = property(&machine, "MainPID");
    let status = machine.run(&format!("cat /proc/{pid}/status"));
    let field = |name: &str| {
        let line = status.lines().find(|line| line.split(':').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name}\n{status}")).split_whitespace().nth(1).unwrap()
    };
    // A user of its own who isn't in /etc/passwd, no right of root, and filtered system calls.
    let uid: u32 = field("Uid").parse().unwrap();
    assert!((61184..=65519).contains(&uid), "{uid} is none of the dynamic users");
    assert_eq!(machine.code("grep ^entitled: /etc/passwd"), Some(1));
    for name in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(name), "0000000000000000", "{name}");
    }
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1", "2"));
    let directory = machine.value("stat --dereference -c '%a %u' /var/lib/entitled");
    assert_eq!(directory, format!("700 {uid}"));
    // Even root sees in its world that nothing else can be written, and what isn't there.
    let inside = |block: &str| machine.code(&format!("nsenter --target {pid} --mount {block}"));
    assert_eq!(inside("touch /var/lib/entitled/can-be-written"), Some(0));
    for file in ["/etc/x", "/usr/x", "/var/x", "/opt/x", "/srv/entitled/x"] {
        assert_eq!(inside(&format!("touch {file}")), Some(1), "{file}");
    }
    assert_eq!(inside("sh -c 'ls /dev/console || ls -A /root | grep .'"), Some(1));
    // The key of the first admin is shown to nobody else, and stands in no log.
    let key = machine.value("cat /etc/entitled/root-key");
    machine.run(&format!("! tr '\\0' '\\n' < /proc/{pid}/environ | grep -F '{key}'"));
    machine.run(&format!("! journalctl --no-pager | grep -F '{key}'"));
    assert!(!machine.run("journalctl --no-pager --unit entitled").contains("first key"));
}

#[test]
fn without_a_credential_the_first_key_stands_in_the_journal_once() {
    let machine = Machine::boot();
    for section in sections(PAGE) {
        if section.title.starts_with("2.") || section.title.starts_with("4.") {
            machine.walk(&section);
        }
    }
    let count = "journalctl --no-pager --unit entitled | grep -c 'first key.*ent_'";
    assert_eq!(machine.value(count), "1");
    machine.run("systemctl restart entitled");
    assert_eq!(machine.value(count), "1");
}

#[test]
fn systemd_starts_again_what_a_restart_can_help_and_nothing_else() {
    let machine = walked_to("5. A catalog, a tenant, an answer");
    let check = "entitled check --tenant bakery --feature multi_branch";
    // A kill: it comes back by itself with everything that was acknowledged.
    let before = property(&machine, "MainPID");
    machine.run(&format!("kill -KILL {before}"));
    machine.eventually(&format!(
        "pid=$(systemctl show --property=MainPID --value entitled); \
         [ $pid != 0 ] && [ $pid != {before} ] && systemctl is-active entitled"
    ));
    assert_eq!(property(&machine, "NRestarts"), "1");
    assert!(machine.run(check).starts_with("allowed"));
    // The end by systemctl is orderly.
    machine.run("systemctl stop entitled");
    let how = ["Result", "ExecMainCode", "ExecMainStatus"].map(|name| property(&machine, name));
    assert_eq!(how, ["success", "1", "0"]);
    // A second process on the directory of the first, and a wrong setting: said at once, once.
    machine.run("systemctl start entitled");
    let second = "entitled serve --data /var/lib/entitled --listen 127.0.0.1:0";
    assert_eq!(machine.code(second), Some(73));
    assert!(machine.run(check).starts_with("allowed"));
    machine.run("echo ENTITLED_LIMITS__READRES=4 >> /etc/entitled/environment");
    assert_ne!(machine.code("systemctl restart entitled"), Some(0));
    machine.eventually("systemctl is-failed entitled");
    let how = ["ExecMainStatus", "SubState"].map(|name| property(&machine, name));
    assert_eq!(how, ["78", "failed"]);
    let said = machine.run("journalctl --no-pager --unit entitled --output cat --lines 20");
    assert!(said.contains("did you mean ENTITLED_LIMITS__READERS"), "{said}");
    // The same with a directory that another process has.
    machine.run("sed -i '/READRES/d' /etc/entitled/environment");
    machine.aside("first", &second.replace("serve", "--config /dev/null serve"));
    machine.eventually("grep listening /run/walk-first.out");
    assert_ne!(machine.code("systemctl restart entitled"), Some(0));
    let how = ["ExecMainStatus", "SubState"].map(|name| property(&machine, name));
    assert_eq!(how, ["73", "failed"]);
    machine.end_aside("first");
    // Root has left nothing behind there that the service couldn't read. (That was many starts.)
    machine.run("systemctl reset-failed entitled; systemctl start entitled");
    assert!(machine.run(check).starts_with("allowed"));
}

/// The blocks of the README that aren't part of the way: the tests themselves, a measurement of
/// minutes, and an image, which needs Docker.
const NOT_WALKED: [&str; 3] =
    ["cargo test\n", "cargo bench --bench decisions\n", "docker build -t"];

#[test]
fn the_readme_leads_from_nothing_to_an_answer() {
    let machine = Machine::boot();
    let (mut steps, mut left_out) = (Vec::new(), 0);
    for step in sections("README.md").into_iter().flat_map(|section| section.steps) {
        if NOT_WALKED.iter().any(|start| step.block.starts_with(start)) {
            left_out += 1;
        } else {
            steps.push(step);
        }
    }
    assert_eq!(left_out, NOT_WALKED.len());
    let serves = |block: &str| block.starts_with("cargo run --release -- serve");
    let mut terminal = String::new();
    let mut answers = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if serves(&step.block) {
            if !terminal.is_empty() {
                machine.end_aside(&terminal);
            }
            terminal = format!("server-{at}");
            machine.aside(&terminal, &step.block);
            machine.eventually("curl -fsS http://127.0.0.1:8080/readyz");
            if !step.block.contains("--demo") {
                // "Give it to KEY as above."
                paste_key(&machine, &terminal);
            }
        } else if step.block.starts_with("read -r KEY") {
            paste_key(&machine, &terminal);
        } else {
            answers.push(machine.step(step));
        }
    }
    let answers: Vec<Value> =
        answers.iter().map(|text| serde_json::from_str(text).unwrap_or(json!(text))).collect();
    let [demo, catalog, tenant, plan, yes, grant, trial, payload, audit, key] = &answers[..] else {
        panic!("{answers:#?}")
    };
    assert_eq!((&demo["allowed"], &demo["reason"]), (&json!(false), &json!("plan_limit")));
    assert_eq!(demo, &printed_in_the_readme());
    assert_eq!(catalog["changed"], true);
    assert_eq!((&tenant["key"], &plan["plan"]), (&json!("bakery"), &json!("growth")));
    assert_eq!((&yes["allowed"], &yes["reason"]), (&json!(true), &json!("plan")));
    assert_eq!(grant["state"], "trial");
    assert_eq!((&trial["reason"], &trial["trace"].is_array()), (&json!("trial"), &true));
    assert!(payload.as_str().unwrap().ends_with("304\n"), "{payload}");
    assert!(!audit["items"].as_array().unwrap().is_empty());
    assert_eq!(key["role"], "service");
    machine.end_aside(&terminal);
}

/// What somebody does who reads the first key in one terminal and pastes it in the other.
fn paste_key(machine: &Machine, terminal: &str) {
    let said = machine.printed_aside(terminal);
    let key = regex::Regex::new(r"ent_[0-9a-f]+_[\w-]+").unwrap();
    let block = sections("README.md")
        .into_iter()
        .flat_map(|section| section.steps)
        .find(|step| step.block.starts_with("read -r KEY"))
        .unwrap()
        .block;
    machine.typed(
        &block,
        &format!("{}\n", key.find(&said).unwrap_or_else(|| panic!("{said}")).as_str()),
    );
}

/// The answer that the README shows.
fn printed_in_the_readme() -> Value {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    serde_json::from_str(text.split("```json\n").nth(1).unwrap().split("```").next().unwrap())
        .unwrap()
}
