/**
 * Runs one function beside the tasks, in a thread of its own that ends with it: `run` on all
 * workers must not wait for executors that are taken.
 */
import type { ErrorRecord } from '../../protocol/messages.ts';
import { packFrames } from '../../serialize/value.ts';
import type { FromThread, ThreadSetup } from './messages.ts';
import { resultsOf } from './results.ts';
import { ExecutorThread } from './thread.ts';
import type { Death } from './executor.ts';

export interface RunOptions {
  blob: Uint8Array;
  /** packFrames of the list of arguments. */
  args: Uint8Array;
  root: string;
  address: string;
  /** Bytes; 0 = no limit. */
  memoryLimit: number;
  context: ThreadSetup['context'];
  onLog(level: 'info' | 'error', key: string, text: string): void;
}

const KEY = 'run';

/** packFrames of the result, or why there is none. */
export function runOnce(options: RunOptions): Promise<Uint8Array | { error: ErrorRecord }> {
  const { address, root, memoryLimit, context } = options;
  return new Promise(resolve => {
    const end = (answer: Uint8Array | { error: ErrorRecord }): void => {
      void thread.close();
      resolve(answer);
    };
    const fail = (failure: Omit<ErrorRecord, 'blame' | 'worker'>): void =>
      end({ error: { ...failure, blame: KEY, worker: address } });
    const thread = new ExecutorThread({
      lane: 0,
      capacity: 1,
      setup: {
        root,
        address,
        memoryLimit,
        liveBytes: 0,
        garbageBytes: 0,
        lane: 0,
        lastWords: '',
        context
      },
      heapMb: 0,
      onMessage: (_thread, message: FromThread) => {
        if (message.op === 'log') options.onLog(message.level, message.key, message.text);
        if (message.op !== 'results') return;
        const [result] = resultsOf(message);
        if (result === undefined) return;
        if (result.failure === null) end(packFrames(result));
        else fail(result.failure);
      },
      onDeath: (_thread, death: Death) =>
        fail({
          code: death.outOfMemory ? 'WORKER_MEMORY' : 'EXECUTOR_DIED',
          message: death.outOfMemory
            ? 'WorkerMemoryError: The function that client.run sent needed more memory than its thread may use.'
            : `TaskError: The function that client.run sent ended its thread (exit code ${death.exitCode}).`,
          traceback: '',
          exception: null
        })
    });
    thread.sendFunction({
      fn: 0,
      name: KEY,
      blob: Uint8Array.from(options.blob),
      language: 'javascript'
    });
    thread.hand({
      tid: -1,
      runId: 0,
      key: KEY,
      fn: 0,
      args: options.args,
      deps: null,
      announce: false
    });
    thread.post();
  });
}
