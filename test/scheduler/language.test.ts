/** Tasks in another language than JavaScript go to workers that speak it, or are told of at once. */
import { describe, expect, it } from 'vitest';
import { explain } from '../../src/scheduler/state/explain.ts';
import { Harness } from './harness.ts';

const PYTHON = { languages: { python: '3.11.7' } };
const IN_PYTHON = { fn: 'g', language: 'python' as const };

function keys(prefix: string, count: number): Record<string, string[]> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`${prefix}-${i}`, []]));
}

function workersOf(h: Harness, prefix: string): Set<number> {
  const tasks = [...h.state.tasks.values()].filter(task => task.key.startsWith(prefix));
  return new Set(tasks.flatMap(({ processingOn }) => processingOn?.id ?? []));
}

describe('Python tasks', () => {
  it('run only where there is Python; others run everywhere', () => {
    const h = new Harness();
    h.worker(1);
    const python = h.worker(1, PYTHON);
    h.client('c');
    h.submit('c', keys('g', 2), IN_PYTHON);
    expect(workersOf(h, 'g')).toEqual(new Set([python]));
    h.submit('c', keys('f', 4));
    expect(workersOf(h, 'f').size).toBe(2);
  });

  it('are queued like others where every worker has Python', () => {
    const h = new Harness({ workerSaturation: 1 });
    h.worker(1, PYTHON);
    h.worker(1, PYTHON);
    h.client('c');
    h.submit('c', keys('g', 20), IN_PYTHON);
    expect(workersOf(h, 'g').size).toBe(2);
    expect(h.state.queued.count).toBe(18);
    h.worker(1);
    expect(workersOf(h, 'g').size).toBe(2);
  });

  it('are told of at once where there is none, with what to do', () => {
    const h = new Harness();
    h.worker(1);
    h.client('c');
    h.submit('c', keys('g', 3), IN_PYTHON);
    const [said, ...more] = h.toClient('c', 'task-warning');
    expect(more).toEqual([]);
    expect(said).toMatchObject({ code: 'NO_VALID_WORKER' });
    expect(said?.text).toContain('ask for Python executors cannot run');
    expect(said?.text).toContain('TASKLOOM_PYTHON');
    expect(explain(h.state, 'g-0')).toContain('No worker has any. A worker runs Python tasks when');
    const python = h.worker(1, PYTHON);
    expect(workersOf(h, 'g')).toEqual(new Set([python]));
  });

  it('name their language to the worker, with the function', () => {
    const h = new Harness();
    h.worker(1, PYTHON);
    h.client('c');
    h.submit('c', keys('f', 1));
    h.submit('c', keys('g', 1), IN_PYTHON);
    const sent = h.toWorker(1, 'functions');
    const languages = sent.flatMap(one => one.languages ?? one.fns.map(() => 'javascript'));
    expect(languages).toEqual(['javascript', 'python']);
  });

  it('in a language that nobody knows are refused', () => {
    const h = new Harness();
    h.client('c');
    expect(() => h.submit('c', keys('g', 1), { fn: 'g', language: 'cobol' as 'python' })).toThrow(
      'known are javascript and python'
    );
  });
});
