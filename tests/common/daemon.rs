//! The daemon as a process: started on a directory, stopped or killed, its output kept.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::client::Client;

/// The admin key of daemons that tests start.
pub(crate) const KEY: &str = "quipu_tests_admin-key-of-the-tests";

/// No process of a test takes so long to start or to end.
const PROCESS_TIMEOUT: Duration = Duration::from_mins(1);

/// How a daemon is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    directory: PathBuf,
    listen: String,
    config: Option<String>,
    test_clock: Option<String>,
    settings: Vec<(String, String)>,
}

impl Launch {
    /// A daemon on `directory`, with [`KEY`] and a small log.
    pub(crate) fn new(directory: &Path) -> Self {
        let launch = Self {
            directory: directory.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            config: None,
            test_clock: None,
            settings: Vec::new(),
        };
        launch
            .with("QUIPU_API_KEY", KEY)
            .with("QUIPU_LOG__SEGMENT_BYTES", "8388608")
            .with("QUIPU_DATA__RESERVE_BYTES", "1048576")
            .with("QUIPU_OUTPUT__FORMAT", "json")
    }

    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.settings.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Without an admin key from outside.
    pub(crate) fn without_key(mut self) -> Self {
        self.settings.retain(|(variable, _)| variable != "QUIPU_API_KEY");
        self
    }

    /// With a configuration file.
    pub(crate) fn configured_by(mut self, path: &str) -> Self {
        self.config = Some(path.to_owned());
        self
    }

    /// Under a test clock that starts at `at`.
    pub(crate) fn at(mut self, at: &str) -> Self {
        self.test_clock = Some(at.to_owned());
        self
    }

    pub(crate) fn listening_on(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// The daemon, once it serves.
    pub(crate) fn start(&self) -> Daemon {
        let mut process = self.spawn();
        let line = match process.first_line.recv_timeout(PROCESS_TIMEOUT) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the daemon does not start"),
            Err(RecvTimeoutError::Disconnected) => panic!("{:?}", process.end()),
        };
        let rest = line.split_once("http://").unwrap_or_else(|| panic!("{line}")).1;
        let address = rest.split(' ').next().unwrap().parse().unwrap();
        Daemon { process, line, address }
    }

    /// How the daemon ends that cannot start.
    pub(crate) fn refused(&self) -> Ended {
        self.spawn().end()
    }

    /// How `quipu verify` ends on the directory.
    pub(crate) fn verify(&self) -> Ended {
        let directory = self.directory.to_str().unwrap();
        Process::spawn(self.command(&["verify", "--data-dir", directory])).end()
    }

    fn spawn(&self) -> Process {
        let directory = self.directory.to_str().unwrap();
        let mut arguments = vec!["serve", "--listen", &self.listen, "--data-dir", directory];
        if let Some(path) = &self.config {
            arguments.extend(["--config", path]);
        }
        if let Some(at) = &self.test_clock {
            arguments.extend(["--test-clock", at]);
        }
        Process::spawn(self.command(&arguments))
    }

    /// The binary with these arguments; no setting of the caller's counts.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
        command.args(arguments).current_dir(&self.directory);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("QUIPU_") {
                command.env_remove(variable);
            }
        }
        command.envs(self.settings.iter().map(|(variable, value)| (variable, value)));
        command
    }
}

/// A daemon that serves.
#[derive(Debug)]
pub(crate) struct Daemon {
    process: Process,
    /// What it said when it began to serve.
    pub(crate) line: String,
    pub(crate) address: SocketAddr,
}

impl Daemon {
    /// A client with [`KEY`].
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address, Some(KEY))
    }

    /// kill -9
    pub(crate) fn kill(mut self) -> Ended {
        self.process.child.kill().unwrap();
        self.process.end()
    }

    /// SIGTERM
    pub(crate) fn ask_to_stop(&self) {
        let id = self.process.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id]).status().unwrap();
        assert!(sent.success());
    }

    /// How it ends when it was asked to stop.
    pub(crate) fn stopped(mut self) -> Ended {
        self.process.end()
    }

    /// SIGTERM, and how it ends.
    pub(crate) fn terminate(self) -> Ended {
        self.ask_to_stop();
        self.stopped()
    }

    /// What the daemon has written to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.process.stderr.lock().unwrap().clone()
    }
}

/// How a process ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Nothing when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

#[derive(Debug)]
struct Process {
    child: Child,
    first_line: Receiver<String>,
    /// Disconnected when the process has closed both outputs.
    closed: Receiver<()>,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Process {
    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (say_line, first_line) = channel();
        let (open, closed) = channel();
        let also_open = open.clone();
        let stdout = collect(child.stdout.take().unwrap(), move |line| {
            let _ = say_line.send(line.to_owned());
            let _open = &open;
        });
        let stderr = collect(child.stderr.take().unwrap(), move |_| {
            let _open = &also_open;
        });
        Self { child, first_line, closed, stdout, stderr }
    }

    fn end(&mut self) -> Ended {
        let closed = self.closed.recv_timeout(PROCESS_TIMEOUT);
        assert_eq!(closed, Err(RecvTimeoutError::Disconnected), "the process does not end");
        let code = self.child.wait().unwrap().code();
        let [stdout, stderr] =
            [&self.stdout, &self.stderr].map(|output| output.lock().unwrap().clone());
        Ended { code, stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads `output` to its end beside the test, and tells each line.
fn collect(
    output: impl Read + Send + 'static,
    tell: impl Fn(&str) + Send + 'static,
) -> Arc<Mutex<String>> {
    let whole = Arc::new(Mutex::new(String::new()));
    let collected = Arc::clone(&whole);
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            collected.lock().unwrap().push_str(&text);
            tell(text.trim_end());
            line.clear();
        }
    });
    whole
}
