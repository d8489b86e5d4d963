/**
 * What every process of a cluster says of its software when it registers, and how differences are
 * shown: as one table, members of equal versions in one row.
 */

export interface Versions {
  taskloom: string;
  protocol: number;
  /** `24.1.0`, or another runtime by name: `deno 2.5.1`; '' in a Python process. */
  node: string;
  /** `linux x64` */
  platform: string;
  /**
   * Where Python runs: its version (`python`) and those of packages, by their names in lower case
   * with dashes. A worker tells all that are installed, a client those that values depend on.
   */
  packages?: Record<string, string>;
  /** Packages that the code of this client's user imports: members should have the same of them. */
  uses?: string[];
}

/** A member of the cluster, `worker-0`, and its versions; null when it did not say. */
export interface Member {
  who: string;
  versions: Versions | null;
}

const COLUMNS = ['taskloom', 'protocol', 'node', 'platform'] as const;
/** Of Python's side these must agree, where both have them. */
const PACKAGES = ['python', 'cloudpickle', 'numpy', 'pandas', 'dask'];
/** Names in one row of the table. */
const NAMED = 3;

/** What differs: as columns and names of `versions`. */
interface Differences {
  names: string[];
  /** Of Python's side, those that are compared. */
  packages: string[];
}

/**
 * What differs that may matter: taskloom's version, Node's first number, Python's first two, some of
 * its packages, and those that users import, which may not be missing either. Platforms may differ.
 */
function differences(members: readonly Member[]): Differences {
  const known = members.flatMap(({ versions }) => (versions === null ? [] : [versions]));
  const differ = (of: (versions: Versions) => string, absent = ''): boolean =>
    new Set(known.map(of).filter(version => version !== absent)).size > 1;
  const names: string[] = [];
  if (differ(({ taskloom }) => taskloom)) names.push('taskloom');
  if (differ(({ node }) => majorOf(node))) names.push('node');
  for (const name of PACKAGES) {
    const keep = name === 'python' ? minorOf : (version: string): string => version;
    if (differ(({ packages }) => keep(packages?.[name] ?? ''))) names.push(name);
  }
  const used = new Set(known.flatMap(({ uses }) => uses ?? []));
  for (const name of PACKAGES) used.delete(name);
  for (const name of used) {
    // Who runs no Python has no say.
    if (differ(({ packages }) => (packages ? (packages[name] ?? '-') : ''))) names.push(name);
  }
  const packages = [...PACKAGES, ...[...used].filter(name => names.includes(name))];
  return { names, packages };
}

/** The table, with a sentence before it; null when nothing differs that matters. */
export function mismatch(members: readonly Member[]): string | null {
  const { names, packages } = differences(members);
  if (names.length === 0) return null;
  return (
    `The members of this cluster differ in ${listed(names)}: functions and values may not ` +
    `mean the same everywhere. Install one version on all machines.\n${versionTable(members, packages)}`
  );
}

/** All members and their versions, aligned for people. `packages`: columns of Python's side. */
export function versionTable(
  members: readonly Member[],
  packages: readonly string[] = PACKAGES
): string {
  const rows = new Map<string, { names: string[]; cells: string[] }>();
  const named = packages.filter(name => members.some(one => one.versions?.packages?.[name]));
  for (const { who, versions } of members) {
    const cells = COLUMNS.map(name => (versions === null ? '?' : String(versions[name]) || '-'));
    for (const name of named) cells.push(versions?.packages?.[name] ?? '-');
    const row = rows.get(cells.join('|'));
    if (row === undefined) rows.set(cells.join('|'), { names: [who], cells });
    else row.names.push(who);
  }
  const lines = [...rows.values()].map(({ names, cells }) => [label(names), ...cells]);
  const table = [['', ...COLUMNS, ...named], ...lines];
  const widths = (table[0] ?? []).map((_, i) =>
    Math.max(...table.map(line => (line[i] ?? '').length))
  );
  return table
    .map(line =>
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd()
    )
    .join('\n');
}

/** `a, b and c` */
function listed(names: readonly string[]): string {
  const last = names.at(-1) ?? '';
  return names.length < 2 ? last : `${names.slice(0, -1).join(', ')} and ${last}`;
}

function label(names: readonly string[]): string {
  const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : '';
  return `${names.slice(0, NAMED).join(', ')}${more}`;
}

/** `24` of `24.1.0`; the text before the first dot. */
function majorOf(version: string): string {
  return version.split('.')[0] ?? '';
}

/** `3.11` of `3.11.7`. */
function minorOf(version: string): string {
  return version.split('.').slice(0, 2).join('.');
}

/** Why a process of this version may not join a scheduler of that one, or null. */
export function refusal(theirs: string, ours: string): string | null {
  if (theirs === '' || majorOf(theirs) === majorOf(ours)) return null;
  return `you are taskloom ${theirs.slice(0, 20)}, this scheduler is ${ours}: install one version on both sides`;
}
