/** The pages that describe states, messages, limits and routes stay true. */
import { readFileSync, readdirSync, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { CLOSE, LIMITS, PROTOCOL_VERSION } from '../src/protocol/limits.ts';
import { TASK_STATES } from '../src/scheduler/state/tasks.ts';
import { TRANSITIONS } from '../src/scheduler/state/transitions.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

describe('docs/states.md', () => {
  const page = read('docs/states.md');
  it('has the table of the code', () => {
    const rows = [...page.matchAll(/^\| ([a-z-]+) \| ?([a-z, -]*) ?\|$/gm)].filter(
      row => row[1] !== 'from'
    );
    const table = Object.fromEntries(
      rows.map(row => [row[1], (row[2] ?? '').trim().split(', ').filter(Boolean).sort()])
    );
    const code = Object.fromEntries(
      Object.entries(TRANSITIONS).map(([from, to]) => [from, Object.keys(to).sort()])
    );
    expect(table).toEqual(code);
  });
  it.each(TASK_STATES)('defines %s', state => {
    expect(page).toContain(`**${state}**: `);
  });
});

describe('docs/protocol.md', () => {
  const page = read('docs/protocol.md');
  it('names every message', () => {
    const ops = [...read('src/protocol/messages.ts').matchAll(/^ {2}op: '([a-z-]+)';/gm)].map(
      match => match[1] ?? ''
    );
    expect(ops.length).toBeGreaterThan(40);
    expect(ops.filter(op => !page.includes(`\`${op}\``))).toEqual([]);
  });
  it('has the limits, close codes and version of the code', () => {
    const units: Record<string, number> = { '': 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };
    const rows = [...page.matchAll(/^\| `(\w+)` \| (\d+) ?([KMG]iB)? \|$/gm)];
    const limits = Object.fromEntries(
      rows.map(row => [row[1], Number(row[2]) * (units[row[3] ?? ''] ?? 0)])
    );
    expect(limits).toEqual(LIMITS);
    const codes = Object.fromEntries(
      [...page.matchAll(/`(\w+)` (\d{4})\b/g)].map(match => [match[1], Number(match[2])])
    );
    expect(codes).toEqual(CLOSE);
    expect(page).toContain(`Version ${PROTOCOL_VERSION} `);
  });
  it('lists what a scheduler serves', () => {
    const source = read('src/scheduler/routes.ts');
    const routes = [...source.matchAll(/server\.route\('(\w+)', '([^']+)'/g)].map(
      match => `${match[1]} ${match[2]}`
    );
    const links = [...source.matchAll(/server\.link\('([^']+)'/g)].map(match => `WS ${match[1]}`);
    expect(routes.length + links.length).toBe(13);
    expect([...routes, ...links].filter(route => !page.includes(`\`${route}\``))).toEqual([]);
  });
});

describe('docs/configuration.md', () => {
  it('has every variable that the code reads', () => {
    const page = read('docs/configuration.md');
    const variables = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .filter(name => name.endsWith('.ts'))
      .flatMap(name => [...read(`src/${name}`).matchAll(/process\.env\['(TASKLOOM_\w+)'\]/g)])
      .map(match => match[1] ?? '');
    expect(variables).not.toEqual([]);
    expect(variables.filter(name => !page.includes(`\`${name}\``))).toEqual([]);
  });
  it('or docs/cli.md has every option of the command', () => {
    const pages = read('docs/configuration.md') + read('docs/cli.md');
    const options = [...read('src/cli/program.ts').matchAll(/'(--[a-z-]+)/g)].map(
      match => match[1] ?? ''
    );
    expect(options.length).toBeGreaterThan(20);
    // `--socket` is between the lab's proxy and the launcher.
    const told = new Set([...pages.matchAll(/--[a-z-]+/g)].map(match => match[0]));
    expect(options.filter(option => option !== '--socket' && !told.has(option))).toEqual([]);
  });
});

describe('README.md', () => {
  it('leads to every page and names every room', () => {
    const page = read('README.md');
    const pages = readdirSync(join(root, 'docs')).filter(name => name.endsWith('.md'));
    expect(pages.filter(name => !page.includes(`(docs/${name})`))).toEqual([]);
    const rooms = readdirSync(join(root, 'src'), { withFileTypes: true }).filter(one =>
      one.isDirectory()
    );
    expect(rooms.filter(({ name }) => !page.includes(`\`src/${name}\``))).toEqual([]);
  });
});

describe('docs/architecture.md', () => {
  it('names every room, and no other', () => {
    const named = [...read('docs/architecture.md').matchAll(/^\| `(src\/[^`]+)` \|/gm)].map(
      match => match[1] ?? ''
    );
    expect(named.filter(name => !existsSync(join(root, name)))).toEqual([]);
    const rooms = readdirSync(join(root, 'src'), { withFileTypes: true }).filter(one =>
      one.isDirectory()
    );
    expect(rooms.filter(({ name }) => !named.includes(`src/${name}`))).toEqual([]);
  });
});

describe('links', () => {
  const pages = [
    'README.md',
    ...readdirSync(join(root, 'docs'))
      .filter(name => name.endsWith('.md'))
      .map(name => `docs/${name}`)
  ];
  it.each(pages)('of %s lead somewhere', page => {
    const targets = [...read(page).matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(
      match => match[1] ?? ''
    );
    expect(targets.filter(target => !existsSync(join(root, dirname(page), target)))).toEqual([]);
  });
});
