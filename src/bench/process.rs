//! The processes of a benchmark: started from this very program, watched through `/proc`, ended
//! when they are dropped.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::plan::{Outcome, Plan};
use crate::bench::statistics::{ratio, real};
use crate::model::Timestamp;

/// A tick of the processor times in `/proc`: the kernel's interface fixes it at 100 a second.
const TICK_MS: u64 = 10;
/// How often a server is looked at that is to become idle, and how many times at most.
const SETTLE_STEP: Duration = Duration::from_millis(100);
const SETTLE_STEPS_MAX: usize = 100;
/// Processor time within a step that counts as idle.
const IDLE_MS: u64 = 10;

/// A server in a process of its own.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Kept, so that the server can go on writing.
    _output: BufReader<ChildStdout>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The resident set now.
    pub(crate) resident: u64,
    /// The largest it ever was.
    pub(crate) peak: u64,
}

/// What the host has kept from this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steal {
    ticks: u64,
    all_ticks: u64,
}

impl Steal {
    /// The processors' times so far.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn now() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        steal(&text).context("read the processors' times")
    }

    /// The share of all time that was denied since then.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn share(self) -> anyhow::Result<f64> {
        let now = Self::now()?;
        let since = |now: u64, then: u64| real(now.saturating_sub(then));
        Ok(ratio(since(now.ticks, self.ticks), since(now.all_ticks, self.all_ticks)))
    }
}

impl Server {
    /// The daemon on `directory`, with the defaults of every setting, once it serves.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn daemon(directory: &Path, key: &str) -> anyhow::Result<Self> {
        Self::daemon_with(directory, key, &[], None)
    }

    /// The same with other `settings`, by the names of their variables, and under a test clock.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn daemon_with(
        directory: &Path,
        key: &str,
        settings: &[(&str, &str)],
        test_clock: Option<Timestamp>,
    ) -> anyhow::Result<Self> {
        let mut command = program()?;
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory);
        if let Some(at) = test_clock {
            command.args(["--test-clock", &at.to_string()]);
        }
        command.envs(settings.iter().copied());
        // Elsewhere a file config.toml in the working directory would count.
        command.current_dir(directory);
        command.env("QUIPU_API_KEY", key).env("QUIPU_OUTPUT__LEVEL", "error");
        Self::start(command).context("start the daemon")
    }

    /// The floor with this name, once it serves.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn floor(name: &str) -> anyhow::Result<Self> {
        let mut command = program()?;
        command.args(["bench-floor", name]);
        Self::start(command).context("start a floor")
    }

    fn start(mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("the output is a pipe")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let address = line.split_once("http://").and_then(|(_, rest)| rest.split(' ').next());
        let address = address.and_then(|text| text.trim().parse().ok());
        let Some(address) = address else {
            let status = child.kill().and_then(|()| child.wait());
            anyhow::bail!("it does not say where it serves, but {line:?} ({status:?})");
        };
        Ok(Self { child, _output: output, address })
    }

    /// Ends it without warning, and waits until it is gone.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Asks it to stop, and waits until it has: everything stands in a checkpoint then.
    ///
    /// # Errors
    /// When the operating system refuses, or it does not stop in order.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "the daemon stopped with {status}");
        Ok(())
    }

    /// Waits until it has nothing left to do, so that the next measurement is its own.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        let (_kept, never) = mpsc::channel::<()>();
        let mut cpu_ms = self.cpu_ms()?;
        for _ in 0..SETTLE_STEPS_MAX {
            // Nobody sends: this is a wait.
            never.recv_timeout(SETTLE_STEP).ok();
            let now_ms = self.cpu_ms()?;
            if now_ms - cpu_ms <= IDLE_MS {
                break;
            }
            cpu_ms = now_ms;
        }
        Ok(())
    }

    /// Processor time so far, in milliseconds.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn cpu_ms(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        cpu_ms(&text).context("read the processor time")
    }

    /// Memory now.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        memory(&text).context("read the memory")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        self.kill().ok();
    }
}

/// A generator at work.
#[derive(Debug)]
pub(crate) struct Generator {
    child: Child,
}

impl Generator {
    /// Starts a generator on `plan`.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub(crate) fn start(plan: &Plan) -> anyhow::Result<Self> {
        let mut command = program()?;
        command.arg("bench-load").stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().context("start the generator")?;
        let mut generator = Self { child };
        let mut input = generator.child.stdin.take().context("the input is a pipe")?;
        input.write_all(&serde_json::to_vec(plan)?).context("tell the generator its plan")?;
        Ok(generator)
    }

    /// Waits for what became of the plan.
    ///
    /// # Errors
    /// When the generator failed; it has said why on standard error.
    pub(crate) fn finish(mut self) -> anyhow::Result<Outcome> {
        let output = self.child.stdout.take().context("the output is a pipe")?;
        let outcome = serde_json::from_reader(output);
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "the generator failed: {status}");
        outcome.context("read the generator's outcome")
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

/// Processor time of this process so far, in milliseconds; 0 where `/proc` does not tell.
pub(crate) fn own_cpu_ms() -> u64 {
    fs::read_to_string("/proc/self/stat").ok().and_then(|text| cpu_ms(&text)).unwrap_or(0)
}

/// This program, without the settings of whoever called it.
fn program() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("QUIPU_") {
            command.env_remove(variable);
        }
    }
    Ok(command)
}

/// User and system time of a `/proc/<pid>/stat`. The name before them may hold anything.
fn cpu_ms(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_MS)
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
fn steal(stat: &str) -> Option<Steal> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Result<Vec<u64>, _> =
        line.split_ascii_whitespace().take(8).map(str::parse).collect();
    let ticks = ticks.ok()?;
    Some(Steal { ticks: *ticks.get(7)?, all_ticks: ticks.iter().sum() })
}

fn memory(status: &str) -> Option<Memory> {
    let bytes = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1_024)
    };
    Some(Memory { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_stands_behind_any_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 21 4 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ms(stat), Some(250));
        assert_eq!(cpu_ms("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "Name:\tquipu\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(memory(status), Some(Memory { resident: 1 << 20, peak: 2 << 20 }));
        assert_eq!(memory("Name:\tquipu\n"), None);
    }

    #[test]
    fn stolen_time_is_the_eighth_number() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2\n";
        assert_eq!(steal(stat), Some(Steal { ticks: 8, all_ticks: 36 }));
        assert_eq!(steal("cpu  1 2"), None);
    }

    #[test]
    fn this_process_has_used_some_time() {
        let mut spent = 0_u64;
        while own_cpu_ms() == 0 {
            spent = std::hint::black_box(spent.wrapping_add(1));
        }
    }
}
