/** Imports between rooms go one way (docs/architecture.md). */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const src = fileURLToPath(new URL('../src', import.meta.url));

/** Room -> rooms it may import, besides itself. `x/state` is a room of its own. */
const ALLOWED: Record<string, readonly string[]> = {
  base: [],
  protocol: ['base'],
  graph: ['base'],
  'scheduler/state': ['base', 'protocol', 'graph'],
  'worker/state': ['base', 'protocol'],
  'client/state': ['base', 'protocol'],
  'nanny/state': ['base', 'protocol'],
  'panels/model': ['base', 'protocol'],
  config: ['base', 'protocol'],
  serialize: ['base', 'protocol'],
  comm: ['base', 'protocol'],
  diagnostics: ['base', 'protocol'],
  scheduler: ['base', 'protocol', 'scheduler/state', 'comm', 'config', 'diagnostics', 'serialize'],
  worker: ['base', 'protocol', 'worker/state', 'comm', 'config', 'diagnostics', 'serialize'],
  nanny: ['base', 'protocol', 'nanny/state', 'comm', 'config', 'diagnostics'],
  client: ['base', 'protocol', 'graph', 'client/state', 'comm', 'config', 'serialize', 'deploy'],
  deploy: ['base', 'protocol', 'config', 'comm'],
  launcher: ['base', 'protocol', 'config', 'comm', 'deploy', 'diagnostics'],
  kernel: ['base', 'protocol', 'client'],
  'panels/draw': ['base', 'protocol', 'panels/model'],
  'panels/view': ['base', 'protocol', 'panels/model', 'panels/draw'],
  'panels/page': ['base', 'protocol', 'panels/model', 'panels/draw', 'panels/view'],
  lab: ['base', 'protocol', 'panels/model', 'panels/draw', 'panels/view'],
  cli: [
    'base',
    'protocol',
    'config',
    'comm',
    'diagnostics',
    'scheduler',
    'worker',
    'nanny',
    'client',
    'deploy',
    'launcher'
  ],
  index: ['base', 'client', 'deploy', 'kernel', 'serialize']
};

function roomOf(path: string): string {
  const [first = '', second = ''] = path.split('/');
  if (second === 'state' || first === 'panels') return `${first}/${second}`;
  return first.replace(/\.ts$/, '');
}

const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(name =>
  /\.tsx?$/.test(name)
);

it('every room is known', () => {
  expect([...new Set(files.map(roomOf))].filter(room => ALLOWED[room] === undefined)).toEqual([]);
});

it('no file imports against the direction', () => {
  const wrong: string[] = [];
  for (const file of files) {
    const text = readFileSync(join(src, file), 'utf8');
    for (const match of text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)) {
      const target = relative(src, join(src, dirname(file), match[1] ?? ''));
      const [from, to] = [roomOf(file), roomOf(target)];
      if (from !== to && ALLOWED[from]?.includes(to) !== true) wrong.push(`${file} -> ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});
