/**
 * The small tools of the set-up and test scripts: run a command and keep its output, say what is
 * going on and for how many seconds, remember by a stamp what need not be done again.
 *
 * Plain JavaScript with no dependency: it runs on Node 20 before anything has been installed.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The top of the checkout. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The project's own virtual environment. */
export const venv = join(root, '.venv');

/** Something a person has to put right; shown without a stack. */
export class SetupError extends Error {
  constructor(message, output = '') {
    super(message);
    this.output = output;
  }
}

/** Prints one progress line. */
export function say(text) {
  process.stdout.write(`${text}\n`);
}

/**
 * Runs a command to its end. Its output is kept, and shown live only with `live`.
 * Resolves with `{ code, output, seconds }`, never rejects for a non-zero code.
 */
export function run(command, args, { cwd = root, env = {}, live = false } = {}) {
  const started = performance.now();
  return new Promise(resolve => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: live ? 'inherit' : ['ignore', 'pipe', 'pipe']
    });
    const chunks = [];
    child.stdout?.on('data', data => chunks.push(data));
    child.stderr?.on('data', data => chunks.push(data));
    const end = (code, extra = '') =>
      resolve({
        code,
        output: Buffer.concat(chunks).toString('utf8') + extra,
        seconds: (performance.now() - started) / 1000
      });
    child.on('error', error => end(127, `${command}: ${error.message}\n`));
    child.on('close', (code, signal) => end(code ?? 1, signal ? `ended by ${signal}\n` : ''));
  });
}

/** The last lines of a command's output: enough to see what went wrong. */
export function tail(output, lines = 25) {
  return output.trimEnd().split('\n').slice(-lines).join('\n');
}

/** Does one step of the set-up, telling what it is and how long it took. */
export async function step(title, action) {
  const started = performance.now();
  say(`• ${title} …`);
  await action();
  say(`  ${title}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

/** Runs a command that must succeed; otherwise its last lines are shown and `advice` after them. */
export async function must(title, command, args, { advice = '', ...options } = {}) {
  const result = await run(command, args, options);
  if (result.code !== 0) {
    throw new SetupError(
      `${title} failed (exit code ${result.code}): ${[command, ...args].join(' ')}\n${advice}`,
      tail(result.output)
    );
  }
  return result;
}

/** A hash over files and whole directories (names and contents), to know whether they changed. */
export function hashOf(paths, extra = '') {
  const hash = createHash('sha256').update(extra);
  const visit = path => {
    if (!existsSync(path)) return;
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).sort()) visit(join(path, name));
    } else {
      hash.update(relative(root, path)).update('\0').update(readFileSync(path)).update('\0');
    }
  };
  for (const path of paths) visit(join(root, path));
  return hash.digest('hex');
}

/** Does `action` unless it was done with this very `hash`; `present` tells if its result is there. */
export async function once(name, hash, present, title, action) {
  const stamp = join(venv, 'stamps', name);
  if (present() && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return false;
  await step(title, action);
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, hash);
  return true;
}

/** Ends a script: a `SetupError` is told in words with exit code 1, anything else with its stack. */
export function main(action) {
  action().catch(error => {
    if (error instanceof SetupError) {
      if (error.output) process.stderr.write(`\n${error.output}\n`);
      process.stderr.write(`\n${error.message}\n`);
    } else {
      process.stderr.write(`${error?.stack ?? error}\n`);
    }
    process.exitCode = 1;
  });
}
