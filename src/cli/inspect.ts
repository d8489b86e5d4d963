/** `taskloom cluster explain | story | stacks`: what `Client` tells of a running cluster, for a terminal. */
import { Client } from '../client/client.ts';
import { ConfigError } from '../base/errors.ts';
import { formatDuration } from '../base/duration.ts';
import { findCluster } from '../config/connection-file.ts';

/** Connects for one question. */
async function ask<Answer>(
  target: string,
  question: (client: Client) => Promise<Answer>
): Promise<Answer> {
  const client = await Client.connect(findCluster(target), { name: 'taskloom command' });
  try {
    return await question(client);
  } finally {
    await client.close();
  }
}

/** Prints why a task is where it is. */
export async function printExplanation(target: string, key: string): Promise<void> {
  process.stdout.write(`${await ask(target, client => client.explain(key))}\n`);
}

/** Prints the steps of a task, oldest first. */
export async function printStory(target: string, key: string): Promise<void> {
  const story = await ask(target, client => client.story(key));
  if (story.length === 0) throw new ConfigError(`Nothing is known of ${key} in ${target}.`);
  for (const { time, where, text, stimulus } of story) {
    process.stdout.write(`${new Date(time).toISOString()} ${where}: ${text} (${stimulus})\n`);
  }
}

/** Prints the JavaScript stacks of all running tasks. */
export async function printStacks(target: string): Promise<void> {
  const stacks = await ask(target, client => client.callStacks());
  if (stacks.length === 0) process.stdout.write('No task is running.\n');
  for (const { key, name, forMs, frames, note } of stacks) {
    const what = key === '' ? name : `${key} on ${name}, for ${formatDuration(forMs)}`;
    const lines = frames.length === 0 ? [`    ${note}`] : frames.map(frame => `    at ${frame}`);
    process.stdout.write(`${what}\n${lines.join('\n')}\n`);
  }
}
