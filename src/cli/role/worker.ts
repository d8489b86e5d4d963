/** A worker process below a nanny; the scheduler may still be starting when it is ready. */
import { Worker } from '../../worker/worker.ts';
import { toStderr } from '../failure.ts';
import { beSupervised, liveUntilClosed, orFail } from '../supervised.ts';

const supervisor = await beSupervised('worker');
const { name, token, nanny, shape, lastWords } = supervisor.setup;
// Before the worker is there, the end of our parent or an order to close ends us at once.
supervisor.onParentGone(() => process.exit(1));
const schedulerAddress = new Promise<string>(resolve => {
  supervisor.onOrder(order => {
    if (order.op === 'scheduler') resolve(order.address);
    else process.exit(0);
  });
});
const worker = await orFail(
  supervisor,
  Worker.start({
    schedulerAddress,
    token,
    name,
    nanny,
    nthreads: shape.threads,
    memoryLimit: shape.memoryLimit,
    memory: shape.memory,
    localDirectory: shape.localDirectory,
    host: shape.host,
    insecure: shape.insecure,
    resources: shape.resources,
    root: shape.root,
    python: shape.python,
    pythonThreads: shape.pythonThreads,
    lifetime: shape.lifetime,
    lastWords,
    onLog: toStderr
  })
);
supervisor.report({ op: 'ready', address: worker.address });
liveUntilClosed(supervisor, worker, reason => worker.closeGracefully(reason, shape.drainTimeout));
