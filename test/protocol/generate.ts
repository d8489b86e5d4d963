/** Writes vectors.json from the examples: `node test/protocol/generate.ts`. */
import { writeFileSync } from 'node:fs';
import { makeVectors } from './vectors.ts';

const { protocol, control, data } = makeVectors();
// One vector a line: a change of a message is a change of its line.
const lines = (list: readonly unknown[]): string =>
  list.map(one => `    ${JSON.stringify(one)}`).join(',\n');
const text = `{\n  "protocol": ${protocol},\n  "control": [\n${lines(control)}\n  ],\n  "data": [\n${lines(data)}\n  ]\n}\n`;
writeFileSync(new URL('./vectors.json', import.meta.url), text);
