/** `taskloom cluster ls | scale | stop | logs | dashboard`: works on any cluster that has a connection file. */
import { TimeoutError } from '../base/errors.ts';
import {
  findCluster,
  listConnectionFiles,
  readActiveId,
  removeStaleConnectionFiles,
  schedulerLives
} from '../config/connection-file.ts';
import type { ConnectionFile } from '../config/connection-file.ts';
import { formatBytes } from '../base/bytes.ts';
import { fetchInfo, fetchLogs, requestAdapt, requestClose, requestScale } from '../deploy/api.ts';
import type { ClusterFacts } from '../deploy/api.ts';
import { messageOf, UsageError } from './failure.ts';

/** ms to wait for a scheduler's facts; one that hangs must not hold up the list. */
const INFO_LIMIT_MS = 2000;
/** ms for a cluster to end after it was told to. */
const STOP_LIMIT_MS = 15_000;

type Row = { file: ConnectionFile; facts: ClusterFacts | null; trouble: string | null };

/** Prints a table, or JSON without tokens. */
export async function listClusters(options: { json?: boolean }): Promise<void> {
  removeStaleConnectionFiles();
  const active = readActiveId();
  const rows = await Promise.all(listConnectionFiles().map(rowOf));
  if (options.json === true) {
    const list = rows.map(({ file, facts, trouble }) => {
      // JSON leaves out what is undefined.
      return { ...file, token: undefined, ...facts, active: file.id === active, trouble };
    });
    process.stdout.write(`${JSON.stringify(list, null, 2)}\n`);
    return;
  }
  if (rows.length === 0) {
    process.stdout.write('No clusters. Start one: taskloom cluster start\n');
    return;
  }
  const table = [['ID', 'NAME', 'KIND', 'WORKERS', 'THREADS', 'MEMORY', 'TASKS', 'AGE', 'ADDRESS']];
  for (const row of rows) table.push(cells(row, active));
  process.stdout.write(layOut(table));
}

/** Asks for workers. */
export async function scaleCluster(target: string, workers: number): Promise<void> {
  const file = findCluster(target);
  await requestScale(file, workers);
  process.stdout.write(`${file.name} shall have ${workers} workers.\n`);
}

/** Lets the cluster follow its work, or not any more. */
export async function adaptCluster(
  target: string,
  options: { minimum: number; maximum?: number; off?: boolean }
): Promise<void> {
  const file = findCluster(target);
  const { minimum, maximum = null, off } = options;
  await requestAdapt(file, off === true ? null : { minimum, maximum });
  const bounds = maximum === null ? `at least ${minimum}` : `${minimum} to ${maximum}`;
  const now = off === true ? 'adapts no more' : `adapts to its work with ${bounds} workers`;
  process.stdout.write(`${file.name} ${now}.\n`);
}

/** Prints a link that holds the token in its fragment, which browsers keep to themselves. */
export function printDashboard(target: string): void {
  const file = findCluster(target);
  process.stdout.write(`${file.address}/#token=${file.token}\n`);
}

/** Ends the clusters named, or all; resolves when their schedulers are gone. */
export async function stopClusters(targets: string[], options: { all?: boolean }): Promise<void> {
  if (targets.length === 0 && options.all !== true) {
    throw new UsageError('Name the clusters to stop, or say --all. See taskloom cluster ls.');
  }
  const files = options.all === true ? listConnectionFiles() : targets.map(findCluster);
  if (files.length === 0) process.stdout.write('No clusters.\n');
  const ends = await Promise.allSettled(files.map(stop));
  const failed = ends.filter(end => end.status === 'rejected');
  for (const end of failed) process.stderr.write(`taskloom: ${messageOf(end.reason)}\n`);
  if (failed.length > 0) process.exitCode = 1;
}

/** Prints the last lines of all processes. */
export async function printLogs(target: string): Promise<void> {
  const { logs } = await fetchLogs(findCluster(target));
  for (const { source, lines } of logs) {
    process.stdout.write(`==> ${source} <==\n${lines.map(line => `${line}\n`).join('')}\n`);
  }
}

async function stop(file: ConnectionFile): Promise<void> {
  await requestClose(file, 'stopped by taskloom cluster stop');
  const end = Date.now() + STOP_LIMIT_MS;
  while (listConnectionFiles().some(other => other.id === file.id) && schedulerLives(file)) {
    if (Date.now() > end) {
      throw new TimeoutError(
        `${file.name} took the request to stop but runs on after ${STOP_LIMIT_MS / 1000} s ` +
          `(scheduler process ${file.pid} on ${file.host}).`
      );
    }
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  process.stdout.write(`${file.name} has ended.\n`);
}

async function rowOf(file: ConnectionFile): Promise<Row> {
  try {
    return { file, facts: await fetchInfo(file, INFO_LIMIT_MS), trouble: null };
  } catch (error) {
    return { file, facts: null, trouble: messageOf(error) };
  }
}

function cells({ file, facts, trouble }: Row, active: string | null): string[] {
  const age = ageOf(Date.now() - file.startedAt);
  const head = [file.id === active ? `${file.id} *` : file.id, file.name, file.kind];
  if (facts === null)
    return [...head, '?', '?', '?', '?', age, `${file.address}  ${trouble ?? ''}`];
  const { workers, threads, memory, tasks } = facts;
  const coming = workers.starting + workers.pending;
  const limit = memory.limit === 0 ? '' : ` / ${formatBytes(memory.limit)}`;
  return [
    ...head,
    coming === 0 ? `${workers.running}` : `${workers.running} (+${coming})`,
    `${threads}`,
    `${formatBytes(memory.used)}${limit}`,
    `${tasks.processing} running, ${tasks.queued} queued`,
    age,
    file.address
  ];
}

function ageOf(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return `${Math.max(0, Math.floor(ms / 1000))} s`;
  if (minutes < 120) return `${minutes} min`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} days`;
}

/** Columns as wide as their widest cell, two blanks between. */
function layOut(table: string[][]): string {
  const widths = (table[0] ?? []).map((_, column) =>
    Math.max(...table.map(row => (row[column] ?? '').length))
  );
  const line = (row: string[]): string =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ');
  return table.map(row => `${line(row).trimEnd()}\n`).join('');
}
