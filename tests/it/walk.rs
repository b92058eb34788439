//! A machine with a systemd of its own, and pages whose commands are run on it word for word.
//!
//! `tests/newcomer/machine.sh` makes the machine and says what it needs; where it can't be made, the
//! tests fail and say why. Everything in it ends with the value that stands for it, and with the
//! process that has the value, however that ends.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use regex::Regex;

use crate::sources::root;

/// The longest wait for anything. Nothing is measured; this only ends what would never end.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a block is run by: exported variables and the directory go on from block to block, as in the
/// terminal of somebody who pastes them.
const TERMINAL: &str = r#"
session=/run/walk-session-$1
if [ -e "$session" ]; then . "$session" && cd "$PWD"; fi
eval "$2"
export -p > "$session"
"#;

/// The machine.
pub struct Machine {
    guard: Child,
    init: String,
    _root: tempfile::TempDir,
}

impl Machine {
    /// Makes it, and waits until systemd has started everything.
    pub fn boot() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = root().join("tests/newcomer/machine.sh");
        let mut command = Command::new("unshare");
        command.arg("--mount").arg(script).arg(dir.path()).arg(root());
        command.arg(env!("CARGO_BIN_EXE_entitled"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut guard = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(init) = line.trim().strip_prefix("init ").map(str::to_owned) else {
            drop(guard.stdin.take());
            let output = guard.wait_with_output().unwrap();
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        };
        let machine = Self { guard, init, _root: dir };
        machine.eventually("systemctl is-system-running --wait | grep -x running");
        machine
    }

    /// Runs a block in one of the terminals, with something to read from it.
    pub fn run_in(&self, terminal: &str, block: &str, typed: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init, "--all", "--wdns=/srv/entitled"]);
        command.args(["env", "--ignore-environment", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"]);
        command.arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["timeout", "--kill-after=5", &PATIENCE.as_secs().to_string()]);
        command.args(["bash", "-euo", "pipefail", "-c", TERMINAL, "-", terminal, block]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // What doesn't read ends before it is written to.
        let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What a block prints, which must succeed.
    #[track_caller]
    pub fn run(&self, block: &str) -> String {
        self.typed(block, "")
    }

    /// The same with something to read.
    #[track_caller]
    pub fn typed(&self, block: &str, typed: &str) -> String {
        let output = self.run_in("main", block, typed);
        let printed = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}:\n{block}\n\n{printed}\n{said}\n{}",
            output.status,
            self.journal()
        );
        printed
    }

    /// The exit code of a block.
    pub fn code(&self, block: &str) -> Option<i32> {
        self.run_in("aside", block, "").status.code()
    }

    /// What a block prints, without the break at its end.
    #[track_caller]
    pub fn value(&self, block: &str) -> String {
        self.run(block).trim_end().to_owned()
    }

    /// Asks again and again until a block succeeds; what it printed then.
    #[track_caller]
    pub fn eventually(&self, block: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.run_in("aside", block, "");
            if output.status.success() {
                return String::from_utf8(output.stdout).unwrap();
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(Instant::now() < deadline, "never:\n{block}\n{said}\n{}", self.journal());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn journal(&self) -> String {
        let output = self.run_in("aside", "journalctl --no-pager --lines=40", "");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs every block of a section, and compares what it prints with what stands under it.
    #[track_caller]
    pub fn walk(&self, section: &Section) {
        for step in &section.steps {
            self.step(step);
        }
    }

    /// Runs one block, and compares what it prints with what stands under it.
    #[track_caller]
    pub fn step(&self, step: &Step) -> String {
        let printed = self.run(&step.block);
        if let Some(expected) = &step.prints {
            assert!(
                matches(expected, &printed),
                "{}\n\nshould print:\n{expected}\n\nprinted:\n{printed}",
                step.block
            );
        }
        printed
    }

    /// Starts a block that doesn't end, as in a terminal of its own.
    pub fn aside(&self, terminal: &str, block: &str) {
        let block = format!(
            "setsid bash -c 'echo $$ > /run/walk-{terminal}.pid; eval \"$1\"' - \"$0\" \
             > /run/walk-{terminal}.out 2>&1 < /dev/null &"
        )
        .replace("\"$0\"", &quoted(block));
        let output = self.run_in(terminal, &block, "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What such a block has printed so far.
    #[track_caller]
    pub fn printed_aside(&self, terminal: &str) -> String {
        self.run(&format!("cat /run/walk-{terminal}.out"))
    }

    /// Ends it as somebody at its terminal would.
    #[track_caller]
    pub fn end_aside(&self, terminal: &str) {
        let pid = self.value(&format!("cat /run/walk-{terminal}.pid"));
        self.run(&format!("kill -INT -- -{pid}"));
        self.eventually(&format!("! kill -0 -- -{pid}"));
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let ended = self.guard.wait();
        if !std::thread::panicking() {
            assert!(ended.unwrap().success(), "the machine leaves something behind");
        }
    }
}

/// A block of commands.
#[derive(Debug, Clone)]
pub struct Step {
    pub block: String,
    /// What stands under it as `text`: a line `…` is for any lines, `…` in a line for the rest of what
    /// differs.
    pub prints: Option<String>,
}

/// A heading of the second level, and the blocks under it.
#[derive(Debug, Clone)]
pub struct Section {
    pub title: String,
    pub steps: Vec<Step>,
}

/// The sections of a page in which there is something to run.
pub fn sections(page: &str) -> Vec<Section> {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let mut sections = vec![Section { title: String::new(), steps: Vec::new() }];
    let mut lines = text.lines();
    let mut is_under_step = false;
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            let steps = &mut sections.last_mut().unwrap().steps;
            match (language, steps.last_mut()) {
                ("sh", _) => steps.push(Step { block: block.join("\n") + "\n", prints: None }),
                ("text", Some(step)) if is_under_step => step.prints = Some(block.join("\n")),
                _ => {}
            }
            is_under_step = language == "sh";
        } else if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title: title.to_owned(), steps: Vec::new() });
            is_under_step = false;
        } else if !line.is_empty() {
            is_under_step = false;
        }
    }
    sections.retain(|section| !section.steps.is_empty());
    sections
}

/// Whether a text is what a page says.
pub fn matches(expected: &str, printed: &str) -> bool {
    let lines = expected.lines().map(|line| match line {
        "…" => r"(?:.*\n)*".to_owned(),
        line => regex::escape(line).replace('…', ".*") + r"\n",
    });
    let pattern = format!(r"\A{}\z", lines.collect::<String>());
    let printed = format!("{}\n", printed.trim_end());
    Regex::new(&pattern).unwrap().is_match(&printed)
}
