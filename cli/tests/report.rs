//! `report` for people, and what the program says of itself.

use std::path::Path;
use std::process::{Command, Stdio};

mod trained;

use tch_tensorboard::Logger;
use trained::train;

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tch-tensorboard"));
    // Whoever runs the tests may have chosen these.
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

fn output(mut command: Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    // A signal has no code, and a panic another one.
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

fn run(args: &[&str], logdir: &Path) -> (i32, String, String) {
    let mut command = program(args);
    command.arg(logdir);
    output(command)
}

/// Healthy `a` and `c`, `b` with a fault, `early` of a few steps, and `losses` without weights.
fn sweep() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    train(&temp.path().join("a"), "", 60, 60).close().unwrap();
    train(&temp.path().join("b"), "", 60, 20).close().unwrap();
    train(&temp.path().join("c"), "", 50, 60).close().unwrap();
    train(&temp.path().join("early"), "", 3, 60)
        .close()
        .unwrap();
    let losses = Logger::create(temp.path().join("losses")).unwrap();
    losses.log_scalar("loss", 1.0, 0).unwrap();
    losses.close().unwrap();
    temp
}

#[test]
fn all_runs_come_first_in_a_line_each_and_those_with_faults_before_the_others() {
    let logs = sweep();
    let (code, out, err) = run(&["report"], logs.path());
    assert_eq!((code, err.as_str()), (3, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[..6],
        [
            "4 runs with weights: 1 has faults, 1 is undecided",
            "  FAULT      b      step 59  2 variables  not updated: fc2.weight",
            "  undecided  early  step  2  2 variables  2 undecided",
            "  ok         a      step 59  2 variables  2 learning",
            "  ok         c      step 49  2 variables  2 learning",
            "",
        ],
        "{out}"
    );
    // Then the tables, in the order of the names.
    assert!(lines[6].starts_with("a, step 59: ok"), "{out}");
    let heads: Vec<&&str> = lines
        .iter()
        .filter(|line| line.contains(", step "))
        .collect();
    let expected = ["a, step 59: ok", "b, step 59: FAULT", "c, step 49: ok"];
    assert!(expected.iter().all(|head| heads.contains(&head)), "{out}");
    assert_eq!(lines.last(), Some(&"No weights in losses"), "{out}");

    let (_, out, _) = run(&["report", "--run", "b"], logs.path());
    assert!(out.starts_with("b, step 59: FAULT\nvariable"), "{out}");
    let (_, out, _) = run(&["report", "--markdown"], logs.path());
    assert!(
        out.starts_with("**4 runs with weights: 1 has faults, 1 is undecided**\n\n| run |"),
        "{out}"
    );
    let row = "| `b` | **FAULT** | 59 | 2 | not updated: fc2.weight |";
    assert!(out.contains(row), "{out}");
}

#[test]
fn a_note_that_runs_share_is_said_once() {
    let logs = sweep();
    // Each of the runs is judged by its points, which says what points do not show.
    let shared = "no single elements";
    for form in [
        &["report", "--recompute"][..],
        &["report", "--recompute", "--markdown"],
    ] {
        let (_, out, _) = run(form, logs.path());
        assert_eq!(out.matches(shared).count(), 1, "{out}");
    }
    let (_, out, _) = run(&["report", "--recompute"], logs.path());
    // A note on one run stays below its table.
    let (early, after) = out.split_once("early, step 2").unwrap();
    assert!(!early.contains("fewer than 20 points"), "{out}");
    assert!(after.contains("fewer than 20 points"), "{out}");
    // Programs get all that is said of a run with the run.
    let (_, out, _) = run(&["report", "--recompute", "--json"], logs.path());
    assert_eq!(out.matches(shared).count(), 4, "{out}");
}

#[test]
fn colours_are_written_where_they_are_asked_for() {
    let logs = sweep();
    let has_colors = |args: &[&str], settings: &[(&str, &str)]| {
        let mut command = program(args);
        command.arg(logs.path()).envs(settings.iter().copied());
        let (_, out, _) = output(command);
        assert!(out.contains("FAULT"), "{out}");
        out.contains('\u{1b}')
    };
    // Standard output is no terminal.
    assert!(!has_colors(&["report"], &[]));
    assert!(!has_colors(&["report", "--color", "auto"], &[]));
    assert!(has_colors(&["report", "--color", "always"], &[]));
    assert!(has_colors(
        &["--color=always", "report"],
        &[("NO_COLOR", "1")]
    ));
    assert!(!has_colors(
        &["report", "--color", "never"],
        &[("CLICOLOR_FORCE", "1")]
    ));
    assert!(has_colors(&["report"], &[("CLICOLOR_FORCE", "1")]));
}

#[test]
fn help_fits_the_terminal() {
    let commands = [
        "inspect",
        "verify",
        "export",
        "report",
        "diff",
        "history",
        "completions",
        "man",
    ];
    for command in commands {
        for columns in [72, 100] {
            let mut help = program(&[command, "--help"]);
            help.env("COLUMNS", columns.to_string());
            let (code, out, _) = output(help);
            assert_eq!(code, 0);
            let long = out.lines().find(|line| line.chars().count() > columns);
            assert_eq!(long, None, "{command}");
        }
    }
}

#[test]
fn completions_and_manual_pages_have_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, out, err) = output(program(&["completions", shell]));
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("tch-tensorboard"), "{shell}: {out}");
        assert!(
            out.contains("fail-on") && out.contains("history"),
            "{shell}: {out}"
        );
        assert!(!out.contains("tch-tensorboard-cli"), "{shell}: {out}");
    }
    let (code, out, _) = output(program(&["man"]));
    assert!(code == 0 && out.contains(".TH tch-tensorboard 1"), "{out}");
    assert!(out.contains("tch\\-tensorboard\\-report(1)"), "{out}");
    let (code, out, _) = output(program(&["man", "report"]));
    assert!(
        code == 0 && out.contains(".TH tch-tensorboard-report 1"),
        "{out}"
    );
    assert!(out.contains("\\-\\-fail\\-on"), "{out}");
    let (code, _, err) = output(program(&["man", "repot"]));
    assert!(
        code == 2 && err.contains("the nearest are: report"),
        "{err}"
    );
    assert_eq!(output(program(&["completions", "tcsh"])).0, 2);
}

#[test]
fn a_pattern_that_matches_nothing_ends_with_status_2_and_the_nearest_names() {
    let logs = sweep();
    train(&logs.path().join("gan"), "G", 50, 60)
        .close()
        .unwrap();
    let of = |args: &[&str]| run(args, logs.path());
    for (args, said) in [
        (
            &["report", "--variable", "fc3.weight"][..],
            "--variable \"fc3.weight\" matches no variable; there are: fc1.weight, fc2.weight, ",
        ),
        (
            &["report", "--run", "erly", "--run", "a"],
            "--run \"erly\" matches no run; the nearest are: early, ",
        ),
        (
            &["report", "--exclude", "FC1*", "--json"],
            "--exclude \"FC1*\" matches no variable; there are: fc1.weight",
        ),
        (
            &["report", "--frozen", "encoder.*"],
            "--frozen \"encoder.*\" matches no variable",
        ),
        (
            &["export", "--tag", "los", "--format", "jsonl"],
            "--tag \"los\" matches no tag; the nearest are: loss, ",
        ),
        (
            &[
                "inspect",
                "--tag",
                "loss",
                "--tag",
                "weight_norm/fc1.wieght",
            ],
            "--tag \"weight_norm/fc1.wieght\" matches no tag; the nearest are: weight_norm/",
        ),
        (
            &["inspect", "--run", "loses"],
            "--run \"loses\" matches no run; the nearest are: losses, ",
        ),
    ] {
        let (code, _, err) = of(args);
        assert_eq!(code, 2, "{args:?}: {err}");
        assert!(err.contains(said), "{args:?}: {err}");
        assert_eq!(err.matches("matches no").count(), 1, "{args:?}: {err}");
    }
    // What does match is reported all the same.
    let (code, out, _) = of(&["report", "--variable", "fc1.*", "--variable", "x"]);
    assert!(
        code == 2 && out.contains("fc1.weight") && !out.contains("fc2"),
        "{out}"
    );
    // It needs to match in one run only, by the name that the table has, or without the scope.
    let (code, out, err) = of(&["report", "--variable", "G/fc2.*"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.starts_with("gan, step 49: ok") && out.contains("G/fc2.weight"),
        "{out}"
    );
    let (code, _, err) = of(&["report", "--run", "gan", "--frozen", "G/fc1.*"]);
    assert_eq!((code, err.as_str()), (3, ""), "it moves");
    assert_eq!(of(&["report", "--exclude", "*"]).0, 2);
    assert_eq!(
        of(&["export", "--tag", "loss", "--tag", "weight_norm/*"]).0,
        0
    );
}
