/** `taskloom dump`: a cluster's state into a file, and such files for people. */
import { readFile, writeFile } from 'node:fs/promises';
import { ConfigError } from '../base/errors.ts';
import { findCluster } from '../config/connection-file.ts';
import { fetchDump } from '../deploy/api.ts';
import { readDump } from '../diagnostics/dump.ts';
import { showKey, showStory, showSummary, showWorker } from '../diagnostics/show-dump.ts';
import { formatBytes } from '../base/bytes.ts';

/** Writes a dump. */
export async function takeDump(target: string, file: string): Promise<void> {
  const bytes = await fetchDump(findCluster(target));
  await writeFile(file, bytes, { mode: 0o600 });
  process.stdout.write(
    `${file}: ${formatBytes(bytes.length)}. Look at it with: taskloom dump show ${file}\n`
  );
}

interface ShowOptions {
  key?: string;
  worker?: string;
  story?: string;
}

/** Prints a summary, or what was asked for. */
export async function showDump(file: string, options: ShowOptions): Promise<void> {
  const dump = readDump(await readFile(file));
  const { key, worker, story } = options;
  const asked = [
    key === undefined ? null : { what: `key ${key}`, text: showKey(dump, key) },
    worker === undefined ? null : { what: `worker ${worker}`, text: showWorker(dump, worker) },
    story === undefined ? null : { what: `story of ${story}`, text: showStory(dump, story) }
  ].filter(one => one !== null);
  if (asked.length === 0) process.stdout.write(`${showSummary(dump)}\n`);
  for (const { what, text } of asked) {
    if (text === null) throw new ConfigError(`${file} knows no ${what}.`);
    process.stdout.write(`${text}\n`);
  }
}
