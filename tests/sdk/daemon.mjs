// Starts and stops the daemon that a test file drives.
//
// Each daemon gets a directory of its own, a port that the kernel picks and the committed
// config.toml; a test changes settings by their names. The daemon is a process from outside: nothing
// here knows more of it than its command line, its environment, its first line and its replies.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROJECT = resolve(fileURLToPath(import.meta.url), '../../..');
const START_WAIT_MS = 30_000;
const STOP_WAIT_MS = 30_000;
const POLL_MS = 10;

export const ADMIN_KEY = 'sdk-tests-admin-key-7f3a9c51';

/** Waits until `check` gives something true, and gives that. */
export async function until(what, check, { waitMs = START_WAIT_MS } = {}) {
  const deadline = Date.now() + waitMs;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${waitMs} ms`);
    await new Promise((wake) => setTimeout(wake, POLL_MS));
  }
}

/** The environment variable of a setting: `ingest.max_body` is QUIPU_INGEST__MAX_BODY. */
function variable(setting) {
  return `QUIPU_${setting.replace('.', '__').toUpperCase()}`;
}

export class Daemon {
  #settings;
  #testClock;
  #directory;
  #child = null;
  #exit = null;
  #output = '';

  constructor({ settings, testClock, directory }) {
    this.#settings = settings;
    this.#testClock = testClock;
    this.#directory = directory;
    this.baseURL = '';
  }

  /** A running daemon; `settings` by name, `testClock` as an RFC 3339 text. */
  static async start({ settings = {}, testClock = null } = {}) {
    const directory = await mkdtemp(join(tmpdir(), 'quipu-sdk-'));
    const daemon = new Daemon({ settings, testClock, directory });
    await daemon.restart();
    return daemon;
  }

  /** Starts the process again in the same data directory. */
  async restart() {
    assert.equal(this.#child, null, 'the daemon runs already');
    const binary = process.env.QUIPU_BIN;
    assert.ok(binary, 'QUIPU_BIN must name the daemon');
    // A variable of the developer's own shell must not decide what a test sees.
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('QUIPU_'));
    const settings = Object.entries(this.#settings).map(([name, value]) => [variable(name), `${value}`]);
    const flags = ['serve', '--config', join(PROJECT, 'config.toml'), '--listen', '127.0.0.1:0'];
    flags.push('--data-dir', join(this.#directory, 'data'));
    if (this.#testClock) flags.push('--test-clock', this.#testClock);
    this.#output = '';
    this.#child = spawn(resolve(PROJECT, binary), flags, {
      cwd: this.#directory,
      env: { ...Object.fromEntries(inherited), QUIPU_API_KEY: ADMIN_KEY, ...Object.fromEntries(settings) },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#exit = once(this.#child, 'exit');
    this.#exit.catch((error) => (this.#output += `\n${error}`));
    let stdout = '';
    this.#child.stdout.on('data', (text) => (stdout += text));
    this.#child.stderr.on('data', (text) => (this.#output += text));
    const port = await this.#untilUp('the start line with the address', () => /127\.0\.0\.1:(\d+)\D/.exec(stdout)?.[1]);
    this.baseURL = `http://127.0.0.1:${port}`;
    await this.#untilUp('/readyz', async () => {
      const reply = await fetch(`${this.baseURL}/readyz`).catch(() => null);
      await reply?.arrayBuffer();
      return reply?.status === 200;
    });
  }

  async #untilUp(what, check) {
    try {
      return await until(what, () => {
        if (this.#child.exitCode !== null) throw new Error(`exited with ${this.#child.exitCode}`);
        return check();
      });
    } catch (error) {
      this.#child.kill('SIGKILL');
      throw new Error(`the daemon does not start: ${error.message}\n${this.#output}`);
    }
  }

  /** Asks the process to stop; it must drain and exit with 0. */
  async stop() {
    const child = this.#child;
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_WAIT_MS);
    const [code, signal] = await this.#exit;
    clearTimeout(late);
    this.#child = null;
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, `exit after SIGTERM\n${this.#output}`);
  }

  /** Ends the process as a crash would. */
  async kill() {
    this.#child.kill('SIGKILL');
    await this.#exit;
    this.#child = null;
  }

  /** The end of a test file: stops the process, and deletes its directory whatever happens. */
  async close() {
    try {
      if (this.#child) await this.stop();
    } finally {
      await rm(this.#directory, { recursive: true, force: true });
    }
  }
}
